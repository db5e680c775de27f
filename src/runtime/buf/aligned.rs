//! A block with one owner: the kernel reads into it or writes from it, and returns it with the completion.

use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

use super::arena::{Block, OverBudget};
use super::slice::Slice;
use super::wait::Allocating;

/// Unique memory from the arena, aligned to 4 KiB, readable and writable over its whole capacity.
///
/// A recycled block still holds the bytes of its last owner: never send bytes that you did not write.
pub struct AlignedBuf {
    block: Block,
}

impl AlignedBuf {
    /// Allocates at least `bytes`, rounded up to a size class.
    pub fn alloc(bytes: usize) -> Result<AlignedBuf, OverBudget> {
        Ok(AlignedBuf { block: Block::alloc(bytes)? })
    }

    /// As [`alloc`](Self::alloc), but waits until the budget has room.
    pub fn alloc_wait(bytes: usize) -> Allocating<AlignedBuf> {
        Allocating::new(bytes, AlignedBuf::alloc)
    }

    /// The size of the block in bytes.
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// Ends writing: the bytes become shared and never change again.
    pub fn freeze(self) -> Shared {
        Shared { block: Rc::new(self.block) }
    }

    pub(in crate::runtime) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.block.ptr().as_ptr()
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the block's bytes are initialised and belong to `self` alone (ARENA-1).
        unsafe { std::slice::from_raw_parts(self.block.ptr().as_ptr(), self.block.capacity()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.ptr().as_ptr(), self.block.capacity()) }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.capacity())
    }
}

/// A frozen block. A clone increments a reference count.
#[derive(Clone)]
pub struct Shared {
    block: Rc<Block>,
}

impl Shared {
    /// A handle to part of the block.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        Slice::of_block(self.block.clone(), range.clone(), range.end)
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are initialised. Nothing writes to a frozen block: `freeze` consumed the only writer
        // (SLICE-1).
        unsafe { std::slice::from_raw_parts(self.block.ptr().as_ptr(), self.block.capacity()) }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({} bytes)", self.block.capacity())
    }
}
