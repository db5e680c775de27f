//! The allocator of blocks: 2 MiB chunks of huge pages, split in halves and merged again (a buddy allocator).
//!
//! Blocks are powers of two from 4 KiB to 1 MiB, aligned to at least 4 KiB, so that each can be read and written with
//! O_DIRECT. A larger block is a mapping of its own, returned to the system when freed. A free chunk stays mapped,
//! because the first touch of a page is expensive ([`super::pages`]); it is unmapped only when a larger block needs its
//! budget. There is one arena per thread. It lives until its last block is dropped.
//!
//! ARENA-1: the memory of a block belongs to exactly one [`Block`].
//! ARENA-2: `used` is the sum of the capacities of all live blocks, and at most the budget when a block is allocated.
//!
//! The bytes of a block are always initialised: the kernel zeroes a new mapping.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

use super::pages::{HUGE_PAGE_BYTES, Pages, Ready};
use super::wait::Waiters;

/// The smallest block, and the alignment of all blocks.
pub const BLOCK_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES: usize = HUGE_PAGE_BYTES;
/// Order o is a block of `BLOCK_BYTES_MIN << o`; the last order is the whole chunk and never handed out.
const ORDERS: usize = 10;
const ORDER_MAX: usize = ORDERS - 2;
/// The largest block from a chunk; larger blocks are mapped and unmapped each time.
pub const BLOCK_BYTES_MAX: usize = BLOCK_BYTES_MIN << ORDER_MAX;

/// The shard's memory budget has no room for the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("memory budget exhausted: {asked} bytes requested, {used} of {budget} in use")]
pub struct OverBudget {
    /// The requested bytes.
    pub asked: usize,
    /// The bytes in live blocks.
    pub used: usize,
    /// The limit of `used`.
    pub budget: usize,
}

impl From<OverBudget> for std::io::Error {
    fn from(error: OverBudget) -> Self {
        std::io::Error::new(std::io::ErrorKind::OutOfMemory, error)
    }
}

thread_local! {
    static ARENA: Rc<Arena> = Rc::new(Arena::new());
}

/// The bytes in live blocks of this thread's arena.
pub fn arena_bytes_used() -> usize {
    ARENA.with(|arena| arena.used.get())
}

/// The bytes that this thread's arena has mapped, in use or free.
pub fn arena_bytes_mapped() -> usize {
    ARENA.with(|arena| arena.mapped.get())
}

/// The bytes that this thread's arena can still give.
pub fn arena_bytes_free() -> usize {
    ARENA.with(|arena| arena.free_bytes())
}

/// Changes the budget of this thread's arena. [`unmap_free_chunk`] then returns memory to the system.
pub fn set_arena_budget(budget: usize) {
    ARENA.with(|arena| {
        arena.budget.set(budget);
        arena.wake_waiters();
    });
}

/// Returns one free chunk of this thread's arena to the system, if more is mapped than the budget. False: there is
/// none. One at a time, because the kernel takes some ten microseconds for a huge page.
pub fn unmap_free_chunk() -> bool {
    ARENA.with(|arena| {
        let mapped = arena.mapped.get();
        if mapped > arena.budget.get() {
            arena.unmap_free_chunks(&mut arena.chunks.borrow_mut(), mapped - 1);
        }
        arena.mapped.get() < mapped
    })
}

/// Sets the budget of this thread's arena, and the number of chunks that are touched ahead of use.
pub(in crate::runtime) fn set_up_arena(budget: usize, chunks_ready: usize) {
    ARENA.with(|arena| {
        arena.budget.set(budget);
        *arena.ready.borrow_mut() = if chunks_ready > 0 { Ready::start(chunks_ready) } else { None };
        arena.wake_waiters();
    });
}

/// Calls `f` with the tasks that wait for a block of this thread's arena, and the bytes that its budget has left.
pub(super) fn with_waiters<R>(f: impl FnOnce(&Waiters, usize) -> R) -> R {
    ARENA.with(|arena| f(&arena.waiters, arena.free_bytes()))
}

/// A unique piece of arena memory.
pub(super) struct Block {
    ptr: NonNull<u8>,
    capacity: usize,
    arena: Rc<Arena>,
}

impl Block {
    pub fn alloc(bytes: usize) -> Result<Block, OverBudget> {
        ARENA.with(|arena| {
            let (ptr, capacity) = arena.alloc(bytes)?;
            Ok(Block { ptr, capacity, arena: arena.clone() })
        })
    }

    pub fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena.free(self.ptr, self.capacity);
        self.arena.wake_waiters();
    }
}

struct Arena {
    chunks: RefCell<Chunks>,
    ready: RefCell<Option<Ready>>,
    used: Cell<usize>,
    mapped: Cell<usize>,
    budget: Cell<usize>,
    waiters: Waiters,
}

#[derive(Default)]
struct Chunks {
    /// Index = chunk number; `None` after it was unmapped.
    all: Vec<Option<Chunk>>,
    vacant: Vec<u32>,
    /// Per order, candidates for a free block: (chunk, index within the order). A candidate is free only if its bit in
    /// [`Chunk::free`] is set.
    candidates: [Vec<(u32, u16)>; ORDERS],
    /// By address, to find a freed block's chunk.
    by_address: std::collections::BTreeMap<usize, u32>,
    wholly_free: usize,
}

struct Chunk {
    pages: Pages,
    /// Per order, which blocks are free: order o uses `512 >> o` bits.
    free: [[u64; 8]; ORDERS],
}

impl Chunk {
    fn is_free(&self, order: usize, index: usize) -> bool {
        self.free[order][index / 64] & (1 << (index % 64)) != 0
    }

    fn set(&mut self, order: usize, index: usize) {
        assert!(!self.is_free(order, index), "ARENA-1: a block is freed once");
        self.free[order][index / 64] |= 1 << (index % 64);
    }

    fn clear(&mut self, order: usize, index: usize) {
        self.free[order][index / 64] &= !(1 << (index % 64));
    }
}

/// Rounds a request up to the size of a block.
pub(super) fn capacity_for(bytes: usize) -> usize {
    let bytes = bytes.max(BLOCK_BYTES_MIN);
    if bytes <= BLOCK_BYTES_MIN << ORDER_MAX {
        bytes.next_power_of_two()
    } else {
        // Multiples of a quarter of a huge page: little waste, few distinct sizes.
        bytes.checked_next_multiple_of(CHUNK_BYTES / 4).unwrap_or(usize::MAX)
    }
}

impl Arena {
    fn new() -> Arena {
        Arena {
            chunks: RefCell::default(),
            ready: RefCell::default(),
            used: Cell::new(0),
            mapped: Cell::new(0),
            budget: Cell::new(super::ARENA_BYTES_DEFAULT),
            waiters: Waiters::default(),
        }
    }

    fn free_bytes(&self) -> usize {
        self.budget.get().saturating_sub(self.used.get())
    }

    fn wake_waiters(&self) {
        if !self.waiters.is_empty() {
            self.waiters.wake(self.free_bytes());
        }
    }

    fn alloc(&self, bytes: usize) -> Result<(NonNull<u8>, usize), OverBudget> {
        let capacity = capacity_for(bytes);
        let over = OverBudget { asked: bytes, used: self.used.get(), budget: self.budget.get() };
        let used = self.used.get().checked_add(capacity).ok_or(over)?;
        if used > self.budget.get() {
            return Err(over);
        }
        let ptr = if capacity > BLOCK_BYTES_MIN << ORDER_MAX {
            let mapped_max = self.budget.get().saturating_sub(capacity);
            self.unmap_free_chunks(&mut self.chunks.borrow_mut(), mapped_max);
            let pages = Pages::map(capacity).ok_or(over)?;
            self.mapped.set(self.mapped.get() + capacity);
            pages.into_raw()
        } else {
            let order = (capacity / BLOCK_BYTES_MIN).trailing_zeros() as usize;
            self.take(order).ok_or(over)?
        };
        assert!(used <= self.budget.get(), "ARENA-2: {used} bytes exceed the budget");
        self.used.set(used);
        Ok((ptr, capacity))
    }

    fn take(&self, order: usize) -> Option<NonNull<u8>> {
        let chunks = &mut *self.chunks.borrow_mut();
        loop {
            for from in order..ORDERS {
                while let Some((number, index)) = chunks.candidates[from].pop() {
                    let Some(chunk) = chunks.all[number as usize].as_mut().filter(|c| c.is_free(from, index.into()))
                    else {
                        continue;
                    };
                    chunk.clear(from, index.into());
                    if from == ORDERS - 1 {
                        chunks.wholly_free -= 1;
                    }
                    // Splits the block down to the requested order; the upper halves become free.
                    let mut index = usize::from(index);
                    for half in (order..from).rev() {
                        index *= 2;
                        chunk.set(half, index + 1);
                        chunks.candidates[half].push((number, index as u16 + 1));
                    }
                    let offset = index * (BLOCK_BYTES_MIN << order);
                    assert!(offset + (BLOCK_BYTES_MIN << order) <= CHUNK_BYTES, "ARENA-1: a block lies in its chunk");
                    // SAFETY: the offset is within the chunk's mapping (asserted above).
                    return Some(unsafe { chunk.pages.base().add(offset) });
                }
            }
            let ready = self.ready.borrow_mut().as_mut().and_then(Ready::take);
            let pages = ready.or_else(|| Pages::map(CHUNK_BYTES))?;
            let base = pages.base();
            self.mapped.set(self.mapped.get() + CHUNK_BYTES);
            let mut chunk = Chunk { pages, free: [[0; 8]; ORDERS] };
            chunk.set(ORDERS - 1, 0);
            let number = match chunks.vacant.pop() {
                Some(number) => number,
                None => {
                    chunks.all.push(None);
                    (chunks.all.len() - 1) as u32
                }
            };
            chunks.all[number as usize] = Some(chunk);
            chunks.by_address.insert(base.as_ptr() as usize, number);
            chunks.candidates[ORDERS - 1].push((number, 0));
            chunks.wholly_free += 1;
        }
    }

    /// Unmaps free chunks until at most `mapped_max` bytes are mapped, or no free chunk is left.
    fn unmap_free_chunks(&self, chunks: &mut Chunks, mapped_max: usize) {
        while chunks.wholly_free > 0 && self.mapped.get() > mapped_max {
            let Some((number, index)) = chunks.candidates[ORDERS - 1].pop() else { return };
            let entry = &mut chunks.all[number as usize];
            let Some(chunk) = entry.take_if(|chunk| chunk.is_free(ORDERS - 1, index.into())) else { continue };
            chunks.by_address.remove(&(chunk.pages.base().as_ptr() as usize));
            chunks.vacant.push(number);
            chunks.wholly_free -= 1;
            self.mapped.set(self.mapped.get() - chunk.pages.bytes());
        }
    }

    fn free(&self, ptr: NonNull<u8>, capacity: usize) {
        self.used.set(self.used.get().checked_sub(capacity).expect("ARENA-2: `used` counts every live block"));
        if capacity > BLOCK_BYTES_MIN << ORDER_MAX {
            // SAFETY: `ptr` is from pages of this capacity, and its only `Block` is being dropped (ARENA-1).
            drop(unsafe { Pages::from_raw(ptr, capacity) });
            self.mapped.set(self.mapped.get() - capacity);
            return;
        }
        let chunks = &mut *self.chunks.borrow_mut();
        let base = ptr.as_ptr() as usize & !(CHUNK_BYTES - 1);
        let number = *chunks.by_address.get(&base).expect("ARENA-1: a block lies in a mapped chunk");
        let chunk = chunks.all[number as usize].as_mut().expect("ARENA-1: a chunk with live blocks is mapped");
        let mut order = (capacity / BLOCK_BYTES_MIN).trailing_zeros() as usize;
        let mut index = (ptr.as_ptr() as usize - base) / capacity;
        while order < ORDERS - 1 && chunk.is_free(order, index ^ 1) {
            chunk.clear(order, index ^ 1);
            index /= 2;
            order += 1;
        }
        chunk.set(order, index);
        if order == ORDERS - 1 {
            chunks.wholly_free += 1;
        }
        chunks.candidates[order].push((number, index as u16));
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        assert_eq!(self.used.get(), 0, "ARENA-2: every live block keeps its arena alive");
    }
}
