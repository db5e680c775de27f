//! Checkpoints: segments flushed, their state noted, journal space free.
//!
//! The journal position comes first; each partition's state is captured after it and then flushed. So whatever was
//! appended before the position is in the segments, and replay from there brings the rest (and skips what a state
//! captured late already has).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::disk::StorageError;
use crate::disk::checkpoint::{Checkpoint, PartitionState};
use crate::runtime::{self, Class};

/// Without pressure from the journal, a checkpoint is stored this often if anything was written.
const INTERVAL: Duration = Duration::from_secs(60);
/// Partitions flushed at a time.
const FLUSHES: usize = 8;

impl Shard {
    pub(super) async fn run_checkpoint(self: Rc<Self>) {
        let mut stored_at = self.journal.position().sequence;
        // One that the full disk did not take is due still.
        let mut is_due = false;
        loop {
            if !std::mem::take(&mut is_due) {
                let pressure = self.journal.pressure();
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
                Some(true) => {
                    stored_at = now_at;
                    // The journal may have asked for the next one while this one was under way. It looks again when this task
                    // listens, for tasks run one after the other.
                    self.journal.recheck_space();
                }
                Some(false) => {
                    runtime::sleep(Duration::from_millis(500)).await;
                    is_due = true;
                }
                None => return,
            }
        }
    }

    /// Stores a checkpoint, or sees to it that who has to know of a failure does. `Some(false)`: the disk is full, for now;
    /// `None`: there will be no more.
    pub(super) async fn try_checkpoint(self: &Rc<Self>) -> Option<bool> {
        match self.checkpoint(false).await {
            Ok(()) => {
                self.space_is_back();
                Some(true)
            }
            Err(error) if error.is_disk_full() => {
                self.space_is_out(&error);
                Some(false)
            }
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    /// Asks for a checkpoint soon.
    pub fn request_checkpoint(&self) {
        self.checkpoint_wanted.notify_all();
    }

    /// Flushes every partition and stores a checkpoint. `is_clean`: the shard is stopping, so segments are also cut
    /// to their exact lengths.
    pub(super) async fn checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        while self.checkpointing.replace(true) {
            self.checkpoint_done.notified().await;
        }
        let outcome = self.write_checkpoint(is_clean).await;
        self.checkpointing.set(false);
        self.checkpoint_done.notify_all();
        outcome
    }

    /// SHARD-3.
    fn refuse_after_failure(&self) -> Result<(), StorageError> {
        self.failure().map_or(Ok(()), |failure| Err(StorageError::Refused(failure)))
    }

    async fn write_checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        // Whoever waited for a checkpoint that failed would flush again, and be told that all is well.
        self.refuse_after_failure()?;
        let start = self.journal.position();
        let waiting = Rc::new(RefCell::new(self.all_partitions()));
        let states: Rc<RefCell<Vec<PartitionState>>> = Rc::default();
        let flushers: Vec<_> = (0..FLUSHES)
            .map(|_| {
                let (waiting, states) = (waiting.clone(), states.clone());
                runtime::spawn(Class::Background, "checkpoint flush", async move {
                    loop {
                        let Some(partition) = waiting.borrow_mut().pop() else { return Ok(()) };
                        if let Some(state) = partition.flush(is_clean).await? {
                            states.borrow_mut().push(state);
                        }
                    }
                })
            })
            .collect();
        let mut outcome: Result<(), StorageError> = Ok(());
        for flusher in flushers {
            outcome = graver(outcome, flusher.await);
        }
        if outcome.as_ref().is_err_and(StorageError::is_disk_full) {
            // Space that the flush wants is perhaps theirs.
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
            is_clean,
            partitions,
        };
        self.refuse_after_failure()?;
        for state in &checkpoint.partitions {
            self.partition(state.id()).inspect(|partition| partition.checkpoint_started(state));
        }
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

/// What two outcomes come to. A full disk may pass, and what does not must not hide behind it: the kernel tells of a failed
/// flush once.
fn graver(one: Result<(), StorageError>, other: Result<(), StorageError>) -> Result<(), StorageError> {
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
    fn a_failed_flush_does_not_hide_behind_a_full_disk() {
        let full = || Err(StorageError::io("write segment", "a")(std::io::Error::from_raw_os_error(libc::ENOSPC)));
        let failed = || Err(StorageError::flush("flush segment", "b")(std::io::Error::from_raw_os_error(libc::ENOSPC)));
        assert!(graver(full(), failed()).is_err_and(|error| !error.is_disk_full()));
        assert!(graver(failed(), full()).is_err_and(|error| !error.is_disk_full()));
        assert!(graver(full(), full()).is_err_and(|error| error.is_disk_full()));
        assert!(graver(full(), Ok(())).is_err_and(|error| error.is_disk_full()));
        assert!(graver(Ok(()), failed()).is_err() && graver(Ok(()), Ok(())).is_ok());
    }
}
