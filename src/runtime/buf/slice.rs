//! A cheap handle to immutable bytes, which are sent, written and passed around without a copy.
//!
//! SLICE-1: the readable bytes of a slice lie within its owner's block, and nothing writes to them any more.

use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use super::aligned::{AlignedBuf, Shared};
use super::arena::Block;

/// Immutable bytes and the owner that keeps them alive. Takes 40 bytes; a clone increments a reference count.
#[derive(Clone)]
pub struct Slice {
    ptr: NonNull<u8>,
    len: usize,
    /// The length of a file write: `len`, or more when the slice is padded (see `AppendBuf::aligned`).
    padded_len: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Static,
    Block(Rc<Block>),
    Vec(#[expect(dead_code, reason = "held to keep the bytes alive")] Rc<Vec<u8>>),
}

impl Slice {
    /// The bytes `readable` of the block; a file write takes bytes up to `padded_end`.
    ///
    /// The callers keep SLICE-1: `Shared` is frozen, and `AppendBuf` does not write below its length (APPEND-1).
    pub(super) fn of_block(block: Rc<Block>, readable: Range<usize>, padded_end: usize) -> Slice {
        assert!(
            readable.start <= readable.end && readable.end <= padded_end && padded_end <= block.capacity(),
            "SLICE-1: {readable:?}, padded to {padded_end}, of {} bytes",
            block.capacity()
        );
        // SAFETY: the offset is within the block (asserted).
        let ptr = unsafe { block.ptr().add(readable.start) };
        Slice {
            ptr,
            len: readable.end - readable.start,
            padded_len: padded_end - readable.start,
            owner: Owner::Block(block),
        }
    }

    /// A part of the slice, without its padding.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "SLICE-1: {range:?} of a slice of {} bytes",
            self.len
        );
        // SAFETY: the offset is within the slice (asserted).
        let ptr = unsafe { self.ptr.add(range.start) };
        let len = range.end - range.start;
        Slice { ptr, len, padded_len: len, owner: self.owner.clone() }
    }

    /// This slice and `next` as one, if `next` is of the same block and begins within this slice or right behind it.
    /// The bytes between the two starts are readable, so all bytes of the result are.
    pub fn join(&self, next: &Slice) -> Option<Slice> {
        let (Owner::Block(block), Owner::Block(other)) = (&self.owner, &next.owner) else { return None };
        let skipped = (next.ptr.as_ptr() as usize).checked_sub(self.ptr.as_ptr() as usize)?;
        (Rc::ptr_eq(block, other) && skipped <= self.len).then(|| Slice {
            ptr: self.ptr,
            len: self.len.max(skipped + next.len),
            padded_len: self.padded_len.max(skipped + next.padded_len),
            owner: self.owner.clone(),
        })
    }

    /// The number of bytes that a file write of this slice takes.
    pub fn padded_len(&self) -> usize {
        self.padded_len
    }

    pub(in crate::runtime) fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `owner` keeps the memory, the bytes are initialised, and nothing writes to them (SLICE-1). A static
        // never changes; a vector is behind an `Rc` that only slices hold.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// Slices are equal if their bytes are.
impl std::borrow::Borrow<[u8]> for Slice {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Slice) -> bool {
        **self == **other
    }
}

impl Eq for Slice {}

impl Default for Slice {
    fn default() -> Slice {
        Slice::from(&[][..])
    }
}

impl From<&'static [u8]> for Slice {
    fn from(bytes: &'static [u8]) -> Slice {
        Slice { ptr: NonNull::from(bytes).cast(), len: bytes.len(), padded_len: bytes.len(), owner: Owner::Static }
    }
}

impl<const N: usize> From<&'static [u8; N]> for Slice {
    fn from(bytes: &'static [u8; N]) -> Slice {
        Slice::from(&bytes[..])
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Slice {
        let bytes = Rc::new(bytes);
        let ptr = NonNull::from(bytes.as_slice()).cast();
        Slice { ptr, len: bytes.len(), padded_len: bytes.len(), owner: Owner::Vec(bytes) }
    }
}

impl From<Shared> for Slice {
    fn from(shared: Shared) -> Slice {
        shared.slice(0..shared.len())
    }
}

impl From<AlignedBuf> for Slice {
    fn from(buf: AlignedBuf) -> Slice {
        Slice::from(buf.freeze())
    }
}

/// The bytes of one send or one write: one slice, or several in order.
#[derive(Clone, Debug)]
pub enum Slices {
    /// A single slice, without an allocation.
    One(Slice),
    /// Several slices, or none.
    Many(Vec<Slice>),
}

impl Slices {
    /// No slices.
    pub fn new() -> Slices {
        Slices::Many(Vec::new())
    }

    /// Adds a slice at the end.
    pub fn push(&mut self, slice: Slice) {
        match self {
            Slices::Many(many) => many.push(slice),
            Slices::One(one) => *self = Slices::Many(vec![std::mem::take(one), slice]),
        }
    }

    /// The slices in order.
    pub fn as_slice(&self) -> &[Slice] {
        match self {
            Slices::One(one) => std::slice::from_ref(one),
            Slices::Many(many) => many,
        }
    }

    /// The readable bytes of all slices.
    pub fn bytes(&self) -> usize {
        self.as_slice().iter().map(|s| s.len).sum()
    }

    /// The number of bytes that a file write takes.
    pub fn padded_bytes(&self) -> usize {
        self.as_slice().iter().map(|s| s.padded_len).sum()
    }
}

impl Default for Slices {
    fn default() -> Slices {
        Slices::new()
    }
}

impl From<Vec<Slice>> for Slices {
    fn from(many: Vec<Slice>) -> Slices {
        Slices::Many(many)
    }
}

impl<const N: usize> From<[Slice; N]> for Slices {
    fn from(many: [Slice; N]) -> Slices {
        Slices::Many(many.into())
    }
}

impl<T: Into<Slice>> From<T> for Slices {
    fn from(one: T) -> Slices {
        Slices::One(one.into())
    }
}
