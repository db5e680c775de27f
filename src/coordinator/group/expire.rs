//! Expiry: removes offsets that are unused for the retention time (KIP-211), offsets of deleted topics, and groups
//! without members and offsets. Each step does a bounded part, so that its batch is small and other steps do not wait
//! long.

use std::rc::Rc;
use std::time::Duration;

use super::classic::ClassicGroupState;
use super::offsets::CommittedOffset;
use super::record::Key;
use super::{Group, GroupKind, Groups};
use crate::coordinator::{Now, Writes};
use crate::metadata::ImageUpdate;
use crate::model::ErrorCode;

/// Limits the tombstones of one step.
const WRITES_BYTES_MAX: usize = 128 << 10;
/// Groups checked in one step.
const GROUPS_PER_STEP: usize = 1000;

impl Groups {
    pub(super) fn schedule_expiry(&mut self, now: Now) {
        self.next_expiry = now.mono + Duration::from_millis(self.config.offsets_retention_check_interval_ms as u64);
    }

    /// Continues the expiry. Work that does not fit into this step stays due.
    pub(super) fn continue_expiry(&mut self, now: Now, writes: &mut Writes<Groups>) {
        if self.next_expiry <= now.mono {
            self.schedule_expiry(now);
            self.expiring = self.groups.keys().cloned().collect();
        }
        let left = self.put_expiry_tombstones(now, writes);
        // If the append fails, the work stays queued.
        writes.after_append(move |groups, _, appended| {
            if appended.is_ok() {
                groups.deleted.truncate(left.0);
                groups.expiring.truncate(left.1);
            }
        });
    }

    /// Returns the lengths of `deleted` and of `expiring` that remain after this step.
    fn put_expiry_tombstones(&self, now: Now, writes: &mut Writes<Groups>) -> (usize, usize) {
        for (done, (group_id, topic)) in self.deleted.iter().rev().enumerate() {
            let Some(group) = self.groups.get(group_id) else { continue };
            let committed = group.offsets.committed.of_topic(topic);
            let pending = group.offsets.pending.values().flat_map(|table| table.of_topic(topic));
            for partition in committed.chain(pending) {
                if writes.bytes() > WRITES_BYTES_MAX {
                    return (self.deleted.len() - done, self.expiring.len());
                }
                writes.put(&Key::Offset { group: group_id, topic, partition }.to_bytes(), None);
            }
        }
        let retention_ms = i64::from(self.config.offsets_retention_minutes) * 60_000;
        let mut left = self.expiring.len();
        for group_id in self.expiring.iter().rev().take(GROUPS_PER_STEP) {
            let expired = self.groups.get(group_id).map(|group| expire(group, retention_ms, now, writes));
            match expired {
                Some(Expiry::All) => self.put_group_tombstones(group_id, now, writes),
                Some(Expiry::Some) | None => {}
                Some(Expiry::Incomplete) => break,
            }
            left -= 1;
            if writes.bytes() > WRITES_BYTES_MAX {
                break;
            }
        }
        (0, left)
    }

    /// Whether an expiry step is due at once.
    pub(super) fn has_expiry_work(&self) -> bool {
        !self.deleted.is_empty() || !self.expiring.is_empty()
    }

    /// Queues the removal of the offsets of deleted topics.
    pub(super) fn queue_deleted_topics(&mut self, update: &ImageUpdate) {
        for topic in update.deleted_topics() {
            let name = topic.name.as_str();
            let readers = self.groups.values().filter(|group| {
                group.offsets.committed.of_topic(name).next().is_some()
                    || group.offsets.pending.values().any(|table| table.of_topic(name).next().is_some())
            });
            let readers: Vec<_> = readers.map(|group| (group.id.clone(), Rc::from(name))).collect();
            self.deleted.extend(readers);
        }
    }

    /// Deletes an empty group in bounded parts. Returns false while parts remain.
    pub fn delete(&mut self, group_id: &str, now: Now, writes: &mut Writes<Groups>) -> Result<bool, ErrorCode> {
        let group = self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.kind.is_empty() {
            // A client may wait exactly as long as its session takes, and its request can overtake the alarm.
            let has_ended = self.classic_step(group_id, now, writes).is_some_and(|mut step| step.end_due_sessions());
            return if has_ended { Ok(false) } else { Err(ErrorCode::NonEmptyGroup) };
        }
        for (topic, partition) in group.offsets.all() {
            if writes.bytes() > WRITES_BYTES_MAX {
                return Ok(false);
            }
            writes.put(&Key::Offset { group: group_id, topic: &topic, partition }.to_bytes(), None);
        }
        self.put_group_tombstones(group_id, now, writes);
        Ok(true)
    }

    /// Writes the tombstones of an empty group.
    fn put_group_tombstones(&self, group_id: &str, now: Now, writes: &mut Writes<Groups>) {
        match self.consumer_step(group_id, now, writes) {
            Some(mut step) => step.put_group_tombstones(),
            None => writes.put(&Key::Group { group: group_id }.to_bytes(), None),
        }
    }
}

/// The time at which the offset became unused. `None` while it is in use.
fn unused_since(kind: &GroupKind, topic: &str, committed: &CommittedOffset) -> Option<i64> {
    if kind.is_subscribed_to(topic) && !kind.is_empty() {
        return None;
    }
    let GroupKind::Classic(classic) = kind else { return Some(committed.commit_timestamp_ms) };
    match (&classic.protocol_type, classic.state) {
        (None, _) => Some(committed.commit_timestamp_ms),
        (Some(_), ClassicGroupState::Empty) if classic.state_timestamp_ms >= 0 => Some(classic.state_timestamp_ms),
        (Some(_), ClassicGroupState::Empty) => Some(committed.commit_timestamp_ms),
        (Some(_), ClassicGroupState::Stable) if classic.subscribed.is_some() => Some(committed.commit_timestamp_ms),
        _ => None,
    }
}

/// The result of one expiry check.
enum Expiry {
    /// The group has neither members nor offsets left.
    All,
    Some,
    /// The batch is full; more offsets are due.
    Incomplete,
}

fn expire(group: &Group, retention_ms: i64, now: Now, writes: &mut Writes<Groups>) -> Expiry {
    let mut stays = false;
    for (topic, partition, committed) in group.offsets.committed.all() {
        let unused_since = unused_since(&group.kind, topic, committed);
        let expires_at = match committed.expire_timestamp_ms {
            -1 => unused_since.map(|since| since.saturating_add(retention_ms)),
            at => unused_since.map(|_| at),
        };
        if expires_at.is_none_or(|at| at > now.wall_ms) || group.offsets.is_unstable(topic, partition) {
            stays = true;
            continue;
        }
        if writes.bytes() > WRITES_BYTES_MAX {
            return Expiry::Incomplete;
        }
        writes.put(&Key::Offset { group: &group.id, topic, partition }.to_bytes(), None);
    }
    let is_forming = matches!(&group.kind, GroupKind::Classic(classic) if !classic.pending.is_empty());
    let is_over = !stays && group.offsets.pending.is_empty() && group.kind.is_empty() && !is_forming;
    if is_over { Expiry::All } else { Expiry::Some }
}
