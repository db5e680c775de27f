//! TxnOffsetCommit (key 28), versions 0 to 5: commits offsets that take effect when their transaction
//! commits (KIP-98, KIP-447).

use crate::model::ErrorCode;

message! {
    request TxnOffsetCommitRequest of TxnOffsetCommit {
        transactional_id: String, 0+;
        group_id: String, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
        generation_id: i32, 3+, default = -1;
        member_id: String, 3+;
        group_instance_id: Option<String>, 3+;
        topics: Vec<TxnOffsetCommitRequestTopic>, 0+;
    }

    part TxnOffsetCommitRequestTopic {
        name: String, 0+;
        partitions: Vec<TxnOffsetCommitRequestPartition>, 0+;
    }

    part TxnOffsetCommitRequestPartition {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_leader_epoch: i32, 2+, default = -1, ignorable = true;
        committed_metadata: Option<String>, 0+;
    }

    response TxnOffsetCommitResponse of TxnOffsetCommit {
        throttle_time_ms: i32, 0+;
        topics: Vec<TxnOffsetCommitResponseTopic>, 0+;
    }

    part TxnOffsetCommitResponseTopic {
        name: String, 0+;
        partitions: Vec<TxnOffsetCommitResponsePartition>, 0+;
    }

    part TxnOffsetCommitResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
