//! The treatment of Kafka's settings, by name or by the beginning of the name, and the reasons.

use super::Treatment::{self, Means, NoEffect, Refused, Role};

const TLS: &str = "Tidemill has no TLS so far, and would serve in plain text. Remove it, and let only clients that you \
                   trust reach the node, or put a TLS proxy in front of it";
const SASL: &str = "Tidemill has no authentication so far, and would admit every client. Remove it, and let only \
                    clients that you trust reach the node";
const KERBEROS: &str = "there is no authentication so far, and the time of a login protects nothing";
const ACLS: &str = "Tidemill has no ACLs so far, and would let every client do everything. Remove it, and let only \
                    clients that you trust reach the node";
const TIERED: &str = "Tidemill has no tiered storage so far, and would delete the records that retention removes. \
                      Remove it, and size the disk for the whole retention";
const POLICY: &str = "Tidemill runs no Java classes, and would skip the check that this class makes. Remove it";
const PROVIDERS: &str = "Tidemill runs no Java classes, and would take ${provider:path:key} literally. Remove it, and \
                         write the values themselves";
const THREADS: &str = "each core runs one thread; shards sets their number";
const BUFFERS: &str = "the kernel sizes the buffers of a socket; memory.bytes bounds requests";
const REPLICATION: &str = "a node has no replicas on other nodes";
const QUORUM: &str = "the controller of a single node needs no quorum";
const METADATA: &str = "the metadata log has its own format and size";
const GROUPS: &str = "the coordinator of a group runs on the shard of its partition";
const SHARE: &str = "there are no share groups so far";
const STREAMS: &str = "there are no streams groups so far";
const METRICS: &str = "edge.listen serves the metrics";
const QUOTAS: &str = "there are no quotas so far";
const TIERING: &str = "there is no tiered storage so far";
const PURGATORY: &str = "waiting requests need no purge";
const RECOVERY: &str = "the journal and its checkpoints replace it";
const NO_LIMIT: &str = "this limit does not exist so far";
const INTERNAL: &str = "it is internal to Kafka";
const DIRECTORY: &str = "a node has one data directory";

/// The treatment of the names that begin with the text, or equal it. The first match decides.
pub const RULES: &[(&str, Treatment)] = &[
    ("broker.id", Means("node.id")),
    ("log.dir", Means("log.dirs")),
    ("process.roles", Role),
    ("controller.listener.names", Role),
    ("controller.quorum.voters", Role),
    ("controller.quorum.bootstrap.servers", Role),
    ("inter.broker.listener.name", Role),
    ("early.start.listeners", Role),
    // Unsafe to ignore.
    ("ssl.", Refused(TLS)),
    ("sasl.kerberos.min.time.before.relogin", NoEffect(KERBEROS)),
    ("sasl.kerberos.ticket.", NoEffect(KERBEROS)),
    ("sasl.", Refused(SASL)),
    ("security.inter.broker.protocol", Refused(TLS)),
    ("security.providers", Refused(TLS)),
    ("authorizer.class.name", Refused(ACLS)),
    ("super.users", Refused(ACLS)),
    ("allow.everyone.if.no.acl.found", Refused(ACLS)),
    ("principal.builder.class", Refused(SASL)),
    ("connections.max.reauth.ms", Refused(SASL)),
    ("delegation.token.secret.key", Refused(SASL)),
    ("remote.log.storage.system.enable", Refused(TIERED)),
    ("create.topic.policy.class.name", Refused(POLICY)),
    ("alter.config.policy.class.name", Refused(POLICY)),
    ("client.quota.callback.class", Refused(POLICY)),
    ("config.providers", Refused(PROVIDERS)),
    // No effect.
    ("delegation.token.", NoEffect("there are no delegation tokens so far")),
    ("connection.failed.authentication.", NoEffect("there is no authentication so far")),
    ("num.replica.", NoEffect(REPLICATION)),
    ("num.", NoEffect(THREADS)),
    ("background.threads", NoEffect(THREADS)),
    ("log.cleaner.threads", NoEffect(THREADS)),
    ("group.coordinator.rebalance.protocols", NoEffect("the classic and the consumer protocol are always on")),
    ("group.coordinator.", NoEffect(GROUPS)),
    ("group.consumer.", NoEffect("a shard assigns partitions beside its other work")),
    ("group.share.", NoEffect(SHARE)),
    ("share.", NoEffect(SHARE)),
    ("errors.deadletterqueue.", NoEffect(SHARE)),
    ("group.streams.", NoEffect(STREAMS)),
    ("offsets.", NoEffect(GROUPS)),
    ("transaction.two.phase.commit.enable", NoEffect("there is no two-phase commit so far")),
    ("transaction.partition.verification.enable", NoEffect("each transactional append is verified")),
    ("transaction.", NoEffect(GROUPS)),
    ("add.partitions.to.txn.", NoEffect(GROUPS)),
    ("producer.id.expiration.check.", NoEffect("producers expire when they are read")),
    ("max.connection.creation.rate", NoEffect(NO_LIMIT)),
    ("max.", NoEffect(NO_LIMIT)),
    ("socket.connection.", NoEffect("a node opens no connections")),
    ("socket.", NoEffect(BUFFERS)),
    ("queued.", NoEffect(BUFFERS)),
    ("request.timeout.ms", NoEffect("a node opens no connections")),
    ("log.dir.failure.timeout.ms", NoEffect(DIRECTORY)),
    ("cordoned.log.dirs", NoEffect(DIRECTORY)),
    ("alter.log.dirs.", NoEffect(DIRECTORY)),
    ("replica.alter.log.dirs.", NoEffect(DIRECTORY)),
    ("log.flush.", NoEffect(RECOVERY)),
    ("log.initial.task.delay.ms", NoEffect(INTERNAL)),
    ("remote.", NoEffect(TIERING)),
    ("follower.fetch.last.tiered.", NoEffect(TIERING)),
    ("replica.", NoEffect(REPLICATION)),
    ("replication.quota.", NoEffect(REPLICATION)),
    ("follower.replication.", NoEffect(REPLICATION)),
    ("leader.", NoEffect(REPLICATION)),
    ("auto.leader.", NoEffect(REPLICATION)),
    ("unclean.leader.", NoEffect(REPLICATION)),
    ("controlled.shutdown.enable", NoEffect(REPLICATION)),
    ("controller.quota.", NoEffect(QUOTAS)),
    ("controller.", NoEffect(QUORUM)),
    ("broker.", NoEffect(QUORUM)),
    ("initial.broker.", NoEffect(QUORUM)),
    ("server.max.startup.", NoEffect("a start ends with an error or with a ready node")),
    ("metadata.", NoEffect(METADATA)),
    ("internal.", NoEffect(INTERNAL)),
    ("unstable.", NoEffect(INTERNAL)),
    ("metric", NoEffect(METRICS)),
    ("kafka.metrics.", NoEffect(METRICS)),
    ("telemetry.", NoEffect("there are no metrics of clients so far")),
    ("quota.window.", NoEffect(QUOTAS)),
    ("delete.records.purgatory.", NoEffect(PURGATORY)),
    ("fetch.purgatory.", NoEffect(PURGATORY)),
    ("producer.purgatory.", NoEffect(PURGATORY)),
];

/// Families of names with free parts, such as the metadata manager's own settings.
pub const FAMILIES: &[(&str, Treatment)] = &[
    ("config.providers.", Refused(PROVIDERS)),
    ("rsm.config.", NoEffect(TIERING)),
    ("rlmm.config.", NoEffect(TIERING)),
    ("metrics.jmx.", NoEffect(METRICS)),
    ("zookeeper.ssl.", Refused(TLS)),
];
