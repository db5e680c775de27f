//! Flushes: written bytes go from the file onto the device. A sealed segment is also cut and indexed.

use std::rc::Rc;
use std::sync::Arc;

use super::file::store_indexes;
use super::{Segment, SegmentState};
use crate::disk::StorageError;
use crate::runtime::dir;

impl Segment {
    /// Writes and flushes everything. Afterwards `flushed` is at least the size at the time of the call.
    ///
    /// # Errors
    /// If a write or a flush fails, or an earlier flush of the segment has failed (SEG-4).
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.write_back(true).await?;
        while self.is_flushing.get() {
            self.changed.notified().await;
        }
        let written = self.written();
        if self.is_removed() || (self.flushed() >= written && self.flush_failure.borrow().is_none()) {
            return Ok(());
        }
        let was_flushing = self.is_flushing.replace(true);
        assert!(!was_flushing, "two flushes of one segment");
        let outcome = self.flush_once(self.sync()).await;
        self.is_flushing.set(false);
        self.changed.notify_all();
        self.unless_removed(outcome)?;
        if self.is_removed() {
            return Ok(());
        }
        let mut content = self.content.borrow_mut();
        assert!(self.flush_failure.borrow().is_none(), "SEG-4: a flush succeeds after a failed one");
        content.flushed = content.flushed.max(written);
        content.check();
        Ok(())
    }

    /// Flushes the file, and the names that lead to it.
    async fn sync(&self) -> Result<(), StorageError> {
        self.file().await?.sync().await?;
        if self.is_named.get() {
            return Ok(());
        }
        let names = self.names()?;
        // fsync(2): flushing a file does not flush the entry that names it, nor the entry of its directory.
        for directory in [Some(&*names), names.parent()].into_iter().flatten() {
            dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        }
        self.is_named.set(true);
        Ok(())
    }

    /// Runs a flush unless an earlier one has failed, and remembers its failure (SEG-4).
    async fn flush_once(&self, flush: impl Future<Output = Result<(), StorageError>>) -> Result<(), StorageError> {
        if let Some(failure) = &*self.flush_failure.borrow() {
            return Err(StorageError::Earlier(failure.clone()));
        }
        flush.await.map_err(|error| match error {
            StorageError::Flush { .. } => {
                let failure = Arc::new(error);
                *self.flush_failure.borrow_mut() = Some(failure.clone());
                StorageError::Earlier(failure)
            }
            other => other,
        })
    }

    /// Flushes, cuts the file to its exact length and stores the indexes whole: for sealed segments, and for the active
    /// one at a graceful stop.
    pub async fn finish(self: &Rc<Self>) -> Result<(), StorageError> {
        let was_sealed = self.is_sealed();
        self.flush().await?;
        if self.is_removed() {
            return Ok(());
        }
        let size = self.size();
        if self.flushed() < size {
            // Batches were appended during the flush, and perhaps the segment was sealed behind them. The file stays as
            // it is, as after a crash: a cut could remove bytes that a write-back has just written.
            assert!(!was_sealed, "SEG-2: a sealed segment is cut after all of it is flushed");
            return Ok(());
        }
        let outcome = self.cut_and_index(size).await;
        self.unless_removed(outcome)?;
        let mut content = self.content.borrow_mut();
        if content.state == SegmentState::Sealed {
            content.state.advance(SegmentState::Finished);
        }
        drop(content);
        self.count_indexes();
        Ok(())
    }

    async fn cut_and_index(&self, size: u64) -> Result<(), StorageError> {
        let file = self.file().await?;
        self.flush_once(file.cut_to(size)).await?;
        let names = self.names()?;
        let path = |extension| names.file(self.base_offset, extension);
        let stored = self.indexes.borrow_mut().as_mut().map(|indexes| {
            let times = self.times();
            indexes.note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
            store_indexes(path, indexes, self.is_sealed())
        });
        match stored {
            Some(stored) => stored.await,
            None => Ok(()),
        }
    }
}
