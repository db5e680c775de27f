//! What a segment gives back while it stays: memory that others need, and files that nobody reads.

use std::rc::Rc;

use super::Segment;
use super::read::Page;
use crate::disk::StorageError;

impl Segment {
    /// Gives back the chunk at `start` if the file has all of it. True: it is gone.
    pub(in crate::log) fn give_back_chunk(&self, start: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(at) = state.chunks.iter().position(|chunk| chunk.start == start) else { return true };
        let chunk = &state.chunks[at];
        // Only whole from the front: the rest of the segment stays contiguous in memory. A chunk that was
        // reserved but not used yet stays too; somebody is about to append.
        if at != 0 || chunk.buf.is_empty() || state.written < chunk.end() || self.writing.get() {
            return false;
        }
        // Its spare room is where the segment goes on: a chunk reserved behind it, or being reserved by who holds this
        // one just now, begins further on.
        if !chunk.is_full() && (state.chunks.len() > 1 || Rc::strong_count(chunk) > 1) {
            return false;
        }
        state.chunks.remove(at);
        true
    }

    pub(in crate::log) fn give_back_page(&self, start: u64) {
        let mut pages = self.pages.borrow_mut();
        if matches!(pages.get(&start), Some(Page::Here(_))) {
            pages.remove(&start);
        }
    }

    /// Forgets the file handle and the indexes of a sealed segment that nobody has read for a while.
    pub fn evict_idle(&self) {
        if self.is_sealed() && !self.is_dirty() && !self.writing.get() && !self.pinned.get() {
            *self.file.borrow_mut() = None;
            *self.indexes.borrow_mut() = None;
            self.aborted.borrow_mut().entries.take_if(|entries| !entries.is_empty());
        }
    }

    /// Opens what may be looked at later, and keeps it open.
    pub(in crate::log) async fn pin(self: &Rc<Self>) -> Result<(), StorageError> {
        self.pinned.set(true);
        self.aborted()?;
        self.file().await?;
        self.indexes().await.map(drop)
    }

    pub(in crate::log) fn unpin(&self) {
        self.pinned.set(false);
    }
}
