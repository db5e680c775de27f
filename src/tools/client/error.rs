//! The errors of the client, with their evidence and hints.

use crate::model::ErrorCode;
use crate::wire::{Malformed, Unencodable};
use std::io;
use std::time::Duration;

/// Why a client call failed. `Display` gives one sentence for the user; [`hint`](Self::hint) gives the next step.
///
/// Fields: `address` and `bootstrap` are `host:port`, `during` and `api` are API names such as `Produce`, version
/// ranges are `(min, max)`, and `source` is the cause.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the enum's documentation describes the fields of all variants")]
pub enum ClientError {
    /// The bootstrap list is empty.
    #[error("{bootstrap:?} names no broker")]
    NoBootstrap { bootstrap: String },
    /// A bootstrap address cannot be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    /// An address from the cluster metadata cannot be reached.
    #[error("cannot connect to {address}, which the broker at {bootstrap} advertises: {source}")]
    ConnectAdvertised { address: String, bootstrap: String, source: io::Error },
    /// The socket failed in the middle of a request.
    #[error("the connection to {address} broke during {during}: {source}")]
    Io { address: String, during: &'static str, source: io::Error },
    /// The broker closed the connection before it responded.
    #[error("{address} closed the connection during {during}")]
    Closed { address: String, during: &'static str },
    /// The broker did not respond within the timeout.
    #[error("no answer to {during} from {address} within {} s", waited.as_secs())]
    TimedOut { address: String, during: &'static str, waited: Duration },
    /// The peer sent bytes that no Kafka broker sends.
    #[error("{address} does not speak Kafka: {reason}")]
    NotKafka { address: String, reason: String },
    /// The response body cannot be decoded.
    #[error("cannot decode the response to {during} from {address}: {source}")]
    Malformed { address: String, during: &'static str, source: Malformed },
    /// Client and broker share no version of the API. `theirs` is `None` if the broker does not have the API.
    #[error("{address} speaks {api} {theirs:?}, and this client {ours:?}")]
    NoCommonVersion { address: String, api: &'static str, ours: (i16, i16), theirs: Option<(i16, i16)> },
    /// The negotiated version has no field for a part of the request.
    #[error("cannot encode the request in the version of {api} that {address} speaks: {source}")]
    Unencodable { address: String, api: &'static str, source: Unencodable },
    /// The metadata names a leader or coordinator that is not among the brokers.
    #[error("broker {broker_id} is not in the cluster's metadata")]
    UnknownBroker { broker_id: i32 },
    /// The cluster has no such topic.
    #[error("topic {topic:?} does not exist")]
    UnknownTopic { topic: String },
    /// No topic has a name of this pattern.
    #[error("no topic matches {pattern:?}")]
    NoTopicMatches { pattern: String },
    /// The topic has `partitions` partitions, numbered from 0; `partition` is not one of them.
    #[error("topic {topic:?} has no partition {partition}; it has {partitions}")]
    UnknownPartition { topic: String, partition: i32, partitions: usize },
    /// The broker responded with an error code. `subject` starts the sentence, such as `cannot create topic "t"`.
    #[error("{subject}: {}{}", reason(*code), message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused { subject: String, code: ErrorCode, message: Option<String> },
}

impl ClientError {
    /// Returns [`ClientError::Refused`] for every error code but `None`.
    pub fn check(
        code: ErrorCode,
        message: Option<String>,
        subject: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        if code == ErrorCode::None { Ok(()) } else { Err(ClientError::Refused { subject: subject(), code, message }) }
    }

    /// The broker's response lacks the topic or partition of the request.
    pub(super) fn missing_result(subject: String) -> ClientError {
        let message = Some("the broker's response leaves it out".into());
        ClientError::Refused { subject, code: ErrorCode::UnknownServerError, message }
    }

    /// Turns [`ClientError::Connect`] into [`ClientError::ConnectAdvertised`]: the address came from the metadata.
    pub(super) fn advertised_by(self, bootstrap: &str) -> ClientError {
        match self {
            ClientError::Connect { address, source } => {
                ClientError::ConnectAdvertised { address, bootstrap: bootstrap.to_string(), source }
            }
            other => other,
        }
    }

    /// Whether the connection can no longer be used. It is then unknown whether the broker carried out the request.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, ClientError::Io { .. } | ClientError::Closed { .. } | ClientError::TimedOut { .. })
    }

    /// The next step for the user, if there is a likely one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ClientError::NoBootstrap { .. } => "give a broker's address with --bootstrap HOST:PORT".into(),
            ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "is a broker running there? start one with `tidemill serve`, or name another with --bootstrap HOST:PORT"
                    .into()
            }
            ClientError::Connect { address, .. } if !has_port(address) => {
                format!("the address lacks its port; write HOST:PORT, such as {address}:9092")
            }
            ClientError::Connect { .. } => "check the address; name another broker with --bootstrap HOST:PORT".into(),
            ClientError::ConnectAdvertised { .. } => {
                "the broker's advertised host must be reachable from here; set it in the broker's configuration".into()
            }
            ClientError::NotKafka { .. } => "is this the port of a Kafka listener without TLS?".into(),
            ClientError::TimedOut { during: "ApiVersions", .. } => {
                "is this the port of a Kafka listener? A busy broker needs a longer --timeout SECONDS".into()
            }
            ClientError::NoTopicMatches { .. } => "list the topics with `tidemill topic list`".into(),
            ClientError::TimedOut { .. } => "wait longer with --timeout SECONDS, or look at the broker's log".into(),
            ClientError::UnknownTopic { topic } => {
                format!("create it with `tidemill topic create {topic}`, or see `tidemill topic list`")
            }
            ClientError::UnknownPartition { partitions, .. } if *partitions > 0 => {
                format!("choose one from 0 to {}", partitions - 1)
            }
            ClientError::Refused { code, .. } => refusal_hint(*code)?.into(),
            _ => return None,
        })
    }
}

/// The name of the code, and for a code that has no message its meaning.
fn reason(code: ErrorCode) -> String {
    let meaning = match code {
        ErrorCode::GroupIdNotFound => "the group does not exist",
        ErrorCode::NonEmptyGroup => "the group has members",
        ErrorCode::GroupSubscribedToTopic => "a member of the group subscribes to the topic",
        ErrorCode::TransactionalIdNotFound => "the transactional id does not exist",
        code => return code.name().into(),
    };
    format!("{meaning} ({})", code.name())
}

/// Whether the address ends with a port.
fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn refusal_hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TopicAlreadyExists => "see it with `tidemill topic describe`, or use --if-not-exists",
        ErrorCode::UnknownTopicOrPartition => "list the topics with `tidemill topic list`",
        ErrorCode::InvalidReplicationFactor => {
            "use a smaller --replication-factor, or leave it out for the broker's default"
        }
        ErrorCode::PolicyViolation => "a broker limits a request, for example to 10,000 new partitions",
        ErrorCode::TopicDeletionDisabled => "the broker runs with delete.topic.enable=false",
        ErrorCode::NonEmptyGroup => "stop its members first; `tidemill group describe` shows them",
        ErrorCode::GroupIdNotFound => "list the groups with `tidemill group list`",
        ErrorCode::GroupSubscribedToTopic => "stop the members that subscribe to the topic first",
        ErrorCode::TransactionalIdNotFound => "list the transactional ids with `tidemill txn list`",
        ErrorCode::MessageTooLarge => "raise the topic's max.message.bytes, or send smaller records",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "too few replicas are in sync; see `tidemill topic describe`, and check which brokers are down"
        }
        ErrorCode::InvalidTimestamp => {
            "the topic limits timestamps; see message.timestamp.*.max.ms in its configuration"
        }
        ErrorCode::InvalidConfig => "see the settings and values of a topic with `tidemill topic describe NAME --json`",
        ErrorCode::OffsetOutOfRange => "the log no longer has this offset; start with --offset beginning",
        ErrorCode::InvalidRecord => "a compacted topic requires keys: use --key-separator",
        _ => return None,
    })
}
