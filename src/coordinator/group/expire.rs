//! What goes by itself: offsets that nobody has needed for long (KIP-211), those of deleted topics, and groups without either
//! members or offsets. A little at a time: one batch is bounded, and other steps are not to wait for long.

use std::rc::Rc;
use std::time::Duration;

use super::classic::ClassicGroupState;
use super::offsets::CommittedOffset;
use super::record::Key;
use super::{Group, GroupKind, Groups};
use crate::coordinator::{Now, Writes};
use crate::metadata::Image;
use crate::model::ErrorCode;

/// Tombstones of one step take about this much at most.
const WRITES_BYTES_MAX: usize = 128 << 10;
/// Groups looked at in one step.
const GROUPS_PER_STEP: usize = 1000;

impl Groups {
    pub(super) fn schedule_expiry(&mut self, now: Now) {
        self.next_expiry = now.mono + Duration::from_millis(self.config.offsets_retention_check_interval_ms as u64);
    }

    /// Goes on with what is to be forgotten. What does not fit this step stays due.
    pub(super) fn continue_expiry(&mut self, now: Now, writes: &mut Writes<Groups>) {
        if self.next_expiry <= now.mono {
            self.schedule_expiry(now);
            self.expiring = self.groups.keys().cloned().collect();
        }
        let left = self.put_expiry_tombstones(now, writes);
        // What could not be written is still to be forgotten.
        writes.after_append(move |groups, _, appended| {
            if appended.is_ok() {
                groups.deleted.truncate(left.0);
                groups.expiring.truncate(left.1);
            }
        });
    }

    /// How many of `deleted` and of `expiring` are still to be looked at after this step.
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

    /// Whether a step for this is due at once.
    pub(super) fn has_expiry_work(&self) -> bool {
        !self.deleted.is_empty() || !self.expiring.is_empty()
    }

    /// A topic's offsets go with it.
    pub(super) fn queue_deleted_topics(&mut self, before: &Image, after: &Image) {
        for topic in before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()) {
            let name = topic.name.as_str();
            let readers = self.groups.values().filter(|group| {
                group.offsets.committed.of_topic(name).next().is_some()
                    || group.offsets.pending.values().any(|table| table.of_topic(name).next().is_some())
            });
            let readers: Vec<_> = readers.map(|group| (group.id.clone(), Rc::from(name))).collect();
            self.deleted.extend(readers);
        }
    }

    /// Deletes a group that nobody is in, a part of it at a time. False: there is more.
    pub fn delete(&mut self, group_id: &str, now: Now, writes: &mut Writes<Groups>) -> Result<bool, ErrorCode> {
        let group = self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.kind.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
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

    /// Writes that there is no such group any more. Nobody is in it.
    fn put_group_tombstones(&self, group_id: &str, now: Now, writes: &mut Writes<Groups>) {
        match self.consumer_step(group_id, now, writes) {
            Some(mut step) => step.put_group_tombstones(),
            None => writes.put(&Key::Group { group: group_id }.to_bytes(), None),
        }
    }
}

/// Since when an offset of the group has been of no use; None: it still is.
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

/// What has become of a group's offsets.
enum Expiry {
    /// It has none, and nobody is in it.
    All,
    Some,
    /// One batch does not take all that is to go.
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
