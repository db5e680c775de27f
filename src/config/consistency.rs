//! Settings that are legal one by one and contradict each other.

use super::broker::{BrokerConfig, JOURNAL_FILE_BYTES, parse_edge};
use super::choices::Routing;
use super::listener::{Listener, SHARD_IN_HOST};
use super::protocol::{self, Protocol};

/// Two settings that contradict each other, or a setting that this release does not support.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Contradiction {
    /// The listener's protocol uses TLS or SASL.
    #[error("{listener} requires TLS or SASL; only plain listeners are supported so far")]
    SecureListener {
        /// The listener.
        listener: Listener,
    },
    /// The listener has no protocol. Its name may promise more than plain text.
    #[error(
        "the name {name} has no security protocol; set listener.security.protocol.map={name}:PLAINTEXT if it is plain \
         text"
    )]
    UnmappedListener {
        /// The listener's name.
        name: String,
    },
    /// `listeners` has two listeners on one port.
    #[error("the port {port} appears twice; each listener needs its own")]
    DuplicatePort {
        /// The port.
        port: u16,
    },
    /// `advertised.listeners` has a name that `listeners` lacks.
    #[error("{listener} advertises a name that is not in listeners")]
    UnknownListener {
        /// The advertised listener.
        listener: Listener,
    },
    /// A node can bind `0.0.0.0` or an empty host, but a client cannot connect to it.
    #[error(
        "clients cannot connect to {listener}; name a host that clients can reach: \
         --set advertised.listeners={}://<host>:{}",
        listener.name, listener.port
    )]
    WildcardAdvertised {
        /// The advertised listener.
        listener: Listener,
    },
    /// In forward routing a node is one broker, so no shard has an address.
    #[error("{{shard}} in the host of {listener} needs routing=steer or routing=direct, where each core is a broker")]
    ShardInHost {
        /// The advertised listener.
        listener: Listener,
    },
    /// Direct routing takes one port per shard above the listener's own.
    #[error(
        "{listener} leaves no room for {shards} {} above it, one per core; use a lower one",
        if *shards == 1 { "port" } else { "ports" }
    )]
    NoPortsForShards {
        /// The advertised listener.
        listener: Listener,
        /// The number of shards.
        shards: u16,
    },
    /// `journal.bytes` is not a multiple of a journal file.
    #[error(
        "must be a multiple of {JOURNAL_FILE_BYTES} (64 MiB), such as {}",
        bytes / JOURNAL_FILE_BYTES * JOURNAL_FILE_BYTES
    )]
    JournalBytes {
        /// The configured bytes.
        bytes: u64,
    },
    /// `log.dirs` contains a comma. Kafka allows a list.
    #[error("several data directories; Tidemill keeps its data in one")]
    SeveralDataDirectories,
    /// `log.cleaner.min.compaction.lag.ms` is above the maximum.
    #[error("is larger than log.cleaner.max.compaction.lag.ms ({max_ms})")]
    CompactionLags {
        /// `log.cleaner.max.compaction.lag.ms`
        max_ms: i64,
    },
    /// `log.cleaner.io.buffer.load.factor` is 0.
    #[error("must be above 0, or the memory for keys would hold none; the default is 0.9")]
    NoLoadFactor,
    /// `log.cleaner.io.buffer.size` is too large for the memory.
    #[error("is larger than a sixteenth of memory.bytes; at most {max}")]
    CleanerBuffer {
        /// A sixteenth of `memory.bytes`.
        max: u64,
    },
    /// `group.consumer.heartbeat.interval.ms` is too long.
    #[error("is not below group.consumer.session.timeout.ms ({session_ms}), so every member would time out")]
    Heartbeat {
        /// `group.consumer.session.timeout.ms`
        session_ms: i32,
    },
    /// `group.consumer.assignors` is empty.
    #[error("is empty; name at least one, such as uniform")]
    NoAssignor,
    /// `max.connections.per.ip` is 0, and no host has a limit of its own.
    #[error("is 0 and would refuse every client; set max.connections.per.ip.overrides too for those to admit")]
    NoConnections,
    /// `edge.listen` is no address.
    #[error("is not host:port, such as 127.0.0.1:9644, and not off")]
    EdgeListen,
    /// `message.max.bytes` is too large for a request.
    #[error("is larger than socket.request.max.bytes, or than a quarter of memory.bytes, so no request could carry it")]
    MessageBytes,
}

impl Contradiction {
    /// The setting to change.
    pub fn setting(&self) -> &'static str {
        match self {
            Contradiction::SecureListener { .. }
            | Contradiction::UnmappedListener { .. }
            | Contradiction::DuplicatePort { .. }
            | Contradiction::NoPortsForShards { .. } => "listeners",
            Contradiction::UnknownListener { .. }
            | Contradiction::WildcardAdvertised { .. }
            | Contradiction::ShardInHost { .. } => "advertised.listeners",
            Contradiction::JournalBytes { .. } => "journal.bytes",
            Contradiction::SeveralDataDirectories => "log.dirs",
            Contradiction::CompactionLags { .. } => "log.cleaner.min.compaction.lag.ms",
            Contradiction::NoLoadFactor => "log.cleaner.io.buffer.load.factor",
            Contradiction::CleanerBuffer { .. } => "log.cleaner.io.buffer.size",
            Contradiction::Heartbeat { .. } => "group.consumer.heartbeat.interval.ms",
            Contradiction::NoAssignor => "group.consumer.assignors",
            Contradiction::NoConnections => "max.connections.per.ip",
            Contradiction::EdgeListen => "edge.listen",
            Contradiction::MessageBytes => "message.max.bytes",
        }
    }
}

impl Contradiction {
    /// The settings that make the contradiction and change at run time.
    pub fn changeable(&self) -> &'static [&'static str] {
        match self {
            Contradiction::CompactionLags { .. } => {
                &["log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"]
            }
            Contradiction::NoLoadFactor => &["log.cleaner.io.buffer.load.factor"],
            Contradiction::CleanerBuffer { .. } => &["log.cleaner.io.buffer.size"],
            Contradiction::NoConnections => &["max.connections.per.ip", "max.connections.per.ip.overrides"],
            Contradiction::MessageBytes => &["message.max.bytes"],
            _ => &[],
        }
    }
}

/// Every contradiction between the settings.
pub fn contradictions(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = bound_listeners(config);
    found.extend(advertised_listeners(config));
    found.extend(storage(config));
    found.extend(cleaner(config));
    found.extend(groups_and_messages(config));
    found.extend(connections(config));
    if parse_edge(&config.edge_listen).is_err() {
        found.push(Contradiction::EdgeListen);
    }
    found
}

fn bound_listeners(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let bind = config.bind();
    let protocols = protocol::parse(&config.protocol_map).expect("CONF-1: parsed when it was set");
    for (i, listener) in bind.iter().enumerate() {
        match protocol::of_listener(&protocols, listener) {
            Some(Protocol::Plaintext) => {}
            Some(_) => found.push(Contradiction::SecureListener { listener: listener.clone() }),
            None => found.push(Contradiction::UnmappedListener { name: listener.name.clone() }),
        }
        if listener.port != 0 && bind[..i].iter().any(|other| other.port == listener.port) {
            found.push(Contradiction::DuplicatePort { port: listener.port });
        }
    }
    found
}

fn advertised_listeners(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let bind = config.bind();
    for listener in config.advertised_listeners.iter().flat_map(|list| Listener::parse_all(list)).flatten() {
        if !bind.iter().any(|bound| bound.name == listener.name) {
            found.push(Contradiction::UnknownListener { listener });
        }
    }
    for listener in config.advertised() {
        // Direct routing takes one port per shard above the listener's own.
        let shards = config.shards.unwrap_or(1);
        let lacks_ports = config.routing == Routing::Direct && listener.port.checked_add(shards).is_none();
        if listener.is_wildcard() {
            found.push(Contradiction::WildcardAdvertised { listener: listener.clone() });
        }
        if config.routing == Routing::Forward && listener.host.contains(SHARD_IN_HOST) {
            found.push(Contradiction::ShardInHost { listener: listener.clone() });
        }
        if lacks_ports {
            found.push(Contradiction::NoPortsForShards { listener, shards });
        }
    }
    found
}

fn storage(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    if !config.journal_bytes.is_multiple_of(JOURNAL_FILE_BYTES) {
        found.push(Contradiction::JournalBytes { bytes: config.journal_bytes });
    }
    if config.data_dirs.contains(',') {
        found.push(Contradiction::SeveralDataDirectories);
    }
    found
}

fn cleaner(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let max_ms = config.log_cleaner_max_compaction_lag_ms;
    if config.log_cleaner_min_compaction_lag_ms > max_ms {
        found.push(Contradiction::CompactionLags { max_ms });
    }
    if config.log_cleaner_io_buffer_load_factor == 0.0 {
        found.push(Contradiction::NoLoadFactor);
    }
    let max = config.shared_memory() / 16;
    if config.log_cleaner_io_buffer_size as u64 > max {
        found.push(Contradiction::CleanerBuffer { max });
    }
    found
}

fn groups_and_messages(config: &BrokerConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let session_ms = config.group_consumer_session_timeout_ms;
    if config.group_consumer_heartbeat_interval_ms >= session_ms {
        found.push(Contradiction::Heartbeat { session_ms });
    }
    if config.group_consumer_assignors.is_empty() {
        found.push(Contradiction::NoAssignor);
    }
    if config.message_max_bytes as usize > config.request_bytes_max() {
        found.push(Contradiction::MessageBytes);
    }
    found
}

fn connections(config: &BrokerConfig) -> Option<Contradiction> {
    let is_closed = config.max_connections_per_ip == 0 && config.max_connections_per_ip_overrides.is_empty();
    is_closed.then_some(Contradiction::NoConnections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostLimit;

    #[test]
    fn the_defaults_contradict_nothing() {
        assert_eq!(contradictions(&BrokerConfig::default()), vec![]);
        let mut config = BrokerConfig::default();
        config.edge_listen = "9644".into();
        assert_eq!(contradictions(&config), [Contradiction::EdgeListen]);
    }

    #[test]
    fn a_limit_of_no_connections_needs_an_override() {
        let mut config = BrokerConfig::default();
        config.max_connections_per_ip = 0;
        assert_eq!(contradictions(&config), [Contradiction::NoConnections]);
        config.max_connections_per_ip_overrides = vec![HostLimit { host: "a".into(), max: 1 }];
        assert_eq!(contradictions(&config), []);
    }
}
