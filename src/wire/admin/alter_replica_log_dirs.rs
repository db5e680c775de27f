//! AlterReplicaLogDirs (key 34), versions 1 and 2: moves a broker's replicas between its data directories (KIP-113).

use crate::model::ErrorCode;

message! {
    request AlterReplicaLogDirsRequest of AlterReplicaLogDirs {
        dirs: Vec<AlterReplicaLogDir>, 1+;
    }

    /// One data directory, and the partitions to move there.
    part AlterReplicaLogDir {
        /// The absolute path of the directory.
        path: String, 1+;
        topics: Vec<AlterReplicaLogDirTopic>, 1+;
    }

    /// Some partitions of a topic.
    part AlterReplicaLogDirTopic {
        name: String, 1+;
        partitions: Vec<i32>, 1+;
    }

    response AlterReplicaLogDirsResponse of AlterReplicaLogDirs {
        throttle_time_ms: i32, 1+;
        results: Vec<AlterReplicaLogDirTopicResult>, 1+;
    }

    /// The results of one topic.
    part AlterReplicaLogDirTopicResult {
        name: String, 1+;
        partitions: Vec<AlterReplicaLogDirPartitionResult>, 1+;
    }

    /// The result for one partition.
    part AlterReplicaLogDirPartitionResult {
        partition_index: i32, 1+;
        error_code: ErrorCode, 1+;
    }
}
