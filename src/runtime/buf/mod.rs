//! Memory that the kernel reads and writes.
//!
//! - Owns: the arena (one per thread), its blocks, and the pool of receive buffers.
//! - Inputs: sizes.
//! - Outputs: blocks with one owner ([`AlignedBuf`]), blocks that grow while they are read ([`AppendBuf`]), and handles
//!   to immutable bytes ([`Shared`], [`Slice`]).
//! - Invariants: ARENA-1, ARENA-2, ARENA-3, APPEND-1, SLICE-1, POOL-1.
//! - Does not know: the contents or the users of the bytes.
//! - Thread: each thread has its own arena; nothing here is `Send`.

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
pub use arena::{
    BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, OverBudget, arena_bytes_free, arena_bytes_mapped, arena_bytes_used,
    set_arena_budget, unmap_free_chunk,
};
pub(super) use provided::Pool;
pub use provided::Received;
pub use slice::{Slice, Slices};
pub use wait::Allocating;

/// The budget of a thread that does not set one.
pub const ARENA_BYTES_DEFAULT: usize = 1 << 30;
