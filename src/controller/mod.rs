//! The controller: the one place where metadata changes.
//!
//! Owns: the metadata log of this node (`<data>/metadata/`), the image at its end, and the order of changes.
//! Inputs: proposals, as commands or as a plan that reads the newest image and returns commands.
//! Outputs: one [`Committed`] for each proposal that changed something, in the order of the log, once it is on stable
//! storage. First every watcher gets it, then the proposer.
//!
//! ```text
//! propose -> plan (pure, newest image) -> apply (pure) -> entry -> store: append + flush -> publish image and delta
//! ```
//!
//! Invariants
//! - CTRL-1: an image is published only after the entry that made it is on stable storage.
//! - CTRL-2: proposals commit one at a time, each on the image that the previous one produced, so no plan is stale.
//! - CTRL-3: a failed write of the log is final: nothing is appended after it.
//! - CTRL-4: recovery after a crash finds a prefix of the entries written, and that prefix holds every published one.
//!
//! The interface: other modules use [`Controller::propose`], [`Controller::propose_plan`], [`Controller::image`] and
//! [`Controller::watch`]. A quorum of one implements them on a file; a larger one will implement them on its agreed
//! log.
//!
//! Does not know: requests and their versions (`api` plans), or shards (`api::controller` watches, and publishes
//! committed images to them). Runs on the thread that opened it.

mod changes;
pub mod entry;
pub(crate) mod placement;
mod propose;
pub(crate) mod recover;
pub(crate) mod start;
mod store;

pub use propose::{Committed, Controller, ExpectedLog, OpenError, Opened, ProposeError};

use crate::metadata::Command;

/// The commands to commit, and the answer to the proposer once they are committed.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan<R> {
    /// If empty, nothing changes and nothing is written.
    pub commands: Vec<Command>,
    /// The result for the client.
    pub answer: R,
}
