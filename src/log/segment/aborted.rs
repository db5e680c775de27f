//! The index of aborted transactions of a segment: in memory, or at rest in its file.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Segment, file_path};
use crate::disk::StorageError;
use crate::log::aborted::{self, AbortedTransaction};
use crate::model::Offset;
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

/// The transactions that a marker in this segment aborted; see [`aborted`].
pub(super) struct Aborted {
    /// `None`: at rest in the file.
    pub(super) entries: Option<Rc<Vec<AbortedTransaction>>>,
    count: usize,
    /// Entries that are flushed.
    stored: usize,
    /// Where the earliest of them began; the maximum without any. Readers below it need not look.
    first_offset: Offset,
}

impl Aborted {
    pub(in crate::log) fn of(entries: Vec<AbortedTransaction>, stored: usize) -> Aborted {
        let first_offset = entries.iter().map(|entry| entry.first_offset).min().unwrap_or(Offset::MAX);
        Aborted { count: entries.len(), stored, first_offset, entries: Some(Rc::new(entries)) }
    }
}

impl Segment {
    /// A marker that was just appended aborted this transaction.
    pub(in crate::log) fn note_aborted(&self, entry: AbortedTransaction) {
        let mut aborted = self.aborted.borrow_mut();
        let entries = aborted.entries.as_mut().expect("the active segment's are in memory");
        Rc::make_mut(entries).push(entry);
        aborted.count += 1;
        aborted.first_offset = aborted.first_offset.min(entry.first_offset);
    }

    /// What recovery found; the first `stored` of them are flushed.
    pub(in crate::log) fn set_aborted(&self, entries: Vec<AbortedTransaction>, stored: usize) {
        *self.aborted.borrow_mut() = Aborted::of(entries, stored);
    }

    pub fn aborted_count(&self) -> usize {
        self.aborted.borrow().count
    }

    /// Where the earliest aborted transaction with its marker here began; the maximum without any.
    pub fn first_aborted_offset(&self) -> Offset {
        self.aborted.borrow().first_offset
    }

    pub(super) fn has_aborted_to_store(&self) -> bool {
        let aborted = self.aborted.borrow();
        aborted.stored < aborted.count
    }

    /// The transactions that markers in this segment aborted, in the order of these.
    pub fn aborted(&self) -> Result<Rc<Vec<AbortedTransaction>>, StorageError> {
        if let Some(entries) = &self.aborted.borrow().entries {
            return Ok(entries.clone());
        }
        let (path, count) = (self.aborted_path(), self.aborted_count());
        let entries = read_aborted(&path, count).map_err(|why| StorageError::format("an index", &path, why))?;
        let entries = Rc::new(entries);
        self.aborted.borrow_mut().entries = Some(entries.clone());
        Ok(entries)
    }

    pub(in crate::log) fn aborted_path(&self) -> PathBuf {
        file_path(&self.directory, self.base_offset, "txnindex")
    }

    /// Adds to the index of aborted transactions what it lacks, and flushes it: a checkpoint counts on it.
    pub async fn store_aborted(&self) -> Result<(), StorageError> {
        let (bytes, stored, count) = {
            let aborted = self.aborted.borrow();
            let Some(entries) = aborted.entries.as_ref().filter(|_| aborted.stored < aborted.count) else {
                return Ok(());
            };
            (aborted::render(&entries[aborted.stored..]), aborted.stored, aborted.count)
        };
        if self.removed.get() {
            return Ok(());
        }
        let path = self.aborted_path();
        let open = Open { write: true, create: true, truncate: stored == 0, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create index", &path))?;
        let at = (stored * aborted::ENTRY_BYTES) as u64;
        file.write_at(bytes, at, Durability::Cached).await.map_err(StorageError::io("write index", &path))?;
        file.sync_data().await.map_err(StorageError::flush("flush index", &path))?;
        if stored == 0 {
            let directory = &self.directory;
            dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        }
        let mut aborted = self.aborted.borrow_mut();
        aborted.stored = aborted.stored.max(count);
        Ok(())
    }
}

/// The first `count` entries of an index of aborted transactions; says why they cannot be had.
pub(in crate::log) fn read_aborted(path: &Path, count: usize) -> Result<Vec<AbortedTransaction>, String> {
    let bytes = dir::read_small(path).map_err(|error| error.to_string())?;
    let wanted = count * aborted::ENTRY_BYTES;
    match bytes.get(..wanted) {
        Some(bytes) => aborted::parse(bytes),
        None => Err(format!("it has {} bytes and had {wanted} when it was last flushed", bytes.len())),
    }
}
