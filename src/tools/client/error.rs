//! Everything that can go wrong between a client and a cluster.

use crate::model::ErrorCode;
use crate::wire::{Malformed, Unencodable};
use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{bootstrap:?} names no broker")]
    NoBootstrap { bootstrap: String },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("cannot connect to {address}, which the broker at {bootstrap} told us to use: {source}")]
    ConnectAdvertised { address: String, bootstrap: String, source: io::Error },
    #[error("the connection to {address} broke during {during}: {source}")]
    Io { address: String, during: &'static str, source: io::Error },
    #[error("{address} closed the connection during {during}")]
    Closed { address: String, during: &'static str },
    #[error("no answer to {during} from {address} within {} s", waited.as_secs())]
    TimedOut { address: String, during: &'static str, waited: Duration },
    #[error("{address} does not speak Kafka: {reason}")]
    NotKafka { address: String, reason: String },
    #[error("the answer to {during} from {address} cannot be read: {source}")]
    Malformed { address: String, during: &'static str, source: Malformed },
    #[error("{address} speaks {api} {theirs:?}, and this client {ours:?}")]
    NoCommonVersion { address: String, api: &'static str, ours: (i16, i16), theirs: Option<(i16, i16)> },
    #[error("the request cannot be said in the version of {api} that {address} speaks: {source}")]
    Unencodable { address: String, api: &'static str, source: Unencodable },
    #[error("broker {broker_id} is not in the cluster's metadata")]
    UnknownBroker { broker_id: i32 },
    #[error("topic {topic:?} does not exist")]
    UnknownTopic { topic: String },
    #[error("topic {topic:?} has no partition {partition}; it has {partitions}")]
    UnknownPartition { topic: String, partition: i32, partitions: usize },
    /// The broker refused. `subject` is a sentence's beginning, such as `cannot create topic "t"`.
    #[error("{subject}: {}{}", code.name(), message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused { subject: String, code: ErrorCode, message: Option<String> },
}

impl ClientError {
    /// A broker's error code, unless it says that all is well.
    pub fn check(
        code: ErrorCode,
        message: Option<String>,
        subject: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        if code == ErrorCode::None { Ok(()) } else { Err(ClientError::Refused { subject: subject(), code, message }) }
    }

    /// A failure to connect, now known to be to an address that a broker advertised.
    pub(super) fn advertised_by(self, bootstrap: &str) -> ClientError {
        match self {
            ClientError::Connect { address, source } => {
                ClientError::ConnectAdvertised { address, bootstrap: bootstrap.to_string(), source }
            }
            other => other,
        }
    }

    /// Whether the connection is of no more use. Whether the request was carried out is then unknown.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, ClientError::Io { .. } | ClientError::Closed { .. } | ClientError::TimedOut { .. })
    }

    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ClientError::NoBootstrap { .. } => "give a broker's address with --bootstrap HOST:PORT".into(),
            ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "is a broker running there? start one with `tidemill serve`, or name another with --bootstrap HOST:PORT"
                    .into()
            }
            ClientError::Connect { .. } => "check the address; name another broker with --bootstrap HOST:PORT".into(),
            ClientError::ConnectAdvertised { .. } => {
                "the broker's advertised host must be reachable from here; set it in the broker's configuration".into()
            }
            ClientError::NotKafka { .. } => "is this the port of a Kafka listener, and one without TLS?".into(),
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

fn refusal_hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TopicAlreadyExists => "see it with `tidemill topic describe`, or use --if-not-exists",
        ErrorCode::UnknownTopicOrPartition => "see the topics there are with `tidemill topic list`",
        ErrorCode::InvalidReplicationFactor => "there are fewer brokers than that; use a smaller --replication-factor",
        ErrorCode::MessageTooLarge => "raise the topic's max.message.bytes, or send smaller records",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "too few replicas are in sync; see `tidemill topic describe`, and the brokers that are down"
        }
        ErrorCode::InvalidTimestamp => {
            "the topic bounds timestamps; see message.timestamp.*.max.ms in its configuration"
        }
        ErrorCode::InvalidConfig => "see the topic settings and their values with `tidemill topic describe --json`",
        ErrorCode::OffsetOutOfRange => "the log has moved on; start with --offset beginning",
        ErrorCode::InvalidRecord => "a compacted topic needs keys: use --key-separator",
        _ => return None,
    })
}
