//! ConsumerGroupHeartbeat: a member joins, reports its state, changes its subscription, or leaves.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::{Alarm, Group, GroupKind, Groups};
use super::member::{ConsumerMember, MemberState, Owned, STATIC_LEAVE_EPOCH};
use super::reconcile::{ReconcileGoal, next_member};
use super::regex::RegexChange;
use super::target::Target;
use super::{AlarmChange, ConsumerGroup, ConsumerStep, GroupRefusal};
use crate::config::GroupConfig;
use crate::coordinator::group::record::Key;
use crate::coordinator::{Now, Writes};
use crate::model::ErrorCode;
use crate::wire::group::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

/// The member epoch of a request to leave.
const LEAVE_EPOCH: i32 = -1;
/// The heartbeat interval of a member that waits for others to revoke partitions, or for the next target. It is shorter
/// than usual, because the whole rebalance may depend on this member.
const WAITING_INTERVAL_MS: i32 = 500;

/// The sender of a request, as its connection identifies it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// `client.id`.
    pub id: &'a str,
    /// The client's address.
    pub host: &'a str,
}

/// The effects of a member's new description.
pub(super) struct MemberUpdate {
    /// The group's epoch after the update.
    pub group_epoch: i32,
    pub has_new_subscription: bool,
}

impl Groups {
    /// Handles a heartbeat: the member joins, stays or leaves.
    pub fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        client: Client<'_>,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupRefusal> {
        let answer = match request.member_epoch {
            LEAVE_EPOCH | STATIC_LEAVE_EPOCH => self.leave_consumer_group(request, now, writes),
            _ => self.join_or_heartbeat(request, client, now, writes),
        };
        if answer.is_err() {
            writes.clear();
        }
        answer
    }

    /// The group that a first heartbeat creates or upgrades from classic. `None` if a consumer group exists.
    fn group_to_join(
        &mut self,
        id: &str,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<Option<ConsumerGroup>, GroupRefusal> {
        match self.groups.get(id).map(|group| &group.kind) {
            Some(GroupKind::Consumer(_)) => Ok(None),
            None => Ok(Some(ConsumerGroup::default())),
            Some(GroupKind::Classic(classic)) if classic.is_empty() => {
                writes.put(&Key::Group { group: id }.to_bytes(), None);
                Ok(Some(ConsumerGroup::default()))
            }
            Some(GroupKind::Classic(_)) => self.upgrade(id, now, writes).map(Some),
        }
    }

    fn join_or_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        client: Client<'_>,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupRefusal> {
        let joins = request.member_epoch == 0;
        let created = if joins { self.group_to_join(&request.group_id, now, writes)? } else { None };
        let member_id: Rc<str> = match request.member_id.as_str() {
            "" => self.fresh_uuid().into(),
            id => id.into(),
        };
        let (image, config) = (self.image.clone(), self.config.clone());
        let newest_topic_at = self.newest_topic_at;
        let existing = self.groups.get(request.group_id.as_str());
        let (id, group) = match (&created, existing) {
            (Some(created), Some(Group { id, .. })) => (id.clone(), created),
            (Some(created), None) => (request.group_id.as_str().into(), created),
            (None, Some(Group { id, kind: GroupKind::Consumer(group), .. })) => (id.clone(), group),
            (None, Some(_)) => return Err(not_a_consumer_group(&request.group_id)),
            (None, None) => {
                let message = format!("Consumer group {} not found.", request.group_id);
                return Err(GroupRefusal::new(ErrorCode::GroupIdNotFound, message));
            }
        };
        let mut step = ConsumerStep { id, group, image: &image, config: &config, now, writes, alarms: Vec::new() };
        step.check_size(&member_id)?;
        let reported = request.topic_partitions.as_deref();
        let old = step.member_to_update(&member_id, request, reported)?;
        let new = member_from_request(&old, request, client);
        let MemberUpdate { group_epoch, has_new_subscription } =
            step.update_description(&old, &new, newest_topic_at)?;
        let target = step.update_target(&new, group_epoch);
        let new = step.reconcile(&new, &target, has_new_subscription, reported)?;
        let settings = GroupConfig::resolve(image.group_overrides(&request.group_id), &config);
        step.alarms.push((Alarm::Session(new.id.clone()), AlarmChange::Set(settings.session_timeout_ms)));
        step.change_alarms_after_append();

        let mut response = ConsumerGroupHeartbeatResponse {
            member_id: Some((*new.id).into()),
            member_epoch: new.epoch,
            heartbeat_interval_ms: settings.heartbeat_interval_ms,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        if new.state == MemberState::UnreleasedPartitions || target.epoch < group_epoch {
            response.heartbeat_interval_ms = response.heartbeat_interval_ms.min(WAITING_INTERVAL_MS);
        }
        // A client that sends a full request does not know its assignment.
        let is_whole = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        if joins || is_whole || old.assigned != new.assigned {
            response.assignment = Some(assignment_of(&new.assigned));
        }
        Ok(response)
    }

    fn leave_consumer_group(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupRefusal> {
        let group_id = &request.group_id;
        match self.groups.get(group_id.as_str()).map(|group| &group.kind) {
            None => return Err(GroupRefusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} not found."))),
            Some(GroupKind::Classic(_)) => return Err(not_a_consumer_group(group_id)),
            Some(GroupKind::Consumer(_)) => {}
        }
        let mut step = self.consumer_step(group_id, now, writes).expect("matched above");
        let member = step.group.check_member(group_id, &request.member_id, request.instance_id.as_deref())?.clone();
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        if request.instance_id.is_some() && request.member_epoch == STATIC_LEAVE_EPOCH {
            tracing::info!("group {group_id}: static member {} leaves temporarily", member.id);
            step.put_current(&left_temporarily(&member));
            return Ok(response);
        }
        tracing::info!("group {group_id}: {} leaves", member.id);
        self.fence_members(group_id, std::slice::from_ref(&member.id), now, writes);
        Ok(response)
    }
}

pub(super) fn not_a_consumer_group(group_id: &str) -> GroupRefusal {
    GroupRefusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} is not a consumer group."))
}

/// A static member that has left temporarily: its instance keeps its partitions, without an epoch.
fn left_temporarily(member: &ConsumerMember) -> ConsumerMember {
    let mut away = ConsumerMember { epoch: STATIC_LEAVE_EPOCH, revoking: Owned::new(), ..member.clone() };
    away.assigned.values_mut().flat_map(|partitions| partitions.values_mut()).for_each(|epoch| *epoch = 0);
    away
}

/// The member with the description of this request. Absent fields keep their values.
fn member_from_request(
    old: &ConsumerMember,
    request: &ConsumerGroupHeartbeatRequest,
    client: Client<'_>,
) -> ConsumerMember {
    let mut new = old.clone();
    new.instance_id = request.instance_id.as_deref().map(Rc::from).or(new.instance_id);
    new.rack_id = request.rack_id.clone().or(new.rack_id);
    if request.rebalance_timeout_ms != -1 {
        new.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    new.assignor = request.server_assignor.clone().or(new.assignor);
    if let Some(names) = &request.subscribed_topic_names {
        new.topics = Rc::new(names.iter().cloned().collect());
    }
    new.regex = request.subscribed_topic_regex.clone().or(new.regex);
    (new.client_id, new.client_host) = (client.id.into(), client.host.into());
    new.classic = None;
    new
}

fn assignment_of(owned: &Owned) -> Assignment {
    let topics = owned.iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
    });
    Assignment { topic_partitions: topics.collect() }
}

/// Whether the member reports only partitions that are assigned to it. Without a report it may have others.
fn owns_only(reported: Option<&[TopicPartitions]>, assigned: &Owned) -> bool {
    reported.is_some_and(|reported| {
        reported.iter().all(|topic| {
            let assigned = assigned.get(&topic.topic_id);
            assigned.is_some_and(|assigned| topic.partitions.iter().all(|at| assigned.contains_key(at)))
        })
    })
}

impl ConsumerGroup {
    /// The member of a request. With an instance id, it must be the instance's current member.
    pub(super) fn check_member(
        &self,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<&Rc<ConsumerMember>, GroupRefusal> {
        let Some(instance_id) = instance_id else {
            let message = || format!("Member {member_id} is not a member of group {group_id}.");
            return self.member(member_id).ok_or_else(|| GroupRefusal::new(ErrorCode::UnknownMemberId, message()));
        };
        let member = self.static_member(instance_id).ok_or_else(|| {
            GroupRefusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance_id} is unknown."))
        })?;
        if *member.id != *member_id {
            let message =
                format!("Static member {member_id} with instance id {instance_id} was fenced by member {}.", member.id);
            return Err(GroupRefusal::new(ErrorCode::FencedInstanceId, message));
        }
        Ok(member)
    }
}

impl ConsumerStep<'_> {
    pub(super) fn check_size(&self, member_id: &str) -> Result<(), GroupRefusal> {
        let size_max = self.config.group_consumer_max_size as usize;
        if self.group.members.len() >= size_max && self.group.member(member_id).is_none() {
            let message = format!("The consumer group has reached its maximum capacity of {size_max} members.");
            return Err(GroupRefusal::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(())
    }

    /// The existing or new member of the request. A returning static member replaces its instance's earlier member.
    fn member_to_update(
        &mut self,
        member_id: &Rc<str>,
        request: &ConsumerGroupHeartbeatRequest,
        reported: Option<&[TopicPartitions]>,
    ) -> Result<ConsumerMember, GroupRefusal> {
        let (id, epoch) = (self.id.clone(), request.member_epoch);
        let joins = epoch == 0;
        let instance_id = request.instance_id.as_deref();
        let existing = instance_id.and_then(|instance_id| self.group.static_member(instance_id)).cloned();
        let member = match (instance_id, existing) {
            (Some(instance_id), Some(existing)) if joins => {
                if existing.classic.is_none() && existing.epoch != STATIC_LEAVE_EPOCH {
                    let message = format!(
                        "Static member {member_id} with instance id {instance_id} cannot join the group because the \
                         instance id is owned by {} member.",
                        existing.id
                    );
                    return Err(GroupRefusal::new(ErrorCode::UnreleasedInstanceId, message));
                }
                return Ok(self.replace_static_member(&existing, member_id));
            }
            (Some(_), None) | (None, _) if joins => match self.group.member(member_id) {
                Some(existing) => ConsumerMember::clone(existing),
                None => ConsumerMember::new(member_id.clone()),
            },
            _ => ConsumerMember::clone(self.group.check_member(&id, member_id, instance_id)?),
        };
        if joins {
            tracing::info!("group {id}: {member_id} joins");
        } else {
            check_epoch(&member, epoch, reported)?;
        }
        Ok(member)
    }

    /// Moves the records of a static member to a new member id.
    pub(super) fn replace_static_member(&mut self, old: &ConsumerMember, id: &Rc<str>) -> ConsumerMember {
        tracing::info!("group {}: {id} replaces {}", self.id, old.id);
        let new = ConsumerMember { id: id.clone(), epoch: 0, previous_epoch: 0, ..old.clone() };
        self.put_member_tombstones(&old.id);
        self.put_metadata(&new);
        let target = self.group.target(&old.id);
        self.put_target(id, &target);
        self.put_current(&new);
        if old.id != *id {
            self.cancel_all(&old.id);
        }
        new
    }

    /// Updates the member's description, and raises the group's epoch if the change affects other members.
    pub(super) fn update_description(
        &mut self,
        old: &ConsumerMember,
        new: &ConsumerMember,
        newest_topic_at: i64,
    ) -> Result<MemberUpdate, GroupRefusal> {
        let group = self.group;
        if old != new {
            self.put_metadata(new);
        }
        let has_new_names = old.topics != new.topics;
        let regex = self.update_regex(old, new, newest_topic_at)?;
        let has_new_subscription = has_new_names || regex != RegexChange::Nothing;
        // A new pattern raises the epoch when it is resolved.
        let mut is_raised = has_new_names || regex == RegexChange::Resolved || self.has_new_assignor(old, new);
        let mut group_epoch = group.epoch;
        if is_raised || group.must_recheck_topics {
            let read: BTreeSet<&str> = group.all_read(group.members_with(new));
            let hash = self.metadata_hash_of(&read);
            is_raised |= hash != group.metadata_hash;
            if is_raised {
                group_epoch += 1;
                self.put_epoch(group_epoch, hash);
            }
            let id = self.id.clone();
            self.writes.after_append(move |groups, _, appended| {
                if let (Ok(()), Some(group)) = (appended, groups.consumer_mut(&id)) {
                    group.must_recheck_topics = false;
                }
            });
        }
        Ok(MemberUpdate { group_epoch, has_new_subscription })
    }

    /// Whether the member's new preference changes the assignor of the group. As in Kafka 4.4, this raises the epoch:
    /// the other assignor makes the next target at once, not at the next change of the group.
    fn has_new_assignor(&self, old: &ConsumerMember, new: &ConsumerMember) -> bool {
        let members = self.group.members.values().map(|member| &**member);
        old.assignor != new.assignor && self.assignor(members) != self.assignor(self.group.members_with(new))
    }

    /// Moves the member one step closer to its target.
    pub(super) fn reconcile(
        &mut self,
        member: &ConsumerMember,
        target: &Target,
        has_new_subscription: bool,
        reported: Option<&[TopicPartitions]>,
    ) -> Result<ConsumerMember, GroupRefusal> {
        if !has_new_subscription && member.is_reconciled_to(target.epoch) {
            return Ok(member.clone());
        }
        let (group, image) = (self.group, self.image);
        let read: BTreeSet<&str> = group.reads(member).collect();
        let reads = |topic| image.topic_by_id(topic).is_some_and(|topic| read.contains(topic.name.as_str()));
        let is_owned = |topic, partition| group.is_owned(topic, partition);
        let goal = ReconcileGoal { epoch: target.epoch, target: &target.partitions, has_new_subscription, reported };
        let next = next_member(member, &goal, &reads, &is_owned)?;
        debug_assert!(
            next.partitions().all(|(topic, partition)| {
                member.assignment_epoch(topic, partition).is_some() || !group.is_owned(topic, partition)
            }),
            "CONS-1: a new partition has no other owner"
        );
        if next != *member {
            self.put_current(&next);
            // Classic members use other alarms.
            if next.classic.is_none() {
                let change = match next.state {
                    MemberState::UnrevokedPartitions => AlarmChange::Set(next.rebalance_timeout_ms),
                    _ => AlarmChange::Cancel,
                };
                self.alarms.push((Alarm::Rebalance(next.id.clone()), change));
            }
        }
        Ok(next)
    }
}

/// Accepts the current epoch, and the previous one if the member has no partition that the lost response revoked.
fn check_epoch(member: &ConsumerMember, epoch: i32, reported: Option<&[TopicPartitions]>) -> Result<(), GroupRefusal> {
    let which = match epoch.cmp(&member.epoch) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less if epoch == member.previous_epoch && owns_only(reported, &member.assigned) => {
            return Ok(());
        }
        std::cmp::Ordering::Less => "smaller",
        std::cmp::Ordering::Greater => "greater",
    };
    let message = format!(
        "The consumer group member has a {which} member epoch ({epoch}) than the one known by the group coordinator \
         ({}). The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(GroupRefusal::new(ErrorCode::FencedMemberEpoch, message))
}
