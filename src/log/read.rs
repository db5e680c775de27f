//! Reading: from an offset to whole batches of bytes, and from a timestamp to an offset.
//!
//! Both go the same way: segment, sparse index, then from batch header to batch header. What is in memory is
//! answered without waiting; what is not is loaded and looked at again.

use std::rc::Rc;

use super::segment::{PeekError, Peeked, Segment};
use super::{Log, StorageError};
use crate::model::Offset;
use crate::runtime::buf::Slice;

/// A stretch of whole batches.
#[derive(Default)]
pub struct Read {
    pub slices: Vec<Slice>,
    pub bytes: usize,
    /// The offset behind the last batch; where the reader goes on. Equal to where it began when there is nothing.
    pub next_offset: Offset,
}

/// Where a timestamp search ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOffset {
    pub offset: Offset,
    pub timestamp: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {asked} is outside of {start}..={end}")]
    OutOfRange { asked: Offset, start: Offset, end: Offset },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Longest walk from an index entry before a window is loaded at once.
const WALK_BYTES: u64 = 64 << 10;

impl Log {
    /// Whole batches from the one that holds `from` on, as many as fit `bytes_max`, none that begins at or behind
    /// `limit`. At least one if there is one and `at_least_one` (KIP-74). An offset inside a batch yields that batch
    /// from its base offset.
    pub async fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        limit: Offset,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        let (start, end) = (self.start_offset(), self.end_offset());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { asked: from, start, end });
        }
        let mut read = Read { next_offset: from, ..Read::default() };
        while read.next_offset < limit {
            let Some(segment) = self.segment_of(read.next_offset) else { break };
            let is_first = read.bytes == 0 && at_least_one;
            let room = bytes_max - read.bytes.min(bytes_max);
            if !self.read_segment(&segment, room, limit, is_first, &mut read).await? {
                break;
            }
        }
        if read.bytes == 0 {
            read.next_offset = from;
        }
        Ok(read)
    }

    /// Adds one segment's batches. True: the reader wants more, from the next segment.
    async fn read_segment(
        &self,
        segment: &Rc<Segment>,
        room: usize,
        limit: Offset,
        at_least_one: bool,
        read: &mut Read,
    ) -> Result<bool, ReadError> {
        let from = read.next_offset;
        let Some((start, first)) = self.find(segment, from).await? else {
            read.next_offset = segment.end_offset();
            return Ok(true);
        };
        if first.base_offset >= limit {
            return Ok(false);
        }
        let (mut position, mut next_offset) = (start, from);
        let mut wants_more = true;
        loop {
            let batch = match segment.peek(position) {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(PeekError::Missing(missing)) => {
                    let left = (room as u64).saturating_sub(missing.position - start).max(WALK_BYTES);
                    segment.load(missing.position, left).await?;
                    continue;
                }
                Err(PeekError::Damaged(position)) => return Err(damaged(segment, position)),
            };
            let total = position - start + batch.bytes;
            if batch.base_offset >= limit || (total > room as u64 && !(at_least_one && position == start)) {
                wants_more = false;
                break;
            }
            position += batch.bytes;
            next_offset = batch.last_offset + 1;
        }
        if position == start {
            return Ok(wants_more && segment.is_sealed());
        }
        let kept = read.slices.len();
        while let Err(missing) = segment.slices(start, position, &mut read.slices) {
            read.slices.truncate(kept);
            segment.load(missing.position, position - missing.position).await?;
        }
        read.bytes += (position - start) as usize;
        read.next_offset = next_offset;
        self.remember(next_offset, segment.base_offset, position);
        Ok(wants_more && segment.is_sealed())
    }

    /// The segment that holds `offset`, or the first one behind it.
    pub(super) fn segment_of(&self, offset: Offset) -> Option<Rc<Segment>> {
        let segments = self.segments.borrow();
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        let at = after.saturating_sub(1);
        segments.iter().skip(at).find(|segment| segment.end_offset() > offset).cloned()
    }

    /// The first batch of the segment whose last offset is at least `offset`, and its position.
    async fn find(&self, segment: &Rc<Segment>, offset: Offset) -> Result<Option<(u64, Peeked)>, ReadError> {
        let mut position = match self.hint(offset, segment.base_offset) {
            Some(position) => position,
            None => segment.indexes().await?.position_before(segment.base_offset, offset),
        };
        loop {
            match segment.peek(position) {
                Ok(Some(batch)) if batch.last_offset >= offset => return Ok(Some((position, batch))),
                Ok(Some(batch)) => position += batch.bytes,
                Ok(None) => return Ok(None),
                Err(PeekError::Missing(missing)) => segment.load(missing.position, WALK_BYTES).await?,
                Err(PeekError::Damaged(position)) => return Err(damaged(segment, position)),
            }
        }
    }

    fn hint(&self, offset: Offset, base: Offset) -> Option<u64> {
        let hints = self.hints.borrow();
        hints.iter().find(|(at, of, _)| *at == offset && *of == base).map(|(_, _, position)| *position)
    }

    fn remember(&self, offset: Offset, base: Offset, position: u64) {
        let mut hints = self.hints.borrow_mut();
        if hints.contains(&(offset, base, position)) {
            return;
        }
        let at = self.next_hint.get();
        hints[at] = (offset, base, position);
        self.next_hint.set((at + 1) % hints.len());
    }

    /// The first record below `limit` with a timestamp of at least `timestamp`: Kafka's ListOffsets. `in_batch`
    /// looks into a batch's bytes at record precision.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        limit: Offset,
        mut in_batch: impl FnMut(&[u8]) -> Option<TimedOffset>,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        for segment in segments {
            if segment.size() == 0 || self.max_timestamp_of(&segment).await?.timestamp < timestamp {
                continue;
            }
            let from = segment.indexes().await?.offset_before(segment.base_offset, timestamp).max(self.start_offset());
            let mut next = self.find(&segment, from).await?;
            while let Some((position, batch)) = next {
                if batch.base_offset >= limit {
                    return Ok(None);
                }
                if batch.max_timestamp >= timestamp {
                    let bytes = self.batch_bytes(&segment, position, batch.bytes).await?;
                    let found = in_batch(&bytes).filter(|found| found.offset >= self.start_offset());
                    if let Some(found) = found {
                        return Ok((found.offset < limit).then_some(found));
                    }
                }
                next = self.find_at(&segment, position + batch.bytes).await?;
            }
        }
        Ok(None)
    }

    /// The largest timestamp below `limit` and its batch's bytes, for ListOffsets' -3 (KIP-734).
    pub async fn batch_of_max_timestamp(&self, limit: Offset) -> Result<Option<Vec<u8>>, ReadError> {
        let mut best: Option<(i64, Rc<Segment>, u64, u64)> = None;
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        for segment in segments {
            if segment.size() == 0 || segment.base_offset >= limit {
                continue;
            }
            let times = self.max_timestamp_of(&segment).await?;
            if best.as_ref().is_some_and(|(timestamp, ..)| times.timestamp <= *timestamp) {
                continue;
            }
            // The segment's own answer holds unless its record is not visible yet (or of an unknown place): then walk.
            let from = if times.offset < limit { times.offset } else { segment.base_offset };
            let mut next = self.find(&segment, from).await?;
            while let Some((position, batch)) = next {
                if batch.base_offset >= limit {
                    break;
                }
                if best.as_ref().is_none_or(|(timestamp, ..)| batch.max_timestamp > *timestamp) {
                    best = Some((batch.max_timestamp, segment.clone(), position, batch.bytes));
                }
                if batch.max_timestamp >= times.timestamp {
                    break;
                }
                next = self.find_at(&segment, position + batch.bytes).await?;
            }
        }
        match best {
            Some((_, segment, position, bytes)) => Ok(Some(self.batch_bytes(&segment, position, bytes).await?)),
            None => Ok(None),
        }
    }

    /// A segment's largest timestamp. A sealed one tells it in its last time entry.
    async fn max_timestamp_of(&self, segment: &Rc<Segment>) -> Result<TimedOffset, ReadError> {
        let times = segment.times();
        if times.max_timestamp >= 0 {
            return Ok(TimedOffset { offset: times.offset_of_max, timestamp: times.max_timestamp });
        }
        let indexes = segment.indexes().await?;
        Ok(indexes.times.last().map_or(TimedOffset { offset: segment.base_offset, timestamp: -1 }, |last| {
            TimedOffset { offset: segment.base_offset + Offset::from(last.relative_offset), timestamp: last.timestamp }
        }))
    }

    async fn find_at(&self, segment: &Rc<Segment>, position: u64) -> Result<Option<(u64, Peeked)>, ReadError> {
        loop {
            match segment.peek(position) {
                Ok(found) => return Ok(found.map(|batch| (position, batch))),
                Err(PeekError::Missing(missing)) => segment.load(missing.position, WALK_BYTES).await?,
                Err(PeekError::Damaged(position)) => return Err(damaged(segment, position)),
            }
        }
    }

    async fn batch_bytes(&self, segment: &Rc<Segment>, position: u64, bytes: u64) -> Result<Vec<u8>, ReadError> {
        let mut slices = Vec::new();
        while let Err(missing) = segment.slices(position, position + bytes, &mut slices) {
            slices.clear();
            segment.load(missing.position, position + bytes - missing.position).await?;
        }
        Ok(slices.iter().flat_map(|slice| slice.iter().copied()).collect())
    }
}

fn damaged(segment: &Segment, position: u64) -> ReadError {
    let why = format!("there is no whole batch at byte {position} of {}", segment.size());
    ReadError::Storage(StorageError::format("a segment", segment.log_path(), why))
}
