//! The memory in which logs hold their newest bytes, and the rule by which it is given back.
//!
//! A [`Chunk`] is a piece of a segment file's image, at the very position that it has in the file: batches are
//! appended into it, fetches send from it, and write-back writes from it with direct I/O, so no byte is copied
//! twice. [`Memory`] is one shard's allowance for chunks and for pages read back from disk; the oldest of each go
//! first, and a chunk goes only when it is in the segment file.

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

pub struct Chunk {
    /// Its position in the segment file; whole blocks.
    pub start: u64,
    pub buf: AppendBuf,
}

impl Chunk {
    pub fn end(&self) -> u64 {
        self.start + self.buf.len() as u64
    }

    pub fn is_full(&self) -> bool {
        self.buf.len() == self.buf.capacity()
    }

    /// Bytes `from..to` of the segment file, which this chunk holds.
    pub fn slice(&self, from: u64, to: u64) -> Slice {
        self.buf.slice((from - self.start) as usize..(to - self.start) as usize)
    }
}

/// A chunk or a page by its place: whose it is, where it begins, and what it counts for.
struct Held {
    segment: Weak<Segment>,
    start: u64,
    bytes: usize,
}

/// One kind of what is held, oldest first.
#[derive(Default)]
struct Queue {
    bytes: Cell<usize>,
    held: RefCell<VecDeque<Held>>,
}

impl Queue {
    fn push(&self, segment: &Rc<Segment>, start: u64, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.held.borrow_mut().push_back(Held { segment: Rc::downgrade(segment), start, bytes });
    }

    fn pop(&self) -> Option<Held> {
        self.held.borrow_mut().pop_front()
    }

    fn gone(&self, held: &Held) {
        self.bytes.set(self.bytes.get() - held.bytes);
    }
}

/// One shard's memory for log data. Single-threaded; shared by its logs.
///
/// Chunks may take three quarters of it: what cannot be given back yet (on a full disk, all of it) leaves pages their
/// share, so that reads go on. Pages take what chunks leave.
pub struct Memory {
    budget: usize,
    chunks: Queue,
    pages: Queue,
    /// Bytes that are lent to something else than log data.
    lent: Cell<usize>,
    segments_made: Cell<u64>,
    /// Segments with something worth writing, oldest first.
    dirty: RefCell<VecDeque<Rc<Segment>>>,
    /// Bytes of pages being read. Who reads waits here, so that what one reader waited for is still there when it looks.
    pub loads: Permits,
    /// Wakes the write-back tasks.
    pub work: Notify,
    /// Something was given back or written.
    pub freed: Notify,
    /// A page became evictable: tasks that wait for arena memory evict again.
    page_admitted: Notify,
}

/// See [`Memory::lend`].
pub struct Loan {
    memory: Rc<Memory>,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.memory.lent.set(self.memory.lent.get() - self.bytes);
        self.memory.freed.notify_all();
    }
}

/// How many of the oldest chunks are looked at for one that can go: what is not written yet is passed over, but not
/// without end; its write-back is on the way.
const LOOKED_AT_MAX: usize = 64;

/// How long a task that waits for memory pauses between two passes over the oldest log data.
const EVICTION_PAUSE: Duration = Duration::from_millis(5);
/// How long it pauses when a pass over all of them found nothing to evict, and nothing has changed since.
const EVICTION_RETRY: Duration = Duration::from_millis(100);

impl Memory {
    pub fn new(budget: usize) -> Rc<Memory> {
        Rc::new(Memory {
            budget,
            chunks: Queue::default(),
            pages: Queue::default(),
            lent: Cell::new(0),
            segments_made: Cell::new(0),
            dirty: RefCell::new(VecDeque::new()),
            loads: Permits::new(budget as u64 / 8),
            work: Notify::new(),
            freed: Notify::new(),
            page_admitted: Notify::new(),
        })
    }

    pub fn used(&self) -> usize {
        self.chunks.bytes.get() + self.pages.bytes.get() + self.lent.get()
    }

    /// A number that no other segment of the shard has.
    pub fn next_segment_number(&self) -> u64 {
        self.segments_made.replace(self.segments_made.get() + 1)
    }

    /// What may be lent in all: of the quarter that chunks leave to pages, half.
    pub fn lendable(&self) -> usize {
        (self.budget / 8).saturating_sub(self.lent.get())
    }

    /// Leaves `bytes` of the shard's memory to somebody, who allocates them, until the loan ends. Pages make way.
    pub fn lend(self: &Rc<Self>, bytes: usize) -> Loan {
        assert!(bytes <= self.lendable(), "{bytes} bytes of {}", self.lendable());
        while self.used() + bytes > self.budget && self.evict_page() {}
        self.lent.set(self.lent.get() + bytes);
        Loan { memory: self.clone(), bytes }
    }

    /// What chunks may take. Each batch was in them as a whole when it was appended.
    pub fn chunk_bytes_max(&self) -> usize {
        self.budget / 4 * 3
    }

    /// A fresh chunk of `bytes` at `start` of the segment, if memory allows.
    pub fn chunk(&self, segment: &Rc<Segment>, start: u64, bytes: usize) -> Result<Rc<Chunk>, OverBudget> {
        assert!(start.is_multiple_of(BLOCK_BYTES as u64));
        while self.chunks.bytes.get() + bytes > self.chunk_bytes_max() {
            if !self.evict_chunk() {
                self.work.notify_all();
                return Err(OverBudget { asked: bytes, used: self.used(), budget: self.budget });
            }
        }
        while self.used() + bytes > self.budget && self.evict_page() {}
        let buf = AppendBuf::alloc(bytes).or_else(|_| {
            // The shard's arena is full with other things than log data; the oldest of that makes way.
            self.evict(bytes);
            AppendBuf::alloc(bytes)
        })?;
        self.chunks.push(segment, start, buf.capacity());
        Ok(Rc::new(Chunk { start, buf }))
    }

    /// An unused chunk goes: one of the newest.
    pub fn release_unused(&self, segment: &Segment, unused: &Chunk) {
        let is_it = |held: &Held| held.start == unused.start && std::ptr::eq(held.segment.as_ptr(), segment);
        let held = {
            let mut held = self.chunks.held.borrow_mut();
            held.iter().rposition(is_it).and_then(|at| held.remove(at))
        };
        held.inspect(|held| self.chunks.gone(held));
        self.freed.notify_all();
    }

    /// Counts a page that was read back from the segment's file.
    pub fn admit_page(&self, segment: &Rc<Segment>, start: u64, bytes: usize) {
        while self.used() + bytes > self.budget && self.evict_page() {}
        self.pages.push(segment, start, bytes);
        self.page_admitted.notify_all();
    }

    /// Whether memory is so short that write-back should take chunks that are not full yet.
    pub fn is_short(&self) -> bool {
        self.chunks.bytes.get() * 4 > self.chunk_bytes_max() * 3
    }

    /// Gives back the oldest `bytes`, pages first, as far as that can be done at once.
    pub fn evict(&self, bytes: usize) {
        let goal = self.used().saturating_sub(bytes);
        while self.used() > goal && (self.evict_page() || self.evict_chunk()) {}
    }

    /// Waits for a block from the shard's arena, and evicts the oldest log data to make room for it. `None` once
    /// `is_cancelled`, which is checked after each [`freed`](Self::freed).
    pub async fn alloc<B>(&self, mut block: Allocating<B>, is_cancelled: impl Fn() -> bool) -> Option<B> {
        let bytes = block.bytes();
        if let Some(block) = block.try_now() {
            return Some(block);
        }
        let chunk_count = || self.chunks.held.borrow().len();
        let mut unscanned = chunk_count();
        while !is_cancelled() {
            let changed = first(self.freed.notified(), self.page_admitted.notified());
            let used = self.used();
            self.evict(bytes);
            let has_evicted = self.used() < used;
            if !has_evicted {
                unscanned = unscanned.saturating_sub(LOOKED_AT_MAX);
            }
            // Readers may hold what was evicted: then the next pass evicts more.
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
            segment.evict_page(page.start);
        }
        self.pages.gone(&page);
        true
    }

    /// Gives back the oldest chunk that the file has. False: there is none among those that were looked at.
    fn evict_chunk(&self) -> bool {
        let mut kept = Vec::new();
        let mut is_evicted = false;
        while kept.len() < LOOKED_AT_MAX
            && let Some(oldest) = self.chunks.pop()
        {
            let segment = oldest.segment.upgrade();
            if segment.as_ref().is_none_or(|segment| segment.evict_chunk(oldest.start)) {
                self.chunks.gone(&oldest);
                is_evicted = true;
                break;
            }
            segment.inspect(|segment| self.mark_dirty(segment));
            kept.push(oldest);
        }
        // To the back: on a full disk the oldest are all unwritten, and what is behind them must get its turn.
        self.chunks.held.borrow_mut().extend(kept);
        is_evicted
    }

    /// Puts the segment in the queue for write-back, once.
    pub fn mark_dirty(&self, segment: &Rc<Segment>) {
        if !segment.is_queued.replace(true) {
            self.dirty.borrow_mut().push_back(segment.clone());
            self.work.notify_all();
        }
    }

    /// The next segment to write back.
    pub fn take_dirty(&self) -> Option<Rc<Segment>> {
        let segment = self.dirty.borrow_mut().pop_front()?;
        segment.is_queued.set(false);
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
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
