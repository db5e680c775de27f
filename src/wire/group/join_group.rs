//! JoinGroup (key 11), versions 0 to 9: a member joins its group, or the next generation of it.

use crate::model::ErrorCode;
use crate::wire::Bytes;

message! {
    request JoinGroupRequest of JoinGroup {
        group_id: String, 0+;
        session_timeout_ms: i32, 0+;
        rebalance_timeout_ms: i32, 1+, default = -1, ignorable = true;
        member_id: String, 0+;
        group_instance_id: Option<String>, 5+;
        protocol_type: String, 0+;
        protocols: Vec<JoinGroupRequestProtocol>, 0+;
        reason: Option<String>, 8+, ignorable = true;
    }

    part JoinGroupRequestProtocol {
        name: String, 0+;
        metadata: Bytes, 0+;
    }

    response JoinGroupResponse of JoinGroup {
        throttle_time_ms: i32, 2+, ignorable = true;
        error_code: ErrorCode, 0+;
        generation_id: i32, 0+, default = -1;
        protocol_type: Option<String>, 7+, ignorable = true;
        protocol_name: Option<String>, 0+, nullable = 7+;
        leader: String, 0+;
        skip_assignment: bool, 9+;
        member_id: String, 0+;
        members: Vec<JoinGroupResponseMember>, 0+;
    }

    part JoinGroupResponseMember {
        member_id: String, 0+;
        group_instance_id: Option<String>, 5+, ignorable = true;
        metadata: Bytes, 0+;
    }
}
