//! The settings of a broker: Kafka's names where Kafka has the setting, and a few of Tidemill's own.

use std::collections::{BTreeMap, BTreeSet};

use super::choices::{
    ASSIGNORS, CLEANUP_POLICIES, COMPRESSION_TYPES, MIGRATIONS, Migration, REPLICA_SELECTORS, ROUTINGS, Routing,
    TIMESTAMP_TYPES,
};
use super::host_limits::HostLimit;
use super::listener::{Listener, host_and_port};
use super::protocol::DEFAULT_MAP;
use super::setting::{FromValue, Kind, Setting, Value, double, int, int_from, int_or, long, long_from, short_from};

/// A row is `field: type = name, kind, default, doc;`. The table and the struct are made from the same rows.
macro_rules! broker_settings {
    ($($field:ident: $type:ty = $name:literal, $kind:expr, $default:expr, $doc:literal;)*) => {
        /// Every broker setting.
        pub const SETTINGS: &[Setting] = &[
            $(Setting { name: $name, kind: $kind, default: $default, doc: $doc },)*
        ];

        /// A broker's settings, typed, in range and consistent with each other.
        #[derive(Clone, PartialEq, Debug)]
        pub struct BrokerConfig {
            $(#[doc = $doc] pub $field: $type,)*
            /// The settings that a file or a `--set` gave, by name. The others are at their defaults.
            given: BTreeMap<&'static str, Value>,
            /// The settings that changed at run time, by name. They precede `given`.
            changed: BTreeMap<&'static str, (ChangedBy, Value)>,
        }

        impl BrokerConfig {
            /// The settings with these values, each checked by its row, and the defaults of the rest. Contradictions
            /// between them are not checked yet.
            pub(super) fn from_given(given: BTreeMap<&'static str, Value>) -> BrokerConfig {
                let value = |name: &str| {
                    let row = setting(name).expect("a row of the table");
                    let value = given.get(name).cloned().unwrap_or_else(|| row.default_value());
                    debug_assert!(row.is_legal(&value), "CONF-1: {name} = {value} is not in {}", row.range());
                    value
                };
                let changed = BTreeMap::new();
                let mut config = BrokerConfig { $($field: <$type>::from_value(&value($name)),)* given, changed };
                if !config.is_given("routing") {
                    config.routing = config.routing_by_hosts();
                }
                config
            }

            /// These settings with other changes at run time.
            pub(super) fn with_changed(&self, changed: BTreeMap<&'static str, (ChangedBy, Value)>) -> BrokerConfig {
                let mut next = BrokerConfig { changed, ..self.clone() };
                let names: BTreeSet<&str> = self.changed.keys().chain(next.changed.keys()).copied().collect();
                for name in names {
                    let value = next.value(name).expect("a row of the table");
                    match name {
                        $($name => next.$field = <$type>::from_value(&value),)*
                        _ => unreachable!("{name} is a row of the table"),
                    }
                }
                next
            }
        }
    };
}

/// The level of a change at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangedBy {
    /// A value of this broker.
    One,
    /// The default of all brokers.
    All,
}

const MIB: i64 = 1 << 20;
/// The largest array of a JVM, which bounds a record in Kafka.
pub(super) const RECORD_BYTES_MAX: i32 = i32::MAX - 8;
/// The least memory of a shard.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// The memory of a shard if neither the configuration nor the machine decides.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;
/// More memory than this serves log data only: requests and copies need no more.
const SHARED_MEMORY_MAX: u64 = 2 << 30;
/// The size of each file of the journal.
pub const JOURNAL_FILE_BYTES: u64 = 64 << 20;

/// The default of `edge.listen`. If its port is in use, the node starts without metrics.
const EDGE_LISTEN_DEFAULT: &str = "127.0.0.1:9644";

broker_settings! {
    // Identity and addresses.
    node_id: i32 = "node.id", int(0, 2_000_000), Some("1"),
        "This node's number, unique in the cluster.";
    rack: Option<String> = "broker.rack", Kind::Text, None,
        "The rack of this node; replicas are spread over racks. Not set: each node is a rack of its own, node-<id>.";
    listeners: Vec<String> = "listeners", Kind::Listeners, Some("PLAINTEXT://127.0.0.1:9092"),
        "The addresses to listen on: NAME://host:port,... An empty host or 0.0.0.0 is every interface.";
    advertised_listeners: Option<Vec<String>> = "advertised.listeners", Kind::Listeners, None,
        "The addresses that clients connect to, by name. Not set: as listeners. {shard} in a host: the core.";
    protocol_map: String = "listener.security.protocol.map", Kind::ProtocolMap, Some(DEFAULT_MAP),
        "The security protocol of each listener name: NAME:PROTOCOL,... Only PLAINTEXT is supported so far.";
    data_dirs: String = "log.dirs", Kind::Text, Some("tidemill-data"),
        "The data directory.";
    routing: Routing = "routing", Kind::OneOf(ROUTINGS), None,
        "direct: each core is a broker with its port. steer: each core is a broker, on one port. forward: one broker. \
         Not set: steer if the advertised hosts are names, and direct if one is an IP address.";
    shards: Option<u16> = "shards", int(1, 1000), None,
        "How many cores to run on. Not set: every core that the process may use.";
    spin_us: u32 = "spin.us", int(0, 1_000_000), Some("20"),
        "How many microseconds an idle core polls for work before it sleeps; waking it takes about as long.";
    memory_bytes: Option<u64> = "memory.bytes", long_from(MEMORY_BYTES_MIN as i64), None,
        "Memory for buffers and recent records, per core. When it is used up, sockets are not read until some is free. \
         Not set: most of what is free at the start, and less when the machine runs short.";

    // The journal.
    journal_dir: Option<String> = "journal.dir", Kind::Text, None,
        "The directory of the journals; it can be on another disk than the data. \
         Not set: journal, in the data directory.";
    journal_bytes: u64 = "journal.bytes", long(2 * 64 * MIB, 1 << 40), Some("536870912"),
        "The size of a core's journal: a multiple of 64 MiB, the size of its preallocated files. \
         Bounds the time of a recovery.";
    journal_depth: i32 = "journal.depth", int(1, 8), Some("2"),
        "How many writes of a core's journal are in flight at a time.";
    flush_ack: bool = "flush.ack", Kind::Boolean, Some("true"),
        "true: a record is acknowledged when it is on stable storage. \
         false: when written; a crash of the machine can lose it.";

    // Topics.
    num_partitions: i32 = "num.partitions", int_from(1), Some("1"),
        "Partitions of a topic that is created without a number of partitions.";
    default_replication_factor: i32 = "default.replication.factor", int(1, i16::MAX as i32), Some("1"),
        "Replicas of a topic that is created without a replication factor.";
    auto_create_topics_enable: bool = "auto.create.topics.enable", Kind::Boolean, Some("true"),
        "Whether a Metadata request for a topic that does not exist creates it.";
    delete_topic_enable: bool = "delete.topic.enable", Kind::Boolean, Some("true"),
        "Whether topics can be deleted.";
    min_insync_replicas: i32 = "min.insync.replicas", int_from(1), Some("1"),
        "In-sync replicas that a write with acks=all requires.";
    unclean_leader_election_enable: bool = "unclean.leader.election.enable", Kind::Boolean, Some("false"),
        "No effect on a single node. Whether a replica that is not in sync may lead when no other can. \
         It loses records.";

    // Logs.
    log_cleanup_policy: Vec<String> = "log.cleanup.policy", Kind::ListOf(CLEANUP_POLICIES), Some("delete"),
        "How old segments are cleaned up: delete, compact, both, or not.";
    log_retention_ms: Option<i64> = "log.retention.ms", long_from(-1), None,
        "How long records are kept; -1 is for ever. Not set: log.retention.minutes decides.";
    log_retention_minutes: Option<i32> = "log.retention.minutes", int_from(-1), None,
        "How long records are kept. Not set: log.retention.hours decides.";
    log_retention_hours: i32 = "log.retention.hours", int_from(-1), Some("168"),
        "How long records are kept.";
    log_retention_bytes: i64 = "log.retention.bytes", long_from(-1), Some("-1"),
        "The size of a partition above which its oldest segments are removed; -1 is without limit.";
    log_retention_check_interval_ms: u64 = "log.retention.check.interval.ms", long_from(1), Some("300000"),
        "How often each core checks for segments past their retention.";
    log_segment_bytes: i32 = "log.segment.bytes", int_from(MIB as i32), Some("1073741824"),
        "A segment is closed before it grows larger than this.";
    log_roll_ms: Option<i64> = "log.roll.ms", long_from(1), None,
        "A segment is closed when it is this old. Not set: log.roll.hours decides.";
    log_roll_hours: i32 = "log.roll.hours", int_from(1), Some("168"),
        "A segment is closed when it is this old.";
    log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms", long_from(0), None,
        "Segments are closed up to this much earlier, at random, so that they do not all close at once. \
         Not set: log.roll.jitter.hours decides.";
    log_roll_jitter_hours: i32 = "log.roll.jitter.hours", int_from(0), Some("0"),
        "Segments are closed up to this much earlier, at random.";
    log_index_interval_bytes: i32 = "log.index.interval.bytes", int_from(0), Some("4096"),
        "Roughly how many bytes of records lie between two index entries.";
    log_index_size_max_bytes: i32 = "log.index.size.max.bytes", int_from(4), Some("10485760"),
        "How large a segment's index may grow; a full index closes the segment.";
    log_segment_delete_delay_ms: i64 = "log.segment.delete.delay.ms", long_from(0), Some("60000"),
        "How long the files of a deleted segment are kept, for reads in progress.";
    log_preallocate: bool = "log.preallocate", Kind::Boolean, Some("false"),
        "No effect. Kafka allocates the space of a new segment when it is created.";
    log_flush_interval_messages: i64 = "log.flush.interval.messages", long_from(1), Some("9223372036854775807"),
        "Kafka's flush by count. Tidemill flushes every acknowledged record anyway. No effect if flush.ack is false.";
    log_flush_interval_ms: Option<i64> = "log.flush.interval.ms", long_from(0), None,
        "Kafka's flush by time. Tidemill flushes every acknowledged record anyway. No effect if flush.ack is false.";
    log_local_retention_bytes: i64 = "log.local.retention.bytes", long_from(-2), Some("-2"),
        "No effect so far. With tiered storage, how much of a partition stays on local disks; \
         -2 is log.retention.bytes.";
    log_local_retention_ms: i64 = "log.local.retention.ms", long_from(-2), Some("-2"),
        "No effect so far. With tiered storage, how long records stay on local disks; -2 is log.retention.ms.";
    log_remote_copy_lag_bytes: i64 = "log.remote.copy.lag.bytes", long_from(-1), Some("-1"),
        "No effect so far. With tiered storage, how many newer bytes a segment waits for; \
         -1 is log.local.retention.bytes.";
    log_remote_copy_lag_ms: i64 = "log.remote.copy.lag.ms", long_from(-1), Some("0"),
        "No effect so far. With tiered storage, how long a segment waits for its upload; -1 is log.local.retention.ms.";

    // Compaction.
    log_cleaner_enable: bool = "log.cleaner.enable", Kind::Boolean, Some("true"),
        "Whether topics with cleanup.policy=compact are compacted.";
    log_cleaner_backoff_ms: u64 = "log.cleaner.backoff.ms", long_from(0), Some("15000"),
        "How long a core waits after it found nothing to compact.";
    log_cleaner_dedupe_buffer_size: u64 = "log.cleaner.dedupe.buffer.size", long_from(1), Some("134217728"),
        "Memory for the keys of a log in compaction, 24 bytes each, for all cores; \
         a core takes at most 5/64 of memory.bytes.";
    log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size", int_from(0), Some("524288"),
        "Memory for reading and writing while a log is compacted, per core.";
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor", double(0.0, 1.0), Some("0.9"),
        "The largest share of the memory for keys that is filled.";
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second", double(1.0, f64::MAX),
        Some("1.7976931348623157E308"),
        "The most that compaction reads and writes, per core, in bytes per second.";
    log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms", long_from(0), Some("86400000"),
        "How long a compacted topic keeps the tombstone of a deleted key.";
    log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio", double(0.0, 1.0), Some("0.5"),
        "The share of a log that must be uncompacted before the log is compacted.";
    log_cleaner_min_compaction_lag_ms: i64 = "log.cleaner.min.compaction.lag.ms", long_from(0), Some("0"),
        "How long a record stays uncompacted at least.";
    log_cleaner_max_compaction_lag_ms: i64 = "log.cleaner.max.compaction.lag.ms", long_from(1),
        Some("9223372036854775807"),
        "How long a record stays uncompacted at most.";

    // Records.
    message_max_bytes: i32 = "message.max.bytes", int_from(0), Some("1048588"),
        "The largest batch that is accepted, as sent (compressed).";
    max_decompressed_message_bytes: i32 = "max.decompressed.message.bytes", int(1, RECORD_BYTES_MAX),
        Some("2147483639"),
        "The largest record that is accepted in a compressed batch, decompressed.";
    log_message_timestamp_type: String = "log.message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), Some("CreateTime"),
        "Whether a record's timestamp is the producer's or the time of its append.";
    log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms", long_from(0),
        Some("9223372036854775807"),
        "How far in the past a producer's timestamp may be.";
    log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", long_from(0), Some("3600000"),
        "How far in the future a producer's timestamp may be.";
    compression_type: String = "compression.type", Kind::OneOf(COMPRESSION_TYPES), Some("producer"),
        "How batches are stored: as the producer compressed them, or always with this codec.";
    compression_gzip_level: i32 = "compression.gzip.level", int_or(-1, 1, 9), Some("-1"),
        "The level when compression.type is gzip; -1 is gzip's own default.";
    compression_lz4_level: i32 = "compression.lz4.level", int(1, 17), Some("9"),
        "The level when compression.type is lz4.";
    compression_zstd_level: i32 = "compression.zstd.level", int(-131_072, 22), Some("3"),
        "The level when compression.type is zstd.";
    producer_id_expiration_ms: u64 = "producer.id.expiration.ms", int_from(1), Some("86400000"),
        "How long the state of an idempotent producer is kept after its last batch.";

    // Groups and transactions.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", int_from(1), Some("50"),
        "Partitions of __consumer_offsets, when it is created.";
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", int_from(MIB as i32), Some("104857600"),
        "A segment of __consumer_offsets is closed before it grows beyond this.";
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor", short_from(1), Some("3"),
        "Replicas of __consumer_offsets, when it is created; no more than there are nodes.";
    offsets_retention_minutes: i32 = "offsets.retention.minutes", int_from(1), Some("10080"),
        "How long a group's offsets are kept after its last member left, \
         or after the commit in a group without members.";
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", long_from(1), Some("600000"),
        "How often the coordinator checks for offsets past their retention.";
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", int_from(0), Some("4096"),
        "The largest metadata that a committed offset may carry.";
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", int_from(0), Some("3000"),
        "How long a new group waits for more members before its first rebalance.";
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", int_from(0), Some("6000"),
        "The shortest session timeout that a member of a group may request.";
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", int_from(0), Some("1800000"),
        "The longest session timeout that a member of a group may request.";
    group_max_size: i32 = "group.max.size", int_from(1), Some("2147483647"),
        "The most members of one group.";
    group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms", int_from(1), Some("45000"),
        "How long a member of a consumer group (KIP-848) may send no heartbeat before it is removed.";
    group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms", int_from(1), Some("5000"),
        "The heartbeat interval of members of consumer groups.";
    group_consumer_max_size: i32 = "group.consumer.max.size", int_from(1), Some("2147483647"),
        "The most members of one consumer group.";
    group_consumer_assignors: Vec<String> = "group.consumer.assignors", Kind::ListOf(ASSIGNORS), Some("uniform,range"),
        "The assignors that a member of a consumer group may request; the first is the default.";
    group_consumer_migration_policy: Migration = "group.consumer.migration.policy", Kind::OneOf(MIGRATIONS),
        Some("bidirectional"),
        "Whether a group with members may change from the classic protocol to the consumer protocol, and back.";
    group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms", int(0, 15_000), Some("1000"),
        "The least time between two assignments of a large consumer group; \
         a small one waits 0.1 ms for each member and partition.";
    group_consumer_min_session_timeout_ms: i32 = "group.consumer.min.session.timeout.ms", int_from(1), Some("45000"),
        "The shortest consumer.session.timeout.ms that a group may have.";
    group_consumer_max_session_timeout_ms: i32 = "group.consumer.max.session.timeout.ms", int_from(1), Some("60000"),
        "The longest consumer.session.timeout.ms that a group may have.";
    group_consumer_min_heartbeat_interval_ms: i32 = "group.consumer.min.heartbeat.interval.ms", int_from(1),
        Some("5000"),
        "The shortest consumer.heartbeat.interval.ms that a group may have.";
    group_consumer_max_heartbeat_interval_ms: i32 = "group.consumer.max.heartbeat.interval.ms", int_from(1),
        Some("15000"),
        "The longest consumer.heartbeat.interval.ms that a group may have.";
    group_consumer_min_assignment_interval_ms: i32 = "group.consumer.min.assignment.interval.ms", int_from(0),
        Some("0"),
        "The shortest consumer.assignment.interval.ms that a group may have.";
    group_consumer_max_assignment_interval_ms: i32 = "group.consumer.max.assignment.interval.ms", int_from(0),
        Some("15000"),
        "The longest consumer.assignment.interval.ms that a group may have.";
    group_consumer_regex_refresh_interval_ms: i32 = "group.consumer.regex.refresh.interval.ms", int_from(10_000),
        Some("600000"),
        "How often the topics that match a subscribed pattern are computed again; a new topic is matched at once.";
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions", int_from(1), Some("50"),
        "Partitions of __transaction_state, when it is created.";
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes", int_from(MIB as i32),
        Some("104857600"),
        "A segment of __transaction_state is closed before it grows beyond this.";
    transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor", short_from(1),
        Some("3"),
        "Replicas of __transaction_state, when it is created; no more than there are nodes.";
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr", int_from(1), Some("2"),
        "In-sync replicas of __transaction_state that a write requires; no more than it has.";

    transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms", int_from(1), Some("900000"),
        "The longest timeout that a producer's transactions may have.";
    transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms", int_from(1), Some("604800000"),
        "How long a transactional id is kept after its last transaction.";
    transaction_abort_timed_out_interval_ms: i32 = "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        int_from(1), Some("10000"),
        "How often the coordinator aborts transactions that are older than their timeout.";
    transaction_remove_expired_interval_ms: i32 = "transaction.remove.expired.transaction.cleanup.interval.ms",
        int_from(1), Some("3600000"),
        "How often the coordinator removes expired transactional ids.";

    // Connections.
    socket_request_max_bytes: i32 = "socket.request.max.bytes", int_from(1024), Some("104857600"),
        "The largest request, at most a quarter of memory.bytes; a larger one closes its connection.";
    connections_max_idle_ms: i64 = "connections.max.idle.ms", long_from(-1), Some("600000"),
        "A connection is closed after it was idle for this long; -1 is never.";
    max_connections: i32 = "max.connections", int_from(0), Some("2147483647"),
        "The most connections of this node.";
    max_connections_per_ip: i32 = "max.connections.per.ip", int_from(0), Some("2147483647"),
        "The most connections from one IP address.";
    max_connections_per_ip_overrides: Vec<HostLimit> = "max.connections.per.ip.overrides", Kind::HostLimits, Some(""),
        "The most connections from single hosts, in place of max.connections.per.ip: host:count,... \
         A start resolves the names of hosts.";
    edge_listen: String = "edge.listen", Kind::Text, Some(EDGE_LISTEN_DEFAULT),
        "The address of metrics and health over HTTP, host:port, without authentication; off: none.";
    fetch_max_bytes: i32 = "fetch.max.bytes", int_from(1024), Some("57671680"),
        "The most bytes of one fetch response, unless its first batch is larger.";
    fetch_session_slots: i32 = "max.incremental.fetch.session.cache.slots", int_from(0), Some("1000"),
        "How many incremental fetch sessions (KIP-227) this node keeps.";
    replica_selector_class: Option<String> = "replica.selector.class", Kind::OneOf(REPLICA_SELECTORS), None,
        "No effect on a single node. How the replica for a consumer with a rack is selected (KIP-392). \
         Not set: the leader.";
}

/// The row called `name`.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The parts of `edge.listen`; `None` for `off`.
pub(super) fn parse_edge(text: &str) -> Result<Option<(&str, u16)>, BadEdge> {
    if text == "off" {
        return Ok(None);
    }
    let (host, port) = host_and_port(text).ok_or(BadEdge)?;
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() => Ok(Some((host, port))),
        _ => Err(BadEdge),
    }
}

/// `edge.listen` is neither an address nor `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadEdge;

/// Settings without effect, and the reasons. They exist because Kafka has them.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("log.preallocate", "write-back writes whole chunks, and ext4 and XFS allocate their space at once"),
    ("log.flush.interval.messages", "with flush.ack=false, records are flushed when their segment is"),
    ("log.flush.interval.ms", "with flush.ack=false, records are flushed when their segment is"),
    ("log.local.retention.bytes", "there is no tiered storage so far"),
    ("log.local.retention.ms", "there is no tiered storage so far"),
    ("log.remote.copy.lag.bytes", "there is no tiered storage so far"),
    ("log.remote.copy.lag.ms", "there is no tiered storage so far"),
    ("unclean.leader.election.enable", "each partition has one replica"),
    ("replica.selector.class", "each partition has one replica"),
];

/// The settings that differ from their defaults without effect, and the reasons.
pub fn without_effect(config: &BrokerConfig) -> Vec<(&'static str, &'static str)> {
    let differs = |name: &str| {
        let row = setting(name).expect("a test checks the names");
        config.given.get(name).is_some_and(|value| *value != row.default_value())
    };
    // With flush.ack, each acknowledged record is flushed: more than these settings ask for.
    let is_kept = |name: &str| config.flush_ack && name.starts_with("log.flush.");
    WITHOUT_EFFECT.iter().filter(|(name, _)| differs(name) && !is_kept(name)).copied().collect()
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::from_given(BTreeMap::new())
    }
}

impl BrokerConfig {
    /// The value of the setting called `name`: changed at run time, given, or its default.
    pub fn value(&self, name: &str) -> Option<Value> {
        let changed = self.changed.get(name).map(|(_, value)| value);
        Some(changed.or(self.given_value(name)).cloned().unwrap_or(setting(name)?.default_value()))
    }

    /// The value that a file or a `--set` gave.
    pub fn given_value(&self, name: &str) -> Option<&Value> {
        self.given.get(name)
    }

    /// The level at which the setting changed at run time.
    pub fn changed_by(&self, name: &str) -> Option<ChangedBy> {
        self.changed.get(name).map(|(by, _)| *by)
    }

    /// Whether a file or a `--set` gave `name`: Kafka's STATIC_BROKER_CONFIG, not DEFAULT_CONFIG.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The routing of a node that sets none. Steer routing needs one port only, but an IP address has no second
    /// spelling for the second shard, and old clients take brokers with one address for one broker.
    fn routing_by_hosts(&self) -> Routing {
        if self.advertised().iter().all(Listener::is_name) { Routing::Steer } else { Routing::Direct }
    }

    /// The listeners to bind.
    pub fn bind(&self) -> Vec<Listener> {
        Listener::parse_all(&self.listeners).expect("CONF-1: parsed when it was set")
    }

    /// The listeners that responses name, one for each of [`Self::bind`], in its order.
    pub fn advertised(&self) -> Vec<Listener> {
        let given = self.advertised_listeners.as_ref().unwrap_or(&self.listeners);
        let given = Listener::parse_all(given).expect("CONF-1: parsed when it was set");
        let named =
            |bound: Listener| given.iter().find(|listener| listener.name == bound.name).cloned().unwrap_or(bound);
        self.bind().into_iter().map(named).collect()
    }

    /// The host and the port of metrics and health; `None` if they are off.
    pub fn edge(&self) -> Option<(&str, u16)> {
        parse_edge(&self.edge_listen).expect("CONF-1: checked when it was set")
    }

    /// Whether a listener is bound to every interface of the machine.
    pub fn is_open_to_network(&self) -> bool {
        self.bind().iter().any(Listener::is_wildcard)
    }

    /// The node's rack: its own one, `node-<id>`, if none is set.
    pub fn rack_or_node(&self) -> String {
        self.rack.clone().unwrap_or_else(|| format!("node-{}", self.node_id))
    }

    /// The memory of a shard, in bytes.
    pub fn shard_memory(&self) -> u64 {
        self.memory_bytes.unwrap_or(MEMORY_BYTES_DEFAULT)
    }

    /// The part of a shard's memory of which each kind of work but log data gets a share, in bytes.
    pub fn shared_memory(&self) -> u64 {
        self.shard_memory().min(SHARED_MEMORY_MAX)
    }

    /// The part of a shard's memory that holds log data, in bytes: five eighths, and all that [`shared_memory`]
    /// leaves.
    ///
    /// [`shared_memory`]: Self::shared_memory
    pub fn log_memory(&self) -> u64 {
        self.shard_memory() - self.shared_memory() / 8 * 3
    }

    /// The size of the largest request that a shard's share of memory for requests can hold.
    pub fn request_bytes_max(&self) -> usize {
        (self.socket_request_max_bytes as usize).min(self.shared_memory() as usize / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_listen_is_an_address_or_off() {
        for (text, expected) in [
            ("off", Ok(None)),
            ("127.0.0.1:9644", Ok(Some(("127.0.0.1", 9644)))),
            ("[::1]:9644", Ok(Some(("::1", 9644)))),
            ("metrics.local:80", Ok(Some(("metrics.local", 80)))),
            (":9644", Err(BadEdge)),
            ("9644", Err(BadEdge)),
            ("127.0.0.1:0", Err(BadEdge)),
            ("127.0.0.1:70000", Err(BadEdge)),
        ] {
            assert_eq!(parse_edge(text), expected, "{text}");
        }
        assert!(BrokerConfig::default().edge().is_some());
    }

    #[test]
    fn every_default_is_legal_and_every_name_unique() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            setting.default_value();
            assert!(!setting.doc.is_empty() && setting.doc.ends_with('.'), "{}", setting.name);
            assert!(SETTINGS[..i].iter().all(|other| other.name != setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn a_setting_without_effect_is_reported_if_it_is_changed() {
        let mut given: BTreeMap<_, _> =
            WITHOUT_EFFECT.iter().map(|(name, _)| (*name, setting(name).expect("a row").default_value())).collect();
        assert_eq!(without_effect(&BrokerConfig::from_given(given.clone())), vec![]);
        given.insert("log.preallocate", Value::Bool(true));
        given.insert("log.flush.interval.ms", Value::Int(1));
        let names = |given: &BTreeMap<&'static str, Value>| {
            without_effect(&BrokerConfig::from_given(given.clone())).iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(&given), ["log.preallocate"]);
        given.insert("flush.ack", Value::Bool(false));
        assert_eq!(names(&given), ["log.preallocate", "log.flush.interval.ms"]);
    }

    #[test]
    fn a_value_is_found_by_its_kafka_name() {
        let config = BrokerConfig::default();
        assert_eq!(config.value("num.partitions"), Some(Value::Int(1)));
        assert_eq!(config.value("log.retention.ms"), Some(Value::Null));
        assert_eq!(config.value("nope"), None);
        assert!(!config.is_given("num.partitions"));
    }
}
