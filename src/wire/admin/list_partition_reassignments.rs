//! ListPartitionReassignments (key 46), version 0: the partitions that are moving to other brokers (KIP-455).

use crate::model::ErrorCode;

message! {
    request ListPartitionReassignmentsRequest of ListPartitionReassignments {
        /// How long the broker may wait for the result.
        timeout_ms: i32, 0+, default = 60_000;
        /// Null: all partitions.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>, 0+;
    }

    /// The partitions of one topic.
    part ListPartitionReassignmentsTopics {
        name: String, 0+;
        partition_indexes: Vec<i32>, 0+;
    }

    response ListPartitionReassignmentsResponse of ListPartitionReassignments {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
        topics: Vec<OngoingTopicReassignment>, 0+;
    }

    /// The moving partitions of one topic.
    part OngoingTopicReassignment {
        name: String, 0+;
        partitions: Vec<OngoingPartitionReassignment>, 0+;
    }

    /// One moving partition. All lists are broker ids.
    part OngoingPartitionReassignment {
        partition_index: i32, 0+;
        replicas: Vec<i32>, 0+;
        adding_replicas: Vec<i32>, 0+;
        removing_replicas: Vec<i32>, 0+;
    }
}
