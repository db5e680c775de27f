//! CreatePartitions (key 37), versions 0 to 3: adds partitions to an existing topic.

use crate::model::ErrorCode;

message! {
    request CreatePartitionsRequest of CreatePartitions {
        topics: Vec<CreatePartitionsTopic>, 0+;
        timeout_ms: i32, 0+;
        validate_only: bool, 0+;
    }

    part CreatePartitionsTopic {
        name: String, 0+;
        /// The new total, not the number to add.
        count: i32, 0+;
        /// Null leaves the placement to the controller; otherwise one entry for each new partition.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0+;
    }

    part CreatePartitionsAssignment {
        broker_ids: Vec<i32>, 0+;
    }

    response CreatePartitionsResponse of CreatePartitions {
        throttle_time_ms: i32, 0+;
        results: Vec<CreatePartitionsTopicResult>, 0+;
    }

    part CreatePartitionsTopicResult {
        name: String, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<String>, 0+;
    }
}
