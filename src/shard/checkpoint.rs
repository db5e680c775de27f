//! Stores checkpoints: flushes the segments, writes their state, and frees journal space.
//!
//! The checkpoint takes the journal position first. Then it captures and flushes each partition. So the segments hold
//! every batch that was appended before the position, and a replay from there restores the rest. Replay skips the
//! batches that a state captured later already holds.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::disk::StorageError;
use crate::disk::checkpoint::{Checkpoint, PartitionState};
use crate::runtime::{self, Class};

/// How often a checkpoint is stored if the shard was written to and the journal has space.
const INTERVAL: Duration = Duration::from_secs(60);
/// The pause before the next attempt on a full disk.
pub(super) const DISK_FULL_RETRY: Duration = Duration::from_millis(500);
/// The number of partitions that are flushed at the same time.
const FLUSHES: usize = 8;

/// The outcome of an attempt to store a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CheckpointOutcome {
    Stored,
    /// The disk is full. A later attempt may succeed.
    DiskFull,
    /// Storage failed, so the shard stores no more checkpoints (SHARD-3).
    Failed,
}

impl Shard {
    pub(super) async fn run_checkpoint(self: Rc<Self>) {
        let mut stored_at = self.journal.position().sequence;
        // A full disk leaves the checkpoint due.
        let mut is_due = false;
        loop {
            if !std::mem::take(&mut is_due) {
                let pressure = self.journal.wait_pressure();
                let wanted = self.checkpoint_wanted.notified();
                let _ = runtime::timeout(INTERVAL, runtime::first(pressure, wanted)).await;
            }
            if self.stopping.get() || self.failure().is_some() {
                return;
            }
            let now_at = self.journal.position().sequence;
            if now_at == stored_at && !self.all_partitions().iter().any(|partition| partition.is_dirty()) {
                continue;
            }
            match self.try_checkpoint().await {
                CheckpointOutcome::Stored => {
                    stored_at = now_at;
                    // The journal may have requested the next checkpoint during this one, when this task did not
                    // listen. The writer repeats the request, and tasks run one at a time, so this task listens by
                    // then.
                    self.journal.recheck_space();
                }
                CheckpointOutcome::DiskFull => {
                    runtime::sleep(DISK_FULL_RETRY).await;
                    is_due = true;
                }
                CheckpointOutcome::Failed => return,
            }
        }
    }

    /// Stores a checkpoint. On failure, the shard fails or reports the full disk.
    pub(super) async fn try_checkpoint(self: &Rc<Self>) -> CheckpointOutcome {
        match self.checkpoint(false).await {
            Ok(()) => {
                self.leave_disk_full();
                CheckpointOutcome::Stored
            }
            Err(error) if error.is_disk_full() => {
                self.enter_disk_full(&error);
                CheckpointOutcome::DiskFull
            }
            Err(error) => {
                self.fail(error);
                CheckpointOutcome::Failed
            }
        }
    }

    /// Requests a checkpoint soon.
    pub fn request_checkpoint(&self) {
        self.checkpoint_wanted.notify_all();
    }

    /// Flushes every partition and stores a checkpoint. `is_clean`: the shard stops, so segments are also cut to their
    /// lengths.
    pub(super) async fn checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        while self.checkpointing.replace(true) {
            self.checkpoint_done.notified().await;
        }
        let outcome = self.write_checkpoint(is_clean).await;
        let was_checkpointing = self.checkpointing.replace(false);
        assert!(was_checkpointing, "one checkpoint at a time");
        self.checkpoint_done.notify_all();
        outcome
    }

    /// SHARD-3: stops a checkpoint after a failure.
    fn require_no_failure(&self) -> Result<(), StorageError> {
        self.failure().map_or(Ok(()), |failure| Err(StorageError::Earlier(failure)))
    }

    async fn write_checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        // The previous checkpoint may have failed while this one waited for it. A flush would succeed now, but proves
        // nothing.
        self.require_no_failure()?;
        let start = self.journal.position();
        let waiting = Rc::new(RefCell::new(self.all_partitions()));
        let states: Rc<RefCell<Vec<PartitionState>>> = Rc::default();
        let flushers: Vec<_> = (0..FLUSHES)
            .map(|_| {
                let (waiting, states) = (waiting.clone(), states.clone());
                runtime::spawn(Class::Background, "checkpoint flush", async move {
                    loop {
                        let Some(partition) = waiting.borrow_mut().pop() else { return Ok(()) };
                        if let Some(state) = partition.flush(is_clean, start.sequence).await? {
                            states.borrow_mut().push(state);
                        }
                    }
                })
            })
            .collect();
        let mut outcome: Result<(), StorageError> = Ok(());
        for flusher in flushers {
            outcome = more_severe(outcome, flusher.await);
        }
        if outcome.as_ref().is_err_and(StorageError::is_disk_full) {
            // Compacted segments that wait for a checkpoint may occupy the space that the flush needs.
            for partition in self.all_partitions() {
                partition.withdraw_swap().await;
            }
        }
        outcome?;
        let partitions = states.take();
        let checkpoint = Checkpoint {
            journal_id: self.journal.id(),
            journal_files: self.journal.files_count(),
            session: self.journal.session(),
            start: start.into(),
            metadata_index: self.image().index,
            is_clean,
            partitions,
        };
        self.require_no_failure()?;
        for state in &checkpoint.partitions {
            self.partition(state.id()).inspect(|partition| partition.checkpoint_started(state));
        }
        assert!(self.failure().is_none(), "SHARD-3: no checkpoint is stored after a failure");
        assert!(
            checkpoint.start.sequence <= self.journal.position().sequence.0,
            "a checkpoint starts at or before the open group"
        );
        checkpoint.store(&self.data.checkpoint_path(self.layout, self.id.0)).await?;
        self.journal.release(&start);
        for state in &checkpoint.partitions {
            if let Some(partition) = self.partition(state.id()) {
                partition.checkpoint_stored(state).await?;
                self.drop_segments(&partition).await;
            }
        }
        Ok(())
    }
}

/// Returns the more severe outcome: a full disk must not mask a failed flush, which the kernel reports only once.
fn more_severe(one: Result<(), StorageError>, other: Result<(), StorageError>) -> Result<(), StorageError> {
    match (one, other) {
        (Err(one), Err(other)) if one.is_disk_full() => Err(other),
        (Ok(()), other) => other,
        (failed, _) => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_does_not_mask_a_failed_flush() {
        let full = || Err(StorageError::io("write segment", "a")(std::io::Error::from_raw_os_error(libc::ENOSPC)));
        let failed = || Err(StorageError::flush("flush segment", "b")(std::io::Error::from_raw_os_error(libc::ENOSPC)));
        assert!(more_severe(full(), failed()).is_err_and(|error| !error.is_disk_full()));
        assert!(more_severe(failed(), full()).is_err_and(|error| !error.is_disk_full()));
        assert!(more_severe(full(), full()).is_err_and(|error| error.is_disk_full()));
        assert!(more_severe(full(), Ok(())).is_err_and(|error| error.is_disk_full()));
        assert!(more_severe(Ok(()), failed()).is_err() && more_severe(Ok(()), Ok(())).is_ok());
    }
}
