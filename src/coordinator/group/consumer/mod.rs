//! Consumer groups (KIP-848): the coordinator assigns partitions, and each member is reconciled with its target on its
//! own schedule. Follows the rules of Kafka 4.4 and uses its records.
//!
//! ```text
//! heartbeat -> the member's description, written if it changed        (heartbeat)
//!                a changed subscription raises the group's epoch
//!           -> the target assignment of that epoch                    (target; the assignors are in assign)
//!           -> the member, one step closer to its target              (reconcile)
//!                it revokes; confirms; takes the group's epoch; gets the partitions that others have released
//! session timeout, leaving -> tombstones for the member, a raised epoch (fence)
//! ```
//! Owns the members, targets and patterns of each group. Input: heartbeats, requests of classic members, alarms and new
//! metadata images. Output: responses, and records.
//!
//! Clients of the classic protocol can be members as well ([`bridge`]). A classic group becomes a consumer group when
//! the first member of the consumer protocol joins, and a classic group again when the last one leaves ([`migrate`]).
//!
//! Everything that a restart must restore changes only in `replay`, from records. A step has shared access to the
//! group, and writes.
//!
//! Invariants:
//! - CONS-1: a member gets a partition only when no other member owns it or still has to revoke it.
//! - CONS-3: a target belongs to one group epoch and covers every member: all its records are in one batch.
//!
//! Does not know connections or API versions. Runs on the thread of the shard that owns the group's partition.

mod bridge;
mod commit;
mod describe;
pub mod embedded;
mod fence;
mod heartbeat;
mod member;
mod migrate;
mod reconcile;
mod regex;
mod target;
#[cfg(test)]
mod tests;

pub use heartbeat::Client;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::rc::Rc;

use super::assign::Partitions;
use super::classic::CONSUMER;
use super::record::Key;
use super::{Alarm, Groups};
use crate::config::BrokerConfig;
use crate::coordinator::group::schema::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use crate::coordinator::{Now, Unreadable, Writes};
use crate::metadata::Image;
use crate::model::{ErrorCode, PartitionIndex, TopicId};
use crate::runtime::Mono;
use member::{ConsumerMember, MemberState};

/// The error of a rejected request, with a message: this protocol carries one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRefusal {
    /// The error code of the response.
    pub error: ErrorCode,
    /// The error message of the response.
    pub message: String,
}

impl GroupRefusal {
    /// A refusal with this message.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> GroupRefusal {
        GroupRefusal { error, message: message.into() }
    }
}

/// With Kafka's message for the error.
impl From<ErrorCode> for GroupRefusal {
    fn from(error: ErrorCode) -> GroupRefusal {
        GroupRefusal::new(error, error.to_string())
    }
}

/// The state of a consumer group, derived from its epochs and members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerGroupState {
    /// It has no members.
    Empty,
    /// The target belongs to an older epoch.
    Assigning,
    /// Some members have not reached their target.
    Reconciling,
    /// All members have reached their targets.
    Stable,
}

impl ConsumerGroupState {
    /// The name in ListGroups and ConsumerGroupDescribe.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

/// The epoch of a new group, and of its empty target.
const FIRST_EPOCH: i32 = 1;

/// The topics that match a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvedRegex {
    /// The names of the matching topics.
    pub topics: BTreeSet<String>,
    /// The index of the metadata image that was searched.
    pub version: i64,
    /// The time of the search.
    pub timestamp_ms: i64,
}

/// A consumer group, as its records describe it.
pub struct ConsumerGroup {
    /// The epoch of the group. A change of members or topics raises it.
    pub epoch: i32,
    /// The hash of the topics that the group reads, computed when the epoch was last raised for them.
    metadata_hash: i64,
    /// Members by id.
    pub members: BTreeMap<Rc<str>, Rc<ConsumerMember>>,
    /// Members by `group.instance.id`.
    pub instances: HashMap<Rc<str>, Rc<str>>,
    /// The epoch of the target; at most the group's.
    pub target_epoch: i32,
    target_timestamp_ms: i64,
    targets: HashMap<Rc<str>, Rc<Partitions>>,
    /// The member that owns each partition, or still has to revoke it (CONS-1).
    owners: HashMap<(TopicId, PartitionIndex), Rc<str>>,
    regexes: BTreeMap<Rc<str>, ResolvedRegex>,
    /// The number of members that subscribe to each pattern.
    readers: HashMap<Rc<str>, usize>,
    /// Volatile: the topics that the group reads may have changed.
    must_recheck_topics: bool,
    /// Volatile: the end of each member's session, unless it sends a heartbeat before.
    due: HashMap<Rc<str>, Mono>,
}

impl Default for ConsumerGroup {
    fn default() -> ConsumerGroup {
        ConsumerGroup {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            target_epoch: FIRST_EPOCH,
            target_timestamp_ms: 0,
            targets: HashMap::new(),
            owners: HashMap::new(),
            regexes: BTreeMap::new(),
            readers: HashMap::new(),
            must_recheck_topics: true,
            due: HashMap::new(),
        }
    }
}

impl ConsumerGroup {
    /// The state of the group.
    pub fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// The member with this id.
    pub fn member(&self, id: &str) -> Option<&Rc<ConsumerMember>> {
        self.members.get(id)
    }

    /// The current member of a static instance.
    pub fn static_member(&self, instance_id: &str) -> Option<&Rc<ConsumerMember>> {
        self.members.get(self.instances.get(instance_id)?)
    }

    fn target(&self, member: &str) -> Rc<Partitions> {
        self.targets.get(member).cloned().unwrap_or_default()
    }

    fn is_owned(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.owners.contains_key(&(topic, partition))
    }

    fn readers_of(&self, regex: &str) -> usize {
        self.readers.get(regex).copied().unwrap_or(0)
    }

    /// The topics that the member reads, by name and by pattern. An unresolved pattern matches none.
    fn reads<'a>(&'a self, member: &'a ConsumerMember) -> impl Iterator<Item = &'a str> {
        let by_regex = member.regex().and_then(|regex| self.regexes.get(regex));
        member.topics.iter().chain(by_regex.into_iter().flat_map(|resolved| &resolved.topics)).map(String::as_str)
    }

    /// The union of the topics that these members read.
    fn all_read<'a>(&'a self, members: impl Iterator<Item = &'a ConsumerMember>) -> BTreeSet<&'a str> {
        members.flat_map(|member| self.reads(member)).collect()
    }

    /// Whether a member reads the topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.reads(member).any(|read| read == topic))
    }

    /// The members after `new` has joined or replaced its earlier version or its instance's earlier member.
    fn members_with<'a>(&'a self, new: &'a ConsumerMember) -> impl Iterator<Item = &'a ConsumerMember> + Clone {
        let is_replaced = |member: &ConsumerMember| {
            member.id == new.id || (new.instance_id.is_some() && member.instance_id == new.instance_id)
        };
        self.members.values().map(|member| &**member).filter(move |member| !is_replaced(member)).chain([new])
    }

    /// Whether the member waits for partitions that others still have to revoke.
    pub fn waits_for_others(&self, member: &ConsumerMember) -> bool {
        let target = self.target(&member.id);
        member.state == MemberState::UnreleasedPartitions
            && target.iter().any(|(topic, partitions)| {
                let has = member.assigned.get(topic);
                let lacks = |at: &&i32| !has.is_some_and(|has| has.contains_key(at));
                partitions.iter().filter(lacks).any(|at| self.is_owned(*topic, *at))
            })
    }

    /// Notes that the metadata has changed.
    pub fn metadata_changed(&mut self) {
        self.must_recheck_topics = true;
    }

    // ---- replay -----------------------------------------------------------------------------------------------------

    fn insert_member(&mut self, member: ConsumerMember) {
        self.remove_member(&member.id.clone());
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            for partition in partitions.keys() {
                self.owners.insert((*topic, *partition), member.id.clone());
            }
        }
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member.id.clone());
        }
        if let Some(regex) = member.regex() {
            *self.readers.entry(regex.into()).or_default() += 1;
        }
        self.members.insert(member.id.clone(), Rc::new(member));
    }

    fn remove_member(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            for partition in partitions.keys() {
                if self.owners.get(&(*topic, *partition)).is_some_and(|owner| **owner == *id) {
                    self.owners.remove(&(*topic, *partition));
                }
            }
        }
        if let Some(instance_id) = &member.instance_id
            && self.instances.get(instance_id).is_some_and(|current| **current == *id)
        {
            self.instances.remove(instance_id);
        }
        if let Some(regex) = member.regex()
            && let Some(readers) = self.readers.get_mut(regex)
        {
            *readers -= 1;
            if *readers == 0 {
                self.readers.remove(regex);
            }
        }
    }

    fn update_member(&mut self, id: &str, change: impl FnOnce(&mut ConsumerMember)) {
        let mut member =
            self.members.get(id).map_or_else(|| ConsumerMember::new(id.into()), |member| ConsumerMember::clone(member));
        change(&mut member);
        self.insert_member(member);
    }

    /// Replays a record with a value. Returns false if the key does not belong to a consumer group.
    pub(super) fn replay_value(&mut self, key: &Key<'_>, value: &[u8]) -> Result<bool, Unreadable> {
        match *key {
            Key::ConsumerGroup { .. } => {
                let value = ConsumerGroupMetadataValue::parse(value)?;
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            Key::SubscriptionMetadata { .. } => {}
            Key::Member { member, .. } => {
                let value = ConsumerGroupMemberMetadataValue::parse(value)?;
                self.update_member(member, |member| member.set_metadata(value));
            }
            Key::Target { .. } => {
                let value = ConsumerGroupTargetAssignmentMetadataValue::parse(value)?;
                (self.target_epoch, self.target_timestamp_ms) = (value.assignment_epoch, value.assignment_timestamp);
            }
            Key::MemberTarget { member, .. } => {
                let value = ConsumerGroupTargetAssignmentMemberValue::parse(value)?;
                let topics = value.topic_partitions.into_iter();
                let target = topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect();
                self.targets.insert(member.into(), Rc::new(target));
            }
            Key::MemberCurrent { member, .. } => {
                let value = ConsumerGroupCurrentMemberAssignmentValue::parse(value)?;
                self.update_member(member, |member| member.set_current(value));
            }
            Key::Regex { regex, .. } => {
                let value = ConsumerGroupRegularExpressionValue::parse(value)?;
                let topics = value.topics.into_iter().collect();
                let resolved = ResolvedRegex { topics, version: value.version, timestamp_ms: value.timestamp };
                self.regexes.insert(regex.into(), resolved);
            }
            Key::Offset { .. } | Key::Group { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// Replays a tombstone. Returns false if it deletes the group.
    pub(super) fn replay_tombstone(&mut self, key: &Key<'_>) -> bool {
        match *key {
            Key::ConsumerGroup { .. } => return false,
            Key::Member { member, .. } => {
                self.remove_member(member);
                self.due.remove(member);
            }
            Key::Target { .. } => (self.target_epoch, self.target_timestamp_ms) = (-1, 0),
            Key::MemberTarget { member, .. } => drop(self.targets.remove(member)),
            Key::MemberCurrent { member, .. } => {
                if let Some(existing) = self.members.get(member) {
                    let mut member = ConsumerMember::clone(existing);
                    (member.epoch, member.previous_epoch) = (-1, -1);
                    member.assigned.clear();
                    member.revoking.clear();
                    self.insert_member(member);
                }
            }
            Key::Regex { regex, .. } => drop(self.regexes.remove(regex)),
            Key::SubscriptionMetadata { .. } | Key::Offset { .. } | Key::Group { .. } => {}
        }
        true
    }
}

/// One consumer group and the outputs of one step.
pub(super) struct ConsumerStep<'a> {
    pub id: Rc<str>,
    pub group: &'a ConsumerGroup,
    pub image: &'a Image,
    pub config: &'a BrokerConfig,
    pub now: Now,
    pub writes: &'a mut Writes<Groups>,
    /// Changes of alarms, applied when the records are appended.
    pub alarms: Vec<(Alarm, AlarmChange)>,
}

/// A change of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AlarmChange {
    /// Sets the alarm to fire in this many milliseconds, replacing an earlier time.
    Set(i32),
    /// Sets the alarm to fire in this many milliseconds, unless it is set.
    SetIfNone(i32),
    Cancel,
}

impl ConsumerStep<'_> {
    fn put(&mut self, key: Key<'_>, value: &[u8]) {
        self.writes.put(&key.to_bytes(), Some(value));
    }

    fn put_tombstone(&mut self, key: Key<'_>) {
        self.writes.put(&key.to_bytes(), None);
    }

    fn put_current(&mut self, member: &ConsumerMember) {
        let id = self.id.clone();
        self.put(Key::MemberCurrent { group: &id, member: &member.id }, &member.current().to_bytes());
    }

    fn put_metadata(&mut self, member: &ConsumerMember) {
        let id = self.id.clone();
        self.put(Key::Member { group: &id, member: &member.id }, &member.metadata().to_bytes());
    }

    fn put_target(&mut self, member: &str, target: &Partitions) {
        use crate::coordinator::group::schema::TargetPartitions;
        let id = self.id.clone();
        let topics = target.iter().map(|(topic_id, partitions)| TargetPartitions {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
        });
        let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() };
        self.put(Key::MemberTarget { group: &id, member }, &value.to_bytes());
    }

    /// Writes the tombstones of a member, in the order in which Kafka replays them.
    fn put_member_tombstones(&mut self, member: &str) {
        let id = self.id.clone();
        let group = &*id;
        self.put_tombstone(Key::MemberCurrent { group, member });
        self.put_tombstone(Key::MemberTarget { group, member });
        self.put_tombstone(Key::Member { group, member });
    }

    /// Raises the group's epoch, because its topics or its members have changed.
    fn put_epoch(&mut self, epoch: i32, metadata_hash: i64) {
        let id = self.id.clone();
        tracing::info!("group {id}: epoch {epoch}");
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        self.put(Key::ConsumerGroup { group: &id }, &value.to_bytes());
    }

    /// Writes the tombstones of the group and all its parts.
    pub(super) fn put_group_tombstones(&mut self) {
        let (id, group) = (self.id.clone(), self.group);
        for member in group.members.keys() {
            self.put_tombstone(Key::MemberCurrent { group: &id, member });
        }
        for member in group.targets.keys() {
            self.put_tombstone(Key::MemberTarget { group: &id, member });
        }
        self.put_tombstone(Key::Target { group: &id });
        for member in group.members.keys() {
            self.put_tombstone(Key::Member { group: &id, member });
        }
        for regex in group.regexes.keys() {
            self.put_tombstone(Key::Regex { group: &id, regex });
        }
        self.put_tombstone(Key::ConsumerGroup { group: &id });
    }

    /// Applies the alarm changes when the records are appended.
    fn change_alarms_after_append(&mut self) {
        let (id, alarms) = (self.id.clone(), std::mem::take(&mut self.alarms));
        if !alarms.is_empty() {
            self.writes.after_append(move |groups, now, appended| {
                if appended.is_ok() {
                    groups.change_alarms(&id, &alarms, now);
                }
            });
        }
    }

    /// A hash of these topics. It changes when one is created, deleted, recreated or gets more partitions.
    fn metadata_hash_of(&self, topics: &BTreeSet<&str>) -> i64 {
        if !topics.iter().any(|name| self.image.topic(name).is_some()) {
            return 0;
        }
        let mut hasher = siphasher::sip::SipHasher13::new();
        for topic in topics.iter().filter_map(|name| self.image.topic(name)) {
            hasher.write(&topic.id.0);
            hasher.write(topic.name.as_str().as_bytes());
            hasher.write(&(topic.partitions.len() as u64).to_be_bytes());
        }
        hasher.finish() as i64
    }
}

/// Whether this is the protocol type that classic members must have.
fn is_consumer(protocol_type: &str) -> bool {
    protocol_type == CONSUMER
}
