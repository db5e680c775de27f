//! The reasons why a node cannot start, or cannot stop cleanly.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::controller::start::OtherNode;
use crate::controller::{OpenError, ProposeError};
use crate::disk::StorageError;
use crate::router::message::ProducerIdsNotReserved;

/// Ends the shard, and with it the node. The main thread prints it.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    MetadataLog(#[from] OpenError),
    #[error(transparent)]
    OtherNode(#[from] OtherNode),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("{action} {}: {error}", path.display())]
    Directory { action: &'static str, path: PathBuf, error: io::Error },
    #[error(
        "{} is missing, but shards have checkpoints or journals, whose records would be lost: bring it back",
        path.display()
    )]
    NoMeta { path: PathBuf },
    #[error(
        "{} is missing. Acknowledged records may be in it and nowhere else: bring it back. If journal.dir was set \
         when the node ran last, set it again",
        path.display()
    )]
    NoJournal { path: PathBuf },
    #[error(
        "{} is missing, and {} exists: journal.dir has changed since the node ran last. Remove journal.dir, or move \
         the journal of each shard to its new place",
        path.display(),
        elsewhere.display()
    )]
    JournalElsewhere { path: PathBuf, elsewhere: PathBuf },
    #[error(
        "{} is missing, and its records would be lost: bring it back. (An older release stored it elsewhere.)",
        path.display()
    )]
    NoLayout { path: PathBuf },
    #[error("{} has disappeared", path.display())]
    NoCheckpoint { path: PathBuf },
    #[error(
        "{} belongs to node {meta}, and the metadata log to node {here}: the data directory mixes the files of two \
         nodes. Restore those that are wrong",
        path.display()
    )]
    TwoNodes { path: PathBuf, meta: i32, here: i32 },
    #[error("cannot reserve the producer ids of logs of another cluster: {0}")]
    ProducerIds(#[from] ProducerIdsNotReserved),
    #[error("the reactor could not be set up: {0}")]
    Reactor(io::Error),
    #[error("cannot listen: {0}")]
    Listen(io::Error),
    /// The shard failed while it served or stopped.
    #[error(transparent)]
    Shard(#[from] Arc<StorageError>),
    #[error("all shards ended before they started")]
    NoneStarted,
}

impl NodeError {
    /// Attaches the action and the path to an error of the file system.
    pub fn directory(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NodeError {
        move |error| NodeError::Directory { action, path: path.to_owned(), error }
    }
}
