//! Members go: they leave, are silent for too long, or do not do in time what they were told.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::super::{Alarm, GroupKind, Groups};
use super::member::{ConsumerMember, MemberState};
use super::{AlarmChange, ConsumerStep};
use crate::coordinator::group::record::Key;
use crate::coordinator::{Now, Writes};

impl ConsumerStep<'_> {
    /// Ends the records of these members, and raises the group's epoch.
    fn fence(&mut self, members: &[Rc<str>]) {
        let (id, group) = (self.id.clone(), self.group);
        for member in members {
            self.put_member_tombstones(member);
            self.cancel_all(member);
        }
        let stays = |member: &&Rc<ConsumerMember>| !members.contains(&member.id);
        let patterns: BTreeSet<&str> =
            group.members.values().filter(stays).filter_map(|member| member.regex()).collect();
        for regex in group.regexes.keys().filter(|regex| !patterns.contains(&***regex)) {
            self.put_tombstone(Key::Regex { group: &id, regex });
        }
        let read = group.all_read(group.members.values().filter(stays).map(|member| &**member));
        let hash = self.metadata_hash_of(&read);
        self.put_epoch(group.epoch + 1, hash);
        self.change_alarms_after_append();
    }

    pub(super) fn cancel_all(&mut self, member: &Rc<str>) {
        for alarm in [Alarm::Session, Alarm::Rebalance, Alarm::Rejoin, Alarm::Resync] {
            self.alarms.push((alarm(member.clone()), AlarmChange::Cancel));
        }
    }
}

fn ms(millis: i32) -> Duration {
    Duration::from_millis(millis.max(0) as u64)
}

impl Groups {
    /// Fences a member for what its alarm says, if that is still so.
    pub(in crate::coordinator::group) fn on_consumer_alarm(
        &mut self,
        group_id: &Rc<str>,
        alarm: &Alarm,
        now: Now,
        writes: &mut Writes<Groups>,
    ) {
        let Some(group) = self.consumer_mut(group_id) else { return };
        let (member, why) = match alarm {
            Alarm::Session(member) => match group.due.get(member) {
                Some(due) if *due > now.mono => {
                    // Heard of since: the alarm of a member that is alive is moved only when it rings.
                    let due = *due;
                    self.timers.set((group_id.clone(), alarm.clone()), due);
                    return;
                }
                _ => (member, "was not heard of within its session"),
            },
            Alarm::Rebalance(member) => {
                let still = |member: &Rc<ConsumerMember>| member.state == MemberState::UnrevokedPartitions;
                if !group.member(member).is_some_and(still) {
                    return;
                }
                (member, "did not give up its partitions in time")
            }
            Alarm::Rejoin(member) => (member, "has not joined again in time"),
            Alarm::Resync(member) => (member, "has not asked for its assignment in time"),
            Alarm::Join | Alarm::Sync | Alarm::Regex => return,
        };
        if group.member(member).is_none() {
            return;
        }
        tracing::info!("group {group_id}: {member} {why} and is out");
        self.fence_members(group_id, std::slice::from_ref(member), now, writes);
    }

    /// Members are out; the group may be a classic one without them.
    pub(super) fn fence_members(&mut self, group_id: &str, members: &[Rc<str>], now: Now, writes: &mut Writes<Groups>) {
        if members.is_empty() {
            return;
        }
        let Some(mut step) = self.consumer_step(group_id, now, writes) else { return };
        if step.is_downgrade(members) {
            self.downgrade_without(group_id, members, now, writes);
        } else {
            step.fence(members);
        }
    }

    pub(super) fn change_alarms(&mut self, group_id: &Rc<str>, changes: &[(Alarm, AlarmChange)], now: Now) {
        for (alarm, change) in changes {
            let key = (group_id.clone(), alarm.clone());
            match *change {
                AlarmChange::Cancel => self.timers.cancel(&key),
                AlarmChange::SetIfNone(_) if self.timers.get(&key).is_some() => {}
                AlarmChange::Set(after_ms) | AlarmChange::SetIfNone(after_ms) => {
                    let at = now.mono + ms(after_ms);
                    if let Alarm::Session(member) = alarm {
                        let Some(group) = self.groups.get_mut(group_id) else { continue };
                        let GroupKind::Consumer(group) = &mut group.kind else { continue };
                        group.due.insert(member.clone(), at);
                        if self.timers.get(&key).is_some_and(|there| there <= at) {
                            continue;
                        }
                    }
                    self.timers.set(key, at);
                }
            }
        }
    }

    /// After a restart members are given their time anew.
    pub(in crate::coordinator::group) fn arm_consumer_group(&mut self, group_id: &Rc<str>, now: Now) {
        let session_ms = self.config.group_consumer_session_timeout_ms;
        let Some(group) = self.consumer_mut(group_id) else { return };
        let mut changes = Vec::new();
        for member in group.members.values() {
            let session_ms = member.classic.as_ref().map_or(session_ms, |classic| classic.session_timeout_ms);
            changes.push((Alarm::Session(member.id.clone()), AlarmChange::Set(session_ms)));
            if member.state == MemberState::UnrevokedPartitions && member.classic.is_none() {
                changes.push((Alarm::Rebalance(member.id.clone()), AlarmChange::Set(member.rebalance_timeout_ms)));
            }
        }
        self.change_alarms(group_id, &changes, now);
    }
}
