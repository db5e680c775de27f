//! DescribeLogDirs (key 35), versions 1 to 5: the directory and the size of each of a broker's partitions.

use crate::model::ErrorCode;

message! {
    request DescribeLogDirsRequest of DescribeLogDirs {
        /// Null: all topics.
        topics: Option<Vec<DescribableLogDirTopic>>, 1+;
    }

    /// Some partitions of a topic.
    part DescribableLogDirTopic {
        topic: String, 1+;
        partitions: Vec<i32>, 1+;
    }

    response DescribeLogDirsResponse of DescribeLogDirs {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 3+, ignorable = true;
        results: Vec<DescribeLogDirsResult>, 1+;
    }

    /// One data directory.
    part DescribeLogDirsResult {
        error_code: ErrorCode, 1+;
        /// The path of the directory.
        log_dir: String, 1+;
        topics: Vec<DescribeLogDirsTopic>, 1+;
        /// The size of the volume that holds the directory (KIP-827); -1: unknown.
        total_bytes: i64, 4+, default = -1, ignorable = true;
        /// The free bytes of that volume; -1: unknown.
        usable_bytes: i64, 4+, default = -1, ignorable = true;
        /// The directory takes no new partitions (KIP-1066).
        is_cordoned: bool, 5+, ignorable = true;
    }

    /// The partitions of one topic in the directory.
    part DescribeLogDirsTopic {
        name: String, 1+;
        partitions: Vec<DescribeLogDirsPartition>, 1+;
    }

    /// One partition's log.
    part DescribeLogDirsPartition {
        partition_index: i32, 1+;
        /// The bytes of its segments.
        partition_size: i64, 1+;
        /// Log end offset minus high watermark.
        offset_lag: i64, 1+;
        /// True for a replica that moves into this directory.
        is_future_key: bool, 1+;
    }
}
