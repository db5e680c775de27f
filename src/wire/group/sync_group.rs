//! SyncGroup (key 14), versions 0 to 5: the leader submits the assignments, and each member receives its own.

use crate::model::ErrorCode;
use crate::wire::Bytes;

message! {
    request SyncGroupRequest of SyncGroup {
        group_id: String, 0+;
        generation_id: i32, 0+;
        member_id: String, 0+;
        group_instance_id: Option<String>, 3+;
        protocol_type: Option<String>, 5+, ignorable = true;
        protocol_name: Option<String>, 5+, ignorable = true;
        assignments: Vec<SyncGroupRequestAssignment>, 0+;
    }

    part SyncGroupRequestAssignment {
        member_id: String, 0+;
        assignment: Bytes, 0+;
    }

    response SyncGroupResponse of SyncGroup {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0+;
        protocol_type: Option<String>, 5+, ignorable = true;
        protocol_name: Option<String>, 5+, ignorable = true;
        assignment: Bytes, 0+;
    }
}
