//! ElectLeaders (key 43), versions 0 to 2: makes preferred replicas leaders, or elects unclean ones (KIP-460).

use crate::model::ErrorCode;

/// As `election_type`: elect the first replica of the partition.
pub const PREFERRED: i8 = 0;
/// As `election_type`: elect any live replica if none is in sync.
pub const UNCLEAN: i8 = 1;

message! {
    request ElectLeadersRequest of ElectLeaders {
        /// 0: preferred. 1: unclean.
        election_type: i8, 1+;
        /// Null: all partitions.
        topic_partitions: Option<Vec<TopicPartitions>>, 0+;
        /// How long the broker may wait for the elections.
        timeout_ms: i32, 0+, default = 60_000;
    }

    /// The partitions of one topic.
    part TopicPartitions {
        topic: String, 0+;
        partitions: Vec<i32>, 0+;
    }

    response ElectLeadersResponse of ElectLeaders {
        throttle_time_ms: i32, 0+;
        /// An error of the whole request.
        error_code: ErrorCode, 1+;
        replica_election_results: Vec<ReplicaElectionResult>, 0+;
    }

    /// The results of one topic.
    part ReplicaElectionResult {
        topic: String, 0+;
        partition_result: Vec<PartitionResult>, 0+;
    }

    /// The result for one partition.
    part PartitionResult {
        partition_id: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
    }
}
