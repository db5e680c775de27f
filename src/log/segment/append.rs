//! Where a log grows: batches into the newest chunks of the active segment.

use std::rc::Rc;

use super::{Segment, State};
use crate::disk::{BLOCK_BYTES, StorageError, block_floor};
use crate::log::tail::CHUNK_BYTES_MAX;
use crate::model::Offset;

impl State {
    /// Bytes that fit the chunks there are: the rest of the one in use, and those reserved behind it.
    fn room(&self) -> usize {
        self.chunks.iter().rev().map(|chunk| chunk.buf.remaining()).take_while(|remaining| *remaining > 0).sum()
    }
}

impl Segment {
    /// Whether `bytes` more can be appended without asking for anything.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.state.borrow().room() >= bytes
    }

    /// Makes room for `bytes` more. False: memory is short now. The last block of what is written already comes
    /// back from the file when the chunk that held it was given back.
    pub async fn reserve(self: &Rc<Self>, bytes: usize) -> Result<bool, StorageError> {
        loop {
            let (size, mut room, last) = {
                let state = self.state.borrow();
                (state.size, state.room(), state.chunks.back().cloned())
            };
            if last.is_none() && !size.is_multiple_of(BLOCK_BYTES as u64) {
                let start = block_floor(size);
                let block = self.read_file(start, BLOCK_BYTES).await?;
                // Somebody else may have been here while we read, and even be gone again.
                if !self.state.borrow().chunks.is_empty() || self.size() != size {
                    continue;
                }
                let want = chunk_bytes(0, bytes + BLOCK_BYTES);
                let Ok(chunk) = self.memory.chunk(self, start, want) else { return Ok(false) };
                let kept = (size - start) as usize;
                let block = block.get(..kept).ok_or_else(|| {
                    StorageError::format("a segment", self.log_path(), format!("it ends before its {size} bytes"))
                })?;
                assert_eq!(chunk.buf.append(block), kept);
                self.state.borrow_mut().chunks.push_back(chunk);
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
                self.state.borrow_mut().chunks.push_back(chunk);
            }
            return Ok(true);
        }
    }

    /// Appends one batch, in pieces. [`reserve`](Self::reserve) answered true since the last await.
    #[allow(clippy::too_many_arguments)]
    pub fn append(
        self: &Rc<Self>,
        pieces: &[&[u8]],
        last_offset: Offset,
        max_timestamp: i64,
        offset_of_max: Offset,
        now_ms: i64,
        index_interval_bytes: u64,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        assert!(!state.is_sealed && last_offset >= state.end_offset, "appends go to the active segment, in order");
        let position = state.size;
        let mut filled = false;
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let first_with_room = state.chunks.iter().rposition(|c| !c.buf.is_empty()).unwrap_or(0);
                let at =
                    (first_with_room..state.chunks.len()).find(|at| !state.chunks[*at].is_full()).expect("reserved");
                let chunk = &state.chunks[at];
                assert_eq!(chunk.end(), state.size, "a chunk holds the very bytes of its place in the file");
                let taken = chunk.buf.append(rest);
                filled |= chunk.is_full();
                rest = &rest[taken..];
                state.size += taken as u64;
            }
        }
        if state.times.first_append_ms < 0 {
            state.times.first_append_ms = now_ms;
        }
        if max_timestamp > state.times.max_timestamp {
            state.times.max_timestamp = max_timestamp;
            state.times.offset_of_max = offset_of_max;
        }
        state.end_offset = last_offset + 1;
        let mut indexes = self.indexes.borrow_mut();
        let indexes = Rc::make_mut(indexes.as_mut().expect("the active segment's indexes are in memory"));
        let bytes = state.size - position;
        let times = state.times;
        indexes.note(
            self.base_offset,
            last_offset,
            position,
            bytes,
            index_interval_bytes,
            times.max_timestamp,
            times.offset_of_max,
        );
        if filled {
            self.memory.mark_dirty(self);
        }
    }

    /// Gives back what was reserved and holds nothing.
    pub(in crate::log) fn release_reservation(&self) {
        let mut state = self.state.borrow_mut();
        while let Some(unused) = state.chunks.back().filter(|chunk| chunk.buf.is_empty()) {
            self.memory.take_back(self, unused);
            state.chunks.pop_back();
        }
    }

    /// No more appends: cut to the exact length, so that `kafka-dump-log` reads it.
    pub fn seal(self: &Rc<Self>) {
        // It is of no use any more.
        self.release_reservation();
        let mut state = self.state.borrow_mut();
        state.is_sealed = true;
        let times = state.times;
        if let Some(indexes) = &mut *self.indexes.borrow_mut() {
            Rc::make_mut(indexes).note_time(self.base_offset, times.max_timestamp, times.offset_of_max);
        }
        drop(state);
        self.memory.mark_dirty(self);
    }
}

/// The size of the next chunk: a partition that gets little costs one block, one that gets much has large ones.
fn chunk_bytes(previous: usize, need: usize) -> usize {
    let grown = (previous * 4).max(4 * BLOCK_BYTES);
    grown.max(need.next_power_of_two()).min(CHUNK_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::log::tail::Memory;
    use crate::runtime::{Config, run};

    #[test]
    fn room_that_was_reserved_for_nothing_goes_back() {
        run(Config::default(), || async {
            let memory = Memory::new(4 << 20);
            let segment = Segment::new(Path::new("unused"), 0, memory.clone());
            assert!(segment.reserve(100).await.unwrap());
            segment.append(&[&[1; 100]], 0, -1, 0, 0, 4096);
            let used = memory.used();
            for _ in 0..10 {
                assert!(segment.reserve(1_000_000).await.unwrap(), "what others gave back can be had");
                segment.release_reservation();
                assert_eq!(memory.used(), used);
            }
            assert!(segment.has_room(100), "the chunk in use stays");
        })
        .unwrap();
    }

    #[test]
    fn room_that_was_reserved_is_room() {
        run(Config::default(), || async {
            let memory = Memory::new(64 << 20);
            let segment = Segment::new(Path::new("unused"), 0, memory);
            // Batches that do not divide a chunk lie across two of them.
            for (number, bytes) in [16_500usize, 16_500, 3, 40_000, 700_000, 900_000, 16_500].into_iter().enumerate() {
                assert!(segment.reserve(bytes).await.unwrap());
                assert!(segment.has_room(bytes), "batch {number}: what `reserve` promised, `has_room` sees");
                let offset = number as i64;
                segment.append(&[&vec![1; bytes]], offset, -1, offset, 0, 4096);
            }
            assert!(!segment.has_room(64 << 20));
        })
        .unwrap();
    }
}
