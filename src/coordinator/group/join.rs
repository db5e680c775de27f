//! JoinGroup.

use std::rc::Rc;

use super::classic::{ClassicGroupState, ClassicMember, failed_join_response};
use super::rebalance::{ClassicStep, NEW_MEMBER_JOIN_TIMEOUT_MS};
use super::{Alarm, Groups};
use crate::coordinator::{Now, Writes};
use crate::model::ErrorCode;
use crate::runtime::Mono;
use crate::runtime::sync::Sender;
use crate::wire::Bytes;
use crate::wire::group::join_group::{JoinGroupRequest, JoinGroupResponse};

/// The client that joins, and the capabilities of its API version.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// `client.id`.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// From version 4 on, the coordinator first assigns an id to a dynamic member, which then joins with it (KIP-394).
    pub needs_member_id: bool,
    /// From version 9 on, a response can instruct the leader to skip the assignment (KIP-814).
    pub can_skip_assignment: bool,
}

fn refuse(answer: Sender<JoinGroupResponse>, error_code: ErrorCode, member_id: &str) {
    let _ = answer.send(JoinGroupResponse { error_code, member_id: member_id.into(), ..failed_join_response() });
}

impl Groups {
    /// Handles a join. The response is sent when the join phase ends, or at once if the join fails.
    pub fn join(
        &mut self,
        request: JoinGroupRequest,
        joiner: Joiner,
        answer: Sender<JoinGroupResponse>,
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        if let Some(group) = self.consumer_mut(&request.group_id) {
            if !group.members.is_empty() {
                return self.join_consumer_group(request, joiner, answer, now, writes);
            }
            self.remove_empty_consumer_group(&request.group_id, now, writes);
        }
        let bytes_before = writes.bytes();
        let is_new_group = !self.groups.contains_key(request.group_id.as_str());
        if is_new_group && !request.member_id.is_empty() {
            return refuse(answer, ErrorCode::UnknownMemberId, &request.member_id);
        }
        let new_id = match request.member_id.is_empty() {
            true => self.fresh_member_id(request.group_instance_id.as_deref().unwrap_or(&joiner.client_id)),
            false => String::new(),
        };
        let group_id = self.get_or_create(&request.group_id, now).id.clone();
        let mut step = self.classic_step(&group_id, now, writes).expect("created above");
        if !step.accepts(&request.member_id) {
            step.classic.remove(&request.member_id);
            refuse(answer, ErrorCode::GroupMaxSizeReached, "");
        } else if !step.classic.supports(&request.protocol_type, &request.protocols) {
            refuse(answer, ErrorCode::InconsistentGroupProtocol, &request.member_id);
        } else if request.member_id.is_empty() {
            step.join_new(request, joiner, new_id.into(), answer);
        } else {
            step.join_again(request, joiner, answer);
        }
        if is_new_group && writes.bytes() == bytes_before {
            // A restart must find the new group.
            self.classic_step(&group_id, now, writes).expect("created above").put_empty_group_record();
        }
    }

    fn fresh_member_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-{}", uuid::Builder::from_random_bytes(self.random_bytes()).into_uuid())
    }
}

impl ClassicStep<'_> {
    /// Enforces `group.max.size`. While the group forms it counts the pending joins, afterwards the members.
    fn accepts(&self, id: &str) -> bool {
        let classic = &*self.classic;
        let size_max = self.config.group_max_size as usize;
        match classic.state {
            ClassicGroupState::Empty => true,
            ClassicGroupState::PreparingRebalance => {
                classic.members.get(id).is_some_and(|member| member.joining.is_some())
                    || classic.joining_count() < size_max
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                classic.members.contains_key(id) || classic.members.len() < size_max
            }
        }
    }

    fn join_new(&mut self, request: JoinGroupRequest, joiner: Joiner, id: Rc<str>, answer: Sender<JoinGroupResponse>) {
        let existing = request.group_instance_id.as_ref().and_then(|instance| self.classic.instances.get(instance));
        match existing.cloned() {
            Some(old) => self.replace_static(request, joiner, &old, id, answer),
            None if joiner.needs_member_id && request.group_instance_id.is_none() => {
                self.classic.pending.insert(id.clone());
                self.arm(Alarm::Session(id.clone()), request.session_timeout_ms);
                refuse(answer, ErrorCode::MemberIdRequired, &id);
            }
            None => self.add(request, joiner, id, answer),
        }
    }

    fn add(&mut self, request: JoinGroupRequest, joiner: Joiner, id: Rc<str>, answer: Sender<JoinGroupResponse>) {
        let classic = &mut *self.classic;
        if classic.state == ClassicGroupState::PreparingRebalance && classic.previous == ClassicGroupState::Empty {
            classic.has_new_member = true;
        }
        let member = ClassicMember {
            id: id.clone(),
            instance_id: request.group_instance_id,
            client_id: joiner.client_id,
            client_host: joiner.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::default(),
            joining: Some(answer),
            syncing: None,
            is_new: true,
            due: Mono::default(),
        };
        classic.add(member, &request.protocol_type);
        // The alarm that was set with the member id is earlier. When it fires it checks the new deadline.
        self.renew_session_for(&id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.begin_rebalance_or_complete_join(&reason_text("a member joined", request.reason.as_deref()));
    }

    fn join_again(&mut self, request: JoinGroupRequest, joiner: Joiner, answer: Sender<JoinGroupResponse>) {
        let id: Rc<str> = request.member_id.as_str().into();
        if self.classic.pending.contains(&id) {
            if request.group_instance_id.is_some() {
                // A static member never gets an id this way. Kafka fails with the same error.
                return refuse(answer, ErrorCode::UnknownServerError, &id);
            }
            return self.add(request, joiner, id, answer);
        }
        if let Err(error) = self.classic.check_member(&id, request.group_instance_id.as_deref()) {
            return refuse(answer, error, &id);
        }
        let classic = &*self.classic;
        let has_changed = classic.members[&id].protocols != request.protocols;
        let is_answered_at_once = match classic.state {
            ClassicGroupState::PreparingRebalance => false,
            // It may have missed the response of this generation.
            ClassicGroupState::CompletingRebalance => !has_changed,
            // The leader rejoins to force a rebalance: topics have changed, which its metadata does not show.
            ClassicGroupState::Stable => !has_changed && !classic.is_leader(&id),
            ClassicGroupState::Empty => return refuse(answer, ErrorCode::UnknownMemberId, &id),
        };
        if is_answered_at_once {
            let _ = answer.send(self.join_response(&id));
            return;
        }
        let reason = reason_text("a member rejoined", request.reason.as_deref());
        self.update(&id, request, answer);
        self.begin_rebalance_or_complete_join(&reason);
    }

    fn update(&mut self, id: &str, request: JoinGroupRequest, answer: Sender<JoinGroupResponse>) {
        let member = self.classic.members.get_mut(id).expect("checked before");
        member.protocols = request.protocols;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        member.joining = Some(answer);
    }

    /// KIP-345: a restarted instance replaces its member and, in a stable group, keeps the assignment.
    fn replace_static(
        &mut self,
        request: JoinGroupRequest,
        joiner: Joiner,
        old: &Rc<str>,
        id: Rc<str>,
        answer: Sender<JoinGroupResponse>,
    ) {
        let leader_before = self.classic.leader.as_deref().unwrap_or_default().to_owned();
        let reason = reason_text("a static member returned", request.reason.as_deref());
        let before = {
            let member = &self.classic.members[old];
            (member.protocols.clone(), member.rebalance_timeout_ms, member.session_timeout_ms)
        };
        self.classic.replace_static_member(old, id.clone());
        self.disarm(Alarm::Session(old.clone()));
        self.update(&id, request, answer);
        self.renew_session(&id);
        match self.classic.state {
            ClassicGroupState::Stable if self.classic.select_protocol() == self.classic.protocol => {
                self.put_group_record(|member| member.assignment.clone());
                let (group_id, old) = (self.id.clone(), old.clone());
                self.writes.after_append(move |groups, now, appended| {
                    let mut writes = Writes::new(now);
                    let Some(mut step) = groups.classic_step(&group_id, now, &mut writes) else { return };
                    let response = step.join_response(&id);
                    let Some(member) = step.classic.members.get_mut(&id) else { return };
                    let Some(answer) = member.joining.take() else { return };
                    match appended {
                        Ok(()) if joiner.can_skip_assignment => {
                            let skip_assignment = step.classic.is_leader(&id);
                            let _ = answer.send(JoinGroupResponse { skip_assignment, ..response });
                        }
                        // Before KIP-814 the response must not name the member as leader, or it would assign again.
                        Ok(()) => {
                            let (leader, members) = (leader_before, Vec::new());
                            let _ = answer.send(JoinGroupResponse { leader, members, ..response });
                        }
                        Err(error_code) => {
                            (member.protocols, member.rebalance_timeout_ms, member.session_timeout_ms) = before;
                            step.classic.replace_static_member(&id, old.clone());
                            step.disarm(Alarm::Session(id.clone()));
                            step.renew_session(&old);
                            let (leader, members, member_id) = (leader_before, Vec::new(), String::new());
                            let _ =
                                answer.send(JoinGroupResponse { error_code, leader, members, member_id, ..response });
                        }
                    }
                });
            }
            // The leader is assigning to the old id, so a new rebalance must begin.
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => self.begin_rebalance(&reason),
            ClassicGroupState::PreparingRebalance => self.maybe_complete_join(),
            ClassicGroupState::Empty => unreachable!("an empty group has no static member"),
        }
    }

    /// Writes the record of a new group that has no members yet.
    fn put_empty_group_record(&mut self) {
        use crate::coordinator::group::record::Key;
        use crate::coordinator::group::schema::GroupMetadataValue;
        let current_state_timestamp = self.classic.state_timestamp_ms;
        let value = GroupMetadataValue { current_state_timestamp, ..GroupMetadataValue::default() };
        self.writes.put(&Key::Group { group: self.id }.to_bytes(), Some(&value.to_bytes()));
    }
}

fn reason_text(event: &str, reason: Option<&str>) -> String {
    // KIP-800: the client's reason can have any length.
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or("not provided");
    format!("{event}; client reason: {}", reason.chars().take(255).collect::<String>())
}
