//! DescribeAcls (key 29), versions 1 to 3.

use crate::model::ErrorCode;

/// The value of `pattern_type` for a resource of exactly this name.
pub const LITERAL: i8 = 3;

message! {
    request DescribeAclsRequest of DescribeAcls {
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

    response DescribeAclsResponse of DescribeAcls {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 1+;
        error_message: Option<String>, 1+;
        resources: Vec<DescribeAclsResource>, 1+;
    }

    part DescribeAclsResource {
        resource_type: i8, 1+;
        resource_name: String, 1+;
        pattern_type: i8, 1+, default = LITERAL;
        acls: Vec<AclDescription>, 1+;
    }

    part AclDescription {
        principal: String, 1+;
        host: String, 1+;
        operation: i8, 1+;
        permission_type: i8, 1+;
    }
}
