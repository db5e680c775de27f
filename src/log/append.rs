//! Appending at the log's end: batches go into the active segment, which is sealed when it is full or old enough.

use super::aborted::AbortedTransaction;
use super::index::OFFSET_ENTRY_BYTES;
use super::segment::Segment;
use super::{AppendedBatch, Log};
use crate::disk::StorageError;
use crate::runtime::buf::Slice;

impl Log {
    /// Reserves room for [`append`](Self::append) of a batch of `bytes`, and rolls to a new segment if that is due.
    /// Returns false if memory is short: wait for [`Memory::freed`](super::tail::Memory::freed) and try again. The
    /// reservation holds until the caller's next await.
    pub async fn reserve(&self, bytes: usize, records: u32, now_ms: i64) -> Result<bool, StorageError> {
        if self.should_roll(bytes, records, now_ms) {
            self.roll();
        }
        let active = self.active();
        if active.has_room(bytes) {
            return Ok(true);
        }
        active.reserve(bytes).await
    }

    /// Whether a batch of `bytes` can be appended without [`reserve`](Self::reserve).
    pub fn has_room(&self, bytes: usize, records: u32, now_ms: i64) -> bool {
        !self.should_roll(bytes, records, now_ms) && self.active().has_room(bytes)
    }

    /// Releases reserved room that no append has used. Other tasks that rely on it must reserve again.
    pub fn release_reservation(&self) {
        self.active().release_reservation();
    }

    /// Kafka's `LogSegment.shouldRoll`.
    fn should_roll(&self, bytes: usize, records: u32, now_ms: i64) -> bool {
        let active = self.active();
        let size = active.size();
        if size == 0 {
            return false;
        }
        let config = self.config.borrow();
        let first_append_ms = active.times().first_append_ms;
        let relative_end = active.end_offset() - active.base_offset + i64::from(records);
        size + bytes as u64 > config.segment_bytes
            || (first_append_ms >= 0 && now_ms - first_append_ms > self.roll_after_ms.get())
            || active.index_entries().0 + 1 > config.segment_index_bytes / OFFSET_ENTRY_BYTES
            || relative_end > i64::from(i32::MAX)
    }

    /// Seals the active segment and begins another.
    pub fn roll(&self) {
        let active = self.active();
        if active.size() == 0 {
            return;
        }
        let next = Segment::new(&self.directory, active.end_offset(), self.memory.clone());
        assert!(next.base_offset > active.base_offset, "LOG-1: two segments begin at {}", next.base_offset);
        active.seal();
        self.segments.borrow_mut().push_back(next);
    }

    /// Appends one whole batch, given in pieces, at the log's end.
    pub fn append(&self, batch: &AppendedBatch, pieces: &[&[u8]], now_ms: i64) {
        let end = self.end_offset();
        assert!(batch.base_offset >= end, "LOG-1: an append at {}, before the end {end}", batch.base_offset);
        assert!(batch.last_offset >= batch.base_offset, "a batch ends before it begins: {batch:?}");
        self.epochs.borrow_mut().note(batch.leader_epoch, batch.base_offset);
        let interval = self.config.borrow().index_interval_bytes;
        self.active().append(batch, pieces, now_ms, interval);
        assert_eq!(self.end_offset(), batch.last_offset + 1);
    }

    /// The number of the segment that takes the next batch, and the position of that batch in it.
    pub fn next_position(&self) -> (u64, u64) {
        let active = self.active();
        (active.number, active.size())
    }

    /// The blocks that hold the bytes of the active segment from `position` on, which were appended since the caller's
    /// last await. The first block may begin before `position`.
    pub fn last_blocks(&self, position: u64) -> Vec<Slice> {
        self.active().last_blocks(position)
    }

    /// Notes a transaction that the marker appended last has aborted.
    pub fn note_aborted(&self, aborted: AbortedTransaction) {
        assert_eq!(aborted.last_offset + 1, self.end_offset(), "an entry is in the segment of its marker");
        self.active().note_aborted(aborted);
    }
}
