//! DeleteRecords (key 21), versions 0 to 2: removes a partition's records below an offset.

use crate::model::ErrorCode;

/// As an offset: the high watermark.
pub const HIGH_WATERMARK: i64 = -1;

message! {
    request DeleteRecordsRequest of DeleteRecords {
        topics: Vec<DeleteRecordsTopic>, 0+;
        /// How long the broker may wait until the new log start is durable.
        timeout_ms: i32, 0+;
    }

    /// Some partitions of a topic.
    part DeleteRecordsTopic {
        name: String, 0+;
        partitions: Vec<DeleteRecordsPartition>, 0+;
    }

    /// One partition and its new log start offset.
    part DeleteRecordsPartition {
        partition_index: i32, 0+;
        /// Records below this offset are deleted; [`HIGH_WATERMARK`]: all committed records.
        offset: i64, 0+;
    }

    response DeleteRecordsResponse of DeleteRecords {
        throttle_time_ms: i32, 0+;
        topics: Vec<DeleteRecordsTopicResult>, 0+;
    }

    /// The results of one topic.
    part DeleteRecordsTopicResult {
        name: String, 0+;
        partitions: Vec<DeleteRecordsPartitionResult>, 0+;
    }

    /// The result for one partition.
    part DeleteRecordsPartitionResult {
        partition_index: i32, 0+;
        /// The lowest log start offset of all replicas; -1 with an error.
        low_watermark: i64, 0+;
        error_code: ErrorCode, 0+;
    }
}
