//! Memory that the kernel reads and writes.
//!
//! Owns: the arena (one per thread), its blocks, and the ring of buffers that receives choose from. In: sizes. Out: blocks with
//! one owner ([`AlignedBuf`]), blocks that grow while they are read ([`AppendBuf`]), and handles to bytes that do not change
//! ([`Shared`], [`Slice`]). Invariants: ARENA-1 to ARENA-3, APPEND-1, SLICE-1, POOL-1. Does not know who uses the bytes.
//! Thread: any one; nothing here is `Send`.

mod aligned;
mod append;
mod arena;
mod pages;
mod provided;
mod slice;
#[cfg(test)]
mod tests;
mod wait;

pub use aligned::{AlignedBuf, Shared};
pub use append::AppendBuf;
pub(super) use arena::set_up_arena;
pub use arena::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, OverBudget, arena_bytes_mapped, arena_bytes_used};
pub(super) use provided::Pool;
pub use provided::Received;
pub use slice::{Slice, Slices};
pub use wait::Allocating;

/// The budget of a thread that has not been given one.
pub const ARENA_BYTES_DEFAULT: usize = 1 << 30;
