use super::*;
use crate::api::admin::fixture::{World, check_encodes};
use crate::wire::admin::alter_configs::AlterableConfig;

fn resource(resource_type: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsResource {
    let config = |(name, value): &(&str, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        value: value.map(str::to_owned),
    };
    AlterConfigsResource { resource_type, resource_name: name.into(), configs: configs.iter().map(config).collect() }
}

fn ask(world: &mut World, resource: AlterConfigsResource, validate_only: bool) -> (ErrorCode, Option<String>) {
    let plan = plan(&AlterConfigsRequest { resources: vec![resource], validate_only }, &world.at(2));
    (0..=2).for_each(|version| check_encodes(&plan.answer, version));
    world.commit(&plan.commands);
    let result = plan.answer.responses.into_iter().next().expect("one for one");
    (result.error_code, result.error_message)
}

fn overrides(world: &World) -> Vec<String> {
    let overrides = &world.image.topic("a").expect("it is there").overrides;
    overrides.iter().map(|(name, text)| format!("{name}={text}")).collect()
}

#[test]
fn settings_that_are_not_named_return_to_their_defaults() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let mut check = |configs: &[(&str, Option<&str>)], expected: &[&str]| {
        assert_eq!(ask(&mut world, resource(RESOURCE_TOPIC, "a", configs), false), (ErrorCode::None, None));
        assert_eq!(overrides(&world), expected);
    };
    let retention_ms = ("retention.ms", Some("5"));
    check(&[retention_ms, ("segment.ms", Some("6"))], &["retention.ms=5", "segment.ms=6"]);
    check(&[("preallocate", Some("true")), retention_ms], &["preallocate=true", "retention.ms=5"]);
    check(&[], &[]);
}

#[test]
fn validate_only_and_rejected_requests_change_nothing() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    ask(&mut world, resource(RESOURCE_TOPIC, "a", &[("retention.ms", Some("5"))]), false);
    assert_eq!(ask(&mut world, resource(RESOURCE_TOPIC, "a", &[]), true), (ErrorCode::None, None));
    for (configs, expected) in [
        (&[("retention.ms", None)], ErrorCode::InvalidRequest),
        (&[("nope", Some("1"))], ErrorCode::InvalidConfig),
        (&[("retention.ms", Some("soon"))], ErrorCode::InvalidConfig),
    ] {
        assert_eq!(ask(&mut world, resource(RESOURCE_TOPIC, "a", configs), false).0, expected);
    }
    let broker = resource(RESOURCE_BROKER, "1000", &[("num.partitions", Some("2"))]);
    assert_eq!(ask(&mut world, broker, false).0, ErrorCode::InvalidRequest);
    assert_eq!(ask(&mut world, resource(8, "1000", &[]), false).0, ErrorCode::InvalidRequest);
    assert_eq!(overrides(&world), ["retention.ms=5"]);
}

#[test]
fn refusing_all_names_every_resource() {
    let resources = vec![resource(RESOURCE_TOPIC, "a", &[]), resource(RESOURCE_TOPIC, "b", &[])];
    let request = AlterConfigsRequest { resources, ..Default::default() };
    let result = refuse_all(&request, ErrorCode::KafkaStorageError, "broken").responses;
    assert_eq!(result.iter().filter(|result| result.error_code == ErrorCode::KafkaStorageError).count(), 2);
}

#[test]
fn settings_of_a_group_are_replaced_as_those_of_a_topic() {
    let mut world = World::nodes(1);
    let mut alter = |name: &str, configs: &[(&str, Option<&str>)]| {
        let answer = ask(&mut world, resource(RESOURCE_GROUP, name, configs), false);
        let overrides = world.image.group_overrides("g");
        (answer.0, overrides.map(|all| all.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>()))
    };
    let session = ("consumer.session.timeout.ms", Some("50000"));
    let interval = ("consumer.assignment.interval.ms", Some("7"));
    let both = vec!["consumer.assignment.interval.ms=7".to_owned(), "consumer.session.timeout.ms=50000".into()];
    assert_eq!(alter("g", &[session, interval]), (ErrorCode::None, Some(both)));
    let one = Some(vec!["consumer.session.timeout.ms=50000".to_owned()]);
    assert_eq!(alter("g", &[session]), (ErrorCode::None, one.clone()));
    for (name, configs, code) in [
        ("g", &[("nope", Some("1"))][..], ErrorCode::InvalidConfig),
        ("g", &[("consumer.session.timeout.ms", Some("1"))], ErrorCode::InvalidConfig),
        ("g", &[("share.session.timeout.ms", Some("50000"))], ErrorCode::InvalidConfig),
        ("g", &[("consumer.session.timeout.ms", None)], ErrorCode::InvalidRequest),
        ("", &[session], ErrorCode::InvalidRequest),
    ] {
        assert_eq!(alter(name, configs), (code, one.clone()), "{name} {configs:?}");
    }
    assert_eq!(alter("g", &[]), (ErrorCode::None, None));
}
