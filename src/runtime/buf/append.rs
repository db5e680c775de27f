//! A block that grows while it is read: one writer appends, and readers hold slices of the appended bytes.
//!
//! APPEND-1: bytes below `len` never change, and `len` never shrinks.
//!
//! Appends write at `len` and above; readable slices end at or below `len`. So writes and reads never overlap.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use super::arena::{Block, OverBudget};
use super::slice::Slice;
use super::wait::Allocating;

/// A block that one writer appends to while readers hold [`Slice`]s of its bytes.
pub struct AppendBuf {
    block: Rc<Block>,
    len: Cell<usize>,
}

impl AppendBuf {
    /// Allocates room for at least `bytes`, rounded up to a size class.
    pub fn alloc(bytes: usize) -> Result<AppendBuf, OverBudget> {
        Ok(AppendBuf { block: Rc::new(Block::alloc(bytes)?), len: Cell::new(0) })
    }

    /// As [`alloc`](Self::alloc), but waits until the budget has room.
    pub fn alloc_wait(bytes: usize) -> Allocating<AppendBuf> {
        Allocating::new(bytes, AppendBuf::alloc)
    }

    /// The number of appended bytes.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether no byte was appended.
    pub fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// The size of the block in bytes.
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// The number of bytes that can still be appended.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Appends as much of `bytes` as fits, and returns the number of bytes appended.
    pub fn append(&self, bytes: &[u8]) -> usize {
        let len = self.len.get();
        let n = bytes.len().min(self.block.capacity() - len);
        // SAFETY: [len, len + n) lies in the block, and no slice reads beyond `len` (APPEND-1). `bytes` cannot overlap
        // it: a `&[u8]` of this block ends at or below `len`. The buffer is `!Sync`, so no other thread appends.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.block.ptr().as_ptr().add(len), n) };
        self.len.set(len + n);
        n
    }

    /// Copies `into.len()` bytes, starting at `at`.
    pub fn copy_to(&self, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= self.len(), "APPEND-1: beyond the {} bytes written", self.len());
        // SAFETY: [at, at + n) lies below `len`, where nothing writes any more (APPEND-1). `into` does not overlap it:
        // a `&mut [u8]` cannot alias this block.
        unsafe { std::ptr::copy_nonoverlapping(self.block.ptr().as_ptr().add(at), into.as_mut_ptr(), into.len()) };
    }

    /// Returns appended bytes as a value that outlives the buffer.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.end <= self.len(), "APPEND-1: {range:?} reaches beyond the {} bytes written", self.len());
        Slice::of_block(self.block.clone(), range.clone(), range.end)
    }

    /// As [`slice`](Self::slice), but the range may extend beyond `len`, up to the capacity. A file write takes the
    /// whole range, as O_DIRECT requires; a reader of the slice sees only the bytes below `len`.
    pub fn aligned(&self, range: Range<usize>) -> Slice {
        assert!(range.end <= self.capacity(), "{range:?} of {} bytes", self.capacity());
        let readable = range.end.min(self.len());
        assert!(range.start <= readable, "APPEND-1: {range:?} begins beyond the {} bytes written", self.len());
        let padding = range.end - readable;
        // The bytes of the block's last owner must not reach the disk.
        // SAFETY: the padding lies in the block and beyond `len`, where no slice reads (APPEND-1).
        unsafe { self.block.ptr().as_ptr().add(readable).write_bytes(0, padding) };
        Slice::of_block(self.block.clone(), range.start..readable, range.end)
    }
}

impl std::fmt::Debug for AppendBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppendBuf({} of {} bytes)", self.len(), self.capacity())
    }
}
