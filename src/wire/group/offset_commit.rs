//! OffsetCommit (key 8), versions 2 to 10: stores the offsets up to which a group has read. Topics by id from
//! version 10 on (KIP-848).

use crate::model::{ErrorCode, TopicId};

message! {
    request OffsetCommitRequest of OffsetCommit {
        group_id: String, 0+;
        /// The generation of a classic member or the epoch of a consumer member; -1 outside a group's membership.
        generation_id_or_member_epoch: i32, 1+, default = -1, ignorable = true;
        /// Empty outside a group's membership.
        member_id: String, 1+, ignorable = true;
        /// Null for a dynamic member (KIP-345).
        group_instance_id: Option<String>, 7+;
        /// -1: the broker's `offsets.retention.minutes`.
        retention_time_ms: i64, 2-4, default = -1, ignorable = true;
        topics: Vec<OffsetCommitRequestTopic>, 0+;
    }

    /// Some partitions of a topic.
    part OffsetCommitRequestTopic {
        name: String, 0-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partitions: Vec<OffsetCommitRequestPartition>, 0+;
    }

    /// One partition and its committed offset.
    part OffsetCommitRequestPartition {
        partition_index: i32, 0+;
        /// The next offset to read.
        committed_offset: i64, 0+;
        /// The epoch of the last record that was read (KIP-320); -1: unknown.
        committed_leader_epoch: i32, 6+, default = -1, ignorable = true;
        /// A text that belongs to the offset; null is stored as empty.
        committed_metadata: Option<String>, 0+;
    }

    response OffsetCommitResponse of OffsetCommit {
        throttle_time_ms: i32, 3+, ignorable = true;
        topics: Vec<OffsetCommitResponseTopic>, 0+;
    }

    /// The results of one topic.
    part OffsetCommitResponseTopic {
        name: String, 0-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partitions: Vec<OffsetCommitResponsePartition>, 0+;
    }

    /// The result for one partition, also in TxnOffsetCommit.
    part OffsetCommitResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
