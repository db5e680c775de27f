//! ListOffsets (key 2), versions 1 to 11: the offset for a timestamp, or for a named position in the log.

use crate::model::ErrorCode;

/// As `timestamp`: the high watermark, or the last stable offset for read_committed.
pub const LATEST: i64 = -1;
/// As `timestamp`: the log start offset.
pub const EARLIEST: i64 = -2;
/// As `timestamp` from v7 on: the offset of the record with the largest timestamp (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// As `timestamp` from v8 on: the first offset on the broker's local disk (KIP-405).
pub const EARLIEST_LOCAL: i64 = -4;
/// As `timestamp` from v9 on: the last offset in tiered storage (KIP-1005).
pub const LATEST_TIERED: i64 = -5;
/// As `timestamp` from v11 on: the first offset that is not uploaded yet (KIP-1023).
pub const EARLIEST_PENDING_UPLOAD: i64 = -6;

message! {
    request ListOffsetsRequest of ListOffsets {
        /// -1 from a consumer.
        replica_id: i32, 1+, default = -1;
        /// 0 is read_uncommitted, 1 is read_committed.
        isolation_level: i8, 2+;
        topics: Vec<ListOffsetsTopic>, 1+;
        /// How long the broker may wait for tiered storage (KIP-1075).
        timeout_ms: i32, 10+, ignorable = true;
    }

    /// Some partitions of a topic.
    part ListOffsetsTopic {
        name: String, 1+;
        partitions: Vec<ListOffsetsPartition>, 1+;
    }

    /// One partition and the timestamp to look up.
    part ListOffsetsPartition {
        partition_index: i32, 1+;
        /// The leader epoch that the client knows (KIP-320); -1 disables the check.
        current_leader_epoch: i32, 4+, default = -1, ignorable = true;
        /// Milliseconds since 1970, or one of the constants above.
        timestamp: i64, 1+;
    }

    response ListOffsetsResponse of ListOffsets {
        throttle_time_ms: i32, 2+, ignorable = true;
        topics: Vec<ListOffsetsTopicResponse>, 1+;
    }

    /// The results of one topic.
    part ListOffsetsTopicResponse {
        name: String, 1+;
        partitions: Vec<ListOffsetsPartitionResponse>, 1+;
    }

    /// The result for one partition.
    part ListOffsetsPartitionResponse {
        partition_index: i32, 1+;
        error_code: ErrorCode, 1+;
        /// -1 if every record is earlier.
        timestamp: i64, 1+, default = -1;
        /// The offset that the timestamp selects; -1 if every record is earlier.
        offset: i64, 1+, default = -1;
        // Kafka's schema does not mark it ignorable, but its handler omits it below v4, which has the same effect.
        /// The epoch of the record at `offset`; -1: unknown.
        leader_epoch: i32, 4+, default = -1, ignorable = true;
    }
}

/// The lowest version that may send `timestamp`; `None` for an undefined negative value.
pub fn timestamp_from_version(timestamp: i64) -> Option<i16> {
    Some(match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        EARLIEST.. => 1,
        _ => return None,
    })
}
