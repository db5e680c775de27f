//! Write-back: appended bytes go from memory into the file.

use super::Segment;
use super::file::SegmentFile;
use crate::disk::StorageError;

impl Segment {
    /// The open file. Opens it first if necessary, or creates it if nothing was written yet.
    pub(super) async fn file(&self) -> Result<SegmentFile, StorageError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        if self.is_removed() {
            return Err(self.removed_error());
        }
        let names = self.names()?;
        let path = names.file(self.base_offset, "log");
        // A file with written bytes exists. Its reader must not create it anew while it is removed.
        let opened =
            if self.written() == 0 { SegmentFile::open_or_create(path).await } else { SegmentFile::open(path).await };
        if self.is_removed() {
            return Err(self.removed_error());
        }
        Ok(self.file.borrow_mut().get_or_insert(opened?).clone())
    }

    /// Writes the bytes that the file lacks. `all`: also the last, partly filled block, padded with zeros; otherwise
    /// only full chunks. Only one write-back runs at a time: a second call waits for the first. Returns the number of
    /// bytes that were written. A removed segment needs no write, so its failure is none.
    pub async fn write_back(&self, all: bool) -> Result<u64, StorageError> {
        while self.is_writing.get() {
            self.changed.notified().await;
        }
        let was_writing = self.is_writing.replace(true);
        assert!(!was_writing, "two write-backs of one segment");
        let before = self.written();
        let outcome = self.write_chunks(all).await;
        self.is_writing.set(false);
        self.changed.notify_all();
        self.memory.freed.notify_all();
        self.unless_removed(outcome).map(|()| self.written() - before)
    }

    async fn write_chunks(&self, all: bool) -> Result<(), StorageError> {
        let goal = self.content.borrow().size;
        loop {
            if self.is_removed() {
                return Ok(());
            }
            let (chunk, written) = {
                let content = self.content.borrow();
                let next = content.chunks.partition_point(|chunk| chunk.end() <= content.written);
                let Some(chunk) = content.chunks.get(next) else { return Ok(()) };
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

    /// A removed segment needs no write and no flush: then its failure is none.
    pub(super) fn unless_removed(&self, outcome: Result<(), StorageError>) -> Result<(), StorageError> {
        match outcome {
            Err(error) if self.is_removed() => {
                tracing::debug!("a write or a flush of a removed segment failed: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }
}
