//! DeleteAcls (key 31), versions 1 to 3.

use super::describe_acls::LITERAL;
use crate::model::ErrorCode;

message! {
    request DeleteAclsRequest of DeleteAcls {
        filters: Vec<DeleteAclsFilter>, 1+;
    }

    /// A filter; every rule that it matches is deleted.
    part DeleteAclsFilter {
        /// 1 matches every type; otherwise as `resource_type` of a rule.
        resource_type_filter: i8, 1+;
        /// Null matches every name.
        resource_name_filter: Option<String>, 1+;
        /// 1 matches every pattern type. 2 matches every rule that applies to the name.
        pattern_type_filter: i8, 1+, default = LITERAL;
        /// Null matches every principal.
        principal_filter: Option<String>, 1+;
        /// Null matches every host.
        host_filter: Option<String>, 1+;
        /// 1 matches every operation.
        operation: i8, 1+;
        /// 1 matches both permissions.
        permission_type: i8, 1+;
    }

    response DeleteAclsResponse of DeleteAcls {
        throttle_time_ms: i32, 1+;
        /// One result for each filter, in the order of the request.
        filter_results: Vec<DeleteAclsFilterResult>, 1+;
    }

    /// The result for one filter.
    part DeleteAclsFilterResult {
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 1+;
        matching_acls: Vec<DeleteAclsMatchingAcl>, 1+;
    }

    /// A rule that the filter matched. Its fields are those of [`AclCreation`](super::create_acls::AclCreation).
    part DeleteAclsMatchingAcl {
        /// `None` if the rule was deleted.
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 1+;
        resource_type: i8, 1+;
        resource_name: String, 1+;
        pattern_type: i8, 1+, default = LITERAL;
        principal: String, 1+;
        host: String, 1+;
        operation: i8, 1+;
        permission_type: i8, 1+;
    }
}
