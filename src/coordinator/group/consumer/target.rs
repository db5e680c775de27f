//! The target assignment of a group's epoch, made by the assignor that most members prefer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::super::assign::{Assignor, Partitions, Subscriber};
use super::ConsumerStep;
use super::member::ConsumerMember;
use crate::config::GroupConfig;
use crate::coordinator::group::record::Key;
use crate::coordinator::group::schema::ConsumerGroupTargetAssignmentMetadataValue;
use crate::model::TopicId;

/// Members and partitions of a target per millisecond of delay until the next target. Assigning and writing one takes
/// about a microsecond, so a group uses at most a hundredth of its core.
const ASSIGNED_PER_MS: usize = 10;

/// Topic names and a pattern.
type Subscription<'a> = (&'a BTreeSet<String>, Option<&'a str>);

/// The target's epoch, and one member's assignment in it.
pub(super) struct Target {
    pub epoch: i32,
    pub partitions: Rc<Partitions>,
}

impl ConsumerStep<'_> {
    /// Makes and writes a new target if the group has a newer epoch and the last target is old enough.
    pub(super) fn update_target(&mut self, new: &ConsumerMember, group_epoch: i32) -> Target {
        let group = self.group;
        if group.target_epoch >= group_epoch || self.is_target_fresh() {
            return Target { epoch: group.target_epoch, partitions: self.current_target(new) };
        }
        let members: Vec<&ConsumerMember> = group.members_with(new).collect();
        let assignor = self.assignor(members.iter().copied());
        let targets = self.assign(assignor, &members);
        assert_eq!(targets.len(), members.len(), "CONS-3: the target covers every member");
        let mut own = Rc::default();
        for (member, target) in members.into_iter().zip(targets) {
            // A member without a target gets a record even if its target is empty.
            if group.targets.get(&member.id).is_none_or(|before| **before != target) {
                self.put_target(&member.id, &target);
            }
            if member.id == new.id {
                own = Rc::new(target);
            }
        }
        let id = self.id.clone();
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: group_epoch,
            assignment_timestamp: self.now.wall_ms,
        };
        self.put(Key::Target { group: &id }, &value.to_bytes());
        Target { epoch: group_epoch, partitions: own }
    }

    /// Whether the last target is too recent to make the next. This limits the CPU time of a group that changes often.
    /// A small group is cheap, so its delay is below the configured interval.
    pub(super) fn is_target_fresh(&self) -> bool {
        let group = self.group;
        let partitions: usize = group.targets.values().flat_map(|target| target.values()).map(BTreeSet::len).sum();
        let due_ms = (group.targets.len() + partitions).div_ceil(ASSIGNED_PER_MS) as i64;
        let settings = GroupConfig::resolve(self.image.group_overrides(&self.id), self.config);
        let interval_ms = due_ms.min(i64::from(settings.assignment_interval_ms));
        // After the clock was set back, the next target must not wait until it catches up.
        let age_ms = self.now.wall_ms.saturating_sub(group.target_timestamp_ms);
        group.target_timestamp_ms != 0 && (0..interval_ms).contains(&age_ms)
    }

    /// The member's part of the last target. A static member inherits its instance's part.
    pub(super) fn current_target(&self, member: &ConsumerMember) -> Rc<Partitions> {
        let before = member.instance_id.as_deref().and_then(|instance_id| self.group.instances.get(instance_id));
        match before {
            Some(before) => self.group.target(before),
            None => self.group.target(&member.id),
        }
    }

    /// The new target of each member, in their order.
    fn assign(&self, assignor: Assignor, members: &[&ConsumerMember]) -> Vec<Partitions> {
        // Members with equal subscriptions share the topic ids.
        let mut known: HashMap<Subscription<'_>, Rc<BTreeSet<TopicId>>> = HashMap::new();
        let mut sizes: BTreeMap<TopicId, usize> = BTreeMap::new();
        let mut subscribers = Vec::with_capacity(members.len());
        for member in members {
            let topics = known.entry((&member.topics, member.regex())).or_insert_with(|| {
                let topics = self.group.reads(member).filter_map(|name| self.image.topic(name));
                let topics = topics.inspect(|topic| {
                    sizes.insert(topic.id, topic.partitions.len());
                });
                Rc::new(topics.map(|topic| topic.id).collect())
            });
            subscribers.push(Subscriber {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                topics: topics.clone(),
                current: Partitions::clone(&self.current_target(member)),
            });
        }
        assignor.assign(&subscribers, &|topic| sizes.get(topic).copied().unwrap_or(0))
    }

    /// The assignor with the most votes. Without votes, the first configured one.
    pub(super) fn assignor<'m>(&self, members: impl Iterator<Item = &'m ConsumerMember>) -> Assignor {
        let mut votes = [0usize; Assignor::ALL.len()];
        for name in members.filter_map(|member| member.assignor.as_deref()) {
            if let Some(at) = Assignor::ALL.iter().position(|assignor| assignor.name() == name) {
                votes[at] += 1;
            }
        }
        let configured = self.config.group_consumer_assignors.iter().filter_map(|name| Assignor::from_name(name));
        let mut best: Option<(Assignor, usize)> = None;
        for assignor in configured {
            let count = Assignor::ALL.iter().position(|one| *one == assignor).map_or(0, |at| votes[at]);
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((assignor, count));
            }
        }
        best.expect("CONF-1: at least one assignor is configured").0
    }
}
