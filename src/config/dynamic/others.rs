//! Kafka's settings that change at run time in Kafka and have no part here. They are checked, stored and described, so
//! that tools which set them work.

use crate::config::setting::{Kind, Setting, double, int_from, long_from};

const THREADS: &str = "No effect: each core runs one thread, and shards sets their number.";
const REPLICATION: &str = "No effect: a node has no replicas on other nodes.";
const TIERING: &str = "No effect so far: there is no tiered storage.";
const SHARE: &str = "No effect so far: there are no share groups.";
const STREAMS: &str = "No effect so far: there are no streams groups.";
const ASSIGNORS: &str = "No effect: a shard assigns partitions beside its other work.";
/// Times of logins to Kerberos protect nothing, so a tool may set them; the names that select a way of authentication
/// are refused.
const AUTHENTICATION: &str = "No effect so far: there is no authentication.";
const BUFFERS: &str = "No effect: the arena holds all buffers, and memory.bytes bounds it.";

/// Their metrics reporter, which [`edge`](crate::edge) replaces.
const REPORTERS: &[&str] = &["org.apache.kafka.common.metrics.JmxReporter"];

const fn row(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, kind, default: Some(default), doc }
}

/// Sorted by name.
pub(super) const OTHERS: &[Setting] = &[
    row("background.threads", int_from(1), "10", THREADS),
    row("errors.deadletterqueue.auto.create.topics.enable", Kind::Boolean, "false", SHARE),
    row("errors.deadletterqueue.topic.name.prefix", Kind::Text, "dlq.", SHARE),
    row("follower.fetch.last.tiered.offset.enable", Kind::Boolean, "false", TIERING),
    row("follower.replication.throttled.rate", long_from(0), "9223372036854775807", REPLICATION),
    row("group.consumer.assignor.offload.enable", Kind::Boolean, "true", ASSIGNORS),
    row("group.coordinator.cached.buffer.max.bytes", int_from(512 << 10), "1048588", BUFFERS),
    row("group.share.assignment.interval.ms", int_from(0), "1000", SHARE),
    row("group.share.assignor.offload.enable", Kind::Boolean, "true", SHARE),
    row("group.streams.assignment.interval.ms", int_from(0), "1000", STREAMS),
    row("group.streams.assignor.offload.enable", Kind::Boolean, "true", STREAMS),
    row("leader.replication.throttled.rate", long_from(0), "9223372036854775807", REPLICATION),
    row("log.cleaner.threads", int_from(0), "1", THREADS),
    row("max.connection.creation.rate", int_from(0), "2147483647", "No effect so far: this limit does not exist."),
    row("metric.reporters", Kind::ListOf(REPORTERS), REPORTERS[0], "No effect: edge.listen serves the metrics."),
    row("num.io.threads", int_from(1), "8", THREADS),
    row("num.network.threads", int_from(1), "3", THREADS),
    row("num.recovery.threads.per.data.dir", int_from(1), "2", THREADS),
    row("num.replica.fetchers", int_from(1), "1", REPLICATION),
    row("remote.fetch.max.wait.ms", int_from(1), "500", TIERING),
    row("remote.list.offsets.request.timeout.ms", long_from(1), "30000", TIERING),
    row("remote.log.index.file.cache.total.size.bytes", long_from(1), "1073741824", TIERING),
    row("remote.log.manager.copier.thread.pool.size", int_from(1), "10", TIERING),
    row("remote.log.manager.copy.max.bytes.per.second", long_from(1), "9223372036854775807", TIERING),
    row("remote.log.manager.expiration.thread.pool.size", int_from(1), "10", TIERING),
    row("remote.log.manager.fetch.max.bytes.per.second", long_from(1), "9223372036854775807", TIERING),
    row("remote.log.manager.follower.thread.pool.size", int_from(1), "2", TIERING),
    row("remote.log.reader.threads", int_from(1), "10", TIERING),
    row("replica.alter.log.dirs.io.max.bytes.per.second", long_from(0), "9223372036854775807", REPLICATION),
    row("sasl.kerberos.min.time.before.relogin", long_from(i64::MIN), "60000", AUTHENTICATION),
    row("sasl.kerberos.ticket.renew.jitter", double(f64::MIN, f64::MAX), "0.05", AUTHENTICATION),
    row("sasl.kerberos.ticket.renew.window.factor", double(f64::MIN, f64::MAX), "0.8", AUTHENTICATION),
    row("share.coordinator.cached.buffer.max.bytes", int_from(512 << 10), "1048588", SHARE),
    row(
        "transaction.partition.verification.enable",
        Kind::Boolean,
        "true",
        "No effect: each transactional append is verified.",
    ),
];

/// Kafka resizes the pools of these threads to at most the double, and at least the half.
pub(super) const RESIZED: &[&str] = &[
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];
