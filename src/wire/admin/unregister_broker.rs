//! UnregisterBroker (key 64), version 0: removes a broker from the cluster (KIP-500).

use crate::model::ErrorCode;

message! {
    request UnregisterBrokerRequest of UnregisterBroker {
        broker_id: i32, 0+;
    }

    response UnregisterBrokerResponse of UnregisterBroker {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
    }
}
