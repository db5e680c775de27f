use super::*;
use crate::api::admin::fixture::{World, check_encodes, numbers};
use crate::model::NodeId;
use crate::wire::admin::create_partitions::CreatePartitionsAssignment;

fn topic(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
    CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: assignments.map(|all| all.iter().map(assignment).collect()),
    }
}

fn plan_for(world: &World, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Plan<CreatePartitionsResponse> {
    let request = CreatePartitionsRequest { topics, validate_only, ..CreatePartitionsRequest::default() };
    let plan = plan(&request, &world.at(3), &mut numbers());
    (0..=3).for_each(|version| check_encodes(&plan.answer, version));
    world.clone().commit(&plan.commands);
    plan
}

fn check_refused(world: &World, asked: CreatePartitionsTopic, code: ErrorCode, message: &str) {
    let plan = plan_for(world, vec![asked], false);
    let result = &plan.answer.results[0];
    assert_eq!((result.error_code, plan.commands.len()), (code, 0), "{result:?}");
    assert!(result.error_message.as_deref().unwrap().contains(message), "{result:?}");
}

#[test]
fn statement_36_every_topic_has_its_result() {
    let world = World::nodes(1).topic("a", &[&[1]]).topic("b", &[&[1]]);
    let topics = vec![topic("a", 3, None), topic("nope", 3, None), topic("b", 1, None), topic("b", 2, None)];
    let plan = plan_for(&world, topics, false);
    let results: Vec<_> = plan.answer.results.iter().map(|result| (result.name.as_str(), result.error_code)).collect();
    assert_eq!(
        results,
        [("a", ErrorCode::None), ("nope", ErrorCode::UnknownTopicOrPartition), ("b", ErrorCode::InvalidRequest),]
    );
    assert_eq!(plan.commands.len(), 1);
}

#[test]
fn statement_36_fewer_partitions_or_as_many_are_refused() {
    let world = World::nodes(1).topic("a", &[&[1], &[1], &[1]]);
    check_refused(&world, topic("a", 3, None), ErrorCode::InvalidPartitions, "already has 3 partition(s)");
    for count in [2, 0, -1] {
        let message = format!("currently has 3 partition(s); {count} would not be an increase");
        check_refused(&world, topic("a", count, None), ErrorCode::InvalidPartitions, &message);
    }
}

#[test]
fn new_partitions_have_as_many_replicas_as_the_old_ones() {
    let mut world = World::nodes(3).topic("a", &[&[1, 2]]);
    let plan = plan_for(&world, vec![topic("a", 7, None)], false);
    world.commit(&plan.commands);
    let partitions = &world.image.topic("a").unwrap().partitions;
    assert_eq!(partitions.len(), 7);
    assert!(partitions.iter().all(|partition| partition.replicas.len() == 2));
    let world = World::nodes(2).topic("a", &[&[1, 2]]).without_node(2);
    check_refused(&world, topic("a", 2, None), ErrorCode::InvalidReplicationFactor, "only 1 node(s) are up");
}

#[test]
fn chosen_replicas_are_accepted_or_rejected_as_in_kafka() {
    let world = World::nodes(2).topic("a", &[&[1]]);
    let plan = plan_for(&world, vec![topic("a", 3, Some(&[&[2001], &[1000]]))], false);
    let Command::CreatePartitions { have, replicas, .. } = &plan.commands[0] else { panic!("{:?}", plan.commands) };
    assert_eq!((*have, replicas), (1, &vec![vec![NodeId(2)], vec![NodeId(1)]]));
    let check = |brokers: &[&[i32]], message| {
        check_refused(&world, topic("a", 2, Some(brokers)), ErrorCode::InvalidReplicaAssignment, message);
    };
    check(&[], "Attempted to add 1 additional partition(s), but only 0 assignment(s) were specified.");
    check(&[&[1000], &[1000]], "only 2 assignment(s)");
    check(&[&[9000]], "no such broker is registered");
    check(&[&[]], "empty replica list");
    check(&[&[1000, 1000]], "more than once");
    check(&[&[1000, 2000]], "not consistent");
}

#[test]
fn the_result_names_the_brokers_that_differ_from_the_chosen_ones() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let topic_id = world.image.topic("a").unwrap().id;
    let node = world.image.node(NodeId(1)).unwrap();
    let owner = crate::router::broker::broker_of(node, topic_id, 1).0;
    let other = 2001 - owner;
    for (chosen, note) in [
        (vec![owner], None),
        (vec![other], Some(format!("partition 1 lies on [{owner}], not on [{other}]"))),
        (vec![owner, other], Some(format!("partition 1 lies on [{owner}], not on [{owner}, {other}]"))),
    ] {
        let plan = plan_for(&world, vec![topic("a", 2, Some(&[&chosen]))], false);
        let result = &plan.answer.results[0];
        assert_eq!((result.error_code, plan.commands.len()), (ErrorCode::None, 1), "{result:?}");
        let message = result.error_message.as_deref();
        assert_eq!(message.is_some(), note.is_some(), "{message:?}");
        assert!(message.unwrap_or_default().contains(note.as_deref().unwrap_or_default()), "{message:?}");
    }
}

#[test]
fn validate_only_changes_nothing_and_a_huge_count_allocates_nothing() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let plan = plan_for(&world, vec![topic("a", 3, None)], true);
    assert_eq!((plan.answer.results[0].error_code, plan.commands.len()), (ErrorCode::None, 0));
    check_refused(&world, topic("a", i32::MAX, None), ErrorCode::PolicyViolation, "Excessively large");
}

#[test]
fn refuse_all_names_every_topic() {
    let topics = vec![topic("a", 1, None), topic("b", 1, None)];
    let request = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
    let results = refuse_all(&request, ErrorCode::RequestTimedOut, "too slow").results;
    assert_eq!(results.iter().filter(|result| result.error_code == ErrorCode::RequestTimedOut).count(), 2);
}
