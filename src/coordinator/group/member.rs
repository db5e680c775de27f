//! Heartbeat and LeaveGroup.

use super::Groups;
use super::classic::ClassicGroupState;
use crate::coordinator::{Now, Writes};
use crate::model::ErrorCode;
use crate::wire::group::heartbeat::HeartbeatRequest;
use crate::wire::group::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

impl Groups {
    /// Handles a heartbeat of a classic member.
    pub fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<(), ErrorCode> {
        if self.is_consumer_group(&request.group_id) {
            return self.heartbeat_in_consumer_group(request, now, writes);
        }
        let mut step = self.classic_step(&request.group_id, now, writes).ok_or(ErrorCode::UnknownMemberId)?;
        step.classic.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != step.classic.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match step.classic.state {
            ClassicGroupState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicGroupState::PreparingRebalance => {
                step.renew_session(&request.member_id);
                Err(ErrorCode::RebalanceInProgress)
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                step.renew_session(&request.member_id);
                Ok(())
            }
        }
    }

    /// Removes the members of a LeaveGroup request.
    pub fn leave(&mut self, request: &LeaveGroupRequest, now: Now, writes: &mut Writes<Groups>) -> LeaveGroupResponse {
        if self.is_consumer_group(&request.group_id) {
            return self.leave_in_consumer_group(request, now, writes);
        }
        let Some(mut step) = self.classic_step(&request.group_id, now, writes) else {
            let refuse = |member: &MemberIdentity| left(member, ErrorCode::UnknownMemberId);
            let members = request.members.iter().map(refuse).collect();
            return LeaveGroupResponse { members, ..LeaveGroupResponse::default() };
        };
        let mut response = LeaveGroupResponse::default();
        let mut has_left = false;
        for member in &request.members {
            let classic = &mut *step.classic;
            let instance_id = member.group_instance_id.as_deref();
            // KIP-345: an administrator removes an instance without knowing its member.
            let found = match member.member_id.as_str() {
                "" => instance_id
                    .and_then(|instance_id| classic.instances.get(instance_id))
                    .map(|id| id.to_string())
                    .ok_or(ErrorCode::UnknownMemberId),
                id if classic.pending.contains(id) => Ok(id.to_owned()),
                id => classic.check_member(id, instance_id).map(|()| id.to_owned()),
            };
            if let Ok(id) = &found {
                let reason = member.reason.as_deref().unwrap_or("not provided");
                tracing::info!("group {}: {id} leaves ({reason:.255})", step.id);
                if step.classic.pending.contains(id.as_str()) {
                    step.classic.remove(id);
                    step.disarm(super::Alarm::Session(id.as_str().into()));
                } else {
                    step.remove(id);
                }
                has_left = true;
            }
            response.members.push(left(member, found.err().unwrap_or(ErrorCode::None)));
        }
        if has_left {
            match step.classic.state {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    step.begin_rebalance("members have left")
                }
                ClassicGroupState::PreparingRebalance => step.maybe_complete_join(),
                ClassicGroupState::Empty => {}
            }
        }
        response
    }
}

fn left(member: &MemberIdentity, error_code: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code,
    }
}
