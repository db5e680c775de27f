//! OffsetForLeaderEpoch (key 23), versions 2 to 4: the end offset of an epoch. A follower or a consumer uses it to
//! find the offset up to which its log equals the leader's (KIP-101, KIP-279, KIP-320).

use crate::model::ErrorCode;

message! {
    request OffsetForLeaderEpochRequest of OffsetForLeaderEpoch {
        /// -1 from a consumer; -2 if unset.
        replica_id: i32, 3+, default = -2, ignorable = true;
        topics: Vec<OffsetForLeaderTopic>, 2+;
    }

    /// Some partitions of a topic.
    part OffsetForLeaderTopic {
        topic: String, 2+;
        partitions: Vec<OffsetForLeaderPartition>, 2+;
    }

    /// One partition and the epoch to look up.
    part OffsetForLeaderPartition {
        partition: i32, 2+;
        /// The leader epoch that the client knows (KIP-320); -1 disables the check.
        current_leader_epoch: i32, 2+, default = -1, ignorable = true;
        /// The epoch to look up.
        leader_epoch: i32, 2+;
    }

    response OffsetForLeaderEpochResponse of OffsetForLeaderEpoch {
        throttle_time_ms: i32, 2+, ignorable = true;
        topics: Vec<OffsetForLeaderTopicResult>, 2+;
    }

    /// The results of one topic.
    part OffsetForLeaderTopicResult {
        topic: String, 2+;
        partitions: Vec<EpochEndOffset>, 2+;
    }

    /// The result for one partition.
    part EpochEndOffset {
        error_code: ErrorCode, 2+;
        partition: i32, 2+;
        /// The largest epoch that is not above the requested one; -1 if none exists.
        leader_epoch: i32, 2+, default = -1, ignorable = true;
        /// The offset after the last record of `leader_epoch`; -1 if none exists.
        end_offset: i64, 2+, default = -1;
    }
}
