//! CreateTopics (key 19), versions 2 to 7.

use crate::model::{ErrorCode, TopicId};

message! {
    request CreateTopicsRequest of CreateTopics {
        topics: Vec<CreatableTopic>, 2+;
        timeout_ms: i32, 2+, default = 60_000;
        validate_only: bool, 2+;
    }

    part CreatableTopic {
        name: String, 2+;
        /// -1: the broker's default (v4); required with explicit assignments.
        num_partitions: i32, 2+;
        /// -1: the broker's default (v4); required with explicit assignments.
        replication_factor: i16, 2+;
        assignments: Vec<CreatableReplicaAssignment>, 2+;
        configs: Vec<CreatableTopicConfig>, 2+;
    }

    part CreatableReplicaAssignment {
        partition_index: i32, 2+;
        broker_ids: Vec<i32>, 2+;
    }

    part CreatableTopicConfig {
        name: String, 2+;
        value: Option<String>, 2+;
    }

    response CreateTopicsResponse of CreateTopics {
        throttle_time_ms: i32, 2+;
        topics: Vec<CreatableTopicResult>, 2+;
    }

    part CreatableTopicResult {
        name: String, 2+;
        topic_id: TopicId, 7+, ignorable = true;
        error_code: ErrorCode, 2+;
        error_message: Option<String>, 2+;
        /// Why `configs` is null; `None` if it is not null.
        topic_config_error_code: ErrorCode, 5+, tag = 0, ignorable = true;
        num_partitions: i32, 5+, default = -1, ignorable = true;
        replication_factor: i16, 5+, default = -1, ignorable = true;
        configs: Option<Vec<CreatableTopicConfigs>>, 5+, ignorable = true;
    }

    part CreatableTopicConfigs {
        name: String, 5+;
        value: Option<String>, 5+;
        read_only: bool, 5+;
        config_source: i8, 5+, default = -1, ignorable = true;
        is_sensitive: bool, 5+;
    }
}
