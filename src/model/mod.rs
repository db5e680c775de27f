//! The words every layer shares: ids, offsets, epochs, names, Kafka error codes.
//!
//! Owns no state and does no I/O. Everything here is `Copy` or a small value.

pub mod error_code;
pub mod ids;
pub mod topic_name;

pub use error_code::ErrorCode;
pub use ids::{
    BrokerId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, ShardId, TopicId, TopicPartition,
};
pub use topic_name::{InvalidTopicName, TopicName};
