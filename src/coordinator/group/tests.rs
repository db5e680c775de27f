//! The state machine without a log: steps one after another, on a clock that the test advances.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::config::load;
use crate::coordinator::ReplayedRecord;
use crate::metadata::apply::tests::{create, image_with_nodes};
use crate::metadata::{Command, apply_to};
use crate::metadata::{Image, ImageUpdate};
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::runtime::sync::{Receiver, oneshot};
use crate::wire::Bytes;
use crate::wire::group::heartbeat::HeartbeatRequest;
use crate::wire::group::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::group::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::group::list_groups::ListGroupsRequest;
use crate::wire::group::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::group::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

pub const G: &str = "g";
const DAY_MS: u64 = 24 * 3600 * 1000;

/// A state machine, its clock, and the records that it has written.
pub struct World {
    pub groups: Groups,
    pub now: Now,
    end: i64,
    /// The written records, as keys and values.
    pub log: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub appended: Result<(), ErrorCode>,
    settings: Vec<String>,
}

impl World {
    pub fn new(settings: &[&str]) -> World {
        World::with_image(settings, Image::default())
    }

    pub fn with_image(settings: &[&str], image: Image) -> World {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall_ms: 1_000_000 };
        let groups = World::groups(&settings);
        let mut world = World { groups, now, end: 0, log: Vec::new(), appended: Ok(()), settings };
        world.step(|groups, now, writes| groups.on_loaded(&Arc::new(image), now, writes));
        world
    }

    fn groups(settings: &[String]) -> Groups {
        let mut number = 0u64;
        let random = move || {
            number += 1;
            number
        };
        Groups::new(LiveConfig::new(load(None, settings).unwrap()), random)
    }

    /// Restores the machine from the written records.
    pub fn restart(&mut self) {
        let image = self.groups.image.clone();
        self.groups = World::groups(&self.settings);
        for (offset, (key, value)) in self.log.iter().enumerate() {
            let (offset, timestamp_ms) = (offset as i64, self.now.wall_ms);
            let entry = ReplayedRecord {
                offset: Offset(offset),
                timestamp_ms,
                key,
                value: value.as_deref(),
                transaction: None,
            };
            self.groups.replay(&entry).unwrap();
        }
        self.step(|groups, now, writes| groups.on_loaded(&image, now, writes));
    }

    pub fn set_image(&mut self, after: Image) {
        let before = self.groups.image.clone();
        self.step(|groups, now, writes| groups.on_image_changed(&ImageUpdate::between(&before, &after), now, writes));
    }

    pub fn step<A>(&mut self, step: impl FnOnce(&mut Groups, Now, &mut Writes<Groups>) -> A) -> A {
        let mut writes = Writes::new(self.now);
        let answer = step(&mut self.groups, self.now, &mut writes);
        self.log.extend(writes.replay_into(&mut self.groups, self.end, self.appended));
        self.end = self.log.len() as i64;
        answer
    }

    /// Advances the clock and runs each deadline when it is due.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now.mono + Duration::from_millis(ms);
        for _ in 0..10_000 {
            let due = self.groups.deadline().expect("an expiry check is always scheduled");
            if due > until {
                self.advance(until);
                return;
            }
            self.advance(due.max(self.now.mono));
            self.step(|groups, now, writes| groups.on_deadline(now, writes));
        }
        panic!("it is always due");
    }

    fn advance(&mut self, to: Mono) {
        self.now.wall_ms += to.since(self.now.mono).as_millis() as i64;
        self.now.mono = to;
    }

    pub fn join_with(&mut self, request: JoinGroupRequest, needs_member_id: bool) -> Receiver<JoinGroupResponse> {
        let (sender, receiver) = oneshot();
        let joiner = Joiner {
            client_id: "client".into(),
            client_host: "/host".into(),
            needs_member_id,
            can_skip_assignment: true,
        };
        self.step(|groups, now, writes| groups.join(request, joiner, sender, now, writes));
        receiver
    }

    fn join(&mut self, member: &str) -> Receiver<JoinGroupResponse> {
        self.join_with(request(member, &["range"]), false)
    }

    pub fn sync(
        &mut self,
        generation_id: i32,
        member: &str,
        assignments: &[(&str, u8)],
    ) -> Receiver<SyncGroupResponse> {
        let (sender, receiver) = oneshot();
        let request = SyncGroupRequest {
            group_id: G.into(),
            generation_id,
            member_id: member.into(),
            assignments: assignments
                .iter()
                .map(|(id, byte)| SyncGroupRequestAssignment {
                    member_id: (*id).into(),
                    assignment: Bytes(vec![*byte]),
                })
                .collect(),
            ..SyncGroupRequest::default()
        };
        self.step(|groups, now, writes| groups.sync(request, sender, now, writes));
        receiver
    }

    pub fn heartbeat(&mut self, generation_id: i32, member: &str) -> Result<(), ErrorCode> {
        let request =
            HeartbeatRequest { group_id: G.into(), generation_id, member_id: member.into(), group_instance_id: None };
        self.step(|groups, now, writes| groups.heartbeat(&request, now, writes))
    }

    pub fn leave(&mut self, member: &str) -> ErrorCode {
        let members = vec![MemberIdentity { member_id: member.into(), ..MemberIdentity::default() }];
        let request = LeaveGroupRequest { group_id: G.into(), members, ..LeaveGroupRequest::default() };
        self.step(|groups, now, writes| groups.leave(&request, now, writes)).members[0].error_code
    }

    pub fn commit(&mut self, generation: i32, member: &str, topic: &str, offset: i64) -> Result<(), ErrorCode> {
        let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: G.into(),
            generation_id_or_member_epoch: generation,
            member_id: member.into(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let committed = self.step(|groups, now, writes| groups.commit(&request, true, now, writes))?;
        Some(committed.topics[0].partitions[0].error_code).filter(|code| code.is_error()).map_or(Ok(()), Err)
    }

    pub fn committed(&self, topic: &str, require_stable: bool) -> Result<i64, ErrorCode> {
        let topics =
            vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
        let request = OffsetFetchRequestGroup { group_id: G.into(), topics: Some(topics), ..Default::default() };
        let fetched = self.groups.fetch(&request, require_stable).topics[0].partitions[0].clone();
        if fetched.error_code.is_error() { Err(fetched.error_code) } else { Ok(fetched.committed_offset) }
    }

    pub fn state(&self) -> &'static str {
        self.groups.groups.get(G).map_or("none", |group| match &group.kind {
            GroupKind::Classic(classic) => classic.state.name(),
            GroupKind::Consumer(consumer) => consumer.state().name(),
        })
    }

    /// A group with only this member, stable in its first generation.
    fn stable(&mut self, member_id: Option<&str>) -> String {
        let joining = self.join_with(
            JoinGroupRequest { group_instance_id: member_id.map(str::to_owned), ..request("", &["range"]) },
            false,
        );
        self.pass(3000);
        let id = now(joining).member_id;
        assert_eq!(now(self.sync(1, &id, &[(&id, 7)])).assignment, Bytes(vec![7]));
        assert_eq!(self.state(), "Stable");
        id
    }
}

pub fn request(member: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocol = |name: &&str| JoinGroupRequestProtocol { name: (*name).into(), metadata: subscription(&["t"]) };
    JoinGroupRequest {
        group_id: G.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(protocol).collect(),
        ..JoinGroupRequest::default()
    }
}

pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    Bytes(bytes)
}

pub fn poll<A>(receiver: &mut Receiver<A>) -> Option<A> {
    match Pin::new(receiver).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer.expect("every waiting request is answered")),
        Poll::Pending => None,
    }
}

pub fn now<A>(mut receiver: Receiver<A>) -> A {
    poll(&mut receiver).expect("the request is answered at once")
}

#[test]
fn statement_105_the_first_rebalance_waits_and_each_new_member_extends_it() {
    let mut world = World::new(&[]);
    let mut first = world.join("");
    world.pass(2000);
    let mut second = world.join("");
    world.pass(1500);
    assert!(poll(&mut first).is_none(), "the second member has extended the wait");
    world.pass(2500);
    let (first, second) = (poll(&mut first).unwrap(), poll(&mut second).unwrap());
    assert_eq!((first.generation_id, first.members.len(), second.members.len()), (1, 2, 0));
    assert_eq!((&first.leader, &second.leader), (&first.member_id, &first.member_id));
    // The extensions are limited to the rebalance timeout.
    let mut world = World::new(&[]);
    let mut joined = vec![world.join("")];
    for _ in 0..12 {
        world.pass(2000);
        joined.push(world.join(""));
    }
    assert!(poll(&mut joined[0]).is_some(), "24 seconds are more than the rebalance timeout");
}

#[test]
fn statement_104_a_dynamic_member_gets_an_id_first_and_must_use_it_in_time() {
    let mut world = World::new(&[]);
    let given = now(world.join_with(request("", &["range"]), true));
    assert_eq!(given.error_code, ErrorCode::MemberIdRequired);
    assert!(given.member_id.starts_with("client-") && given.member_id.len() == 43, "{}", given.member_id);
    let mut joining = world.join_with(request(&given.member_id, &["range"]), true);
    world.pass(3000);
    assert_eq!(poll(&mut joining).unwrap().member_id, given.member_id);

    let late = now(world.join_with(request("", &["range"]), true)).member_id;
    world.pass(10_000);
    let refused = now(world.join_with(request(&late, &["range"]), true));
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn statement_106_a_member_that_does_not_rejoin_in_time_is_removed() {
    let mut world = World::new(&[]);
    let (a, b) = (world.join(""), world.join(""));
    world.pass(6000);
    let (a, b) = (now(a).member_id, now(b).member_id);
    let (syncing, leader) = (world.sync(1, &b, &[]), world.sync(1, &a, &[(&a, 1), (&b, 2)]));
    assert_eq!((now(syncing).assignment, now(leader).assignment), (Bytes(vec![2]), Bytes(vec![1])));
    let mut joining = world.join(&a);
    assert_eq!(world.heartbeat(1, &b), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(world.commit(1, &b, "t", 5), Ok(()), "offsets from before the rebalance may still be committed");
    for _ in 0..4 {
        world.pass(4990);
        let _ = world.heartbeat(1, &b);
    }
    assert!(poll(&mut joining).is_none());
    world.pass(100);
    let next = poll(&mut joining).unwrap();
    assert_eq!((next.generation_id, next.members.len()), (2, 1));
    assert_eq!(world.heartbeat(1, &b), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.commit(2, &a, "t", 6), Err(ErrorCode::RebalanceInProgress), "statement 108");
}

#[test]
fn statement_111_a_follower_waits_for_the_leader_and_may_get_an_empty_assignment() {
    let mut world = World::new(&[]);
    let (a, b) = (world.join(""), world.join(""));
    world.pass(6000);
    let (a, b) = (now(a).member_id, now(b).member_id);
    let mut syncing = world.sync(1, &b, &[]);
    assert!(poll(&mut syncing).is_none(), "the leader has not assigned");
    // The leader names only itself.
    assert_eq!(now(world.sync(1, &a, &[(&a, 1)])).assignment, Bytes(vec![1]));
    let empty = poll(&mut syncing).expect("the leader has assigned");
    assert_eq!((empty.error_code, empty.assignment), (ErrorCode::None, Bytes(vec![])));
    world.restart();
    let again = now(world.sync(1, &b, &[]));
    assert_eq!((again.error_code, again.assignment), (ErrorCode::None, Bytes(vec![])));
}

#[test]
fn statement_107_the_protocol_is_supported_by_all_and_preferred_by_most() {
    for (all, expected) in [
        (&[&["a", "b"][..], &["b", "a"], &["b", "a"]][..], "b"),
        (&[&["a", "b"], &["a", "b"], &["b", "a"]], "a"),
        (&[&["a", "b"], &["b"], &["a", "b"]], "b"),
    ] {
        let mut world = World::new(&[]);
        let joining: Vec<_> = all.iter().map(|own| world.join_with(request("", own), false)).collect();
        world.pass(6000);
        for joined in joining {
            assert_eq!(now(joined).protocol_name.as_deref(), Some(expected));
        }
        let refused = now(world.join_with(request("", &["c"]), false));
        assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol);
    }
}

#[test]
fn an_expired_member_is_removed_and_the_last_one_leaves_an_empty_group() {
    let mut world = World::new(&[]);
    let id = world.stable(None);
    for _ in 0..5 {
        world.pass(9000);
        assert_eq!(world.heartbeat(1, &id), Ok(()));
    }
    world.pass(10_000);
    assert_eq!((world.state(), world.heartbeat(2, &id)), ("Empty", Err(ErrorCode::UnknownMemberId)));
    let id = world.stable_again(2);
    assert_eq!(world.leave("unknown"), ErrorCode::UnknownMemberId);
    assert_eq!((world.leave(&id), world.state()), (ErrorCode::None, "Empty"));
}

impl World {
    fn stable_again(&mut self, generations: i32) -> String {
        let joining = self.join("");
        self.pass(3000);
        let joined = now(joining);
        assert_eq!(joined.generation_id, generations + 1);
        now(self.sync(joined.generation_id, &joined.member_id, &[]));
        joined.member_id
    }
}

#[test]
fn statement_110_a_returning_static_member_keeps_its_assignment_and_fences_the_old_one() {
    let mut world = World::new(&[]);
    let old = world.stable(Some("i"));
    let again = JoinGroupRequest { group_instance_id: Some("i".into()), ..request("", &["range"]) };
    let joined = now(world.join_with(again.clone(), true));
    assert_eq!((joined.error_code, joined.generation_id, joined.skip_assignment), (ErrorCode::None, 1, true));
    assert_ne!(joined.member_id, old);
    assert_eq!(now(world.sync(1, &joined.member_id, &[])).assignment, Bytes(vec![7]));
    let fenced = now(world.join_with(JoinGroupRequest { member_id: old, ..again.clone() }, true));
    assert_eq!(fenced.error_code, ErrorCode::FencedInstanceId);
    // A failed append changes nothing.
    world.appended = Err(ErrorCode::NotCoordinator);
    assert_eq!(now(world.join_with(again, true)).error_code, ErrorCode::NotCoordinator);
    world.appended = Ok(());
    assert_eq!(world.heartbeat(1, &joined.member_id), Ok(()));
}

// GROUP-1
#[test]
fn a_generation_that_cannot_be_written_is_not_stable() {
    let mut world = World::new(&[]);
    let (a, b) = (world.join(""), world.join(""));
    world.pass(6000);
    let (a, b) = (now(a).member_id, now(b).member_id);
    let follower = world.sync(1, &b, &[]);
    world.appended = Err(ErrorCode::NotCoordinator);
    let leader = world.sync(1, &a, &[(&a, 1)]);
    assert_eq!([now(leader).error_code, now(follower).error_code], [ErrorCode::NotCoordinator; 2]);
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_member_that_does_not_sync_in_time_is_removed() {
    let mut world = World::new(&[]);
    let (a, b) = (world.join(""), world.join(""));
    world.pass(6000);
    let (a, b) = (now(a).member_id, now(b).member_id);
    now(world.sync(1, &a, &[]));
    for _ in 0..4 {
        world.pass(4990);
        assert_eq!((world.heartbeat(1, &a), world.heartbeat(1, &b)), (Ok(()), Ok(())));
    }
    world.pass(100);
    assert_eq!(
        (world.heartbeat(1, &a), world.heartbeat(1, &b)),
        (Err(ErrorCode::RebalanceInProgress), Err(ErrorCode::UnknownMemberId))
    );
}

#[test]
fn a_full_group_rejects_new_members() {
    let mut world = World::new(&["group.max.size=1"]);
    let id = world.stable(None);
    assert_eq!(now(world.join("")).error_code, ErrorCode::GroupMaxSizeReached);
    assert!(poll(&mut world.join(&id)).is_some(), "a member may rejoin");
}

#[test]
fn statement_115_offsets_expire_after_the_groups_end_or_after_the_commit_of_a_simple_group() {
    let mut world = World::new(&[]);
    let id = world.stable(None);
    world.commit(1, &id, "t", 5).unwrap();
    for _ in 0..(8 * DAY_MS / 9_000_000) {
        for _ in 0..1000 {
            world.pass(9000);
            world.heartbeat(1, &id).unwrap();
        }
    }
    assert_eq!(world.committed("t", false), Ok(5), "a member reads the topic");
    world.leave(&id);
    world.pass(6 * DAY_MS);
    assert_eq!(world.committed("t", false), Ok(5));
    world.pass(2 * DAY_MS);
    assert_eq!((world.committed("t", false), world.state()), (Ok(-1), "none"));

    world.commit(-1, "", "t", 5).unwrap();
    assert_eq!(world.state(), "Empty");
    world.pass(6 * DAY_MS);
    world.commit(-1, "", "u", 6).unwrap();
    world.pass(2 * DAY_MS);
    assert_eq!((world.committed("t", false), world.committed("u", false)), (Ok(-1), Ok(6)));
}

#[test]
fn a_group_whose_sessions_have_ended_is_deleted_before_their_alarms_fire() {
    let mut world = World::with_image(&[], create(&image_with_nodes(1), "t", 1));
    let member = world.stable(Some("instance"));
    world.commit(1, &member, "t", 5).unwrap();
    let delete = |world: &mut World| world.step(|groups, now, writes| groups.delete(G, now, writes));
    let ends = world.now.mono + Duration::from_secs(10);
    world.advance(ends - Duration::from_millis(1));
    assert_eq!(delete(&mut world), Err(ErrorCode::NonEmptyGroup));
    world.advance(ends);
    assert_eq!((delete(&mut world), world.state()), (Ok(false), "Empty"));
    assert_eq!((delete(&mut world), world.state()), (Ok(true), "none"));
    world.restart();
    assert_eq!((world.state(), world.committed("t", false)), ("none", Ok(-1)));
}

#[test]
fn offsets_of_a_deleted_topic_and_of_a_deleted_group_are_removed() {
    let before = create(&create(&image_with_nodes(1), "t", 1), "u", 1);
    let mut after = before.clone();
    let id = before.topic("t").unwrap().id;
    let mut world = World::with_image(&[], before.clone());
    apply_to(&mut after, &mut Default::default(), before.index + 1, &[Command::DeleteTopic { id }]).unwrap();
    world.commit(-1, "", "t", 5).unwrap();
    world.commit(-1, "", "u", 6).unwrap();
    world.set_image(after);
    // After a failed append the removal is retried.
    world.appended = Err(ErrorCode::NotCoordinator);
    world.step(|groups, now, writes| groups.on_deadline(now, writes));
    assert_eq!(world.committed("t", false), Ok(5));
    world.appended = Ok(());
    world.pass(1);
    assert_eq!((world.committed("t", false), world.committed("u", false)), (Ok(-1), Ok(6)));
    assert_eq!(world.step(|groups, now, writes| groups.delete(G, now, writes)), Ok(true));
    assert_eq!((world.state(), world.committed("u", false)), ("none", Ok(-1)));
    assert_eq!(world.step(|groups, now, writes| groups.delete(G, now, writes)), Err(ErrorCode::GroupIdNotFound));
}

#[test]
fn only_the_changes_of_an_image_are_examined() {
    let before = create(&create(&image_with_nodes(1), "t", 1), "u", 1);
    let mut world = World::with_image(&[], before.clone());
    world.commit(-1, "", "t", 5).unwrap();
    // The changes do not name the topics that the image lacks.
    let mut after = image_with_nodes(1);
    after.index = before.index + 1;
    let update = ImageUpdate { from: before.index, image: after.into(), deltas: vec![Arc::default()] };
    world.step(|groups, now, writes| groups.on_image_changed(&update, now, writes));
    assert!(!world.groups.has_expiry_work());
    world.pass(1);
    assert_eq!(world.committed("t", false), Ok(5));
}

#[test]
fn many_offsets_of_a_deleted_topic_are_removed_in_several_batches() {
    let before = create(&image_with_nodes(1), "t", 1);
    let mut after = before.clone();
    let id = before.topic("t").unwrap().id;
    apply_to(&mut after, &mut Default::default(), before.index + 1, &[Command::DeleteTopic { id }]).unwrap();
    let mut world = World::with_image(&[], before);
    let partitions = 0..10_000;
    let partitions =
        partitions.map(|partition_index| OffsetCommitRequestPartition { partition_index, ..Default::default() });
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: partitions.collect(), ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: G.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    world.step(|groups, now, writes| groups.commit(&request, true, now, writes)).unwrap();
    world.set_image(after);
    let left = |world: &World| world.groups.groups.get(G).map_or(0, |group| group.offsets.committed.all().count());
    let mut steps = Vec::new();
    while left(&world) > 0 {
        world.step(|groups, now, writes| groups.on_deadline(now, writes));
        steps.push(left(&world));
    }
    assert!(steps.len() > 1 && steps.is_sorted_by(|before, after| before > after), "{steps:?}");
}

impl World {
    fn commit_in_transaction(&mut self, producer: ProducerId, topic: &str, offset: i64) {
        let key = Key::Offset { group: G, topic, partition: 0 }.to_bytes();
        let value = OffsetValue {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(-1),
            metadata: "",
            commit_timestamp_ms: 0,
            expire_timestamp_ms: -1,
            topic_id: crate::model::TopicId::ZERO,
        };
        let (value, offset) = (value.to_bytes(), self.end);
        self.log.push((key.clone(), None));
        self.end += 1;
        let transaction = Some((producer, 0));
        let entry =
            ReplayedRecord { offset: Offset(offset), timestamp_ms: 0, key: &key, value: Some(&value), transaction };
        self.groups.replay(&entry).unwrap();
    }
}

#[test]
fn a_deleted_group_loses_the_offsets_of_open_transactions_too() {
    let mut world = World::new(&[]);
    world.commit(-1, "", "t", 5).unwrap();
    world.commit_in_transaction(7, "t", 9);
    world.commit_in_transaction(7, "u", 9);
    assert_eq!(world.step(|groups, now, writes| groups.delete(G, now, writes)), Ok(true));
    assert_eq!(world.state(), "none");
    world.groups.end_transaction(7, true);
    assert_eq!(world.state(), "none");
}

// GROUP-3
#[test]
fn offsets_of_an_open_transaction_are_unstable_and_invisible() {
    let mut world = World::new(&[]);
    world.commit(-1, "", "t", 5).unwrap();
    for (is_committed, expected) in [(false, 5), (true, 9)] {
        world.commit_in_transaction(7, "t", 9);
        assert_eq!(world.committed("t", true), Err(ErrorCode::UnstableOffsetCommit));
        assert_eq!(world.committed("t", false), Ok(5));
        world.groups.end_transaction(7, is_committed);
        assert_eq!(world.committed("t", true), Ok(expected));
    }
}

#[test]
fn a_restart_restores_the_group_and_gives_its_members_a_session_to_return() {
    let mut world = World::new(&[]);
    let id = world.stable(Some("i"));
    let described = world.groups.describe(G);
    // The record of the stable generation, as a restart replays it.
    let mut writes = Writes::new(world.now);
    let assignment = described.members[0].member_assignment.clone();
    world.groups.classic_step(G, world.now, &mut writes).unwrap().put_group_record(|_| assignment.clone());
    let mut again = World::new(&[]);
    again.groups.is_loaded = false;
    writes.replay_into(&mut again.groups, 0, Ok(()));
    again.step(|groups, now, writes| groups.on_loaded(&Arc::default(), now, writes));
    assert_eq!(again.groups.describe(G), described);
    let request =
        HeartbeatRequest { group_id: G.into(), generation_id: 1, member_id: id, group_instance_id: Some("i".into()) };
    assert_eq!(again.step(|groups, now, writes| groups.heartbeat(&request, now, writes)), Ok(()));
    again.pass(10_000);
    assert_eq!(again.state(), "Empty");
    assert_eq!(again.groups.list(&ListGroupsRequest::default()).len(), 1);
}
