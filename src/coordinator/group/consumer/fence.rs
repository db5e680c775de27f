//! Removal of members: they leave, their session expires, or they exceed a rebalance deadline.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::{Alarm, GroupKind, Groups};
use super::member::{ConsumerMember, MemberState};
use super::{AlarmChange, ConsumerStep};
use crate::config::GroupConfig;
use crate::coordinator::group::rebalance::ms;
use crate::coordinator::group::record::Key;
use crate::coordinator::group::schema::ConsumerGroupTargetAssignmentMetadataValue;
use crate::coordinator::{Now, Writes};

impl ConsumerStep<'_> {
    /// Writes the tombstones of these members and raises the group's epoch.
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
        if !group.members.values().any(|member| stays(&member)) {
            // As in Kafka 4.4, the target of no members is up to date. Timestamp 0 lets the next member join at once.
            let target = ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: group.epoch + 1,
                assignment_timestamp: 0,
            };
            self.put(Key::Target { group: &id }, &target.to_bytes());
        }
        self.change_alarms_after_append();
    }

    pub(super) fn cancel_all(&mut self, member: &Rc<str>) {
        for alarm in [Alarm::Session, Alarm::Rebalance, Alarm::Rejoin, Alarm::Resync] {
            self.alarms.push((alarm(member.clone()), AlarmChange::Cancel));
        }
    }
}

impl Groups {
    /// Fences the member of a fired alarm, if its condition still holds.
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
                    // The session was extended: the alarm of a live member is moved only when it fires.
                    let due = *due;
                    self.timers.set((group_id.clone(), alarm.clone()), due);
                    return;
                }
                _ => (member, "its session expired"),
            },
            Alarm::Rebalance(member) => {
                let still = |member: &Rc<ConsumerMember>| member.state == MemberState::UnrevokedPartitions;
                if !group.member(member).is_some_and(still) {
                    return;
                }
                (member, "it has not revoked its partitions in time")
            }
            Alarm::Rejoin(member) => (member, "it has not rejoined in time"),
            Alarm::Resync(member) => (member, "it has not synced in time"),
            Alarm::Join | Alarm::Sync | Alarm::Regex => return,
        };
        if group.member(member).is_none() {
            return;
        }
        tracing::info!("group {group_id}: removed {member}: {why}");
        self.fence_members(group_id, std::slice::from_ref(member), now, writes);
    }

    /// Removes members. The group may become classic without them.
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
                        if self.timers.get(&key).is_some_and(|earlier| earlier <= at) {
                            continue;
                        }
                    }
                    self.timers.set(key, at);
                }
            }
        }
    }

    /// After a restart, gives each member its full timeouts.
    pub(in crate::coordinator::group) fn arm_consumer_group(&mut self, group_id: &Rc<str>, now: Now) {
        let session_ms = GroupConfig::resolve(self.image.group_overrides(group_id), &self.config).session_timeout_ms;
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
