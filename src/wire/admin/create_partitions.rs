//! CreatePartitions (key 37), versions 0 to 3: adds partitions to an existing topic.

use crate::model::ErrorCode;

message! {
    request CreatePartitionsRequest of CreatePartitions {
        topics: Vec<CreatePartitionsTopic>, 0+;
        /// How long the broker may wait until the partitions exist.
        timeout_ms: i32, 0+;
        /// True: check the change without making it.
        validate_only: bool, 0+;
    }

    /// One topic to grow.
    part CreatePartitionsTopic {
        name: String, 0+;
        /// The new total, not the number to add.
        count: i32, 0+;
        /// Null leaves the placement to the controller; otherwise one entry for each new partition.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0+;
    }

    /// The replicas of one new partition; the first is the preferred leader.
    part CreatePartitionsAssignment {
        broker_ids: Vec<i32>, 0+;
    }

    response CreatePartitionsResponse of CreatePartitions {
        throttle_time_ms: i32, 0+;
        results: Vec<CreatePartitionsTopicResult>, 0+;
    }

    /// The result for one topic.
    part CreatePartitionsTopicResult {
        name: String, 0+;
        error_code: ErrorCode, 0+;
        /// Null or empty without an error.
        error_message: Option<String>, 0+;
    }
}
