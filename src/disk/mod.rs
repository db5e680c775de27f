//! Stable storage below the level of partitions: the data directory, the journal, the checkpoint.
//!
//! Owns: the directory layout and its lock ([`layout`]), the wait for an [`earlier`] process, each shard's write-ahead
//! log ([`journal`]), and the file that names where its replay starts ([`checkpoint`]). In: batches as
//! bytes, in the order of their replay. Out: a durable sequence number that only grows.
//!
//! Invariants:
//! - JRN-1: a group that promises stable storage is durable only when it and every group before it are flushed.
//! - JRN-2: a journal file is reused only when every group in it is before the checkpoint's start.
//! - JRN-3: after a failed write the journal acknowledges nothing, and stays failed.
//! - JRN-4: while the journal is idle, the last flushed group has a whole successor, so that damage to it is detected.
//!
//! It does not know partitions' logs, offsets or requests. Runs on the shard's own thread.

pub mod checkpoint;
pub mod earlier;
pub mod journal;
pub mod layout;

/// The unit of O_DIRECT: positions, lengths and memory addresses are multiples of it. It fits devices of 512 B and 4
/// KiB.
pub const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES.is_power_of_two());

/// `bytes` rounded up to whole blocks.
pub fn block_ceil(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Whether O_DIRECT accepts this position and this length.
pub fn is_aligned(position: u64, bytes: usize) -> bool {
    position.is_multiple_of(BLOCK_BYTES as u64) && bytes.is_multiple_of(BLOCK_BYTES)
}

/// `position` rounded down to the start of its block.
pub fn block_floor(position: u64) -> u64 {
    position & !(BLOCK_BYTES as u64 - 1)
}

/// A failure of storage, with its evidence: the operation, the file, and the kernel's error.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb with its object: "open", "list directory".
        doing: &'static str,
        /// The file or directory.
        path: std::path::PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The written bytes may or may not be on the disk. A later flush that succeeds does not prove that they are.
    #[error("{doing} {}: {source}", path.display())]
    Flush {
        /// The operation, as a verb with its object.
        doing: &'static str,
        /// The file or directory.
        path: std::path::PathBuf,
        /// The kernel's error, which the kernel reports once (fsync(2)).
        source: std::io::Error,
    },
    /// A file's content is not of its format, or is damaged.
    #[error("{} is not readable as {what}: {why}", path.display())]
    Format {
        /// The format: "a checkpoint", "a journal file".
        what: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The rule that the content breaks.
        why: String,
    },
    /// An operation that was not tried, with the reason: no memory, or state that rules it out.
    #[error("{0}")]
    Refused(String),
    /// An earlier failure, after which the shard writes no more.
    #[error("{0}")]
    Earlier(std::sync::Arc<StorageError>),
}

impl StorageError {
    /// A failed operation: for `map_err`.
    pub fn io(doing: &'static str, path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Io { doing, path, source }
    }

    /// A failed fsync: for `map_err`.
    pub fn flush(
        doing: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Flush { doing, path, source }
    }

    /// A file whose content is not of the format `what`.
    pub fn format(what: &'static str, path: impl Into<std::path::PathBuf>, why: impl Into<String>) -> StorageError {
        StorageError::Format { what, path: path.into(), why: why.into() }
    }

    /// Whether the operation may succeed later: nothing was written, and space may be freed. A failed flush is never
    /// retried, because the kernel reports the failure once.
    pub fn is_disk_full(&self) -> bool {
        let StorageError::Io { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
    }
}
