//! What is on stable storage, below the level of partitions: the data directory, the journal, the checkpoint.
//!
//! Owns: the directory layout and its lock ([`layout`]), each shard's write-ahead log ([`journal`]) and the
//! sidecar that says from where to replay it ([`checkpoint`]). In comes: batches as bytes, in the order in which
//! they are to be replayed. Out goes: a durable sequence number that only ever grows. It does not know what a
//! partition, an offset check or a request is. Runs on the shard's own thread.
//!
//! Invariants:
//! - JRN-1: a group that promises stable storage is durable only when it and every group before it are flushed.
//! - JRN-2: a journal file is reused only when every group in it lies before the checkpoint's start.
//! - JRN-3: after a failed write nothing is acknowledged any more; the journal stays failed.

pub mod checkpoint;
pub mod journal;
pub mod layout;

/// O_DIRECT's unit here: positions, lengths and memory are multiples of it. Covers 512 B and 4 KiB devices.
pub const BLOCK_BYTES: usize = 4096;

/// `bytes` rounded up to whole blocks.
pub fn block_ceil(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// `position` rounded down to the start of its block.
pub fn block_floor(position: u64) -> u64 {
    position & !(BLOCK_BYTES as u64 - 1)
}

/// What storage can do to us. Evidence first: which file, doing what, what the kernel said.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: std::path::PathBuf, source: std::io::Error },
    /// What was written may or may not be on the disk, and a later flush that succeeds says nothing about it.
    #[error("{doing} {}: {source}", path.display())]
    Flush { doing: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("{} is not readable as {what}: {why}", path.display())]
    Format { what: &'static str, path: std::path::PathBuf, why: String },
    #[error("{0}")]
    Refused(String),
}

impl StorageError {
    pub fn io(doing: &'static str, path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Io { doing, path, source }
    }

    pub fn flush(
        doing: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Flush { doing, path, source }
    }

    pub fn format(what: &'static str, path: impl Into<std::path::PathBuf>, why: impl Into<String>) -> StorageError {
        StorageError::Format { what, path: path.into(), why: why.into() }
    }

    /// A full disk is the one failure that passes: nothing was written, and space may come back. Not so for a flush, which
    /// is reported once however it failed.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)))
    }
}
