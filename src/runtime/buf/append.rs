//! A block that grows while it is read: one writer appends, readers hold slices of what is already there.
//!
//! APPEND-1: bytes below `len` never change; `len` never shrinks. Writes go to `len..` only, readable slices end at `len` at
//! most, so the two never meet.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use super::arena::{Block, OverBudget};
use super::slice::Slice;
use super::wait::Allocating;

pub struct AppendBuf {
    block: Rc<Block>,
    len: Cell<usize>,
}

impl AppendBuf {
    /// Room for at least `bytes`, rounded up to a size class.
    pub fn alloc(bytes: usize) -> Result<AppendBuf, OverBudget> {
        Ok(AppendBuf { block: Rc::new(Block::alloc(bytes)?), len: Cell::new(0) })
    }

    /// As [`alloc`](Self::alloc), but waits until the budget has room.
    pub fn alloc_wait(bytes: usize) -> Allocating<AppendBuf> {
        Allocating::new(bytes, AppendBuf::alloc)
    }

    pub fn len(&self) -> usize {
        self.len.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Appends as much of `bytes` as fits; how much that was.
    pub fn append(&self, bytes: &[u8]) -> usize {
        let len = self.len.get();
        let n = bytes.len().min(self.block.capacity() - len);
        // SAFETY: [len, len + n) lies in the block, and no slice reads beyond `len` (APPEND-1). `bytes` cannot overlap it:
        // a `&[u8]` of this block ends at `len` at most. The buffer is `!Sync`, so nobody else appends meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.block.ptr().as_ptr().add(len), n) };
        self.len.set(len + n);
        n
    }

    /// Copies `into.len()` bytes from `at` on.
    pub fn copy_to(&self, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= self.len(), "APPEND-1: beyond the {} bytes written", self.len());
        // SAFETY: [at, at + n) lies below `len`, where nobody writes any more (APPEND-1); `into` is another's memory, for a
        // `&mut [u8]` cannot alias this block's.
        unsafe { std::ptr::copy_nonoverlapping(self.block.ptr().as_ptr().add(at), into.as_mut_ptr(), into.len()) };
    }

    /// What is there, as a value that outlives the buffer.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.end <= self.len(), "APPEND-1: {range:?} reaches beyond the {} bytes written", self.len());
        Slice::of_block(self.block.clone(), range.clone(), range.end)
    }

    /// As [`slice`](Self::slice), but the range may reach beyond `len` up to the capacity: a write to a file takes all of
    /// it (the padding that O_DIRECT wants), reading it as bytes sees only what is below `len` now.
    pub fn aligned(&self, range: Range<usize>) -> Slice {
        assert!(range.end <= self.capacity(), "{range:?} of {} bytes", self.capacity());
        let readable = range.end.min(self.len());
        assert!(range.start <= readable, "{range:?} begins beyond the {} bytes written", self.len());
        let padding = range.end - readable;
        // SAFETY: the padding lies in the block and beyond `len`, where no slice reads (APPEND-1). What the block's last
        // owner left there must not reach the disk.
        unsafe { self.block.ptr().as_ptr().add(readable).write_bytes(0, padding) };
        Slice::of_block(self.block.clone(), range.start..readable, range.end)
    }
}

impl std::fmt::Debug for AppendBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppendBuf({} of {} bytes)", self.len(), self.capacity())
    }
}
