//! Groups: their members, assignments and committed offsets. A state machine over a partition of `__consumer_offsets`.
//!
//! Owns the groups of the partition, of two kinds. The members of a classic group elect a leader, which assigns
//! partitions (`classic` and the files beside it). The coordinator assigns to the members of a consumer group
//! ([`consumer`], KIP-848). Input: group requests, deadlines and new metadata images. Output: responses and records.
//!
//! A classic group writes a record when its leader has assigned a generation, when the group becomes empty, and when a
//! static member gets a new id. Each committed offset is a record. Waiting requests and deadlines are not written.
//! After a restart a classic group has its last stable state, and each member has one session timeout to send a
//! heartbeat, as in Kafka.
//!
//! Subscriptions, assignments and commit metadata are opaque bytes: the coordinator stores and returns them unchanged.
//!
//! Invariants:
//! - GROUP-1: a generation becomes stable only after its record is in the log.
//! - GROUP-3: an offset of an open transaction is not fetched, and makes its partition unstable (`require_stable`).
//!
//! Does not know connections or API versions. Runs on the thread of the shard that owns the partition.

mod assign;
mod classic;
mod commit;
mod commit_in_transaction;
pub mod consumer;
mod describe;
mod expire;
pub mod figures;
mod join;
mod member;
mod offsets;
mod rebalance;
pub mod record;
pub mod schema;
mod sync;
#[cfg(test)]
mod tests;

pub use commit::Committer;
pub use join::Joiner;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::topic::InternalTopic;
use super::{Now, ReplayedRecord, StateMachine, Timers, Unreadable, Writes};
use crate::config::BrokerConfig;
use crate::coordinator::group::schema::GroupMetadataValue;
use crate::metadata::{Image, ImageUpdate};
use crate::model::{ProducerId, TopicId};
use crate::runtime::Mono;
use crate::shard::LiveConfig;
use crate::wire::group::join_group::JoinGroupRequestProtocol;
use classic::{ClassicGroup, ClassicGroupState, ClassicMember};
use consumer::{ConsumerGroup, ConsumerStep};
use offsets::{CommittedOffset, Offsets};
use rebalance::ClassicStep;
use record::{Key, OffsetValue};

/// The delay before the retry of a consumer group's alarm, if the log rejected its records.
const ALARM_RETRY_DELAY: Duration = Duration::from_millis(500);

/// The purpose of a group's deadline.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Alarm {
    /// The end of the join phase.
    Join,
    /// The time by which all members must request their assignment.
    Sync,
    /// The end of a member's session.
    Session(Rc<str>),
    /// The time by which a member of a consumer group must revoke its partitions.
    Rebalance(Rc<str>),
    /// The time by which a classic member of a consumer group must rejoin.
    Rejoin(Rc<str>),
    /// The time by which a classic member of a consumer group must request its assignment.
    Resync(Rc<str>),
    /// The time to resolve a consumer group's patterns to topics.
    Regex,
}

enum GroupKind {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl GroupKind {
    /// Whether the group reads the topic. True if its subscriptions are unknown.
    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            GroupKind::Classic(classic) => classic.is_subscribed_to(topic),
            GroupKind::Consumer(consumer) => consumer.is_subscribed_to(topic),
        }
    }

    /// Whether the group has no members.
    fn is_empty(&self) -> bool {
        match self {
            GroupKind::Classic(classic) => classic.is_empty(),
            GroupKind::Consumer(consumer) => consumer.members.is_empty(),
        }
    }
}

/// A group and its offsets.
pub struct Group {
    id: Rc<str>,
    kind: GroupKind,
    offsets: Offsets,
}

/// The groups of one partition.
pub struct Groups {
    live_config: LiveConfig,
    /// The settings as of the image.
    config: Rc<BrokerConfig>,
    random: Box<dyn FnMut() -> u64>,
    groups: HashMap<Rc<str>, Group>,
    timers: Timers<(Rc<str>, Alarm)>,
    /// The groups that have offsets in a producer's open transaction.
    transactions: HashMap<ProducerId, Vec<Rc<str>>>,
    is_loaded: bool,
    /// The cluster's metadata.
    image: Arc<Image>,
    /// The index of the newest metadata that added a topic.
    newest_topic_at: i64,
    next_expiry: Mono,
    /// Groups whose offsets are still to be checked for expiry.
    expiring: Vec<Rc<str>>,
    /// Groups with offsets of a deleted topic, and that topic.
    deleted: Vec<(Rc<str>, Rc<str>)>,
}

impl Groups {
    /// `random` returns random numbers for member ids.
    pub fn new(live_config: LiveConfig, random: impl FnMut() -> u64 + 'static) -> Groups {
        Groups {
            config: live_config.read(),
            live_config,
            random: Box::new(random),
            groups: HashMap::new(),
            timers: Timers::default(),
            transactions: HashMap::new(),
            is_loaded: false,
            image: Arc::default(),
            newest_topic_at: 0,
            next_expiry: Mono::default(),
            expiring: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Starts a step of a classic group. `None` if there is no such group or it is a consumer group.
    fn classic_step<'a>(
        &'a mut self,
        group: &str,
        now: Now,
        writes: &'a mut Writes<Groups>,
    ) -> Option<ClassicStep<'a>> {
        match self.groups.get_mut(group)? {
            Group { id, kind: GroupKind::Classic(classic), .. } => {
                Some(ClassicStep { id, classic, timers: &mut self.timers, config: &self.config, now, writes })
            }
            Group { kind: GroupKind::Consumer(_), .. } => None,
        }
    }

    /// Starts a step of a consumer group. `None` if there is no such group or it is a classic group.
    fn consumer_step<'a>(&'a self, group: &str, now: Now, writes: &'a mut Writes<Groups>) -> Option<ConsumerStep<'a>> {
        match self.groups.get(group)? {
            Group { id, kind: GroupKind::Consumer(group), .. } => Some(ConsumerStep {
                id: id.clone(),
                group,
                image: &self.image,
                config: &self.config,
                now,
                writes,
                alarms: Vec::new(),
            }),
            Group { kind: GroupKind::Classic(_), .. } => None,
        }
    }

    fn consumer_mut(&mut self, group: &str) -> Option<&mut ConsumerGroup> {
        match &mut self.groups.get_mut(group)?.kind {
            GroupKind::Consumer(consumer) => Some(consumer),
            GroupKind::Classic(_) => None,
        }
    }

    fn is_consumer_group(&self, group: &str) -> bool {
        matches!(self.groups.get(group), Some(Group { kind: GroupKind::Consumer(_), .. }))
    }

    /// Removes an empty consumer group, so that a classic group can take its id.
    fn remove_empty_consumer_group(&mut self, id: &str, now: Now, writes: &mut Writes<Groups>) {
        if let Some(mut step) = self.consumer_step(id, now, writes) {
            step.put_group_tombstones();
        }
        self.reset_kind(id, now.wall_ms);
    }

    /// A random unique id in Kafka's notation.
    fn fresh_uuid(&mut self) -> String {
        TopicId(self.random_bytes()).to_string()
    }

    fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.random)().to_be_bytes());
        bytes[8..].copy_from_slice(&(self.random)().to_be_bytes());
        bytes
    }

    fn get_or_create(&mut self, id: &str, now: Now) -> &mut Group {
        get_or_create(&mut self.groups, id, now.wall_ms)
    }

    fn replay_offset(
        &mut self,
        record: &ReplayedRecord<'_>,
        group_id: &str,
        topic: &str,
        partition: i32,
    ) -> Result<(), Unreadable> {
        let Some(value) = record.value else {
            if let Some(group) = self.groups.get_mut(group_id) {
                group.offsets.remove(topic, partition);
            }
            return Ok(());
        };
        let value = OffsetValue::parse(value)?;
        // A group with manual assignment exists only through its commits.
        let group = get_or_create(&mut self.groups, group_id, value.commit_timestamp_ms);
        let committed = CommittedOffset::new(&value, record.offset);
        match record.transaction {
            None => group.offsets.committed.insert(topic, partition, committed),
            Some((producer, _)) => {
                group.offsets.pending.entry(producer).or_default().insert(topic, partition, committed);
                debug_assert!(
                    group.offsets.is_unstable(topic, partition),
                    "GROUP-3: an open transaction has an offset"
                );
                let groups = self.transactions.entry(producer).or_default();
                if !groups.contains(&group.id) {
                    groups.push(group.id.clone());
                }
            }
        }
        Ok(())
    }

    fn replay_classic(&mut self, record: &ReplayedRecord<'_>, id: &str) -> Result<(), Unreadable> {
        let Some(value) = record.value else {
            // The tombstone is older than the consumer group's own records: the group was upgraded from classic.
            if let Some(group) = self.groups.get_mut(id)
                && matches!(group.kind, GroupKind::Classic(_))
            {
                for alarm in [Alarm::Join, Alarm::Sync] {
                    self.timers.cancel(&(group.id.clone(), alarm));
                }
                self.reset_kind(id, record.timestamp_ms);
            }
            return Ok(());
        };
        // After the load, memory is at least as new as the group's own record.
        if self.is_loaded {
            return Ok(());
        }
        let value = GroupMetadataValue::parse(value)?;
        get_or_create(&mut self.groups, id, record.timestamp_ms).kind = GroupKind::Classic(classic_group_from(value));
        Ok(())
    }

    fn replay_consumer(&mut self, record: &ReplayedRecord<'_>, id: &str, key: &Key<'_>) -> Result<(), Unreadable> {
        let Some(value) = record.value else {
            if let Some(group) = self.consumer_mut(id)
                && !group.replay_tombstone(key)
            {
                self.reset_kind(id, record.timestamp_ms);
            }
            return Ok(());
        };
        let group = get_or_create(&mut self.groups, id, record.timestamp_ms);
        if let GroupKind::Classic(classic) = &group.kind {
            if !classic.members.is_empty() {
                return Err(Unreadable::NotAConsumerGroup(id.to_owned()));
            }
            group.kind = GroupKind::Consumer(ConsumerGroup::default());
        }
        let GroupKind::Consumer(group) = &mut group.kind else { unreachable!("set above") };
        let is_taken = group.replay_value(key, value)?;
        debug_assert!(is_taken, "keys of other kinds are matched before");
        Ok(())
    }

    /// Resets the group to an empty classic group. Removes it if it has no offsets.
    fn reset_kind(&mut self, id: &str, now_ms: i64) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.kind = GroupKind::Classic(ClassicGroup::new(now_ms));
        if group.offsets.is_empty() {
            self.groups.remove(id);
        }
    }
}

fn get_or_create<'a>(groups: &'a mut HashMap<Rc<str>, Group>, id: &str, now_ms: i64) -> &'a mut Group {
    if !groups.contains_key(id) {
        let id: Rc<str> = id.into();
        let kind = GroupKind::Classic(ClassicGroup::new(now_ms));
        let group = Group { id: id.clone(), kind, offsets: Offsets::default() };
        groups.insert(id, group);
    }
    groups.get_mut(id).expect("inserted above")
}

/// The classic group that a record describes.
fn classic_group_from(value: GroupMetadataValue) -> ClassicGroup {
    let mut classic = ClassicGroup::new(value.current_state_timestamp);
    for member in value.members {
        let rebalance_timeout_ms = match member.rebalance_timeout {
            -1 => member.session_timeout,
            given => given,
        };
        let name = value.protocol.clone().unwrap_or_default();
        let member = ClassicMember {
            id: member.member_id.into(),
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout,
            protocols: vec![JoinGroupRequestProtocol { name, metadata: member.subscription }],
            assignment: member.assignment,
            joining: None,
            syncing: None,
            is_new: false,
            due: Mono::default(),
        };
        classic.add(member, &value.protocol_type);
    }
    classic.state = if classic.members.is_empty() { ClassicGroupState::Empty } else { ClassicGroupState::Stable };
    classic.previous = classic.state;
    classic.generation = value.generation;
    classic.logged_generation = value.generation;
    classic.protocol_type = Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
    classic.protocol = value.protocol;
    classic.leader = value.leader.map(Rc::from);
    classic.subscribed = classic.subscribed_topics();
    classic
}

impl StateMachine for Groups {
    const TOPIC: InternalTopic = InternalTopic::ConsumerOffsets;

    fn replay(&mut self, record: &ReplayedRecord<'_>) -> Result<(), Unreadable> {
        let key = Key::parse(record.key)?;
        match key {
            Key::Offset { group, topic, partition } => self.replay_offset(record, group, topic, partition),
            Key::Group { group } => self.replay_classic(record, group),
            Key::ConsumerGroup { group }
            | Key::SubscriptionMetadata { group }
            | Key::Member { group, .. }
            | Key::Target { group }
            | Key::MemberTarget { group, .. }
            | Key::MemberCurrent { group, .. }
            | Key::Regex { group, .. } => self.replay_consumer(record, group, &key),
        }
    }

    fn end_transaction(&mut self, producer: ProducerId, is_committed: bool) {
        for group in self.transactions.remove(&producer).unwrap_or_default() {
            if let Some(group) = self.groups.get_mut(&group) {
                group.offsets.end_transaction(producer, is_committed);
            }
        }
    }

    fn on_loaded(&mut self, image: &Arc<Image>, now: Now, writes: &mut Writes<Groups>) {
        self.is_loaded = true;
        self.image = image.clone();
        self.config = self.live_config.read();
        self.newest_topic_at = image.index as i64;
        self.schedule_expiry(now);
        let with_members = self.groups.values().filter(|group| !group.kind.is_empty());
        let ids: Vec<Rc<str>> = with_members.map(|group| group.id.clone()).collect();
        for id in ids {
            let size_max = self.config.group_max_size as usize;
            let Some(mut step) = self.classic_step(&id, now, writes) else {
                self.arm_consumer_group(&id, now);
                continue;
            };
            let members: Vec<Rc<str>> = step.classic.members.keys().cloned().collect();
            members.iter().for_each(|member| step.renew_session(member));
            if members.len() > size_max {
                step.begin_rebalance("the group exceeds group.max.size");
            } else if step.classic.leader.is_none() {
                step.begin_rebalance("the group has no leader");
            }
        }
    }

    fn on_image_changed(&mut self, update: &ImageUpdate, _: Now, _: &mut Writes<Groups>) {
        self.image = update.image.clone();
        self.config = self.live_config.read();
        self.queue_deleted_topics(update);
        if update.has_new_topics() {
            self.newest_topic_at = update.image.index as i64;
        }
        if !update.changes_assignments() {
            return;
        }
        for group in self.groups.values_mut() {
            if let GroupKind::Consumer(consumer) = &mut group.kind {
                consumer.metadata_changed();
            }
        }
    }

    fn deadline(&self) -> Option<Mono> {
        if self.has_expiry_work() {
            return Some(Mono::default());
        }
        Some(self.timers.next().map_or(self.next_expiry, |next| next.min(self.next_expiry)))
    }

    fn on_deadline(&mut self, now: Now, writes: &mut Writes<Groups>) {
        // Stop after the first group that writes: the records of several groups could exceed one batch.
        while writes.is_empty()
            && let Some((group, alarm)) = self.timers.take_due(now.mono)
        {
            let Some(mut step) = self.classic_step(&group, now, writes) else {
                match alarm {
                    Alarm::Regex => self.on_regex_alarm(&group, now, writes),
                    ref alarm => self.on_consumer_alarm(&group, alarm, now, writes),
                }
                // A consumer group's state is its records, so an alarm whose records were rejected is due again.
                writes.after_append(move |groups, now, appended| {
                    if appended.is_err() {
                        groups.timers.set((group, alarm), now.mono + ALARM_RETRY_DELAY);
                    }
                });
                continue;
            };
            match alarm {
                Alarm::Join => step.on_join_alarm(),
                Alarm::Sync => step.on_sync_alarm(),
                Alarm::Session(member) => step.on_session_alarm(&member),
                // Set while the group was a consumer group.
                Alarm::Rebalance(_) | Alarm::Rejoin(_) | Alarm::Resync(_) | Alarm::Regex => {}
            }
        }
        if writes.is_empty() {
            self.continue_expiry(now, writes);
        }
    }
}
