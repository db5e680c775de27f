//! The files of the metadata log: the only I/O of the controller.
//!
//! `<data>/metadata/<index>.tml`, the index in 20 digits, holds the entries after that index. Unless the index is 0,
//! the file starts with a snapshot of the image at that index. A new snapshot is written under a temporary name,
//! flushed, and renamed; then the previous file is removed. So one whole file always exists.

use std::io;
use std::path::{Path, PathBuf};

use super::entry::{self, BadEntry, Payload};
use super::recover::{RecoverError, Recovered, recover};
use crate::metadata::Image;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

const SUFFIX: &str = ".tml";
const UNFINISHED: &str = ".tml.tmp";
/// A snapshot is due when the entries after the last one are larger than it by this much.
const SNAPSHOT_SLACK_BYTES: u64 = 1 << 20;

/// The open file at the end of the log.
pub struct Store {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    len: u64,
    /// The length of the file at which a snapshot is due.
    snapshot_at: u64,
}

/// A snapshot that failed.
#[derive(Debug)]
pub struct SnapshotError {
    /// The failed operation's error.
    pub error: io::Error,
    /// Whether it is unknown which file the next start will find. If not, the log continues in the old file.
    pub is_final: bool,
}

/// The least content of the log: another file of the node was written after the entry at `index` was durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectedLog {
    /// The cluster of the log.
    pub cluster_id: String,
    /// The log does not end before this index.
    pub index: u64,
    /// The file that proves it.
    pub proof: PathBuf,
}

/// Why the log cannot be opened. The log is as it was before the attempt.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// The file is read, and its content is unusable.
    #[error("{path}: {why}")]
    Unrecoverable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: RecoverError,
    },
    /// The file's name requires a snapshot, and its first entry is not one.
    #[error(
        "{path}: does not start with the snapshot that its name promises{}",
        why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    NoSnapshot {
        /// The file.
        path: PathBuf,
        /// Why its first bytes are not an entry, if they are not.
        why: Option<BadEntry>,
    },
    /// The directory has no log, and another file proves that it had one.
    #[error(
        "{dir} contains no metadata log, but {} was written by a node that had one. Without it the node does not know \
         its topics, and a new log would belong to another cluster. Restore the directory from a copy",
        expected.proof.display()
    )]
    Missing {
        /// The directory of the log.
        dir: PathBuf,
        /// The file that proves that there was a log.
        expected: Box<ExpectedLog>,
    },
    /// The log ends before an entry that another file proves.
    #[error(
        "{path}: the metadata log ends at index {index}, but {} was written after index {} was durable: acknowledged \
         changes are missing{}. Restore the metadata log from a copy",
        expected.proof.display(),
        expected.index,
        torn.as_ref().map(|(bytes, why)| format!(" (its last {bytes} bytes are damaged: {why})")).unwrap_or_default()
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// The index of its last whole entry.
        index: u64,
        /// The bytes after that entry, and why they are not an entry.
        torn: Option<(u64, BadEntry)>,
        /// The index that is proved, and the proof.
        expected: Box<ExpectedLog>,
    },
    /// The log belongs to another cluster than the other files.
    #[error(
        "{path}: the metadata log belongs to cluster {log}, and {} to cluster {}: the data directory mixes the files \
         of two clusters. Restore those that are wrong",
        expected.proof.display(),
        expected.cluster_id
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster of the log.
        log: String,
        /// The other cluster, and the proof.
        expected: Box<ExpectedLog>,
    },
}

impl Store {
    /// Opens the log in `dir` and reads it. A torn write at its end is cut off. Creates the log if there is none and
    /// none is expected.
    pub async fn open(dir: &Path, expected: Option<&ExpectedLog>) -> Result<(Store, Recovered), OpenError> {
        let failed = |error| OpenError::Io { path: dir.into(), error };
        let names = if expected.is_some() && !dir::exists(dir) {
            Vec::new()
        } else {
            dir::create_all(dir).await.map_err(failed)?;
            dir::list(dir).map_err(failed)?
        };
        let mut starts: Vec<u64> = names.iter().filter_map(|name| start_of(name)).collect();
        starts.sort_unstable();
        let newest = starts.pop();
        if let (Some(expected), None) = (expected, newest) {
            return Err(OpenError::Missing { dir: dir.into(), expected: Box::new(expected.clone()) });
        }
        let path = dir.join(name_of(newest.unwrap_or(0)));
        let (store, recovered) = open_file(dir, &path, newest, expected).await?;
        // A crash between two steps of a snapshot leaves the previous file or an unfinished one.
        let unfinished = names.into_iter().filter(|name| name.ends_with(UNFINISHED));
        for name in starts.into_iter().map(name_of).chain(unfinished) {
            dir::remove_file(dir.join(name)).await.map_err(failed)?;
        }
        dir::sync(dir).await.map_err(failed)?;
        Ok((store, recovered))
    }

    /// Appends an entry and flushes it. An error is final: the content of the file is unknown afterwards (CTRL-3).
    pub async fn append(&mut self, entry: Vec<u8>) -> io::Result<()> {
        let bytes = entry.len() as u64;
        self.file.write_at(entry, self.len, Durability::DataSync).await?;
        self.len += bytes;
        Ok(())
    }

    /// Whether the log is long enough for a snapshot.
    pub fn is_snapshot_due(&self) -> bool {
        self.len >= self.snapshot_at
    }

    /// Continues the log in a new file that starts with `image`.
    pub async fn snapshot(&mut self, image: &Image, term: u64) -> Result<(), SnapshotError> {
        let path = self.dir.join(name_of(image.index));
        assert_ne!(path, self.path, "no entry was appended since the last snapshot");
        let unfinished = self.dir.join(format!("{:020}{UNFINISHED}", image.index));
        // After a failure, the next attempt is due when the log is twice as long.
        self.snapshot_at = self.len.saturating_mul(2);
        let bytes = entry::encode(image.index, term, &Payload::Image(Box::new(image.clone())));
        let len = bytes.len() as u64;
        let file = write_whole(&unfinished, bytes).await.map_err(|error| SnapshotError { error, is_final: false })?;
        // From here on the next start may find either file. Entries appended to the other file would be lost.
        let is_final = true;
        dir::rename(&unfinished, &path).await.map_err(|error| SnapshotError { error, is_final })?;
        dir::sync(&self.dir).await.map_err(|error| SnapshotError { error, is_final })?;
        let before = std::mem::replace(&mut self.path, path);
        (self.file, self.len, self.snapshot_at) = (file, len, due_after(len));
        dir::remove_file(before).await.map_err(|error| SnapshotError { error, is_final: false })
    }
}

/// The length at which a log that starts with a snapshot of `snapshot_bytes` gets a new snapshot.
fn due_after(snapshot_bytes: u64) -> u64 {
    2 * snapshot_bytes + SNAPSHOT_SLACK_BYTES
}

async fn write_whole(path: &Path, bytes: Vec<u8>) -> io::Result<File> {
    let open = Open { read: true, write: true, create: true, truncate: true, ..Open::default() };
    let file = File::open(path, open).await?;
    file.write_at(bytes, 0, Durability::Cached).await?;
    file.sync_all().await?;
    Ok(file)
}

async fn open_file(
    dir: &Path,
    path: &Path,
    newest: Option<u64>,
    expected: Option<&ExpectedLog>,
) -> Result<(Store, Recovered), OpenError> {
    let failed = |error| OpenError::Io { path: path.into(), error };
    let open = Open { read: true, write: true, create: true, ..Open::default() };
    let file = File::open(path, open).await.map_err(failed)?;
    let len = file.len().await.map_err(failed)?;
    let bytes = file.read_vec(len as usize, 0).await.map_err(failed)?;
    let recovered = recover(&bytes).map_err(|why| OpenError::Unrecoverable { path: path.into(), why })?;
    if newest.is_some_and(|start| start > 0) && recovered.snapshot_bytes == 0 {
        let why = recovered.torn.map(|(_, why)| why);
        return Err(OpenError::NoSnapshot { path: path.into(), why });
    }
    if let Some(expected) = expected {
        check(&recovered, path, expected)?;
    }
    if recovered.torn.is_some() {
        file.set_len(recovered.valid_bytes).await.map_err(failed)?;
    }
    file.sync_all().await.map_err(failed)?;
    let store = Store {
        dir: dir.into(),
        path: path.into(),
        file,
        len: recovered.valid_bytes,
        snapshot_at: due_after(recovered.snapshot_bytes),
    };
    Ok((store, recovered))
}

/// Fails if the log lacks an entry that was acknowledged, or is another cluster's.
fn check(recovered: &Recovered, path: &Path, expected: &ExpectedLog) -> Result<(), OpenError> {
    let (path, expected, image) = (path.to_owned(), Box::new(expected.clone()), &recovered.image);
    if !image.cluster_id.is_empty() && image.cluster_id != expected.cluster_id {
        return Err(OpenError::OtherCluster { path, log: image.cluster_id.clone(), expected });
    }
    if image.index < expected.index {
        return Err(OpenError::Behind { path, index: image.index, torn: recovered.torn.clone(), expected });
    }
    Ok(())
}

/// The name of the log file with the entries after index `start`.
fn name_of(start: u64) -> String {
    format!("{start:020}{SUFFIX}")
}

fn start_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() == 20 && digits.bytes().all(|c| c.is_ascii_digit()) { digits.parse().ok() } else { None }
}
