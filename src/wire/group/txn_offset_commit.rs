//! TxnOffsetCommit (key 28), versions 0 to 6: commits offsets that take effect when their transaction
//! commits (KIP-98, KIP-447). Topics by id from version 6 on (KIP-1319).

use crate::model::TopicId;
use crate::wire::group::offset_commit::OffsetCommitResponsePartition;

message! {
    request TxnOffsetCommitRequest of TxnOffsetCommit {
        transactional_id: String, 0+;
        group_id: String, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
        /// The generation of a classic member or the epoch of a consumer member; -1 disables the check.
        generation_id_or_member_epoch: i32, 3+, default = -1;
        /// Empty outside a group's membership.
        member_id: String, 3+;
        /// Null for a dynamic member.
        group_instance_id: Option<String>, 3+;
        topics: Vec<TxnOffsetCommitRequestTopic>, 0+;
    }

    /// Some partitions of a topic.
    part TxnOffsetCommitRequestTopic {
        name: String, 0-5, ignorable = true;
        topic_id: TopicId, 6+, ignorable = true;
        partitions: Vec<TxnOffsetCommitRequestPartition>, 0+;
    }

    /// One partition and its offset.
    part TxnOffsetCommitRequestPartition {
        partition_index: i32, 0+;
        /// The next offset to read.
        committed_offset: i64, 0+;
        /// The epoch of the last record that was read (KIP-320); -1: unknown.
        committed_leader_epoch: i32, 2+, default = -1, ignorable = true;
        /// A text that belongs to the offset; null is stored as empty.
        committed_metadata: Option<String>, 0+;
    }

    response TxnOffsetCommitResponse of TxnOffsetCommit {
        throttle_time_ms: i32, 0+;
        topics: Vec<TxnOffsetCommitResponseTopic>, 0+;
    }

    /// The results of one topic.
    part TxnOffsetCommitResponseTopic {
        name: String, 0-5, ignorable = true;
        topic_id: TopicId, 6+, ignorable = true;
        partitions: Vec<OffsetCommitResponsePartition>, 0+;
    }
}
