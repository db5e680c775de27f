//! SyncGroup (key 14), versions 0 to 5: the leader submits the assignments, and each member receives its own.

use crate::model::ErrorCode;
use crate::wire::Bytes;

message! {
    request SyncGroupRequest of SyncGroup {
        group_id: String, 0+;
        generation_id: i32, 0+;
        member_id: String, 0+;
        /// Null for a dynamic member (KIP-345).
        group_instance_id: Option<String>, 3+;
        protocol_type: Option<String>, 5+, ignorable = true;
        /// The selected assignor; the coordinator checks it if it is not null (KIP-559).
        protocol_name: Option<String>, 5+, ignorable = true;
        /// The assignments of all members from the leader; empty from the others.
        assignments: Vec<SyncGroupRequestAssignment>, 0+;
    }

    /// The assignment of one member.
    part SyncGroupRequestAssignment {
        member_id: String, 0+;
        /// In the format of the protocol type.
        assignment: Bytes, 0+;
    }

    response SyncGroupResponse of SyncGroup {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0+;
        protocol_type: Option<String>, 5+, ignorable = true;
        protocol_name: Option<String>, 5+, ignorable = true;
        /// The member's own assignment; empty with an error.
        assignment: Bytes, 0+;
    }
}
