//! AddOffsetsToTxn (key 25), versions 0 to 4: adds a group's offsets to a transaction (KIP-98).

use crate::model::ErrorCode;

message! {
    request AddOffsetsToTxnRequest of AddOffsetsToTxn {
        transactional_id: String, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
        group_id: String, 0+;
    }

    response AddOffsetsToTxnResponse of AddOffsetsToTxn {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
