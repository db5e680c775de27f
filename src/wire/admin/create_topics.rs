//! CreateTopics (key 19), versions 2 to 7.

use crate::model::{ErrorCode, TopicId};

message! {
    request CreateTopicsRequest of CreateTopics {
        topics: Vec<CreatableTopic>, 2+;
        /// How long the broker may wait until the topics exist.
        timeout_ms: i32, 2+, default = 60_000;
        /// True: check the topics without creating them.
        validate_only: bool, 2+;
    }

    /// One topic to create.
    part CreatableTopic {
        name: String, 2+;
        /// -1: the broker's default (v4); required with explicit assignments.
        num_partitions: i32, 2+;
        /// -1: the broker's default (v4); required with explicit assignments.
        replication_factor: i16, 2+;
        /// Empty: the controller places the replicas.
        assignments: Vec<CreatableReplicaAssignment>, 2+;
        configs: Vec<CreatableTopicConfig>, 2+;
    }

    /// The replicas of one partition; the first is the preferred leader.
    part CreatableReplicaAssignment {
        partition_index: i32, 2+;
        broker_ids: Vec<i32>, 2+;
    }

    /// One override of the new topic.
    part CreatableTopicConfig {
        name: String, 2+;
        /// Null is rejected with INVALID_CONFIG.
        value: Option<String>, 2+;
    }

    response CreateTopicsResponse of CreateTopics {
        throttle_time_ms: i32, 2+;
        topics: Vec<CreatableTopicResult>, 2+;
    }

    /// The result for one topic.
    part CreatableTopicResult {
        name: String, 2+;
        /// Zero with an error.
        topic_id: TopicId, 7+, ignorable = true;
        error_code: ErrorCode, 2+;
        /// Null or empty without an error.
        error_message: Option<String>, 2+;
        /// Why `configs` is null; `None` if it is not null.
        topic_config_error_code: ErrorCode, 5+, tag = 0, ignorable = true;
        /// -1 with an error.
        num_partitions: i32, 5+, default = -1, ignorable = true;
        /// -1 with an error.
        replication_factor: i16, 5+, default = -1, ignorable = true;
        /// All settings of the new topic (KIP-525).
        configs: Option<Vec<CreatableTopicConfigs>>, 5+, ignorable = true;
    }

    /// One setting of the new topic.
    part CreatableTopicConfigs {
        name: String, 5+;
        /// Null for a sensitive value.
        value: Option<String>, 5+;
        read_only: bool, 5+;
        /// A `SOURCE_` constant of [`describe_configs`](super::describe_configs); -1: unknown.
        config_source: i8, 5+, default = -1, ignorable = true;
        is_sensitive: bool, 5+;
    }
}
