//! IncrementalAlterConfigs and AlterConfigs.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::alter_configs::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
use tidemill::wire::admin::create_topics::{CreatableTopic, CreateTopicsRequest};
use tidemill::wire::admin::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use tidemill::wire::admin::incremental_alter_configs::{
    APPEND, DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig, SET,
    SUBTRACT,
};

use super::super::case::{Case, case, say};

const INCREMENTAL: ApiKey = ApiKey::IncrementalAlterConfigs;
const LEGACY: ApiKey = ApiKey::AlterConfigs;
const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
const GROUP: i8 = 32;

pub type Change = (&'static str, i8, Option<&'static str>);
pub type Changed = (i8, &'static str, &'static [Change]);

fn incremental(version: i16, resources: &[Changed], validate_only: bool) -> Vec<u8> {
    let config = |(name, config_operation, value): &Change| IncrementalAlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(str::to_string),
    };
    let resource = |(resource_type, name, configs): &Changed| IncrementalAlterConfigsResource {
        resource_type: *resource_type,
        resource_name: (*name).into(),
        configs: configs.iter().map(config).collect(),
    };
    let resources = resources.iter().map(resource).collect();
    say(&IncrementalAlterConfigsRequest { resources, validate_only }, version)
}

pub type Set = (i8, &'static str, &'static [(&'static str, Option<&'static str>)]);

fn legacy(version: i16, resources: &[Set], validate_only: bool) -> Vec<u8> {
    let config = |(name, value): &(&str, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        value: value.map(str::to_string),
    };
    let resource = |(resource_type, name, configs): &Set| AlterConfigsResource {
        resource_type: *resource_type,
        resource_name: (*name).into(),
        configs: configs.iter().map(config).collect(),
    };
    say(&AlterConfigsRequest { resources: resources.iter().map(resource).collect(), validate_only }, version)
}

pub fn change(name: &'static str, resources: &'static [Changed]) -> Case {
    case(INCREMENTAL, name, move |_, v| incremental(v, resources, false))
}

/// A change that is only validated.
pub fn validated_only(
    name: &'static str,
    resource_type: i8,
    resource: &'static str,
    changes: &'static [Change],
) -> Case {
    case(INCREMENTAL, name, move |_, v| incremental(v, &[(resource_type, resource, changes)], true))
}

/// One config of an existing topic.
fn one(name: &'static str, config: &'static [Change]) -> Case {
    change_one(name, TOPIC, "altered", config)
}

/// Configs of one resource.
pub fn change_one(name: &'static str, resource_type: i8, resource: &'static str, changes: &'static [Change]) -> Case {
    case(INCREMENTAL, name, move |_, v| incremental(v, &[(resource_type, resource, changes)], false))
}

pub fn set(name: &'static str, resources: &'static [Set]) -> Case {
    case(LEGACY, name, move |_, v| legacy(v, resources, false))
}

/// The settings at this point, from DescribeConfigs; `name` states after which cases.
fn look(name: &'static str) -> Case {
    let describe = |topic: &str, v: i16| {
        let resource_name = topic.into();
        let resource = DescribeConfigsResource { resource_type: TOPIC, resource_name, configuration_keys: None };
        let (include_synonyms, include_documentation) = (true, false);
        say(&DescribeConfigsRequest { resources: vec![resource], include_synonyms, include_documentation }, v)
    };
    let of_one = case(ApiKey::DescribeConfigs, name, move |_, v| describe("altered", v));
    of_one.then(move |_, v| describe("replaced", v)).until_kafka_knows()
}

fn create() -> Case {
    case(ApiKey::CreateTopics, "the topics of AlterConfigs", |_, v| {
        let topic = |name: &str| CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let topics = vec![topic("altered"), topic("replaced")];
        say(&CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false }, v)
    })
    .since(7)
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![create()];
    cases.extend(by_steps());
    cases.extend(replaced());
    cases.extend(of_groups());
    cases
}

fn look_at_group(name: &'static str) -> Case {
    const KEYS: [&str; 3] =
        ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "consumer.assignment.interval.ms"];
    case(ApiKey::DescribeConfigs, name, move |_, v| {
        let configuration_keys = Some(KEYS.map(str::to_owned).to_vec());
        let resource =
            DescribeConfigsResource { resource_type: GROUP, resource_name: "tuned".into(), configuration_keys };
        let (include_synonyms, include_documentation) = (true, false);
        say(&DescribeConfigsRequest { resources: vec![resource], include_synonyms, include_documentation }, v)
    })
    .until_kafka_knows()
}

fn of_groups() -> Vec<Case> {
    vec![
        look_at_group("a group's settings at first"),
        change("a group's settings", &[(GROUP, "tuned", &[("consumer.session.timeout.ms", SET, Some("50000"))])]),
        look_at_group("a group's settings after one was set"),
        change(
            "more of a group's settings",
            &[(
                GROUP,
                "tuned",
                &[
                    ("consumer.heartbeat.interval.ms", SET, Some(" 6000 ")),
                    ("consumer.assignment.interval.ms", SET, Some("0")),
                    ("consumer.session.timeout.ms", DELETE, None),
                ],
            )],
        ),
        look_at_group("a group's settings after more were set"),
        change("a group's unknown setting", &[(GROUP, "tuned", &[("nope", SET, Some("1"))])]),
        change("a group's bad value", &[(GROUP, "tuned", &[("consumer.session.timeout.ms", SET, Some("soon"))])]),
        change("a group's low value", &[(GROUP, "tuned", &[("consumer.session.timeout.ms", SET, Some("44999"))])]),
        change("a group's high value", &[(GROUP, "tuned", &[("consumer.heartbeat.interval.ms", SET, Some("15001"))])]),
        change(
            "a group's negative value",
            &[(GROUP, "tuned", &[("consumer.assignment.interval.ms", SET, Some("-1"))])],
        ),
        change("a group's null value", &[(GROUP, "tuned", &[("consumer.session.timeout.ms", SET, None)])]),
        change("a group without a name", &[(GROUP, "", &[("consumer.session.timeout.ms", SET, Some("50000"))])]),
        change(
            "a group's number as a list",
            &[(GROUP, "tuned", &[("consumer.session.timeout.ms", APPEND, Some("1"))])],
        ),
        change("no settings of a group", &[(GROUP, "tuned", &[])]),
        look_at_group("a group's settings after refusals"),
        set("a group's settings", &[(GROUP, "tuned", &[("consumer.session.timeout.ms", Some("55000"))])]),
        look_at_group("a group's settings after they were replaced"),
        set("a group's nothing", &[(GROUP, "tuned", &[])]),
        look_at_group("a group's settings after they were removed"),
    ]
}

fn by_steps() -> Vec<Case> {
    vec![
        one("set", &[("retention.ms", SET, Some("1000")), ("max.message.bytes", SET, Some(" 2000 "))]),
        look("after IncrementalAlterConfigs set"),
        one("set again, and another", &[("retention.ms", SET, Some("1000")), ("segment.ms", SET, Some("3000"))]),
        one("delete", &[("retention.ms", DELETE, None), ("segment.ms", DELETE, Some("whatever"))]),
        one("delete what is not set", &[("flush.ms", DELETE, None)]),
        one("delete an unknown config", &[("nope", DELETE, None)]),
        look("after IncrementalAlterConfigs delete"),
        one("append", &[("cleanup.policy", APPEND, Some("compact"))]),
        look("after IncrementalAlterConfigs append"),
        one("append again", &[("cleanup.policy", APPEND, Some("compact,delete"))]),
        one("subtract", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
        look("after IncrementalAlterConfigs subtract"),
        one("subtract again", &[("cleanup.policy", SUBTRACT, Some("delete,nope"))]),
        one(
            "append and subtract of two",
            &[
                ("cleanup.policy", APPEND, Some("delete")),
                ("leader.replication.throttled.replicas", APPEND, Some("0:1,0:2")),
                ("follower.replication.throttled.replicas", SUBTRACT, Some("0:1")),
            ],
        ),
        look("after IncrementalAlterConfigs of lists"),
        one("append a bad word", &[("cleanup.policy", APPEND, Some("shred"))]),
        one("append to a number", &[("retention.ms", APPEND, Some("1"))]),
        one("subtract from a word", &[("compression.type", SUBTRACT, Some("gzip"))]),
        one("append to an unknown config", &[("nope", APPEND, Some("1"))]),
        one("an unknown config", &[("nope", SET, Some("1"))]),
        one("a bad value", &[("retention.ms", SET, Some("soon"))]),
        one("a value out of range", &[("retention.ms", SET, Some("-2"))]),
        one("a good and a bad value", &[("segment.ms", SET, Some("77")), ("retention.ms", SET, Some("-2"))]),
        one("an empty value", &[("retention.ms", SET, Some(""))]),
        one("a null value", &[("retention.ms", SET, None), ("segment.ms", APPEND, None)]),
        one("a config twice", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]),
        one(
            "lags that contradict",
            &[("min.compaction.lag.ms", SET, Some("2000")), ("max.compaction.lag.ms", SET, Some("1000"))],
        ),
        one("tiered storage", &[("remote.storage.enable", SET, Some("true"))]),
        one("an unknown operation", &[("retention.ms", 4, Some("1"))]),
        one("no configs", &[]),
        look("after IncrementalAlterConfigs refused"),
        case(INCREMENTAL, "validated only", |_, v| {
            let good: &[Change] = &[("segment.ms", SET, Some("99"))];
            let bad: &[Change] = &[("segment.ms", SET, Some("never"))];
            incremental(v, &[(TOPIC, "altered", good), (TOPIC, "replaced", bad), (TOPIC, "nope", good)], true)
        }),
        look("after IncrementalAlterConfigs validated only"),
        change("an unknown topic", &[(TOPIC, "nope", &[("retention.ms", SET, Some("1"))])]),
        change("an unknown topic and a bad value", &[(TOPIC, "nope", &[("retention.ms", SET, Some("x"))])]),
        change(
            "bad names",
            &[(TOPIC, "..", &[("retention.ms", SET, Some("1"))]), (TOPIC, "", &[]), (TOPIC, "a b", &[])],
        ),
        change(
            "a resource twice beside another",
            &[
                (TOPIC, "altered", &[("segment.ms", SET, Some("5"))]),
                (TOPIC, "replaced", &[("segment.ms", SET, Some("5"))]),
                (TOPIC, "altered", &[("segment.ms", SET, Some("6"))]),
            ],
        ),
        change("no resources", &[]),
        change("a broker's static config", &[(BROKER, "1", &[("num.partitions", SET, Some("5"))])]),
        change("a broker's null value", &[(BROKER, "1", &[("log.retention.ms", SET, None)])]),
        change("a broker's nothing", &[(BROKER, "1", &[]), (BROKER, "", &[])]),
        change("another broker", &[(BROKER, "9", &[("log.retention.ms", SET, Some("5"))])]),
        change("a broker with a bad name", &[(BROKER, "one", &[("log.retention.ms", SET, Some("5"))])]),
        change("resources of unknown types", &[(0, "x", &[]), (1, "x", &[]), (77, "x", &[]), (-1, "x", &[])]),
        look("after IncrementalAlterConfigs"),
    ]
}

fn replaced() -> Vec<Case> {
    vec![
        set("set", &[(TOPIC, "replaced", &[("retention.ms", Some("1000")), ("segment.ms", Some("2000"))])]),
        look("after AlterConfigs set"),
        set("replace", &[(TOPIC, "replaced", &[("retention.ms", Some("1000")), ("flush.ms", Some("5"))])]),
        look("after AlterConfigs replace"),
        set("refuse", &[(TOPIC, "replaced", &[("flush.ms", Some("7")), ("retention.ms", Some("soon"))])]),
        set("an unknown config", &[(TOPIC, "replaced", &[("nope", Some("7"))])]),
        set("a null value", &[(TOPIC, "replaced", &[("flush.ms", None), ("retention.ms", Some("1"))])]),
        set("a config twice", &[(TOPIC, "replaced", &[("flush.ms", Some("1")), ("flush.ms", Some("2"))])]),
        case(LEGACY, "validated only", |_, v| legacy(v, &[(TOPIC, "replaced", &[])], true)),
        look("after AlterConfigs refused"),
        set("nothing", &[(TOPIC, "replaced", &[])]),
        look("after AlterConfigs to nothing"),
        set("an unknown topic", &[(TOPIC, "nope", &[])]),
        set("bad names", &[(TOPIC, "..", &[]), (TOPIC, "", &[]), (TOPIC, "a b", &[])]),
        // No case names a resource twice: Kafka fails to encode its response, and sends none.
        set("no resources", &[]),
        set("a broker's static config", &[(BROKER, "1", &[("num.partitions", Some("5"))])]),
        set("a broker's nothing", &[(BROKER, "1", &[]), (BROKER, "", &[])]),
        set("another broker", &[(BROKER, "9", &[("log.retention.ms", Some("5"))])]),
        set("a broker with a bad name", &[(BROKER, "one", &[("log.retention.ms", Some("5"))])]),
        set("resources of unknown types", &[(0, "x", &[]), (8, "1", &[]), (77, "y", &[]), (-1, "z", &[])]),
    ]
}
