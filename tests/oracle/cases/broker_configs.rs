//! Settings of brokers that change at run time: IncrementalAlterConfigs, AlterConfigs, and DescribeConfigs after them.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::create_topics::{CreatableTopic, CreateTopicsRequest};
use tidemill::wire::admin::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use tidemill::wire::admin::incremental_alter_configs::{APPEND, DELETE, SET, SUBTRACT};
use tidemill::wire::admin::list_config_resources::ListConfigResourcesRequest;

use super::super::case::{Case, case, say};
use super::alter_configs::{BROKER, Change, change, change_one, set, validated_only};

/// The type and the name of each resource, and its changes.
type Resources = &'static [(i8, &'static str, &'static [Change])];

/// One broker, and all brokers.
const ONE: &str = "1";
const ALL: &str = "";
const TOPIC: i8 = 2;
/// The settings that the cases change, and settings whose values depend on them.
const KEYS: &[&str] = &[
    "background.threads",
    "compression.type",
    "listener.name.plaintext.max.connections",
    "log.cleaner.backoff.ms",
    "log.cleanup.policy",
    "log.retention.hours",
    "log.retention.ms",
    "log.roll.hours",
    "log.roll.ms",
    "max.connections.per.ip",
    "message.max.bytes",
    "num.io.threads",
    "num.partitions",
    "plugin.name",
    "sasl.kerberos.min.time.before.relogin",
    "unclean.leader.election.enable",
];
const TOPIC_KEYS: &[&str] = &["cleanup.policy", "compression.type", "max.message.bytes", "retention.ms", "segment.ms"];

/// The settings of the broker, of all brokers, and of a topic without its own; `name` states after which cases.
fn look(name: &'static str) -> Case {
    let describe = |resource_type, name: &str, keys: &[&str], v| {
        let configuration_keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
        let resource = DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys };
        let (include_synonyms, include_documentation) = (true, false);
        say(&DescribeConfigsRequest { resources: vec![resource], include_synonyms, include_documentation }, v)
    };
    case(ApiKey::DescribeConfigs, name, move |_, v| describe(BROKER, ONE, KEYS, v))
        .then(move |_, v| describe(BROKER, ALL, KEYS, v))
        .then(move |_, v| describe(TOPIC, "inherits", TOPIC_KEYS, v))
        .until_kafka_knows()
}

fn one(name: &'static str, changes: &'static [Change]) -> Case {
    change_one(name, BROKER, ONE, changes)
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(ApiKey::CreateTopics, "a topic without settings", |_, v| {
            let topic = CreatableTopic {
                name: "inherits".into(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            };
            say(&CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false }, v)
        })
        .since(7),
        look("a broker at first"),
    ];
    cases.extend(changed());
    cases.extend(refused());
    cases.extend(replaced());
    cases
}

fn changed() -> Vec<Case> {
    vec![
        one(
            "settings of one broker",
            &[
                ("background.threads", SET, Some("9")),
                ("message.max.bytes", SET, Some(" 90000 ")),
                ("log.cleaner.backoff.ms", SET, Some("14000")),
            ],
        ),
        change(
            "settings of all brokers",
            &[(
                BROKER,
                ALL,
                &[
                    ("background.threads", SET, Some("11")),
                    ("log.retention.ms", SET, Some("7000000")),
                    ("message.max.bytes", SET, Some("80000")),
                    ("compression.type", SET, Some("zstd")),
                ],
            )],
        ),
        look("a broker after both"),
        validated_only("validated settings of one broker", BROKER, ONE, &[("log.roll.ms", SET, Some("600000"))]),
        validated_only("a validated bad setting of one broker", BROKER, ONE, &[("log.roll.ms", SET, Some("soon"))]),
        look("a broker after a validation"),
        one("the value of all brokers again", &[("message.max.bytes", DELETE, None), ("log.roll.ms", DELETE, None)]),
        look("a broker after a removal"),
        one("words more", &[("log.cleanup.policy", APPEND, Some("compact"))]),
        look("a broker after words more"),
        one("words more again", &[("log.cleanup.policy", APPEND, Some("compact,delete"))]),
        one("words less", &[("log.cleanup.policy", SUBTRACT, Some("delete,nope"))]),
        look("a broker after words less"),
        one("no words", &[("log.cleanup.policy", SUBTRACT, Some("compact"))]),
        one("words for none", &[("log.cleanup.policy", APPEND, Some("delete"))]),
        look("a broker after words for none"),
        one("a setting of logins", &[("sasl.kerberos.min.time.before.relogin", SET, Some("58000"))]),
        one("unknown names", &[("plugin.name", SET, Some("1"))]),
        one("a setting of a listener", &[("listener.name.plaintext.max.connections", SET, Some("1000"))]),
        look("a broker after unknown names"),
        one(
            "removals",
            &[
                ("plugin.name", DELETE, None),
                ("sasl.kerberos.min.time.before.relogin", DELETE, None),
                ("listener.name.plaintext.max.connections", DELETE, None),
                ("background.threads", DELETE, Some("whatever")),
                ("log.cleanup.policy", DELETE, None),
                ("log.cleaner.backoff.ms", DELETE, None),
                ("never.set", DELETE, None),
                ("num.partitions", DELETE, None),
            ],
        ),
        look("a broker after removals"),
        case(ApiKey::ListConfigResources, "after settings of brokers", |_, v| {
            say(&ListConfigResourcesRequest { resource_types: vec![BROKER] }, v)
        })
        .since(1),
    ]
}

fn refused() -> Vec<Case> {
    let mut cases = vec![
        one("a broker's bad number", &[("background.threads", SET, Some("many"))]),
        one("a broker's low number", &[("background.threads", SET, Some("0"))]),
        one("a broker's high thread count", &[("background.threads", SET, Some("1000"))]),
        one("a broker's low thread count", &[("num.io.threads", SET, Some("1"))]),
        one("a broker's bad word", &[("compression.type", SET, Some("lzma"))]),
        one("a broker's bad level", &[("compression.gzip.level", SET, Some("0"))]),
        one("a broker's bad boolean", &[("unclean.leader.election.enable", SET, Some("maybe"))]),
        one("a broker's empty number", &[("log.retention.ms", SET, Some(""))]),
        one("a broker's good and bad value", &[("log.roll.ms", SET, Some("9")), ("log.retention.ms", SET, Some("x"))]),
        one("a broker's read-only configs", &[("num.partitions", SET, Some("2")), ("node.id", SET, Some("3"))]),
        one(
            "a broker's read-only and unknown and bad configs",
            &[("num.partitions", SET, Some("2")), ("nope", SET, Some("3")), ("log.roll.ms", SET, Some("x"))],
        ),
        one("a broker's hours", &[("log.retention.hours", SET, Some("3"))]),
        one("a broker's null", &[("log.retention.ms", SET, None), ("compression.type", APPEND, None)]),
        one("a broker's config twice", &[("log.roll.ms", SET, Some("1")), ("log.roll.ms", DELETE, None)]),
        one("append to a broker's number", &[("background.threads", APPEND, Some("1"))]),
        one("subtract from a broker's word", &[("compression.type", SUBTRACT, Some("zstd"))]),
        one("append to a broker's unknown config", &[("nope", APPEND, Some("1"))]),
        one("append a broker's bad word", &[("log.cleanup.policy", APPEND, Some("shred"))]),
        one("append to a broker's read-only config", &[("group.consumer.assignors", APPEND, Some("range"))]),
        one("a broker's security", &[("ssl.keystore.type", SET, Some("JKS"))]),
        one("a broker's limit of none", &[("max.connections.per.ip", SET, Some("0"))]),
        change("another broker's null", &[(BROKER, "9", &[("log.retention.ms", SET, None)])]),
        change("a broker twice", &[(BROKER, ONE, &[("log.roll.ms", SET, Some("9"))]), (BROKER, ONE, &[])]),
    ];
    let of_all: [(&'static str, Resources); 7] = [
        ("all brokers' listeners", &[(BROKER, ALL, &[("listeners", SET, Some("PLAINTEXT://:9"))])]),
        (
            "all brokers' listeners and mechanisms",
            &[(BROKER, ALL, &[("listeners", SET, Some("A://:9")), ("sasl.enabled.mechanisms", SET, Some("PLAIN"))])],
        ),
        ("all brokers' bad number", &[(BROKER, ALL, &[("num.io.threads", SET, Some("many"))])]),
        ("all brokers' read-only config", &[(BROKER, ALL, &[("num.partitions", SET, Some("2"))])]),
        ("all brokers' append to a number", &[(BROKER, ALL, &[("num.io.threads", APPEND, Some("2"))])]),
        ("all brokers' config of a listener", &[(BROKER, ALL, &[("listener.name.a.nope", SET, Some("2"))])]),
        ("all brokers' config that is not set", &[(BROKER, ALL, &[("log.roll.jitter.ms", DELETE, None)])]),
    ];
    cases.extend(of_all.map(|(name, resources)| change(name, resources)));
    cases.push(look("a broker after refusals"));
    cases
}

fn replaced() -> Vec<Case> {
    vec![
        change(
            "no settings of all brokers",
            &[(
                BROKER,
                ALL,
                &[
                    ("background.threads", DELETE, None),
                    ("log.retention.ms", DELETE, None),
                    ("message.max.bytes", DELETE, None),
                    ("compression.type", DELETE, None),
                ],
            )],
        ),
        look("a broker after none"),
        set("settings of one broker", &[(BROKER, ONE, &[("log.roll.ms", Some("700000")), ("nope", Some("1"))])]),
        look("a broker after AlterConfigs"),
        set("other settings of one broker", &[(BROKER, ONE, &[("log.retention.ms", Some("60000"))])]),
        set("a bad setting of one broker", &[(BROKER, ONE, &[("log.retention.ms", Some("soon"))])]),
        set("a read-only setting of one broker", &[(BROKER, ONE, &[("node.id", Some("1"))])]),
        set("a null of one broker", &[(BROKER, ONE, &[("log.retention.ms", None)])]),
        set(
            "a setting of one broker twice",
            &[(BROKER, ONE, &[("log.roll.ms", Some("1")), ("log.roll.ms", Some("2"))])],
        ),
        set("a listener of all brokers", &[(BROKER, ALL, &[("listeners", Some("A://:1"))])]),
        look("a broker after AlterConfigs again"),
        set("no settings of one broker", &[(BROKER, ONE, &[])]),
        look("a broker at last"),
    ]
}
