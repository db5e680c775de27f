//! CreateAcls (key 30), versions 1 to 3.

use super::describe_acls::LITERAL;
use crate::model::ErrorCode;

message! {
    request CreateAclsRequest of CreateAcls {
        creations: Vec<AclCreation>, 1+;
    }

    part AclCreation {
        resource_type: i8, 1+;
        resource_name: String, 1+;
        resource_pattern_type: i8, 1+, default = LITERAL;
        principal: String, 1+;
        host: String, 1+;
        operation: i8, 1+;
        permission_type: i8, 1+;
    }

    response CreateAclsResponse of CreateAcls {
        throttle_time_ms: i32, 1+;
        results: Vec<AclCreationResult>, 1+;
    }

    part AclCreationResult {
        error_code: ErrorCode, 1+;
        error_message: Option<String>, 1+;
    }
}
