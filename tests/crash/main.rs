//! Tests that kill processes, cut power and damage files while the machine is loaded.
//!
//! | module | claim |
//! |---|---|
//! | `kill_9` | acknowledged records survive `kill -9` once and in order |
//! | `faults` | a shard keeps acknowledged records after power failures, I/O errors and damaged files |
//! | `copier` | transactions copy each record once while copiers and the node are killed |
//! | `many_members` | each partition has one owner while members of a group join, leave and crash |
//!
//! They load the whole machine, so tests of different modules never run at the same time (`support::turn`).

#[path = "../support/mod.rs"]
mod support;

mod copier;
mod faults;
mod kill_9;
mod many_members;
