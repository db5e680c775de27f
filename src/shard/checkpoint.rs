//! Stores checkpoints: flushes the segments, writes their state, and frees journal space.
//!
//! A round flushes each partition that has changed, those with the oldest journal groups first. As soon as a part of
//! them allows to free journal files, a checkpoint with their new states and the others' earlier ones is stored. So
//! appends do not wait for all partitions when the journal is full. The replay starts at the first group that any
//! partition needs besides its state (`partition::flushed`), and skips entries that a state holds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use crate::disk::StorageError;
use crate::disk::checkpoint::{CheckpointHead, CheckpointWriter};
use crate::disk::journal::ReplayStart;
use crate::model::Histogram;
use crate::partition::Partition;
use crate::runtime::clock::{self, Mono};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class, TimeSlice};

/// How often a checkpoint is stored if the shard was written to and the journal has space.
const INTERVAL: Duration = Duration::from_secs(60);
/// The pause before the next attempt on a full disk.
pub(super) const DISK_FULL_RETRY: Duration = Duration::from_millis(500);
/// The number of partitions that are flushed at the same time.
const FLUSHES: usize = 8;
/// The most times that a round determines whether an early checkpoint would free journal files.
const EARLY_CHECKS_MAX: usize = 64;
/// An early checkpoint frees at least this share of the journal, unless an append waits.
const EARLY_SHARE: usize = 8;

/// The checkpoints of a shard since its start.
#[derive(Default)]
pub struct CheckpointCounters {
    /// Attempts that failed.
    pub failed: Cell<u64>,
    /// The duration of each checkpoint that was stored, from the first flush to the end.
    pub duration: Histogram,
    /// The end of the latest of them.
    pub stored_at: Cell<Option<Mono>>,
}

impl CheckpointCounters {
    fn note(&self, outcome: &Result<(), StorageError>, duration: Duration) {
        if outcome.is_ok() {
            self.duration.observe(duration);
            self.stored_at.set(Some(clock::now()));
        } else {
            self.failed.set(self.failed.get() + 1);
        }
    }
}

/// The outcome of an attempt to store a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CheckpointOutcome {
    Stored,
    /// The disk is full. A later attempt may succeed.
    DiskFull,
    /// Storage failed, so the shard stores no more checkpoints (SHARD-3).
    Failed,
}

/// The flushes of one checkpoint.
struct Round {
    /// The partition with the oldest journal group is the last one.
    waiting: RefCell<Vec<Rc<Partition>>>,
    flushed: Cell<usize>,
    running: Cell<usize>,
    has_failed: Cell<bool>,
    /// A partition was flushed, or a flusher ended.
    moved: Notify,
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

    /// Flushes every changed partition and stores a checkpoint. `is_clean`: the shard stops, so segments are also cut
    /// to their lengths.
    pub(super) async fn checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        while self.checkpointing.replace(true) {
            self.checkpoint_done.notified().await;
        }
        let begun = clock::now();
        let outcome = self.write_checkpoint(is_clean).await;
        self.checkpoints.note(&outcome, begun.elapsed());
        let was_checkpointing = self.checkpointing.replace(false);
        assert!(was_checkpointing, "one checkpoint at a time");
        self.checkpoint_done.notify_all();
        outcome
    }

    /// SHARD-3: stops a checkpoint after a failure.
    fn require_no_failure(&self) -> Result<(), StorageError> {
        self.failure().map_or(Ok(()), |failure| Err(StorageError::Earlier(failure)))
    }

    pub(super) async fn write_checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        // The previous checkpoint may have failed while this one waited for it. A flush would succeed now, but proves
        // nothing.
        self.require_no_failure()?;
        let waiting = self.partitions_to_flush(is_clean).await;
        let check_every = waiting.len().div_ceil(EARLY_CHECKS_MAX).max(1);
        let round = Rc::new(Round {
            waiting: RefCell::new(waiting),
            flushed: Cell::new(0),
            running: Cell::new(FLUSHES),
            has_failed: Cell::new(false),
            moved: Notify::new(),
        });
        let flusher = || self.clone().flush_partitions(round.clone(), is_clean);
        let flushers: Vec<_> =
            (0..FLUSHES).map(|_| runtime::spawn(Class::Background, "checkpoint flush", flusher())).collect();
        let (mut outcome, mut checked) = (Ok(()), 0);
        while round.running.get() > 0 {
            if outcome.is_ok() && !round.has_failed.get() && round.flushed.get() - checked >= check_every {
                checked = round.flushed.get();
                if self.is_worth_an_early_checkpoint() {
                    outcome = self.store_checkpoint(false).await;
                    continue;
                }
            }
            round.moved.notified().await;
        }
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
        self.store_checkpoint(is_clean).await
    }

    /// The partitions whose flushed state is not the current one, or all for a clean checkpoint. Those with the oldest
    /// journal groups are the last ones.
    async fn partitions_to_flush(&self, is_clean: bool) -> Vec<Rc<Partition>> {
        let mut waiting = Vec::new();
        let slice = TimeSlice::begin();
        for partition in self.all_partitions() {
            if is_clean || partition.needs_flush() {
                waiting.push(partition);
            }
            slice.pause().await;
        }
        // Without a group: first in the row, and so flushed last.
        waiting.sort_by_cached_key(|partition| partition.needed_from().map(std::cmp::Reverse));
        waiting
    }

    /// Flushes partitions until none waits, or until one fails.
    async fn flush_partitions(self: Rc<Self>, round: Rc<Round>, is_clean: bool) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let Some(partition) = round.waiting.borrow_mut().pop() else { break };
            outcome = partition.flush(&self.journal, is_clean).await;
            round.flushed.set(round.flushed.get() + 1);
            round.moved.notify_all();
        }
        round.has_failed.set(round.has_failed.get() || outcome.is_err());
        round.running.set(round.running.get() - 1);
        round.moved.notify_all();
        outcome
    }

    /// The start of replay for a checkpoint with the latest flushed states.
    fn replay_start(&self) -> ReplayStart {
        let partitions = self.partitions.borrow();
        let needed = partitions.values().filter_map(|partition| partition.needed_from()).min();
        needed.map_or(self.journal.position(), |needed| self.journal.start_for(needed))
    }

    fn is_worth_an_early_checkpoint(&self) -> bool {
        let freed = self.journal.files_freed_by(&self.replay_start());
        let enough = if self.journal.is_waiting() { 1 } else { (self.journal.files_max() / EARLY_SHARE).max(1) };
        freed >= enough
    }

    /// Stores a checkpoint of the latest flushed states, and frees the journal space that it does not need.
    async fn store_checkpoint(self: &Rc<Self>, is_clean: bool) -> Result<(), StorageError> {
        self.require_no_failure()?;
        // The start and the states are of one moment, with no await in between.
        let start = self.replay_start();
        let mut states = Vec::new();
        for partition in self.partitions.borrow().values() {
            if let Some(state) = partition.flushed_state() {
                partition.checkpoint_started(&state);
                states.push((partition.clone(), state));
            }
        }
        let head = CheckpointHead {
            journal_id: self.journal.id(),
            journal_files: self.journal.files_count(),
            session: self.journal.session(),
            start: start.into(),
            metadata_index: self.image().index,
            is_clean,
        };
        assert!(self.failure().is_none(), "SHARD-3: no checkpoint is stored after a failure");
        assert!(start.sequence <= self.journal.position().sequence, "a checkpoint starts at or before the open group");
        let mut writer = CheckpointWriter::create(&self.data.checkpoint_path(self.layout, self.id.0), &head).await?;
        for (_, state) in &states {
            writer.push(&state.sections).await?;
        }
        writer.finish().await?;
        self.journal.release(&start);
        for (partition, state) in states {
            if partition.checkpoint_stored(&state).await? {
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
