//! One segment: a `.log` file, its indexes, and whatever of it is in memory.
//!
//! Its bytes are in up to three places: chunks (the newest, not all written yet), pages (read back from disk for
//! somebody who is behind), and the file. `written` says up to where the file has them, `flushed` up to where the
//! device has: `flushed <= written <= size`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::aborted::{self, AbortedTransaction};
use super::index::{Indexes, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use super::tail::{Chunk, Memory};
use crate::disk::{BLOCK_BYTES, StorageError, block_ceil, block_floor};
use crate::model::Offset;
use crate::runtime::buf::{AlignedBuf, Slice};
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};

/// What one cold read takes from the file, at a multiple of itself. Several are in flight for a large fetch, and
/// more ahead of a reader who goes on: the device wants at least 128 KiB at depth 8.
pub const PAGE_BYTES: u64 = 256 << 10;
/// Pages read ahead of a sequential reader.
const READ_AHEAD_PAGES: u64 = 6;

/// A removed file's space is freed in such steps. At once it holds up every flush: the journal's for 190 ms while ext4 freed
/// 1.3 GB.
const RELEASE_BYTES: u64 = 1 << 20;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

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

impl State {
    /// Bytes that fit the chunks there are: the rest of the one in use, and those reserved behind it.
    fn room(&self) -> usize {
        self.chunks.iter().rev().map(|chunk| chunk.buf.remaining()).take_while(|remaining| *remaining > 0).sum()
    }
}

/// The transactions that a marker in this segment aborted; see [`aborted`].
struct Aborted {
    /// `None`: at rest in the file.
    entries: Option<Rc<Vec<AbortedTransaction>>>,
    count: usize,
    /// Entries that are flushed.
    stored: usize,
    /// Where the earliest of them began; the maximum without any. Readers below it need not look.
    first_offset: Offset,
}

impl Aborted {
    fn of(entries: Vec<AbortedTransaction>, stored: usize) -> Aborted {
        let first_offset = entries.iter().map(|entry| entry.first_offset).min().unwrap_or(Offset::MAX);
        Aborted { count: entries.len(), stored, first_offset, entries: Some(Rc::new(entries)) }
    }
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

enum Page {
    Loading,
    Here(Slice),
}

fn page_start(position: u64) -> u64 {
    position - position % PAGE_BYTES
}

/// A batch of which only the header was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peeked {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub bytes: u64,
    pub max_timestamp: i64,
    pub leader_epoch: i32,
    /// See `record::header`.
    pub attributes: i16,
}

/// Enough of a batch's header to step over it; see `record::header` for the whole.
const PEEK_BYTES: usize = 61;

impl Peeked {
    /// `None` when the bytes cannot be a batch's header.
    pub fn parse(head: &[u8; PEEK_BYTES]) -> Option<Peeked> {
        let i32_at = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let (base_offset, length, delta) = (i64_at(0), i32_at(8), i32_at(23));
        let plausible = base_offset >= 0 && length as i64 >= (PEEK_BYTES - 12) as i64 && delta >= 0 && head[16] == 2;
        plausible.then(|| Peeked {
            base_offset,
            last_offset: base_offset + i64::from(delta),
            bytes: length as u64 + 12,
            max_timestamp: i64_at(35),
            leader_epoch: i32_at(12),
            attributes: i16::from_be_bytes(head[21..23].try_into().expect("2 bytes")),
        })
    }
}

/// Bytes that are not in memory: where they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    pub position: u64,
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

    pub fn is_sealed(&self) -> bool {
        self.state.borrow().is_sealed
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn log_path(&self) -> PathBuf {
        file_path(&self.directory, self.base_offset, "log")
    }

    // ---- append -------------------------------------------------------------------------------------------------

    /// Whether `bytes` more can be appended without asking for anything.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.state.borrow().room() >= bytes
    }

    /// Makes room for `bytes` more. False: memory is short now. The last block of what is written already comes
    /// back from the file when the chunk that held it was given back.
    pub async fn reserve(self: &Rc<Self>, bytes: usize) -> Result<bool, StorageError> {
        loop {
            let (size, mut room, last) = {
                let state = self.state.borrow();
                (state.size, state.room(), state.chunks.back().cloned())
            };
            if last.is_none() && !size.is_multiple_of(BLOCK_BYTES as u64) {
                let start = block_floor(size);
                let block = self.read_file(start, BLOCK_BYTES).await?;
                // Somebody else may have been here while we read, and even be gone again.
                if !self.state.borrow().chunks.is_empty() || self.size() != size {
                    continue;
                }
                let want = chunk_bytes(0, bytes + BLOCK_BYTES);
                let Ok(chunk) = self.memory.chunk(self, start, want) else { return Ok(false) };
                let kept = (size - start) as usize;
                let block = block.get(..kept).ok_or_else(|| {
                    StorageError::format("a segment", self.log_path(), format!("it ends before its {size} bytes"))
                })?;
                assert_eq!(chunk.buf.append(block), kept);
                self.state.borrow_mut().chunks.push_back(chunk);
                continue;
            }
            let (mut next, mut previous) = match &last {
                Some(chunk) => (chunk.start + chunk.buf.capacity() as u64, chunk.buf.capacity()),
                None => (size, 0),
            };
            while room < bytes {
                let want = chunk_bytes(previous, bytes - room);
                let Ok(chunk) = self.memory.chunk(self, next, want) else { return Ok(false) };
                previous = chunk.buf.capacity();
                next += previous as u64;
                room += previous;
                self.state.borrow_mut().chunks.push_back(chunk);
            }
            return Ok(true);
        }
    }

    /// Appends one batch, in pieces. [`reserve`](Self::reserve) answered true since the last await.
    #[allow(clippy::too_many_arguments)]
    pub fn append(
        self: &Rc<Self>,
        pieces: &[&[u8]],
        last_offset: Offset,
        max_timestamp: i64,
        offset_of_max: Offset,
        now_ms: i64,
        index_interval_bytes: u64,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        assert!(!state.is_sealed && last_offset >= state.end_offset, "appends go to the active segment, in order");
        let position = state.size;
        let mut filled = false;
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let first_with_room = state.chunks.iter().rposition(|c| !c.buf.is_empty()).unwrap_or(0);
                let at =
                    (first_with_room..state.chunks.len()).find(|at| !state.chunks[*at].is_full()).expect("reserved");
                let chunk = &state.chunks[at];
                assert_eq!(chunk.end(), state.size, "a chunk holds the very bytes of its place in the file");
                let taken = chunk.buf.append(rest);
                filled |= chunk.is_full();
                rest = &rest[taken..];
                state.size += taken as u64;
            }
        }
        if state.times.first_append_ms < 0 {
            state.times.first_append_ms = now_ms;
        }
        if max_timestamp > state.times.max_timestamp {
            state.times.max_timestamp = max_timestamp;
            state.times.offset_of_max = offset_of_max;
        }
        state.end_offset = last_offset + 1;
        let mut indexes = self.indexes.borrow_mut();
        let indexes = Rc::make_mut(indexes.as_mut().expect("the active segment's indexes are in memory"));
        let bytes = state.size - position;
        let times = state.times;
        indexes.note(
            self.base_offset,
            last_offset,
            position,
            bytes,
            index_interval_bytes,
            times.max_timestamp,
            times.offset_of_max,
        );
        if filled {
            self.memory.mark_dirty(self);
        }
    }

    /// How many entries the offset index has; a full one is a reason to roll.
    pub fn index_entries(&self) -> usize {
        self.indexes.borrow().as_ref().map_or(0, |indexes| indexes.offsets.len())
    }

    // ---- write-back ---------------------------------------------------------------------------------------------

    /// Opens the file if need be.
    async fn file(&self) -> Result<File, StorageError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        if self.removed.get() {
            return Err(self.was_removed());
        }
        let path = self.log_path();
        let open = Open { read: true, write: true, create: true, direct: true, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("open segment", &path))?;
        Ok(self.file.borrow_mut().get_or_insert(file).clone())
    }

    /// Writes what the file lacks. `all`: also the last, partly filled block (padded with zeros); otherwise only
    /// full chunks. One write-back at a time; whoever comes second waits for the first.
    pub async fn write_back(&self, all: bool) -> Result<(), StorageError> {
        while self.writing.get() {
            self.changed.notified().await;
        }
        self.writing.set(true);
        let outcome = self.write_chunks(all).await;
        self.writing.set(false);
        self.changed.notify_all();
        self.memory.freed.notify_all();
        outcome
    }

    async fn write_chunks(&self, all: bool) -> Result<(), StorageError> {
        let goal = self.state.borrow().size;
        loop {
            if self.removed.get() {
                return Ok(());
            }
            let (from, to, bytes) = {
                let state = self.state.borrow();
                let Some(chunk) = state.chunks.iter().find(|chunk| chunk.end() > state.written) else { return Ok(()) };
                if state.written >= goal || (!all && !chunk.is_full() && !state.is_sealed) {
                    return Ok(());
                }
                let from = block_floor(state.written).max(chunk.start);
                let to = chunk.end();
                let range = (from - chunk.start) as usize..block_ceil((to - chunk.start) as usize);
                (from, to, chunk.buf.aligned(range))
            };
            let file = self.file().await?;
            let path = self.log_path();
            file.write_at(bytes, from, Durability::Cached).await.map_err(StorageError::io("write segment", path))?;
            let mut state = self.state.borrow_mut();
            assert!(to >= state.written, "write-back only goes forward");
            state.written = to;
            drop(state);
            self.memory.freed.notify_all();
        }
    }

    /// Writes everything and flushes it. After this, `flushed` is at least what `size` was.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.write_back(true).await?;
        let written = self.written();
        if self.flushed() >= written || self.removed.get() {
            return Ok(());
        }
        let file = self.file().await?;
        file.sync_data().await.map_err(StorageError::flush("flush segment", self.log_path()))?;
        if !self.is_named.get() {
            // fsync(2): flushing a file does not flush the entry that names it, nor the entry of its directory.
            for directory in [Some(self.directory.as_path()), self.directory.parent()].into_iter().flatten() {
                dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
            }
            self.is_named.set(true);
        }
        let mut state = self.state.borrow_mut();
        state.flushed = state.flushed.max(written);
        Ok(())
    }

    /// No more appends: cut to the exact length, so that `kafka-dump-log` reads it.
    pub fn seal(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        state.is_sealed = true;
        // What was reserved and not used is of no use any more.
        while state.chunks.back().is_some_and(|chunk| chunk.buf.is_empty()) {
            state.chunks.pop_back();
        }
        let times = state.times;
        if let Some(indexes) = &mut *self.indexes.borrow_mut() {
            Rc::make_mut(indexes).note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
        }
        drop(state);
        self.memory.mark_dirty(self);
    }

    /// Flushes, cuts the file to its exact length and stores the indexes whole. For sealed segments, and for the
    /// active one at a graceful stop.
    pub async fn finish(&self) -> Result<(), StorageError> {
        self.flush().await?;
        if self.removed.get() {
            return Ok(());
        }
        let path = self.log_path();
        let file = self.file().await?;
        file.set_len(self.size()).await.map_err(StorageError::io("cut segment", &path))?;
        file.sync_data().await.map_err(StorageError::flush("flush segment", &path))?;
        let indexes = self.indexes.borrow().clone();
        if let Some(indexes) = indexes {
            let mut indexes = (*indexes).clone();
            let times = self.times();
            indexes.note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
            self.store_index("index", 0, indexes.offsets_bytes()).await?;
            self.store_index("timeindex", 0, indexes.times_bytes()).await?;
        }
        let mut state = self.state.borrow_mut();
        state.is_finished = state.is_sealed;
        Ok(())
    }

    /// Adds to the index files what they lack, so that a restart need not walk the whole segment. They are not
    /// flushed before the segment is sealed: until then a restart checks them, and walks when they do not check out.
    pub async fn store_new_index_entries(&self) -> Result<(), StorageError> {
        let Some(indexes) = self.indexes_in_memory() else { return Ok(()) };
        let stored = self.state.borrow().stored;
        let now = (indexes.offsets.len(), indexes.times.len());
        if now.0 == stored.0 || self.removed.get() {
            return Ok(());
        }
        let tail = Indexes::of(&indexes.offsets[stored.0..], &indexes.times[stored.1..]);
        self.store_index("index", (stored.0 * OFFSET_ENTRY_BYTES) as u64, tail.offsets_bytes()).await?;
        self.store_index("timeindex", (stored.1 * TIME_ENTRY_BYTES) as u64, tail.times_bytes()).await?;
        self.state.borrow_mut().stored = now;
        Ok(())
    }

    async fn store_index(&self, extension: &'static str, at: u64, bytes: Vec<u8>) -> Result<(), StorageError> {
        let path = file_path(&self.directory, self.base_offset, extension);
        let open = Open { write: true, create: true, truncate: at == 0, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create index", &path))?;
        if !bytes.is_empty() {
            file.write_at(bytes, at, Durability::Cached).await.map_err(StorageError::io("write index", &path))?;
        }
        if self.is_sealed() {
            file.sync_data().await.map_err(StorageError::flush("flush index", &path))?;
        }
        Ok(())
    }

    // ---- aborted transactions -----------------------------------------------------------------------------------

    /// A marker that was just appended aborted this transaction.
    pub(super) fn note_aborted(&self, entry: AbortedTransaction) {
        let mut aborted = self.aborted.borrow_mut();
        let entries = aborted.entries.as_mut().expect("the active segment's are in memory");
        Rc::make_mut(entries).push(entry);
        aborted.count += 1;
        aborted.first_offset = aborted.first_offset.min(entry.first_offset);
    }

    /// What recovery found; the first `stored` of them are flushed.
    pub(super) fn set_aborted(&self, entries: Vec<AbortedTransaction>, stored: usize) {
        *self.aborted.borrow_mut() = Aborted::of(entries, stored);
    }

    pub fn aborted_count(&self) -> usize {
        self.aborted.borrow().count
    }

    /// Where the earliest aborted transaction with its marker here began; the maximum without any.
    pub fn first_aborted_offset(&self) -> Offset {
        self.aborted.borrow().first_offset
    }

    fn has_aborted_to_store(&self) -> bool {
        let aborted = self.aborted.borrow();
        aborted.stored < aborted.count
    }

    /// The transactions that markers in this segment aborted, in the order of these.
    pub fn aborted(&self) -> Result<Rc<Vec<AbortedTransaction>>, StorageError> {
        if let Some(entries) = &self.aborted.borrow().entries {
            return Ok(entries.clone());
        }
        let (path, count) = (self.aborted_path(), self.aborted_count());
        let entries = read_aborted(&path, count).map_err(|why| StorageError::format("an index", &path, why))?;
        let entries = Rc::new(entries);
        self.aborted.borrow_mut().entries = Some(entries.clone());
        Ok(entries)
    }

    pub(super) fn aborted_path(&self) -> PathBuf {
        file_path(&self.directory, self.base_offset, "txnindex")
    }

    /// Adds to the index of aborted transactions what it lacks, and flushes it: a checkpoint counts on it.
    pub async fn store_aborted(&self) -> Result<(), StorageError> {
        let (bytes, stored, count) = {
            let aborted = self.aborted.borrow();
            let Some(entries) = aborted.entries.as_ref().filter(|_| aborted.stored < aborted.count) else {
                return Ok(());
            };
            (aborted::render(&entries[aborted.stored..]), aborted.stored, aborted.count)
        };
        if self.removed.get() {
            return Ok(());
        }
        let path = self.aborted_path();
        let open = Open { write: true, create: true, truncate: stored == 0, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create index", &path))?;
        let at = (stored * aborted::ENTRY_BYTES) as u64;
        file.write_at(bytes, at, Durability::Cached).await.map_err(StorageError::io("write index", &path))?;
        file.sync_data().await.map_err(StorageError::flush("flush index", &path))?;
        if stored == 0 {
            let directory = &self.directory;
            dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        }
        let mut aborted = self.aborted.borrow_mut();
        aborted.stored = aborted.stored.max(count);
        Ok(())
    }

    // ---- memory -------------------------------------------------------------------------------------------------

    /// Gives back the chunk at `start` if the file has all of it. True: it is gone.
    pub(super) fn give_back_chunk(&self, start: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(at) = state.chunks.iter().position(|chunk| chunk.start == start) else { return true };
        let chunk = &state.chunks[at];
        // Only whole from the front: the rest of the segment stays contiguous in memory. A chunk that was
        // reserved but not used yet stays too; somebody is about to append.
        if at != 0 || chunk.buf.is_empty() || state.written < chunk.end() || self.writing.get() {
            return false;
        }
        // Its spare room is where the segment goes on: a chunk reserved behind it, or being reserved by who holds this
        // one just now, begins further on.
        if !chunk.is_full() && (state.chunks.len() > 1 || Rc::strong_count(chunk) > 1) {
            return false;
        }
        state.chunks.remove(at);
        true
    }

    pub(super) fn give_back_page(&self, start: u64) {
        let mut pages = self.pages.borrow_mut();
        if matches!(pages.get(&start), Some(Page::Here(_))) {
            pages.remove(&start);
        }
    }

    /// Forgets the file handle and the indexes of a sealed segment that nobody has read for a while.
    pub fn rest(&self) {
        if self.is_sealed() && !self.is_dirty() && !self.writing.get() && !self.pinned.get() {
            *self.file.borrow_mut() = None;
            *self.indexes.borrow_mut() = None;
            self.aborted.borrow_mut().entries.take_if(|entries| !entries.is_empty());
        }
    }

    /// Opens what may be looked at later, and keeps it open.
    pub(super) async fn pin(self: &Rc<Self>) -> Result<(), StorageError> {
        self.pinned.set(true);
        self.aborted()?;
        self.file().await?;
        self.indexes().await.map(drop)
    }

    pub(super) fn unpin(&self) {
        self.pinned.set(false);
    }

    // ---- read ---------------------------------------------------------------------------------------------------

    /// The bytes from `from` on up to `to`, as far as they are in memory without a gap, as the fewest slices. Answers
    /// how far that is.
    pub fn cached(&self, from: u64, to: u64, into: &mut Vec<Slice>) -> u64 {
        let state = self.state.borrow();
        assert!(to <= state.size, "reads end where the segment does");
        let mut at = from;
        let first = state.chunks.partition_point(|chunk| chunk.end() <= from);
        let resident_from = state.chunks.front().map_or(u64::MAX, |chunk| chunk.start);
        while at < to.min(resident_from) {
            let start = page_start(at);
            match self.pages.borrow().get(&start) {
                Some(Page::Here(page)) if start + page.len() as u64 > at => {
                    let end = (start + page.len() as u64).min(to).min(resident_from);
                    into.push(page.slice((at - start) as usize..(end - start) as usize));
                    at = end;
                }
                _ => return at,
            }
        }
        for chunk in state.chunks.iter().skip(first) {
            if at >= to {
                break;
            }
            let end = chunk.end().min(to);
            if end > at {
                into.push(chunk.slice(at, end));
                at = end;
            }
        }
        at
    }

    /// All of the bytes `from..to`, held in memory at once: for recovery and look-ups, not for what is sent.
    pub async fn slices(self: &Rc<Self>, from: u64, to: u64) -> Result<Vec<Slice>, StorageError> {
        let mut slices = Vec::new();
        let mut at = from;
        loop {
            at = self.cached(at, to, &mut slices);
            if at == to {
                return Ok(slices);
            }
            let mut page = self.load(at, to - at).await?;
            if page.len() as u64 > to - at {
                page = page.slice(0..(to - at) as usize);
            }
            at += page.len() as u64;
            slices.push(page);
        }
    }

    /// The header of the batch at `position`; `Ok(None)` at the segment's end.
    pub fn peek(&self, position: u64) -> Result<Option<Peeked>, PeekError> {
        let size = self.size();
        if position >= size {
            return Ok(None);
        }
        if position + PEEK_BYTES as u64 > size {
            return Err(PeekError::Damaged(position));
        }
        let mut head = [0u8; PEEK_BYTES];
        self.copy(position, &mut head)?;
        match Peeked::parse(&head) {
            Some(peeked) if position + peeked.bytes <= size => Ok(Some(peeked)),
            _ => Err(PeekError::Damaged(position)),
        }
    }

    fn copy(&self, position: u64, into: &mut [u8; PEEK_BYTES]) -> Result<(), Missing> {
        {
            // The usual case, without building slices: all in one chunk.
            let state = self.state.borrow();
            let at = state.chunks.partition_point(|chunk| chunk.end() <= position);
            if let Some(chunk) = state.chunks.get(at)
                && position >= chunk.start
                && position + PEEK_BYTES as u64 <= chunk.end()
            {
                chunk.buf.copy_to((position - chunk.start) as usize, into);
                return Ok(());
            }
        }
        let mut slices = Vec::with_capacity(2);
        let there = self.cached(position, position + PEEK_BYTES as u64, &mut slices);
        if there < position + PEEK_BYTES as u64 {
            return Err(Missing { position: there });
        }
        let mut at = 0;
        for slice in slices {
            into[at..at + slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        Ok(())
    }

    /// Bytes of the header of the batch at `position`, all of it, of which `peek` says what is needed to step over it.
    pub async fn head(self: &Rc<Self>, position: u64) -> Result<[u8; PEEK_BYTES], StorageError> {
        let slices = self.slices(position, position + PEEK_BYTES as u64).await?;
        let mut head = [0; PEEK_BYTES];
        let mut at = 0;
        for slice in slices {
            head[at..at + slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        Ok(head)
    }

    /// Brings `want` bytes from `position` on into memory, several reads at once, and reads ahead of a reader who
    /// came from the page before. Answers the bytes from `position` to the end of its page: who holds them has them,
    /// however soon the page has to make way. Empty when they came into memory by another way meanwhile.
    pub async fn load(self: &Rc<Self>, position: u64, want: u64) -> Result<Slice, StorageError> {
        let first = page_start(position);
        let pages = (position + want.max(1)).div_ceil(PAGE_BYTES) - first / PAGE_BYTES;
        let _permit = self.memory.loads.acquire(pages * PAGE_BYTES).await;
        let (written, resident_from) = {
            let state = self.state.borrow();
            (state.written, state.chunks.front().map_or(u64::MAX, |chunk| chunk.start))
        };
        if position >= resident_from {
            return Ok(Slice::default());
        }
        if position >= written {
            assert!(self.removed.get(), "what is not in memory is in the file");
            return Err(self.was_removed());
        }
        let end = written.min(resident_from);
        let last_wanted = (position + want.max(1)).min(end);
        let is_sequential = first == 0 || matches!(self.pages.borrow().get(&(first - PAGE_BYTES)), Some(Page::Here(_)));
        // Only as long as nobody has to wait for what others are about to need.
        let is_quiet = self.memory.loads.available() * 2 >= self.memory.loads.total();
        let ahead = if is_sequential && is_quiet { READ_AHEAD_PAGES * PAGE_BYTES } else { 0 };
        let mut demanded = Vec::new();
        for start in (first..(last_wanted + ahead).min(end)).step_by(PAGE_BYTES as usize) {
            let is_demanded = start < last_wanted;
            let need = (end - start).min(PAGE_BYTES);
            match self.pages.borrow().get(&start) {
                Some(Page::Loading) => {
                    if is_demanded {
                        demanded.push((start, None));
                    }
                    continue;
                }
                Some(Page::Here(page)) if page.len() as u64 >= need => continue,
                _ => {}
            }
            self.pages.borrow_mut().insert(start, Page::Loading);
            let segment = self.clone();
            let class = if is_demanded { Class::Foreground } else { Class::Background };
            let read = runtime::spawn(class, "segment read", async move { segment.load_page(start).await });
            if is_demanded {
                demanded.push((start, Some(read)));
            }
        }
        let mut held = None;
        for (start, read) in demanded {
            match read {
                Some(read) => {
                    let page = read.await?;
                    held = held.or(Some(page).filter(|_| start == first));
                }
                None => {
                    while matches!(self.pages.borrow().get(&start), Some(Page::Loading)) {
                        self.changed.notified().await;
                    }
                }
            }
        }
        let held = held.or_else(|| match self.pages.borrow().get(&first) {
            Some(Page::Here(page)) => Some(page.clone()),
            _ => None,
        });
        Ok(held
            .map_or_else(Slice::default, |page| page.slice(((position - first) as usize).min(page.len())..page.len())))
    }

    async fn load_page(self: Rc<Self>, start: u64) -> Result<Slice, StorageError> {
        let bytes = self.written().saturating_sub(start).min(PAGE_BYTES) as usize;
        let outcome = match self.read_file(start, bytes).await {
            Ok(page) if page.len() < bytes => {
                let why = format!("it has {} bytes at {start}, not the {bytes} that were written", page.len());
                Err(StorageError::format("a segment", self.log_path(), why))
            }
            outcome => outcome,
        };
        match &outcome {
            Ok(page) if !self.removed.get() => {
                self.pages.borrow_mut().insert(start, Page::Here(page.clone()));
                self.memory.admit_page(&self, start, block_ceil(bytes));
            }
            _ => drop(self.pages.borrow_mut().remove(&start)),
        }
        self.changed.notify_all();
        outcome
    }

    fn was_removed(&self) -> StorageError {
        StorageError::Refused(format!("{} was removed while it was read", self.log_path().display()))
    }

    /// Bytes of a finished segment from the file, at a block's start, past the memory that readers share. Short only where
    /// the file is.
    pub(super) async fn read_direct(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        assert!(!self.is_dirty() && block_floor(position) == position, "byte {position} of {:?}", self.log_path());
        self.read_file(position, bytes).await
    }

    /// The largest timestamp of the first batch of a finished segment, by which its age goes; -1 without one.
    pub(super) async fn first_timestamp(&self) -> Result<i64, StorageError> {
        let head = self.read_direct(0, PEEK_BYTES).await?;
        Ok(head.first_chunk().and_then(Peeked::parse).map_or(-1, |batch| batch.max_timestamp))
    }

    /// One direct read of the file. May be short at its end.
    async fn read_file(&self, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        let file = self.file().await?;
        let length = block_ceil(bytes);
        loop {
            let Ok(buf) = AlignedBuf::alloc(length) else {
                // The oldest log data makes way; what others hold comes back by itself.
                self.memory.give_back(length);
                runtime::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            };
            let (read, buf) = file.read_at(buf, 0, length, position).await;
            let read = read.map_err(StorageError::io("read segment", self.log_path()))?;
            return Ok(buf.freeze().slice(0..read.min(bytes)));
        }
    }

    /// The indexes, read from their files (or rebuilt) when they are not in memory.
    pub async fn indexes(self: &Rc<Self>) -> Result<Rc<Indexes>, StorageError> {
        if let Some(indexes) = &*self.indexes.borrow() {
            return Ok(indexes.clone());
        }
        let indexes = match self.read_indexes().await {
            // Any segment with a batch has a time entry once it is sealed, unless its records bear no time.
            Ok(indexes) if !indexes.times.is_empty() || self.size() == 0 => indexes,
            other => {
                let why = other.err().unwrap_or_else(|| "the time index is empty".into());
                tracing::info!("rebuilding the indexes of {}: {why}", self.log_path().display());
                super::recover::rebuild_indexes(self).await?
            }
        };
        Ok(self.indexes.borrow_mut().get_or_insert(Rc::new(indexes)).clone())
    }

    /// What the index files say, if they say something sensible.
    pub(super) async fn read_indexes(&self) -> Result<Indexes, String> {
        let mut files = [Vec::new(), Vec::new()];
        for (extension, bytes) in ["index", "timeindex"].into_iter().zip(&mut files) {
            let path = file_path(&self.directory, self.base_offset, extension);
            *bytes = dir::read_small(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Indexes::parse(&files[0], &files[1], self.size().max(1)).map_err(str::to_owned)
    }

    pub(super) fn set_indexes(&self, indexes: Indexes) {
        *self.indexes.borrow_mut() = Some(Rc::new(indexes));
    }

    /// The indexes, if they are in memory.
    pub fn indexes_in_memory(&self) -> Option<Rc<Indexes>> {
        self.indexes.borrow().clone()
    }

    // ---- removal ------------------------------------------------------------------------------------------------

    /// Nothing of it is written or kept in memory any more.
    pub fn discard(&self) {
        self.removed.set(true);
        self.state.borrow_mut().chunks.clear();
        self.pages.borrow_mut().clear();
    }

    /// Takes the segment out of use: its files are renamed to `.deleted` and, `delay` later, removed.
    pub async fn remove(self: Rc<Self>, delay: std::time::Duration) -> Result<(), StorageError> {
        self.discard();
        let mut renamed = Vec::new();
        for extension in ["log", "index", "timeindex", "txnindex", "snapshot"] {
            let from = file_path(&self.directory, self.base_offset, extension);
            let to = from.with_extension(format!("{extension}.deleted"));
            match dir::rename(&from, &to).await {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("rename segment", from)(error)),
            }
        }
        // Its bytes go only when its name cannot come back: a power failure must not leave an empty file under that.
        let directory = &self.directory;
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        runtime::spawn(Class::Background, "segment remove", async move {
            runtime::sleep(delay).await;
            for path in renamed {
                if path.to_string_lossy().ends_with(".log.deleted") {
                    // Held open, so that its space is not freed with its name.
                    let open = Open { read: true, write: true, ..Open::default() };
                    *self.file.borrow_mut() = File::open(&path, open).await.ok();
                }
                if let Err(error) = dir::remove_file(&path).await {
                    tracing::warn!("could not remove {}: {error}", path.display());
                }
            }
            self.release().await;
        });
        Ok(())
    }

    /// Gives back the disk's space of a segment whose file has no name any more, bit by bit, unless somebody still reads it.
    pub(super) async fn release(self: Rc<Self>) {
        let Some(file) = self.file.borrow().clone() else { return };
        let mut bytes = self.written();
        while bytes > 0 && Rc::strong_count(&self) == 1 {
            bytes = bytes.saturating_sub(RELEASE_BYTES);
            if file.set_len(bytes).await.is_err() {
                return;
            }
            runtime::sleep(RELEASE_PAUSE).await;
        }
    }
}

/// The first `count` entries of an index of aborted transactions; says why they cannot be had.
pub(super) fn read_aborted(path: &Path, count: usize) -> Result<Vec<AbortedTransaction>, String> {
    let bytes = dir::read_small(path).map_err(|error| error.to_string())?;
    let wanted = count * aborted::ENTRY_BYTES;
    match bytes.get(..wanted) {
        Some(bytes) => aborted::parse(bytes),
        None => Err(format!("it has {} bytes and had {wanted} when it was last flushed", bytes.len())),
    }
}

/// Why a batch's header could not be had.
#[derive(Debug)]
pub enum PeekError {
    Missing(Missing),
    Damaged(u64),
}

impl From<Missing> for PeekError {
    fn from(missing: Missing) -> PeekError {
        PeekError::Missing(missing)
    }
}

/// The size of the next chunk: a partition that gets little costs one block, one that gets much has large ones.
fn chunk_bytes(previous: usize, need: usize) -> usize {
    let grown = (previous * 4).max(4 * BLOCK_BYTES);
    grown.max(need.next_power_of_two()).min(super::tail::CHUNK_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Config, run};

    #[test]
    fn room_that_was_reserved_is_room() {
        run(Config::default(), || async {
            let memory = Memory::new(64 << 20);
            let segment = Segment::new(Path::new("unused"), 0, memory);
            // Batches that do not divide a chunk lie across two of them.
            for (number, bytes) in [16_500usize, 16_500, 3, 40_000, 700_000, 900_000, 16_500].into_iter().enumerate() {
                assert!(segment.reserve(bytes).await.unwrap());
                assert!(segment.has_room(bytes), "batch {number}: what `reserve` promised, `has_room` sees");
                let offset = number as i64;
                segment.append(&[&vec![1; bytes]], offset, -1, offset, 0, 4096);
            }
            assert!(!segment.has_room(64 << 20));
        })
        .unwrap();
    }
}
