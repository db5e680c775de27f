//! DeleteAcls (key 31), versions 1 to 3.

use super::describe_acls::LITERAL;
use crate::model::ErrorCode;

message! {
    request DeleteAclsRequest of DeleteAcls {
        filters: Vec<DeleteAclsFilter>, 1+;
    }

    part DeleteAclsFilter {
        resource_type_filter: i8, 1+;
        /// Null matches every name.
        resource_name_filter: Option<String>, 1+;
        pattern_type_filter: i8, 1+, default = LITERAL;
        /// Null matches every principal.
        principal_filter: Option<String>, 1+;
        /// Null matches every host.
        host_filter: Option<String>, 1+;
        operation: i8, 1+;
        permission_type: i8, 1+;
    }

    response DeleteAclsResponse of DeleteAcls {
        throttle_time_ms: i32, 1+;
        filter_results: Vec<DeleteAclsFilterResult>, 1+;
    }

    part DeleteAclsFilterResult {
        error_code: ErrorCode, 1+;
        error_message: Option<String>, 1+;
        matching_acls: Vec<DeleteAclsMatchingAcl>, 1+;
    }

    part DeleteAclsMatchingAcl {
        error_code: ErrorCode, 1+;
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
