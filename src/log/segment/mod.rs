//! One segment: a `.log` file, its indexes, and whatever of it is in memory.
//!
//! Its bytes are in up to three places: chunks (the newest, not all written yet), pages (read back from disk for
//! somebody who is behind), and the file. `written` says up to where the file has them, `flushed` up to where the
//! device has: `flushed <= written <= size`.
//!
//! [`append`] fills the newest chunks, [`write_back`] brings them into the file and onto the device, [`read`] has them in memory
//! or brings them back, [`rest`] gives memory and files back, [`remove`] is the end. [`indexes`] and [`aborted`] lead into
//! the segment, [`peek`] steps through it.

mod aborted;
mod append;
mod indexes;
mod peek;
mod read;
mod remove;
mod rest;
mod write_back;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::index::Indexes;
use super::tail::{Chunk, Memory};
use crate::model::Offset;
use crate::runtime::dir;
use crate::runtime::file::File;
use crate::runtime::sync::Notify;
use aborted::Aborted;
pub(super) use aborted::read_aborted;
pub use peek::{Missing, PeekError, Peeked};
pub use read::PAGE_BYTES;
use read::Page;

pub struct Segment {
    pub base_offset: Offset,
    /// No other segment of the shard has it. Offsets tell segments apart only until one is compacted.
    pub number: u64,
    directory: PathBuf,
    state: RefCell<State>,
    file: RefCell<Option<File>>,
    indexes: RefCell<Option<Rc<Indexes>>>,
    aborted: RefCell<Aborted>,
    pages: RefCell<BTreeMap<u64, Page>>,
    memory: Rc<Memory>,
    /// In the write-back queue.
    pub(super) queued: Cell<bool>,
    writing: Cell<bool>,
    changed: Notify,
    removed: Cell<bool>,
    /// Its file and indexes stay open: their names are about to mean others.
    pinned: Cell<bool>,
    /// Its directory entry is on stable storage.
    is_named: Cell<bool>,
}

struct State {
    /// Exclusive.
    end_offset: Offset,
    size: u64,
    written: u64,
    flushed: u64,
    chunks: VecDeque<Rc<Chunk>>,
    times: Times,
    is_sealed: bool,
    /// Cut to its length, with its indexes stored whole.
    is_finished: bool,
    /// Index entries that are in the files already.
    stored: (usize, usize),
}

/// What a segment knows about its records' times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    pub max_timestamp: i64,
    pub offset_of_max: Offset,
    /// Wall time of the first append, for rolling by time. -1 when unknown.
    pub first_append_ms: i64,
}

impl Times {
    pub const NONE: Times = Times { max_timestamp: -1, offset_of_max: -1, first_append_ms: -1 };
}

/// Kafka's file names: the base offset in 20 digits.
pub fn file_path(directory: &Path, base_offset: Offset, extension: &str) -> PathBuf {
    directory.join(format!("{base_offset:020}.{extension}"))
}

impl Segment {
    /// A segment that begins at `base_offset` and of which nothing is on disk yet.
    pub fn new(directory: &Path, base_offset: Offset, memory: Rc<Memory>) -> Rc<Segment> {
        Segment::existing(directory, base_offset, 0, base_offset, Times::NONE, Some(Indexes::default()), false, memory)
    }

    /// A segment of which `size` bytes are in its file.
    #[allow(clippy::too_many_arguments)]
    pub fn existing(
        directory: &Path,
        base_offset: Offset,
        size: u64,
        end_offset: Offset,
        times: Times,
        indexes: Option<Indexes>,
        is_sealed: bool,
        memory: Rc<Memory>,
    ) -> Rc<Segment> {
        let state = State {
            end_offset,
            size,
            written: size,
            flushed: size,
            chunks: VecDeque::new(),
            times,
            is_sealed,
            is_finished: is_sealed,
            stored: (0, 0),
        };
        Rc::new(Segment {
            base_offset,
            number: memory.next_segment_number(),
            directory: directory.to_owned(),
            state: RefCell::new(state),
            file: RefCell::new(None),
            indexes: RefCell::new(indexes.map(Rc::new)),
            aborted: RefCell::new(Aborted::of(Vec::new(), 0)),
            pages: RefCell::new(BTreeMap::new()),
            memory,
            queued: Cell::new(false),
            writing: Cell::new(false),
            changed: Notify::new(),
            removed: Cell::new(false),
            pinned: Cell::new(false),
            is_named: Cell::new(size > 0),
        })
    }

    pub fn end_offset(&self) -> Offset {
        self.state.borrow().end_offset
    }

    pub fn size(&self) -> u64 {
        self.state.borrow().size
    }

    pub fn written(&self) -> u64 {
        self.state.borrow().written
    }

    pub fn flushed(&self) -> u64 {
        self.state.borrow().flushed
    }

    pub fn is_dirty(&self) -> bool {
        let state = self.state.borrow();
        state.flushed < state.size || (state.is_sealed && !state.is_finished) || self.has_aborted_to_store()
    }

    pub fn times(&self) -> Times {
        self.state.borrow().times
    }

    /// When the file was last written; -1 while it lacks bytes, or when nobody knows.
    pub fn modified_ms(&self) -> i64 {
        if self.flushed() < self.size() { -1 } else { dir::modified_ms(self.log_path()).unwrap_or(-1) }
    }

    pub fn is_sealed(&self) -> bool {
        self.state.borrow().is_sealed
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn log_path(&self) -> PathBuf {
        file_path(&self.directory, self.base_offset, "log")
    }
}
