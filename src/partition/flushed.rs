//! The state of a partition on stable storage, and the journal groups that a restart needs besides.
//!
//! ```text
//! append    -> unflushed_from    the first group with an entry that no captured state has
//! capture   -> flushing_from     the running flush makes these entries durable in the segments
//! flush     -> FlushedState      the next checkpoint stores it
//! ```
//! The shard stores a checkpoint at any time: of each partition it takes the latest flushed state, and the replay
//! starts at or before the first group that any of the partitions needs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Partition;
use crate::disk::StorageError;
use crate::disk::checkpoint::{PartitionState, partition_sections};
use crate::disk::journal::{Journal, Sequence};
use crate::log::{CheckpointedLog, Fingerprint};

/// A state that was captured, and was made true on disk by a flush.
pub struct FlushedState {
    /// The state's sections of a checkpoint file.
    pub sections: Vec<u8>,
    log: CheckpointedLog,
    /// `None`: captured in an earlier session.
    fingerprint: Option<Fingerprint>,
    /// The first group that the previous stored state needed and this one does not.
    covered_from: Option<Sequence>,
    /// A checkpoint with it may be on stable storage.
    is_started: Cell<bool>,
    /// A checkpoint with it is on stable storage.
    is_stored: Cell<bool>,
}

impl FlushedState {
    /// The state in the checkpoint that a restart found.
    pub async fn restored(state: PartitionState) -> Result<FlushedState, StorageError> {
        Ok(FlushedState {
            log: CheckpointedLog::of(&state),
            sections: partition_sections(state).await?,
            fingerprint: None,
            covered_from: None,
            is_started: Cell::new(true),
            is_stored: Cell::new(true),
        })
    }
}

/// The durability of a partition's log beyond the journal.
#[derive(Default)]
pub(super) struct Flushing {
    unflushed_from: Cell<Option<Sequence>>,
    flushing_from: Cell<Option<Sequence>>,
    /// The latest flushed state.
    flushed: RefCell<Option<Rc<FlushedState>>>,
    /// The state in the stored checkpoint.
    stored: RefCell<Option<Rc<FlushedState>>>,
}

fn earlier(one: Option<Sequence>, other: Option<Sequence>) -> Option<Sequence> {
    one.into_iter().chain(other).min()
}

impl Flushing {
    /// Notes that a group holds an entry of the partition.
    pub fn note(&self, sequence: Sequence) {
        if self.unflushed_from.get().is_none() {
            self.unflushed_from.set(Some(sequence));
        }
    }
}

/// Checkpoints.
impl Partition {
    /// Takes the state that a restart found in the checkpoint, and the first group of the replay that holds an entry of
    /// the partition.
    pub fn restore_flushed(&self, state: Option<FlushedState>, unflushed_from: Option<Sequence>) {
        let state = state.map(Rc::new);
        self.flushing.unflushed_from.set(unflushed_from);
        *self.flushing.stored.borrow_mut() = state.clone();
        *self.flushing.flushed.borrow_mut() = state;
    }

    /// The first journal group that a restart needs besides the latest flushed state.
    pub fn needed_from(&self) -> Option<Sequence> {
        earlier(self.flushing.flushing_from.get(), self.flushing.unflushed_from.get())
    }

    /// The latest flushed state. `None`: there is none yet, and the journal has all entries of the partition.
    pub fn flushed_state(&self) -> Option<Rc<FlushedState>> {
        self.flushing.flushed.borrow().clone()
    }

    /// Whether the latest flushed state is not the current one.
    pub fn needs_flush(&self) -> bool {
        let flushed = self.flushing.flushed.borrow();
        let is_same = flushed
            .as_ref()
            .is_some_and(|flushed| !flushed.log.names_swap && flushed.fingerprint == Some(self.log.fingerprint()));
        !is_same || self.needed_from().is_some() || self.log.is_dirty()
    }

    /// Captures the partition's state and flushes the log, so that the state is true on disk. `is_clean`: the shard
    /// stops, so the active segment is also cut to its length. After a failure the earlier state stays.
    pub async fn flush(&self, journal: &Journal, is_clean: bool) -> Result<(), StorageError> {
        let flushing = &self.flushing;
        flushing.flushing_from.set(self.needed_from());
        flushing.unflushed_from.set(None);
        let (state, fingerprint) = (self.capture(journal.position().sequence), self.log.fingerprint());
        let log = CheckpointedLog::of(&state);
        let flushed = if is_clean { self.log.close().await } else { self.log.flush().await };
        if self.is_deleted() {
            return Ok(());
        }
        flushed?;
        let sections = partition_sections(state).await?;
        let previous = self.flushed_state().filter(|previous| !previous.is_stored.get());
        let covered_from = earlier(previous.and_then(|previous| previous.covered_from), flushing.flushing_from.take());
        *flushing.flushed.borrow_mut() = Some(Rc::new(FlushedState {
            sections,
            log,
            fingerprint: Some(fingerprint),
            covered_from,
            is_started: Cell::new(false),
            is_stored: Cell::new(false),
        }));
        Ok(())
    }

    /// A checkpoint with this state is about to be stored: a restart may need every segment that the state names.
    pub fn checkpoint_started(&self, state: &FlushedState) {
        if !state.is_started.replace(true) {
            self.log.checkpoint_started(state.log);
        }
    }

    /// A checkpoint with this state is on stable storage: compacted segments replace the old ones. True: an earlier one
    /// had another state.
    pub async fn checkpoint_stored(&self, state: &Rc<FlushedState>) -> Result<bool, StorageError> {
        if state.is_stored.replace(true) {
            return Ok(false);
        }
        *self.flushing.stored.borrow_mut() = Some(state.clone());
        self.log.checkpoint_stored(state.log).await?;
        Ok(true)
    }

    /// On a full disk: removes compacted segments that no checkpoint can name, to free their space. A state that names
    /// them is dropped too. No checkpoint is being stored.
    pub async fn withdraw_swap(&self) {
        self.log.withdraw_swap().await;
        let flushing = &self.flushing;
        let is_void = self
            .flushed_state()
            .filter(|state| state.log.names_swap && !state.is_started.get() && !self.log.has_swap());
        if let Some(state) = is_void {
            flushing.unflushed_from.set(earlier(flushing.unflushed_from.get(), state.covered_from));
            *flushing.flushed.borrow_mut() = flushing.stored.borrow().clone();
        }
    }
}
