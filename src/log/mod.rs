//! One partition's log: an unbroken row of segments, Kafka's to the byte.
//!
//! In come whole batches whose offsets are decided; out go byte ranges of them. What was appended is in memory at
//! once and in the segment files some time later ([`segment`]); durability is the journal's business, not this
//! module's. It does not know requests, high watermarks or acknowledgements: whoever reads says up to where.
//!
//! Invariants:
//! - LOG-1: segments are contiguous: each one begins at the offset where the one before ends, or later (gaps are
//!   what compaction leaves; never overlaps).
//! - LOG-2: log start <= every readable offset < log end; both only grow (until truncation by a leader change).
//! - LOG-3: a segment is removed only when the stored checkpoint has a later one as the active one (so that no replay
//!   appends to it), and when it is durable that the log begins behind it.
//! - LOG-4: compacted segments wait for a checkpoint only when no stored one names swaps of the log ([`clean::swap`]).
//!
//! Runs on the thread of the shard that owns the partition.

pub mod aborted;
pub mod clean;
pub mod epochs;
pub mod index;
pub mod read;
pub mod recover;
pub mod retain;
pub mod segment;
pub mod tail;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::TopicConfig;
use crate::disk::StorageError;
use crate::disk::checkpoint::PartitionState;
use crate::disk::layout::replace_file;
use crate::model::{LeaderEpoch, Offset};
use crate::runtime::{self, Permit, Permits};
use aborted::AbortedTransaction;
use clean::swap::Swap;
use epochs::Epochs;
use segment::Segment;
use tail::Memory;

/// What an append states of a batch; its bytes are given beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendedBatch {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub max_timestamp: i64,
    /// Of the record that bears it.
    pub offset_of_max_timestamp: Offset,
}

pub struct Log {
    directory: PathBuf,
    config: RefCell<Rc<TopicConfig>>,
    /// The age at which the active segment is sealed: see [`roll_after_ms`].
    roll_after_ms: Cell<i64>,
    segments: RefCell<VecDeque<Rc<Segment>>>,
    start_offset: Cell<Offset>,
    /// At or behind `start_offset`; see [`retain`].
    decided_log_start: Cell<Offset>,
    /// Segments that the checkpoint names are not there, and so far nothing says that the log begins behind them.
    unexplained: RefCell<Option<StorageError>>,
    epochs: RefCell<Epochs>,
    epochs_stored: Cell<usize>,
    memory: Rc<Memory>,
    /// Where the latest reads ended: (offset, segment's number, position). A consumer that goes on starts there.
    hints: RefCell<[(Offset, u64, u64); 8]>,
    next_hint: Cell<usize>,
    /// The active segment's base offset in the checkpoint that is on stable storage; LOG-3.
    checkpointed_base: Cell<Offset>,
    /// Everything below has been compacted.
    cleaned_to: Cell<Offset>,
    swap: RefCell<Option<Swap>>,
    swap_was_withdrawn: Cell<bool>,
    /// The checkpoint that is on stable storage names swaps; LOG-4.
    swap_is_named: Cell<bool>,
    /// Segments that compaction has replaced, for who may still ask for them.
    replaced: Rc<RefCell<Vec<Rc<Segment>>>>,
    is_uncleanable: Cell<bool>,
    /// One at a time changes what files the directory has, but for the appends at its end.
    upkeep: Permits,
    is_discarded: Cell<bool>,
}

impl Log {
    fn assemble(
        directory: &Path,
        config: Rc<TopicConfig>,
        segments: VecDeque<Rc<Segment>>,
        start_offset: Offset,
        epochs: Epochs,
        memory: Rc<Memory>,
    ) -> Log {
        assert!(!segments.is_empty(), "a log has an active segment");
        let checkpointed_base = segments.back().expect("not empty").base_offset;
        Log {
            directory: directory.to_owned(),
            roll_after_ms: Cell::new(roll_after_ms(&config)),
            config: RefCell::new(config),
            segments: RefCell::new(segments),
            start_offset: Cell::new(start_offset),
            decided_log_start: Cell::new(start_offset),
            unexplained: RefCell::new(None),
            epochs: RefCell::new(epochs),
            epochs_stored: Cell::new(0),
            memory,
            hints: RefCell::new([(-1, 0, 0); 8]),
            next_hint: Cell::new(0),
            checkpointed_base: Cell::new(checkpointed_base),
            cleaned_to: Cell::new(start_offset),
            swap: RefCell::new(None),
            swap_was_withdrawn: Cell::new(false),
            swap_is_named: Cell::new(false),
            replaced: Rc::default(),
            is_uncleanable: Cell::new(false),
            upkeep: Permits::new(1),
            is_discarded: Cell::new(false),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn start_offset(&self) -> Offset {
        self.start_offset.get()
    }

    /// The offset that the next record gets (Kafka's LEO).
    pub fn end_offset(&self) -> Offset {
        self.active().end_offset()
    }

    pub fn size_bytes(&self) -> u64 {
        self.segments.borrow().iter().map(|segment| segment.size()).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.borrow().len()
    }

    /// The topic's settings, shared with the partition.
    pub fn config(&self) -> Rc<TopicConfig> {
        self.config.borrow().clone()
    }

    pub fn set_config(&self, config: Rc<TopicConfig>) {
        self.roll_after_ms.set(roll_after_ms(&config));
        *self.config.borrow_mut() = config;
    }

    pub fn epochs(&self) -> std::cell::Ref<'_, Epochs> {
        self.epochs.borrow()
    }

    pub fn active(&self) -> Rc<Segment> {
        self.segments.borrow().back().expect("a log has an active segment").clone()
    }

    // ---- append -------------------------------------------------------------------------------------------------

    /// Makes sure that [`append`](Self::append) of a batch of `bytes` will find room, rolling to a new segment if
    /// that is due. False: memory is short; wait for [`Memory::freed`] and ask again. Nothing is promised across
    /// an await of the caller's own.
    pub async fn reserve(&self, bytes: usize, records: u32, now_ms: i64) -> Result<bool, StorageError> {
        if self.should_roll(bytes, records, now_ms) {
            self.roll();
        }
        let active = self.active();
        if active.has_room(bytes) {
            return Ok(true);
        }
        active.reserve(bytes).await
    }

    /// Whether a batch of `bytes` can be appended at once, without waiting for anything.
    pub fn has_room(&self, bytes: usize, records: u32, now_ms: i64) -> bool {
        !self.should_roll(bytes, records, now_ms) && self.active().has_room(bytes)
    }

    /// Room that was reserved, and is not used after all, goes back to the shard. Whoever else waits reserves anew.
    pub fn release_reservation(&self) {
        self.active().release_reservation();
    }

    /// Kafka's `LogSegment.shouldRoll`.
    fn should_roll(&self, bytes: usize, records: u32, now_ms: i64) -> bool {
        let active = self.active();
        let size = active.size();
        if size == 0 {
            return false;
        }
        let config = self.config.borrow();
        let first_append_ms = active.times().first_append_ms;
        let relative_end = active.end_offset() - active.base_offset + i64::from(records);
        size + bytes as u64 > config.segment_bytes
            || (first_append_ms >= 0 && now_ms - first_append_ms > self.roll_after_ms.get())
            || active.index_entries() + 1 > config.segment_index_bytes / index::OFFSET_ENTRY_BYTES
            || relative_end > i64::from(i32::MAX)
    }

    /// Seals the active segment and begins another.
    pub fn roll(&self) {
        let active = self.active();
        if active.size() == 0 {
            return;
        }
        let next = Segment::new(&self.directory, active.end_offset(), self.memory.clone());
        active.seal();
        self.segments.borrow_mut().push_back(next);
    }

    /// Appends one whole batch, given in pieces, at the log's end.
    pub fn append(&self, batch: &AppendedBatch, pieces: &[&[u8]], now_ms: i64) {
        assert!(batch.base_offset >= self.end_offset(), "LOG-1: offsets only grow");
        self.epochs.borrow_mut().note(batch.leader_epoch, batch.base_offset);
        let interval = self.config.borrow().index_interval_bytes;
        self.active().append(batch, pieces, now_ms, interval);
    }

    /// The marker that was appended last aborted this transaction.
    pub fn note_aborted(&self, aborted: AbortedTransaction) {
        assert_eq!(aborted.last_offset + 1, self.end_offset(), "an entry lies with its marker");
        self.active().note_aborted(aborted);
    }

    /// The aborted transactions that a reader of the offsets `from..to` meets records of, in the order of their markers.
    pub fn aborted_between(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut found = Vec::new();
        let segments = self.segments.borrow();
        let first = segments.partition_point(|segment| segment.end_offset() <= from);
        for segment in segments.iter().skip(first).filter(|segment| segment.first_aborted_offset() < to) {
            for entry in segment.aborted()?.iter() {
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

    pub fn is_dirty(&self) -> bool {
        self.segments.borrow().iter().rev().any(|segment| segment.is_dirty())
    }

    /// Writes and flushes all that was appended before the call; sealed segments are cut and get their indexes.
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

    /// For a graceful stop: everything flushed, the active segment cut to its length and its indexes stored.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.flush().await?;
        let active = self.active();
        if active.size() > 0 { active.finish().await } else { Ok(()) }
    }

    async fn store_epochs(&self) -> Result<(), StorageError> {
        let count = self.epochs.borrow().entries().len();
        if count == self.epochs_stored.get() {
            return Ok(());
        }
        let text = self.epochs.borrow().render();
        replace_file(&self.directory.join("leader-epoch-checkpoint"), text.into_bytes()).await?;
        self.epochs_stored.set(count);
        Ok(())
    }

    /// A checkpoint with this state of the log is on stable storage.
    pub async fn checkpoint_stored(&self, state: &PartitionState) -> Result<(), StorageError> {
        self.checkpointed_base.set(self.checkpointed_base.get().max(state.segment_base_offset));
        let names_swap = state.sealed.iter().any(|segment| segment.is_swap);
        self.swap_is_named.set(names_swap);
        if names_swap { self.finish_swap().await } else { Ok(()) }
    }

    /// Waits until nobody else changes what files the directory has, and keeps it so.
    pub async fn lock_files(&self) -> Permit {
        self.upkeep.acquire(1).await
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
