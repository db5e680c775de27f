//! The offset index and the time index of a segment: in memory, in their files, or rebuilt from the `.log`.

use std::path::PathBuf;
use std::rc::Rc;

use super::Segment;
use super::file::{length_of, store_index};
use super::rebuild::rebuild_indexes;
use crate::disk::StorageError;
use crate::log::index::{IndexError, Indexes, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
#[cfg(test)]
use crate::log::index::{OffsetEntry, TimeEntry};
use crate::model::{Offset, Position};
use crate::runtime::file::{File, Open};

/// A longer index file is not read, unless the segment is longer still: it is not Kafka's, and the index is rebuilt.
const INDEX_FILE_BYTES_MAX: u64 = 64 << 20;

const READ: Open =
    Open { read: true, write: false, create: false, create_new: false, truncate: false, direct: false, append: false };

/// Why a segment's index files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum ReadIndexError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Malformed(#[from] IndexError),
}

impl Segment {
    /// Entries of the offset index and of the time index. A full offset index is a reason to roll.
    pub fn index_entries(&self) -> (usize, usize) {
        self.indexes.borrow().as_ref().map_or((0, 0), |indexes| (indexes.offsets.len(), indexes.times.len()))
    }

    /// The offset index's size in bytes. Takes it from the file's length, without reading the index, if it can.
    pub(in crate::log) async fn index_bytes(self: &Rc<Self>) -> Result<usize, StorageError> {
        if !self.has_indexes()
            && let names = self.names()?
            && let Ok(bytes) = length_of(&names.file(self.base_offset, "index")).await
        {
            return Ok(bytes as usize);
        }
        self.with_indexes(|indexes| indexes.offsets.len() * OFFSET_ENTRY_BYTES).await
    }

    /// A position at or before the batch that holds `offset`.
    pub async fn position_before(self: &Rc<Self>, offset: Offset) -> Result<Position, StorageError> {
        self.with_indexes(|indexes| indexes.position_before(self.base_offset, offset)).await
    }

    /// An offset at or below that of every record with a timestamp of at least `timestamp`.
    pub async fn offset_before(self: &Rc<Self>, timestamp: i64) -> Result<Offset, StorageError> {
        self.with_indexes(|indexes| indexes.offset_before(self.base_offset, timestamp)).await
    }

    /// Calls `look` with the indexes. Reads them from their files, or rebuilds them, if they are not in memory. They
    /// are never shared: an append to the active segment's indexes must not copy them.
    async fn with_indexes<R>(self: &Rc<Self>, look: impl FnOnce(&Indexes) -> R) -> Result<R, StorageError> {
        if let Some(indexes) = &*self.indexes.borrow() {
            return Ok(look(indexes));
        }
        let indexes = self.load_indexes().await?;
        let looked = {
            let mut held = self.indexes.borrow_mut();
            look(held.get_or_insert(indexes))
        };
        self.count_indexes();
        Ok(looked)
    }

    /// Loads the indexes into memory.
    pub(super) async fn hold_indexes(self: &Rc<Self>) -> Result<(), StorageError> {
        self.with_indexes(|_| ()).await
    }

    /// Reads the indexes from their files, or rebuilds them.
    async fn load_indexes(self: &Rc<Self>) -> Result<Indexes, StorageError> {
        let read = self.read_indexes().await.and_then(|indexes| {
            // A sealed segment with a batch has a time entry, unless its records have no timestamps.
            let is_complete = !indexes.times.is_empty() || self.times().max_timestamp < 0;
            if is_complete { Ok(indexes) } else { Err(IndexError::NoTimes.into()) }
        });
        match read {
            Ok(indexes) => Ok(indexes),
            // Its name may mean a file of another log by now.
            Err(_) if self.is_removed() => Err(self.removed_error()),
            Err(why) => {
                tracing::info!("rebuilding the indexes of {}: {why}", self.log_path().display());
                rebuild_indexes(self, Indexes::default(), Position::ZERO).await
            }
        }
    }

    /// Counts the indexes of a segment that takes no more appends as memory that can be evicted.
    pub(super) fn count_indexes(self: &Rc<Self>) {
        let bytes = self.indexes.borrow().as_ref().map_or(0, Indexes::bytes_in_memory);
        if bytes > 0 && self.is_sealed() && !self.indexes_are_counted.replace(true) {
            self.memory.admit_indexes(self, bytes);
        }
    }

    /// Whether the indexes are in memory.
    pub(in crate::log) fn has_indexes(&self) -> bool {
        self.indexes.borrow().is_some()
    }

    /// The entries of both indexes, if they are in memory.
    #[cfg(test)]
    pub(in crate::log) fn entries_in_memory(&self) -> Option<(Vec<OffsetEntry>, Vec<TimeEntry>)> {
        self.indexes.borrow().as_ref().map(|indexes| (indexes.offsets.clone(), indexes.times.clone()))
    }

    pub(in crate::log) fn set_indexes(&self, indexes: Indexes) {
        *self.indexes.borrow_mut() = Some(indexes);
    }

    /// Reads and checks the index files, within the memory that readers of pages share.
    pub(in crate::log) async fn read_indexes(&self) -> Result<Indexes, ReadIndexError> {
        let Some(names) = self.directory.names() else { return Err(IndexError::NoTimes.into()) };
        let mut files = Vec::new();
        let mut total = 0;
        for extension in ["index", "timeindex"] {
            let path = names.file(self.base_offset, extension);
            let io = |source| ReadIndexError::Io { path: path.clone(), source };
            let file = File::open(&path, READ).await.map_err(io)?;
            let bytes = file.len().await.map_err(io)?;
            // A sparse file can have any length.
            let bytes_max = INDEX_FILE_BYTES_MAX.max(self.size());
            if bytes > bytes_max {
                return Err(IndexError::TooLong { bytes_max, found: bytes }.into());
            }
            total += bytes;
            files.push((file, path, bytes));
        }
        drop(names);
        // The parsed entries take up to four thirds of the files' bytes.
        let _permit = self.memory.loads.acquire(3 * total).await;
        let mut contents = Vec::new();
        for (file, path, bytes) in files {
            let read = file.read_vec(bytes as usize, 0).await;
            contents.push(read.map_err(|source| ReadIndexError::Io { path, source })?);
        }
        Ok(Indexes::parse(&contents[0], &contents[1], self.size().max(1))?)
    }

    /// Adds the new entries to the index files, so that a restart need not walk the whole segment. They are not flushed
    /// before the segment is sealed: until then a restart checks them, and walks the segment if the check fails.
    pub async fn store_new_index_entries(&self) -> Result<(), StorageError> {
        let Some(names) = self.directory.names().filter(|_| !self.is_removed()) else { return Ok(()) };
        let (stored, now, offsets, times) = {
            let indexes = self.indexes.borrow();
            let Some(indexes) = &*indexes else { return Ok(()) };
            let stored = self.content.borrow().stored;
            let now = (indexes.offsets.len(), indexes.times.len());
            assert!(
                stored.0 <= now.0 && stored.1 <= now.1,
                "indexes only grow: {stored:?} entries are stored of {now:?}"
            );
            if now.0 == stored.0 {
                return Ok(());
            }
            (stored, now, indexes.offsets_bytes(stored.0), indexes.times_bytes(stored.1))
        };
        let path = |extension| names.file(self.base_offset, extension);
        let is_sealed = self.is_sealed();
        store_index(&path("index"), (stored.0 * OFFSET_ENTRY_BYTES) as u64, offsets, is_sealed).await?;
        store_index(&path("timeindex"), (stored.1 * TIME_ENTRY_BYTES) as u64, times, is_sealed).await?;
        self.content.borrow_mut().stored = now;
        Ok(())
    }
}
