//! DescribeQuorum (key 55), versions 0 to 2: the leader, epoch and replicas of the metadata log (KIP-595, KIP-836,
//! KIP-853).

use crate::model::{ErrorCode, TopicId};

/// Kafka's name of the metadata log; its only partition is 0.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

message! {
    request DescribeQuorumRequest of DescribeQuorum {
        topics: Vec<QuorumTopic>, 0+;
    }

    /// The partitions of one topic.
    part QuorumTopic {
        topic_name: String, 0+;
        partitions: Vec<QuorumPartition>, 0+;
    }

    /// One partition.
    part QuorumPartition {
        partition_index: i32, 0+;
    }

    response DescribeQuorumResponse of DescribeQuorum {
        /// An error of the whole request.
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 2+, ignorable = true;
        topics: Vec<DescribedTopic>, 0+;
        /// The addresses of the voters and observers.
        nodes: Vec<QuorumNode>, 2+;
    }

    /// The results of one topic.
    part DescribedTopic {
        topic_name: String, 0+;
        partitions: Vec<DescribedQuorum>, 0+;
    }

    /// The state of one partition's quorum.
    part DescribedQuorum {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 2+, ignorable = true;
        /// -1: unknown.
        leader_id: i32, 0+;
        leader_epoch: i32, 0+;
        /// The offset behind the last committed entry.
        high_watermark: i64, 0+;
        current_voters: Vec<ReplicaState>, 0+;
        observers: Vec<ReplicaState>, 0+;
    }

    /// The state of one voter or observer, as the leader knows it.
    part ReplicaState {
        replica_id: i32, 0+;
        /// Zero: the replica's directory has no id.
        replica_directory_id: TopicId, 2+;
        /// -1: unknown.
        log_end_offset: i64, 0+;
        /// The last fetch of a follower, in milliseconds since 1970; the current time for the leader.
        last_fetch_timestamp: i64, 1+, default = -1, ignorable = true;
        /// The last time at which a follower had the whole log; the current time for the leader.
        last_caught_up_timestamp: i64, 1+, default = -1, ignorable = true;
    }

    /// One voter or observer, and its addresses.
    part QuorumNode {
        node_id: i32, 2+;
        listeners: Vec<QuorumListener>, 2+;
    }

    /// One address.
    part QuorumListener {
        name: String, 2+;
        host: String, 2+;
        port: u16, 2+;
    }
}
