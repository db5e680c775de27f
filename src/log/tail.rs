//! The memory that holds the newest bytes of logs, and its eviction.
//!
//! A [`Chunk`] is a piece of a segment file's image, at the position that it has in the file. Appends fill it, fetches
//! send from it, and write-back writes from it with direct I/O, so no byte is copied twice. [`Memory`] is one shard's
//! budget for chunks and for pages read back from disk. The oldest of each are evicted first; a chunk only once it is
//! in the file.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::segment::Segment;
use crate::disk::BLOCK_BYTES;
use crate::runtime::buf::{Allocating, AppendBuf, OverBudget, Slice};
use crate::runtime::sync::{First, Notify, Permits, first};
use crate::runtime::timeout;

/// The largest chunk, and so the largest single write-back.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A piece of a segment's image in memory.
pub struct Chunk {
    /// Its position in the segment file: the start of a block.
    pub start: u64,
    /// Its bytes.
    pub buf: AppendBuf,
}

impl Chunk {
    /// The position behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + self.buf.len() as u64
    }

    /// Whether it takes no more bytes.
    pub fn is_full(&self) -> bool {
        self.buf.len() == self.buf.capacity()
    }

    /// Bytes `from..to` of the segment file, which this chunk holds.
    pub fn slice(&self, from: u64, to: u64) -> Slice {
        assert!(self.start <= from && to <= self.end(), "{from}..{to} of {}..{}", self.start, self.end());
        self.buf.slice((from - self.start) as usize..(to - self.start) as usize)
    }
}

/// The kind of a [`Resident`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The chunk or the page at this position.
    Image(u64),
    /// The indexes.
    Indexes,
}

/// A part of a segment that is in memory, and the bytes that it counts for.
struct Resident {
    segment: Weak<Segment>,
    part: Part,
    bytes: usize,
}

/// The chunks of a shard, or its pages and indexes, oldest first.
#[derive(Default)]
struct Queue {
    bytes: Cell<usize>,
    held: RefCell<VecDeque<Resident>>,
}

impl Queue {
    fn push(&self, segment: &Rc<Segment>, part: Part, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.held.borrow_mut().push_back(Resident { segment: Rc::downgrade(segment), part, bytes });
    }

    fn pop(&self) -> Option<Resident> {
        self.held.borrow_mut().pop_front()
    }

    fn release(&self, released: &Resident) {
        let bytes = self.bytes.get();
        assert!(released.bytes <= bytes, "{} bytes are released of {bytes}", released.bytes);
        self.bytes.set(bytes - released.bytes);
    }
}

/// One shard's memory for log data, shared by its logs. Single-threaded.
///
/// Chunks leave a quarter of it to pages, or 512 MiB if a quarter is more. On a full disk no chunk can be evicted, and
/// reads continue in the pages' share.
pub struct Memory {
    budget: Cell<usize>,
    chunks: Queue,
    pages: Queue,
    /// Bytes lent for other data than chunks and pages.
    lent: Cell<usize>,
    is_exhausted: Cell<bool>,
    segments_made: Cell<u64>,
    /// Segments to write back, oldest first. A segment whose log is gone needs no write, and must not stay open.
    dirty: RefCell<VecDeque<Weak<Segment>>>,
    /// Permits for bytes of pages that are being read. The bound keeps a loaded page in memory until its reader runs.
    pub loads: Permits,
    /// Wakes the write-back tasks.
    pub work: Notify,
    /// Memory was released or written back.
    pub freed: Notify,
    /// A page became evictable: tasks that wait for arena memory evict again.
    page_admitted: Notify,
}

/// Bytes that [`Memory::lend`] has lent; they return when it is dropped.
pub struct Loan {
    memory: Rc<Memory>,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let lent = self.memory.lent.get();
        assert!(self.bytes <= lent, "{} bytes return of {lent} lent", self.bytes);
        self.memory.lent.set(lent - self.bytes);
        self.memory.freed.notify_all();
    }
}

/// The bytes that chunks leave to pages, if a quarter of the memory is more than that.
const PAGES_KEPT_MAX: usize = 512 << 20;

/// How many of the oldest chunks one eviction scans. It skips chunks that are not written yet; they are queued for
/// write-back.
const SCANNED_MAX: usize = 64;

/// How long a task that waits for memory pauses between two passes over the oldest log data.
const EVICTION_PAUSE: Duration = Duration::from_millis(5);
/// How long it pauses when a pass over all of them found nothing to evict, and nothing has changed since.
const EVICTION_RETRY: Duration = Duration::from_millis(100);

impl Memory {
    /// Memory with a budget of `budget` bytes.
    pub fn new(budget: usize) -> Rc<Memory> {
        Rc::new(Memory {
            budget: Cell::new(budget),
            chunks: Queue::default(),
            pages: Queue::default(),
            lent: Cell::new(0),
            is_exhausted: Cell::new(false),
            segments_made: Cell::new(0),
            dirty: RefCell::new(VecDeque::new()),
            loads: Permits::new(budget as u64 / 8),
            work: Notify::new(),
            freed: Notify::new(),
            page_admitted: Notify::new(),
        })
    }

    /// Bytes of chunks, pages and loans.
    pub fn used(&self) -> usize {
        self.chunks.bytes.get() + self.pages.bytes.get() + self.lent.get()
    }

    /// A segment number, unique within the shard.
    pub fn next_segment_number(&self) -> u64 {
        self.segments_made.replace(self.segments_made.get() + 1)
    }

    /// Bytes that can still be lent: loans take at most half of the quarter that chunks leave.
    pub fn lendable(&self) -> usize {
        (self.budget.get() / 8).saturating_sub(self.lent.get())
    }

    /// Lends `bytes` of the budget to a caller that allocates them itself, until the loan is dropped. Evicts pages for
    /// it.
    pub fn lend(self: &Rc<Self>, bytes: usize) -> Loan {
        assert!(bytes <= self.lendable(), "a loan of {bytes} bytes, and {} can be lent", self.lendable());
        while self.used() + bytes > self.budget.get() && self.evict_page() {}
        self.lent.set(self.lent.get() + bytes);
        Loan { memory: self.clone(), bytes }
    }

    /// The most bytes that chunks take, and so an upper bound of a batch: each one was in chunks as a whole.
    pub fn chunk_bytes_max(&self) -> usize {
        self.budget.get() - (self.budget.get() / 4).min(PAGES_KEPT_MAX)
    }

    /// The most bytes of chunks, pages and loans.
    pub fn budget(&self) -> usize {
        self.budget.get()
    }

    /// Changes the budget, and evicts the bytes that exceed it as far as that is possible without waiting.
    pub fn set_budget(&self, budget: usize) {
        self.budget.set(budget);
        while self.chunks.bytes.get() > self.chunk_bytes_max() && self.evict_chunk() {}
        self.evict(self.used().saturating_sub(budget));
        self.freed.notify_all();
    }

    /// Allocates a chunk of `bytes` at `start` of the segment.
    ///
    /// # Errors
    /// If chunks have their share of the budget, or the arena is full, and nothing can be evicted now.
    pub fn chunk(&self, segment: &Rc<Segment>, start: u64, bytes: usize) -> Result<Rc<Chunk>, OverBudget> {
        assert!(start.is_multiple_of(BLOCK_BYTES as u64), "a chunk begins at a block, not at {start}");
        assert!((1..=CHUNK_BYTES_MAX).contains(&bytes), "a chunk of {bytes} bytes");
        while self.chunks.bytes.get() + bytes > self.chunk_bytes_max() {
            if !self.evict_chunk() {
                self.is_exhausted.set(true);
                self.work.notify_all();
                return Err(OverBudget { asked: bytes, used: self.used(), budget: self.budget.get() });
            }
        }
        while self.used() + bytes > self.budget.get() && self.evict_page() {}
        let buf = AppendBuf::alloc(bytes).or_else(|_| {
            // Other data fill the shard's arena: evict the oldest log data for this chunk.
            self.evict(bytes);
            AppendBuf::alloc(bytes)
        })?;
        self.is_exhausted.set(false);
        self.chunks.push(segment, Part::Image(start), buf.capacity());
        Ok(Rc::new(Chunk { start, buf }))
    }

    /// Releases a chunk that holds no bytes. It is one of the newest, so the scan begins at the back.
    pub fn release_unused(&self, segment: &Segment, unused: &Chunk) {
        assert!(unused.buf.is_empty(), "a chunk with {} bytes is in use", unused.buf.len());
        let is_it =
            |held: &Resident| held.part == Part::Image(unused.start) && std::ptr::eq(held.segment.as_ptr(), segment);
        let held = {
            let mut held = self.chunks.held.borrow_mut();
            held.iter().rposition(is_it).and_then(|at| held.remove(at))
        };
        held.inspect(|held| self.chunks.release(held));
        self.freed.notify_all();
    }

    /// Counts a page that was read back from the segment's file.
    pub fn admit_page(&self, segment: &Rc<Segment>, start: u64, bytes: usize) {
        while self.used() + bytes > self.budget.get() && self.evict_page() {}
        self.pages.push(segment, Part::Image(start), bytes);
        self.page_admitted.notify_all();
    }

    /// Counts the indexes of a segment that takes no more appends, like a page.
    pub fn admit_indexes(&self, segment: &Rc<Segment>, bytes: usize) {
        while self.used() + bytes > self.budget.get() && self.evict_page() {}
        self.pages.push(segment, Part::Indexes, bytes);
    }

    /// Whether the latest request for a chunk found nothing to evict: appends wait for write-back.
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted.get()
    }

    /// Whether memory is so short that write-back should write chunks that are not full yet.
    pub fn is_short(&self) -> bool {
        self.chunks.bytes.get() * 4 > self.chunk_bytes_max() * 3
    }

    /// Evicts the oldest `bytes`, pages first, as far as that is possible without waiting.
    pub fn evict(&self, bytes: usize) {
        let goal = self.used().saturating_sub(bytes);
        while self.used() > goal && (self.evict_page() || self.evict_chunk()) {}
    }

    /// Waits for a block from the shard's arena, and evicts the oldest log data to make room for it. `None` once
    /// `is_cancelled`, which is checked after each [`freed`](Self::freed).
    pub async fn alloc<B>(&self, mut block: Allocating<B>, is_cancelled: impl Fn() -> bool) -> Option<B> {
        if let Some(block) = block.try_now() {
            return Some(block);
        }
        // Boxed, because every connection's future would have room for this rare wait.
        Box::pin(self.evict_for(block, is_cancelled)).await
    }

    /// Evicts until the block is allocated.
    async fn evict_for<B>(&self, mut block: Allocating<B>, is_cancelled: impl Fn() -> bool) -> Option<B> {
        let bytes = block.bytes();
        let chunk_count = || self.chunks.held.borrow().len();
        let mut unscanned = chunk_count();
        while !is_cancelled() {
            let changed = first(self.freed.notified(), self.page_admitted.notified());
            let used = self.used();
            self.evict(bytes);
            let has_evicted = self.used() < used;
            if !has_evicted {
                unscanned = unscanned.saturating_sub(SCANNED_MAX);
            }
            // Readers may still hold evicted blocks: then the next pass evicts more.
            let is_done = !has_evicted && unscanned == 0;
            let pause = if is_done { EVICTION_RETRY } else { EVICTION_PAUSE };
            match timeout(pause, first(&mut block, changed)).await {
                Ok(First::Left(block)) => return Some(block),
                // Chunks that this task passed over may be written by now.
                Ok(First::Right(_)) => unscanned = chunk_count(),
                Err(_) => {}
            }
        }
        None
    }

    fn evict_page(&self) -> bool {
        let Some(page) = self.pages.pop() else { return false };
        if let Some(segment) = page.segment.upgrade() {
            match page.part {
                Part::Image(start) => segment.evict_page(start),
                Part::Indexes => segment.evict_indexes(),
            }
        }
        self.pages.release(&page);
        true
    }

    /// Evicts the oldest chunk that is in its file. Returns false if there is none among the scanned ones.
    fn evict_chunk(&self) -> bool {
        let mut kept = Vec::new();
        let mut is_evicted = false;
        while kept.len() < SCANNED_MAX
            && let Some(oldest) = self.chunks.pop()
        {
            let Part::Image(start) = oldest.part else { unreachable!("indexes are among the pages") };
            let segment = oldest.segment.upgrade();
            if segment.as_ref().is_none_or(|segment| segment.evict_chunk(start)) {
                self.chunks.release(&oldest);
                is_evicted = true;
                break;
            }
            segment.inspect(|segment| self.mark_dirty(segment));
            kept.push(oldest);
        }
        // Requeue at the back: on a full disk the oldest are all unwritten, and the next scan must reach those behind
        // them.
        self.chunks.held.borrow_mut().extend(kept);
        is_evicted
    }

    /// Queues the segment for write-back, unless it is queued already.
    pub fn mark_dirty(&self, segment: &Rc<Segment>) {
        if !segment.is_queued.replace(true) {
            self.dirty.borrow_mut().push_back(Rc::downgrade(segment));
            self.work.notify_all();
        }
    }

    /// The next segment to write back.
    pub fn take_dirty(&self) -> Option<Rc<Segment>> {
        let segment = loop {
            let oldest = self.dirty.borrow_mut().pop_front()?;
            if let Some(segment) = oldest.upgrade() {
                break segment;
            }
        };
        let was_queued = segment.is_queued.replace(false);
        assert!(was_queued, "a segment in the write-back queue is marked so");
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::log::directory::LogDirectory;
    use crate::model::Offset;
    use crate::runtime::{self, AlignedBuf, Class, Config};

    const ARENA_BYTES: usize = 64 << 10;

    #[test]
    fn allocation_waits_until_memory_is_freed() {
        runtime::run(Config { arena_bytes_max: ARENA_BYTES, ..Config::default() }, || async {
            let memory = Memory::new(ARENA_BYTES);
            let held = AlignedBuf::alloc(ARENA_BYTES).unwrap();
            let waiter = runtime::spawn(Class::Foreground, "waiter", {
                let memory = memory.clone();
                async move { memory.alloc(AppendBuf::alloc_wait(4096), || false).await }
            });
            runtime::yield_now().await;
            assert!(!waiter.is_finished());
            drop(held);
            assert_eq!(waiter.await.expect("the wait was not cancelled").capacity(), 4096);
        })
        .unwrap();
    }

    #[test]
    fn queued_segment_is_dropped_with_its_log() {
        runtime::run(Config::default(), || async {
            let memory = Memory::new(ARENA_BYTES);
            let segment = Segment::new(&LogDirectory::new("unused"), Offset::ZERO, memory.clone());
            memory.mark_dirty(&segment);
            assert!(memory.take_dirty().is_some());
            memory.mark_dirty(&segment);
            let gone = Rc::downgrade(&segment);
            drop(segment);
            assert!(gone.upgrade().is_none() && memory.take_dirty().is_none());
        })
        .unwrap();
    }

    #[test]
    fn cancellation_ends_a_wait_for_memory() {
        runtime::run(Config { arena_bytes_max: ARENA_BYTES, ..Config::default() }, || async {
            let memory = Memory::new(ARENA_BYTES);
            let held = AlignedBuf::alloc(ARENA_BYTES).unwrap();
            let is_cancelled = Rc::new(Cell::new(false));
            let waiter = runtime::spawn(Class::Foreground, "waiter", {
                let (memory, is_cancelled) = (memory.clone(), is_cancelled.clone());
                async move { memory.alloc(AlignedBuf::alloc_wait(4096), || is_cancelled.get()).await.is_none() }
            });
            runtime::yield_now().await;
            is_cancelled.set(true);
            memory.freed.notify_all();
            assert!(waiter.await, "no block is returned after the cancellation");
            drop(held);
        })
        .unwrap();
    }
}
