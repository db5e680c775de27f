//! A classic group: its members, its protocol, and the phase of its rebalance.
//!
//! ```text
//!  Empty --first member--> PreparingRebalance --all joined, or timeout--> CompletingRebalance --leader syncs--> Stable
//!    ^                        |        ^                                          |                               |
//!    +---- no member left ----+        +--- a member joins, leaves or changes ----+-------------------------------+
//! ```
//!
//! This file does not write records or set deadlines; [`rebalance`](super::rebalance) does.

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

/// The protocol type whose member metadata names topics. The metadata of all other types is opaque.
pub const CONSUMER: &str = "consumer";

/// The phase of a classic group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClassicGroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl ClassicGroupState {
    /// Whether the state may follow this one.
    pub fn can_become(self, next: ClassicGroupState) -> bool {
        use ClassicGroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, Empty | CompletingRebalance)
                | (CompletingRebalance, Stable)
        )
    }

    /// The name in DescribeGroups and ListGroups.
    pub fn name(self) -> &'static str {
        match self {
            ClassicGroupState::Empty => "Empty",
            ClassicGroupState::PreparingRebalance => "PreparingRebalance",
            ClassicGroupState::CompletingRebalance => "CompletingRebalance",
            ClassicGroupState::Stable => "Stable",
        }
    }
}

/// A member of a classic group.
pub struct ClassicMember {
    pub id: Rc<str>,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The protocols that the member supports, in its order of preference.
    pub protocols: Vec<JoinGroupRequestProtocol>,
    pub assignment: Bytes,
    /// The join response, sent when the join phase ends.
    pub joining: Option<Sender<JoinGroupResponse>>,
    /// The sync response, sent when the leader has assigned.
    pub syncing: Option<Sender<SyncGroupResponse>>,
    /// Its first join is not answered yet: it does not know its id and cannot send heartbeats.
    pub is_new: bool,
    /// The end of its session, unless it sends a request before.
    pub due: Mono,
}

impl ClassicMember {
    /// The member's metadata for a protocol.
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let of = self.protocols.iter().find(|own| Some(own.name.as_str()) == protocol);
        of.map(|own| own.metadata.clone()).unwrap_or_default()
    }

    /// Whether the member waits for a response and therefore sends no heartbeats. A new member may have disconnected
    /// meanwhile.
    pub fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// Whether the member has a `group.instance.id` (KIP-345).
    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }
}

/// The members and the rebalance of a classic group.
pub struct ClassicGroup {
    pub state: ClassicGroupState,
    pub previous: ClassicGroupState,
    /// When the state began; -1 if unknown. An empty group's offsets expire relative to it.
    pub state_timestamp_ms: i64,
    pub generation: i32,
    /// The last generation that the log has with its assignments; -1: none.
    pub logged_generation: i32,
    /// `None` if no member ever joined: the group has only offsets.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<Rc<str>>,
    pub members: BTreeMap<Rc<str>, ClassicMember>,
    /// Members by `group.instance.id` (KIP-345).
    pub instances: HashMap<String, Rc<str>>,
    /// Member ids that were assigned but have not joined yet (KIP-394).
    pub pending: HashSet<Rc<str>>,
    /// Members that have not requested the assignment of this generation yet.
    pub unsynced: BTreeSet<Rc<str>>,
    /// A member has joined since the initial rebalance was last extended.
    pub has_new_member: bool,
    /// In the initial rebalance: the current delay, and the time by which it may still be extended.
    pub initial: Option<(i32, i32)>,
    /// The topics that the members read, if known.
    pub subscribed: Option<HashSet<String>>,
}

impl ClassicGroup {
    /// An empty group.
    pub fn new(now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            state: ClassicGroupState::Empty,
            previous: ClassicGroupState::Empty,
            state_timestamp_ms: now_ms,
            generation: 0,
            logged_generation: -1,
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

    /// Whether the group has no members.
    pub fn is_empty(&self) -> bool {
        self.state == ClassicGroupState::Empty
    }

    /// Enters the next state, which must be legal.
    pub fn transition_to(&mut self, state: ClassicGroupState, now_ms: i64) {
        assert!(self.state.can_become(state), "a group cannot go from {} to {}", self.state.name(), state.name());
        if state == ClassicGroupState::Stable {
            assert_eq!(self.logged_generation, self.generation, "GROUP-1: the log has the generation");
        }
        self.previous = self.state;
        self.state = state;
        self.state_timestamp_ms = now_ms;
    }

    /// Whether the member is the leader.
    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// The number of pending joins.
    pub fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Whether all members, and all ids that have not joined yet, wait in a join.
    pub fn has_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// The longest rebalance timeout of the members.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Whether the protocol type is that of consumers.
    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// KIP-345: an instance id identifies only its latest member. Then checks that the member exists.
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

    /// Adds a member. The first one becomes the leader.
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

    /// Removes a member, or an id that has not joined yet.
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

    /// Gives a static member a new id. Pending requests of the old id fail with FENCED_INSTANCE_ID.
    pub fn replace_static_member(&mut self, old: &str, new: Rc<str>) {
        let mut member = self.members.remove(old).expect("the caller found the static member");
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
        let instance_id = member.instance_id.clone().expect("a static member has an instance id");
        self.instances.insert(instance_id, new.clone());
        member.id = new.clone();
        self.members.insert(new, member);
    }

    /// Ensures that the leader has joined. Returns false if no member has joined.
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

    /// Whether a member with these protocols shares one with all other members.
    pub fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == ClassicGroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.members.values().all(|member| supports_protocol(member, &protocol.name)))
    }

    /// The protocol of the next generation: supported by all, and preferred by most.
    pub fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member.protocols.iter().map(|protocol| protocol.name.as_str());
            let mut common = favourite.filter(|name| self.members.values().all(|other| supports_protocol(other, name)));
            if let Some(vote) = common.next() {
                *votes.entry(vote).or_default() += 1;
            }
        }
        // With equal votes the first by name wins.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// Begins the next generation, which may be empty.
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

    /// The topics that the members' metadata names. `None` if the group is not a consumer group or its metadata is
    /// unreadable.
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

    /// Whether the group reads the topic. True for a consumer group whose subscriptions are unknown.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// Fails all pending joins and syncs with this error.
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

    /// The group's record, with these assignments.
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

    /// The members as the join response describes them to the leader.
    pub fn join_response_members(&self) -> Vec<JoinGroupResponseMember> {
        let members = self.members.values().map(|member| JoinGroupResponseMember {
            member_id: (*member.id).into(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_deref()),
        });
        members.collect()
    }
}

fn supports_protocol(member: &ClassicMember, protocol: &str) -> bool {
    member.protocols.iter().any(|own| own.name == protocol)
}

/// Kafka's JoinGroup response to a failed join, without its error.
pub fn failed_join_response() -> JoinGroupResponse {
    JoinGroupResponse { generation_id: -1, ..JoinGroupResponse::default() }
}
