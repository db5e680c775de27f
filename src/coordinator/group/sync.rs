//! SyncGroup: the leader sends the assignments, and each member receives its own.

use super::Alarm;
use super::Groups;
use super::classic::ClassicGroupState;
use super::rebalance::ClassicStep;
use crate::coordinator::{Now, Writes};
use crate::model::ErrorCode;
use crate::runtime::sync::Sender;
use crate::wire::Bytes;
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupResponse};

fn refuse(answer: Sender<SyncGroupResponse>, error_code: ErrorCode) {
    let _ = answer.send(SyncGroupResponse { error_code, ..SyncGroupResponse::default() });
}

impl Groups {
    /// Handles a sync. The response is sent when the leader has assigned, or at once if the sync fails.
    pub fn sync(
        &mut self,
        request: SyncGroupRequest,
        answer: Sender<SyncGroupResponse>,
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        if self.is_consumer_group(&request.group_id) {
            let synced = self.sync_in_consumer_group(&request, now, writes);
            // The step writes nothing, but the assignment that it returns must be durable: `Ledger::wait_durable`.
            let _ = answer.send(
                synced.unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..SyncGroupResponse::default() }),
            );
            return;
        }
        match self.classic_step(&request.group_id, now, writes) {
            None => refuse(answer, ErrorCode::UnknownMemberId),
            Some(mut step) => step.sync(request, answer),
        }
    }
}

impl ClassicStep<'_> {
    fn sync(&mut self, request: SyncGroupRequest, answer: Sender<SyncGroupResponse>) {
        let classic = &mut *self.classic;
        if let Err(error) = classic.check_member(&request.member_id, request.group_instance_id.as_deref()) {
            return refuse(answer, error);
        }
        let differs =
            |requested: &Option<String>, own: &Option<String>| requested.is_some() && own.is_some() && requested != own;
        if request.generation_id != classic.generation {
            return refuse(answer, ErrorCode::IllegalGeneration);
        }
        if differs(&request.protocol_type, &classic.protocol_type) || differs(&request.protocol_name, &classic.protocol)
        {
            return refuse(answer, ErrorCode::InconsistentGroupProtocol);
        }
        match classic.state {
            ClassicGroupState::Empty => refuse(answer, ErrorCode::UnknownMemberId),
            ClassicGroupState::PreparingRebalance => refuse(answer, ErrorCode::RebalanceInProgress),
            ClassicGroupState::CompletingRebalance => {
                let member = classic.members.get_mut(request.member_id.as_str()).expect("checked above");
                member.syncing = Some(answer);
                self.has_synced(&request.member_id);
                if self.classic.is_leader(&request.member_id) {
                    self.assign(request);
                }
            }
            ClassicGroupState::Stable => {
                let member = &classic.members[request.member_id.as_str()];
                let _ = answer.send(SyncGroupResponse {
                    protocol_type: classic.protocol_type.clone(),
                    protocol_name: classic.protocol.clone(),
                    assignment: member.assignment.clone(),
                    ..SyncGroupResponse::default()
                });
                self.has_synced(&request.member_id);
            }
        }
    }

    fn has_synced(&mut self, id: &str) {
        self.classic.unsynced.remove(id);
        if self.classic.unsynced.is_empty() {
            self.disarm(Alarm::Sync);
        }
    }

    /// Writes the generation. It becomes stable when the log has appended it (GROUP-1).
    fn assign(&mut self, request: SyncGroupRequest) {
        let given: std::collections::HashMap<String, Bytes> =
            request.assignments.into_iter().map(|of| (of.member_id, of.assignment)).collect();
        self.put_group_record(|member| given.get(&*member.id).cloned().unwrap_or_default());
        let (group_id, generation) = (self.id.clone(), self.classic.generation);
        self.writes.after_append(move |groups, now, appended| {
            let mut writes = Writes::new(now);
            let Some(mut step) = groups.classic_step(&group_id, now, &mut writes) else { return };
            match appended {
                Ok(()) => {
                    for member in step.classic.members.values_mut() {
                        member.assignment = given.get(&*member.id).cloned().unwrap_or_default();
                    }
                    step.classic.logged_generation = generation;
                    step.answer_syncs(ErrorCode::None);
                    step.classic.transition_to(ClassicGroupState::Stable, now.wall_ms);
                }
                Err(error) => {
                    step.reset_assignments();
                    step.answer_syncs(error);
                    step.begin_rebalance("the assignments could not be written");
                }
            }
        });
    }
}
