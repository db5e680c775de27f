//! Heartbeat (key 12), versions 0 to 4: a member reports that it is alive, and learns whether its
//! generation is still current.

use crate::model::ErrorCode;

message! {
    request HeartbeatRequest of Heartbeat {
        group_id: String, 0+;
        generation_id: i32, 0+;
        member_id: String, 0+;
        /// Null for a dynamic member (KIP-345).
        group_instance_id: Option<String>, 3+;
    }

    response HeartbeatResponse of Heartbeat {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0+;
    }
}
