use super::*;
use crate::config::Routing;
use crate::metadata::command::Endpoint;
use crate::model::LeaderEpoch;

pub(crate) fn name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// A topic id that depends only on the name and the index of the creation.
fn id_of(name: &str, index: u64) -> TopicId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(index + 1).to_be_bytes());
    name.bytes().take(8).enumerate().for_each(|(i, byte)| id[8 + i] = byte);
    TopicId(id)
}

fn start(node: i32, incarnation: u64) -> Command {
    let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: format!("host-{node}"), port: 9092 };
    Command::NodeStarted {
        node: NodeId(node),
        incarnation,
        endpoints: vec![endpoint],
        shards: 2,
        routing: Routing::Direct,
        rack: format!("node-{node}"),
    }
}

pub(crate) fn run(image: &Image, command: &Command) -> (Image, Delta) {
    apply(image, image.index + 1, std::slice::from_ref(command))
        .unwrap_or_else(|rejected| panic!("{command:?}: {rejected}"))
}

/// A formatted cluster with live nodes 1..=count.
pub(crate) fn image_with_nodes(count: i32) -> Image {
    let mut image = run(&Image::default(), &Command::FormatCluster { cluster_id: "cluster".into() }).0;
    for node in 1..=count {
        image = run(&image, &start(node, 1)).0;
    }
    image
}

pub(crate) fn create_command(image: &Image, name: &str, replicas: &[&[i32]]) -> Command {
    let replicas = replicas.iter().map(|nodes| nodes.iter().map(|node| NodeId(*node)).collect()).collect();
    Command::CreateTopic { id: id_of(name, image.index), name: name.into(), replicas, overrides: vec![] }
}

/// The image with a topic `name`, all its partitions on node 1.
pub(crate) fn create(image: &Image, name: &str, partitions: usize) -> Image {
    run(image, &create_command(image, name, &vec![&[1][..]; partitions])).0
}

pub(crate) fn all_commands() -> Vec<Command> {
    vec![
        Command::FormatCluster { cluster_id: "a cluster id that is too long to be inlined".into() },
        start(7, 3),
        Command::NodeStopped { node: NodeId(7), incarnation: 3 },
        create_command(&Image::default(), "topic", &[&[1, 2], &[2, 1]]),
        Command::DeleteTopic { id: id_of("topic", 0) },
        Command::CreatePartitions { id: id_of("topic", 0), have: 2, replicas: vec![vec![NodeId(1)]] },
        Command::SetTopicConfig {
            id: id_of("topic", 0),
            changes: vec![("retention.ms".into(), Some("5".into())), ("segment.ms".into(), None)],
        },
        Command::AllocateProducerIds { node: NodeId(1), count: 1000 },
        Command::SetGroupConfig {
            group: "a group with a long name".into(),
            changes: vec![("consumer.session.timeout.ms".into(), Some("50000".into())), ("nope".into(), None)],
        },
        Command::SetBrokerConfig {
            broker: Some(BrokerId(1001)),
            changes: vec![("log.cleanup.policy".into(), Some("compact".into())), ("nope".into(), None)],
        },
    ]
}

fn reject(image: &Image, command: &Command, expected: CommandRejected) {
    let got = apply(image, image.index + 1, std::slice::from_ref(command));
    assert_eq!(got.map(|_| ()), Err(expected), "{command:?}");
}

#[test]
fn meta_1_the_same_commands_give_the_same_image() {
    let commands = [
        Command::FormatCluster { cluster_id: "c".into() },
        start(1, 1),
        start(2, 1),
        create_command(&Image::default(), "a", &[&[1, 2], &[2, 1]]),
        Command::AllocateProducerIds { node: NodeId(1), count: 10 },
        Command::NodeStopped { node: NodeId(1), incarnation: 1 },
        start(1, 2),
    ];
    let build = || commands.iter().fold(Image::default(), |image, command| run(&image, command).0);
    assert_eq!(build(), build());
    let mut in_place = Image::default();
    for (i, command) in commands.iter().enumerate() {
        apply_to(&mut in_place, &mut Delta::default(), i as u64 + 1, std::slice::from_ref(command)).unwrap();
    }
    assert_eq!(in_place, build());
}

#[test]
fn meta_5_a_created_topic_is_led_by_its_first_live_replica() {
    let image = image_with_nodes(3);
    let image = run(&image, &Command::NodeStopped { node: NodeId(2), incarnation: 1 }).0;
    let (image, delta) = run(&image, &create_command(&image, "t", &[&[1, 2, 3], &[2, 3, 1], &[2]]));
    let topic = image.topic("t").unwrap();
    let shape = |i: i32| {
        let partition = topic.partition(i).unwrap();
        (partition.leader.map(|id| id.0), partition.isr.iter().map(|id| id.0).collect::<Vec<_>>())
    };
    assert_eq!(shape(0), (Some(1), vec![1, 3]));
    assert_eq!(shape(1), (Some(3), vec![3, 1]));
    assert_eq!(shape(2), (None, vec![2]));
    assert_eq!(delta.topics_created, std::slice::from_ref(topic));
}

#[test]
fn meta_4_a_restart_of_the_leader_is_a_new_leadership() {
    let image = image_with_nodes(2);
    let image = run(&image, &create_command(&image, "t", &[&[1, 2], &[2, 1]])).0;
    let (next, delta) = run(&image, &start(1, 2));
    let epochs =
        |image: &Image| image.topic("t").unwrap().partitions.iter().map(|p| p.leader_epoch).collect::<Vec<_>>();
    assert_eq!(
        (epochs(&image), epochs(&next)),
        (vec![LeaderEpoch(0), LeaderEpoch(0)], vec![LeaderEpoch(1), LeaderEpoch(0)])
    );
    let topic = next.topic("t").unwrap().id;
    assert_eq!(delta.leadership_changed, [TopicPartition { topic, partition: 0 }]);
    assert_eq!(next.topic_by_id(topic), next.topic("t"), "META-3");
}

#[test]
fn meta_5_only_an_in_sync_replica_succeeds_a_stopped_leader() {
    let image = image_with_nodes(2);
    let image = run(&image, &create_command(&image, "t", &[&[1, 2], &[1]])).0;
    let image = run(&image, &Command::NodeStopped { node: NodeId(1), incarnation: 1 }).0;
    let topic = image.topic("t").unwrap();
    assert_eq!((topic.partitions[0].leader, &*topic.partitions[0].isr), (Some(NodeId(2)), &[NodeId(2)][..]));
    // The last in-sync replica stays in sync, so that only it can lead again.
    assert_eq!((topic.partitions[1].leader, &*topic.partitions[1].isr), (None, &[NodeId(1)][..]));
    assert!(topic.partitions.iter().all(|partition| partition.leader_epoch == LeaderEpoch(1)));

    let image = run(&image, &start(1, 2)).0;
    let topic = image.topic("t").unwrap();
    assert_eq!(topic.partitions[0].leader, Some(NodeId(2)));
    assert_eq!((topic.partitions[1].leader, topic.partitions[1].leader_epoch), (Some(NodeId(1)), LeaderEpoch(2)));
}

#[test]
fn meta_3_a_recreated_topic_has_another_id() {
    let image = create(&image_with_nodes(1), "t", 1);
    let first = image.topic("t").unwrap().id;
    let (image, delta) = run(&image, &Command::DeleteTopic { id: first });
    assert_eq!((image.topic("t"), image.topic_by_id(first), delta.topics_deleted[0].id), (None, None, first));
    let image = create(&image, "t", 1);
    assert_ne!(image.topic("t").unwrap().id, first);
    reject(&image, &Command::DeleteTopic { id: first }, CommandRejected::UnknownTopic(first));
}

#[test]
fn added_partitions_follow_the_existing_ones() {
    let image = create(&image_with_nodes(2), "t", 2);
    let id = image.topic("t").unwrap().id;
    let more = |have| Command::CreatePartitions { id, have, replicas: vec![vec![NodeId(2)]; 3] };
    let (next, delta) = run(&image, &more(2));
    assert_eq!(delta.partitions_added, [(id, 2..5)]);
    assert_eq!(next.topic("t").unwrap().partition(4).unwrap().leader, Some(NodeId(2)));
    reject(&next, &more(2), CommandRejected::PartitionsMoved { have: 5, given: 2 });
    let none = Command::CreatePartitions { id, have: 2, replicas: vec![] };
    reject(&image, &none, CommandRejected::NoPartitions);
}

#[test]
fn overrides_are_set_and_removed() {
    let image = create(&image_with_nodes(1), "t", 1);
    let id = image.topic("t").unwrap().id;
    let set = |changes: &[(&str, Option<&str>)]| Command::SetTopicConfig {
        id,
        changes: changes.iter().map(|(name, text)| ((*name).into(), text.map(str::to_owned))).collect(),
    };
    let (image, delta) = run(&image, &set(&[("retention.ms", Some("1")), ("segment.ms", Some("2"))]));
    assert_eq!(delta.configs_changed, [id]);
    let image = run(&image, &set(&[("retention.ms", None)])).0;
    assert_eq!(image.topic("t").unwrap().overrides, [("segment.ms".to_owned(), "2".to_owned())].into());
}

#[test]
fn producer_ids_are_allocated_once() {
    let image = image_with_nodes(2);
    let (image, first) = run(&image, &Command::AllocateProducerIds { node: NodeId(1), count: 1000 });
    let (mut image, second) = run(&image, &Command::AllocateProducerIds { node: NodeId(2), count: 10 });
    assert_eq!(first.producer_ids, Some((NodeId(1), 0..1000)));
    assert_eq!(second.producer_ids, Some((NodeId(2), 1000..1010)));
    image.next_producer_id = i64::MAX - 5;
    let command = Command::AllocateProducerIds { node: NodeId(1), count: 6 };
    reject(&image, &command, CommandRejected::ProducerIdsExhausted);
}

#[test]
fn meta_2_commands_at_one_index_apply_together_or_change_nothing() {
    let image = image_with_nodes(1);
    let (a, b) = (create_command(&image, "a", &[&[1]]), create_command(&image, "b", &[&[1]]));
    let (next, delta) = apply(&image, 9, &[a.clone(), b.clone()]).unwrap();
    assert_eq!((next.index, next.topics_count(), delta.topics_created.len()), (9, 2, 2));
    assert_eq!(apply(&image, 9, &[a.clone(), b, a]).map(|_| ()), Err(CommandRejected::TopicExists("a".into())));
    assert_eq!(image.topics_count(), 0);
}

#[test]
fn inapplicable_commands_are_rejected_with_the_reason() {
    let image = create(&image_with_nodes(2), "a.b", 1);
    let taken = image.topic("a.b").unwrap().id;
    let bad_replicas = |replicas: &[i32]| CommandRejected::BadReplicas { partition: 0, replicas: replicas.to_vec() };
    let topic = |name: &str, replicas: &[&[i32]]| create_command(&image, name, replicas);
    reject(
        &image,
        &Command::FormatCluster { cluster_id: "other".into() },
        CommandRejected::AlreadyFormatted { have: "cluster".into(), given: "other".into() },
    );
    reject(
        &Image::default(),
        &Command::FormatCluster { cluster_id: String::new() },
        CommandRejected::ClusterIdLength(0),
    );
    reject(&image, &start(1, 1), CommandRejected::StaleIncarnation { node: 1, have: 1, given: 1 });
    reject(&image, &start(2_000_001, 1), CommandRejected::NodeUnusable { node: 2_000_001 });
    reject(&image, &Command::NodeStopped { node: NodeId(9), incarnation: 1 }, CommandRejected::UnknownNode(9));
    reject(&image, &topic("a.b", &[&[1]]), CommandRejected::TopicExists("a.b".into()));
    let collides = CommandRejected::NameCollides { name: "a_b".into(), other: "a.b".into() };
    reject(&image, &topic("a_b", &[&[1]]), collides);
    reject(&image, &topic("", &[&[1]]), CommandRejected::InvalidName(InvalidTopicName::Empty));
    reject(&image, &topic("t", &[]), CommandRejected::NoPartitions);
    reject(&image, &topic("t", &[&[1, 1]]), bad_replicas(&[1, 1]));
    reject(&image, &topic("t", &[&[]]), bad_replicas(&[]));
    reject(&image, &topic("t", &[&[9]]), bad_replicas(&[9]));
    for id in [taken, TopicId::ZERO] {
        let command = Command::CreateTopic { id, name: "t".into(), replicas: vec![vec![NodeId(1)]], overrides: vec![] };
        reject(&image, &command, CommandRejected::IdTaken(id));
    }
}

#[test]
fn settings_of_a_broker_and_of_all_brokers_are_apart() {
    let set = |broker, name: &str, text: Option<&str>| Command::SetBrokerConfig {
        broker,
        changes: vec![(name.into(), text.map(str::to_owned))],
    };
    let one = Some(BrokerId(1001));
    let (image, delta) = run(&Image::default(), &set(None, "a", Some("1")));
    assert_eq!(delta, Delta { broker_configs_changed: true, ..Delta::default() });
    let (image, _) = run(&image, &set(one, "a", Some("2")));
    let of = |image: &Image, broker| image.broker_overrides(broker).and_then(|all| all.get("a").cloned());
    assert_eq!((of(&image, None), of(&image, one)), (Some("1".into()), Some("2".into())));
    let (image, _) = run(&image, &set(None, "a", None));
    assert!(image.broker_overrides(None).is_none() && image.broker_overrides(one).is_some());
    let (image, _) = run(&image, &set(one, "a", None));
    assert_eq!(Image { index: 0, ..image }, Image::default());
}

#[test]
fn settings_of_a_group_are_set_and_removed_and_the_last_one_removes_the_entry() {
    let set = |changes: &[(&str, Option<&str>)]| Command::SetGroupConfig {
        group: "g".into(),
        changes: changes.iter().map(|(name, text)| (name.to_string(), text.map(str::to_owned))).collect(),
    };
    let (image, delta) = run(&Image::default(), &set(&[("a", Some("1")), ("b", Some("2")), ("c", None)]));
    assert_eq!(delta, Delta::default(), "no topic has changed");
    let of = |image: &Image| image.group_overrides("g").map(|all| all.clone().into_iter().collect::<Vec<_>>());
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(of(&image), Some(vec![pair("a", "1"), pair("b", "2")]));
    let (image, _) = run(&image, &set(&[("a", None), ("b", Some("3"))]));
    assert_eq!(of(&image), Some(vec![pair("b", "3")]));
    let (image, _) = run(&image, &set(&[("b", None)]));
    assert!(of(&image).is_none() && image.groups().next().is_none());
}
