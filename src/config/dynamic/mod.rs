//! Settings of brokers that change at run time (KIP-226): of one broker, or the defaults of all brokers.
//!
//! A value of one broker precedes that of all brokers, which precedes the configuration file, which precedes the
//! default.

mod others;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::broker::{BrokerConfig, ChangedBy, setting as own_setting};
use super::consistency::{Contradiction, contradictions};
use super::kafka::{KafkaSetting, Treatment, is_name};
use super::setting::{InvalidValue, Kind, Setting, Value};
use super::topic::Overrides;
use others::{OTHERS, RESIZED};

/// The settings of [`broker::SETTINGS`](super::broker::SETTINGS) that change at run time.
const CHANGEABLE: &[&str] = &[
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "group.consumer.assignment.interval.ms",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.local.retention.bytes",
    "log.local.retention.ms",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type",
    "log.preallocate",
    "log.remote.copy.lag.bytes",
    "log.remote.copy.lag.ms",
    "log.retention.bytes",
    "log.retention.ms",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "log.segment.bytes",
    "log.segment.delete.delay.ms",
    "max.connections",
    CONNECTIONS_OF_HOSTS_NAME,
    "max.connections.per.ip",
    "max.decompressed.message.bytes",
    "message.max.bytes",
    "min.insync.replicas",
    "producer.id.expiration.ms",
    "unclean.leader.election.enable",
];
const CONNECTIONS_OF_HOSTS_NAME: &str = "max.connections.per.ip.overrides";

/// Kafka changes these of one broker at a time. Here they change with a restart only.
const PER_BROKER: &[&str] =
    &["listeners", "listener.security.protocol.map", "cordoned.log.dirs", "principal.builder.class"];
/// The beginnings of more such names.
const PER_BROKER_FAMILIES: &[&str] = &["ssl.", "sasl."];
/// Names with these beginnings that Kafka never changes at run time.
const SECURITY_READ_ONLY: &[&str] = &[
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.retry.backoff",
    "sasl.mechanism.controller.protocol",
    "sasl.oauthbearer.",
    "sasl.server.",
    "ssl.allow.",
    "ssl.principal.mapping.rules",
];
/// The settings of a single listener that may be set for all brokers.
const LISTENER_DEFAULTS: &[&str] = &["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// The most settings that one broker, or all brokers, can have: unknown names are stored too, as in Kafka.
const SETTINGS_MAX: usize = 1000;
/// The longest name. Topics have names of at most 249 characters.
const NAME_BYTES_MAX: usize = 255;
/// The longest value, a Java string in Kafka's records.
const VALUE_BYTES_MAX: usize = 32_767;

/// Why a setting of a broker cannot change at run time. The messages are Kafka's where Kafka refuses too.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InvalidChange {
    /// A start reads the settings, and nothing changes them later.
    #[error("Cannot update these configs dynamically: [{}]", names.join(", "))]
    ReadOnly {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// They differ between brokers by their nature.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{}]",
        names.join(", ")
    )]
    OneBrokerOnly {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// Kafka changes it, and here it would have no effect although safety depends on it.
    #[error("{name} cannot be changed: {reason}")]
    Refused {
        /// The setting's name.
        name: String,
        /// The reason, and the remedy.
        reason: String,
    },
    /// The value is not legal for the setting.
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    /// Kafka resizes a pool of threads by a factor of two at most.
    #[error(
        "Dynamic thread count update validation failed for {name}={count}, value should {} the current value {current}",
        if count > current { "not be greater than double" } else { "be at least half" }
    )]
    ThreadCount {
        /// The setting's name.
        name: &'static str,
        /// The new value.
        count: i64,
        /// The current value.
        current: i64,
    },
    /// The broker's settings would contradict each other.
    #[error("{name} {contradiction}")]
    Contradiction {
        /// The setting to change.
        name: &'static str,
        /// The contradiction.
        contradiction: Contradiction,
    },
    /// A name or a value is too long, or there are too many settings.
    #[error(
        "a broker has at most {SETTINGS_MAX} settings, with names of 1 to {NAME_BYTES_MAX} bytes and values of at most \
         {VALUE_BYTES_MAX} bytes"
    )]
    TooLarge,
}

/// The meaning of a name in a change.
enum Class {
    /// It changes at run time.
    Changes(&'static Setting),
    /// The reason against a change.
    Refused(&'static str),
    /// A start reads it.
    ReadOnly,
    /// No setting of Kafka's or of Tidemill's has the name. Kafka stores such names for plugins.
    Unknown,
}

/// The name without `listener.name.<listener>.`.
fn base_name(name: &str) -> &str {
    of_listener(name).unwrap_or(name)
}

/// The rest of a name behind `listener.name.<listener>.`; `None` if it does not begin so.
pub fn of_listener(name: &str) -> Option<&str> {
    Some(name.strip_prefix("listener.name.")?.split_once('.')?.1)
}

fn class_of(name: &str) -> Class {
    let base = base_name(name);
    if let Some(row) = setting(base).filter(|row| changes(row.name)) {
        return Class::Changes(row);
    }
    let is_security = is_per_broker(base);
    match KafkaSetting::find(name).map(|found| found.treatment) {
        Some(Treatment::Refused(reason)) if is_security || !is_name(name) || base == "config.providers" => {
            Class::Refused(reason)
        }
        _ if base == "cordoned.log.dirs" => Class::Refused("a node has one data directory"),
        _ if is_security => Class::Refused("a node reads it when it starts; change its configuration, and restart it"),
        _ if of_listener(name).is_some() => Class::Unknown,
        _ if own_setting(name).is_some() || is_name(name) => Class::ReadOnly,
        _ => Class::Unknown,
    }
}

/// Whether Kafka changes a setting of single brokers only.
fn is_per_broker(base: &str) -> bool {
    PER_BROKER.contains(&base)
        || PER_BROKER_FAMILIES.iter().any(|family| base.starts_with(family))
            && !SECURITY_READ_ONLY.iter().any(|text| base.starts_with(text))
}

/// The row of a setting by its name, or by its name behind that of a listener: one of
/// [`broker::SETTINGS`](super::broker::SETTINGS), or of Kafka's that change at run time without effect.
pub fn setting(name: &str) -> Option<&'static Setting> {
    let base = base_name(name);
    own_setting(base).or_else(|| OTHERS.iter().find(|row| row.name == base))
}

/// Kafka's settings that change at run time and have no part here.
pub fn others() -> impl Iterator<Item = &'static Setting> {
    OTHERS.iter()
}

/// Whether a setting changes at run time.
pub fn changes(name: &str) -> bool {
    CHANGEABLE.contains(&name) || OTHERS.iter().any(|row| row.name == name)
}

/// Checks the settings of one broker, or the defaults of all brokers, in Kafka's order and one by one.
pub fn check_each(overrides: &Overrides, is_of_one: bool) -> Result<(), InvalidChange> {
    let is_too_long =
        |name: &str, text: &str| name.is_empty() || name.len() > NAME_BYTES_MAX || text.len() > VALUE_BYTES_MAX;
    if overrides.len() > SETTINGS_MAX || overrides.iter().any(|(name, text)| is_too_long(name, text)) {
        return Err(InvalidChange::TooLarge);
    }
    let names = |is_wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        overrides.keys().filter(|name| is_wanted(name)).cloned().collect()
    };
    let read_only = names(&|name| matches!(class_of(name), Class::ReadOnly));
    if !read_only.is_empty() {
        return Err(InvalidChange::ReadOnly { names: read_only });
    }
    for (name, text) in overrides {
        if let Class::Changes(row) = class_of(name) {
            row.parse(text)?;
        }
    }
    let per_broker = names(&|name| match of_listener(name) {
        Some(base) => !LISTENER_DEFAULTS.contains(&base),
        None => is_per_broker(name),
    });
    if !is_of_one && !per_broker.is_empty() {
        return Err(InvalidChange::OneBrokerOnly { names: per_broker });
    }
    for (name, text) in overrides {
        let refused = |reason: String| Err(InvalidChange::Refused { name: name.clone(), reason });
        match class_of(name) {
            Class::Refused(reason) => return refused(reason.to_owned()),
            Class::Changes(row) if row.name == CONNECTIONS_OF_HOSTS_NAME => {
                let limits = super::host_limits::parse(text).expect("parsed above");
                if let Some(limit) = limits.iter().find(|limit| limit.host.parse::<IpAddr>().is_err()) {
                    return refused(format!("only a start resolves names; write the IP addresses of {}", limit.host));
                }
            }
            // The value would precede the configuration at each start, and no client could change it back.
            Class::Changes(row) if row.name == name && name == "max.connections" && text.trim() == "0" => {
                return refused("0 would refuse every client, also the one that changes it back".into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The settings of a broker after a change.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// The settings.
    pub config: BrokerConfig,
    /// Stored values that contradict the others. They have no effect.
    pub ignored: Vec<&'static str>,
}

/// The settings of a broker with these defaults of all brokers and these of its own. A value that is not legal counts
/// as absent: it was legal when it was set, and a later release may have narrowed the range. So does a value that
/// contradicts another one, such as one in a changed file.
pub fn resolve(base: &BrokerConfig, of_all: Option<&Overrides>, of_one: Option<&Overrides>) -> Resolved {
    let mut changed = layered(of_all, of_one);
    let mut ignored = Vec::new();
    loop {
        let config = base.with_changed(changed.clone());
        let found = contradictions(&config);
        let names: Vec<_> = found.iter().flat_map(|found| found.changeable()).copied().collect();
        let dropped: Vec<_> = names.into_iter().filter(|name| changed.remove(name).is_some()).collect();
        if dropped.is_empty() {
            return Resolved { config, ignored };
        }
        ignored.extend(dropped);
    }
}

/// Checks the settings of a broker after a change. `before` are its settings now.
pub fn check_effect(
    before: &BrokerConfig,
    of_all: Option<&Overrides>,
    of_one: Option<&Overrides>,
) -> Result<(), InvalidChange> {
    let changed = layered(of_all, of_one);
    let after = before.with_changed(changed.clone());
    for contradiction in contradictions(&after) {
        if contradiction.changeable().iter().any(|name| changed.contains_key(name)) {
            return Err(InvalidChange::Contradiction { name: contradiction.setting(), contradiction });
        }
    }
    Ok(())
}

/// Checks the new numbers of threads of a broker. `before` and `after` are the values from the highest precedence on.
pub fn check_threads(before: [Option<&Overrides>; 2], after: [Option<&Overrides>; 2]) -> Result<(), InvalidChange> {
    let count = |layers: [Option<&Overrides>; 2], row: &Setting| {
        let set = layers.into_iter().flatten().filter_map(|overrides| overrides.get(row.name));
        let value = set.filter_map(|text| row.parse(text).ok()).next().unwrap_or_else(|| row.default_value());
        match value {
            Value::Int(count) => count,
            other => unreachable!("{} is a number, not {other}", row.name),
        }
    };
    for row in OTHERS.iter().filter(|row| RESIZED.contains(&row.name)) {
        let (current, count) = (count(before, row), count(after, row));
        if count > current.saturating_mul(2) || count < current / 2 {
            return Err(InvalidChange::ThreadCount { name: row.name, count, current });
        }
    }
    Ok(())
}

/// The legal values of the settings that change at run time.
fn layered(of_all: Option<&Overrides>, of_one: Option<&Overrides>) -> BTreeMap<&'static str, (ChangedBy, Value)> {
    let mut changed = BTreeMap::new();
    for (overrides, by) in [(of_all, ChangedBy::All), (of_one, ChangedBy::One)] {
        for (name, text) in overrides.into_iter().flatten() {
            if let Some(row) = own_setting(name).filter(|row| CHANGEABLE.contains(&row.name))
                && let Ok(value) = row.parse(text)
            {
                changed.insert(row.name, (by, value));
            }
        }
    }
    changed
}

/// The words of a list setting, to which a change adds some or from which it takes some. `None`: Kafka has no list of
/// this name.
pub fn words(name: &str, overrides: &Overrides) -> Option<Vec<String>> {
    let is_list = |row: &&Setting| matches!(row.kind, Kind::ListOf(_) | Kind::Listeners);
    let row = setting(name).filter(is_list)?;
    let own = overrides.get(name).map(String::as_str).or(row.default).unwrap_or_default();
    Some(own.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// Whether Kafka or Tidemill has a setting of this name.
pub fn is_known(name: &str) -> bool {
    setting(name).is_some() || KafkaSetting::find(name).is_some()
}

#[cfg(test)]
mod tests;
