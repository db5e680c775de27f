//! LeaveGroup (key 13), versions 0 to 5: removes a member, or several from version 3 on (KIP-345).

use crate::model::ErrorCode;

message! {
    request LeaveGroupRequest of LeaveGroup {
        group_id: String, 0+;
        member_id: String, 0-2;
        members: Vec<MemberIdentity>, 3+;
    }

    /// One member to remove.
    part MemberIdentity {
        /// May be empty with an instance id.
        member_id: String, 3+;
        /// Null for a dynamic member.
        group_instance_id: Option<String>, 3+;
        /// A text for the coordinator's log (KIP-800).
        reason: Option<String>, 5+, ignorable = true;
    }

    response LeaveGroupResponse of LeaveGroup {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0+;
        members: Vec<MemberResponse>, 3+;
    }

    /// The result for one member.
    part MemberResponse {
        member_id: String, 3+;
        group_instance_id: Option<String>, 3+;
        error_code: ErrorCode, 3+;
    }
}
