//! One partition's log: a sequence of segments, byte for byte Kafka's.
//!
//! Owns: the segments, their indexes, and the log's directory. Inputs: whole batches with their offsets assigned, and
//! checkpoints that were stored. Outputs: byte ranges of batches, and the state that a checkpoint stores of the log.
//! Appended bytes are in memory at once and in the segment files some time later ([`segment`]). The journal makes them
//! durable, not this module. It does not know requests, high watermarks or acknowledgements: the reader passes a limit.
//!
//! Invariants:
//! - LOG-1: segments never overlap: each begins at or behind the end of the one before it; compaction leaves gaps.
//! - LOG-2: log start <= every readable offset < log end; both only grow, until a leader change truncates the log.
//! - LOG-3: a segment is removed only below the durable log start, and below the active segment of the stored
//!   checkpoint, so that no replay appends to it.
//! - LOG-4: compacted segments wait for a checkpoint only when no stored one names swaps of the log ([`clean::swap`]).
//! - LOG-5: the directory of a deleted log is renamed only when no task of the log uses a name in it ([`directory`]).
//!
//! Runs on the thread of the shard that owns the partition.

pub mod aborted;
mod append;
pub mod clean;
pub mod directory;
pub mod epochs;
pub mod index;
pub mod read;
pub mod recover;
mod retain;
pub mod segment;
pub mod tail;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use crate::config::TopicConfig;
use crate::disk::StorageError;
use crate::disk::checkpoint::PartitionState;
use crate::disk::layout::replace_file;
use crate::model::{LeaderEpoch, Offset, Position};
use crate::runtime::{self, Permit, Permits};
use aborted::AbortedTransaction;
use clean::swap::Swap;
use directory::LogDirectory;
use epochs::Epochs;
use segment::Segment;
use tail::Memory;

/// The offsets and times of a batch that is appended; its bytes are passed beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendedBatch {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The epoch of the leader that appends it.
    pub leader_epoch: LeaderEpoch,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
    /// The offset of the record with the largest timestamp.
    pub offset_of_max_timestamp: Offset,
}

/// The facts about a log in a checkpoint that the log itself has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointedLog {
    /// The active segment's base offset.
    pub segment_base_offset: Offset,
    /// Compacted segments are named as swaps.
    pub names_swap: bool,
}

impl CheckpointedLog {
    /// The facts in a partition's state.
    pub fn of(state: &PartitionState) -> CheckpointedLog {
        let names_swap = state.sealed.iter().any(|segment| segment.is_swap);
        CheckpointedLog { segment_base_offset: state.segment_base_offset, names_swap }
    }
}

/// Differs between two moments if the log's state for a checkpoint does, except for appended batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    segments: u64,
    log_start: Offset,
}

/// A partition's log.
pub struct Log {
    directory: Rc<LogDirectory>,
    config: RefCell<Rc<TopicConfig>>,
    /// The age at which the active segment is sealed: see [`roll_after_ms`].
    roll_after_ms: Cell<i64>,
    segments: RefCell<VecDeque<Rc<Segment>>>,
    start_offset: Cell<Offset>,
    /// At or behind `start_offset`; see [`retain`].
    decided_log_start: Cell<Offset>,
    /// Segments that the checkpoint names are missing, and no log start behind them is known so far.
    missing_segments: RefCell<Option<StorageError>>,
    epochs: RefCell<Epochs>,
    /// The epochs in the file. `None`: the content of the file is unknown.
    epochs_stored: RefCell<Option<Epochs>>,
    memory: Rc<Memory>,
    /// The ends of the latest reads: (offset, segment's number, position). A consumer's next read starts there.
    hints: RefCell<[(Offset, u64, Position); 8]>,
    next_hint: Cell<usize>,
    /// The active segment's base offset in the checkpoint that is on stable storage; LOG-3.
    checkpointed_base: Cell<Offset>,
    /// All offsets below it are compacted.
    cleaned_to: Cell<Offset>,
    swap: RefCell<Option<Swap>>,
    swap_was_withdrawn: Cell<bool>,
    /// The checkpoint that is on stable storage names swaps; LOG-4.
    swap_is_named: Cell<bool>,
    /// Segments that compaction has replaced, kept for readers that refer to them by number.
    replaced: Rc<RefCell<Vec<Rc<Segment>>>>,
    is_cleaning_disabled: Cell<bool>,
    /// Held by the one task that may add, rename or remove files in the directory. Rolling a segment does not need it.
    files: Permits,
    is_discarded: Cell<bool>,
}

impl Log {
    fn assemble(
        directory: Rc<LogDirectory>,
        config: Rc<TopicConfig>,
        segments: VecDeque<Rc<Segment>>,
        start_offset: Offset,
        epochs: Epochs,
        memory: Rc<Memory>,
    ) -> Log {
        assert!(!segments.is_empty(), "a log has an active segment");
        for (first, next) in segments.iter().zip(segments.iter().skip(1)) {
            let (end, base) = (first.end_offset(), next.base_offset);
            assert!(end <= base, "LOG-1: a segment ends at {end}, and the next one begins at {base}");
            assert!(first.is_sealed(), "only the last segment is active, not the one from {}", first.base_offset);
        }
        let last = segments.back().expect("not empty");
        assert!(!last.is_sealed(), "the last segment is active, the one from {} is sealed", last.base_offset);
        let end = last.end_offset();
        assert!(start_offset <= end, "LOG-2: log start {start_offset} <= log end {end}");
        let checkpointed_base = segments.back().expect("not empty").base_offset;
        Log {
            directory,
            roll_after_ms: Cell::new(roll_after_ms(&config)),
            config: RefCell::new(config),
            segments: RefCell::new(segments),
            start_offset: Cell::new(start_offset),
            decided_log_start: Cell::new(start_offset),
            missing_segments: RefCell::new(None),
            epochs: RefCell::new(epochs),
            epochs_stored: RefCell::new(None),
            memory,
            hints: RefCell::new([(Offset::UNKNOWN, 0, Position::ZERO); 8]),
            next_hint: Cell::new(0),
            checkpointed_base: Cell::new(checkpointed_base),
            cleaned_to: Cell::new(start_offset),
            swap: RefCell::new(None),
            swap_was_withdrawn: Cell::new(false),
            swap_is_named: Cell::new(false),
            replaced: Rc::default(),
            is_cleaning_disabled: Cell::new(false),
            files: Permits::new(1),
            is_discarded: Cell::new(false),
        }
    }

    /// The directory of the log's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The first offset that readers see.
    pub fn start_offset(&self) -> Offset {
        self.start_offset.get()
    }

    /// The offset that the next record gets (Kafka's LEO).
    pub fn end_offset(&self) -> Offset {
        self.active().end_offset()
    }

    /// The bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.borrow().iter().map(|segment| segment.size()).sum()
    }

    /// The number of segments, with the active one.
    pub fn segment_count(&self) -> usize {
        self.segments.borrow().len()
    }

    /// The topic's settings, shared with the partition.
    pub fn config(&self) -> Rc<TopicConfig> {
        self.config.borrow().clone()
    }

    /// Replaces the topic's settings.
    pub fn set_config(&self, config: Rc<TopicConfig>) {
        self.roll_after_ms.set(roll_after_ms(&config));
        *self.config.borrow_mut() = config;
    }

    /// The leader epochs and their start offsets.
    pub fn epochs(&self) -> std::cell::Ref<'_, Epochs> {
        self.epochs.borrow()
    }

    /// The segment that takes appends.
    pub fn active(&self) -> Rc<Segment> {
        self.segments.borrow().back().expect("a log has an active segment").clone()
    }

    /// The aborted transactions with records in `from..to`, in the order of their markers.
    pub async fn aborted_between(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, StorageError> {
        assert!(from <= to, "offsets {from}..{to}");
        let mut found = Vec::new();
        let segments: Vec<_> = {
            let segments = self.segments.borrow();
            let first = segments.partition_point(|segment| segment.end_offset() <= from);
            segments.iter().skip(first).filter(|segment| segment.first_aborted_offset() < to).cloned().collect()
        };
        for segment in segments {
            for entry in segment.aborted().await?.iter() {
                if entry.overlaps(from, to) {
                    found.push(*entry);
                }
                if entry.last_stable_offset >= to {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    // ---- write-back ---------------------------------------------------------------------------------------------

    /// Whether a segment has bytes or entries that are not flushed.
    pub fn is_dirty(&self) -> bool {
        self.segments.borrow().iter().rev().any(|segment| segment.is_dirty())
    }

    /// Writes and flushes everything appended before the call. Cuts sealed segments and stores their indexes.
    pub async fn flush(&self) -> Result<(), StorageError> {
        let segments: Vec<_> = self.segments.borrow().iter().filter(|segment| segment.is_dirty()).cloned().collect();
        for segment in segments {
            if segment.is_sealed() {
                segment.finish().await?;
            } else {
                segment.flush().await?;
                segment.store_new_index_entries().await?;
            }
            segment.store_aborted().await?;
        }
        self.store_epochs().await
    }

    /// Flushes everything for a graceful stop, cuts the active segment to its length and stores its indexes.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.flush().await?;
        let active = self.active();
        if active.size() > 0 { active.finish().await } else { Ok(()) }
    }

    async fn store_epochs(&self) -> Result<(), StorageError> {
        let epochs = self.epochs.borrow().clone();
        if self.epochs_stored.borrow().as_ref().map_or(epochs.entries().is_empty(), |stored| *stored == epochs) {
            return Ok(());
        }
        let Some(names) = self.directory.names() else { return Ok(()) };
        replace_file(&names.join("leader-epoch-checkpoint"), epochs.render().into_bytes()).await?;
        *self.epochs_stored.borrow_mut() = Some(epochs);
        Ok(())
    }

    /// The log's fingerprint now.
    pub fn fingerprint(&self) -> Fingerprint {
        let swap = self.swap.borrow();
        let segments = self.segments.borrow();
        let numbers = segments.iter().chain(swap.iter().flat_map(Swap::segments)).map(|segment| segment.number);
        let segments = numbers.fold(0, |hash: u64, number| hash.wrapping_mul(31).wrapping_add(number));
        Fingerprint { segments, log_start: self.decided_log_start() }
    }

    /// Notes that a checkpoint with this state of the log is on stable storage, and finishes the swap that it names.
    pub async fn checkpoint_stored(&self, stored: CheckpointedLog) -> Result<(), StorageError> {
        let CheckpointedLog { segment_base_offset, names_swap } = stored;
        self.checkpointed_base.set(self.checkpointed_base.get().max(segment_base_offset));
        let active = self.active().base_offset;
        assert!(segment_base_offset <= active, "LOG-3: the checkpoint's active segment lies behind the log's {active}");
        self.swap_is_named.set(names_swap);
        if names_swap { self.finish_swap().await } else { Ok(()) }
    }

    /// Waits until no other task adds, renames or removes files in the directory, and excludes them until the permit
    /// ends.
    pub async fn lock_files(&self) -> Permit {
        self.files.acquire(1).await
    }

    fn is_discarded(&self) -> bool {
        self.is_discarded.get()
    }
}

/// The age at which a segment is sealed: `segment.ms`, less a random part of `segment.jitter.ms`.
fn roll_after_ms(config: &TopicConfig) -> i64 {
    // KIP-354: only sealed segments are compacted, so a segment is sealed before max.compaction.lag.ms runs out.
    let age_ms = match config.cleanup_policy.compacts {
        true => config.segment_ms.min(config.max_compaction_lag_ms),
        false => config.segment_ms,
    };
    let jitter_ms = match config.segment_jitter_ms {
        0 => 0,
        max => (runtime::random_u64() % max.min(age_ms) as u64) as i64,
    };
    assert!((0..age_ms).contains(&jitter_ms), "the jitter {jitter_ms} leaves nothing of {age_ms} ms");
    age_ms - jitter_ms
}
