//! FindCoordinator (key 10), versions 0 to 6: the broker that coordinates a group or a transactional id.
//! From version 4 on, a request may name several keys (KIP-699).

use crate::model::ErrorCode;

/// As `key_type`: a group id.
pub const GROUP: i8 = 0;
/// As `key_type`: a transactional id.
pub const TRANSACTION: i8 = 1;

message! {
    request FindCoordinatorRequest of FindCoordinator {
        /// The group id or the transactional id.
        key: String, 0-3;
        /// [`GROUP`] or [`TRANSACTION`].
        key_type: i8, 1+, default = GROUP;
        /// The group ids or the transactional ids.
        coordinator_keys: Vec<String>, 4+;
    }

    response FindCoordinatorResponse of FindCoordinator {
        throttle_time_ms: i32, 1+, ignorable = true;
        error_code: ErrorCode, 0-3, ignorable = true;
        /// Null or empty without an error.
        error_message: Option<String>, 1-3, ignorable = true;
        /// -1 with an error.
        node_id: i32, 0-3, ignorable = true;
        host: String, 0-3, ignorable = true;
        port: i32, 0-3, ignorable = true;
        /// One result for each key, in the order of the request.
        coordinators: Vec<Coordinator>, 4+;
    }

    /// The coordinator of one key.
    part Coordinator {
        key: String, 4+;
        /// -1 with an error.
        node_id: i32, 4+;
        host: String, 4+;
        port: i32, 4+;
        error_code: ErrorCode, 4+;
        /// Null or empty without an error.
        error_message: Option<String>, 4+, ignorable = true;
    }
}
