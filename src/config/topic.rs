//! The settings of a topic: all of Kafka 4.4's and one of Tidemill's own, and the broker settings they fall back to.
//!
//! To add a setting, add one row to [`SETTINGS`]: it gives the field of [`TopicConfig`], the check of an override, the
//! default, the fallback and the DescribeConfigs entry. `log` and `partition` read one shared `TopicConfig`.

use std::collections::BTreeMap;

use super::broker::{BrokerConfig, RECORD_BYTES_MAX};
use super::choices::{CLEANUP_POLICIES, COMPRESSION_TYPES, CleanupPolicy, CompressionType, TIMESTAMP_TYPES};
use super::nearest::nearest;
use super::setting::{FromValue, InvalidValue, Kind, Setting, Value, double, int, int_from, int_or, long_from};
use crate::model::{Codec, TimestampType, TopicCompression};

/// A topic's setting and the broker settings that it falls back to.
#[derive(Clone, Copy, Debug)]
pub struct TopicSetting {
    /// The topic's own name, type and description.
    pub setting: Setting,
    /// The broker settings that hold for a topic without an override, the highest precedence first. Each comes with the
    /// factor that converts its unit to the topic setting's, such as hours to milliseconds.
    pub falls_back_to: &'static [(&'static str, i64)],
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A row is `field: type = name, kind, default, [broker setting (x factor)...], doc;`. The table, the struct and the
/// resolution are made from the same rows, so that they cannot disagree.
macro_rules! topic_settings {
    ($($field:ident: $type:ty = $name:literal, $kind:expr, $default:literal, $brokers:tt, $doc:literal;)*) => {
        /// Every topic setting, sorted by name.
        pub const SETTINGS: &[TopicSetting] = &[$(topic_settings!(@row $name, $kind, $default, $brokers, $doc),)*];

        /// A topic's settings, typed and in range: its overrides, and the broker's settings for the rest.
        #[derive(Clone, PartialEq, Debug)]
        pub struct TopicConfig {
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl TopicConfig {
            /// The settings of a topic with these overrides on such a broker.
            pub fn resolve(overrides: &Overrides, broker: &BrokerConfig) -> TopicConfig {
                TopicConfig {
                    $($field: {
                        let row = topic_settings!(@row $name, $kind, $default, $brokers, $doc);
                        <$type>::from_value(&resolve(&row, overrides, broker))
                    },)*
                }
            }
        }
    };
    (@row $name:literal, $kind:expr, $default:literal, [$($broker:literal $(x $factor:expr)?),*], $doc:literal) => {
        TopicSetting {
            setting: Setting { name: $name, kind: $kind, default: Some($default), doc: $doc },
            falls_back_to: &[$(($broker, topic_settings!(@factor $($factor)?))),*],
        }
    };
    (@factor) => { 1 };
    (@factor $factor:expr) => { $factor };
}

topic_settings! {
    cleanup_policy: CleanupPolicy = "cleanup.policy", Kind::ListOf(CLEANUP_POLICIES), "delete", ["log.cleanup.policy"],
        "How old segments are cleaned up: delete, compact, both, or not.";
    compression_gzip_level: i32 = "compression.gzip.level", int_or(-1, 1, 9), "-1", ["compression.gzip.level"],
        "The level when compression.type is gzip; -1 is gzip's own default.";
    compression_lz4_level: i32 = "compression.lz4.level", int(1, 17), "9", ["compression.lz4.level"],
        "The level when compression.type is lz4.";
    compression_type: CompressionType = "compression.type", Kind::OneOf(COMPRESSION_TYPES), "producer",
        ["compression.type"],
        "How batches are stored: as the producer compressed them, or always with this codec.";
    compression_zstd_level: i32 = "compression.zstd.level", int(-131_072, 22), "3", ["compression.zstd.level"],
        "The level when compression.type is zstd.";
    delete_retention_ms: i64 = "delete.retention.ms", long_from(0), "86400000", ["log.cleaner.delete.retention.ms"],
        "How long a compacted topic keeps the tombstone of a deleted key.";
    errors_deadletterqueue_group_enable: bool = "errors.deadletterqueue.group.enable", Kind::Boolean, "false", [],
        "No effect so far. With share groups, whether the topic takes their undeliverable records.";
    file_delete_delay_ms: u64 = "file.delete.delay.ms", long_from(0), "60000", ["log.segment.delete.delay.ms"],
        "How long the files of a deleted segment are kept, for reads in progress.";
    flush_messages: i64 = "flush.messages", long_from(1), "9223372036854775807", ["log.flush.interval.messages"],
        "Kafka's flush by count. \
         Tidemill flushes every acknowledged record anyway. No effect if tidemill.flush.ack is false.";
    flush_ms: i64 = "flush.ms", long_from(0), "9223372036854775807", ["log.flush.interval.ms"],
        "Kafka's flush by time. \
         Tidemill flushes every acknowledged record anyway. No effect if tidemill.flush.ack is false.";
    follower_replication_throttled_replicas: Vec<String> = "follower.replication.throttled.replicas",
        Kind::ThrottledReplicas, "", [],
        "No effect so far. The followers whose replication a quota throttles: * or partition:broker,...";
    index_interval_bytes: u64 = "index.interval.bytes", int_from(0), "4096", ["log.index.interval.bytes"],
        "Roughly how many bytes of records lie between two index entries.";
    leader_replication_throttled_replicas: Vec<String> = "leader.replication.throttled.replicas",
        Kind::ThrottledReplicas, "", [],
        "No effect so far. The leaders whose replication a quota throttles: * or partition:broker,...";
    local_retention_bytes: i64 = "local.retention.bytes", long_from(-2), "-2", ["log.local.retention.bytes"],
        "No effect so far. With tiered storage, how much of a partition stays on local disks; -2 is retention.bytes.";
    local_retention_ms: i64 = "local.retention.ms", long_from(-2), "-2", ["log.local.retention.ms"],
        "No effect so far. With tiered storage, how long records stay on local disks; -2 is retention.ms.";
    max_compaction_lag_ms: i64 = "max.compaction.lag.ms", long_from(1), "9223372036854775807",
        ["log.cleaner.max.compaction.lag.ms"],
        "How long a record stays uncompacted at most.";
    max_decompressed_message_bytes: usize = "max.decompressed.message.bytes", int(1, RECORD_BYTES_MAX), "2147483639",
        ["max.decompressed.message.bytes"],
        "The largest record that is accepted in a compressed batch, decompressed.";
    max_message_bytes: usize = "max.message.bytes", int_from(0), "1048588", ["message.max.bytes"],
        "The largest batch that is accepted, as sent (compressed).";
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms", long_from(0), "3600000",
        ["log.message.timestamp.after.max.ms"],
        "How far in the future a producer's timestamp may be.";
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms", long_from(0), "9223372036854775807",
        ["log.message.timestamp.before.max.ms"],
        "How far in the past a producer's timestamp may be.";
    message_timestamp_type: TimestampType = "message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), "CreateTime",
        ["log.message.timestamp.type"],
        "Whether a record's timestamp is the producer's or the time of its append.";
    min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio", double(0.0, 1.0), "0.5",
        ["log.cleaner.min.cleanable.ratio"],
        "The share of a log that must be uncompacted before the log is compacted.";
    min_compaction_lag_ms: i64 = "min.compaction.lag.ms", long_from(0), "0", ["log.cleaner.min.compaction.lag.ms"],
        "How long a record stays uncompacted at least.";
    min_insync_replicas: usize = "min.insync.replicas", int_from(1), "1", ["min.insync.replicas"],
        "In-sync replicas that a write with acks=all requires.";
    preallocate: bool = "preallocate", Kind::Boolean, "false", ["log.preallocate"],
        "No effect. Kafka allocates the space of a new segment when it is created.";
    remote_copy_lag_bytes: i64 = "remote.copy.lag.bytes", long_from(-1), "-1", ["log.remote.copy.lag.bytes"],
        "No effect so far. With tiered storage, how many newer bytes a segment waits for; -1 is local.retention.bytes.";
    remote_copy_lag_ms: i64 = "remote.copy.lag.ms", long_from(-1), "0", ["log.remote.copy.lag.ms"],
        "No effect so far. With tiered storage, how long a segment waits for its upload; -1 is local.retention.ms.";
    remote_log_copy_disable: bool = "remote.log.copy.disable", Kind::Boolean, "false", [],
        "No effect so far. With tiered storage, whether uploading segments is stopped.";
    remote_log_delete_on_disable: bool = "remote.log.delete.on.disable", Kind::Boolean, "false", [],
        "No effect so far. With tiered storage, whether turning it off deletes the uploaded segments.";
    remote_storage_enable: bool = "remote.storage.enable", Kind::Boolean, "false", [],
        "Whether old segments move to tiered storage. Not available so far.";
    retention_bytes: i64 = "retention.bytes", long_from(i64::MIN), "-1", ["log.retention.bytes"],
        "The size of a partition above which its oldest segments are removed; below 0 is without limit.";
    retention_ms: i64 = "retention.ms", long_from(-1), "604800000",
        ["log.retention.ms", "log.retention.minutes" x MINUTE_MS, "log.retention.hours" x HOUR_MS],
        "How long records are kept; -1 is for ever.";
    segment_bytes: u64 = "segment.bytes", int_from(1 << 20), "1073741824", ["log.segment.bytes"],
        "A segment is closed before it grows larger than this.";
    segment_index_bytes: usize = "segment.index.bytes", int_from(4), "10485760", ["log.index.size.max.bytes"],
        "How large a segment's index may grow; a full index closes the segment.";
    segment_jitter_ms: i64 = "segment.jitter.ms", long_from(0), "0",
        ["log.roll.jitter.ms", "log.roll.jitter.hours" x HOUR_MS],
        "Segments are closed up to this much earlier, at random, so that they do not all close at once.";
    segment_ms: i64 = "segment.ms", long_from(1), "604800000", ["log.roll.ms", "log.roll.hours" x HOUR_MS],
        "A segment is closed when it is this old.";
    flush_ack: bool = "tidemill.flush.ack", Kind::Boolean, "true", ["flush.ack"],
        "true: a record is acknowledged when it is on stable storage. \
         false: when written; a crash of the machine can lose it.";
    unclean_leader_election_enable: bool = "unclean.leader.election.enable", Kind::Boolean, "false",
        ["unclean.leader.election.enable"],
        "No effect on a single node. Whether a replica that is not in sync may lead when no other can. It loses \
         records.";
}

impl TopicConfig {
    /// How the topic stores batches, with the level of the codec that it names.
    pub fn compression(&self) -> TopicCompression {
        let CompressionType::Always(codec) = self.compression_type else { return TopicCompression::Producer };
        let level = match codec {
            Codec::Gzip => Some(self.compression_gzip_level).filter(|level| *level >= 0),
            Codec::Lz4 => Some(self.compression_lz4_level),
            Codec::Zstd => Some(self.compression_zstd_level),
            Codec::Snappy | Codec::None => None,
        };
        TopicCompression::Always(codec, level)
    }

    /// Whether segments are removed because of their age or of the log's size.
    pub fn has_retention(&self) -> bool {
        self.cleanup_policy.deletes && (self.retention_ms >= 0 || self.retention_bytes >= 0)
    }

    /// Whether clients may delete records. In a topic that is only compacted, they may not.
    pub fn is_deletable(&self) -> bool {
        self.cleanup_policy.deletes || !self.cleanup_policy.compacts
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::resolve(&Overrides::new(), &BrokerConfig::default())
    }
}

/// A topic's overrides, as given: names of [`SETTINGS`], and texts that were legal when they were given.
pub type Overrides = BTreeMap<String, String>;

/// An override that a topic cannot have. The client gets the text with INVALID_CONFIG.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InvalidOverride {
    /// No topic setting has the name.
    #[error(
        "Unknown topic config name: {name}{}",
        hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default()
    )]
    Unknown {
        /// The name as given.
        name: String,
        /// The most similar name, if one is near.
        hint: Option<&'static str>,
    },
    /// A null for a setting that has no null.
    #[error("Null value not supported for topic configs: {name}")]
    Null {
        /// The setting's name.
        name: String,
    },
    /// The value is not legal for the setting.
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    /// The minimum is above the maximum (KIP-354).
    #[error("conflict topic config setting min.compaction.lag.ms ({min_ms}) > max.compaction.lag.ms ({max_ms})")]
    CompactionLags {
        /// `min.compaction.lag.ms`
        min_ms: i64,
        /// `max.compaction.lag.ms`
        max_ms: i64,
    },
    /// `remote.storage.enable=true` (KIP-405).
    #[error(
        "Tiered Storage functionality is disabled in the broker. \
         Topic cannot be configured with remote log storage."
    )]
    RemoteStorage,
}

/// The row called `name`.
pub fn setting(name: &str) -> Option<&'static TopicSetting> {
    SETTINGS.iter().find(|row| row.setting.name == name)
}

/// The value of one override, or why a topic cannot have it.
pub fn check(name: &str, text: Option<&str>) -> Result<Value, InvalidOverride> {
    let Some(row) = setting(name) else {
        let hint = nearest(name, SETTINGS.iter().map(|row| row.setting.name));
        return Err(InvalidOverride::Unknown { name: name.into(), hint });
    };
    let text = text.ok_or_else(|| InvalidOverride::Null { name: name.into() })?;
    Ok(row.setting.parse(text)?)
}

/// Checks each override, and all of them together on such a broker.
pub fn check_all(overrides: &Overrides, broker: &BrokerConfig) -> Result<(), InvalidOverride> {
    for (name, text) in overrides {
        check(name, Some(text))?;
    }
    let config = TopicConfig::resolve(overrides, broker);
    let (min_ms, max_ms) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
    if min_ms > max_ms {
        return Err(InvalidOverride::CompactionLags { min_ms, max_ms });
    }
    if config.remote_storage_enable {
        return Err(InvalidOverride::RemoteStorage);
    }
    Ok(())
}

/// A setting's value for a topic with these overrides. An override that is not legal counts as absent: it was legal
/// when it was made, and a later release may have narrowed the range.
fn resolve(row: &TopicSetting, overrides: &Overrides, broker: &BrokerConfig) -> Value {
    let own = overrides.get(row.setting.name).and_then(|text| row.setting.parse(text).ok());
    let value = own.unwrap_or_else(|| fallback(row, broker).0);
    debug_assert!(row.setting.is_legal(&value), "CONF-1: {} = {value} is not in its range", row.setting.name);
    value
}

/// A setting's value for a topic without an override (CONF-2), and the name of the broker setting that it comes from.
pub fn fallback(row: &TopicSetting, broker: &BrokerConfig) -> (Value, Option<&'static str>) {
    for &(name, factor) in row.falls_back_to {
        match broker.value(name).expect("a topic setting falls back to broker settings; a test checks the names") {
            Value::Null => {}
            // -1 means without limit in every unit.
            Value::Int(value) if value >= 0 => {
                let converted = value.saturating_mul(factor);
                assert!(converted / factor == value, "CONF-2: {name} = {value} times {factor} is out of range");
                return (Value::Int(converted), Some(name));
            }
            value => return (value, Some(name)),
        }
    }
    (row.setting.default_value(), None)
}

#[cfg(test)]
mod tests;
