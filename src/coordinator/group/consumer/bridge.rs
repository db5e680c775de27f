//! Classic members of a consumer group (KIP-848, migration). They join, sync and send heartbeats as usual, and receive
//! the coordinator's assignment. Rebalances are per member: a member must rejoin when its own assignment changes.
//!
//! A member's generation is its epoch. Its preferred protocol is returned as the group's.

use std::collections::HashSet;
use std::rc::Rc;

use super::super::{Alarm, Groups};
use super::embedded::{Assignment, Subscription};
use super::heartbeat::MemberUpdate;
use super::member::{ConsumerMember, MemberState};
use super::{AlarmChange, ConsumerGroup, ConsumerStep, GroupRefusal, is_consumer};
use crate::coordinator::group::Joiner;
use crate::coordinator::group::schema::ClassicMemberMetadata;
use crate::coordinator::{Now, Writes};
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::runtime::sync::Sender;
use crate::wire::Bytes;
use crate::wire::group::consumer_group_heartbeat::TopicPartitions;
use crate::wire::group::heartbeat::HeartbeatRequest;
use crate::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::wire::group::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// The group becomes classic and its members must rejoin.
type NeedsRebalance = bool;

/// The result of a classic member's join.
enum JoinOutcome {
    /// The new id with which the client must join again.
    NeedsId(String),
    /// The member, once its records are appended.
    Member { member: Box<ConsumerMember>, becomes_classic: Option<NeedsRebalance> },
}

impl Groups {
    /// Handles a classic client's join to a consumer group with members.
    pub(in crate::coordinator::group) fn join_consumer_group(
        &mut self,
        request: JoinGroupRequest,
        joiner: Joiner,
        answer: Sender<JoinGroupResponse>,
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        let group_id = request.group_id.clone();
        let joined = match self.join_as_classic(&request, joiner, now, writes) {
            Ok(joined) => joined,
            Err(GroupRefusal { error, .. }) => {
                writes.clear();
                let member_id = request.member_id;
                let _ = answer.send(JoinGroupResponse { error_code: error, member_id, ..JoinGroupResponse::default() });
                return;
            }
        };
        match joined {
            JoinOutcome::NeedsId(member_id) => {
                let error_code = ErrorCode::MemberIdRequired;
                let _ = answer.send(JoinGroupResponse { error_code, member_id, ..JoinGroupResponse::default() });
            }
            JoinOutcome::Member { member, becomes_classic } => {
                let response = JoinGroupResponse {
                    generation_id: member.epoch,
                    protocol_type: Some(super::CONSUMER.into()),
                    protocol_name: Some(member.protocol_name().into()),
                    member_id: (*member.id).into(),
                    ..JoinGroupResponse::default()
                };
                if let Some(needs_rebalance) = becomes_classic {
                    self.downgrade_with(&group_id, *member, needs_rebalance, now, writes);
                }
                writes.after_append(move |_, _, appended| {
                    let _ = answer.send(match appended {
                        Ok(()) => response,
                        Err(error_code) => JoinGroupResponse { error_code, generation_id: -1, ..response },
                    });
                });
            }
        }
    }

    fn join_as_classic(
        &mut self,
        request: &JoinGroupRequest,
        joiner: Joiner,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<JoinOutcome, GroupRefusal> {
        let is_unknown = request.member_id.is_empty();
        let member_id: Rc<str> = if is_unknown { self.fresh_uuid().into() } else { request.member_id.as_str().into() };
        let newest_topic_at = self.newest_topic_at;
        let image = self.image.clone();
        let mut step = self.consumer_step(&request.group_id, now, writes).expect("the caller found the group");
        step.check_size(&member_id)?;
        if !step.group.supports(&request.protocol_type, &request.protocols) {
            let message = format!("Member {member_id}'s protocols are not supported.");
            return Err(GroupRefusal::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        if is_unknown && joiner.needs_member_id && request.group_instance_id.is_none() {
            return Ok(JoinOutcome::NeedsId((*member_id).into()));
        }
        let malformed =
            |_| GroupRefusal::new(ErrorCode::UnknownServerError, "The embedded consumer protocol is malformed.");
        let subscription = Subscription::parse(&request.protocols[0].metadata.0).map_err(malformed)?;
        let existing =
            request.group_instance_id.as_deref().and_then(|instance_id| step.group.static_member(instance_id));
        let replaces_last = existing.is_some_and(|existing| step.is_downgrade_by_replacing(existing));
        let old = match (request.group_instance_id.as_deref(), existing.cloned()) {
            (Some(_), Some(existing)) if is_unknown => step.replace_static_member(&existing, &member_id),
            (Some(instance_id), _) if !is_unknown => {
                let group_id = step.id.clone();
                ConsumerMember::clone(step.group.check_member(&group_id, &member_id, Some(instance_id))?)
            }
            _ => step
                .group
                .member(&member_id)
                .map_or_else(|| ConsumerMember::new(member_id.clone()), |existing| ConsumerMember::clone(existing)),
        };
        let mut new = member_from_join(&old, request, &subscription, joiner);
        let MemberUpdate { group_epoch, has_new_subscription } =
            step.update_description(&old, &new, newest_topic_at)?;
        let reported = owned_partitions_by_id(&subscription, &image);
        if replaces_last {
            let epoch = step.group.target_epoch;
            // A member that has not reached its target still holds, or still lacks, partitions that the classic group
            // would assume otherwise.
            let mut others = step.group.members.values().filter(|member| member.instance_id != old.instance_id);
            let mut needs_rebalance = epoch < group_epoch || !others.all(|member| member.is_reconciled_to(epoch));
            if !needs_rebalance {
                let target = super::target::Target { epoch, partitions: step.current_target(&new) };
                new = step.reconcile(&new, &target, has_new_subscription, Some(&reported))?;
                needs_rebalance = !new.is_reconciled_to(epoch);
            }
            step.change_alarms_after_append();
            return Ok(JoinOutcome::Member { member: Box::new(new), becomes_classic: Some(needs_rebalance) });
        }
        let target = step.update_target(&new, group_epoch);
        let new = step.reconcile(&new, &target, has_new_subscription, Some(&reported))?;
        step.alarms.extend([
            (Alarm::Rejoin(new.id.clone()), AlarmChange::Cancel),
            (Alarm::Session(new.id.clone()), AlarmChange::Set(request.session_timeout_ms)),
            (Alarm::Resync(new.id.clone()), AlarmChange::Set(new.rebalance_timeout_ms)),
        ]);
        step.change_alarms_after_append();
        Ok(JoinOutcome::Member { member: Box::new(new), becomes_classic: None })
    }

    pub(in crate::coordinator::group) fn sync_in_consumer_group(
        &mut self,
        request: &SyncGroupRequest,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let image = self.image.clone();
        let mut step = self.consumer_step(&request.group_id, now, writes).expect("the caller found the group");
        let instance_id = request.group_instance_id.as_deref();
        let member = step.classic_member(&request.member_id, instance_id, request.generation_id)?;
        let classic = member.classic.as_ref().expect("checked above");
        let differs =
            |requested: &Option<String>, own: &str| requested.as_deref().is_some_and(|requested| requested != own);
        if differs(&request.protocol_type, super::CONSUMER) || differs(&request.protocol_name, member.protocol_name()) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // A member that still has to revoke partitions has joined already, and rejoins when it has revoked them.
        if step.group.target_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            let rejoin = (Alarm::Rejoin(member.id.clone()), AlarmChange::SetIfNone(member.rebalance_timeout_ms));
            step.alarms.push(rejoin);
            step.change_alarms_after_append();
            return Err(ErrorCode::RebalanceInProgress);
        }
        step.alarms.extend([
            (Alarm::Resync(member.id.clone()), AlarmChange::Cancel),
            (Alarm::Session(member.id.clone()), AlarmChange::Set(classic.session_timeout_ms)),
        ]);
        step.change_alarms_after_append();
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: assignment_of(&member, &image),
            ..SyncGroupResponse::default()
        })
    }

    pub(in crate::coordinator::group) fn heartbeat_in_consumer_group(
        &mut self,
        request: &HeartbeatRequest,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<(), ErrorCode> {
        let mut step = self.consumer_step(&request.group_id, now, writes).expect("the caller found the group");
        let instance_id = request.group_instance_id.as_deref();
        let member = step.classic_member(&request.member_id, instance_id, request.generation_id)?;
        let session_ms = member.classic.as_ref().expect("checked above").session_timeout_ms;
        step.alarms.push((Alarm::Session(member.id.clone()), AlarmChange::Set(session_ms)));
        // The member must rejoin if its epoch is old, if it has to revoke partitions, or if the partitions it waited
        // for are free. If the target is older than the group's epoch, the rejoin makes the next target.
        let has_to_assign = step.group.epoch > step.group.target_epoch && !step.is_target_fresh();
        let should_rejoin = has_to_assign
            || member.epoch < step.group.target_epoch
            || member.state == MemberState::UnrevokedPartitions
            || (member.state == MemberState::UnreleasedPartitions && !step.group.waits_for_others(&member));
        if should_rejoin {
            let rejoin = (Alarm::Rejoin(member.id.clone()), AlarmChange::SetIfNone(member.rebalance_timeout_ms));
            step.alarms.push(rejoin);
        }
        step.change_alarms_after_append();
        if should_rejoin { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    pub(in crate::coordinator::group) fn leave_in_consumer_group(
        &mut self,
        request: &LeaveGroupRequest,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> LeaveGroupResponse {
        let mut response = LeaveGroupResponse::default();
        let mut leaving: Vec<Rc<str>> = Vec::new();
        let Some(group) = self.consumer_mut(&request.group_id) else { return response };
        for member in &request.members {
            let found = group.leaving_member(&request.group_id, member);
            if let Ok(id) = &found {
                let reason = member.reason.as_deref().unwrap_or("not provided");
                tracing::info!("group {}: {id} leaves ({reason:.255})", request.group_id);
                if !leaving.contains(id) {
                    leaving.push(id.clone());
                }
            }
            response.members.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: found.err().map_or(ErrorCode::None, |refused| refused.error),
            });
        }
        self.fence_members(&request.group_id, &leaving, now, writes);
        response
    }
}

impl ConsumerGroup {
    /// Whether a classic member with these protocols shares one with the other classic members.
    fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        let classic = || self.members.values().filter_map(|member| member.classic.as_ref());
        let all_know = |name: &str| {
            classic().all(|member| member.supported_protocols.iter().any(|protocol| protocol.name == name))
        };
        is_consumer(protocol_type) && protocols.iter().any(|protocol| all_know(&protocol.name))
    }

    /// The member that leaves. KIP-345: an administrator removes an instance without knowing its member id.
    fn leaving_member(&self, group_id: &str, member: &MemberIdentity) -> Result<Rc<str>, GroupRefusal> {
        let instance_id = member.group_instance_id.as_deref();
        if let (Some(instance_id), "") = (instance_id, member.member_id.as_str()) {
            let unknown = || GroupRefusal::new(ErrorCode::UnknownMemberId, "");
            return self.static_member(instance_id).map(|member| member.id.clone()).ok_or_else(unknown);
        }
        self.check_member(group_id, &member.member_id, instance_id).map(|member| member.id.clone())
    }
}

impl ConsumerStep<'_> {
    /// The classic member of a request, if the generation matches.
    fn classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<Rc<ConsumerMember>, ErrorCode> {
        let member = self.group.check_member(&self.id, id, instance_id).map_err(|refused| refused.error)?;
        if member.classic.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        if member.epoch != generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(member.clone())
    }
}

/// The member with the description of this request. Absent fields keep their values.
fn member_from_join(
    old: &ConsumerMember,
    request: &JoinGroupRequest,
    subscription: &Subscription,
    joiner: Joiner,
) -> ConsumerMember {
    let mut new = old.clone();
    new.instance_id = request.group_instance_id.as_deref().map(Rc::from).or(new.instance_id);
    new.rack_id = subscription.rack_id.clone().or(new.rack_id);
    if request.rebalance_timeout_ms != -1 {
        new.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    new.topics = Rc::new(subscription.topics.iter().cloned().collect());
    new.regex = Some(String::new());
    (new.client_id, new.client_host) = (joiner.client_id, joiner.client_host);
    new.classic = Some(ClassicMemberMetadata {
        session_timeout_ms: request.session_timeout_ms,
        supported_protocols: request.protocols.clone(),
    });
    new
}

/// The member's assignment in the version of its subscription. Deleted topics are left out.
fn assignment_of(member: &ConsumerMember, image: &Image) -> Bytes {
    let assigned = member.assigned.iter().filter_map(|(topic, partitions)| {
        let topic = image.topic_by_id(*topic)?;
        Some((topic.name.as_str().to_owned(), partitions.keys().copied().collect()))
    });
    Bytes(Assignment::to_bytes(&assigned.collect(), subscription_version_of(member)))
}

pub(super) fn subscription_version_of(member: &ConsumerMember) -> i16 {
    let protocols = member.classic.as_ref().map(|classic| classic.supported_protocols.as_slice());
    let first = protocols.and_then(<[_]>::first).map(|protocol| &protocol.metadata.0);
    first.and_then(|metadata| Subscription::parse(metadata).ok()).map_or(0, |subscription| subscription.version)
}

/// The partitions that a classic member reports, by topic id.
fn owned_partitions_by_id(subscription: &Subscription, image: &Image) -> Vec<TopicPartitions> {
    let mut seen = HashSet::new();
    let owned = subscription.owned.iter().filter(|(name, _)| seen.insert(name.as_str()));
    let known = owned.filter_map(|(name, partitions)| {
        Some(TopicPartitions { topic_id: image.topic(name)?.id, partitions: partitions.clone() })
    });
    known.collect()
}
