//! Conversion of a group with members (KIP-848). A classic group becomes a consumer group when the first member of the
//! consumer protocol joins, and a classic group again when the last one leaves. Offsets and current assignments are
//! kept.

use std::rc::Rc;

use super::super::assign::Partitions;
use super::super::classic::{CONSUMER, ClassicGroup, ClassicGroupState, ClassicMember};
use super::super::{Alarm, Group, GroupKind, Groups};
use super::bridge::subscription_version_of;
use super::embedded::{Assignment, PartitionsByName, Subscription};
use super::member::{ConsumerMember, Owned};
use super::{AlarmChange, ConsumerGroup, ConsumerStep, GroupRefusal};
use crate::coordinator::group::record::Key;
use crate::coordinator::group::schema::{ClassicMemberMetadata, ConsumerGroupTargetAssignmentMetadataValue};
use crate::coordinator::{Now, Writes};
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::runtime::Mono;
use crate::wire::{Bytes, Malformed};

/// Why a classic group cannot become a consumer group, in Kafka's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum UpgradeError {
    #[error("online upgrade is disabled.")]
    Disabled,
    #[error("the group does not use the consumer embedded protocol.")]
    OtherProtocol,
    #[error("the group size exceeds the consumer group maximum size.")]
    TooLarge,
    #[error("the embedded consumer protocol is malformed.")]
    Malformed(Malformed),
    /// A member without any protocol.
    #[error("the embedded consumer protocol is malformed.")]
    NoProtocol,
    #[error(
        "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor \
         before re-attempting the upgrade."
    )]
    CustomAssignor,
}

impl Groups {
    /// Writes a classic group as a consumer group and returns it. Every member keeps its assignment, in an epoch equal
    /// to the generation. The calling step adds the new member.
    pub(super) fn upgrade(
        &mut self,
        group_id: &str,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<ConsumerGroup, GroupRefusal> {
        let (image, config) = (self.image.clone(), self.config.clone());
        let Some(Group { id, kind: GroupKind::Classic(classic), .. }) = self.groups.get_mut(group_id) else {
            unreachable!("the caller matched a classic group")
        };
        let refuse = |why: UpgradeError| {
            let message = format!("Cannot upgrade classic group {group_id} to consumer group because {why}");
            tracing::info!("{message}");
            GroupRefusal::new(ErrorCode::GroupIdNotFound, message)
        };
        if !config.group_consumer_migration_policy.upgrades {
            return Err(refuse(UpgradeError::Disabled));
        }
        if !classic.is_consumer() {
            return Err(refuse(UpgradeError::OtherProtocol));
        }
        if classic.members.len() > config.group_consumer_max_size as usize {
            return Err(refuse(UpgradeError::TooLarge));
        }
        let upgraded = upgraded(classic, &image).map_err(refuse)?;
        // Waiting members must rejoin, and will find a consumer group.
        classic.fail_waiting(ErrorCode::RebalanceInProgress);
        writes.put(&Key::Group { group: group_id }.to_bytes(), None);
        let id = id.clone();
        let mut step =
            ConsumerStep { id, group: &upgraded, image: &image, config: &config, now, writes, alarms: Vec::new() };
        step.put_group();
        step.change_alarms_after_append();
        tracing::info!("group {group_id}: upgraded from the classic to the consumer protocol");
        Ok(upgraded)
    }

    /// Removes these members and turns the group into a classic one, when the records are appended.
    pub(super) fn downgrade_without(
        &mut self,
        group_id: &str,
        leaving: &[Rc<str>],
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        let image = self.image.clone();
        let Some(mut step) = self.consumer_step(group_id, now, writes) else { return };
        let stay = step.group.members.values().filter(|member| !leaving.contains(&member.id));
        let members: Vec<_> =
            stay.map(|member| (ConsumerMember::clone(member), step.group.target(&member.id))).collect();
        let classic = downgraded(step.group.epoch, &members, &image, now);
        step.put_group_tombstones();
        self.become_classic(group_id, classic, true, writes);
    }

    /// The same when a static member of the consumer protocol returns as a classic member. Its records are already
    /// written. `needs_rebalance`: some members have not reached their target.
    pub(super) fn downgrade_with(
        &mut self,
        group_id: &str,
        joining: ConsumerMember,
        needs_rebalance: bool,
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        let image = self.image.clone();
        let Some(mut step) = self.consumer_step(group_id, now, writes) else { return };
        let target = step.current_target(&joining);
        let stay = step.group.members.values().filter(|member| member.instance_id != joining.instance_id);
        let mut members: Vec<_> =
            stay.map(|member| (ConsumerMember::clone(member), step.group.target(&member.id))).collect();
        let joining_id = joining.id.clone();
        members.push((joining, target));
        let classic = downgraded(step.group.epoch, &members, &image, now);
        step.put_group_tombstones();
        step.put_member_tombstones(&joining_id);
        self.become_classic(group_id, classic, needs_rebalance, writes);
    }

    fn become_classic(
        &mut self,
        group_id: &str,
        mut classic: ClassicGroup,
        needs_rebalance: bool,
        writes: &mut Writes<Groups>,
    ) {
        tracing::info!("group {group_id}: downgraded from the consumer to the classic protocol");
        if needs_rebalance {
            // A record without a leader makes a restart begin the rebalance, too.
            classic.leader = None;
        }
        let value = classic.to_value(|member| member.assignment.clone());
        writes.put(&Key::Group { group: group_id }.to_bytes(), Some(&value.to_bytes()));
        let group_id: Rc<str> = group_id.into();
        writes.after_append(move |groups, now, appended| {
            if appended.is_err() {
                return;
            }
            groups.get_or_create(&group_id, now).kind = GroupKind::Classic(classic);
            let mut writes = Writes::new(now);
            let mut step = groups.classic_step(&group_id, now, &mut writes).expect("set to classic above");
            let members: Vec<Rc<str>> = step.classic.members.keys().cloned().collect();
            members.iter().for_each(|member| step.renew_session(member));
            if needs_rebalance {
                step.begin_rebalance("it was a consumer group");
            }
        });
    }
}

impl ConsumerStep<'_> {
    /// Whether the group must become classic when these members leave.
    pub(super) fn is_downgrade(&self, leaving: &[Rc<str>]) -> bool {
        let stay = || self.group.members.values().filter(|member| !leaving.contains(&member.id));
        let count = stay().count();
        count > 0
            && count <= self.config.group_max_size as usize
            && stay().all(|member| member.classic.is_some())
            && self.config.group_consumer_migration_policy.downgrades
    }

    /// Whether the group must become classic when this member, the last of the consumer protocol, returns as a classic
    /// one.
    pub(super) fn is_downgrade_by_replacing(&self, member: &ConsumerMember) -> bool {
        let others_are_classic =
            self.group.members.values().all(|other| other.id == member.id || other.classic.is_some());
        member.classic.is_none()
            && others_are_classic
            && self.group.members.len() <= self.config.group_max_size as usize
            && self.config.group_consumer_migration_policy.downgrades
    }

    /// Writes the whole group and starts its members' sessions.
    fn put_group(&mut self) {
        let (id, group) = (self.id.clone(), self.group);
        for member in group.members.values() {
            self.put_metadata(member);
        }
        self.put_epoch(group.epoch, group.metadata_hash);
        for member in group.members.keys() {
            self.put_target(member, &group.target(member));
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: group.target_epoch,
            assignment_timestamp: group.target_timestamp_ms,
        };
        self.put(Key::Target { group: &id }, &value.to_bytes());
        for member in group.members.values() {
            self.put_current(member);
            let session_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
            self.alarms.push((Alarm::Session(member.id.clone()), AlarmChange::Set(session_ms)));
        }
    }
}

/// Converts a classic group to a consumer group, or returns the reason why it cannot.
fn upgraded(classic: &ClassicGroup, image: &Image) -> Result<ConsumerGroup, UpgradeError> {
    let epoch = classic.generation;
    let mut group = ConsumerGroup { epoch, target_epoch: epoch, ..ConsumerGroup::default() };
    for member in classic.members.values() {
        let assignment = Assignment::parse(&member.assignment.0).map_err(UpgradeError::Malformed)?;
        if assignment.has_user_data {
            return Err(UpgradeError::CustomAssignor);
        }
        // During the first rebalance no protocol is selected yet.
        let protocol = member.protocols.iter().find(|own| classic.protocol.as_ref() == Some(&own.name));
        let metadata = protocol.or(member.protocols.first()).map(|protocol| &protocol.metadata.0);
        let subscription = metadata.map(|metadata| Subscription::parse(metadata)).ok_or(UpgradeError::NoProtocol)?;
        let subscription = subscription.map_err(UpgradeError::Malformed)?;
        let (mut target, mut assigned) = (Partitions::new(), Owned::new());
        for (name, partitions) in &assignment.assigned {
            if let Some(topic) = image.topic(name) {
                target.entry(topic.id).or_default().extend(partitions);
                assigned.entry(topic.id).or_default().extend(partitions.iter().map(|partition| (*partition, epoch)));
            }
        }
        let upgraded = ConsumerMember {
            epoch,
            previous_epoch: epoch,
            instance_id: member.instance_id.as_deref().map(Rc::from),
            rack_id: subscription.rack_id,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            topics: Rc::new(subscription.topics.into_iter().collect()),
            classic: Some(ClassicMemberMetadata {
                session_timeout_ms: member.session_timeout_ms,
                supported_protocols: member.protocols.clone(),
            }),
            assigned,
            ..ConsumerMember::new(member.id.clone())
        };
        group.targets.insert(upgraded.id.clone(), Rc::new(target));
        group.insert_member(upgraded);
    }
    Ok(group)
}

/// Converts a consumer group to a classic group with these members and their targets.
fn downgraded(epoch: i32, members: &[(ConsumerMember, Rc<Partitions>)], image: &Image, now: Now) -> ClassicGroup {
    let mut classic = ClassicGroup::new(now.wall_ms);
    for (member, target) in members {
        let Some(metadata) = &member.classic else { continue };
        let named: PartitionsByName = target
            .iter()
            .filter_map(|(topic, partitions)| {
                let topic = image.topic_by_id(*topic)?;
                Some((topic.name.as_str().to_owned(), partitions.iter().copied().collect()))
            })
            .collect();
        let downgraded = ClassicMember {
            id: member.id.clone(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: metadata.session_timeout_ms,
            protocols: metadata.supported_protocols.clone(),
            assignment: Bytes(Assignment::to_bytes(&named, subscription_version_of(member))),
            joining: None,
            syncing: None,
            is_new: false,
            due: Mono::default(),
        };
        classic.add(downgraded, CONSUMER);
    }
    classic.state = ClassicGroupState::Stable;
    classic.previous = ClassicGroupState::Stable;
    classic.generation = epoch;
    classic.logged_generation = epoch;
    classic.protocol = classic.select_protocol();
    classic.subscribed = classic.subscribed_topics();
    classic
}
