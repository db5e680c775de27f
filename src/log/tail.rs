//! The memory in which logs hold their newest bytes, and the rule by which it is given back.
//!
//! A [`Chunk`] is a piece of a segment file's image, at the very position that it has in the file: batches are
//! appended into it, fetches send from it, and write-back writes from it with direct I/O, so no byte is copied
//! twice. [`Memory`] is one shard's allowance for chunks and for pages read back from disk; the oldest go first,
//! and a chunk goes only when it is in the segment file.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::segment::Segment;
use crate::disk::BLOCK_BYTES;
use crate::runtime::buf::{AppendBuf, OverBudget, Slice};
use crate::runtime::sync::Notify;

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

/// What can be given back.
enum Held {
    Chunk(Weak<Segment>, u64, usize),
    Page(Weak<Segment>, u64, usize),
}

/// One shard's memory for log data. Single-threaded; shared by its logs.
pub struct Memory {
    budget: usize,
    used: Cell<usize>,
    held: RefCell<VecDeque<Held>>,
    /// Segments with something worth writing, oldest first.
    dirty: RefCell<VecDeque<Rc<Segment>>>,
    /// Wakes the write-back tasks.
    pub work: Notify,
    /// Something was given back or written.
    pub freed: Notify,
}

impl Memory {
    pub fn new(budget: usize) -> Rc<Memory> {
        Rc::new(Memory {
            budget,
            used: Cell::new(0),
            held: RefCell::new(VecDeque::new()),
            dirty: RefCell::new(VecDeque::new()),
            work: Notify::new(),
            freed: Notify::new(),
        })
    }

    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// A fresh chunk of `bytes` at `start` of the segment, if memory allows.
    pub fn chunk(&self, segment: &Rc<Segment>, start: u64, bytes: usize) -> Result<Rc<Chunk>, OverBudget> {
        assert!(start.is_multiple_of(BLOCK_BYTES as u64));
        self.make_room(bytes);
        if self.used.get() + bytes > self.budget {
            self.work.notify_all();
            return Err(OverBudget { asked: bytes, used: self.used.get(), budget: self.budget });
        }
        let buf = AppendBuf::alloc(bytes).or_else(|_| {
            // The shard's arena is full with other things than log data; the oldest of that makes way.
            self.give_back(bytes);
            AppendBuf::alloc(bytes)
        })?;
        let bytes = buf.capacity();
        self.used.set(self.used.get() + bytes);
        self.held.borrow_mut().push_back(Held::Chunk(Rc::downgrade(segment), start, bytes));
        Ok(Rc::new(Chunk { start, buf }))
    }

    /// Counts a page that was read back from the segment's file.
    pub fn admit_page(&self, segment: &Rc<Segment>, start: u64, bytes: usize) {
        self.make_room(bytes);
        self.used.set(self.used.get() + bytes);
        self.held.borrow_mut().push_back(Held::Page(Rc::downgrade(segment), start, bytes));
    }

    /// Whether memory is so short that write-back should take chunks that are not full yet.
    pub fn is_short(&self) -> bool {
        self.used.get() * 4 > self.budget * 3
    }

    /// Gives back the oldest until `bytes` more would fit, as far as that can be done at once.
    fn make_room(&self, bytes: usize) {
        self.shrink_to(self.budget.saturating_sub(bytes));
    }

    /// Gives back the oldest `bytes`, as far as that can be done at once.
    pub fn give_back(&self, bytes: usize) {
        self.shrink_to(self.used.get().saturating_sub(bytes));
    }

    fn shrink_to(&self, goal: usize) {
        let mut kept = Vec::new();
        while self.used.get() > goal {
            // What is not written yet is passed over, but not without end: its write-back is on the way.
            if kept.len() >= 64 {
                break;
            }
            let Some(oldest) = self.held.borrow_mut().pop_front() else { break };
            let (gone, size) = match &oldest {
                Held::Chunk(segment, start, size) => {
                    (segment.upgrade().is_none_or(|s| s.give_back_chunk(*start)), *size)
                }
                Held::Page(segment, start, size) => {
                    if let Some(segment) = segment.upgrade() {
                        segment.give_back_page(*start);
                    }
                    (true, *size)
                }
            };
            if gone {
                self.used.set(self.used.get() - size);
            } else {
                if let Held::Chunk(segment, ..) = &oldest
                    && let Some(segment) = segment.upgrade()
                {
                    self.mark_dirty(&segment);
                }
                kept.push(oldest);
            }
        }
        // To the back: on a full disk the oldest are all unwritten, and what is behind them must get its turn.
        self.held.borrow_mut().extend(kept);
    }

    /// Puts the segment in the queue for write-back, once.
    pub fn mark_dirty(&self, segment: &Rc<Segment>) {
        if !segment.queued.replace(true) {
            self.dirty.borrow_mut().push_back(segment.clone());
            self.work.notify_all();
        }
    }

    /// The next segment to write back.
    pub fn take_dirty(&self) -> Option<Rc<Segment>> {
        let segment = self.dirty.borrow_mut().pop_front()?;
        segment.queued.set(false);
        Some(segment)
    }
}
