//! The rebalance of a classic group: all members join, a generation begins, the leader assigns. Follows Kafka's
//! `GroupMetadataManager` step by step.

use std::rc::Rc;
use std::time::Duration;

use super::classic::{ClassicGroup, ClassicGroupState, ClassicMember, failed_join_response};
use super::{Alarm, Groups};
use crate::config::BrokerConfig;
use crate::coordinator::group::record::Key;
use crate::coordinator::{Now, Timers, Writes};
use crate::model::ErrorCode;
use crate::wire::Bytes;
use crate::wire::group::join_group::JoinGroupResponse;
use crate::wire::group::sync_group::SyncGroupResponse;

/// The classic group and the outputs of one step.
pub(super) struct ClassicStep<'a> {
    pub id: &'a Rc<str>,
    pub classic: &'a mut ClassicGroup,
    pub timers: &'a mut Timers<(Rc<str>, Alarm)>,
    pub config: &'a BrokerConfig,
    pub now: Now,
    pub writes: &'a mut Writes<Groups>,
}

/// The session timeout until a member's first join is answered: it cannot send heartbeats (Kafka's constant).
pub(super) const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

/// A duration of a client's timeout. Negative timeouts count as zero.
pub(super) fn ms(millis: i32) -> Duration {
    Duration::from_millis(millis.max(0) as u64)
}

impl ClassicStep<'_> {
    /// Sets an alarm of the group, replacing an earlier time.
    pub fn arm(&mut self, alarm: Alarm, after_ms: i32) {
        self.timers.set((self.id.clone(), alarm), self.now.mono + ms(after_ms));
    }

    /// Cancels an alarm of the group.
    pub fn disarm(&mut self, alarm: Alarm) {
        self.timers.cancel(&(self.id.clone(), alarm));
    }

    /// Extends the member's session. An alarm that is already earlier stays: when it fires it checks `due`.
    pub fn renew_session_for(&mut self, member: &str, timeout_ms: i32) {
        let due = self.now.mono + ms(timeout_ms);
        let Some(member) = self.classic.members.get_mut(member) else { return };
        member.due = due;
        let key = (self.id.clone(), Alarm::Session(member.id.clone()));
        if self.timers.get(&key).is_none_or(|at| at > due) {
            self.timers.set(key, due);
        }
    }

    /// Extends the member's session by its session timeout.
    pub fn renew_session(&mut self, member: &str) {
        if let Some(timeout_ms) = self.classic.members.get(member).map(|member| member.session_timeout_ms) {
            self.renew_session_for(member, timeout_ms);
        }
    }

    // ---- joining ----------------------------------------------------------------------------------------------------

    /// Begins a rebalance, or completes the join phase of the current one if all members have joined.
    pub fn begin_rebalance_or_complete_join(&mut self, reason: &str) {
        if self.classic.state == ClassicGroupState::PreparingRebalance {
            self.maybe_complete_join();
        } else {
            self.begin_rebalance(reason);
        }
    }

    /// Begins a rebalance.
    pub fn begin_rebalance(&mut self, reason: &str) {
        if self.classic.state == ClassicGroupState::CompletingRebalance {
            self.reset_assignments();
            self.answer_syncs(ErrorCode::RebalanceInProgress);
        }
        self.classic.unsynced.clear();
        self.disarm(Alarm::Sync);
        let is_initial = self.classic.state == ClassicGroupState::Empty;
        let now_ms = self.now.wall_ms;
        self.classic.transition_to(ClassicGroupState::PreparingRebalance, now_ms);
        let classic = &*self.classic;
        tracing::info!("group {}: rebalance after generation {} ({reason})", self.id, classic.generation);
        let rebalance_ms = classic.rebalance_timeout_ms();
        if is_initial {
            // More members are expected. Each new one extends the delay, up to the rebalance timeout.
            let delay_ms = self.config.group_initial_rebalance_delay_ms;
            self.classic.initial = Some((delay_ms, (rebalance_ms - delay_ms).max(0)));
            self.arm(Alarm::Join, delay_ms);
        } else if classic.has_all_joined() {
            self.complete_join();
        } else {
            self.arm(Alarm::Join, rebalance_ms);
        }
    }

    /// Completes the join phase if all members have joined. The initial rebalance always waits for its delay.
    pub fn maybe_complete_join(&mut self) {
        let classic = &*self.classic;
        if classic.state == ClassicGroupState::PreparingRebalance
            && classic.previous != ClassicGroupState::Empty
            && classic.has_all_joined()
        {
            self.complete_join();
        }
    }

    /// Ends the join phase, or extends the initial delay if members have joined meanwhile.
    pub fn on_join_alarm(&mut self) {
        if self.classic.state != ClassicGroupState::PreparingRebalance {
            return;
        }
        match self.classic.initial {
            Some((delay_ms, left_ms)) if left_ms > 0 && self.classic.has_new_member => {
                self.classic.has_new_member = false;
                let next_ms = self.config.group_initial_rebalance_delay_ms.min(left_ms);
                self.classic.initial = Some((next_ms, (left_ms - delay_ms).max(0)));
                self.arm(Alarm::Join, next_ms);
            }
            _ => self.complete_join(),
        }
    }

    /// Ends the join phase: removes the members that have not joined, and begins the next generation. Static members
    /// stay until their session ends.
    pub fn complete_join(&mut self) {
        self.disarm(Alarm::Join);
        self.classic.initial = None;
        let late: Vec<Rc<str>> = self
            .classic
            .members
            .values()
            .filter(|member| member.joining.is_none() && !member.is_static())
            .map(|member| member.id.clone())
            .collect();
        for id in late {
            tracing::info!("group {}: removed {id}: it has not rejoined in time", self.id);
            self.classic.remove(&id);
            self.disarm(Alarm::Session(id));
        }
        if !self.classic.elect_joined_leader() && !self.classic.members.is_empty() {
            // Only static members are left and none has joined: wait for a join or the end of their sessions.
            let again_ms = self.classic.rebalance_timeout_ms();
            self.arm(Alarm::Join, again_ms);
            return;
        }
        let now_ms = self.now.wall_ms;
        self.classic.begin_generation(now_ms);
        if self.classic.state == ClassicGroupState::Empty {
            tracing::info!("group {}: generation {} has no members", self.id, self.classic.generation);
            self.classic.leader = None;
            self.put_group_record(|_| Bytes::default());
            return;
        }
        let classic = &*self.classic;
        tracing::info!("group {}: generation {} has {} members", self.id, classic.generation, classic.members.len());
        let ids: Vec<Rc<str>> = classic.members.keys().cloned().collect();
        for id in &ids {
            let answer = self.join_response(id);
            let member = self.classic.members.get_mut(id).expect("listed above");
            if let Some(joining) = member.joining.take() {
                let _ = joining.send(answer);
            }
            member.is_new = false;
            self.renew_session(id);
        }
        self.classic.unsynced.extend(ids);
        let sync_ms = self.classic.rebalance_timeout_ms();
        self.arm(Alarm::Sync, sync_ms);
    }

    /// The response to a join of the current generation.
    pub fn join_response(&self, member: &str) -> JoinGroupResponse {
        let classic = &*self.classic;
        JoinGroupResponse {
            generation_id: classic.generation,
            protocol_type: classic.protocol_type.clone(),
            protocol_name: classic.protocol.clone(),
            leader: classic.leader.as_deref().unwrap_or_default().into(),
            member_id: member.into(),
            members: if classic.is_leader(member) { classic.join_response_members() } else { Vec::new() },
            ..JoinGroupResponse::default()
        }
    }

    // ---- assigning --------------------------------------------------------------------------------------------------

    /// Clears the assignments of all members.
    pub fn reset_assignments(&mut self) {
        self.classic.members.values_mut().for_each(|member| member.assignment = Bytes::default());
    }

    /// Answers all pending syncs.
    pub fn answer_syncs(&mut self, error_code: ErrorCode) {
        let classic = &mut *self.classic;
        let mut answered = Vec::new();
        for member in classic.members.values_mut() {
            let Some(syncing) = member.syncing.take() else { continue };
            let mut answer =
                SyncGroupResponse { error_code, assignment: member.assignment.clone(), ..Default::default() };
            if !error_code.is_error() {
                answer.protocol_type = classic.protocol_type.clone();
                answer.protocol_name = classic.protocol.clone();
            }
            let _ = syncing.send(answer);
            answered.push(member.id.clone());
        }
        answered.iter().for_each(|id| self.renew_session(id));
    }

    /// Removes the members that have not requested the assignment of this generation in time.
    pub fn on_sync_alarm(&mut self) {
        if !matches!(self.classic.state, ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable)
            || self.classic.unsynced.is_empty()
        {
            return;
        }
        for id in std::mem::take(&mut self.classic.unsynced) {
            tracing::info!("group {}: removed {id}: it has not synced in time", self.id);
            self.classic.remove(&id);
            self.disarm(Alarm::Session(id));
        }
        self.begin_rebalance("members did not sync in time");
    }

    // ---- leaving ----------------------------------------------------------------------------------------------------

    /// Removes a member whose session has ended, or an id that has not joined in time.
    pub fn on_session_alarm(&mut self, id: &Rc<str>) {
        if self.classic.pending.contains(id) {
            self.classic.remove(id);
            if self.classic.state == ClassicGroupState::PreparingRebalance && self.classic.has_all_joined() {
                self.complete_join();
            }
            return;
        }
        let Some(member) = self.classic.members.get(id) else { return };
        if member.due > self.now.mono {
            let due = member.due;
            self.timers.set((self.id.clone(), Alarm::Session(id.clone())), due);
        } else if !member.is_waiting() {
            tracing::info!("group {}: removed {id}: its session expired", self.id);
            self.remove(id);
            let classic = &*self.classic;
            match classic.state {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    self.begin_rebalance("a member's session expired")
                }
                ClassicGroupState::PreparingRebalance if classic.has_all_joined() => self.complete_join(),
                _ => {}
            }
        }
    }

    /// Removes the members whose session has ended, before their alarms fire. Returns whether there were any.
    pub fn end_due_sessions(&mut self) -> bool {
        let before = self.classic.members.len();
        let due = self.classic.members.values().filter(|member| member.due <= self.now.mono);
        let due: Vec<_> = due.map(|member| member.id.clone()).collect();
        due.iter().for_each(|id| self.on_session_alarm(id));
        self.classic.members.len() < before
    }

    /// Removes a member. Its pending join fails with UNKNOWN_MEMBER_ID, so that it can join under a new id.
    pub fn remove(&mut self, id: &str) {
        if let Some(mut member) = self.classic.remove(id) {
            if let Some(joining) = member.joining.take() {
                let _ = joining
                    .send(JoinGroupResponse { error_code: ErrorCode::UnknownMemberId, ..failed_join_response() });
            }
            self.disarm(Alarm::Session(member.id));
        }
    }

    // ---- the log ----------------------------------------------------------------------------------------------------

    /// Writes the group's record with these assignments.
    pub fn put_group_record(&mut self, assignment: impl Fn(&ClassicMember) -> Bytes) {
        let value = self.classic.to_value(assignment);
        self.writes.put(&Key::Group { group: self.id }.to_bytes(), Some(&value.to_bytes()));
    }
}
