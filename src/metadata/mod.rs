//! The cluster's metadata: its nodes, topics and partition leaders, and the commands that change them.
//!
//! Owns: the immutable [`Image`] that every shard reads, the [`Command`]s that are the only way to change it, and
//! [`apply`](apply::apply), the pure function from one image to the next.
//! Inputs: commands, in the order of the metadata log.
//! Outputs: the next image, and a [`Delta`] with the changes.
//!
//! Invariants
//! - META-1: the same commands in the same order give the same image on every node: `apply` reads nothing else.
//! - META-2: the commands at one index apply together, or are rejected together and change nothing.
//! - META-3: a topic is in the image under its name and its id, or under neither; ids are never used again.
//! - META-4: a partition's leader epoch never decreases for one topic id, and increases with every leadership.
//! - META-5: the leader is an in-sync replica, the in-sync replicas are replicas, and all replicas are different nodes.
//!
//! Does not know: the log that orders the commands (`controller`), how a shard serves its partitions ([`owner`] only
//! derives which shard owns one), API versions. Runs on any thread; threads share an `Image` behind an `Arc`, and it
//! never changes.

pub(crate) mod apply;
pub mod archive;
mod command;
mod deleted;
pub(crate) mod image;
pub(crate) mod owner;
mod shared_map;
mod update;

pub use apply::{CommandRejected, Delta, apply, apply_to};
pub use command::{Command, Endpoint};
pub use deleted::DeletedTopics;
pub use image::{GroupOverrides, Image, Node, Partition, Topic};
pub use update::ImageUpdate;
