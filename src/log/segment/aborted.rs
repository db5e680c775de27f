//! A segment's index of aborted transactions: in memory, or only in its file.

use std::path::Path;
use std::rc::Rc;

use super::Segment;
use super::file::store_index;
use crate::disk::StorageError;
use crate::log::aborted::{self, AbortedIndexError, AbortedTransaction, ENTRY_BYTES};
use crate::model::Offset;
use crate::runtime::dir;
use crate::runtime::file::{File, Open};

/// Why a segment's `.txnindex` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum ReadAbortedError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it has {found} bytes and had {expected} when it was last flushed")]
    Short { expected: usize, found: usize },
    #[error(transparent)]
    Malformed(#[from] AbortedIndexError),
}

/// The transactions that a marker in this segment has aborted; see [`aborted`].
pub(super) struct Aborted {
    /// `None`: only in the file.
    pub(super) entries: Option<Rc<Vec<AbortedTransaction>>>,
    count: usize,
    /// Entries that are flushed.
    stored: usize,
    /// The first offset of the earliest of them; `Offset::MAX` without any. A reader below it skips this segment's
    /// index.
    first_offset: Offset,
}

impl Aborted {
    pub(in crate::log) fn of(entries: Vec<AbortedTransaction>, stored: usize) -> Aborted {
        assert!(stored <= entries.len(), "{stored} of {} entries are stored", entries.len());
        let first_offset = entries.iter().map(|entry| entry.first_offset).min().unwrap_or(Offset::MAX);
        Aborted { count: entries.len(), stored, first_offset, entries: Some(Rc::new(entries)) }
    }
}

impl Segment {
    /// Notes a transaction that the marker appended last has aborted.
    pub(in crate::log) fn note_aborted(&self, entry: AbortedTransaction) {
        assert!(entry.first_offset <= entry.last_offset, "a transaction ends before it begins: {entry:?}");
        let mut aborted = self.aborted.borrow_mut();
        let entries = aborted.entries.as_mut().expect("the active segment's are in memory");
        let last = entries.last();
        assert!(last.is_none_or(|last| last.last_offset < entry.last_offset), "{last:?} is followed by {entry:?}");
        Rc::make_mut(entries).push(entry);
        aborted.count += 1;
        aborted.first_offset = aborted.first_offset.min(entry.first_offset);
    }

    /// Sets the entries that recovery found. The first `stored` of them are flushed.
    pub(in crate::log) fn set_aborted(&self, entries: Vec<AbortedTransaction>, stored: usize) {
        *self.aborted.borrow_mut() = Aborted::of(entries, stored);
    }

    /// Entries of the index.
    pub fn aborted_count(&self) -> usize {
        self.aborted.borrow().count
    }

    /// The first offset of the earliest transaction that a marker in this segment aborted; `Offset::MAX` without any.
    pub fn first_aborted_offset(&self) -> Offset {
        self.aborted.borrow().first_offset
    }

    pub(super) fn has_aborted_to_store(&self) -> bool {
        let aborted = self.aborted.borrow();
        aborted.stored < aborted.count
    }

    /// The transactions that markers in this segment aborted, in the order of the markers. Do not hold them over an
    /// await: an append to shared entries copies them.
    pub async fn aborted(&self) -> Result<Rc<Vec<AbortedTransaction>>, StorageError> {
        if let Some(entries) = &self.aborted.borrow().entries {
            return Ok(entries.clone());
        }
        // Boxed, because a fetch rarely reads the file.
        Box::pin(self.load_aborted()).await
    }

    async fn load_aborted(&self) -> Result<Rc<Vec<AbortedTransaction>>, StorageError> {
        let count = self.aborted_count();
        let _permit = self.memory.loads.acquire(2 * (count * ENTRY_BYTES) as u64).await;
        let names = self.names()?;
        let path = names.file(self.base_offset, "txnindex");
        let read = read_aborted(&path, count).await;
        if self.is_removed() {
            return Err(self.removed_error());
        }
        let entries = read.map_err(|why| StorageError::format("an index", &path, why.to_string()))?;
        assert_eq!(entries.len(), count);
        Ok(self.aborted.borrow_mut().entries.get_or_insert(Rc::new(entries)).clone())
    }

    /// Adds the new entries to the file and flushes it: the next checkpoint counts on them.
    pub async fn store_aborted(&self) -> Result<(), StorageError> {
        let (bytes, stored, count) = {
            let aborted = self.aborted.borrow();
            let Some(entries) = aborted.entries.as_ref().filter(|_| aborted.stored < aborted.count) else {
                return Ok(());
            };
            (aborted::render(&entries[aborted.stored..]), aborted.stored, aborted.count)
        };
        let Some(names) = self.directory.names().filter(|_| !self.is_removed()) else { return Ok(()) };
        let path = names.file(self.base_offset, "txnindex");
        store_index(&path, (stored * ENTRY_BYTES) as u64, bytes, true).await?;
        if stored == 0 {
            dir::sync(&*names).await.map_err(StorageError::flush("flush directory", &*names))?;
        }
        let mut aborted = self.aborted.borrow_mut();
        aborted.stored = aborted.stored.max(count);
        assert!(aborted.stored <= aborted.count, "{} of {} entries are stored", aborted.stored, aborted.count);
        Ok(())
    }
}

/// Reads the first `count` entries of an index of aborted transactions.
pub(in crate::log) async fn read_aborted(
    path: &Path,
    count: usize,
) -> Result<Vec<AbortedTransaction>, ReadAbortedError> {
    let file = File::open(path, Open { read: true, ..Open::default() }).await?;
    let expected = count * ENTRY_BYTES;
    let bytes = file.read_vec(expected, 0).await?;
    if bytes.len() < expected {
        return Err(ReadAbortedError::Short { expected, found: bytes.len() });
    }
    Ok(aborted::parse(&bytes)?)
}
