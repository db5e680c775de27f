//! The controller: the one place where metadata changes.
//!
//! Owns: the metadata log of this node (`<data>/metadata/`), the image at its end, and the order of changes. In: proposals, as
//! commands or as a plan that looks at the newest image and decides on commands. Out: [`Committed`], one for each proposal that
//! changed something, in the order of the log, once it is on stable storage; to the proposer and to every watcher.
//!
//! ```text
//! propose -> plan (pure, newest image) -> apply (pure) -> entry -> store: append + flush -> publish image and delta
//! ```
//!
//! Invariants
//! - CTRL-1: an image is published only after the entry that made it is on stable storage.
//! - CTRL-2: proposals run one at a time, each on the image that the one before it left; so what was planned applies.
//! - CTRL-3: a failed write of the log is final: nothing is proposed after it.
//! - CTRL-4: what a reader finds after a crash is a prefix of what was written, and holds everything that was published.
//!
//! The seam: [`Controller::propose`], [`Controller::image`] and [`Controller::watch`] are all that others use. A quorum of one
//! answers them from a file; a larger one will answer them from its agreed log.
//!
//! Does not know: requests and their versions (`api` plans), shards (who forwards committed images to them is `serve`). Runs on
//! one thread, the one that opened it.

pub mod entry;
pub mod placement;
pub mod propose;
pub mod recover;
pub mod start;
pub mod store;

pub use propose::{Committed, Controller, OpenError, Opened, ProposeError};

use crate::metadata::Command;

/// What is to change, and what its planner wants to say once it has.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan<R> {
    pub commands: Vec<Command>,
    pub answer: R,
}
