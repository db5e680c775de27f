//! OffsetDelete (key 47), version 0: deletes a group's committed offsets of some partitions (KIP-496).

use crate::model::ErrorCode;

message! {
    request OffsetDeleteRequest of OffsetDelete {
        group_id: String, 0+;
        topics: Vec<OffsetDeleteRequestTopic>, 0+;
    }

    /// Some partitions of a topic.
    part OffsetDeleteRequestTopic {
        name: String, 0+;
        partitions: Vec<OffsetDeleteRequestPartition>, 0+;
    }

    /// One partition.
    part OffsetDeleteRequestPartition {
        partition_index: i32, 0+;
    }

    response OffsetDeleteResponse of OffsetDelete {
        /// An error of the whole request; the response then has no topics.
        error_code: ErrorCode, 0+;
        throttle_time_ms: i32, 0+, ignorable = true;
        topics: Vec<OffsetDeleteResponseTopic>, 0+;
    }

    /// The results of one topic.
    part OffsetDeleteResponseTopic {
        name: String, 0+;
        partitions: Vec<OffsetDeleteResponsePartition>, 0+;
    }

    /// The result for one partition.
    part OffsetDeleteResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
