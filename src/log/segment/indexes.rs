//! The offset index and the time index of a segment: in memory, in their files, or rebuilt from the `.log`.

use std::path::PathBuf;
use std::rc::Rc;

use super::file::{length_of, store_index};
use super::peek::SCAN_BYTES;
use super::{Peeked, Segment, Times, file_path};
use crate::disk::StorageError;
use crate::log::index::{IndexError, Indexes, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::model::{Offset, Position};
use crate::runtime::dir;

/// Kafka's default of `index.interval.bytes`, for indexes that are rebuilt.
const REBUILT_INTERVAL_BYTES: u64 = 4096;

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
        if self.indexes_in_memory().is_none()
            && let Ok(bytes) = length_of(&file_path(&self.directory, self.base_offset, "index")).await
        {
            return Ok(bytes as usize);
        }
        Ok(self.indexes().await?.offsets.len() * OFFSET_ENTRY_BYTES)
    }

    /// The indexes. Reads them from their files, or rebuilds them, if they are not in memory.
    pub async fn indexes(self: &Rc<Self>) -> Result<Rc<Indexes>, StorageError> {
        if let Some(indexes) = &*self.indexes.borrow() {
            return Ok(indexes.clone());
        }
        let read = self.read_indexes().await.and_then(|indexes| {
            // A sealed segment with a batch has a time entry, unless its records have no timestamps.
            let is_complete = !indexes.times.is_empty() || self.size() == 0;
            if is_complete { Ok(indexes) } else { Err(IndexError::NoTimes.into()) }
        });
        let indexes = match read {
            Ok(indexes) => indexes,
            Err(why) => {
                tracing::info!("rebuilding the indexes of {}: {why}", self.log_path().display());
                rebuild_indexes(self, Indexes::default(), Position::ZERO).await?
            }
        };
        Ok(self.indexes.borrow_mut().get_or_insert(Rc::new(indexes)).clone())
    }

    /// The indexes, if they are in memory.
    pub fn indexes_in_memory(&self) -> Option<Rc<Indexes>> {
        self.indexes.borrow().clone()
    }

    pub(in crate::log) fn set_indexes(&self, indexes: Indexes) {
        *self.indexes.borrow_mut() = Some(Rc::new(indexes));
    }

    /// Reads and checks the index files.
    pub(in crate::log) async fn read_indexes(&self) -> Result<Indexes, ReadIndexError> {
        let mut files = [Vec::new(), Vec::new()];
        for (extension, bytes) in ["index", "timeindex"].into_iter().zip(&mut files) {
            let path = file_path(&self.directory, self.base_offset, extension);
            *bytes = dir::read_small(&path).map_err(|source| ReadIndexError::Io { path, source })?;
        }
        Ok(Indexes::parse(&files[0], &files[1], self.size().max(1))?)
    }

    /// Adds the new entries to the index files, so that a restart need not walk the whole segment. They are not flushed
    /// before the segment is sealed: until then a restart checks them, and walks the segment if the check fails.
    pub async fn store_new_index_entries(&self) -> Result<(), StorageError> {
        let Some(indexes) = self.indexes_in_memory() else { return Ok(()) };
        let stored = self.content.borrow().stored;
        let now = (indexes.offsets.len(), indexes.times.len());
        assert!(stored.0 <= now.0 && stored.1 <= now.1, "indexes only grow: {stored:?} entries are stored of {now:?}");
        if now.0 == stored.0 || self.is_removed() {
            return Ok(());
        }
        let new = Indexes::of(&indexes.offsets[stored.0..], &indexes.times[stored.1..]);
        let path = |extension| file_path(&self.directory, self.base_offset, extension);
        let is_sealed = self.is_sealed();
        store_index(&path("index"), (stored.0 * OFFSET_ENTRY_BYTES) as u64, new.offsets_bytes(), is_sealed).await?;
        store_index(&path("timeindex"), (stored.1 * TIME_ENTRY_BYTES) as u64, new.times_bytes(), is_sealed).await?;
        self.content.borrow_mut().stored = now;
        Ok(())
    }
}

/// Walks a segment's batches from `position` on, and adds their entries to `indexes`, which cover the batches before
/// it. Takes Kafka's default interval.
pub(in crate::log) async fn rebuild_indexes(
    segment: &Rc<Segment>,
    mut indexes: Indexes,
    mut position: Position,
) -> Result<Indexes, StorageError> {
    let mut times = Times::NONE;
    if let Some(last) = indexes.times.last() {
        times.note(last.timestamp, segment.base_offset + i64::from(last.relative_offset));
    }
    while let Some(batch) = segment.peek_or_load(position, SCAN_BYTES).await? {
        index_batch(&mut indexes, &mut times, segment.base_offset, position, &batch);
        position += batch.bytes;
    }
    assert_eq!(position.0, segment.size(), "a walk ends at the segment's end");
    indexes.note_time(segment.base_offset, times.max_timestamp, times.offset_of_max);
    Ok(indexes)
}

/// Adds the batch at `position` to indexes that are being rebuilt.
pub(in crate::log) fn index_batch(
    indexes: &mut Indexes,
    times: &mut Times,
    base: Offset,
    position: Position,
    batch: &Peeked,
) {
    // Records are not searched: Kafka's rebuild takes the batch's last offset too.
    times.note(batch.max_timestamp, batch.last_offset);
    let (timestamp, offset) = (times.max_timestamp, times.offset_of_max);
    indexes.note(base, batch.last_offset, position, batch.bytes, REBUILT_INTERVAL_BYTES, timestamp, offset);
}
