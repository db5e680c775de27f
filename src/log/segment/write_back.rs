//! Write-back: appended bytes go from memory into the file, and from the file onto the device.

use super::file::{SegmentFile, store_indexes};
use super::{Segment, SegmentState, file_path};
use crate::disk::StorageError;
use crate::runtime::dir;

impl Segment {
    /// The open file. Opens or creates it first if necessary.
    pub(super) async fn file(&self) -> Result<SegmentFile, StorageError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        if self.is_removed() {
            return Err(self.removed_error());
        }
        let file = SegmentFile::open(self.log_path()).await?;
        Ok(self.file.borrow_mut().get_or_insert(file).clone())
    }

    /// Writes the bytes that the file lacks. `all`: also the last, partly filled block, padded with zeros; otherwise
    /// only full chunks. Only one write-back runs at a time: a second call waits for the first.
    pub async fn write_back(&self, all: bool) -> Result<(), StorageError> {
        while self.is_writing.get() {
            self.changed.notified().await;
        }
        let was_writing = self.is_writing.replace(true);
        assert!(!was_writing, "two write-backs of one segment");
        let outcome = self.write_chunks(all).await;
        self.is_writing.set(false);
        self.changed.notify_all();
        self.memory.freed.notify_all();
        outcome
    }

    async fn write_chunks(&self, all: bool) -> Result<(), StorageError> {
        let goal = self.content.borrow().size;
        loop {
            if self.is_removed() {
                return Ok(());
            }
            let (chunk, written) = {
                let content = self.content.borrow();
                let mut chunks = content.chunks.iter();
                let Some(chunk) = chunks.find(|chunk| chunk.end() > content.written) else { return Ok(()) };
                if content.written >= goal || (!all && !chunk.is_full() && !content.state.is_sealed()) {
                    return Ok(());
                }
                (chunk.clone(), content.written)
            };
            let now_written = self.file().await?.write_chunk(&chunk, written).await?;
            let mut content = self.content.borrow_mut();
            assert_eq!(content.written, written, "SEG-1: only this write-back moves `written`");
            content.written = now_written;
            content.check();
            drop(content);
            self.memory.freed.notify_all();
        }
    }

    /// Writes and flushes everything. Afterwards `flushed` is at least the size at the time of the call.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.write_back(true).await?;
        let written = self.written();
        if self.flushed() >= written || self.is_removed() {
            return Ok(());
        }
        self.file().await?.sync().await?;
        if !self.is_named.get() {
            // fsync(2): flushing a file does not flush the entry that names it, nor the entry of its directory.
            for directory in [Some(self.directory.as_path()), self.directory.parent()].into_iter().flatten() {
                dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
            }
            self.is_named.set(true);
        }
        let mut content = self.content.borrow_mut();
        content.flushed = content.flushed.max(written);
        content.check();
        Ok(())
    }

    /// Flushes, cuts the file to its exact length and stores the indexes whole: for sealed segments, and for the active
    /// one at a graceful stop.
    pub async fn finish(&self) -> Result<(), StorageError> {
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
        self.file().await?.cut_to(size).await?;
        let indexes = self.indexes.borrow().clone();
        if let Some(indexes) = indexes {
            let mut indexes = (*indexes).clone();
            let times = self.times();
            indexes.note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
            let path = |extension| file_path(&self.directory, self.base_offset, extension);
            store_indexes(path, &indexes, self.is_sealed()).await?;
        }
        let mut content = self.content.borrow_mut();
        if content.state == SegmentState::Sealed {
            content.state.advance(SegmentState::Finished);
        }
        Ok(())
    }
}
