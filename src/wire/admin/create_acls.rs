//! CreateAcls (key 30), versions 1 to 3.

use super::describe_acls::LITERAL;
use crate::model::ErrorCode;

message! {
    request CreateAclsRequest of CreateAcls {
        creations: Vec<AclCreation>, 1+;
    }

    /// One access rule to add.
    part AclCreation {
        /// 2: topic. 3: group. 4: cluster. 5: transactional id. 0: unknown, which is rejected.
        resource_type: i8, 1+;
        resource_name: String, 1+;
        /// 3: exactly this name. 4: names with this prefix (KIP-290).
        resource_pattern_type: i8, 1+, default = LITERAL;
        /// `User:name`, or `User:*` for all.
        principal: String, 1+;
        /// An address, or `*` for all.
        host: String, 1+;
        /// 2: all. 3: read. 4: write. 5 and above: Kafka's other operations.
        operation: i8, 1+;
        /// 2: deny. 3: allow.
        permission_type: i8, 1+;
    }

    response CreateAclsResponse of CreateAcls {
        throttle_time_ms: i32, 1+;
        /// One result for each creation, in the order of the request.
        results: Vec<AclCreationResult>, 1+;
    }

    /// The result for one creation.
    part AclCreationResult {
        error_code: ErrorCode, 1+;
        /// Null or empty without an error.
        error_message: Option<String>, 1+;
    }
}
