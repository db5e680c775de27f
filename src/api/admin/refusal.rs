//! What is said about one topic of an admin request that is refused.

use crate::metadata::Rejected;
use crate::model::ErrorCode;

/// Requests that would create more partitions than this are refused whole, as in Kafka: 10,000 topics of one
/// partition, or one of 10,000. It also bounds what a count in a request can make us allocate.
pub(in crate::api) const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
pub(in crate::api) const TOO_MANY_PARTITIONS: &str = "Excessively large number of partitions per request.";
pub(in crate::api) const DUPLICATE_NAME: &str = "Duplicate topic name.";
pub(in crate::api) const UNKNOWN_TOPIC: &str = "This server does not host this topic-partition.";
pub(in crate::api) const UNKNOWN_TOPIC_ID: &str = "This server does not host this topic ID.";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::api) struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// The one map from what the image refuses to what a client is told.
impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Refusal {
        let code = match rejected {
            Rejected::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            Rejected::InvalidName(_) | Rejected::NameCollides { .. } => ErrorCode::InvalidTopicException,
            Rejected::UnknownTopic(_) => ErrorCode::UnknownTopicId,
            Rejected::NoPartitions | Rejected::PartitionsMoved { .. } => ErrorCode::InvalidPartitions,
            Rejected::BadReplicas { .. } => ErrorCode::InvalidReplicaAssignment,
            Rejected::UnknownNode(_) => ErrorCode::BrokerIdNotRegistered,
            Rejected::StaleIncarnation { .. } => ErrorCode::StaleBrokerEpoch,
            // Not a client's doing: a fresh id that is taken, a cluster that is formatted twice.
            Rejected::IdTaken(_)
            | Rejected::AlreadyFormatted { .. }
            | Rejected::ClusterIdLength(_)
            | Rejected::NodeUnusable { .. }
            | Rejected::ProducerIdsExhausted => ErrorCode::UnknownServerError,
        };
        Refusal::new(code, rejected.to_string())
    }
}
