//! Groups: who is in them, who has been given what, and how far they have read. A machine over a partition of
//! `__consumer_offsets`.
//!
//! Two kinds: classic groups, whose members assign themselves with a leader among them (`classic` and the files beside it), and
//! consumer groups, whose members are assigned to by the coordinator ([`consumer`], KIP-848).
//!
//! What is written of a classic group: a generation when its leader has assigned it, that a group has become empty, a static member's new id, and
//! every committed offset. What is not: who waits, for what and until when. After a restart a group is as it was when it was
//! last stable, and its members are given their session's time to say that they are still there, as in Kafka.
//!
//! Invariants:
//! - GROUP-1: a generation is stable only when it is in the log.
//! - GROUP-2: what members tell each other, and the metadata of a commit, is kept and handed on as it came.
//! - GROUP-3: offsets of an open transaction are seen by nobody, and keep others from being taken for the last word
//!   (`require_stable`).

pub mod assign;
mod classic;
mod commit;
mod commit_in_transaction;
pub mod consumer;
mod describe;
mod expire;
mod join;
mod member;
pub mod offsets;
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
use crate::metadata::Image;
use crate::model::{ProducerId, TopicId};
use crate::runtime::Mono;
use crate::wire::group::join_group::JoinGroupRequestProtocol;
use classic::{ClassicGroup, ClassicGroupState, ClassicMember};
use consumer::{ConsumerGroup, ConsumerStep};
use offsets::{CommittedOffset, Offsets};
use rebalance::ClassicStep;
use record::{Key, OffsetValue};

/// What a consumer group's alarm could not have written is tried again after so long.
const ALARM_RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a deadline of a group is for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Alarm {
    /// The join phase ends.
    Join,
    /// All members should have asked for their assignment.
    Sync,
    /// A member should have been heard of.
    Session(Rc<str>),
    /// A member of a consumer group should have given up what it was told to.
    Rebalance(Rc<str>),
    /// A member of the classic protocol in such a group should have joined again.
    Rejoin(Rc<str>),
    /// ... and should have asked for its assignment.
    Resync(Rc<str>),
    /// What a consumer group's patterns mean is to be looked up.
    Regex,
}

enum GroupKind {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl GroupKind {
    /// Whether the group reads the topic, or may for all that is known.
    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            GroupKind::Classic(classic) => classic.is_subscribed_to(topic),
            GroupKind::Consumer(consumer) => consumer.is_subscribed_to(topic),
        }
    }

    /// Whether nobody is in it.
    fn is_empty(&self) -> bool {
        match self {
            GroupKind::Classic(classic) => classic.is_empty(),
            GroupKind::Consumer(consumer) => consumer.members.is_empty(),
        }
    }
}

pub struct Group {
    id: Rc<str>,
    kind: GroupKind,
    offsets: Offsets,
}

/// The groups of one partition.
pub struct Groups {
    config: Arc<BrokerConfig>,
    random: Box<dyn FnMut() -> u64>,
    groups: HashMap<Rc<str>, Group>,
    timers: Timers<(Rc<str>, Alarm)>,
    /// Which groups have offsets in a producer's open transaction.
    transactions: HashMap<ProducerId, Vec<Rc<str>>>,
    is_loaded: bool,
    /// The cluster's metadata: which topics there are.
    image: Arc<Image>,
    /// The index of the metadata in which a topic was last new.
    newest_topic_at: i64,
    next_expiry: Mono,
    /// Groups that are still to be looked at for offsets to expire.
    expiring: Vec<Rc<str>>,
    /// Groups, and topics of theirs that are no more.
    deleted: Vec<(Rc<str>, Rc<str>)>,
}

impl Groups {
    /// `random` gives fresh random numbers, for the ids of members.
    pub fn new(config: Arc<BrokerConfig>, random: impl FnMut() -> u64 + 'static) -> Groups {
        Groups {
            config,
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

    /// For a step of a classic group; None: there is no such group, or it is of the other kind.
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

    /// For a step of a consumer group; None: there is no such group, or it is of the other kind.
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

    /// Ends a consumer group that nobody is in, for a classic one to be in its place.
    fn remove_empty_consumer_group(&mut self, id: &str, now: Now, writes: &mut Writes<Groups>) {
        if let Some(mut step) = self.consumer_step(id, now, writes) {
            step.put_group_tombstones();
        }
        self.reset_kind(id, now.wall_ms);
    }

    /// A number that nobody else has, as Kafka prints it.
    fn fresh_uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.random)().to_be_bytes());
        bytes[8..].copy_from_slice(&(self.random)().to_be_bytes());
        TopicId(bytes).to_string()
    }

    fn get_or_create(&mut self, id: &str, now: Now) -> &mut Group {
        get_or_create(&mut self.groups, id, now.wall_ms)
    }

    fn replay_offset(
        &mut self,
        entry: &ReplayedRecord<'_>,
        group_id: &str,
        topic: &str,
        partition: i32,
    ) -> Result<(), Unreadable> {
        let Some(value) = entry.value else {
            if let Some(group) = self.groups.get_mut(group_id) {
                group.offsets.remove(topic, partition);
            }
            return Ok(());
        };
        let value = OffsetValue::parse(value)?;
        // A group whose members assign themselves exists by what it commits.
        let group = get_or_create(&mut self.groups, group_id, value.commit_timestamp_ms);
        let committed = CommittedOffset::new(&value, entry.offset);
        match entry.transaction {
            None => group.offsets.committed.insert(topic, partition, committed),
            Some((producer, _)) => {
                group.offsets.pending.entry(producer).or_default().insert(topic, partition, committed);
                let groups = self.transactions.entry(producer).or_default();
                if !groups.contains(&group.id) {
                    groups.push(group.id.clone());
                }
            }
        }
        Ok(())
    }

    fn replay_classic(&mut self, entry: &ReplayedRecord<'_>, id: &str) -> Result<(), Unreadable> {
        let Some(value) = entry.value else {
            // A consumer group was a classic one once, and has written so before anything of its own.
            if let Some(group) = self.groups.get_mut(id)
                && matches!(group.kind, GroupKind::Classic(_))
            {
                for alarm in [Alarm::Join, Alarm::Sync] {
                    self.timers.cancel(&(group.id.clone(), alarm));
                }
                self.reset_kind(id, entry.timestamp_ms);
            }
            return Ok(());
        };
        // Later on a group is ahead of what it has written, and was written down as it is.
        if self.is_loaded {
            return Ok(());
        }
        let value = GroupMetadataValue::parse(value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
        get_or_create(&mut self.groups, id, entry.timestamp_ms).kind = GroupKind::Classic(classic_group_from(value));
        Ok(())
    }

    fn replay_consumer(&mut self, entry: &ReplayedRecord<'_>, id: &str, key: &Key<'_>) -> Result<(), Unreadable> {
        let Some(value) = entry.value else {
            if let Some(group) = self.consumer_mut(id)
                && !group.replay_tombstone(key)
            {
                self.reset_kind(id, entry.timestamp_ms);
            }
            return Ok(());
        };
        let group = get_or_create(&mut self.groups, id, entry.timestamp_ms);
        if let GroupKind::Classic(classic) = &group.kind {
            if !classic.members.is_empty() {
                return Err(Unreadable::Malformed(format!(
                    "a record of the consumer group {id}, which is a classic one"
                )));
            }
            group.kind = GroupKind::Consumer(ConsumerGroup::default());
        }
        let GroupKind::Consumer(group) = &mut group.kind else { unreachable!("just made one") };
        let is_taken = group.replay_value(key, value)?;
        debug_assert!(is_taken, "keys of other kinds are matched before");
        Ok(())
    }

    /// A group is of no kind any more: it is there only by what it has committed, if anything.
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
    groups.get_mut(id).expect("it is there now")
}

/// The group that a record tells of.
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
    classic.protocol_type = Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
    classic.protocol = value.protocol;
    classic.leader = value.leader.map(Rc::from);
    classic.subscribed = classic.subscribed_topics();
    classic
}

impl StateMachine for Groups {
    const TOPIC: InternalTopic = InternalTopic::ConsumerOffsets;

    fn replay(&mut self, entry: &ReplayedRecord<'_>) -> Result<(), Unreadable> {
        let key = Key::parse(entry.key)?;
        match key {
            Key::Offset { group, topic, partition } => self.replay_offset(entry, group, topic, partition),
            Key::Group { group } => self.replay_classic(entry, group),
            Key::ConsumerGroup { group }
            | Key::SubscriptionMetadata { group }
            | Key::Member { group, .. }
            | Key::Target { group }
            | Key::MemberTarget { group, .. }
            | Key::MemberCurrent { group, .. }
            | Key::Regex { group, .. } => self.replay_consumer(entry, group, &key),
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
                step.begin_rebalance("the group is over group.max.size");
            } else if step.classic.leader.is_none() {
                step.begin_rebalance("it has no leader");
            }
        }
    }

    fn on_image_changed(&mut self, before: &Arc<Image>, after: &Arc<Image>, _: Now, _: &mut Writes<Groups>) {
        self.image = after.clone();
        self.queue_deleted_topics(before, after);
        if after.topics().any(|topic| before.topic_by_id(topic.id).is_none()) {
            self.newest_topic_at = after.index as i64;
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
        // Groups may write themselves down, and together not more than fits a batch.
        while writes.is_empty()
            && let Some((group, alarm)) = self.timers.take_due(now.mono)
        {
            let Some(mut step) = self.classic_step(&group, now, writes) else {
                match alarm {
                    Alarm::Regex => self.on_regex_alarm(&group, now, writes),
                    ref alarm => self.on_consumer_alarm(&group, alarm, now, writes),
                }
                // A consumer group is what its records say: what could not be written is due again.
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
                // Of the time when it was a consumer group.
                Alarm::Rebalance(_) | Alarm::Rejoin(_) | Alarm::Resync(_) | Alarm::Regex => {}
            }
        }
        if writes.is_empty() {
            self.continue_expiry(now, writes);
        }
    }
}
