//! The settings of a topic: all of Kafka 4.3's and one of ours, and what each falls back to.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::nearest::nearest;
use super::setting::{FromValue, Invalid, Kind, Setting, Value, double, int, int_from, int_or, long_from};

/// A topic's setting and the broker's settings that stand in for it.
#[derive(Clone, Copy, Debug)]
pub struct TopicSetting {
    pub setting: Setting,
    /// The broker's settings for topics without an override, the most decisive first, each with what one of its units is
    /// in units of the topic's (hours in milliseconds).
    pub falls_back_to: &'static [(&'static str, i64)],
}

pub const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// `name, kind, default, [broker's name (x unit)...], line of text;`
macro_rules! topic_settings {
    ($($name:literal, $kind:expr, $default:literal, [$($broker:literal $(x $unit:expr)?),*], $doc:literal;)*) => {
        /// Every topic setting, by name in order.
        pub const SETTINGS: &[TopicSetting] = &[
            $(TopicSetting {
                setting: Setting { name: $name, kind: $kind, default: Some($default), doc: $doc },
                falls_back_to: &[$(($broker, topic_settings!(@unit $($unit)?))),*],
            },)*
        ];
    };
    (@unit) => { 1 };
    (@unit $unit:expr) => { $unit };
}

topic_settings! {
    "cleanup.policy", Kind::ListOf(CLEANUP_POLICIES), "delete", ["log.cleanup.policy"],
        "What happens to old segments: delete, compact, both, or nothing.";
    "compression.gzip.level", int_or(-1, 1, 9), "-1", ["compression.gzip.level"],
        "The level when compression.type is gzip; -1 is gzip's own default.";
    "compression.lz4.level", int(1, 17), "9", ["compression.lz4.level"],
        "The level when compression.type is lz4.";
    "compression.type", Kind::OneOf(COMPRESSION_TYPES), "producer", ["compression.type"],
        "How batches are stored: as the producer compressed them, or always in this way.";
    "compression.zstd.level", int(-131_072, 22), "3", ["compression.zstd.level"],
        "The level when compression.type is zstd.";
    "delete.retention.ms", long_from(0), "86400000", ["log.cleaner.delete.retention.ms"],
        "How long a compacted topic keeps the tombstone of a deleted key.";
    "file.delete.delay.ms", long_from(0), "60000", ["log.segment.delete.delay.ms"],
        "How long a deleted segment's files stay, for reads under way.";
    "flush.messages", long_from(1), "9223372036854775807", ["log.flush.interval.messages"],
        "Kafka's flush by count. Every acknowledged record is flushed here anyway, unless tidemill.flush.ack is false.";
    "flush.ms", long_from(0), "9223372036854775807", ["log.flush.interval.ms"],
        "Kafka's flush by time. Every acknowledged record is flushed here anyway, unless tidemill.flush.ack is false.";
    "follower.replication.throttled.replicas", Kind::ThrottledReplicas, "", [],
        "Which followers' replication a quota slows down: * or partition:broker,...";
    "index.interval.bytes", int_from(0), "4096", ["log.index.interval.bytes"],
        "Roughly how many bytes of records lie between two index entries.";
    "leader.replication.throttled.replicas", Kind::ThrottledReplicas, "", [],
        "Which leaders' replication a quota slows down: * or partition:broker,...";
    "local.retention.bytes", long_from(-2), "-2", ["log.local.retention.bytes"],
        "With tiered storage, how much of a partition stays on local disks; -2 is retention.bytes.";
    "local.retention.ms", long_from(-2), "-2", ["log.local.retention.ms"],
        "With tiered storage, how long records stay on local disks; -2 is retention.ms.";
    "max.compaction.lag.ms", long_from(1), "9223372036854775807", ["log.cleaner.max.compaction.lag.ms"],
        "How long a record may wait for compaction.";
    "max.message.bytes", int_from(0), "1048588", ["message.max.bytes"],
        "The largest batch taken, as sent (compressed).";
    "message.timestamp.after.max.ms", long_from(0), "3600000", ["log.message.timestamp.after.max.ms"],
        "How far a producer's timestamp may lie in the future.";
    "message.timestamp.before.max.ms", long_from(0), "9223372036854775807", ["log.message.timestamp.before.max.ms"],
        "How far a producer's timestamp may lie in the past.";
    "message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), "CreateTime", ["log.message.timestamp.type"],
        "Whether a record's timestamp is the producer's or the time of its append.";
    "min.cleanable.dirty.ratio", double(0.0, 1.0), "0.5", ["log.cleaner.min.cleanable.ratio"],
        "The share of a log that must be uncompacted before compaction is worth its while.";
    "min.compaction.lag.ms", long_from(0), "0", ["log.cleaner.min.compaction.lag.ms"],
        "How long a record is safe from compaction.";
    "min.insync.replicas", int_from(1), "1", ["min.insync.replicas"],
        "In-sync replicas needed before a write with acks=all is taken.";
    "preallocate", Kind::Boolean, "false", ["log.preallocate"],
        "Whether a new segment's space is taken at once.";
    "remote.log.copy.disable", Kind::Boolean, "false", [],
        "With tiered storage, whether no more segments are uploaded.";
    "remote.log.delete.on.disable", Kind::Boolean, "false", [],
        "With tiered storage, whether turning it off deletes what was uploaded.";
    "remote.storage.enable", Kind::Boolean, "false", [],
        "Whether old segments move to tiered storage. Not available so far.";
    "retention.bytes", long_from(i64::MIN), "-1", ["log.retention.bytes"],
        "How large a partition grows before its oldest segments go; below 0 is without bound.";
    "retention.ms", long_from(-1), "604800000",
        ["log.retention.ms", "log.retention.minutes" x MINUTE_MS, "log.retention.hours" x HOUR_MS],
        "How long records are kept; -1 is for ever.";
    "segment.bytes", int_from(1 << 20), "1073741824", ["log.segment.bytes"],
        "A segment is closed before it grows beyond this.";
    "segment.index.bytes", int_from(4), "10485760", ["log.index.size.max.bytes"],
        "How large a segment's index may grow; a full index closes the segment.";
    "segment.jitter.ms", long_from(0), "0", ["log.roll.jitter.ms", "log.roll.jitter.hours" x HOUR_MS],
        "At most this much earlier, by chance, so that segments do not close all at once.";
    "segment.ms", long_from(1), "604800000", ["log.roll.ms", "log.roll.hours" x HOUR_MS],
        "A segment is closed when it is this old.";
    "tidemill.flush.ack", Kind::Boolean, "true", ["flush.ack"],
        "true: a record is acknowledged when it is on stable storage. false: when written; a crash of the machine can lose it.";
    "unclean.leader.election.enable", Kind::Boolean, "false", ["unclean.leader.election.enable"],
        "Whether a replica that is not in sync may lead when no other can. It loses records.";
}

/// Whose time a record carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl FromValue for TimestampType {
    fn from_value(value: &Value) -> TimestampType {
        match String::from_value(value).as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }
}

/// A topic's settings as the data path reads them: overrides where there are some, else the broker's.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    pub is_deleted: bool,
    pub is_compacted: bool,
    /// `uncompressed`, `zstd`, `lz4`, `snappy`, `gzip`; `None` keeps the producer's.
    pub compression: Option<String>,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub max_message_bytes: i32,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub min_insync_replicas: i32,
    /// Acknowledge only what is on stable storage.
    pub flush_ack: bool,
    /// `None` is without bound.
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
    pub segment_bytes: u32,
    pub segment_ms: u64,
    pub segment_jitter_ms: u64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    pub file_delete_delay_ms: u64,
    pub preallocate: bool,
    pub delete_retention_ms: u64,
    pub min_compaction_lag_ms: u64,
    pub max_compaction_lag_ms: u64,
    pub min_cleanable_dirty_ratio: f64,
    pub unclean_leader_election: bool,
}

/// A topic's overrides, as given: names of [`SETTINGS`] and texts that parse.
pub type Overrides = BTreeMap<String, String>;

/// What is wrong with an override; the text goes to the client (INVALID_CONFIG).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidOverride {
    #[error("Unknown topic config name: {name}{}", hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default())]
    Unknown { name: String, hint: Option<&'static str> },
    #[error("Null value not supported for topic configs: {name}")]
    Null { name: String },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    Contradiction(String),
}

/// The row called `name`.
pub fn setting(name: &str) -> Option<&'static TopicSetting> {
    SETTINGS.iter().find(|row| row.setting.name == name)
}

/// Whether a topic may have this override.
pub fn check(name: &str, text: Option<&str>) -> Result<Value, InvalidOverride> {
    let Some(row) = setting(name) else {
        let hint = nearest(name, SETTINGS.iter().map(|row| row.setting.name));
        return Err(InvalidOverride::Unknown { name: name.into(), hint });
    };
    let text = text.ok_or_else(|| InvalidOverride::Null { name: name.into() })?;
    Ok(row.setting.parse(text)?)
}

/// Whether a topic may have all of these overrides together, on such a broker.
pub fn check_all(overrides: &Overrides, broker: &BrokerConfig) -> Result<(), InvalidOverride> {
    for (name, text) in overrides {
        check(name, Some(text))?;
    }
    let config = TopicConfig::resolve(overrides, broker);
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(InvalidOverride::Contradiction(format!(
            "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
            config.min_compaction_lag_ms, config.max_compaction_lag_ms
        )));
    }
    if overrides.get("remote.storage.enable").is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
        return Err(InvalidOverride::Contradiction(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".into(),
        ));
    }
    Ok(())
}

/// A setting's value on a broker when the topic has no override (CONF-2), and the broker's setting that it comes from.
pub fn fallback(row: &TopicSetting, broker: &BrokerConfig) -> (Value, Option<&'static str>) {
    for &(name, unit) in row.falls_back_to {
        match broker.value(name).expect("a topic setting falls back to broker settings; a test checks the names") {
            Value::Null => {}
            // -1 is "for ever" in every unit.
            Value::Int(value) if value >= 0 => return (Value::Int(value.saturating_mul(unit)), Some(name)),
            value => return (value, Some(name)),
        }
    }
    (row.setting.default_value(), None)
}

impl TopicConfig {
    /// The settings of a topic with these overrides on such a broker. An override that is not legal (it was when it was
    /// made; a later release may have narrowed the range) counts as absent.
    pub fn resolve(overrides: &Overrides, broker: &BrokerConfig) -> TopicConfig {
        let value = |name: &str| {
            let row = setting(name).expect("a row of the table");
            let own = overrides.get(name).and_then(|text| row.setting.parse(text).ok());
            own.unwrap_or_else(|| fallback(row, broker).0)
        };
        fn get<T: FromValue>(value: Value) -> T {
            T::from_value(&value)
        }
        let policies: Vec<String> = get(value("cleanup.policy"));
        let compression: String = get(value("compression.type"));
        TopicConfig {
            is_deleted: policies.iter().any(|policy| policy == "delete"),
            is_compacted: policies.iter().any(|policy| policy == "compact"),
            compression: (compression != "producer").then_some(compression),
            compression_gzip_level: get(value("compression.gzip.level")),
            compression_lz4_level: get(value("compression.lz4.level")),
            compression_zstd_level: get(value("compression.zstd.level")),
            max_message_bytes: get(value("max.message.bytes")),
            timestamp_type: get(value("message.timestamp.type")),
            timestamp_before_max_ms: get(value("message.timestamp.before.max.ms")),
            timestamp_after_max_ms: get(value("message.timestamp.after.max.ms")),
            min_insync_replicas: get(value("min.insync.replicas")),
            flush_ack: get(value("tidemill.flush.ack")),
            retention_ms: u64::try_from(get::<i64>(value("retention.ms"))).ok(),
            retention_bytes: u64::try_from(get::<i64>(value("retention.bytes"))).ok(),
            segment_bytes: get(value("segment.bytes")),
            segment_ms: get(value("segment.ms")),
            segment_jitter_ms: get(value("segment.jitter.ms")),
            segment_index_bytes: get(value("segment.index.bytes")),
            index_interval_bytes: get(value("index.interval.bytes")),
            file_delete_delay_ms: get(value("file.delete.delay.ms")),
            preallocate: get(value("preallocate")),
            delete_retention_ms: get(value("delete.retention.ms")),
            min_compaction_lag_ms: get(value("min.compaction.lag.ms")),
            max_compaction_lag_ms: get(value("max.compaction.lag.ms")),
            min_cleanable_dirty_ratio: get(value("min.cleanable.dirty.ratio")),
            unclean_leader_election: get(value("unclean.leader.election.enable")),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::resolve(&Overrides::new(), &BrokerConfig::default())
    }
}

#[cfg(test)]
mod tests;
