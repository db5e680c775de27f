//! InitProducerId (key 22), versions 0 to 5: a producer id and epoch for an idempotent or transactional producer
//! (KIP-98, KIP-360).

use crate::model::ErrorCode;

message! {
    request InitProducerIdRequest of InitProducerId {
        /// Null from a producer without transactions.
        transactional_id: Option<String>, 0+;
        /// The coordinator aborts a transaction that is open for longer.
        transaction_timeout_ms: i32, 0+;
        /// KIP-360: the producer's current id; -1 at its start.
        producer_id: i64, 3+, default = -1;
        /// The producer's current epoch; -1 at its start.
        producer_epoch: i16, 3+, default = -1;
    }

    response InitProducerIdResponse of InitProducerId {
        throttle_time_ms: i32, 0+, ignorable = true;
        error_code: ErrorCode, 0+;
        /// -1 with an error.
        producer_id: i64, 0+, default = -1;
        producer_epoch: i16, 0+;
    }
}
