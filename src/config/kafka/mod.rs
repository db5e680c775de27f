//! Settings of Kafka's broker that Tidemill lacks, and the consequence of each: none, a refusal, or another setting.
//!
//! A file of Kafka's works here as far as that is safe. A setting that tunes Kafka's threads or its replication has
//! no effect and gives a warning. A setting that protects data or restricts access is refused: a node that ignored it
//! would serve records without the protection. A value that equals Kafka's default has neither.

mod names;
pub mod roles;

use super::broker::setting;
use names::{NAMES, REMOVED};

/// A setting of Kafka's that Tidemill lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KafkaSetting {
    /// Kafka's default. Empty: null, or no default.
    pub default: &'static str,
    /// The consequence of a value that differs from the default.
    pub treatment: Treatment,
}

/// The consequence of a setting that Tidemill lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Another name of this setting, which takes the value.
    Means(&'static str),
    /// No effect, for this reason.
    NoEffect(&'static str),
    /// Unsafe to ignore: the reason, and the remedy.
    Refused(&'static str),
    /// A part of the node's role in a cluster, which [`roles`] checks.
    Role,
}

use Treatment::{Means, NoEffect, Refused, Role};

const TLS: &str = "Tidemill has no TLS so far, and would serve in plain text. Remove it, and let only clients that you \
                   trust reach the node, or put a TLS proxy in front of it";
const SASL: &str = "Tidemill has no authentication so far, and would admit every client. Remove it, and let only \
                    clients that you trust reach the node";
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
const METRICS: &str = "there are no metrics so far";
const QUOTAS: &str = "there are no quotas so far";
const TIERING: &str = "there is no tiered storage so far";
const PURGATORY: &str = "waiting requests need no purge";
const RECOVERY: &str = "the journal and its checkpoints replace it";
const NO_LIMIT: &str = "this limit does not exist so far";
const INTERNAL: &str = "it is internal to Kafka";
const DIRECTORY: &str = "a node has one data directory";

/// The treatment of the names that begin with the text, or equal it. The first match decides.
const RULES: &[(&str, Treatment)] = &[
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
    ("group.consumer.", NoEffect("Kafka checks the settings of single groups with it; there are none here")),
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
    ("max.connections.per.ip.overrides", NoEffect(NO_LIMIT)),
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
    ("log.remote.", NoEffect(TIERING)),
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
    ("telemetry.", NoEffect(METRICS)),
    ("quota.window.", NoEffect(QUOTAS)),
    ("delete.records.purgatory.", NoEffect(PURGATORY)),
    ("fetch.purgatory.", NoEffect(PURGATORY)),
    ("producer.purgatory.", NoEffect(PURGATORY)),
];

/// Families of names with free parts, such as the metadata manager's own settings.
const FAMILIES: &[(&str, Treatment)] = &[
    ("config.providers.", Refused(PROVIDERS)),
    ("rsm.config.", NoEffect(TIERING)),
    ("rlmm.config.", NoEffect(TIERING)),
    ("metrics.jmx.", NoEffect(METRICS)),
    ("zookeeper.ssl.", Refused(TLS)),
];

impl KafkaSetting {
    /// The setting called `name`, if Kafka has it.
    pub fn find(name: &str) -> Option<KafkaSetting> {
        if let Ok(at) = NAMES.binary_search_by_key(&name, |(name, _)| name) {
            return Some(KafkaSetting { default: NAMES[at].1, treatment: rule(name)? });
        }
        if let Some(of_listener) = name.strip_prefix("listener.name.") {
            return find_of_listener(of_listener);
        }
        let treatment = match REMOVED.contains(&name) {
            true if name.starts_with("zookeeper.") => {
                NoEffect("Kafka 4 has removed it; this node is a cluster by itself, and keeps its metadata itself")
            }
            true => NoEffect("Kafka 4 has removed it"),
            false => FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix))?.1,
        };
        Some(KafkaSetting { default: "", treatment })
    }

    /// Whether the value is Kafka's default, apart from spaces and the case of letters.
    pub fn is_default(&self, value: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<String>().to_ascii_lowercase();
        plain(value) == plain(self.default)
    }
}

/// Every name with a treatment, without the families.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name).chain(REMOVED.iter().copied())
}

fn rule(name: &str) -> Option<Treatment> {
    let holds = |text: &str| name == text || (!name_is_whole(text) && name.starts_with(text));
    RULES.iter().find(|(text, _)| holds(text)).map(|(_, treatment)| *treatment)
}

/// Whether a rule's text is a name itself, so that it does not stand for longer ones.
fn name_is_whole(text: &str) -> bool {
    NAMES.binary_search_by_key(&text, |(name, _)| name).is_ok()
}

/// `<listener>.<setting>` or `<listener>.<mechanism>.<setting>`: a setting of one listener (KIP-103).
fn find_of_listener(name: &str) -> Option<KafkaSetting> {
    let (_, inner) = name.split_once('.')?;
    let inner = match inner.find("sasl.") {
        Some(at) => &inner[at..],
        None => inner,
    };
    let known = KafkaSetting::find(inner);
    match known {
        Some(KafkaSetting { treatment: Refused(_), .. }) => known,
        None if setting(inner).is_none() => None,
        _ => Some(KafkaSetting { default: "", treatment: NoEffect("a setting holds for all listeners") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_kafka_is_sorted_and_has_a_treatment() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0) && REMOVED.is_sorted());
        for name in names() {
            assert!(setting(name).is_none(), "{name} is a setting of Tidemill");
            let found = KafkaSetting::find(name).unwrap_or_else(|| panic!("{name} has no treatment"));
            if let Means(own) = found.treatment {
                assert!(setting(own).is_some(), "{name} means {own}, which does not exist");
            }
        }
        for (text, _) in RULES {
            let is_used = NAMES.iter().any(|(name, _)| name == text || name.starts_with(text));
            assert!(is_used, "no name begins with {text}");
        }
    }

    #[test]
    fn a_setting_that_protects_data_is_refused_and_a_setting_that_tunes_is_not() {
        for name in [
            "ssl.keystore.location",
            "sasl.jaas.config",
            "listener.name.internal.ssl.keystore.password",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
            "authorizer.class.name",
            "remote.log.storage.system.enable",
            "config.providers.file.class",
        ] {
            let found = KafkaSetting::find(name).expect("Kafka has it");
            assert!(matches!(found.treatment, Refused(_)), "{name}: {found:?}");
        }
        for name in ["num.io.threads", "remote.log.reader.threads", "rsm.config.x", "listener.name.a.max.connections"] {
            let found = KafkaSetting::find(name).expect("Kafka has it");
            assert!(matches!(found.treatment, NoEffect(_)), "{name}: {found:?}");
        }
        for name in ["num.io.thread", "listener.name.a.b", "listener.name.a", "quux"] {
            assert_eq!(KafkaSetting::find(name), None, "{name}");
        }
        // A name is not the beginning of another one.
        assert_eq!(KafkaSetting::find("log.dir.failure.timeout.ms").unwrap().treatment, NoEffect(DIRECTORY));
        assert_eq!(KafkaSetting::find("broker.id").unwrap().treatment, Means("node.id"));
    }

    #[test]
    fn a_default_is_recognized_with_other_spaces_and_cases() {
        let roles = KafkaSetting::find("ssl.enabled.protocols").unwrap();
        assert!(roles.is_default("TLSv1.2, TLSv1.3") && !roles.is_default("TLSv1.3"));
        assert!(KafkaSetting::find("ssl.keystore.location").unwrap().is_default(" "));
    }
}
