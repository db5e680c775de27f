//! DescribeAcls (key 29), versions 1 to 3.

use crate::model::ErrorCode;

/// The value of `pattern_type` for a resource of exactly this name.
pub const LITERAL: i8 = 3;

message! {
    request DescribeAclsRequest of DescribeAcls {
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

    response DescribeAclsResponse of DescribeAcls {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 1+;
        resources: Vec<DescribeAclsResource>, 1+;
    }

    /// One resource pattern and its access rules.
    part DescribeAclsResource {
        resource_type: i8, 1+;
        resource_name: String, 1+;
        pattern_type: i8, 1+, default = LITERAL;
        acls: Vec<AclDescription>, 1+;
    }

    /// One access rule. Its fields are those of [`AclCreation`](super::create_acls::AclCreation).
    part AclDescription {
        principal: String, 1+;
        host: String, 1+;
        operation: i8, 1+;
        permission_type: i8, 1+;
    }
}
