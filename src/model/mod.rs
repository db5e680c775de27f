//! The types that every layer shares: ids, offsets, epochs, topic names, codecs, Kafka error codes. Also the text of a
//! number with its noun, and histograms.
//!
//! Owns no state and does no I/O. Inputs and outputs are small values, most of them `Copy`. Does not know: any other
//! module. Runs on any thread.

mod batch_format;
mod counted;
mod error_code;
pub mod histogram;
mod ids;
mod topic_name;

pub use batch_format::{Codec, TimestampType, TopicCompression};
pub use counted::counted;
pub use error_code::ErrorCode;
pub use histogram::{Distribution, Histogram};
pub use ids::{
    BrokerId, LeaderEpoch, NodeId, Offset, PartitionIndex, Position, ProducerEpoch, ProducerId, ShardId, TopicId,
    TopicPartition,
};
pub use topic_name::{InvalidTopicName, TopicName};
