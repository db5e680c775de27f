//! OffsetFetch (key 9), versions 1 to 10: the committed offsets of groups. Several groups from version 8 on,
//! topics by id from version 10 on.

use crate::model::{ErrorCode, TopicId};

message! {
    request OffsetFetchRequest of OffsetFetch {
        group_id: String, 0-7;
        /// Null: all committed partitions of the group.
        topics: Option<Vec<OffsetFetchRequestTopic>>, 0-7, nullable = 2+;
        groups: Vec<OffsetFetchRequestGroup>, 8+;
        /// True: partitions with offsets in an open transaction get UNSTABLE_OFFSET_COMMIT (KIP-447).
        require_stable: bool, 7+;
    }

    /// Some partitions of a topic, up to version 7.
    part OffsetFetchRequestTopic {
        name: String, 0-7;
        partition_indexes: Vec<i32>, 0-7;
    }

    /// One group, from version 8 on.
    part OffsetFetchRequestGroup {
        group_id: String, 8+;
        /// Null outside the group's membership.
        member_id: Option<String>, 9+, ignorable = true;
        /// -1 outside the group's membership.
        member_epoch: i32, 9+, default = -1, ignorable = true;
        /// Null: all committed partitions of the group.
        topics: Option<Vec<OffsetFetchRequestTopics>>, 8+;
    }

    /// Some partitions of a topic, from version 8 on.
    part OffsetFetchRequestTopics {
        name: String, 8-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partition_indexes: Vec<i32>, 8+;
    }

    response OffsetFetchResponse of OffsetFetch {
        throttle_time_ms: i32, 3+, ignorable = true;
        topics: Vec<OffsetFetchResponseTopic>, 0-7;
        /// An error of the group.
        error_code: ErrorCode, 2-7, ignorable = true;
        groups: Vec<OffsetFetchResponseGroup>, 8+;
    }

    /// The results of one topic, up to version 7.
    part OffsetFetchResponseTopic {
        name: String, 0-7;
        partitions: Vec<OffsetFetchResponsePartition>, 0-7;
    }

    /// The results of one group, from version 8 on.
    part OffsetFetchResponseGroup {
        group_id: String, 8+;
        topics: Vec<OffsetFetchResponseTopics>, 8+;
        /// An error of the group; it then has no topics.
        error_code: ErrorCode, 8+;
    }

    /// The result for one partition, up to version 7.
    part OffsetFetchResponsePartition {
        partition_index: i32, 0-7;
        /// -1 if none is committed.
        committed_offset: i64, 0-7;
        /// -1: unknown.
        committed_leader_epoch: i32, 5-7, default = -1, ignorable = true;
        metadata: Option<String>, 0-7;
        error_code: ErrorCode, 0-7;
    }

    /// The results of one topic, from version 8 on.
    part OffsetFetchResponseTopics {
        name: String, 8-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partitions: Vec<OffsetFetchResponsePartitions>, 8+;
    }

    /// The result for one partition, from version 8 on.
    part OffsetFetchResponsePartitions {
        partition_index: i32, 8+;
        /// -1 if none is committed.
        committed_offset: i64, 8+;
        /// -1: unknown.
        committed_leader_epoch: i32, 8+, default = -1, ignorable = true;
        metadata: Option<String>, 8+;
        error_code: ErrorCode, 8+;
    }
}
