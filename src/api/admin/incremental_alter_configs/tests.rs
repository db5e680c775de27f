use super::*;
use crate::api::admin::fixture::{World, check_encodes};
use crate::wire::admin::describe_configs::{RESOURCE_BROKER, RESOURCE_TOPIC};

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(resource_type: i8, name: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsResource {
    let config = |(name, config_operation, value): &Change<'_>| IncrementalAlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    };
    let configs = changes.iter().map(config).collect();
    IncrementalAlterConfigsResource { resource_type, resource_name: name.into(), configs }
}

fn topic(name: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsResource {
    resource(RESOURCE_TOPIC, name, changes)
}

/// Sends a request, applies the change, and returns the error fields of each resource.
fn ask(
    world: &mut World,
    resources: Vec<IncrementalAlterConfigsResource>,
    validate_only: bool,
) -> Vec<(ErrorCode, Option<String>)> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    let plan = plan(&request, &world.at(1));
    (0..=1).for_each(|version| check_encodes(&plan.answer, version));
    world.commit(&plan.commands);
    plan.answer.responses.into_iter().map(|result| (result.error_code, result.error_message)).collect()
}

fn overrides(world: &World, topic: &str) -> Vec<String> {
    let overrides = &world.image.topic(topic).expect("it is there").overrides;
    overrides.iter().map(|(name, text)| format!("{name}={text}")).collect()
}

const DONE: (ErrorCode, Option<String>) = (ErrorCode::None, None);

#[test]
fn some_settings_change_and_the_others_stay() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let set = [("retention.ms", SET, Some("5")), ("max.message.bytes", SET, Some("7"))];
    assert_eq!(ask(&mut world, vec![topic("a", &set)], false), [DONE]);
    assert_eq!(overrides(&world, "a"), ["max.message.bytes=7", "retention.ms=5"]);
    let next = [("retention.ms", DELETE, None), ("segment.ms", SET, Some("9")), ("preallocate", DELETE, Some("x"))];
    assert_eq!(ask(&mut world, vec![topic("a", &next)], false), [DONE]);
    assert_eq!(overrides(&world, "a"), ["max.message.bytes=7", "segment.ms=9"]);
}

#[test]
fn statement_39_lists_get_words_more_or_less() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let mut check = |operation, value, expected: &str| {
        assert_eq!(ask(&mut world, vec![topic("a", &[("cleanup.policy", operation, Some(value))])], false), [DONE]);
        assert_eq!(overrides(&world, "a"), [format!("cleanup.policy={expected}")]);
    };
    // Without an override, append extends the default.
    check(APPEND, "compact", "delete,compact");
    check(APPEND, "compact,delete", "delete,compact");
    check(SUBTRACT, "delete", "compact");
    check(SUBTRACT, "delete", "compact");
    check(SUBTRACT, "compact", "");
}

#[test]
fn append_extends_the_current_value() {
    let mut world = World::nodes(1).set(&["log.cleanup.policy=compact"]).topic("a", &[&[1]]);
    ask(&mut world, vec![topic("a", &[("cleanup.policy", APPEND, Some("delete"))])], false);
    assert_eq!(overrides(&world, "a"), ["cleanup.policy=compact,delete"]);
}

#[test]
fn a_resource_with_an_invalid_value_stays_unchanged_and_others_change() {
    let mut world = World::nodes(1).topic("a", &[&[1]]).topic("b", &[&[1]]);
    let half = topic("a", &[("retention.ms", SET, Some("5")), ("retention.bytes", SET, Some("many"))]);
    let result = ask(&mut world, vec![half, topic("b", &[("retention.ms", SET, Some("6"))])], false);
    assert_eq!((result[0].0, &result[1]), (ErrorCode::InvalidConfig, &DONE));
    assert_eq!((overrides(&world, "a").len(), overrides(&world, "b").len()), (0, 1));
}

#[test]
fn validate_only_and_no_difference_change_nothing() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let set = topic("a", &[("retention.ms", SET, Some("5"))]);
    assert_eq!(ask(&mut world, vec![set.clone()], true), [DONE]);
    assert_eq!(overrides(&world, "a").len(), 0);
    ask(&mut world, vec![set.clone()], false);
    let request = IncrementalAlterConfigsRequest { resources: vec![set], validate_only: false };
    assert_eq!(plan(&request, &world.at(1)).commands, []);
}

fn check_refused(resource: IncrementalAlterConfigsResource, code: ErrorCode, message: &str) {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let before = world.image.clone();
    let result = ask(&mut world, vec![resource], false);
    assert_eq!(result[0].0, code, "{result:?}");
    assert!(result[0].1.as_deref().unwrap().contains(message), "{result:?}");
    assert_eq!(world.image, before);
}

#[test]
fn an_invalid_change_is_rejected_with_the_reason() {
    use ErrorCode::{InvalidConfig, InvalidRequest, InvalidTopicException, UnknownTopicOrPartition};
    let set = |name, value| [(name, SET, Some(value))];
    check_refused(topic("a", &set("nope", "1")), InvalidConfig, "Unknown topic config name: nope");
    check_refused(topic("a", &set("retention.ms", "-2")), InvalidConfig, "at least -1");
    let lags = [("min.compaction.lag.ms", SET, Some("9")), ("max.compaction.lag.ms", SET, Some("8"))];
    check_refused(topic("a", &lags), InvalidConfig, "(9) > max.compaction.lag.ms (8)");
    check_refused(topic("a", &[("retention.ms", APPEND, Some("1"))]), InvalidConfig, "its type is not LIST");
    check_refused(topic("a", &[("nope", SUBTRACT, Some("1"))]), InvalidConfig, "its type is not LIST");
    check_refused(topic("a", &[("cleanup.policy", APPEND, Some("shred"))]), InvalidConfig, "shred");
    check_refused(
        topic("a", &[("retention.ms", SET, None)]),
        InvalidRequest,
        "Null value not supported for : retention",
    );
    check_refused(topic("a", &[("retention.ms", 4, Some("1"))]), InvalidRequest, "operations type 4");
    let twice = [("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)];
    check_refused(topic("a", &twice), InvalidRequest, "duplicate config keys");
    check_refused(topic("nope", &set("retention.ms", "1")), UnknownTopicOrPartition, "The topic 'nope' does not exist");
    check_refused(topic("nope", &set("retention.ms", "x")), InvalidConfig, "retention.ms");
    check_refused(topic("..", &set("retention.ms", "x")), InvalidTopicException, "");
    check_refused(resource(RESOURCE_BROKER, "9", &set("nope", "1")), InvalidRequest, "Unexpected broker id");
    check_refused(resource(32, "g", &set("x", "1")), InvalidConfig, "Unknown group config name: x");
    check_refused(resource(32, "", &set("x", "1")), InvalidRequest, "Default group resources are not allowed.");
    for other in [0, 1, 8, 16, 77, -1] {
        check_refused(resource(other, "a", &set("x", "1")), InvalidRequest, &format!("Unknown resource type {other}"));
    }
}

#[test]
fn a_repeated_resource_is_rejected_each_time_and_others_are_not() {
    let mut world = World::nodes(1).topic("a", &[&[1]]).topic("b", &[&[1]]);
    let set = |name| topic(name, &[("retention.ms", SET, Some("5"))]);
    let result = ask(&mut world, vec![set("a"), set("b"), set("a")], false);
    let codes: Vec<_> = result.iter().map(|result| result.0).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest, ErrorCode::None, ErrorCode::InvalidRequest]);
    assert_eq!((overrides(&world, "a").len(), overrides(&world, "b").len()), (0, 1));
}

#[test]
fn refuse_all_names_every_resource() {
    let request =
        IncrementalAlterConfigsRequest { resources: vec![topic("a", &[]), topic("b", &[])], ..Default::default() };
    let result = refuse_all(&request, ErrorCode::KafkaStorageError, "broken").responses;
    assert_eq!(result.iter().filter(|result| result.error_code == ErrorCode::KafkaStorageError).count(), 2);
}
