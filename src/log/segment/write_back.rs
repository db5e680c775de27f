//! From memory into the file, and from the file onto the device.

use super::Segment;
use crate::disk::{StorageError, block_ceil, block_floor};
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

impl Segment {
    /// Opens the file if need be.
    pub(super) async fn file(&self) -> Result<File, StorageError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        if self.removed.get() {
            return Err(self.was_removed());
        }
        let path = self.log_path();
        let open = Open { read: true, write: true, create: true, direct: true, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("open segment", &path))?;
        Ok(self.file.borrow_mut().get_or_insert(file).clone())
    }

    /// Writes what the file lacks. `all`: also the last, partly filled block (padded with zeros); otherwise only
    /// full chunks. One write-back at a time; whoever comes second waits for the first.
    pub async fn write_back(&self, all: bool) -> Result<(), StorageError> {
        while self.writing.get() {
            self.changed.notified().await;
        }
        self.writing.set(true);
        let outcome = self.write_chunks(all).await;
        self.writing.set(false);
        self.changed.notify_all();
        self.memory.freed.notify_all();
        outcome
    }

    async fn write_chunks(&self, all: bool) -> Result<(), StorageError> {
        let goal = self.state.borrow().size;
        loop {
            if self.removed.get() {
                return Ok(());
            }
            let (from, to, bytes) = {
                let state = self.state.borrow();
                let Some(chunk) = state.chunks.iter().find(|chunk| chunk.end() > state.written) else { return Ok(()) };
                if state.written >= goal || (!all && !chunk.is_full() && !state.is_sealed) {
                    return Ok(());
                }
                let from = block_floor(state.written).max(chunk.start);
                let to = chunk.end();
                let range = (from - chunk.start) as usize..block_ceil((to - chunk.start) as usize);
                (from, to, chunk.buf.aligned(range))
            };
            let file = self.file().await?;
            let path = self.log_path();
            file.write_at(bytes, from, Durability::Cached).await.map_err(StorageError::io("write segment", path))?;
            let mut state = self.state.borrow_mut();
            assert!(to >= state.written, "write-back only goes forward");
            state.written = to;
            drop(state);
            self.memory.freed.notify_all();
        }
    }

    /// Writes everything and flushes it. After this, `flushed` is at least what `size` was.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.write_back(true).await?;
        let written = self.written();
        if self.flushed() >= written || self.removed.get() {
            return Ok(());
        }
        let file = self.file().await?;
        file.sync_data().await.map_err(StorageError::flush("flush segment", self.log_path()))?;
        if !self.is_named.get() {
            // fsync(2): flushing a file does not flush the entry that names it, nor the entry of its directory.
            for directory in [Some(self.directory.as_path()), self.directory.parent()].into_iter().flatten() {
                dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
            }
            self.is_named.set(true);
        }
        let mut state = self.state.borrow_mut();
        state.flushed = state.flushed.max(written);
        Ok(())
    }

    /// Flushes, cuts the file to its exact length and stores the indexes whole. For sealed segments, and for the
    /// active one at a graceful stop.
    pub async fn finish(&self) -> Result<(), StorageError> {
        self.flush().await?;
        if self.removed.get() {
            return Ok(());
        }
        let path = self.log_path();
        let file = self.file().await?;
        file.set_len(self.size()).await.map_err(StorageError::io("cut segment", &path))?;
        file.sync_data().await.map_err(StorageError::flush("flush segment", &path))?;
        let indexes = self.indexes.borrow().clone();
        if let Some(indexes) = indexes {
            let mut indexes = (*indexes).clone();
            let times = self.times();
            indexes.note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
            self.store_index("index", 0, indexes.offsets_bytes()).await?;
            self.store_index("timeindex", 0, indexes.times_bytes()).await?;
        }
        let mut state = self.state.borrow_mut();
        state.is_finished = state.is_sealed;
        Ok(())
    }
}
