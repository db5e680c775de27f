//! Appends to the open group.

use std::sync::Arc;
use std::time::Duration;

use super::group::{GroupBuilder, JournalEntry};
use super::image::{ImageBatch, image_room};
use super::{Journal, Sequence};
use crate::disk::{BLOCK_BYTES, StorageError};
use crate::runtime;

/// How often an append that waits for room checks again.
const ROOM_RECHECK: Duration = Duration::from_millis(20);

impl Journal {
    /// The largest batch that the journal accepts: one group must fit one file, behind the file's header.
    pub fn batch_bytes_max(&self) -> usize {
        self.settings.file_bytes as usize - 2 * BLOCK_BYTES - image_room(0)
    }

    /// Whether a batch of this size can be appended now, or a log start if it is 0.
    pub fn has_room(&self, batch_bytes: usize) -> bool {
        let mut state = self.state.borrow_mut();
        // The open group may still be empty, if its first batch was a duplicate or was refused.
        if state.open.as_ref().is_none_or(|open| open.is_empty() && !open.has_room(batch_bytes)) {
            let file_bytes = self.settings.file_bytes as usize - BLOCK_BYTES;
            state.open = GroupBuilder::for_batch(batch_bytes, self.settings.group_bytes_max, file_bytes).ok();
        }
        state.open.as_ref().is_some_and(|open| open.has_room(batch_bytes))
    }

    /// Waits until a batch of this size can be appended. Fails only when the journal has failed.
    pub async fn reserve(&self, batch_bytes: usize) -> Result<(), Arc<StorageError>> {
        assert!(batch_bytes <= self.batch_bytes_max(), "message.max.bytes is bounded by the journal's file size");
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if self.has_room(batch_bytes) {
                return Ok(());
            }
            let _ = runtime::timeout(ROOM_RECHECK, self.room.notified()).await;
        }
    }

    /// Whether [`append_image`](Self::append_image) takes a batch at this position of a segment: a large
    /// batch, or the successor of a batch that it took. [`append`](Self::append) takes the others.
    pub fn takes_image(&self, segment: u64, position: u64, batch_bytes: usize) -> bool {
        let state = self.state.borrow();
        state.open.as_ref().is_some_and(|open| open.takes_image(segment, position, batch_bytes))
    }

    /// Appends one batch to the open group, and copies it. [`has_room`](Self::has_room) was true since the last await.
    pub fn append(&self, entry: JournalEntry, header: &[u8], records: &[u8], flush: bool) -> Sequence {
        self.append_batch(header.len() + records.len(), |open| {
            open.push(entry, header, records, flush);
            header.len() + records.len()
        })
    }

    /// Appends one batch that is in its log already. The group writes it from the log's memory, or copies it if it
    /// continues no earlier batch and is small. [`has_room`](Self::has_room) was true since the last await.
    pub fn append_image(
        &self,
        entry: JournalEntry,
        header: &[u8],
        records: &[u8],
        image: ImageBatch,
        flush: bool,
    ) -> Sequence {
        let bytes = header.len() + records.len();
        assert_eq!(image.bytes, bytes, "the log holds the same batch");
        self.append_batch(bytes, |open| {
            if open.push_image(entry, header, image, flush) {
                return 0;
            }
            open.push(entry, header, records, flush);
            bytes
        })
    }

    /// `push` returns the number of bytes that it copied.
    fn append_batch(&self, bytes: usize, push: impl FnOnce(&mut GroupBuilder) -> usize) -> Sequence {
        let mut state = self.state.borrow_mut();
        let sequence = state.next.sequence;
        state.note_entry();
        let copied = push(state.open.as_mut().expect("the caller checked the room"));
        assert!(sequence > self.durable.get(), "JRN-1: a group takes no batch once it is durable");
        let counters = &self.counters;
        counters.batches.set(counters.batches.get() + 1);
        counters.batch_bytes.set(counters.batch_bytes.get() + bytes as u64);
        counters.copied_bytes.set(counters.copied_bytes.get() + copied as u64);
        self.work.notify_all();
        sequence
    }

    /// Appends a log start to the open group. [`has_room`](Self::has_room) for 0 bytes was true since the last await.
    pub fn append_log_start(&self, entry: JournalEntry) -> Sequence {
        let mut state = self.state.borrow_mut();
        let sequence = state.next.sequence;
        state.note_entry();
        state.open.as_mut().expect("the caller checked the room").push_log_start(entry);
        self.work.notify_all();
        sequence
    }
}
