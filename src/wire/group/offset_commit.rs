//! OffsetCommit (key 8), versions 2 to 10: stores the offsets up to which a group has read. Topics by id from
//! version 10 on (KIP-848).

use crate::model::{ErrorCode, TopicId};

message! {
    request OffsetCommitRequest of OffsetCommit {
        group_id: String, 0+;
        generation_id_or_member_epoch: i32, 1+, default = -1, ignorable = true;
        member_id: String, 1+, ignorable = true;
        group_instance_id: Option<String>, 7+;
        retention_time_ms: i64, 2-4, default = -1, ignorable = true;
        topics: Vec<OffsetCommitRequestTopic>, 0+;
    }

    part OffsetCommitRequestTopic {
        name: String, 0-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partitions: Vec<OffsetCommitRequestPartition>, 0+;
    }

    part OffsetCommitRequestPartition {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_leader_epoch: i32, 6+, default = -1, ignorable = true;
        committed_metadata: Option<String>, 0+;
    }

    response OffsetCommitResponse of OffsetCommit {
        throttle_time_ms: i32, 3+, ignorable = true;
        topics: Vec<OffsetCommitResponseTopic>, 0+;
    }

    part OffsetCommitResponseTopic {
        name: String, 0-9, ignorable = true;
        topic_id: TopicId, 10+, ignorable = true;
        partitions: Vec<OffsetCommitResponsePartition>, 0+;
    }

    part OffsetCommitResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
