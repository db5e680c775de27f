//! Consumer groups without a log: well-behaved clients, on a clock that the test advances.

mod classic_members;

use std::collections::{BTreeMap, BTreeSet};

use super::Client;
use super::embedded::{Assignment, PartitionsByName};
use crate::coordinator::group::record::Key;
use crate::coordinator::group::tests::{G, World, now, poll, request, subscription};
use crate::metadata::apply::tests::{create, image_with_nodes, run};
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

// CONS-1
#[test]
fn statement_119_a_partition_moves_only_after_its_owner_has_revoked_it() {
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

// CONS-1
#[test]
fn random_members_never_share_a_partition_and_all_partitions_are_assigned() {
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
        let requested = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..a.request() };
        assert_eq!(send(&mut world, &requested), Err(expected));
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

// CONS-3
#[test]
fn a_new_target_is_written_for_all_members_in_one_step() {
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
        let requested =
            ConsumerGroupHeartbeatRequest { server_assignor, ..TestConsumer::new(member, &["t"]).request() };
        send(&mut world, &requested).unwrap();
    }
    assert_eq!(describe(&world).assignor_name, "range");
}

#[test]
fn another_assignor_of_the_group_raises_its_epoch_and_makes_a_target() {
    let mut world = World::with_image(EAGER, topics());
    let mut consumer = TestConsumer::new("a", &["t"]);
    consumer.beat(&mut world).unwrap();
    // The first assignor is the one of a group without votes.
    for (assignor, epoch) in [("uniform", 2), ("range", 3), ("range", 3), ("uniform", 4)] {
        let server_assignor = Some(assignor.to_owned());
        let request = ConsumerGroupHeartbeatRequest { server_assignor, ..consumer.request() };
        let answer = send(&mut world, &request).unwrap();
        consumer.apply(&answer);
        let described = describe(&world);
        assert_eq!((answer.member_epoch, described.group_epoch, described.assignment_epoch), (epoch, epoch, epoch));
        assert_eq!(described.assignor_name, assignor);
    }
}

#[test]
fn the_target_of_a_group_whose_last_member_left_is_up_to_date() {
    let mut world = World::with_image(EAGER, topics());
    let mut consumer = TestConsumer::new("a", &["t"]);
    consumer.beat(&mut world).unwrap();
    consumer.leave(&mut world, -1).unwrap();
    let described = describe(&world);
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 3));
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

#[test]
fn a_groups_own_settings_precede_the_brokers_at_once_and_after_a_restart() {
    let set = |name: &str, text: &str| Command::SetGroupConfig {
        group: G.into(),
        changes: vec![(name.to_owned(), Some(text.to_owned()))],
    };
    let mut world = World::with_image(EAGER, topics());
    let mut a = TestConsumer::new("a", &["t"]);
    assert_eq!(a.beat(&mut world).unwrap().heartbeat_interval_ms, 5000);
    let image = run(&topics(), &set("consumer.heartbeat.interval.ms", "7000")).0;
    let image = run(&image, &set("consumer.session.timeout.ms", "60000")).0;
    world.set_image(image);
    assert_eq!(a.beat(&mut world).unwrap().heartbeat_interval_ms, 7000);
    world.pass(59_000);
    assert!(a.beat(&mut world).is_ok(), "the session lasts a minute");
    world.restart();
    world.pass(59_000);
    assert!(a.beat(&mut world).is_ok(), "also after a restart");
    world.pass(61_000);
    assert_eq!(a.beat(&mut world).unwrap_err(), ErrorCode::UnknownMemberId);
}
