//! AlterPartitionReassignments (key 45), versions 0 and 1: moves partitions to other brokers, or cancels a move
//! (KIP-455). Version 1 can forbid a change of the replication factor (KIP-860).

use crate::model::ErrorCode;

message! {
    request AlterPartitionReassignmentsRequest of AlterPartitionReassignments {
        /// How long the broker may wait until the change is recorded.
        timeout_ms: i32, 0+, default = 60_000;
        allow_replication_factor_change: bool, 1+, default = true;
        topics: Vec<ReassignableTopic>, 0+;
    }

    /// One topic to reassign.
    part ReassignableTopic {
        name: String, 0+;
        partitions: Vec<ReassignablePartition>, 0+;
    }

    /// One partition to reassign.
    part ReassignablePartition {
        partition_index: i32, 0+;
        /// The broker ids of the new replicas. Null cancels a pending reassignment.
        replicas: Option<Vec<i32>>, 0+;
    }

    response AlterPartitionReassignmentsResponse of AlterPartitionReassignments {
        throttle_time_ms: i32, 0+;
        /// Repeats the field of the request.
        allow_replication_factor_change: bool, 1+, default = true, ignorable = true;
        /// An error of the whole request.
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
        responses: Vec<ReassignableTopicResponse>, 0+;
    }

    /// The results of one topic.
    part ReassignableTopicResponse {
        name: String, 0+;
        partitions: Vec<ReassignablePartitionResponse>, 0+;
    }

    /// The result for one partition.
    part ReassignablePartitionResponse {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
    }
}
