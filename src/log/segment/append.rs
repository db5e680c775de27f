//! Appending: batches go into the newest chunks of the active segment.

use std::rc::Rc;

use super::{Segment, SegmentContent, SegmentState};
use crate::disk::{BLOCK_BYTES, StorageError, block_ceil, block_floor};
use crate::log::AppendedBatch;
use crate::log::tail::CHUNK_BYTES_MAX;
use crate::model::Position;
use crate::runtime::buf::Slice;

impl SegmentContent {
    /// Bytes that fit into the existing chunks: the rest of the chunk in use, and the reserved ones behind it.
    fn room(&self) -> usize {
        self.chunks.iter().rev().map(|chunk| chunk.buf.remaining()).take_while(|remaining| *remaining > 0).sum()
    }
}

impl Segment {
    /// Whether `bytes` more can be appended without allocating.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.content.borrow().room() >= bytes
    }

    /// Makes room for `bytes` more; false if memory is short now. If the chunk with the last, partly filled block was
    /// evicted, reads that block back from the file.
    pub async fn reserve(self: &Rc<Self>, bytes: usize) -> Result<bool, StorageError> {
        loop {
            let (size, mut room, last) = {
                let content = self.content.borrow();
                (content.size, content.room(), content.chunks.back().cloned())
            };
            if last.is_none() && !size.is_multiple_of(BLOCK_BYTES as u64) {
                let start = block_floor(size);
                let block = self.read_file(start, BLOCK_BYTES).await?;
                // Another task may have appended during the read, and its chunk may be evicted again.
                if !self.content.borrow().chunks.is_empty() || self.size() != size {
                    continue;
                }
                let want = chunk_bytes(0, bytes + BLOCK_BYTES);
                let Ok(chunk) = self.memory.chunk(self, start, want) else { return Ok(false) };
                let kept = (size - start) as usize;
                let block = block.get(..kept).ok_or_else(|| {
                    StorageError::format("a segment", self.log_path(), format!("it ends before its {size} bytes"))
                })?;
                assert_eq!(chunk.buf.append(block), kept);
                self.content.borrow_mut().chunks.push_back(chunk);
                continue;
            }
            let (mut next, mut previous) = match &last {
                Some(chunk) => (chunk.start + chunk.buf.capacity() as u64, chunk.buf.capacity()),
                None => (size, 0),
            };
            while room < bytes {
                let want = chunk_bytes(previous, bytes - room);
                let Ok(chunk) = self.memory.chunk(self, next, want) else { return Ok(false) };
                previous = chunk.buf.capacity();
                next += previous as u64;
                room += previous;
                self.content.borrow_mut().chunks.push_back(chunk);
            }
            debug_assert!(self.has_room(bytes), "{room} bytes are reserved, {bytes} are needed");
            return Ok(true);
        }
    }

    /// Appends one batch, given in pieces. [`reserve`](Self::reserve) returned true for its size, with no await since.
    pub fn append(self: &Rc<Self>, batch: &AppendedBatch, pieces: &[&[u8]], now_ms: i64, index_interval_bytes: u64) {
        let mut content = self.content.borrow_mut();
        let content = &mut *content;
        assert!(!content.state.is_sealed(), "SEG-3: an append to a segment that is {:?}", content.state);
        assert!(batch.base_offset >= content.end_offset, "LOG-1: an append at {}, before the end", batch.base_offset);
        let position = content.size;
        let mut filled = false;
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let first_with_room = content.chunks.iter().rposition(|c| !c.buf.is_empty()).unwrap_or(0);
                let at = (first_with_room..content.chunks.len())
                    .find(|at| !content.chunks[*at].is_full())
                    .expect("room is reserved");
                let chunk = &content.chunks[at];
                assert_eq!(chunk.end(), content.size, "a chunk holds the bytes of its own positions in the file");
                let taken = chunk.buf.append(rest);
                assert!(taken > 0, "a chunk that is not full takes bytes");
                filled |= chunk.is_full();
                rest = &rest[taken..];
                content.size += taken as u64;
            }
        }
        assert!(content.size > position, "a batch has bytes");
        if content.times.first_append_ms < 0 {
            content.times.first_append_ms = now_ms;
        }
        content.times.note(batch.max_timestamp, batch.offset_of_max_timestamp);
        content.end_offset = batch.last_offset + 1;
        content.check();
        let mut indexes = self.indexes.borrow_mut();
        let indexes = indexes.as_mut().expect("the active segment's indexes are in memory");
        let bytes = content.size - position;
        let times = content.times;
        indexes.note(
            self.base_offset,
            batch.last_offset,
            Position(position),
            bytes,
            index_interval_bytes,
            times.max_timestamp,
            times.offset_of_max,
        );
        if filled {
            self.memory.mark_dirty(self);
        }
    }

    /// The blocks in memory from the one with `position` to the last one, padded to whole blocks. The bytes from
    /// `position` on were appended since the caller's last await, so they are in memory.
    pub fn last_blocks(&self, position: u64) -> Vec<Slice> {
        let content = self.content.borrow();
        let from = block_floor(position);
        let first = content.chunks.partition_point(|chunk| chunk.end() <= position);
        let chunks = content.chunks.iter().skip(first).filter(|chunk| !chunk.buf.is_empty());
        let blocks = chunks.map(|chunk| {
            let start = from.max(chunk.start) - chunk.start;
            chunk.buf.aligned(start as usize..block_ceil(chunk.buf.len()))
        });
        let blocks: Vec<Slice> = blocks.collect();
        let bytes: usize = blocks.iter().map(Slice::padded_len).sum();
        assert_eq!(bytes, block_ceil((content.size - from) as usize), "the newest bytes are in memory");
        blocks
    }

    /// Releases reserved chunks that hold no bytes.
    pub(in crate::log) fn release_reservation(&self) {
        let mut content = self.content.borrow_mut();
        while let Some(unused) = content.chunks.back().filter(|chunk| chunk.buf.is_empty()) {
            self.memory.release_unused(self, unused);
            content.chunks.pop_back();
        }
    }

    /// Ends appends: write-back then cuts the file to its exact length, so that `kafka-dump-log` reads it.
    pub fn seal(self: &Rc<Self>) {
        // A sealed segment needs no reservation.
        self.release_reservation();
        let mut content = self.content.borrow_mut();
        let next = match content.state {
            SegmentState::Removed { .. } => SegmentState::Removed { was_sealed: true },
            _ => SegmentState::Sealed,
        };
        content.state.advance(next);
        let times = content.times;
        if let Some(indexes) = &mut *self.indexes.borrow_mut() {
            indexes.note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
        }
        drop(content);
        self.memory.mark_dirty(self);
    }
}

/// The size of the next chunk. A partition with little traffic costs a few blocks, a busy one gets large chunks.
fn chunk_bytes(previous: usize, need: usize) -> usize {
    let grown = (previous * 4).max(4 * BLOCK_BYTES);
    grown.max(need.next_power_of_two()).min(CHUNK_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::directory::LogDirectory;
    use crate::log::tail::Memory;
    use crate::model::{LeaderEpoch, Offset};
    use crate::runtime::{Config, run};

    fn append(segment: &Rc<Segment>, offset: i64, bytes: usize) {
        let batch = AppendedBatch {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            max_timestamp: -1,
            offset_of_max_timestamp: Offset(offset),
        };
        segment.append(&batch, &[&vec![1; bytes]], 0, 4096);
    }

    #[test]
    fn unused_reservation_is_released() {
        run(Config::default(), || async {
            let memory = Memory::new(4 << 20);
            let segment = Segment::new(&LogDirectory::new("unused"), Offset(0), memory.clone());
            assert!(segment.reserve(100).await.unwrap());
            append(&segment, 0, 100);
            let used = memory.used();
            for _ in 0..10 {
                assert!(segment.reserve(1_000_000).await.unwrap(), "released memory can be reserved again");
                segment.release_reservation();
                assert_eq!(memory.used(), used);
            }
            assert!(segment.has_room(100), "the chunk in use stays");
        })
        .unwrap();
    }

    #[test]
    fn reserved_room_takes_the_batch() {
        run(Config::default(), || async {
            let memory = Memory::new(64 << 20);
            let segment = Segment::new(&LogDirectory::new("unused"), Offset(0), memory);
            // A batch that does not divide a chunk lies across two of them.
            for (number, bytes) in [16_500usize, 16_500, 3, 40_000, 700_000, 900_000, 16_500].into_iter().enumerate() {
                assert!(segment.reserve(bytes).await.unwrap());
                assert!(segment.has_room(bytes), "batch {number}: `has_room` agrees with `reserve`");
                append(&segment, number as i64, bytes);
            }
            assert!(!segment.has_room(64 << 20));
        })
        .unwrap();
    }
}
