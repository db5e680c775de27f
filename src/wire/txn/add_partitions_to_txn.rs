//! AddPartitionsToTxn (key 24), versions 0 to 5: adds partitions to a transaction (KIP-98). Up to version 3, a producer
//! sends it. From version 4 on, a partition's leader sends it for several transactions at once, and may only verify
//! that the partitions were added (KIP-890).

use crate::model::ErrorCode;

message! {
    request AddPartitionsToTxnRequest of AddPartitionsToTxn {
        transactions: Vec<AddPartitionsToTxnTransaction>, 4+;
        transactional_id: String, 0-3;
        producer_id: i64, 0-3;
        producer_epoch: i16, 0-3;
        topics: Vec<AddPartitionsToTxnTopic>, 0-3;
    }

    /// One transaction and its partitions, from version 4 on.
    part AddPartitionsToTxnTransaction {
        transactional_id: String, 4+;
        producer_id: i64, 4+;
        producer_epoch: i16, 4+;
        /// True: check that the partitions were added, and add none.
        verify_only: bool, 4+;
        topics: Vec<AddPartitionsToTxnTopic>, 4+;
    }

    /// Some partitions of a topic.
    part AddPartitionsToTxnTopic {
        name: String, 0+;
        partitions: Vec<i32>, 0+;
    }

    response AddPartitionsToTxnResponse of AddPartitionsToTxn {
        throttle_time_ms: i32, 0+;
        /// An error of the whole request.
        error_code: ErrorCode, 4+, ignorable = true;
        results_by_transaction: Vec<AddPartitionsToTxnResult>, 4+;
        results_by_topic: Vec<AddPartitionsToTxnTopicResult>, 0-3;
    }

    /// The results of one transaction.
    part AddPartitionsToTxnResult {
        transactional_id: String, 4+;
        topic_results: Vec<AddPartitionsToTxnTopicResult>, 4+;
    }

    /// The results of one topic.
    part AddPartitionsToTxnTopicResult {
        name: String, 0+;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>, 0+;
    }

    /// The result for one partition.
    part AddPartitionsToTxnPartitionResult {
        partition_index: i32, 0+;
        partition_error_code: ErrorCode, 0+;
    }
}
