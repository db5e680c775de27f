use crate::api::admin::fixture::{World, check_encodes};
use crate::api::admin::{alter_configs, describe_configs, incremental_alter_configs};
use crate::model::{BrokerId, ErrorCode};
use crate::wire::admin::alter_configs::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
use crate::wire::admin::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsResource, RESOURCE_BROKER, RESOURCE_TOPIC,
};
use crate::wire::admin::incremental_alter_configs::{
    APPEND, DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig, SET,
    SUBTRACT,
};

type Change<'a> = (&'a str, i8, &'a str);

/// Changes settings of a broker, or with the name "" of all brokers, and returns the error.
fn alter(world: &mut World, name: &str, changes: &[Change<'_>]) -> (ErrorCode, String) {
    let config = |(name, config_operation, value): &Change<'_>| IncrementalAlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: (*config_operation != DELETE).then(|| (*value).into()),
    };
    let configs = changes.iter().map(config).collect();
    let resources =
        vec![IncrementalAlterConfigsResource { resource_type: RESOURCE_BROKER, resource_name: name.into(), configs }];
    let plan_of = |validate_only| IncrementalAlterConfigsRequest { resources: resources.clone(), validate_only };
    assert_eq!(incremental_alter_configs::plan(&plan_of(true), &world.at(1)).commands, []);
    let plan = incremental_alter_configs::plan(&plan_of(false), &world.at(1));
    world.commit(&plan.commands);
    let result = &plan.answer.responses[0];
    (result.error_code, result.error_message.clone().unwrap_or_default())
}

/// Replaces all settings of a broker, or of all brokers.
fn replace(world: &mut World, name: &str, settings: &[(&str, &str)]) -> ErrorCode {
    let config = |(name, value): &(&str, &str)| AlterableConfig { name: (*name).into(), value: Some((*value).into()) };
    let configs = settings.iter().map(config).collect();
    let resources = vec![AlterConfigsResource { resource_type: RESOURCE_BROKER, resource_name: name.into(), configs }];
    let request = AlterConfigsRequest { resources, validate_only: false };
    let plan = alter_configs::plan(&request, &world.at(2));
    world.commit(&plan.commands);
    plan.answer.responses[0].error_code
}

fn describe(world: &World, resource_type: i8, name: &str) -> Vec<DescribeConfigsEntry> {
    let resource = DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys: None };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    let mut answer = describe_configs::answer(&request, &world.at(4));
    check_encodes(&answer, 4);
    answer.results.remove(0).configs
}

/// Value, source, and each synonym with its value and source.
fn shape(entries: &[DescribeConfigsEntry], name: &str) -> String {
    let entry = entries.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is missing"));
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".into());
    let synonyms = entry.synonyms.iter().map(|one| format!(" {}={}@{}", one.name, text(&one.value), one.source));
    format!("{}@{}{}", text(&entry.value), entry.config_source, synonyms.collect::<String>())
}

const DONE: (ErrorCode, String) = (ErrorCode::None, String::new());

#[test]
fn statement_125_a_value_of_a_broker_precedes_that_of_all_brokers_and_of_the_file_also_for_topics() {
    let mut world = World::nodes(1).set(&["message.max.bytes=1000", "log.retention.hours=2"]).topic("t", &[&[1]]);
    assert_eq!(alter(&mut world, "", &[("message.max.bytes", SET, "2000"), ("log.retention.ms", SET, " 70 ")]), DONE);
    assert_eq!(alter(&mut world, "1000", &[("message.max.bytes", SET, "3000")]), DONE);
    let file_and_default = "message.max.bytes=1000@4 message.max.bytes=1048588@5";
    let of_all = format!("2000@3 message.max.bytes=2000@3 {file_and_default}");
    let of_one = format!("3000@2 message.max.bytes=3000@2 message.max.bytes=2000@3 {file_and_default}");
    assert_eq!(shape(&describe(&world, RESOURCE_BROKER, "1000"), "message.max.bytes"), of_one);
    assert_eq!(shape(&describe(&world, RESOURCE_BROKER, "1001"), "message.max.bytes"), of_all);
    // The shard that answers is broker 1000.
    assert_eq!(shape(&describe(&world, RESOURCE_TOPIC, "t"), "max.message.bytes"), of_one);
    let retention = "log.retention.ms= 70 @3 log.retention.hours=2@4 log.retention.hours=168@5";
    assert_eq!(shape(&describe(&world, RESOURCE_TOPIC, "t"), "retention.ms"), format!("70@3 {retention}"));
    let broker = describe(&world, RESOURCE_BROKER, "1001");
    assert_eq!(shape(&broker, "log.retention.ms"), format!("70@3 {retention}"));
    assert_eq!(shape(&broker, "log.retention.hours"), "2@4 log.retention.hours=2@4 log.retention.hours=168@5");
    assert_eq!((world.config.message_max_bytes, world.config.log_retention_ms), (3000, Some(70)));
    let defaults = describe(&world, RESOURCE_BROKER, "");
    assert_eq!(defaults.len(), 2);
    assert_eq!(shape(&defaults, "message.max.bytes"), "2000@3 message.max.bytes=2000@3");
    // Each removal restores the next level.
    assert_eq!(alter(&mut world, "1000", &[("message.max.bytes", DELETE, "")]), DONE);
    assert_eq!(shape(&describe(&world, RESOURCE_TOPIC, "t"), "max.message.bytes"), of_all);
    assert_eq!(alter(&mut world, "", &[("message.max.bytes", DELETE, ""), ("log.roll.ms", DELETE, "")]), DONE);
    let broker = describe(&world, RESOURCE_BROKER, "1000");
    assert_eq!(shape(&broker, "message.max.bytes"), format!("1000@4 {file_and_default}"));
    assert_eq!(world.config.message_max_bytes, 1000);
}

/// As test 0081 of librdkafka does.
#[test]
fn settings_without_a_part_here_and_lists_are_stored_and_described() {
    let mut world = World::nodes(1);
    let threads = |world: &World| shape(&describe(world, RESOURCE_BROKER, "1000"), "background.threads");
    assert_eq!(threads(&world), "10@5 background.threads=10@5");
    assert_eq!(alter(&mut world, "1000", &[("background.threads", SET, "9")]), DONE);
    assert_eq!(threads(&world), "9@2 background.threads=9@2 background.threads=10@5");
    assert_eq!(alter(&mut world, "1000", &[("background.threads", DELETE, "")]), DONE);
    assert_eq!(threads(&world), "10@5 background.threads=10@5");
    for (operation, value, expected) in [
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact,delete", "delete,compact"),
        (SUBTRACT, "compact", "delete"),
        (SUBTRACT, "delete,nope", ""),
        (APPEND, "compact,delete", "compact,delete"),
    ] {
        assert_eq!(alter(&mut world, "1000", &[("log.cleanup.policy", operation, value)]), DONE);
        let expected = format!("{expected}@2 log.cleanup.policy={expected}@2 log.cleanup.policy=delete@5");
        assert_eq!(shape(&describe(&world, RESOURCE_BROKER, "1000"), "log.cleanup.policy"), expected);
    }
}

#[test]
fn only_settings_that_change_at_run_time_are_not_read_only() {
    let world = World::nodes(1);
    let entries = describe(&world, RESOURCE_BROKER, "1000");
    let is_read_only = |name: &str| entries.iter().find(|entry| entry.name == name).expect("it is there").read_only;
    for name in ["log.retention.ms", "max.connections", "num.io.threads", "log.cleaner.backoff.ms"] {
        assert!(!is_read_only(name), "{name}");
    }
    for name in ["node.id", "log.retention.hours", "listeners", "spin.us", "num.partitions"] {
        assert!(is_read_only(name), "{name}");
    }
}

#[test]
fn an_unknown_name_is_stored_and_its_value_is_shown_to_no_client() {
    let mut world = World::nodes(1);
    assert_eq!(alter(&mut world, "1000", &[("plugin.password", SET, "secret")]), DONE);
    assert_eq!(alter(&mut world, "", &[("listener.name.plaintext.num.network.threads", SET, "4")]), DONE);
    let entries = describe(&world, RESOURCE_BROKER, "1000");
    assert_eq!(shape(&entries, "plugin.password"), "null@2 plugin.password=null@2");
    let entry = entries.iter().find(|entry| entry.name == "plugin.password").expect("it is there");
    assert!(entry.is_sensitive && entry.read_only && entry.documentation.is_none() && entry.config_type == 0);
    let name = "listener.name.plaintext.num.network.threads";
    assert_eq!(shape(&entries, name), format!("4@3 {name}=4@3 num.network.threads=3@5"));
    assert_eq!(alter(&mut world, "1000", &[("plugin.password", DELETE, "")]), DONE);
    assert!(describe(&world, RESOURCE_BROKER, "1000").iter().all(|entry| entry.name != "plugin.password"));
}

#[test]
fn an_invalid_change_of_a_broker_is_rejected_with_the_reason() {
    use ErrorCode::{InvalidConfig, InvalidRequest};
    let mut world = World::nodes(1);
    let before = world.image.clone();
    for (name, change, code, message) in [
        ("1000", ("num.partitions", SET, "2"), InvalidRequest, "dynamically: [num.partitions]"),
        ("1000", ("background.threads", SET, "x"), InvalidRequest, "Not a number of type INT"),
        ("", ("background.threads", SET, "21"), InvalidRequest, "double the current value 10"),
        ("", ("message.max.bytes", SET, "2000000000"), InvalidRequest, "larger than socket.request.max.bytes"),
        ("", ("listeners", SET, "A://:1"), InvalidRequest, "cluster level, broker id must be specified: [listeners]"),
        ("1001", ("ssl.keystore.type", SET, "JKS"), InvalidRequest, "has no TLS so far"),
        ("1000", ("background.threads", APPEND, "3"), InvalidConfig, "append is not allowed"),
        ("1000", ("num.partitions", SUBTRACT, "3"), InvalidConfig, "subtract is not allowed"),
        ("1000", ("nope", APPEND, "3"), InvalidConfig, "Unknown config name: nope"),
        ("1000", ("log.cleanup.policy", APPEND, "shred"), InvalidRequest, "shred"),
        ("1000", ("log.retention.ms", 4, "3"), InvalidRequest, "Unknown operations type 4"),
        ("1", ("log.retention.ms", SET, "3"), InvalidRequest, "expected 1000 or 1001, but received 1"),
        ("2000", ("log.retention.ms", SET, "3"), InvalidRequest, "expected 1000 or 1001, but received 2000"),
        ("one", ("log.retention.ms", SET, "3"), InvalidRequest, "Node id must be an integer, but it is: one"),
    ] {
        let (found, text) = alter(&mut world, name, &[change]);
        assert!(found == code && text.contains(message), "{name} {change:?}: {found:?} {text}");
        assert_eq!(world.image, before);
    }
    let twice = [("log.roll.ms", SET, "1"), ("log.roll.ms", DELETE, "")];
    assert_eq!(alter(&mut world, "", &twice).0, InvalidRequest);
    assert_eq!(alter(&mut world, "", &[("num.partitions", DELETE, "")]), DONE, "nothing was set");
}

#[test]
fn a_replacement_removes_the_settings_that_it_does_not_name() {
    let mut world = World::nodes(1);
    let stored = |world: &World, broker| {
        let overrides = world.image.broker_overrides(broker);
        overrides.map(|all| all.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(" "))
    };
    for (name, broker) in [("", None), ("1001", Some(BrokerId(1001)))] {
        assert_eq!(replace(&mut world, name, &[("log.roll.ms", "5"), ("num.io.threads", "9")]), ErrorCode::None);
        assert_eq!(stored(&world, broker).as_deref(), Some("log.roll.ms=5 num.io.threads=9"));
        assert_eq!(replace(&mut world, name, &[("log.roll.ms", "6")]), ErrorCode::None);
        assert_eq!(stored(&world, broker).as_deref(), Some("log.roll.ms=6"));
        assert_eq!(replace(&mut world, name, &[("node.id", "6")]), ErrorCode::InvalidRequest);
        assert_eq!(stored(&world, broker).as_deref(), Some("log.roll.ms=6"));
        assert_eq!(replace(&mut world, name, &[]), ErrorCode::None);
        assert_eq!(stored(&world, broker), None);
    }
}
