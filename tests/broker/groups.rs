//! Groups: members, generations and committed offsets across restarts, with stock clients and Kafka's own tools.
//!
//! `tests/oracle/cases/groups.rs` compares the response of each request with Kafka's, field by field.

use std::process::Command;
use std::time::Duration;

use crate::support::clients::{Topic, WITHIN, base};
use crate::support::node::{Node, Peer};
use crate::support::run::{Program, run};
use crate::support::talk::{self, Talk};
use crate::support::{peers, say, wait_for};
use tidemill::model::ErrorCode;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use tidemill::wire::group::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedConsumerGroup,
};
use tidemill::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tidemill::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use tidemill::wire::group::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidemill::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use tidemill::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use tidemill::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use tidemill::wire::group::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use tidemill::wire::{Bytes, Message, Wire, frame};

const SOON: Duration = Duration::from_secs(30);

/// Connects to a group's coordinator.
pub fn coordinator(bootstrap: &str, group: &str) -> Talk {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let answer: FindCoordinatorResponse = Talk::to(bootstrap).call(&request, 6);
    let found = &answer.coordinators[0];
    assert_eq!(found.error_code, ErrorCode::None, "the first answer names one that is there");
    Talk::to(&format!("{}:{}", found.host, found.port))
}

/// Waits until the coordinator has loaded.
pub fn settled<T>(mut ask: impl FnMut() -> (ErrorCode, T)) -> T {
    wait_for("the coordinator has loaded", SOON, || match ask() {
        (ErrorCode::CoordinatorLoadInProgress, _) => None,
        (_, answer) => Some(answer),
    })
}

fn create(bootstrap: &str, topic: &str, partitions: i32) {
    use tidemill::tools::client::admin::NewTopic;
    use tidemill::tools::client::{Client, ClientConfig};
    let config = ClientConfig { bootstrap: bootstrap.into(), ..ClientConfig::default() };
    let new = NewTopic { name: topic.into(), partitions: Some(partitions), replication_factor: None, configs: vec![] };
    Client::connect(config).and_then(|mut client| client.create_topic(&new)).expect("created");
}

fn join(talk: &mut Talk, group: &str, member_id: &str, instance: Option<&str>) -> JoinGroupResponse {
    let request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 6000,
        rebalance_timeout_ms: 6000,
        member_id: member_id.into(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: "anything".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes(vec![1, 2, 3]) }],
        reason: None,
    };
    talk.call(&request, 9)
}

fn sync(
    talk: &mut Talk,
    group: &str,
    joined: &JoinGroupResponse,
    instance: Option<&str>,
    given: &[(&str, &[u8])],
) -> SyncGroupResponse {
    let assignments = given
        .iter()
        .map(|(id, bytes)| SyncGroupRequestAssignment { member_id: (*id).into(), assignment: Bytes(bytes.to_vec()) });
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: Some("anything".into()),
        protocol_name: Some("p".into()),
        assignments: assignments.collect(),
    };
    talk.call(&request, 5)
}

fn heartbeat(talk: &mut Talk, group: &str, generation_id: i32, member_id: &str) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id,
        member_id: member_id.into(),
        group_instance_id: None,
    };
    talk.call::<HeartbeatResponse>(&request, 4).error_code
}

fn commit(talk: &mut Talk, group: &str, topic: &str, offset: i64, metadata: &str) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        committed_offset: offset,
        committed_metadata: Some(metadata.into()),
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    talk.call::<OffsetCommitResponse>(&request, 9).topics[0].partitions[0].error_code
}

fn committed(talk: &mut Talk, group: &str, topic: &str) -> (i64, String) {
    let topics =
        vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let group = settled(|| {
        let mut answer: OffsetFetchResponse = talk.call(&request, 9);
        let group = answer.groups.remove(0);
        (group.error_code, group)
    });
    let partition = &group.topics[0].partitions[0];
    assert_eq!((group.error_code, partition.error_code), (ErrorCode::None, ErrorCode::None));
    (partition.committed_offset, partition.metadata.clone().unwrap_or_default())
}

fn describe(talk: &mut Talk, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: false };
    settled(|| {
        let mut answer: DescribeGroupsResponse = talk.call(&request, 5);
        let group = answer.groups.remove(0);
        (group.error_code, group)
    })
}

#[test]
fn acknowledged_members_and_offsets_survive_a_kill() {
    for routing in ["routing=direct", "routing=steer", "routing=forward"] {
        let settings = ["--shards", "2", "--set", routing, "--set", "group.initial.rebalance.delay.ms=100"];
        let mut node = Node::tidemill("groups-kill", &settings);
        create(node.bootstrap(), "t", 1);
        // Enough groups for both shards.
        let groups: Vec<String> = (0..8).map(|n| format!("group-{n}")).collect();
        for (n, group) in groups.iter().enumerate() {
            let mut talk = coordinator(node.bootstrap(), group);
            assert_eq!(commit(&mut talk, group, "t", n as i64, &format!("metadata of {group}")), ErrorCode::None);
        }
        let mut talk = coordinator(node.bootstrap(), "g");
        let joined = join(&mut talk, "g", "", Some("i"));
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
        let synced = sync(&mut talk, "g", &joined, Some("i"), &[(&joined.member_id, b"assigned")]);
        assert_eq!((synced.error_code, synced.assignment), (ErrorCode::None, Bytes(b"assigned".to_vec())));
        let before = describe(&mut talk, "g");
        assert_eq!((before.group_state.as_str(), before.members.len()), ("Stable", 1));
        assert_eq!(before.members[0].client_host, "/127.0.0.1");

        node.kill();
        node.restart();
        let mut talk = coordinator(node.bootstrap(), "g");
        assert_eq!(describe(&mut talk, "g"), before);
        assert_eq!(heartbeat(&mut talk, "g", 1, &joined.member_id), ErrorCode::None);
        // The static member that restarted with the node gets its assignment back.
        let again = join(&mut talk, "g", "", Some("i"));
        assert_eq!((again.error_code, again.generation_id, again.skip_assignment), (ErrorCode::None, 1, true));
        assert_eq!(sync(&mut talk, "g", &again, Some("i"), &[]).assignment, Bytes(b"assigned".to_vec()));
        for (n, group) in groups.iter().enumerate() {
            let mut talk = coordinator(node.bootstrap(), group);
            assert_eq!(committed(&mut talk, group, "t"), (n as i64, format!("metadata of {group}")));
        }
        // The session of a silent member expires.
        wait_for("the group is empty", SOON, || (describe(&mut talk, "g").group_state == "Empty").then_some(()));
    }
}

/// A heartbeat of a consumer group (KIP-848); absent fields are unchanged.
fn consumer_heartbeat(talk: &mut Talk, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    settled(|| {
        let answer: ConsumerGroupHeartbeatResponse = talk.call(request, 1);
        (answer.error_code, answer)
    })
}

fn describe_consumers(talk: &mut Talk, group: &str) -> DescribedConsumerGroup {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.into()], ..Default::default() };
    settled(|| {
        let mut answer: ConsumerGroupDescribeResponse = talk.call(&request, 1);
        let group = answer.groups.remove(0);
        (group.error_code, group)
    })
}

#[test]
fn a_consumer_group_keeps_its_epochs_and_assignments_after_a_kill_and_continues() {
    let eager = "group.consumer.assignment.interval.ms=0";
    let mut node = Node::tidemill("groups-kill-consumers", &["--shards", "2", "--set", eager]);
    create(node.bootstrap(), "t", 6);
    let group = "g";
    let joins = |member: &str| ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let by_name = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["t".into()]), ..joins("by-name") };
    let by_pattern = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("t.*".into()),
        instance_id: Some("i".into()),
        ..joins("by-pattern")
    };
    let mut talk = coordinator(node.bootstrap(), group);
    let mut epochs = [0; 2];
    let mut owned = [const { Vec::new() }; 2];
    // As clients do: each member reports its assignment until nothing changes.
    let settle = |talk: &mut Talk, epochs: &mut [i32; 2], owned: &mut [Vec<_>; 2]| {
        wait_for("each member has three partitions", SOON, || {
            for (at, first) in [&by_name, &by_pattern].into_iter().enumerate() {
                let joined = ConsumerGroupHeartbeatRequest {
                    group_id: group.into(),
                    member_id: first.member_id.clone(),
                    member_epoch: epochs[at],
                    instance_id: first.instance_id.clone(),
                    topic_partitions: Some(owned[at].clone()),
                    ..Default::default()
                };
                let answer = consumer_heartbeat(talk, if epochs[at] == 0 { first } else { &joined });
                assert_eq!(answer.error_code, ErrorCode::None, "{:?}", answer.error_message);
                epochs[at] = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    owned[at] = assignment.topic_partitions;
                }
            }
            let described = describe_consumers(talk, group);
            let has = |partitions: &[tidemill::wire::group::consumer_group_heartbeat::TopicPartitions]| {
                partitions.iter().map(|of_topic| of_topic.partitions.len()).sum::<usize>()
            };
            (described.group_state == "Stable" && owned.iter().all(|owned| has(owned) == 3)).then_some(described)
        })
    };
    let before = settle(&mut talk, &mut epochs, &mut owned);
    assert_eq!(commit(&mut talk, group, "t", 7, "as anybody"), ErrorCode::UnknownMemberId, "members are there");

    node.kill();
    node.restart();
    let mut talk = coordinator(node.bootstrap(), group);
    assert_eq!(describe_consumers(&mut talk, group), before);
    let after = settle(&mut talk, &mut epochs, &mut owned);
    assert_eq!(after, before, "a restart is no reason to rebalance");
    // A member with a wrong epoch is fenced, and only that member.
    let lies = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "by-name".into(),
        member_epoch: epochs[0] + 1,
        ..Default::default()
    };
    assert_eq!(consumer_heartbeat(&mut talk, &lies).error_code, ErrorCode::FencedMemberEpoch);
    assert_eq!(describe_consumers(&mut talk, group), before);

    // One member leaves, and the other gets all six partitions; that also survives a kill.
    let leaves = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..joins("by-name") };
    assert_eq!(consumer_heartbeat(&mut talk, &leaves).error_code, ErrorCode::None);
    node.kill();
    node.restart();
    let mut talk = coordinator(node.bootstrap(), group);
    let answered = describe_consumers(&mut talk, group);
    assert_eq!(answered.members.iter().map(|member| &*member.member_id).collect::<Vec<_>>(), ["by-pattern"]);
    assert!(answered.group_epoch > before.group_epoch, "{answered:?}");
}

/// Sends a request with the longest client id of a header; each of its bytes decodes to a character of three bytes.
fn call_by_a_long_name<A: Message>(talk: &mut Talk, request: &impl Message, version: i16) -> A {
    let id = talk.id();
    let frame = frame::encode_request(request, version, id, Some("")).expect("encodable");
    let (head, rest) = (&frame[4..12], &frame[14..]);
    let body = [head, &i16::MAX.to_be_bytes(), &[0xff; i16::MAX as usize], rest].concat();
    talk.send(&[&(body.len() as i32).to_be_bytes()[..], &body].concat());
    talk.answer(A::API, version, id, |reader| <A as Wire>::decode(reader, version).expect("an answer"))
}

#[test]
fn names_as_long_as_a_request_can_have_them_are_written_or_refused() {
    let settings = ["--shards", "2", "--set", "group.initial.rebalance.delay.ms=0"];
    let node = Node::tidemill("groups-long-names", &settings);
    create(node.bootstrap(), "t", 1);
    let longest = "x".repeat(i16::MAX as usize);
    let mut talk = coordinator(node.bootstrap(), &longest);
    let joins = ConsumerGroupHeartbeatRequest {
        group_id: longest.clone(),
        member_id: longest.clone(),
        instance_id: Some(longest.clone()),
        rack_id: Some(longest.clone()),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into(), longest.clone()]),
        subscribed_topic_regex: Some(longest.clone()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    settled(|| {
        let joined: ConsumerGroupHeartbeatResponse = call_by_a_long_name(&mut talk, &joins, 1);
        assert!(matches!(joined.error_code, ErrorCode::None | ErrorCode::CoordinatorLoadInProgress), "{joined:?}");
        (joined.error_code, ())
    });

    let mut talk = coordinator(node.bootstrap(), "g");
    let mut request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 6000,
        rebalance_timeout_ms: 6000,
        protocol_type: "anything".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes(vec![1]) }],
        ..Default::default()
    };
    let given: JoinGroupResponse = settled(|| {
        let given: JoinGroupResponse = call_by_a_long_name(&mut talk, &request, 9);
        (given.error_code, given)
    });
    assert_eq!(given.error_code, ErrorCode::MemberIdRequired);
    request.member_id = given.member_id;
    let joined: JoinGroupResponse = call_by_a_long_name(&mut talk, &request, 9);
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
    assert_eq!(sync(&mut talk, "g", &joined, None, &[]).error_code, ErrorCode::None);
    for (characters, expected) in [(249, ErrorCode::None), (250, ErrorCode::InvalidRequest)] {
        let mut talk = coordinator(node.bootstrap(), "static");
        let instance = "ä".repeat(characters);
        assert_eq!(join(&mut talk, "static", "", Some(&instance)).error_code, expected, "{characters}");
    }
}

#[test]
fn in_direct_routing_another_shard_is_not_coordinator_and_in_forward_routing_it_forwards() {
    let node = Node::tidemill("groups-direct", &["--shards", "2"]);
    create(node.bootstrap(), "t", 1);
    let mut right = coordinator(node.bootstrap(), "g");
    assert_eq!(commit(&mut right, "g", "t", 7, ""), ErrorCode::None);
    let address = right.stream.peer_addr().expect("connected").to_string();
    let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    let brokers = Talk::to(node.bootstrap()).call::<MetadataResponse>(&request, 12).brokers;
    let other = brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).find(|other| *other != address);
    let mut wrong = Talk::to(&other.expect("two shards"));
    assert_eq!(commit(&mut wrong, "g", "t", 8, ""), ErrorCode::NotCoordinator);
    assert_eq!(heartbeat(&mut wrong, "g", 1, "m"), ErrorCode::NotCoordinator);
    assert_eq!(join(&mut wrong, "g", "", None).error_code, ErrorCode::NotCoordinator);
    assert_eq!(describe(&mut wrong, "g").error_code, ErrorCode::NotCoordinator);
    let listed = |talk: &mut Talk| talk.call::<ListGroupsResponse>(&ListGroupsRequest::default(), 5).groups.len();
    assert_eq!((listed(&mut right), listed(&mut wrong)), (1, 0), "each broker lists its own");
    assert_eq!(committed(&mut right, "g", "t").0, 7);

    let node = Node::tidemill("groups-forward", &["--shards", "2", "--set", "routing=forward"]);
    create(node.bootstrap(), "t", 1);
    let mut talk = coordinator(node.bootstrap(), "g");
    for n in 0..8 {
        let group = format!("group-{n}");
        assert_eq!(commit(&mut talk, &group, "t", n, ""), ErrorCode::None);
        assert_eq!(committed(&mut talk, &group, "t").0, n);
    }
    assert_eq!(listed(&mut talk), 8, "one broker for all shards");
}

#[test]
fn internal_topics_are_marked_and_clients_cannot_write_them() {
    let node = Node::tidemill("groups-internal", &["--shards", "2"]);
    coordinator(node.bootstrap(), "g");
    let asked = MetadataRequestTopic { name: Some("__consumer_offsets".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
    let mut talk = Talk::to(node.bootstrap());
    let topic = talk.call::<MetadataResponse>(&request, 12).topics.remove(0);
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (ErrorCode::None, true, 50));
    let refused = talk.produce_one("__consumer_offsets", 0, &talk::batch(&["forged"]));
    assert_eq!(refused.code, ErrorCode::InvalidTopicException);
}

#[test]
fn a_deleted_topics_offsets_are_gone() {
    let mut node = Node::tidemill("groups-delete", &["--shards", "2"]);
    create(node.bootstrap(), "t", 1);
    let mut talk = coordinator(node.bootstrap(), "g");
    assert_eq!(commit(&mut talk, "g", "t", 7, ""), ErrorCode::None);
    tidemill::tools::client::Client::connect(tidemill::tools::client::ClientConfig {
        bootstrap: node.bootstrap().into(),
        ..Default::default()
    })
    .and_then(|mut client| client.delete_topic("t"))
    .expect("deleted");
    wait_for("the offset is gone", SOON, || (committed(&mut talk, "g", "t").0 == -1).then_some(()));
    node.kill();
    node.restart();
    assert_eq!(committed(&mut coordinator(node.bootstrap(), "g"), "g", "t").0, -1);
}

// ---- stock clients --------------------------------------------------------------------------------------------------

const RECORDS: usize = 2000;
const PARTITIONS: usize = 8;

/// Reads as a member; returns the number of records and of assigned partitions.
fn member(program: &Program, bootstrap: &str, group: &str, protocol: &str, silence: u32) -> (usize, usize) {
    let arguments = [
        ("bootstrap", bootstrap.to_string()),
        ("topic", "t".to_string()),
        ("group", group.to_string()),
        ("silence", silence.to_string()),
        ("protocol", protocol.to_string()),
    ];
    let lines = program.run("member", &arguments, WITHIN);
    let counts: Vec<usize> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("MEMBER "))
        .map(|line| line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count"))
        .collect();
    (counts.iter().sum(), counts.len())
}

fn filled(name: &str, delay: &str) -> Option<Node> {
    let writer = peers::librdkafka()?;
    let node = match Peer::chosen() {
        Peer::Tidemill => Node::tidemill(name, &["--shards", "2", "--set", delay]),
        Peer::Kafka => Node::kafka_with(name, &[delay])?,
    };
    let topic = Topic { bootstrap: node.bootstrap(), name: "t", partitions: PARTITIONS, base: base() };
    topic.create(&writer, "");
    topic.write(&writer, "none", "all", 0..RECORDS);
    Some(node)
}

#[test]
fn every_client_continues_at_its_groups_committed_offsets_also_after_a_kill() {
    let programs = [peers::librdkafka(), peers::kafka_python(), peers::java(), peers::franz_go(), peers::kafkajs()];
    let Some(mut node) = filled("groups-clients", "group.initial.rebalance.delay.ms=100") else { return };
    for program in programs.iter().flatten() {
        assert_eq!(
            member(program, node.bootstrap(), program.name, "classic", 2),
            (RECORDS, PARTITIONS),
            "{}",
            program.name
        );
        say(&format!("  {} read {RECORDS} records as a member of a group", program.name));
    }
    node.kill();
    node.restart();
    let writer = peers::librdkafka().expect("it has written before");
    let topic = Topic { bootstrap: node.bootstrap(), name: "t", partitions: PARTITIONS, base: base() };
    topic.write(&writer, "none", "all", RECORDS..RECORDS + 100);
    for program in programs.iter().flatten() {
        assert_eq!(member(program, node.bootstrap(), program.name, "classic", 2).0, 100, "{}", program.name);
    }
}

#[test]
fn clients_of_four_kinds_share_one_group() {
    let programs = [peers::librdkafka(), peers::kafka_python(), peers::java(), peers::franz_go()];
    // Long enough for the slowest client to start, so that all join the first generation.
    let Some(node) = filled("groups-mixed", "group.initial.rebalance.delay.ms=8000") else { return };
    let bootstrap = node.bootstrap().to_string();
    let members: Vec<_> = programs
        .into_iter()
        .flatten()
        .map(|program| {
            let bootstrap = bootstrap.clone();
            std::thread::spawn(move || (program.name, member(&program, &bootstrap, "mixed", "classic", 4)))
        })
        .collect();
    let shares: Vec<_> = members.into_iter().map(|member| member.join().expect("it has reported the reason")).collect();
    assert_eq!(shares.iter().map(|(_, (records, _))| records).sum::<usize>(), RECORDS, "{shares:?}");
    assert!(shares.iter().all(|(_, (records, _))| *records > 0), "every one has a share: {shares:?}");
    say(&format!("  shares of a group of {}: {shares:?}", shares.len()));
}

#[test]
fn kafkas_tools_describe_reset_and_decode_groups() {
    let (Some(jars), Some(java)) = (peers::kafka_jars(), peers::java()) else { return };
    let Some(mut node) = filled("groups-tools", "group.initial.rebalance.delay.ms=100") else { return };
    assert_eq!(member(&java, node.bootstrap(), "tools", "classic", 1).0, RECORDS);
    let tool = |class: &str, arguments: &[&str]| {
        let mut command = Command::new("java");
        command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:+UseSerialGC", "-cp", &jars, class]);
        command.args(arguments);
        let ended = run(command, None, WITHIN, |_| false).expect("java runs");
        assert!(ended.ok(), "{class} {arguments:?}: {}", ended.tail());
        ended.stdout
    };
    let groups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let bootstrap = node.bootstrap().to_string();
    let at = ["--bootstrap-server", bootstrap.as_str()];
    assert_eq!(member(&java, node.bootstrap(), "modern", "consumer", 1), (RECORDS, PARTITIONS));
    let listed = tool(groups, &[&at[..], &["--list", "--state"]].concat());
    for group in ["tools", "modern"] {
        assert!(listed.lines().any(|line| line.starts_with(group) && line.contains("Empty")), "{listed}");
        let described = tool(groups, &[&at[..], &["--describe", "--group", group]].concat());
        let rows: Vec<Vec<&str>> = described.lines().map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<_> = rows.iter().filter(|row| row.first() == Some(&group)).collect();
        assert_eq!(rows.len(), PARTITIONS, "{described}");
        assert!(rows.iter().all(|row| row[5] == "0"), "no lag: {described}");
    }
    let to_start = ["--reset-offsets", "--group", "tools", "--topic", "t", "--to-earliest", "--execute"];
    tool(groups, &[&at[..], &to_start].concat());
    assert_eq!(member(&java, node.bootstrap(), "tools", "classic", 1).0, RECORDS, "all of it again");

    let mut talk = coordinator(node.bootstrap(), "patterns");
    let mut heartbeat = ConsumerGroupHeartbeatRequest {
        group_id: "patterns".into(),
        member_id: "by-pattern".into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_regex: Some("t.*".into()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    wait_for("a pattern is looked up", SOON, || {
        let answer = consumer_heartbeat(&mut talk, &heartbeat);
        assert_eq!(answer.error_code, ErrorCode::None, "{:?}", answer.error_message);
        heartbeat.member_epoch = answer.member_epoch;
        answer.assignment.filter(|assignment| !assignment.topic_partitions.is_empty())
    });

    if node.peer() == Peer::Tidemill {
        node.stop();
        let mut decoded = String::new();
        for partition in 0..50 {
            let log = node.partition_dir("__consumer_offsets", partition).join("00000000000000000000.log");
            if log.metadata().is_ok_and(|log| log.len() > 0) {
                let file = log.to_str().expect("UTF-8");
                decoded += &tool("org.apache.kafka.tools.DumpLogSegments", &["--offsets-decoder", "--files", file]);
            }
        }
        for expected in
            ["\"group\":\"tools\",\"topic\":\"t\",\"partition\":0", "\"protocolType\":\"consumer\",\"generation\":1"]
        {
            assert!(decoded.contains(expected), "{expected} is not in\n{decoded}");
        }
        // Every record type that a consumer group (KIP-848) writes.
        for (kind, group) in
            [(3, "modern"), (5, "modern"), (6, "modern"), (7, "modern"), (8, "modern"), (16, "patterns")]
        {
            let expected = format!("{{\"type\":\"{kind}\",\"data\":{{\"groupId\":\"{group}\"");
            assert!(decoded.contains(&expected), "{expected} is not in\n{decoded}");
        }
        node.restart();
    }
    tool(groups, &[&at[..], &["--delete", "--group", "tools"]].concat());
    let listed = tool(groups, &[&at[..], &["--list"]].concat());
    assert!(!listed.contains("tools"), "{listed}");
}

#[test]
fn the_command_line_lists_describes_resets_and_deletes() {
    let node = Node::tidemill("groups-tool", &["--shards", "2"]);
    create(node.bootstrap(), "t", 1);
    let mut talk = Talk::to(node.bootstrap());
    let request = MetadataRequest { topics: None, ..Default::default() };
    let brokers = talk.call::<MetadataResponse>(&request, 12);
    let topic = brokers.topics.iter().find(|topic| topic.name.as_deref() == Some("t")).expect("created");
    let leader =
        brokers.brokers.iter().find(|broker| broker.node_id == topic.partitions[0].leader_id).expect("it is up");
    Talk::to(&format!("{}:{}", leader.host, leader.port)).append("t", 0, &["a", "b", "c", "d", "e"]);
    let mut coordinator = coordinator(node.bootstrap(), "g");
    assert_eq!(commit(&mut coordinator, "g", "t", 3, ""), ErrorCode::None);

    let tool = |arguments: &[&str], is_ok: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.arg("group").args(arguments).args(["--bootstrap", node.bootstrap(), "--json"]);
        let ended = run(command, None, WITHIN, |_| false).expect("the binary runs");
        assert_eq!(ended.ok(), is_ok, "{arguments:?}: {}", ended.tail());
        serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap_or_default()
    };
    assert_eq!(tool(&["list"], true)[0]["group"], "g");
    let partition = tool(&["describe", "g"], true)[0]["partitions"][0].clone();
    assert_eq!((&partition["committed"], &partition["end"], &partition["lag"]), (&3.into(), &5.into(), &2.into()));
    for (target, expected) in [
        (&["--to-earliest"][..], 0),
        (&["--to-latest"], 5),
        (&["--to-offset", "99"], 5),
        (&["--shift-by", "-2"], 1),
        (&["--by-duration", "PT1H"], 0),
        (&["--to-datetime", "2000-01-01"], 0),
    ] {
        let arguments = [&["reset-offsets", "g", "--topic", "t:0"][..], target].concat();
        assert_eq!(tool(&arguments, true)["offsets"][0]["after"], expected, "{target:?}");
        assert_eq!(committed(&mut coordinator, "g", "t").0, 3, "nothing is done without --execute");
    }
    tool(&["reset-offsets", "g", "--all-topics", "--to-latest", "--execute"], true);
    assert_eq!(committed(&mut coordinator, "g", "t").0, 5);
    tool(&["describe", "nobody"], false);
    tool(&["reset-offsets", "g", "--to-latest"], false);
    tool(&["delete", "g"], true);
    tool(&["delete", "g"], false);
    assert_eq!(tool(&["list"], true), serde_json::json!([]));
}
