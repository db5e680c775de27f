//! A cheap handle to bytes that do not change: what is sent, written and passed around instead of copies.

use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use super::aligned::{AlignedBuf, Shared};
use super::arena::Block;

/// Bytes that stay as they are, and whoever keeps them alive. 40 bytes; a clone counts a reference.
#[derive(Clone)]
pub struct Slice {
    ptr: NonNull<u8>,
    len: usize,
    /// What a file write takes: `len`, or more when the slice is padded (see `AppendBuf::aligned`).
    padded_len: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Static,
    Block(#[expect(dead_code, reason = "held to keep the bytes alive")] Rc<Block>),
    Vec(#[expect(dead_code, reason = "held to keep the bytes alive")] Rc<Vec<u8>>),
}

impl Slice {
    /// `readable` of the block, and up to `padded_end` for a file write.
    ///
    /// SLICE-1: nobody writes to `readable` any more; the callers are `Shared` (frozen) and `AppendBuf` (APPEND-1).
    pub(super) fn of_block(block: Rc<Block>, readable: Range<usize>, padded_end: usize) -> Slice {
        assert!(readable.start <= readable.end && readable.end <= padded_end && padded_end <= block.capacity());
        // SAFETY: the offset is within the block (asserted).
        let ptr = unsafe { block.ptr().add(readable.start) };
        Slice {
            ptr,
            len: readable.end - readable.start,
            padded_len: padded_end - readable.start,
            owner: Owner::Block(block),
        }
    }

    /// A part of it; without the padding, unless there was none to lose.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of a slice of {} bytes", self.len);
        // SAFETY: the offset is within the slice (asserted).
        let ptr = unsafe { self.ptr.add(range.start) };
        let len = range.end - range.start;
        Slice { ptr, len, padded_len: len, owner: self.owner.clone() }
    }

    /// The bytes a file write of this slice takes.
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
        // SAFETY: `owner` keeps the memory, the bytes are initialised, and nobody writes to them (SLICE-1; a static, or a
        // vector behind an `Rc` that is never reached again).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// Equality is that of the bytes.
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

/// What one send or one write takes: one slice, as is, or several in order.
#[derive(Clone, Debug)]
pub enum Slices {
    One(Slice),
    Many(Vec<Slice>),
}

impl Slices {
    pub fn new() -> Slices {
        Slices::Many(Vec::new())
    }

    pub fn push(&mut self, slice: Slice) {
        match self {
            Slices::Many(many) => many.push(slice),
            Slices::One(one) => *self = Slices::Many(vec![std::mem::take(one), slice]),
        }
    }

    pub fn as_slice(&self) -> &[Slice] {
        match self {
            Slices::One(one) => std::slice::from_ref(one),
            Slices::Many(many) => many,
        }
    }

    /// Readable bytes in all slices.
    pub fn bytes(&self) -> usize {
        self.as_slice().iter().map(|s| s.len).sum()
    }

    /// Bytes a file write takes.
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
