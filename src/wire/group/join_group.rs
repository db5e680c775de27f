//! JoinGroup (key 11), versions 0 to 9: a member joins its group, or the next generation of it.

use crate::model::ErrorCode;
use crate::wire::Bytes;

message! {
    request JoinGroupRequest of JoinGroup {
        group_id: String, 0+;
        /// A member that sends no heartbeat for so long is removed.
        session_timeout_ms: i32, 0+;
        /// How long the other members have to join again; -1: `session_timeout_ms`.
        rebalance_timeout_ms: i32, 1+, default = -1, ignorable = true;
        /// Empty for a new member.
        member_id: String, 0+;
        /// Null for a dynamic member (KIP-345).
        group_instance_id: Option<String>, 5+;
        protocol_type: String, 0+;
        /// The assignors that the member supports, the preferred one first.
        protocols: Vec<JoinGroupRequestProtocol>, 0+;
        /// A text for the coordinator's log (KIP-800).
        reason: Option<String>, 8+, ignorable = true;
    }

    /// One assignor, with the subscription in its format.
    part JoinGroupRequestProtocol {
        name: String, 0+;
        metadata: Bytes, 0+;
    }

    response JoinGroupResponse of JoinGroup {
        throttle_time_ms: i32, 2+, ignorable = true;
        error_code: ErrorCode, 0+;
        /// -1 with an error.
        generation_id: i32, 0+, default = -1;
        protocol_type: Option<String>, 7+, ignorable = true;
        /// The selected assignor. Null with an error.
        protocol_name: Option<String>, 0+, nullable = 7+;
        /// The member id of the leader.
        leader: String, 0+;
        /// True: the leader must not compute an assignment (KIP-814).
        skip_assignment: bool, 9+;
        member_id: String, 0+;
        /// All members for the leader; empty for the others.
        members: Vec<JoinGroupResponseMember>, 0+;
    }

    /// One member.
    part JoinGroupResponseMember {
        member_id: String, 0+;
        group_instance_id: Option<String>, 5+, ignorable = true;
        /// The member's subscription in the format of the selected assignor.
        metadata: Bytes, 0+;
    }
}
