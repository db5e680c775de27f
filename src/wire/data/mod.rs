//! The messages of the data path: append, read and delete records, and look up offsets.
//!
//! One file per API. Produce and Fetch are written by hand, the others are declared with `message!`; the invariants are
//! those of [`wire`](crate::wire).

pub mod delete_records;
pub mod fetch;
mod leader_hint;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;

pub use leader_hint::{CurrentLeader, NodeEndpoint};
