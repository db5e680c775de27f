//! WriteTxnMarkers (key 27), versions 1 and 2: ends transactions in partitions. A coordinator sends it, or a tool that
//! aborts a hanging transaction (KIP-98, KIP-664).

use crate::model::ErrorCode;

message! {
    request WriteTxnMarkersRequest of WriteTxnMarkers {
        markers: Vec<WritableTxnMarker>, 1+;
    }

    part WritableTxnMarker {
        producer_id: i64, 1+;
        producer_epoch: i16, 1+;
        /// True: commit. False: abort.
        transaction_result: bool, 1+;
        topics: Vec<WritableTxnMarkerTopic>, 1+;
        coordinator_epoch: i32, 1+;
        transaction_version: i8, 2+, ignorable = true;
    }

    part WritableTxnMarkerTopic {
        name: String, 1+;
        partition_indexes: Vec<i32>, 1+;
    }

    response WriteTxnMarkersResponse of WriteTxnMarkers {
        markers: Vec<WritableTxnMarkerResult>, 1+;
    }

    part WritableTxnMarkerResult {
        producer_id: i64, 1+;
        topics: Vec<WritableTxnMarkerTopicResult>, 1+;
    }

    part WritableTxnMarkerTopicResult {
        name: String, 1+;
        partitions: Vec<WritableTxnMarkerPartitionResult>, 1+;
    }

    part WritableTxnMarkerPartitionResult {
        partition_index: i32, 1+;
        error_code: ErrorCode, 1+;
    }
}
