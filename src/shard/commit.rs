//! Durable groups become visible: high watermarks move, then whoever waits to acknowledge is woken.

use std::rc::Rc;

use super::Shard;
use crate::disk::journal::Sequence;
use crate::model::Offset;
use crate::partition::Partition;

impl Shard {
    /// Every group up to and including this one may be acknowledged.
    pub fn committed(&self) -> Sequence {
        self.committed.get()
    }

    /// Notes that a group carries a batch of the partition which ends before `end_offset`.
    pub(super) fn note_uncommitted(&self, sequence: Sequence, partition: Rc<Partition>, end_offset: Offset) {
        let mut uncommitted = self.uncommitted.borrow_mut();
        // Batches of one partition in one group follow each other often.
        if let Some((last, same, end)) = uncommitted.back_mut()
            && *last == sequence
            && Rc::ptr_eq(same, &partition)
        {
            assert!(*end < end_offset, "a log only grows");
            *end = end_offset;
            return;
        }
        uncommitted.push_back((sequence, partition, end_offset));
    }

    /// Waits until the group may be acknowledged. Fails when it never will.
    pub async fn wait_committed(&self, sequence: Sequence) -> Result<(), String> {
        while self.committed.get() < sequence {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            self.committed_moved.notified().await;
        }
        Ok(())
    }

    pub(super) async fn run_commit(self: Rc<Self>) {
        loop {
            let durable = self.journal.durable();
            if durable > self.committed.get() {
                self.commit(durable);
            } else if self.journal.failure().is_some() {
                self.committed_moved.notify_all();
                return;
            }
            self.journal.moved().await;
        }
    }

    fn commit(&self, durable: Sequence) {
        loop {
            let mut uncommitted = self.uncommitted.borrow_mut();
            if uncommitted.front().is_none_or(|(sequence, ..)| *sequence > durable) {
                break;
            }
            let (_, partition, end_offset) = uncommitted.pop_front().expect("looked at just now");
            drop(uncommitted);
            if !partition.is_deleted() {
                partition.advance_high_watermark(end_offset);
            }
        }
        // SHARD-1
        self.committed.set(durable);
        self.committed_moved.notify_all();
    }
}
