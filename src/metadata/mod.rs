//! The cluster's metadata: what exists, who leads what, and how that changes.
//!
//! Owns: the immutable [`Image`] that every shard reads, the [`Command`]s that are the only way to change it, and
//! [`apply`](apply::apply), the pure function between two images. In: commands, in the order of the metadata log. Out: the next
//! image, and a [`Delta`] that says what is new in it.
//!
//! Invariants
//! - META-1: the same commands in the same order give the same image, on every node, in every run: `apply` looks at nothing else.
//! - META-2: the commands at one index apply together, or are rejected together and change nothing.
//! - META-3: a topic is in the image under its name and its id, or under neither; ids are never used again.
//! - META-4: a partition's leader epoch never goes back for one topic id, and grows with every leadership.
//! - META-5: a leader is one of the in-sync replicas, and these are some of the replicas; a replica is a node, never twice the same.
//!
//! Does not know: the log that orders the commands (`controller`), what a shard does
//! with its partitions ([`owner`] only derives which shard owns one), API versions. Runs anywhere; an `Image` is shared between
//! threads behind an `Arc` and never changes.

pub mod apply;
pub mod archive;
pub mod command;
pub mod image;
pub mod owner;

pub use apply::{Delta, Rejected, apply, apply_to};
pub use command::{Command, Endpoint};
pub use image::{Image, Node, Partition, Topic};
