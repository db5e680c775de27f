use super::*;
use crate::api::admin::fixture::{World, check_encodes, numbers};
use crate::metadata::Command;
use crate::metadata::owner::shard_of;
use crate::model::NodeId;
use crate::wire::admin::metadata::OPERATIONS_NOT_ASKED;

fn by_name(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

fn by_id(ids: &[TopicId]) -> MetadataRequest {
    let topic = |id: &TopicId| MetadataRequestTopic { topic_id: *id, name: None };
    MetadataRequest { topics: Some(ids.iter().map(topic).collect()), ..MetadataRequest::default() }
}

fn ask(world: &World, version: i16, request: &MetadataRequest) -> MetadataResponse {
    answer(request, &world.at(version), &NotCreated::new())
}

/// The name and error of each topic of the response.
fn topics_of(response: &MetadataResponse) -> Vec<(Option<&str>, ErrorCode)> {
    response.topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code)).collect()
}

#[test]
fn statement_20_null_topics_are_all_and_an_empty_list_is_none() {
    let world = World::nodes(1).topic("a", &[&[1]]).topic("b", &[&[1]]);
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let none = by_name(&[]);
    for (version, request, expected) in [(1, &all, 2), (13, &all, 2), (0, &none, 2), (1, &none, 0), (13, &none, 0)] {
        let response = ask(&world, version, request);
        assert_eq!(response.topics.len(), expected, "version {version}");
        assert_eq!(response.brokers.len(), 2, "version {version}");
    }
}

#[test]
fn statement_21_unknown_and_illegal_names_are_answered_with_their_errors() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    for version in [0, 1, 4, 9, 12, 13] {
        let response = ask(&world, version, &by_name(&["nope", "a b", "", "a", "nope"]));
        assert_eq!(
            topics_of(&response),
            [
                (Some("nope"), ErrorCode::UnknownTopicOrPartition),
                (Some("a b"), ErrorCode::InvalidTopicException),
                (Some(""), ErrorCode::InvalidTopicException),
                (Some("a"), ErrorCode::None),
            ],
            "version {version}"
        );
    }
}

#[test]
fn statement_22_a_topic_is_created_when_asked_for_and_is_in_the_answer() {
    let mut world = World::nodes(1).set(&["num.partitions=3"]).topic("here", &[&[1]]);
    let request = by_name(&["here", "new", "new", "a b"]);
    let names = missing(&request, &world.at(9));
    assert_eq!(names.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["new"]);
    let plan = plan(&names, &world.image, &world.config, &mut numbers());
    assert_eq!((plan.commands.len(), &plan.answer), (1, &vec![]));
    world.commit(&plan.commands);
    let response = answer(&request, &world.at(9), &plan.answer);
    let new = &response.topics[1];
    assert_eq!((new.error_code, new.partitions.len(), new.topic_id.is_zero()), (ErrorCode::None, 3, false));
    // Another connection has created the topic meanwhile.
    assert_eq!(super::plan(&names, &world.image, &world.config, &mut numbers()).commands, []);
}

#[test]
fn statement_22_nothing_is_created_unless_both_sides_want_it() {
    let count = |world: &World, request: &MetadataRequest, version| missing(request, &world.at(version)).len();
    let world = World::nodes(1);
    let off = World::nodes(1).set(&["auto.create.topics.enable=false"]);
    let wanted = by_name(&["new"]);
    let unwanted = MetadataRequest { allow_auto_topic_creation: false, ..by_name(&["new"]) };
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(count(&world, &wanted, 9), 1);
    assert_eq!(count(&world, &unwanted, 9), 0);
    assert_eq!(count(&off, &wanted, 9), 0);
    assert_eq!(count(&world, &all, 9), 0);
    assert_eq!(count(&world, &by_id(&[TopicId([1; 16])]), 12), 0);
    assert_eq!(count(&world, &by_name(&["__consumer_offsets"]), 9), 0);
}

#[test]
fn statement_22_a_topic_that_cannot_be_created_gets_the_reason() {
    let world = World::nodes(1).set(&["default.replication.factor=3"]).topic("a.b", &[&[1]]);
    let request = by_name(&["new", "a_b"]);
    let plan = plan(&missing(&request, &world.at(9)), &world.image, &world.config, &mut numbers());
    assert_eq!(plan.commands, []);
    let response = answer(&request, &world.at(9), &plan.answer);
    let world = World::nodes(1).topic("a.b", &[&[1]]);
    let plan = super::plan(&missing(&request, &world.at(9)), &world.image, &world.config, &mut numbers());
    let with_one = answer(&request, &world.at(9), &plan.answer);
    assert_eq!(response.topics[0].error_code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(with_one.topics[1].error_code, ErrorCode::InvalidTopicException);
}

#[test]
fn statement_23_topics_are_found_by_id_from_version_12_on() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let id = world.image.topic("a").unwrap().id;
    let stranger = TopicId([9; 16]);
    let response = ask(&world, 12, &by_id(&[id, stranger, TopicId::ZERO]));
    assert_eq!(
        topics_of(&response),
        [(Some("a"), ErrorCode::None), (None, ErrorCode::UnknownTopicId), (None, ErrorCode::InvalidRequest)]
    );
    assert_eq!((response.topics[0].topic_id, response.topics[1].topic_id), (id, stranger));
    for version in [10, 11] {
        assert_eq!(topics_of(&ask(&world, version, &by_id(&[id]))), [(Some(""), ErrorCode::InvalidRequest)]);
    }
}

#[test]
fn statement_24_a_recreated_topic_has_another_id() {
    let mut world = World::nodes(1).topic("a", &[&[1]]);
    let id = |world: &World| ask(world, 12, &by_name(&["a"])).topics[0].topic_id;
    let first = id(&world);
    world.run(&Command::DeleteTopic { id: first });
    let world = world.topic("a", &[&[1]]);
    assert_ne!(id(&world), first);
    assert_eq!(topics_of(&ask(&world, 12, &by_id(&[first]))), [(None, ErrorCode::UnknownTopicId)]);
}

#[test]
fn statement_25_the_leader_epoch_grows_with_each_leadership() {
    let mut world = World::nodes(2).topic("a", &[&[1, 2]]);
    let epoch = |world: &World| ask(world, 9, &by_name(&["a"])).topics[0].partitions[0].leader_epoch;
    let mut epochs = vec![epoch(&world)];
    world = world.without_node(1);
    epochs.push(epoch(&world));
    world = world.without_node(2);
    epochs.push(epoch(&world));
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}

#[test]
fn statement_26_a_partition_without_leader_still_names_its_replicas() {
    let world = World::nodes(2).topic("a", &[&[2]]).without_node(2);
    let response = ask(&world, 9, &by_name(&["a"]));
    let (topic, partition) = (&response.topics[0], &response.topics[0].partitions[0]);
    assert_eq!((topic.error_code, partition.error_code), (ErrorCode::None, ErrorCode::LeaderNotAvailable));
    let replica = 2000 + i32::from(shard_of(topic_id(&world), 0, 2).0);
    assert_eq!((partition.leader_id, &partition.replica_nodes), (-1, &vec![replica]));
    assert_eq!((&partition.isr_nodes, &partition.offline_replicas), (&vec![replica], &vec![replica]));
    // A fenced broker is not listed.
    assert!(response.brokers.iter().all(|broker| broker.node_id / 1000 == 1));
}

fn topic_id(world: &World) -> TopicId {
    world.image.topic("a").unwrap().id
}

#[test]
fn statement_27_the_controller_is_a_broker_of_the_answer() {
    for (routing, expected) in [("direct", 1000), ("forward", 1)] {
        let world = routed(routing);
        let response = ask(&world, 9, &by_name(&[]));
        assert_eq!(response.controller_id, expected);
        assert!(response.brokers.iter().any(|broker| broker.node_id == expected));
    }
}

/// Node 1 with four shards and two listeners.
fn routed(routing: &str) -> World {
    use crate::config::Routing;
    use crate::metadata::Endpoint;
    let mut world = World::nodes(0);
    let endpoint =
        |listener: &str, port| Endpoint { listener: listener.into(), host: format!("{listener}.host"), port };
    world.run(&Command::NodeStarted {
        node: NodeId(1),
        incarnation: 1,
        endpoints: vec![endpoint("PLAINTEXT", 9092), endpoint("OUTSIDE", 19092)],
        shards: 4,
        routing: if routing == "direct" { Routing::Direct } else { Routing::Forward },
        rack: "node-1".into(),
    });
    world
}

#[test]
fn statement_28_the_cluster_id_is_set_and_constant() {
    let world = World::nodes(1);
    assert_eq!(ask(&world, 2, &by_name(&[])).cluster_id.as_deref(), Some("cluster"));
    assert_eq!(ask(&world.topic("a", &[&[1]]), 13, &by_name(&[])).cluster_id.as_deref(), Some("cluster"));
}

#[test]
fn statement_29_authorized_operations_are_sent_on_request() {
    let world = World::nodes(1).topic("a", &[&[1]]);
    let response = ask(&world, 10, &by_name(&["a"]));
    assert_eq!(response.cluster_authorized_operations, OPERATIONS_NOT_ASKED);
    assert_eq!(response.topics[0].topic_authorized_operations, OPERATIONS_NOT_ASKED);
    let request = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..by_name(&["a", "nope"])
    };
    let response = ask(&world, 10, &request);
    // Kafka 4.3 sends these numbers without an authorizer, also for an unknown topic.
    assert_eq!(response.cluster_authorized_operations, 8096);
    assert!(response.topics.iter().all(|topic| topic.topic_authorized_operations == 3576));
}

#[test]
fn statement_30_brokers_are_named_by_the_address_of_the_listener_asked_on() {
    for (routing, listener, expected) in [
        ("direct", "PLAINTEXT", vec![(1000, 9093), (1001, 9094), (1002, 9095), (1003, 9096)]),
        ("direct", "OUTSIDE", vec![(1000, 19093), (1001, 19094), (1002, 19095), (1003, 19096)]),
        ("forward", "OUTSIDE", vec![(1, 19092)]),
    ] {
        let world = routed(routing);
        let context = Context { listener, ..world.at(9) };
        let response = answer(&by_name(&[]), &context, &NotCreated::new());
        let brokers: Vec<_> = response.brokers.iter().map(|broker| (broker.node_id, broker.port)).collect();
        assert_eq!(brokers, expected);
        let host = format!("{listener}.host");
        assert!(response.brokers.iter().all(|broker| broker.host == host && broker.rack.as_deref() == Some("node-1")));
    }
}

#[test]
fn partitions_are_spread_over_the_brokers_of_the_response() {
    let world = routed("direct").topic("a", &[&[1][..]; 8]);
    let response = ask(&world, 12, &by_name(&["a"]));
    let mut leads = std::collections::BTreeMap::new();
    for partition in &response.topics[0].partitions {
        assert_eq!(partition.replica_nodes, [partition.leader_id]);
        *leads.entry(partition.leader_id).or_insert(0) += 1;
    }
    assert_eq!(leads, [(1000, 2), (1001, 2), (1002, 2), (1003, 2)].into());
}

#[test]
fn internal_topics_are_marked() {
    let world = World::nodes(1).topic("__consumer_offsets", &[&[1]]).topic("a", &[&[1]]);
    let response = ask(&world, 9, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let marks: Vec<_> = response.topics.iter().map(|topic| topic.is_internal).collect();
    assert_eq!(marks, [true, false]);
}

#[test]
fn every_response_encodes_at_every_version() {
    let world = World::nodes(2).topic("a", &[&[1, 2], &[2]]).without_node(2);
    for version in 0..=13 {
        let request = by_name(&["a", "nope", "a b"]);
        check_encodes(&ask(&world, version, &request), version);
        if version >= 12 {
            check_encodes(&ask(&world, version, &by_id(&[topic_id(&world), TopicId([3; 16])])), version);
        }
    }
}

#[test]
fn one_request_creates_no_more_partitions_than_create_topics_would() {
    let world = World::nodes(1).set(&["num.partitions=4000"]);
    let request = by_name(&["a", "b", "c", "a"]);
    assert_eq!(missing(&request, &world.at(9)).iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "b"]);
}
