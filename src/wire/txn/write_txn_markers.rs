//! WriteTxnMarkers (key 27), versions 1 and 2: ends transactions in partitions. A coordinator sends it, or a tool that
//! aborts a hanging transaction (KIP-98, KIP-664).

use crate::model::ErrorCode;

message! {
    request WriteTxnMarkersRequest of WriteTxnMarkers {
        markers: Vec<WritableTxnMarker>, 1+;
    }

    /// One transaction to end.
    part WritableTxnMarker {
        producer_id: i64, 1+;
        producer_epoch: i16, 1+;
        /// True: commit. False: abort.
        transaction_result: bool, 1+;
        topics: Vec<WritableTxnMarkerTopic>, 1+;
        /// The epoch of the coordinator; a partition rejects a marker of an older one.
        coordinator_epoch: i32, 1+;
        /// 2: the producer continues with a higher epoch after each transaction (KIP-890).
        transaction_version: i8, 2+, ignorable = true;
    }

    /// Some partitions of a topic.
    part WritableTxnMarkerTopic {
        name: String, 1+;
        partition_indexes: Vec<i32>, 1+;
    }

    response WriteTxnMarkersResponse of WriteTxnMarkers {
        markers: Vec<WritableTxnMarkerResult>, 1+;
    }

    /// The results of one transaction.
    part WritableTxnMarkerResult {
        producer_id: i64, 1+;
        topics: Vec<WritableTxnMarkerTopicResult>, 1+;
    }

    /// The results of one topic.
    part WritableTxnMarkerTopicResult {
        name: String, 1+;
        partitions: Vec<WritableTxnMarkerPartitionResult>, 1+;
    }

    /// The result for one partition.
    part WritableTxnMarkerPartitionResult {
        partition_index: i32, 1+;
        error_code: ErrorCode, 1+;
    }
}
