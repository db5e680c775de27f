//! Metadata (key 3), versions 0 to 13: the brokers, and topics with the leaders of their partitions.

use crate::model::{ErrorCode, TopicId};

/// `authorized_operations` of a request that did not include them.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

message! {
    request MetadataRequest of Metadata {
        /// Null: all topics. Empty: no topic, but all topics at version 0. See
        /// [`wants_all_topics`](Self::wants_all_topics).
        topics: Option<Vec<MetadataRequestTopic>>, 0+, nullable = 1+;
        /// True: the broker creates missing topics, if its settings permit this.
        allow_auto_topic_creation: bool, 4+, default = true;
        include_cluster_authorized_operations: bool, 8-10;
        include_topic_authorized_operations: bool, 8+;
    }

    /// One topic to describe.
    part MetadataRequestTopic {
        /// Zero if the request names the topic by name (KIP-516).
        topic_id: TopicId, 10+, ignorable = true;
        /// Null if the request names the topic by id.
        name: Option<String>, 0+, nullable = 10+;
    }

    response MetadataResponse of Metadata {
        throttle_time_ms: i32, 3+, ignorable = true;
        brokers: Vec<MetadataBroker>, 0+;
        cluster_id: Option<String>, 2+, ignorable = true;
        /// A broker that accepts requests for the controller; -1: unknown.
        controller_id: i32, 1+, default = -1, ignorable = true;
        topics: Vec<MetadataTopic>, 0+;
        /// One bit for each permitted ACL operation (KIP-430).
        cluster_authorized_operations: i32, 8-10, default = OPERATIONS_NOT_ASKED, ignorable = true;
        error_code: ErrorCode, 13+, ignorable = true;
    }

    /// One broker and its address for this listener.
    part MetadataBroker {
        node_id: i32, 0+;
        host: String, 0+;
        port: i32, 0+;
        /// Null if the broker has none.
        rack: Option<String>, 1+, ignorable = true;
    }

    /// One topic and its partitions.
    part MetadataTopic {
        error_code: ErrorCode, 0+;
        /// Null if the request named the topic by an unknown id.
        name: Option<String>, 0+, nullable = 12+;
        topic_id: TopicId, 10+, ignorable = true;
        is_internal: bool, 1+, ignorable = true;
        partitions: Vec<MetadataPartition>, 0+;
        /// One bit for each permitted ACL operation (KIP-430).
        topic_authorized_operations: i32, 8+, default = OPERATIONS_NOT_ASKED, ignorable = true;
    }

    /// One partition: its leader and its replicas.
    part MetadataPartition {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        /// -1 while the partition has no leader.
        leader_id: i32, 0+;
        leader_epoch: i32, 7+, default = -1, ignorable = true;
        /// The brokers of all replicas; the first is the preferred leader.
        replica_nodes: Vec<i32>, 0+;
        /// The brokers of the in-sync replicas.
        isr_nodes: Vec<i32>, 0+;
        /// The replicas whose brokers do not run.
        offline_replicas: Vec<i32>, 5+, ignorable = true;
    }
}

impl MetadataRequest {
    /// Whether the request is for all topics.
    pub fn wants_all_topics(&self, version: i16) -> bool {
        match &self.topics {
            None => true,
            Some(topics) => version == 0 && topics.is_empty(),
        }
    }
}
