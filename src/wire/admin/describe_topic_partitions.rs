//! DescribeTopicPartitions (key 75), version 0: topics in pages, for clusters whose metadata does not fit one
//! response (KIP-966).

use super::metadata::OPERATIONS_NOT_ASKED;
use crate::model::{ErrorCode, TopicId};

message! {
    request DescribeTopicPartitionsRequest of DescribeTopicPartitions {
        /// Empty: all topics.
        topics: Vec<TopicRequest>, 0+;
        /// The most partitions of one response.
        response_partition_limit: i32, 0+, default = 2000;
        /// Null: the first page.
        cursor: Option<Cursor>, 0+;
    }

    /// One topic to describe.
    part TopicRequest {
        name: String, 0+;
    }

    /// The first partition of the next page.
    part Cursor {
        topic_name: String, 0+;
        partition_index: i32, 0+;
    }

    response DescribeTopicPartitionsResponse of DescribeTopicPartitions {
        throttle_time_ms: i32, 0+, ignorable = true;
        topics: Vec<DescribedTopic>, 0+;
        /// Null: this page is the last.
        next_cursor: Option<Cursor>, 0+;
    }

    /// One topic, with its partitions that fit the page.
    part DescribedTopic {
        error_code: ErrorCode, 0+;
        /// Null only with an error.
        name: Option<String>, 0+;
        topic_id: TopicId, 0+;
        is_internal: bool, 0+;
        partitions: Vec<DescribedPartition>, 0+;
        /// One bit for each permitted ACL operation.
        topic_authorized_operations: i32, 0+, default = OPERATIONS_NOT_ASKED;
    }

    /// One partition: its leader and its replicas.
    part DescribedPartition {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        /// -1 while the partition has no leader.
        leader_id: i32, 0+;
        leader_epoch: i32, 0+, default = -1;
        /// The brokers of all replicas; the first is the preferred leader.
        replica_nodes: Vec<i32>, 0+;
        /// The brokers of the in-sync replicas.
        isr_nodes: Vec<i32>, 0+;
        /// Null if the broker keeps no eligible leader replicas.
        eligible_leader_replicas: Option<Vec<i32>>, 0+;
        /// The last eligible leader replicas that were known; null if the broker keeps none.
        last_known_elr: Option<Vec<i32>>, 0+;
        /// The replicas whose brokers do not run.
        offline_replicas: Vec<i32>, 0+;
    }
}
