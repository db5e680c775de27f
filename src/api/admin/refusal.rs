//! The error of one topic or resource of an admin request.

use std::collections::HashMap;

use crate::metadata::CommandRejected;
use crate::model::ErrorCode;

/// The most partitions that one request may create, as in Kafka. It also bounds the memory that a partition count in a
/// request can allocate.
pub(in crate::api) const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
pub(in crate::api) const TOO_MANY_PARTITIONS: &str = "Excessively large number of partitions per request.";
pub(in crate::api) const DUPLICATE_NAME: &str = "Duplicate topic name.";
pub(in crate::api) const UNKNOWN_TOPIC: &str = "This server does not host this topic-partition.";
pub(in crate::api) const UNKNOWN_TOPIC_ID: &str = "This server does not host this topic ID.";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::api) struct AdminRefusal {
    pub code: ErrorCode,
    pub message: String,
}

impl AdminRefusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> AdminRefusal {
        AdminRefusal { code, message: message.into() }
    }
}

/// Plans each topic of a request, in order, and rejects the names that the request repeats. Each name has one result.
pub(in crate::api) fn plan_each_name<T, P>(
    topics: &[T],
    name_of: impl Fn(&T) -> &str,
    mut plan_one: impl FnMut(&T) -> Result<P, AdminRefusal>,
) -> Vec<(&T, Result<P, AdminRefusal>)> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    topics.iter().for_each(|topic| *times.entry(name_of(topic)).or_default() += 1);
    let planned = topics.iter().filter_map(|topic| match times.remove(name_of(topic))? {
        1 => Some((topic, plan_one(topic))),
        _ => Some((topic, Err(AdminRefusal::new(ErrorCode::InvalidRequest, DUPLICATE_NAME)))),
    });
    planned.collect()
}

/// Maps the errors of the image to error codes.
impl From<CommandRejected> for AdminRefusal {
    fn from(rejected: CommandRejected) -> AdminRefusal {
        let code = match rejected {
            CommandRejected::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            CommandRejected::InvalidName(_) | CommandRejected::NameCollides { .. } => ErrorCode::InvalidTopicException,
            CommandRejected::UnknownTopic(_) => ErrorCode::UnknownTopicId,
            CommandRejected::NoPartitions | CommandRejected::PartitionsMoved { .. } => ErrorCode::InvalidPartitions,
            CommandRejected::BadReplicas { .. } => ErrorCode::InvalidReplicaAssignment,
            CommandRejected::UnknownNode(_) => ErrorCode::BrokerIdNotRegistered,
            CommandRejected::StaleIncarnation { .. } => ErrorCode::StaleBrokerEpoch,
            // A client cannot cause these: a fresh id that is in use, a cluster that is formatted twice.
            CommandRejected::IdTaken(_)
            | CommandRejected::AlreadyFormatted { .. }
            | CommandRejected::ClusterIdLength(_)
            | CommandRejected::NodeUnusable { .. }
            | CommandRejected::ProducerIdsExhausted => ErrorCode::UnknownServerError,
        };
        AdminRefusal::new(code, rejected.to_string())
    }
}
