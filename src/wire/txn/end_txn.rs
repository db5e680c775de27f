//! EndTxn (key 26), versions 0 to 5: commits or aborts a transaction. From version 5 on, the producer continues with
//! the id and epoch in the response (KIP-890).

use crate::model::ErrorCode;

message! {
    request EndTxnRequest of EndTxn {
        transactional_id: String, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
        /// True: commit. False: abort.
        committed: bool, 0+;
    }

    response EndTxnResponse of EndTxn {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        producer_id: i64, 5+, default = -1, ignorable = true;
        producer_epoch: i16, 5+, default = -1, ignorable = true;
    }
}
