//! Consumer groups without a log: well-behaved clients, on a clock that the test advances.

use std::collections::{BTreeMap, BTreeSet};

use super::Client;
use super::embedded::{Assignment, PartitionsByName};
use crate::coordinator::group::record::Key;
use crate::coordinator::group::tests::{G, World, now, poll, request, subscription};
use crate::metadata::apply::tests::{create, image_with_nodes};
use crate::metadata::{Command, Image, apply_to};
use crate::model::{ErrorCode, TopicId};
use crate::wire::Bytes;
use crate::wire::group::consumer_group_describe::DescribedConsumerGroup;
use crate::wire::group::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use crate::wire::group::heartbeat::HeartbeatRequest;
use crate::wire::group::join_group::JoinGroupRequest;
use crate::wire::group::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::group::list_groups::ListGroupsRequest;
use crate::wire::group::offset_fetch::OffsetFetchRequestGroup;
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Disables the delay between two targets.
const EAGER: &[&str] = &["group.consumer.assignment.interval.ms=0"];
/// Longer than the session timeout of a consumer group.
const SESSION_MS: u64 = 45_001;

fn topics() -> Image {
    create(&create(&image_with_nodes(1), "t", 6), "u", 3)
}

fn id(image: &Image, topic: &str) -> TopicId {
    image.topic(topic).unwrap().id
}

/// A client. Its heartbeats report its partitions, and it revokes those that it must release.
#[derive(Clone, Debug, Default)]
struct TestConsumer {
    id: String,
    epoch: i32,
    instance: Option<String>,
    names: Option<Vec<String>>,
    regex: Option<String>,
    has: BTreeSet<(TopicId, i32)>,
}

impl TestConsumer {
    fn new(id: &str, names: &[&str]) -> TestConsumer {
        let names = Some(names.iter().map(|name| (*name).to_owned()).collect());
        TestConsumer { id: id.into(), names, ..TestConsumer::default() }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut has: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        self.has.iter().for_each(|(topic, partition)| has.entry(*topic).or_default().push(*partition));
        let has = has.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions });
        ConsumerGroupHeartbeatRequest {
            group_id: G.into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: self.names.clone(),
            subscribed_topic_regex: self.regex.clone(),
            topic_partitions: Some(has.collect()),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    /// Applies a response.
    fn apply(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            self.has = topics.flat_map(|of| of.partitions.iter().map(|at| (of.topic_id, *at))).collect();
        }
    }

    fn beat(&mut self, world: &mut World) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        let answer = send(world, &self.request())?;
        self.apply(&answer);
        Ok(answer)
    }

    fn leave(&mut self, world: &mut World, epoch: i32) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        self.has.clear();
        send(world, &ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..self.request() })
    }
}

fn send(
    world: &mut World,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
    let client = Client { id: "client", host: "/host" };
    let answer = world.step(|groups, now, writes| groups.consumer_heartbeat(request, client, now, writes));
    answer.map_err(|refused| {
        assert!(!refused.message.is_empty());
        refused.error
    })
}

fn describe(world: &World) -> DescribedConsumerGroup {
    world.groups.describe_consumer_group(G, world.now).unwrap()
}

/// Sends heartbeats in turn until nothing changes. Checks CONS-1 after each.
fn heartbeat_until_stable(world: &mut World, consumers: &mut [TestConsumer]) {
    for _ in 0..20 {
        let before = format!("{consumers:?}");
        for at in 0..consumers.len() {
            consumers[at].beat(world).unwrap();
            check_owners(consumers);
        }
        if format!("{consumers:?}") == before {
            return;
        }
    }
    panic!("the group does not become stable: {consumers:?}");
}

/// CONS-1, as the clients see it.
fn check_owners(consumers: &[TestConsumer]) {
    let mut owners = BTreeMap::new();
    for consumer in consumers {
        for partition in &consumer.has {
            let before = owners.insert(*partition, &consumer.id);
            assert_eq!(before, None, "CONS-1: {} owns {partition:?} as well", consumer.id);
        }
    }
}

fn counts(consumers: &[TestConsumer]) -> Vec<usize> {
    consumers.iter().map(|consumer| consumer.has.len()).collect()
}

#[test]
fn statement_119_cons_1_a_partition_moves_only_after_its_owner_has_revoked_it() {
    let mut world = World::with_image(EAGER, topics());
    let mut a = TestConsumer::new("a", &["t"]);
    let answer = a.beat(&mut world).unwrap();
    assert_eq!((answer.member_epoch, a.has.len(), answer.heartbeat_interval_ms), (2, 6, 5000));
    let mut b = TestConsumer::new("b", &["t"]);
    let answer = b.beat(&mut world).unwrap();
    // It has the group's epoch, and the partitions of its target are not free.
    assert_eq!((answer.member_epoch, b.has.len(), answer.heartbeat_interval_ms), (3, 0, 500));
    assert_eq!(describe(&world).group_state, "Reconciling");
    let mut report = a.request();
    let answer = a.beat(&mut world).unwrap();
    assert_eq!((answer.member_epoch, a.has.len()), (2, 3), "it must revoke three partitions and keeps its epoch");
    // It reports that it still has them, so no other member gets them.
    report.member_epoch = 2;
    send(&mut world, &report).unwrap();
    b.beat(&mut world).unwrap();
    assert!(b.has.is_empty());
    // Now it has revoked them.
    assert_eq!(a.beat(&mut world).unwrap().member_epoch, 3);
    b.beat(&mut world).unwrap();
    assert_eq!(counts(&[a, b]), [3, 3]);
    assert_eq!(describe(&world).group_state, "Stable");
}

#[test]
fn cons_1_random_members_never_share_a_partition_and_all_partitions_are_assigned() {
    for seed in 0..200u64 {
        let mut dice = seed;
        let mut roll = move |below: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as usize % below
        };
        let mut world = World::with_image(EAGER, topics());
        let mut consumers: Vec<TestConsumer> = Vec::new();
        let mut next = 0;
        for _ in 0..60 {
            match roll(10) {
                0 | 1 if consumers.len() < 9 => {
                    next += 1;
                    let names: &[&str] = [&["t"][..], &["u"], &["t", "u"]][roll(3)];
                    let mut consumer = TestConsumer::new(&format!("m{next}"), names);
                    consumer.beat(&mut world).unwrap();
                    consumers.push(consumer);
                }
                2 if !consumers.is_empty() => {
                    let at = roll(consumers.len());
                    let mut consumer = consumers.remove(at);
                    consumer.leave(&mut world, -1).unwrap();
                }
                3 if !consumers.is_empty() => {
                    let at = roll(consumers.len());
                    let names: &[&str] = [&["t"][..], &["u"], &["t", "u"]][roll(3)];
                    consumers[at].names = TestConsumer::new("", names).names;
                    // The client has revoked the partitions of topics that it no longer reads.
                    let read: Vec<TopicId> = names.iter().map(|name| id(&topics(), name)).collect();
                    consumers[at].has.retain(|(topic, _)| read.contains(topic));
                    consumers[at].beat(&mut world).unwrap();
                }
                4 => {
                    let described = (!consumers.is_empty()).then(|| describe(&world));
                    world.restart();
                    let restored = (!consumers.is_empty()).then(|| describe(&world));
                    assert_eq!(described, restored, "a restart restores the group, seed {seed}");
                }
                _ if !consumers.is_empty() => {
                    let at = roll(consumers.len());
                    consumers[at].beat(&mut world).unwrap();
                }
                _ => {}
            }
            check_owners(&consumers);
        }
        if consumers.is_empty() {
            continue;
        }
        heartbeat_until_stable(&mut world, &mut consumers);
        assert_eq!(world.state(), "Stable", "seed {seed}");
        let has: BTreeSet<_> = consumers.iter().flat_map(|consumer| consumer.has.iter().copied()).collect();
        let image = topics();
        for (name, partitions) in [("t", 6), ("u", 3)] {
            let is_read = consumers.iter().any(|consumer| consumer.names.as_ref().unwrap().contains(&name.to_owned()));
            for partition in 0..partitions {
                assert_eq!(has.contains(&(id(&image, name), partition)), is_read, "seed {seed}: {name}-{partition}");
            }
        }
    }
}

#[test]
fn an_expired_member_is_removed_and_its_partitions_are_reassigned() {
    let mut world = World::with_image(EAGER, topics());
    let mut consumers = [TestConsumer::new("a", &["t"]), TestConsumer::new("b", &["t"])];
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(counts(&consumers), [3, 3]);
    for _ in 0..9 {
        world.pass(5000);
        consumers[0].beat(&mut world).unwrap();
    }
    world.pass(1);
    assert_eq!(describe(&world).members.len(), 1);
    consumers[0].beat(&mut world).unwrap();
    assert_eq!(consumers[0].has.len(), 6);
    assert_eq!(consumers[1].beat(&mut world), Err(ErrorCode::UnknownMemberId));
    // It rejoins as a new member.
    (consumers[1].epoch, consumers[1].has) = (0, BTreeSet::new());
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(counts(&consumers), [3, 3]);
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_removed() {
    let mut world = World::with_image(EAGER, topics());
    let (mut a, mut b) = (TestConsumer::new("a", &["t"]), TestConsumer::new("b", &["t"]));
    a.beat(&mut world).unwrap();
    b.beat(&mut world).unwrap();
    let had = a.request();
    a.beat(&mut world).unwrap();
    for _ in 0..11 {
        world.pass(5000);
        // It sends heartbeats but keeps its partitions.
        send(&mut world, &ConsumerGroupHeartbeatRequest { member_epoch: 2, ..had.clone() }).unwrap();
        b.beat(&mut world).unwrap();
        assert!(b.has.is_empty());
    }
    world.pass(5000);
    b.beat(&mut world).unwrap();
    assert_eq!(b.has.len(), 6);
    let answer = send(&mut world, &ConsumerGroupHeartbeatRequest { member_epoch: 2, ..had });
    assert_eq!(answer, Err(ErrorCode::UnknownMemberId));
}

#[test]
fn statement_118_epochs_fence_and_a_lost_response_is_repeated() {
    let mut world = World::with_image(EAGER, topics());
    let mut a = TestConsumer::new("a", &["t"]);
    a.beat(&mut world).unwrap();
    for (epoch, expected) in [(3, ErrorCode::FencedMemberEpoch), (1, ErrorCode::FencedMemberEpoch)] {
        let asked = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..a.request() };
        assert_eq!(send(&mut world, &asked), Err(expected));
    }
    let unknown = TestConsumer { epoch: 1, ..TestConsumer::new("x", &["t"]) };
    assert_eq!(send(&mut world, &unknown.request()), Err(ErrorCode::UnknownMemberId));
    let elsewhere = ConsumerGroupHeartbeatRequest { group_id: "other".into(), ..unknown.request() };
    assert_eq!(send(&mut world, &elsewhere), Err(ErrorCode::GroupIdNotFound));
    // Its epoch advances, and the response with the new epoch is lost.
    let mut b = TestConsumer::new("b", &["t"]);
    b.beat(&mut world).unwrap();
    b.leave(&mut world, -1).unwrap();
    let again = a.request();
    send(&mut world, &again).unwrap();
    let answer = send(&mut world, &again).unwrap();
    assert_eq!(answer.member_epoch, 4);
    // A member that reports a partition that is not its own is fenced.
    let has = vec![TopicPartitions { topic_id: id(&topics(), "u"), partitions: vec![0] }];
    let lies = ConsumerGroupHeartbeatRequest { topic_partitions: Some(has), ..again };
    assert_eq!(send(&mut world, &lies), Err(ErrorCode::FencedMemberEpoch));
}

#[test]
fn a_static_member_keeps_its_partitions_while_it_is_away_and_is_unique() {
    let mut world = World::with_image(EAGER, topics());
    let instance = |id: &str| TestConsumer { instance: Some("i".into()), ..TestConsumer::new(id, &["t"]) };
    let (mut a, mut b) = (instance("a"), TestConsumer::new("b", &["t"]));
    a.beat(&mut world).unwrap();
    heartbeat_until_stable(&mut world, &mut [a.clone(), b.clone()]);
    b.epoch = 0;
    assert_eq!(instance("a2").beat(&mut world), Err(ErrorCode::UnreleasedInstanceId));
    let mut other = instance("x");
    other.epoch = 3;
    assert_eq!(other.beat(&mut world), Err(ErrorCode::FencedInstanceId));
    let unknown = TestConsumer { instance: Some("j".into()), epoch: 3, ..TestConsumer::new("x", &["t"]) };
    assert_eq!(send(&mut world, &unknown.request()), Err(ErrorCode::UnknownMemberId));

    let before = describe(&world);
    let kept = before.members.iter().find(|member| member.member_id == "a").unwrap().clone();
    assert_eq!(a.leave(&mut world, -2).unwrap().member_epoch, -2);
    let away = describe(&world).members.into_iter().find(|member| member.member_id == "a").unwrap();
    assert_eq!((away.member_epoch, &away.assignment), (-2, &kept.assignment));
    let mut again = instance("a2");
    again.beat(&mut world).unwrap();
    assert_eq!((again.epoch, again.has.len()), (before.group_epoch, 3));
    let after = describe(&world);
    assert_eq!(after.group_epoch, before.group_epoch, "the other members are not affected");
    let back = after.members.iter().find(|member| member.member_id == "a2").unwrap();
    assert_eq!(back.assignment, kept.assignment);
    world.restart();
    assert_eq!(describe(&world), after);
    // After its session timeout it is removed.
    again.leave(&mut world, -2).unwrap();
    world.pass(SESSION_MS);
    assert!(describe(&world).members.iter().all(|member| member.instance_id.is_none()));
}

#[test]
fn a_pattern_matches_existing_and_future_topics() {
    let mut world = World::with_image(EAGER, topics());
    let mut a = TestConsumer { regex: Some("t.*".into()), names: None, ..TestConsumer::new("a", &[]) };
    a.names = None;
    a.beat(&mut world).unwrap();
    assert_eq!((a.epoch, a.has.len()), (1, 0), "a separate step resolves the pattern");
    world.pass(0);
    a.beat(&mut world).unwrap();
    assert_eq!((a.epoch, a.has.len()), (2, 6));
    let image = create(&topics(), "tt", 2);
    world.set_image(image.clone());
    world.pass(10_001);
    a.beat(&mut world).unwrap();
    world.pass(0);
    a.beat(&mut world).unwrap();
    assert_eq!((a.epoch, a.has.len()), (3, 8));
    let described = describe(&world);
    world.restart();
    assert_eq!(describe(&world), described);
    // An invalid pattern changes nothing.
    let log = world.log.len();
    let bad = TestConsumer { regex: Some("(".into()), ..a.clone() };
    assert_eq!(send(&mut world, &bad.request()), Err(ErrorCode::InvalidRegularExpression));
    assert_eq!((world.log.len(), describe(&world)), (log, described));
    // Names replace the pattern.
    a.regex = Some(String::new());
    a.names = Some(vec!["u".into()]);
    a.has.clear();
    a.beat(&mut world).unwrap();
    assert_eq!(a.has.len(), 3);
}

#[test]
fn partitions_are_reassigned_when_a_new_pattern_matches_nothing() {
    let mut world = World::with_image(EAGER, topics());
    let a = TestConsumer { regex: Some("t.*".into()), names: None, ..TestConsumer::new("a", &[]) };
    let mut consumers = [a, TestConsumer::new("b", &["t"])];
    consumers[0].beat(&mut world).unwrap();
    world.pass(0);
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(counts(&consumers), [3, 3]);
    world.pass(10_001);
    consumers[0].regex = Some("none".into());
    heartbeat_until_stable(&mut world, &mut consumers);
    world.pass(0);
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(counts(&consumers), [0, 6]);
}

#[test]
fn the_next_heartbeat_notices_topics_that_grow_appear_or_disappear() {
    let mut world = World::with_image(EAGER, topics());
    let mut consumers = [TestConsumer::new("a", &["t", "later"])];
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(consumers[0].has.len(), 6);
    let with_later = create(&topics(), "later", 2);
    world.set_image(with_later.clone());
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(consumers[0].has.len(), 8);
    let mut without = with_later.clone();
    let gone = Command::DeleteTopic { id: id(&with_later, "t") };
    apply_to(&mut without, &mut Default::default(), with_later.index + 1, &[gone]).unwrap();
    world.set_image(without);
    heartbeat_until_stable(&mut world, &mut consumers);
    assert_eq!(consumers[0].has.len(), 2);
}

#[test]
fn targets_are_made_no_more_often_than_configured() {
    let mut world = World::with_image(&[], topics());
    let (mut a, mut b) = (TestConsumer::new("a", &["t"]), TestConsumer::new("b", &["t"]));
    a.beat(&mut world).unwrap();
    let answer = b.beat(&mut world).unwrap();
    assert_eq!((describe(&world).group_epoch, describe(&world).assignment_epoch), (3, 2));
    assert_eq!(answer.heartbeat_interval_ms, 500, "a member that waits for a target returns soon");
    assert_eq!((b.epoch, world.state()), (2, "Assigning"));
    // Seven members and partitions take less than a millisecond.
    world.pass(1);
    heartbeat_until_stable(&mut world, &mut [a, b]);
    assert_eq!((describe(&world).assignment_epoch, world.state()), (3, "Stable"));
}

#[test]
fn cons_3_a_new_target_is_written_for_all_members_in_one_step() {
    let mut world = World::with_image(EAGER, topics());
    TestConsumer::new("a", &["t"]).beat(&mut world).unwrap();
    let before = world.log.len();
    TestConsumer::new("b", &["t"]).beat(&mut world).unwrap();
    let written: Vec<Key<'_>> = world.log[before..].iter().map(|(key, _)| Key::parse(key).unwrap()).collect();
    let target = [
        Key::MemberTarget { group: G, member: "a" },
        Key::MemberTarget { group: G, member: "b" },
        Key::Target { group: G },
    ];
    for key in target {
        assert!(written.contains(&key), "{key:?} in {written:?}");
    }
}

#[test]
fn the_assignor_with_the_most_votes_is_used() {
    let mut world = World::with_image(EAGER, topics());
    for (member, assignor) in [("a", None), ("b", Some("range")), ("c", Some("uniform")), ("d", Some("range"))] {
        let server_assignor = assignor.map(str::to_owned);
        let asked = ConsumerGroupHeartbeatRequest { server_assignor, ..TestConsumer::new(member, &["t"]).request() };
        send(&mut world, &asked).unwrap();
    }
    assert_eq!(describe(&world).assignor_name, "range");
}

#[test]
fn a_failed_append_changes_nothing() {
    let mut world = World::with_image(EAGER, topics());
    let mut a = TestConsumer::new("a", &["t"]);
    a.beat(&mut world).unwrap();
    let described = describe(&world);
    world.appended = Err(ErrorCode::NotCoordinator);
    let _ = TestConsumer::new("b", &["t"]).beat(&mut world);
    let _ = a.clone().leave(&mut world, -1);
    assert_eq!(describe(&world), described);
    world.appended = Ok(());
    a.beat(&mut world).unwrap();
    world.pass(SESSION_MS);
    assert_eq!(world.state(), "Empty", "its session still expires");
}

#[test]
fn a_removal_that_could_not_be_written_is_retried() {
    let mut world = World::with_image(EAGER, topics());
    TestConsumer::new("a", &["t"]).beat(&mut world).unwrap();
    world.appended = Err(ErrorCode::NotCoordinator);
    world.pass(SESSION_MS);
    assert_eq!(describe(&world).members.len(), 1);
    world.appended = Ok(());
    world.pass(500);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_clock_set_back_delays_neither_targets_nor_patterns() {
    let mut world = World::with_image(&[], topics());
    let mut a = TestConsumer { regex: Some("t.*".into()), names: None, ..TestConsumer::new("a", &[]) };
    a.beat(&mut world).unwrap();
    world.pass(0);
    a.beat(&mut world).unwrap();
    world.now.wall_ms -= 500_000;
    TestConsumer::new("b", &["t"]).beat(&mut world).unwrap();
    assert_eq!(world.state(), "Reconciling", "a target was made");
    let mut image = create(&topics(), "tt", 2);
    image.index += 1;
    world.set_image(image);
    a.beat(&mut world).unwrap();
    let before = describe(&world).group_epoch;
    world.pass(0);
    assert_eq!(describe(&world).group_epoch, before + 1, "the pattern was resolved");
}

#[test]
fn a_full_group_rejects_new_members() {
    let mut world = World::with_image(&["group.consumer.max.size=1"], topics());
    let mut a = TestConsumer::new("a", &["t"]);
    a.beat(&mut world).unwrap();
    assert_eq!(TestConsumer::new("b", &["t"]).beat(&mut world), Err(ErrorCode::GroupMaxSizeReached));
    assert!(a.beat(&mut world).is_ok());
}

#[test]
fn commits_and_fetches_require_the_members_epoch() {
    let mut world = World::with_image(EAGER, topics());
    let (mut a, mut b) = (TestConsumer::new("a", &["t"]), TestConsumer::new("b", &["t"]));
    a.beat(&mut world).unwrap();
    assert_eq!(world.commit(2, "a", "t", 5), Ok(()));
    assert_eq!(world.commit(3, "a", "t", 5), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(world.commit(2, "x", "t", 5), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.commit(-1, "", "t", 5), Err(ErrorCode::UnknownMemberId), "allowed only in an empty group");
    // The epoch advances. The member got t-0 in the older epoch and may commit in it while it keeps the partition.
    b.beat(&mut world).unwrap();
    a.beat(&mut world).unwrap();
    a.beat(&mut world).unwrap();
    assert_eq!(a.epoch, 3);
    let keeps_first = a.has.contains(&(id(&topics(), "t"), 0));
    assert!(keeps_first, "the uniform assignor keeps a member's partitions");
    assert_eq!(world.commit(2, "a", "t", 6), Ok(()));
    b.beat(&mut world).unwrap();
    assert_eq!(world.commit(2, "b", "t", 7), Err(ErrorCode::StaleMemberEpoch));
    let fetch = |world: &World, member_id: Option<&str>, member_epoch| {
        let member_id = member_id.map(str::to_owned);
        let request = OffsetFetchRequestGroup { group_id: G.into(), member_id, member_epoch, ..Default::default() };
        world.groups.fetch(&request, false).error_code
    };
    assert_eq!(fetch(&world, None, -1), ErrorCode::None);
    assert_eq!(fetch(&world, Some("a"), 3), ErrorCode::None);
    assert_eq!(fetch(&world, Some("a"), 2), ErrorCode::StaleMemberEpoch);
    assert_eq!(fetch(&world, Some("x"), 3), ErrorCode::UnknownMemberId);
    a.leave(&mut world, -1).unwrap();
    b.leave(&mut world, -1).unwrap();
    assert_eq!((world.committed("t", false), world.state()), (Ok(6), "Empty"));
    assert_eq!(world.step(|groups, now, writes| groups.delete(G, now, writes)), Ok(true));
    assert_eq!(world.state(), "none");
    world.restart();
    assert_eq!(world.state(), "none");
}

// ---- classic members --------------------------------------------------------------------------------------------

fn classic_request(id: &str, topics: &[&str]) -> JoinGroupRequest {
    let mut request = request(id, &["range"]);
    request.protocols[0].metadata = subscription(topics);
    request
}

fn sync(world: &mut World, generation: i32, member: &str) -> SyncGroupResponse {
    let request = SyncGroupRequest {
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        group_id: G.into(),
        generation_id: generation,
        member_id: member.into(),
        ..SyncGroupRequest::default()
    };
    let (sender, receiver) = crate::runtime::sync::oneshot();
    world.step(|groups, now, writes| groups.sync(request, sender, now, writes));
    now(receiver)
}

fn assigned(response: &SyncGroupResponse) -> PartitionsByName {
    assert_eq!(response.error_code, ErrorCode::None);
    Assignment::parse(&response.assignment.0).unwrap().assigned
}

/// A classic group of two members, each with half of `t`.
fn classic_group(world: &mut World) -> (String, String) {
    let (a, b) =
        (world.join_with(classic_request("", &["t"]), false), world.join_with(classic_request("", &["t"]), false));
    world.pass(6000);
    let (a, b) = (now(a), now(b));
    assert_eq!(a.generation_id, 1);
    let half = |first: i32| Bytes(Assignment::to_bytes(&vec![("t".into(), (first..first + 3).collect())], 0));
    let (sender, receiver) = crate::runtime::sync::oneshot();
    let request = SyncGroupRequest {
        group_id: G.into(),
        generation_id: 1,
        member_id: a.member_id.clone(),
        assignments: [(&a, 0), (&b, 3)]
            .map(|(member, first)| crate::wire::group::sync_group::SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: half(first),
            })
            .into(),
        ..SyncGroupRequest::default()
    };
    world.step(|groups, now, writes| groups.sync(request, sender, now, writes));
    now(receiver);
    assert_eq!(world.state(), "Stable");
    (a.member_id, b.member_id)
}

fn beat(world: &mut World, generation: i32, member: &str) -> Result<(), ErrorCode> {
    let request = HeartbeatRequest {
        group_id: G.into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: None,
    };
    world.step(|groups, now, writes| groups.heartbeat(&request, now, writes))
}

fn kind(world: &World) -> String {
    world.groups.list(&ListGroupsRequest::default())[0].group_type.clone()
}

#[test]
fn statement_120_a_classic_group_is_upgraded_and_downgraded_with_its_members() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    world.commit(1, &a, "t", 5).unwrap();
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    assert_eq!((kind(&world).as_str(), new.epoch, new.has.len()), ("consumer", 2, 0));
    assert_eq!(describe(&world).members.len(), 3);
    let described = describe(&world);
    world.restart();
    assert_eq!(describe(&world), described);
    // The classic members must rejoin, report their partitions, and revoke some of them.
    for member in [&a, &b] {
        assert_eq!(beat(&mut world, 1, member), Err(ErrorCode::RebalanceInProgress));
        let joined = now(world.join_with(classic_request(member, &["t"]), true));
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 2));
        assert_eq!((joined.protocol_name.as_deref(), joined.leader.as_str()), (Some("range"), ""));
        // It reports no partitions: eager members revoke all before they join.
        assert_eq!(
            assigned(&sync(&mut world, 2, member)),
            [("t".to_owned(), if *member == a { vec![0, 1] } else { vec![3, 4] })]
        );
        assert_eq!(beat(&mut world, 2, member), Ok(()));
    }
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (2, "Stable"));
    assert_eq!(world.committed("t", false), Ok(5));
    // The member of the consumer protocol leaves: the group becomes classic again and rebalances.
    new.leave(&mut world, -1).unwrap();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    assert_eq!(beat(&mut world, 3, &a), Err(ErrorCode::IllegalGeneration));
    let generation = describe_generation(&mut world, &a);
    assert_eq!(beat(&mut world, generation, &a), Err(ErrorCode::RebalanceInProgress));
    let (mut first, mut second) =
        (world.join_with(classic_request(&a, &["t"]), true), world.join_with(classic_request(&b, &["t"]), true));
    let (first, second) = (poll(&mut first).unwrap(), poll(&mut second).unwrap());
    assert_eq!((first.generation_id, second.generation_id), (generation + 1, generation + 1));
    assert_eq!(first.members.len() + second.members.len(), 2, "one of them is the leader");
    assert_eq!(world.committed("t", false), Ok(5));
    world.restart();
    assert_eq!(kind(&world), "classic");
    assert_eq!(world.committed("t", false), Ok(5));
}

/// The generation that a member's heartbeats carry.
fn describe_generation(world: &mut World, member: &str) -> i32 {
    (0..10).find(|generation| beat(world, *generation, member) != Err(ErrorCode::IllegalGeneration)).unwrap()
}

#[test]
fn an_upgrade_aborts_a_rebalance_and_the_members_rejoin() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    let mut waits = world.join_with(
        {
            let mut request = classic_request(&b, &["t", "u"]);
            request.reason = None;
            request
        },
        true,
    );
    assert!(poll(&mut waits).is_none());
    TestConsumer::new("new", &["t"]).beat(&mut world).unwrap();
    assert_eq!(now(waits).error_code, ErrorCode::RebalanceInProgress);
    assert_eq!(beat(&mut world, 1, &a), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_classic_member_that_does_not_rejoin_or_sync_in_time_is_removed() {
    let mut world = World::with_image(EAGER, topics());
    let (a, b) = classic_group(&mut world);
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    let _ = beat(&mut world, 1, &a);
    // b rejoins and never syncs. a sends heartbeats and never rejoins. Both had 20 seconds.
    now(world.join_with(classic_request(&b, &["t"]), true));
    for _ in 0..5 {
        world.pass(4000);
        new.beat(&mut world).unwrap();
        let _ = (beat(&mut world, 1, &a), beat(&mut world, 2, &b));
    }
    let members: Vec<String> = describe(&world).members.into_iter().map(|member| member.member_id).collect();
    assert_eq!(members, ["new"]);
    new.beat(&mut world).unwrap();
    new.beat(&mut world).unwrap();
    assert_eq!(new.has.len(), 6);
}

#[test]
fn classic_members_get_the_usual_errors() {
    let mut world = World::with_image(EAGER, topics());
    TestConsumer::new("new", &["t"]).beat(&mut world).unwrap();
    let joined = now(world.join_with(classic_request("", &["t"]), true));
    assert_eq!((joined.error_code, joined.member_id.is_empty()), (ErrorCode::MemberIdRequired, false));
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..classic_request(&joined.member_id, &["t"]) };
    assert_eq!(now(world.join_with(other, true)).error_code, ErrorCode::InconsistentGroupProtocol);
    let classic = now(world.join_with(classic_request(&joined.member_id, &["t"]), true));
    assert_eq!((classic.error_code, classic.generation_id), (ErrorCode::None, 3));
    let strange = {
        let mut request = request("z", &["other"]);
        request.protocols[0].metadata = subscription(&["t"]);
        request
    };
    assert_eq!(now(world.join_with(strange, true)).error_code, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(beat(&mut world, 3, "new"), Err(ErrorCode::UnknownMemberId), "a member of the consumer protocol");
    assert_eq!(beat(&mut world, 3, "unknown"), Err(ErrorCode::UnknownMemberId));
    assert_eq!(beat(&mut world, 9, &joined.member_id), Err(ErrorCode::IllegalGeneration));
    assert_eq!(sync(&mut world, 9, &joined.member_id).error_code, ErrorCode::IllegalGeneration);
    let members = [("unknown", None), ("", Some("i")), (joined.member_id.as_str(), None)].map(|(member, instance)| {
        let group_instance_id = instance.map(str::to_owned);
        MemberIdentity { member_id: member.into(), group_instance_id, ..MemberIdentity::default() }
    });
    let request = LeaveGroupRequest { group_id: G.into(), members: members.into(), ..LeaveGroupRequest::default() };
    let left = world.step(|groups, now, writes| groups.leave(&request, now, writes));
    let codes: Vec<ErrorCode> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId, ErrorCode::None]);
    assert_eq!(describe(&world).members.len(), 1);
}

#[test]
fn an_empty_group_changes_its_protocol_and_keeps_its_offsets() {
    let mut world = World::with_image(EAGER, topics());
    world.commit(-1, "", "t", 5).unwrap();
    assert_eq!(kind(&world), "classic");
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    assert_eq!(kind(&world), "consumer");
    new.leave(&mut world, -1).unwrap();
    let joined = now(world.join_with(classic_request("", &["t"]), true));
    assert_eq!((joined.error_code, kind(&world).as_str()), (ErrorCode::MemberIdRequired, "classic"));
    assert_eq!(world.committed("t", false), Ok(5));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.committed("t", false)), ("classic", Ok(5)));
}

#[test]
fn the_policy_decides_whether_a_group_is_upgraded_or_downgraded() {
    for (policy, upgrades, downgrades) in [
        ("bidirectional", true, true),
        ("upgrade", true, false),
        ("downgrade", false, true),
        ("disabled", false, false),
    ] {
        let setting = format!("group.consumer.migration.policy={policy}");
        let mut world = World::with_image(&[EAGER[0], &setting], topics());
        classic_group(&mut world);
        let mut new = TestConsumer::new("new", &["t"]);
        let answer = new.beat(&mut world);
        assert_eq!(answer.is_ok(), upgrades, "{policy}");
        if upgrades {
            new.leave(&mut world, -1).unwrap();
            assert_eq!(kind(&world), if downgrades { "classic" } else { "consumer" }, "{policy}");
        } else {
            assert_eq!((answer, kind(&world).as_str()), (Err(ErrorCode::GroupIdNotFound), "classic"));
        }
    }
}

#[test]
fn classic_members_take_over_the_partitions_of_a_leaving_consumer() {
    let mut world = World::with_image(&[EAGER[0], "group.consumer.migration.policy=upgrade"], topics());
    let (a, b) = classic_group(&mut world);
    let mut new = TestConsumer::new("new", &["t"]);
    new.beat(&mut world).unwrap();
    for member in [&a, &b] {
        now(world.join_with(classic_request(member, &["t"]), true));
        assigned(&sync(&mut world, 2, member));
    }
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (2, "Stable"));
    new.leave(&mut world, -1).unwrap();
    let mut all = BTreeSet::new();
    for member in [&a, &b] {
        assert_eq!(beat(&mut world, 2, member), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(now(world.join_with(classic_request(member, &["t"]), true)).generation_id, 3);
        all.extend(assigned(&sync(&mut world, 3, member)).into_iter().flat_map(|(_, partitions)| partitions));
        assert_eq!(beat(&mut world, 3, member), Ok(()));
    }
    assert_eq!(all, (0..6).collect());
}

#[test]
fn a_downgrade_during_reconciliation_begins_a_rebalance() {
    let mut world = World::with_image(EAGER, topics());
    classic_group(&mut world);
    let mut new = TestConsumer { instance: Some("i".into()), ..TestConsumer::new("new", &["t"]) };
    new.beat(&mut world).unwrap();
    assert_eq!((new.has.len(), world.state()), (0, "Reconciling"), "the others have not revoked anything yet");
    let back = JoinGroupRequest { group_instance_id: Some("i".into()), ..classic_request("", &["t"]) };
    assert_eq!(now(world.join_with(back, true)).error_code, ErrorCode::None);
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "PreparingRebalance"));
}

#[test]
fn a_static_member_that_returns_as_classic_makes_the_group_classic() {
    let mut world = World::with_image(EAGER, topics());
    let mut new = TestConsumer { instance: Some("i".into()), ..TestConsumer::new("new", &["t"]) };
    new.beat(&mut world).unwrap();
    assert_eq!(new.has.len(), 6);
    let back = JoinGroupRequest { group_instance_id: Some("i".into()), ..classic_request("", &["t"]) };
    let joined = now(world.join_with(back, true));
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 2));
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "Stable"));
    let all = vec![("t".to_owned(), (0..6).collect())];
    assert_eq!(assigned(&sync(&mut world, 2, &joined.member_id)), all);
    world.restart();
    assert_eq!((kind(&world).as_str(), world.state()), ("classic", "Stable"));
    assert_eq!(assigned(&sync(&mut world, 2, &joined.member_id)), all);
}
