//! A classic group: its members, what they agree on, and in which phase of a rebalance they are.
//!
//! ```text
//!  Empty --first member--> PreparingRebalance --all have joined, or time is up--> CompletingRebalance --leader syncs--> Stable
//!    ^                        |        ^                                                 |                              |
//!    +------ none is left ----+        +------------ a member comes, goes or changes -----+------------------------------+
//! ```
//!
//! No decisions about records or time here; those are in [`rebalance`](super::rebalance).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::consumer::embedded::Subscription;
use crate::coordinator::group::schema::{GroupMetadataValue, MemberMetadata};
use crate::model::ErrorCode;
use crate::runtime::Mono;
use crate::runtime::sync::Sender;
use crate::wire::Bytes;
use crate::wire::group::join_group::{JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember};
use crate::wire::group::sync_group::SyncGroupResponse;

/// The protocol type whose members' metadata names topics; of all others it is opaque.
pub const CONSUMER: &str = "consumer";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClassicGroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl ClassicGroupState {
    /// As DescribeGroups and ListGroups call it.
    pub fn name(self) -> &'static str {
        match self {
            ClassicGroupState::Empty => "Empty",
            ClassicGroupState::PreparingRebalance => "PreparingRebalance",
            ClassicGroupState::CompletingRebalance => "CompletingRebalance",
            ClassicGroupState::Stable => "Stable",
        }
    }
}

pub struct ClassicMember {
    pub id: Rc<str>,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// What it supports, the favourite first.
    pub protocols: Vec<JoinGroupRequestProtocol>,
    pub assignment: Bytes,
    /// Waits for the others to join.
    pub joining: Option<Sender<JoinGroupResponse>>,
    /// Waits for the leader's assignments.
    pub syncing: Option<Sender<SyncGroupResponse>>,
    /// Its first join has not been answered: it does not know its id and cannot send heartbeats.
    pub is_new: bool,
    /// When it counts as dead, unless it is heard of.
    pub due: Mono,
}

impl ClassicMember {
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let of = self.protocols.iter().find(|own| Some(own.name.as_str()) == protocol);
        of.map(|own| own.metadata.clone()).unwrap_or_default()
    }

    /// Whether it waits for us, so that its silence means nothing. A new one may have gone while it waited.
    pub fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }
}

pub struct ClassicGroup {
    pub state: ClassicGroupState,
    pub previous: ClassicGroupState,
    /// When the state began; -1: not known. An empty group's offsets expire by it.
    pub state_timestamp_ms: i64,
    pub generation: i32,
    /// None: nobody ever joined; it only has offsets.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<Rc<str>>,
    pub members: BTreeMap<Rc<str>, ClassicMember>,
    /// Members by `group.instance.id` (KIP-345).
    pub instances: HashMap<String, Rc<str>>,
    /// Ids that were given out and not used yet (KIP-394).
    pub pending: HashSet<Rc<str>>,
    /// Who has not asked for the assignment of this generation yet.
    pub unsynced: BTreeSet<Rc<str>>,
    /// Somebody has joined since the initial rebalance was last extended.
    pub has_new_member: bool,
    /// While the first members gather: how long this wait is, and how much longer it may become.
    pub initial: Option<(i32, i32)>,
    /// The topics that the members read, where that is known.
    pub subscribed: Option<HashSet<String>>,
}

impl ClassicGroup {
    pub fn new(now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            state: ClassicGroupState::Empty,
            previous: ClassicGroupState::Empty,
            state_timestamp_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            pending: HashSet::new(),
            unsynced: BTreeSet::new(),
            has_new_member: false,
            initial: None,
            subscribed: None,
        }
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.state == ClassicGroupState::Empty
    }

    pub fn transition_to(&mut self, state: ClassicGroupState, now_ms: i64) {
        self.previous = self.state;
        self.state = state;
        self.state_timestamp_ms = now_ms;
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    pub fn has_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// The longest of the members'.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// KIP-345: an instance is its latest member; then, whether there is such a member.
    pub fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub fn add(&mut self, member: ClassicMember, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.into());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending.remove(&member.id);
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member, or an id that was only given out. Whoever waits is let go.
    pub fn remove(&mut self, id: &str) -> Option<ClassicMember> {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let member = self.members.remove(id)?;
        if let Some(instance_id) = &member.instance_id
            && self.instances.get(instance_id).is_some_and(|current| **current == *id)
        {
            self.instances.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id; the instance that had the old one is told that it is not the member any more.
    pub fn replace_static_member(&mut self, old: &str, new: Rc<str>) {
        let mut member = self.members.remove(old).expect("a static member");
        if let Some(joining) = member.joining.take() {
            let (member_id, error_code) = (old.into(), ErrorCode::FencedInstanceId);
            let _ = joining.send(JoinGroupResponse { member_id, error_code, ..failed_join_response() });
        }
        if let Some(syncing) = member.syncing.take() {
            let error_code = ErrorCode::FencedInstanceId;
            let _ = syncing.send(SyncGroupResponse { error_code, ..SyncGroupResponse::default() });
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        let instance_id = member.instance_id.clone().expect("a static member");
        self.instances.insert(instance_id, new.clone());
        member.id = new.clone();
        self.members.insert(new, member);
    }

    /// Makes sure that the leader is somebody who has joined. False: nobody has.
    pub fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |member: &ClassicMember| member.joining.is_some();
        if self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.values().find(|member| has_joined(member)).map(|member| member.id.clone());
        let found = joined.is_some();
        if found {
            self.leader = joined;
        }
        found
    }

    /// Whether a member with these protocols could be one with all the others.
    pub fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == ClassicGroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.members.values().all(|member| supports_protocol(member, &protocol.name)))
    }

    /// The protocol of the next generation: one that all support, and most like best.
    pub fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member.protocols.iter().map(|protocol| protocol.name.as_str());
            let mut common = favourite.filter(|name| self.members.values().all(|other| supports_protocol(other, name)));
            if let Some(vote) = common.next() {
                *votes.entry(vote).or_default() += 1;
            }
        }
        // Of several with as many votes the first by name.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// The next generation begins: of its members, or of nobody.
    pub fn begin_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.transition_to(
            if self.members.is_empty() { ClassicGroupState::Empty } else { ClassicGroupState::CompletingRebalance },
            now_ms,
        );
        self.subscribed = self.subscribed_topics();
        self.unsynced.clear();
    }

    /// The topics that the members name in their metadata. None: this is no consumer group, or not ours to understand.
    pub fn subscribed_topics(&self) -> Option<HashSet<String>> {
        if !self.is_consumer() {
            return None;
        }
        let protocol = self.protocol.as_deref();
        let mut topics = HashSet::new();
        for member in self.members.values() {
            protocol?;
            topics.extend(Subscription::parse(&member.metadata(protocol).0).ok()?.topics);
        }
        Some(topics)
    }

    /// Whether the group reads the topic, or may for all that is known.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// Answers everybody who waits.
    pub fn fail_waiting(&mut self, error_code: ErrorCode) {
        for member in self.members.values_mut() {
            if let Some(joining) = member.joining.take() {
                let member_id = (*member.id).into();
                let _ = joining.send(JoinGroupResponse { error_code, member_id, ..failed_join_response() });
            }
            if let Some(syncing) = member.syncing.take() {
                let _ = syncing.send(SyncGroupResponse { error_code, ..SyncGroupResponse::default() });
            }
        }
    }

    /// The group as it is written down, with these assignments.
    pub fn to_value(&self, assignment: impl Fn(&ClassicMember) -> Bytes) -> GroupMetadataValue {
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(self.protocol.as_deref()),
            assignment: assignment(member),
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            current_state_timestamp: self.state_timestamp_ms,
            members: members.collect(),
        }
    }

    /// What the leader is told about everybody.
    pub fn join_response_members(&self) -> Vec<JoinGroupResponseMember> {
        let told = self.members.values().map(|member| JoinGroupResponseMember {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_deref()),
        });
        told.collect()
    }
}

fn supports_protocol(member: &ClassicMember, protocol: &str) -> bool {
    member.protocols.iter().any(|own| own.name == protocol)
}

/// A JoinGroup answer that says nothing yet, as Kafka's is when it says no.
pub fn failed_join_response() -> JoinGroupResponse {
    JoinGroupResponse { generation_id: -1, ..JoinGroupResponse::default() }
}
