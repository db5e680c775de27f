//! DescribeProducers (key 61), version 0: a partition's producers, and the first offset of each open transaction
//! (KIP-664).

use crate::model::ErrorCode;

message! {
    request DescribeProducersRequest of DescribeProducers {
        topics: Vec<DescribeProducersTopic>, 0+;
    }

    /// Some partitions of a topic.
    part DescribeProducersTopic {
        name: String, 0+;
        partition_indexes: Vec<i32>, 0+;
    }

    response DescribeProducersResponse of DescribeProducers {
        throttle_time_ms: i32, 0+, ignorable = true;
        topics: Vec<DescribeProducersTopicResponse>, 0+;
    }

    /// The results of one topic.
    part DescribeProducersTopicResponse {
        name: String, 0+;
        partitions: Vec<DescribeProducersPartitionResponse>, 0+;
    }

    /// The producers of one partition.
    part DescribeProducersPartitionResponse {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
        active_producers: Vec<ProducerState>, 0+;
    }

    /// One producer.
    part ProducerState {
        producer_id: i64, 0+;
        producer_epoch: i32, 0+;
        /// The sequence number of its last record; -1 if it has written none.
        last_sequence: i32, 0+, default = -1;
        /// The timestamp of its last batch in milliseconds; -1 if it has written none.
        last_timestamp: i64, 0+, default = -1;
        /// The epoch of the coordinator that wrote its last marker; -1: none.
        coordinator_epoch: i32, 0+;
        /// -1 if the producer has no open transaction.
        current_txn_start_offset: i64, 0+, default = -1;
    }
}
