//! Settings whose value is one of a few words: the words, and the type that each setting becomes.

use super::setting::{FromValue, Value};
use crate::model::{Codec, TimestampType};

/// `routing`.
pub const ROUTINGS: &[&str] = &["direct", "steer", "forward"];
/// `cleanup.policy`: none, one or both of them.
pub const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
/// `compression.type`.
pub const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// `message.timestamp.type`.
pub const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
/// `group.consumer.assignors`: the server-side assignors of KIP-848.
pub const ASSIGNORS: &[&str] = &["uniform", "range"];
/// `group.consumer.migration.policy`.
pub const MIGRATIONS: &[&str] = &["bidirectional", "upgrade", "downgrade", "disabled"];
/// `replica.selector.class` (KIP-392).
pub const REPLICA_SELECTORS: &[&str] =
    &["org.apache.kafka.common.replica.LeaderSelector", "org.apache.kafka.common.replica.RackAwareReplicaSelector"];

/// How clients reach the core that owns a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Routing {
    /// Each shard is a broker with a port of its own.
    Direct,
    /// A node is one broker with one port.
    Forward,
    /// Each shard is a broker, and all of them have the listener's port. The first request on a connection that names a
    /// partition, a group or a transaction moves the connection to the shard.
    Steer,
}

impl FromValue for Routing {
    fn from_value(value: &Value) -> Routing {
        match Option::<String>::from_value(value).as_deref() {
            Some("forward") => Routing::Forward,
            Some("steer") => Routing::Steer,
            // Not set: the advertised hosts decide.
            _ => Routing::Direct,
        }
    }
}

/// How old segments of a topic are cleaned up. Both at once and neither are legal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    /// Segments past `retention.ms` or `retention.bytes` are removed.
    pub deletes: bool,
    /// Segments are compacted to the latest record of each key.
    pub compacts: bool,
}

impl FromValue for CleanupPolicy {
    fn from_value(value: &Value) -> CleanupPolicy {
        let policies = Vec::<String>::from_value(value);
        let has = |policy| policies.iter().any(|other| other == policy);
        CleanupPolicy { deletes: has("delete"), compacts: has("compact") }
    }
}

/// How a topic's batches are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressionType {
    /// As the producer compressed them.
    Producer,
    /// Always with this codec. `uncompressed` is [`Codec::None`].
    Always(Codec),
}

impl FromValue for CompressionType {
    fn from_value(value: &Value) -> CompressionType {
        match String::from_value(value).as_str() {
            "producer" => CompressionType::Producer,
            name => CompressionType::Always(Codec::from_name(name).unwrap_or(Codec::None)),
        }
    }
}

impl FromValue for TimestampType {
    fn from_value(value: &Value) -> TimestampType {
        match String::from_value(value).as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }
}

/// The groups that may change their protocol while they have members (KIP-848).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    /// From classic to consumer.
    pub upgrades: bool,
    /// From consumer to classic.
    pub downgrades: bool,
}

impl FromValue for Migration {
    fn from_value(value: &Value) -> Migration {
        let policy = String::from_value(value);
        Migration {
            upgrades: matches!(policy.as_str(), "bidirectional" | "upgrade"),
            downgrades: matches!(policy.as_str(), "bidirectional" | "downgrade"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_type_has_a_meaning() {
        for word in COMPRESSION_TYPES {
            let expected = match *word {
                "producer" => CompressionType::Producer,
                "uncompressed" => CompressionType::Always(Codec::None),
                "gzip" => CompressionType::Always(Codec::Gzip),
                "snappy" => CompressionType::Always(Codec::Snappy),
                "lz4" => CompressionType::Always(Codec::Lz4),
                "zstd" => CompressionType::Always(Codec::Zstd),
                other => panic!("{other} is new: add its meaning"),
            };
            assert_eq!(CompressionType::from_value(&Value::Text((*word).into())), expected);
        }
    }
}
