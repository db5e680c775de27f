//! One segment: a `.log` file, its indexes, and the part of it that is in memory.
//!
//! Owns: the segment's image. Its bytes are in up to three places: chunks (the newest bytes, perhaps not written yet),
//! pages (read back from disk for a reader that is behind), and the file. Inputs: whole batches, with their offsets and
//! times. Outputs: byte ranges, and files that Kafka's tools read. It does not know other segments, the log's start, or
//! the journal. Runs on the thread of the shard that owns the log.
//!
//! Invariants:
//! - SEG-1: `flushed <= written <= size`: the device has the bytes below `flushed`, the file those below `written`.
//! - SEG-2: a segment is cut and finished only when a flush that succeeded covers all of its bytes.
//! - SEG-3: a segment goes from active to sealed to finished, and from each of these to removed; never back.
//! - SEG-4: after a failed flush no flush of the segment succeeds: the kernel reports the failure once.
//!
//! [`append`] fills the newest chunks. [`write_back`] brings them through [`mod@file`] into the file, [`flush`] onto
//! the device. [`read`] returns bytes from memory or reads them back, [`evict`] releases memory and file handles,
//! [`remove`] deletes the files. [`indexes`] and [`aborted`] find positions in the segment, [`rebuild`] restores lost
//! indexes, [`peek`] steps from batch to batch.

mod aborted;
mod append;
mod evict;
pub(super) mod file;
mod flush;
mod indexes;
mod peek;
mod read;
mod rebuild;
mod remove;
mod state;
mod times;
mod write_back;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::directory::{LogDirectory, Names};
use super::index::Indexes;
use super::tail::{Chunk, Memory};
use crate::disk::StorageError;
use crate::model::Offset;
use crate::runtime::dir;
use crate::runtime::sync::Notify;
use aborted::Aborted;
pub(super) use aborted::read_aborted;
use file::SegmentFile;
pub(super) use peek::SCAN_BYTES;
pub use peek::{Missing, PeekError, Peeked};
pub use read::PAGE_BYTES;
use read::Page;
pub(super) use rebuild::{index_batch, rebuild_indexes};
use state::SegmentState;
pub use times::Times;

/// One segment of a log. Shared by the log, its readers and write-back.
pub struct Segment {
    /// The offset in the file names; no record has a lower one.
    pub base_offset: Offset,
    /// Unique within the shard. Compaction can give two segments the same base offset.
    pub number: u64,
    directory: Rc<LogDirectory>,
    content: RefCell<SegmentContent>,
    file: RefCell<Option<SegmentFile>>,
    indexes: RefCell<Option<Indexes>>,
    /// [`Memory`] counts the indexes.
    indexes_are_counted: Cell<bool>,
    aborted: RefCell<Aborted>,
    pages: RefCell<BTreeMap<u64, Page>>,
    memory: Rc<Memory>,
    /// In the write-back queue.
    pub(super) is_queued: Cell<bool>,
    is_writing: Cell<bool>,
    is_flushing: Cell<bool>,
    /// The flush that failed (SEG-4).
    flush_failure: RefCell<Option<Arc<StorageError>>>,
    /// Wakes tasks that wait for a write-back, a flush or a page.
    changed: Notify,
    /// The file and the indexes stay open: compaction is about to give their names to other files.
    is_pinned: Cell<bool>,
    /// Its directory entry is on stable storage.
    is_named: Cell<bool>,
}

struct SegmentContent {
    state: SegmentState,
    /// Exclusive.
    end_offset: Offset,
    size: u64,
    written: u64,
    flushed: u64,
    chunks: VecDeque<Rc<Chunk>>,
    times: Times,
    /// Entries of the offset index and of the time index that are in their files already.
    stored: (usize, usize),
}

impl SegmentContent {
    /// Checks SEG-1, after each move of a position.
    fn check(&self) {
        assert!(self.flushed <= self.written, "SEG-1: flushed {} <= written {}", self.flushed, self.written);
        assert!(self.written <= self.size, "SEG-1: written {} <= size {}", self.written, self.size);
    }
}

/// Kafka's file names: the base offset in 20 digits.
pub fn file_path(directory: &Path, base_offset: Offset, extension: &str) -> PathBuf {
    directory.join(format!("{base_offset:020}.{extension}"))
}

impl Segment {
    /// An empty segment that begins at `base_offset` and has no file yet.
    pub fn new(directory: &Rc<LogDirectory>, base_offset: Offset, memory: Rc<Memory>) -> Rc<Segment> {
        Segment::existing(directory, base_offset, 0, base_offset, Times::NONE, Some(Indexes::default()), false, memory)
    }

    /// A segment with `size` bytes in its file, all of them flushed.
    #[allow(clippy::too_many_arguments)]
    pub fn existing(
        directory: &Rc<LogDirectory>,
        base_offset: Offset,
        size: u64,
        end_offset: Offset,
        times: Times,
        indexes: Option<Indexes>,
        is_sealed: bool,
        memory: Rc<Memory>,
    ) -> Rc<Segment> {
        assert!(base_offset >= Offset::ZERO, "a segment begins at offset {base_offset}");
        assert!(base_offset <= end_offset, "LOG-1: a segment from {base_offset} ends at {end_offset}");
        let state = if is_sealed { SegmentState::Finished } else { SegmentState::Active };
        let content = SegmentContent {
            state,
            end_offset,
            size,
            written: size,
            flushed: size,
            chunks: VecDeque::new(),
            times,
            stored: (0, 0),
        };
        Rc::new(Segment {
            base_offset,
            number: memory.next_segment_number(),
            directory: directory.clone(),
            content: RefCell::new(content),
            file: RefCell::new(None),
            indexes: RefCell::new(indexes),
            indexes_are_counted: Cell::new(false),
            aborted: RefCell::new(Aborted::of(Vec::new(), 0)),
            pages: RefCell::new(BTreeMap::new()),
            memory,
            is_queued: Cell::new(false),
            is_writing: Cell::new(false),
            is_flushing: Cell::new(false),
            flush_failure: RefCell::new(None),
            changed: Notify::new(),
            is_pinned: Cell::new(false),
            is_named: Cell::new(size > 0),
        })
    }

    /// The offset behind the last record.
    pub fn end_offset(&self) -> Offset {
        self.content.borrow().end_offset
    }

    /// Bytes appended.
    pub fn size(&self) -> u64 {
        self.content.borrow().size
    }

    /// Bytes that are in the file.
    pub fn written(&self) -> u64 {
        self.content.borrow().written
    }

    /// Bytes that are on the device.
    pub fn flushed(&self) -> u64 {
        self.content.borrow().flushed
    }

    /// Whether a checkpoint must flush or finish the segment first.
    pub fn is_dirty(&self) -> bool {
        let content = self.content.borrow();
        content.flushed < content.size || content.state == SegmentState::Sealed || self.has_aborted_to_store()
    }

    /// The times of its records.
    pub fn times(&self) -> Times {
        self.content.borrow().times
    }

    /// The file's modification time; -1 when it is unknown or the file lacks bytes.
    pub fn modified_ms(&self) -> i64 {
        if self.flushed() < self.size() {
            return -1;
        }
        let names = self.directory.names();
        names.and_then(|names| dir::modified_ms(names.file(self.base_offset, "log")).ok()).unwrap_or(-1)
    }

    /// Whether the files are removed or about to be.
    pub(super) fn is_removed(&self) -> bool {
        matches!(self.content.borrow().state, SegmentState::Removed { .. })
    }

    /// Whether the segment takes no more appends.
    pub fn is_sealed(&self) -> bool {
        self.content.borrow().state.is_sealed()
    }

    pub(super) fn directory(&self) -> &Rc<LogDirectory> {
        &self.directory
    }

    /// The permission to use names in the directory.
    ///
    /// # Errors
    /// If the log is deleted.
    fn names(&self) -> Result<Names, StorageError> {
        self.directory.names().ok_or_else(|| self.removed_error())
    }

    /// The path of its `.log` file, for messages.
    pub fn log_path(&self) -> PathBuf {
        file_path(self.directory.path(), self.base_offset, "log")
    }
}
