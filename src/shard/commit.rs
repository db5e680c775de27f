//! Commits durable journal groups: advances high watermarks, then wakes the tasks that wait to acknowledge.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use crate::disk::StorageError;
use crate::disk::journal::Sequence;
use crate::model::Offset;
use crate::partition::Partition;
use crate::runtime::clock::{self, Mono};

impl Shard {
    /// Every group up to and including this one is committed, and may be acknowledged.
    pub fn committed(&self) -> Sequence {
        self.committed.get()
    }

    /// The time of the latest commit.
    pub fn committed_at(&self) -> Mono {
        self.committed_at.get()
    }

    /// Notes that a group holds a batch of the partition, and that the batch ends before `end_offset`.
    pub(super) fn note_uncommitted(&self, sequence: Sequence, partition: Rc<Partition>, end_offset: Offset) {
        assert!(sequence > self.committed.get(), "SHARD-1: a committed group takes no batch");
        let mut uncommitted = self.uncommitted.borrow_mut();
        // Several batches of one partition often follow each other in one group.
        if let Some((last, same, end)) = uncommitted.back_mut()
            && *last == sequence
            && Rc::ptr_eq(same, &partition)
        {
            assert!(*end < end_offset, "a log only grows");
            *end = end_offset;
            return;
        }
        let is_ascending = uncommitted.back().is_none_or(|(last, ..)| *last <= sequence);
        assert!(is_ascending, "SHARD-1: appends are noted in the journal's order");
        uncommitted.push_back((sequence, partition, end_offset));
    }

    /// Waits until the group is committed. Fails when it never will be.
    pub async fn wait_committed(&self, sequence: Sequence) -> Result<(), Arc<StorageError>> {
        while self.committed.get() < sequence {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            self.committed_moved.reached(sequence.0).await;
        }
        Ok(())
    }

    /// Waits until everything that was appended before the call is committed, and returns the time that this took.
    /// Fails when that will never happen.
    pub async fn wait_appended(&self) -> Result<Duration, Arc<StorageError>> {
        let began = clock::now();
        self.wait_committed(self.journal.last_appended()).await?;
        Ok(began.elapsed())
    }

    pub(super) async fn run_commit(self: Rc<Self>) {
        loop {
            let durable = self.journal.durable();
            if durable > self.committed.get() {
                self.commit(durable);
            } else if self.journal.failure().is_some() {
                self.committed_moved.reach(u64::MAX);
                return;
            }
            self.journal.wait_progress().await;
        }
    }

    /// Commits every group up to `durable`.
    fn commit(&self, durable: Sequence) {
        assert!(durable <= self.journal.durable(), "PART-2: only durable groups advance a high watermark");
        loop {
            let mut uncommitted = self.uncommitted.borrow_mut();
            if uncommitted.front().is_none_or(|(sequence, ..)| *sequence > durable) {
                break;
            }
            let (sequence, partition, end_offset) = uncommitted.pop_front().expect("the loop found it");
            drop(uncommitted);
            assert!(sequence > self.committed.get(), "SHARD-1: a group is committed once");
            if !partition.is_deleted() {
                partition.advance_high_watermark(end_offset);
            }
        }
        let next = self.uncommitted.borrow().front().map(|(sequence, ..)| *sequence);
        assert!(next.is_none_or(|next| next > durable), "SHARD-1: every high watermark advances before `committed`");
        let before = self.committed.replace(durable);
        self.committed_at.set(clock::now());
        assert!(before < durable, "`committed` only grows");
        self.committed_moved.reach(durable.0);
    }
}
