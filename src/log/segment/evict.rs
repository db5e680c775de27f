//! Eviction: a segment releases memory that others need, and file handles that no reader uses.

use std::rc::Rc;

use super::Segment;
use super::read::Page;
use crate::disk::StorageError;

impl Segment {
    /// Releases the chunk at `start` if the file has all of it. Returns true when the chunk is gone.
    pub(in crate::log) fn evict_chunk(&self, start: u64) -> bool {
        let mut content = self.content.borrow_mut();
        let Some(at) = content.chunks.iter().position(|chunk| chunk.start == start) else { return true };
        let chunk = &content.chunks[at];
        // Only the first chunk goes, so that the rest stays contiguous in memory. A chunk that is reserved and still
        // empty stays too: an append is about to use it.
        if at != 0 || chunk.buf.is_empty() || content.written < chunk.end() || self.is_writing.get() {
            return false;
        }
        // The next append fills the spare room of this chunk, so the chunk stays. The chunk behind it starts at this
        // one's end, even if a task that holds this one is still reserving it.
        if !chunk.is_full() && (content.chunks.len() > 1 || Rc::strong_count(chunk) > 1) {
            return false;
        }
        let evicted = content.chunks.remove(at).expect("found above");
        assert!(evicted.end() <= content.written, "SEG-1: evicted up to {}, before it was written", evicted.end());
        true
    }

    pub(in crate::log) fn evict_page(&self, start: u64) {
        let mut pages = self.pages.borrow_mut();
        if matches!(pages.get(&start), Some(Page::Loaded(_))) {
            pages.remove(&start);
        }
    }

    /// Releases the indexes of a segment that takes no more appends, unless a compaction needs them.
    pub(in crate::log) fn evict_indexes(&self) {
        let was_counted = self.indexes_are_counted.replace(false);
        assert!(was_counted, "indexes are counted once");
        if !self.is_dirty() && !self.is_pinned.get() {
            *self.indexes.borrow_mut() = None;
        }
    }

    /// Closes the file and drops the indexes of a sealed segment that has not been read for a while.
    pub fn evict_idle(&self) {
        if self.is_sealed() && !self.is_dirty() && !self.is_writing.get() && !self.is_pinned.get() {
            *self.file.borrow_mut() = None;
            *self.indexes.borrow_mut() = None;
            self.aborted.borrow_mut().entries.take_if(|entries| !entries.is_empty());
        }
    }

    /// Opens the file and loads the indexes, and keeps them until [`unpin`](Self::unpin).
    pub(in crate::log) async fn pin(self: &Rc<Self>) -> Result<(), StorageError> {
        assert!(!self.is_dirty(), "{}: only a finished segment is pinned", self.log_path().display());
        self.is_pinned.set(true);
        self.aborted().await?;
        self.file().await?;
        self.hold_indexes().await
    }

    pub(in crate::log) fn unpin(&self) {
        self.is_pinned.set(false);
    }
}
