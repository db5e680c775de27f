use super::*;
use crate::api::admin::fixture::{World, check_encodes};

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.into()), topic_id: TopicId::ZERO }
}

fn by_id(id: TopicId) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id: id }
}

fn plan_v6(world: &World, topics: Vec<DeleteTopicState>) -> Plan<DeleteTopicsResponse> {
    let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
    let plan = plan(&request, &world.at(6));
    check_encodes(&plan.answer, 6);
    world.clone().commit(&plan.commands);
    plan
}

fn codes(plan: &Plan<DeleteTopicsResponse>) -> Vec<ErrorCode> {
    plan.answer.responses.iter().map(|result| result.error_code).collect()
}

#[test]
fn statement_35_topics_are_deleted_by_name_or_by_id() {
    let world = World::nodes(1).topic("a", &[&[1]]).topic("b", &[&[1]]);
    let id = |name: &str| world.image.topic(name).unwrap().id;
    let plan = plan_v6(&world, vec![by_name("a"), by_id(id("b"))]);
    assert_eq!(plan.commands, [Command::DeleteTopic { id: id("a") }, Command::DeleteTopic { id: id("b") }]);
    let both: Vec<_> = plan
        .answer
        .responses
        .iter()
        .map(|result| (result.name.as_deref(), result.topic_id, result.error_code))
        .collect();
    assert_eq!(both, [(Some("a"), id("a"), ErrorCode::None), (Some("b"), id("b"), ErrorCode::None)]);
}

#[test]
fn statement_35_unknown_names_and_ids_have_errors_of_their_own() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let plan = plan_v6(&world, vec![by_name("nope"), by_id(TopicId([9; 16])), by_name("a b"), by_name("a")]);
    assert_eq!(
        codes(&plan),
        [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::None
        ]
    );
    assert_eq!(plan.answer.responses[1].name, None);
    assert_eq!(plan.commands.len(), 1);
}

#[test]
fn a_repeated_or_ambiguous_topic_is_not_deleted() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let id = world.image.topic("a").unwrap().id;
    let both = DeleteTopicState { name: Some("a".into()), topic_id: id };
    for (topics, message) in [
        (vec![by_name("a"), by_name("a")], "Duplicate topic name."),
        (vec![by_id(id), by_id(id)], "Duplicate topic id."),
        (vec![both], "both topic name and topic id"),
        (vec![by_id(TopicId::ZERO)], "Neither topic name nor id"),
        (vec![by_name("a"), by_id(id)], "already supplied"),
        (vec![by_id(id), by_name("a")], "already supplied"),
    ] {
        let plan = plan_v6(&world, topics);
        assert_eq!(plan.commands, [], "{message}");
        assert_eq!(plan.answer.responses.len(), 1, "{message}");
        for result in &plan.answer.responses {
            assert_eq!(result.error_code, ErrorCode::InvalidRequest);
            assert!(result.error_message.as_deref().unwrap().contains(message), "{result:?}");
        }
    }
}

#[test]
fn old_versions_name_topics_in_a_separate_list() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let request =
        DeleteTopicsRequest { topic_names: vec!["a".into(), "nope".into()], ..DeleteTopicsRequest::default() };
    for version in 1..=5 {
        let plan = plan(&request, &world.at(version));
        check_encodes(&plan.answer, version);
        assert_eq!(codes(&plan), [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
        assert_eq!(plan.commands.len(), 1);
    }
}

#[test]
fn every_topic_gets_an_error_when_deletion_is_disabled() {
    let world = World::nodes(1).set(&["delete.topic.enable=false"]).topic("a", &[&[1]]);
    let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..DeleteTopicsRequest::default() };
    for (version, code) in [(1, ErrorCode::InvalidRequest), (3, ErrorCode::TopicDeletionDisabled)] {
        let plan = plan(&request, &world.at(version));
        check_encodes(&plan.answer, version);
        assert_eq!((codes(&plan), plan.commands.len()), (vec![code], 0));
    }
}
