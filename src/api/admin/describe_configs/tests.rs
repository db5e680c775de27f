use super::*;
use crate::api::admin::fixture::{World, check_encodes};
use crate::metadata::Command;

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    }
}

fn ask(world: &World, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    for version in 1..=4 {
        check_encodes(&answer(&request, &world.at(version)), version);
    }
    answer(&request, &world.at(4)).results.remove(0)
}

fn entry<'a>(result: &'a DescribeConfigsResult, name: &str) -> &'a DescribeConfigsEntry {
    result.configs.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is missing"))
}

/// Value, source, and each synonym with its value and source.
fn shape(entry: &DescribeConfigsEntry) -> String {
    let synonym = |synonym: &DescribeConfigsSynonym| {
        format!(" {}={}@{}", synonym.name, synonym.value.as_deref().unwrap_or("null"), synonym.source)
    };
    let synonyms: String = entry.synonyms.iter().map(synonym).collect();
    format!("{}@{}{synonyms}", entry.value.as_deref().unwrap_or("null"), entry.config_source)
}

/// A topic with these overrides.
fn world(settings: &[&str], overrides: &[(&str, &str)]) -> World {
    let mut world = World::nodes(1).set(settings).topic("t", &[&[1]]);
    let id = world.image.topic("t").unwrap().id;
    let changes = overrides.iter().map(|(name, text)| ((*name).into(), Some((*text).into()))).collect();
    world.run(&Command::SetTopicConfig { id, changes });
    world
}

#[test]
fn statement_37_every_topic_config_is_described_with_its_default() {
    let result = ask(&world(&[], &[]), resource(RESOURCE_TOPIC, "t", None));
    assert_eq!((result.error_code, result.error_message.as_deref()), (ErrorCode::None, Some("")));
    assert_eq!(result.configs.len(), topic::SETTINGS.len());
    // As Kafka 4.4 describes a fresh topic.
    for (name, expected, kind) in [
        ("cleanup.policy", "delete@5 log.cleanup.policy=delete@5", 7),
        ("segment.bytes", "1073741824@5 log.segment.bytes=1073741824@5", 3),
        ("retention.ms", "604800000@5", 5),
        ("flush.ms", "9223372036854775807@5", 5),
        ("preallocate", "false@5 log.preallocate=false@5", 1),
        ("min.cleanable.dirty.ratio", "0.5@5 log.cleaner.min.cleanable.ratio=0.5@5", 6),
        ("compression.type", "producer@5 compression.type=producer@5", 2),
        ("leader.replication.throttled.replicas", "@5", 7),
    ] {
        let entry = entry(&result, name);
        assert_eq!((shape(entry).as_str(), entry.config_type), (expected, kind), "{name}");
        assert!(!entry.read_only && !entry.is_sensitive && entry.documentation.is_some());
    }
}

#[test]
fn statement_37_each_value_has_its_source() {
    let world = world(
        &["log.segment.bytes=2097152", "log.retention.hours=2", "log.cleanup.policy=compact"],
        &[("cleanup.policy", "delete"), ("max.message.bytes", "5")],
    );
    let result = ask(&world, resource(RESOURCE_TOPIC, "t", None));
    for (name, expected) in [
        ("cleanup.policy", "delete@1 cleanup.policy=delete@1 log.cleanup.policy=compact@4 log.cleanup.policy=delete@5"),
        ("max.message.bytes", "5@1 max.message.bytes=5@1 message.max.bytes=1048588@5"),
        ("segment.bytes", "2097152@4 log.segment.bytes=2097152@4 log.segment.bytes=1073741824@5"),
        ("retention.ms", "7200000@4 log.retention.hours=2@4"),
        ("segment.ms", "604800000@5"),
    ] {
        assert_eq!(shape(entry(&result, name)), expected, "{name}");
    }
}

#[test]
fn statement_38_null_keys_and_no_keys_are_all_keys() {
    let world = world(&[], &[]);
    let names = |keys| {
        let result = ask(&world, resource(RESOURCE_TOPIC, "t", keys));
        result.configs.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None), names(Some(&[])));
    assert_eq!(names(Some(&["segment.bytes", "nope", "retention.ms"])), ["retention.ms", "segment.bytes"]);
}

#[test]
fn statement_38_a_broker_is_described_by_its_id_its_nodes_id_or_no_name() {
    let world = World::nodes(2).set(&["node.id=1", "num.partitions=4"]);
    for name in ["1000", "1001", "1"] {
        let result = ask(&world, resource(RESOURCE_BROKER, name, None));
        assert_eq!(
            (result.error_code, result.configs.len()),
            (ErrorCode::None, broker::SETTINGS.len() + dynamic::others().count()),
            "{name}"
        );
        assert_eq!(shape(entry(&result, "num.partitions")), "4@4 num.partitions=4@4 num.partitions=1@5");
        assert_eq!(shape(entry(&result, "log.retention.ms")), "null@5");
        assert!(entry(&result, "node.id").read_only);
    }
    let all = ask(&world, resource(RESOURCE_BROKER, "", None));
    assert_eq!((all.error_code, all.configs.len()), (ErrorCode::None, 0));
    for (name, message) in [("2000", "expected 1000 or 1001"), ("9", "received 9"), ("abc", "must be an integer")] {
        let result = ask(&world, resource(RESOURCE_BROKER, name, None));
        assert_eq!(result.error_code, ErrorCode::InvalidRequest);
        assert!(result.error_message.as_deref().unwrap().contains(message), "{result:?}");
    }
}

#[test]
fn an_unknown_resource_is_rejected_on_its_own() {
    let world = world(&[], &[]);
    let code = |kind, name| ask(&world, resource(kind, name, None)).error_code;
    assert_eq!(code(RESOURCE_TOPIC, "nope"), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(RESOURCE_TOPIC, "a b"), ErrorCode::InvalidTopicException);
    assert_eq!(code(9, "t"), ErrorCode::InvalidRequest);
    let both = DescribeConfigsRequest {
        resources: vec![resource(9, "t", None), resource(RESOURCE_TOPIC, "t", None)],
        ..DescribeConfigsRequest::default()
    };
    let response = answer(&both, &world.at(1));
    assert_eq!(response.results[1].error_code, ErrorCode::None);
    // The request asks for neither.
    assert!(response.results[1].configs.iter().all(|entry| entry.synonyms.is_empty() && entry.documentation.is_none()));
}

#[test]
fn a_group_has_its_own_settings_and_those_of_the_broker() {
    let mut world = World::nodes(1).set(&["group.consumer.heartbeat.interval.ms=6000"]);
    let own = ("consumer.session.timeout.ms".to_owned(), Some("50000".to_owned()));
    world.run(&Command::SetGroupConfig { group: "g".into(), changes: vec![own] });
    let shapes = |world: &World, group: &str| {
        let result = ask(world, resource(RESOURCE_GROUP, group, None));
        result.configs.iter().map(|entry| format!("{} {}", entry.name, shape(entry))).collect::<Vec<_>>()
    };
    let interval = "group.consumer.assignment.interval.ms=1000@5";
    let heartbeat = "group.consumer.heartbeat.interval.ms=6000@4 group.consumer.heartbeat.interval.ms=5000@5";
    let session = "group.consumer.session.timeout.ms=45000@5";
    let expected = |session: String| {
        let interval = format!("consumer.assignment.interval.ms 1000@5 {interval}");
        vec![interval, format!("consumer.heartbeat.interval.ms 6000@4 {heartbeat}"), session]
    };
    let own = format!("consumer.session.timeout.ms 50000@8 consumer.session.timeout.ms=50000@8 {session}");
    assert_eq!(shapes(&world, "g"), expected(own));
    assert_eq!(shapes(&world, "other"), expected(format!("consumer.session.timeout.ms 45000@5 {session}")));
    let unnamed = ask(&world, resource(RESOURCE_GROUP, "", None));
    assert_eq!(unnamed.error_code, ErrorCode::InvalidRequest);
}
