//! Batches that a group writes from the memory of their log, without a copy.
//!
//! A direct write takes whole blocks, and a batch begins and ends inside blocks. So the group takes every block that
//! holds a byte of the batch. The other bytes of these blocks belong to the same segment, and replay ignores them.
//!
//! The kernel never reads bytes that may change: file systems and devices that add checksums would see torn blocks. So
//! the group copies the last block of a range if the segment has not filled it.
//!
//! Batches of one segment that follow each other are one range: no block is written twice in a group.

use crate::disk::{BLOCK_BYTES, block_ceil, block_floor};
use crate::runtime::buf::Slice;

/// The smallest batch for which a group begins a range. The range takes one block more than the batch, on average.
pub const IMAGE_BYTES_MIN: usize = 32 << 10;

/// The most bytes of the blocks that hold a batch of `bytes`.
pub fn image_room(bytes: usize) -> usize {
    block_ceil(bytes) + BLOCK_BYTES
}

/// The bytes of a piece in blocks that are full.
fn whole_blocks(piece: &Slice) -> usize {
    block_floor(piece.len() as u64) as usize
}

/// A batch in its log's memory.
pub struct ImageBatch {
    /// The number of the segment, unique within the shard.
    pub segment: u64,
    /// The position of the batch in the segment.
    pub position: u64,
    /// The batch's size.
    pub bytes: usize,
    /// The blocks that hold the batch, in order, padded to whole blocks. They keep the memory alive.
    pub blocks: Vec<Slice>,
}

/// Blocks of one segment that a group writes.
struct Range {
    segment: u64,
    /// Positions in the segment: the start of the first block, and the end of the last batch.
    start: u64,
    end: u64,
    blocks: Vec<Slice>,
}

impl Range {
    fn total_bytes(&self) -> usize {
        block_ceil((self.end - self.start) as usize)
    }

    fn check(&self) {
        let padded: usize = self.blocks.iter().map(Slice::padded_len).sum();
        assert_eq!(padded, self.total_bytes(), "a range is exactly the blocks of its batches");
    }
}

/// All ranges of a group, in the order in which they follow the group's own blocks.
#[derive(Default)]
pub(super) struct Ranges(Vec<Range>);

/// The place of a batch in the ranges.
#[derive(Clone, Copy)]
pub(super) struct Place {
    range: usize,
    /// From the start of the range.
    offset: usize,
}

impl Ranges {
    /// Whether a range ends at this position of the segment, so that a batch there costs no additional block.
    pub fn end_at(&self, segment: u64, position: u64) -> bool {
        self.0.iter().any(|range| range.segment == segment && range.end == position)
    }

    /// The bytes that the ranges take in the group.
    pub fn total_bytes(&self) -> usize {
        self.0.iter().map(Range::total_bytes).sum()
    }

    /// Adds a batch to the range that ends where the batch begins. Returns the batch if there is no such range.
    pub fn extend(&mut self, batch: ImageBatch) -> Result<Place, ImageBatch> {
        let ends_there = |range: &&mut Range| range.segment == batch.segment && range.end == batch.position;
        let Some((number, range)) = self.0.iter_mut().enumerate().find(|(_, range)| ends_there(range)) else {
            return Err(batch);
        };
        let (first, last) = (&batch.blocks[0], range.blocks.last_mut().expect("a range has blocks"));
        let is_aligned = batch.position == block_floor(batch.position);
        let skipped = match last.join(first) {
            Some(joined) => {
                *last = joined;
                1
            }
            // The next chunk of the segment begins here.
            None if is_aligned => 0,
            // The log has read its last block back into other memory.
            None => return Err(batch),
        };
        let offset = (batch.position - range.start) as usize;
        range.blocks.extend(batch.blocks.into_iter().skip(skipped));
        range.end += batch.bytes as u64;
        range.check();
        Ok(Place { range: number, offset })
    }

    /// Begins a range with a batch.
    pub fn begin(&mut self, batch: ImageBatch) -> Place {
        let ImageBatch { segment, position, bytes, blocks } = batch;
        let start = block_floor(position);
        let range = Range { segment, start, end: position + bytes as u64, blocks };
        range.check();
        self.0.push(range);
        Place { range: self.0.len() - 1, offset: (position - start) as usize }
    }

    /// The positions of batches in a group whose own blocks take `own_bytes`.
    pub fn positions(&self, own_bytes: usize) -> impl Fn(Place) -> usize + use<> {
        let starts = self.0.iter().scan(own_bytes, |end, range| {
            let start = *end;
            *end += range.total_bytes();
            Some(start)
        });
        let starts: Vec<usize> = starts.collect();
        move |place| starts[place.range] + place.offset
    }

    /// The number of ranges. Each may have one block that is copied.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The last block of each range that is not full, or no bytes if it is.
    pub fn last_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|range| {
            let last = range.blocks.last().expect("a range has blocks");
            &last[whole_blocks(last)..]
        })
    }

    /// The blocks of all ranges, in order. `copy_of`: the copy of a range's last block, which is not full.
    pub fn into_blocks(self, copy_of: impl Fn(usize) -> Slice) -> Vec<Slice> {
        let mut all = Vec::new();
        for (number, mut range) in self.0.into_iter().enumerate() {
            let last = range.blocks.pop().expect("a range has blocks");
            let are_full = range.blocks.iter().all(|piece| piece.len() == piece.padded_len());
            assert!(are_full, "the blocks of a range do not change, except for its last one");
            all.append(&mut range.blocks);
            let whole = whole_blocks(&last);
            if whole > 0 {
                all.push(last.slice(0..whole));
            }
            if whole < last.len() {
                all.push(copy_of(number));
            }
        }
        all
    }
}
