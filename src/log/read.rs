//! Reading: from an offset to the positions of whole batches, and from a timestamp to an offset.
//!
//! Both walk the same way: segment, sparse index, then from batch header to batch header. Headers in memory are read
//! without waiting; others are loaded from the file first. A read returns [`Extent`]s, not bytes: a response that waits
//! for its client's socket holds no log memory.

use std::rc::Rc;

use super::segment::{PeekError, Peeked, Segment};
use super::{Log, StorageError};
use crate::model::{Offset, Position};
use crate::record::codec::Codec;
use crate::runtime::buf::Slice;

/// A range of bytes of one segment. It keeps the segment's file open, and nothing in memory.
#[derive(Clone)]
pub struct Extent {
    segment: Rc<Segment>,
    from: Position,
    to: Position,
}

impl Extent {
    /// Its length.
    pub fn bytes(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// The segment's number and the positions in it, from which [`Log::extent`] builds the extent again.
    pub fn location(&self) -> (u64, std::ops::Range<Position>) {
        (self.segment.number, self.from..self.to)
    }

    /// Removes `bytes` from the front.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes(), "{bytes} of {} bytes", self.bytes());
        self.from += bytes as u64;
    }

    /// Adds the bytes behind the first `skipped` that are in memory without a gap, at most `bytes_max`. Returns their
    /// number.
    pub fn cached(&self, skipped: usize, bytes_max: usize, into: &mut Vec<Slice>) -> usize {
        assert!(skipped <= self.bytes(), "{skipped} of {} bytes are skipped", self.bytes());
        let from = self.from + skipped as u64;
        let to = self.to.min(Position(from.0.saturating_add(bytes_max as u64)));
        (self.segment.cached(from, to, into) - from) as usize
    }

    /// Returns its first bytes, at least one, and reads them from the file if necessary. Loads up to `bytes_max` into
    /// memory with them.
    pub async fn load(&self, bytes_max: usize) -> Result<Slice, StorageError> {
        assert!(bytes_max > 0, "a load of no bytes");
        debug_assert!(self.bytes() > 0, "an empty extent");
        loop {
            let mut slices = Vec::new();
            if self.cached(0, bytes_max, &mut slices) > 0 {
                return Ok(slices.swap_remove(0));
            }
            let page = self.segment.load(self.from, (bytes_max as u64).min(self.to - self.from)).await?;
            if !page.is_empty() {
                let bytes = page.len().min(self.bytes()).min(bytes_max);
                return Ok(page.slice(0..bytes));
            }
        }
    }
}

/// The offset to read from, and the limits of a read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The first offset to read.
    pub from: Offset,
    /// The most bytes to return.
    pub bytes_max: usize,
    /// Batches that begin at or behind this offset are not returned.
    pub limit: Offset,
    /// Return the first batch even if it is larger than `bytes_max` (KIP-74).
    pub at_least_one: bool,
    /// A client from before ZSTD (KIP-110) cannot read such batches: it gets the batches before the first of them.
    pub knows_zstd: bool,
}

/// Whole batches that a read has found.
#[derive(Default)]
pub struct Read {
    /// The positions of the batches, in order.
    pub extents: Vec<Extent>,
    /// Bytes of all extents.
    pub bytes: usize,
    /// The offset behind the last batch, from which the next read continues. Without batches, the offset of the
    /// request.
    pub next_offset: Offset,
    /// The first batch is ZSTD, and the client cannot read it.
    pub begins_with_zstd: bool,
}

/// The result of a search by timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOffset {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp: i64,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader has to reset its position: OFFSET_OUT_OF_RANGE.
    #[error("offset {requested} is outside of {start}..={end}")]
    OutOfRange {
        /// The requested offset.
        requested: Offset,
        /// The log start offset.
        start: Offset,
        /// The log end offset; a read there waits for appends.
        end: Offset,
    },
    /// The disk failed, or a segment was removed during the read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Bytes that a walk from batch to batch loads at a time.
const WALK_BYTES: u64 = 64 << 10;
/// The most bytes of a read that comes from the file: they must still be in memory when they are sent.
const COLD_BYTES_MAX: u64 = 1 << 20;

impl Log {
    /// Finds whole batches, beginning with the batch at `request.from`, as many as fit. An offset inside a batch
    /// returns the whole batch. A read from disk may return fewer than would fit, but at least one.
    ///
    /// # Errors
    /// If `request.from` is outside of the log, or a segment is unreadable or removed.
    pub async fn read(&self, request: &ReadRequest) -> Result<Read, ReadError> {
        let (start, end) = (self.start_offset(), self.end_offset());
        if request.from < start || request.from > end {
            return Err(ReadError::OutOfRange { requested: request.from, start, end });
        }
        let mut read = Read { next_offset: request.from, ..Read::default() };
        while read.next_offset < request.limit {
            let Some(segment) = self.segment_of(read.next_offset) else { break };
            if !self.read_segment(&segment, request, &mut read).await? {
                break;
            }
        }
        if read.bytes == 0 {
            read.next_offset = request.from;
        }
        Ok(read)
    }

    /// Adds one segment's batches. Returns true if the read continues in the next segment.
    async fn read_segment(
        &self,
        segment: &Rc<Segment>,
        request: &ReadRequest,
        read: &mut Read,
    ) -> Result<bool, ReadError> {
        let from = read.next_offset;
        let Some((start, _)) = self.find(segment, from).await? else {
            read.next_offset = segment.end_offset();
            return Ok(true);
        };
        let mut room = (request.bytes_max - read.bytes.min(request.bytes_max)) as u64;
        let (mut position, mut next_offset) = (start, from);
        let mut wants_more = true;
        loop {
            count_step();
            let batch = match segment.peek(position) {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(PeekError::Missing(missing)) => {
                    room = room.min(missing.position - start + COLD_BYTES_MAX);
                    let left = (start.0 + room).saturating_sub(missing.position.0).max(WALK_BYTES);
                    segment.load(missing.position, left).await?;
                    continue;
                }
                Err(PeekError::Damaged(position)) => return Err(segment.damaged_error(position).into()),
            };
            let is_first = read.bytes == 0 && position == start;
            if batch.base_offset >= request.limit
                || (position - start + batch.bytes > room && !(is_first && request.at_least_one))
            {
                wants_more = false;
                break;
            }
            if !request.knows_zstd && Codec::from_id((batch.attributes & 7) as u8) == Some(Codec::Zstd) {
                read.begins_with_zstd = is_first;
                wants_more = false;
                break;
            }
            position += batch.bytes;
            next_offset = batch.last_offset + 1;
        }
        if position > start {
            read.extents.push(Extent { segment: segment.clone(), from: start, to: position });
            read.bytes += (position - start) as usize;
            read.next_offset = next_offset;
            self.remember(next_offset, segment.number, position);
        }
        Ok(wants_more && segment.is_sealed())
    }

    /// The extent of an [`Extent::location`]; `None` if the segment is removed.
    pub fn extent(&self, segment: u64, positions: std::ops::Range<Position>) -> Option<Extent> {
        let (segments, replaced) = (self.segments.borrow(), self.replaced.borrow());
        let segment = segments.iter().rev().chain(&*replaced).find(|found| found.number == segment)?.clone();
        (positions.start <= positions.end && positions.end.0 <= segment.size()).then_some(Extent {
            segment,
            from: positions.start,
            to: positions.end,
        })
    }

    /// The segment that holds `offset`, or the next one behind a gap.
    pub(super) fn segment_of(&self, offset: Offset) -> Option<Rc<Segment>> {
        let segments = self.segments.borrow();
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        let at = after.saturating_sub(1);
        segments.iter().skip(at).find(|segment| segment.end_offset() > offset).cloned()
    }

    /// The first batch of the segment whose last offset is at least `offset`, and its position.
    async fn find(&self, segment: &Rc<Segment>, offset: Offset) -> Result<Option<(Position, Peeked)>, ReadError> {
        let mut position = match self.hint(offset, segment.number) {
            Some(position) => position,
            None => segment.position_before(offset).await?,
        };
        loop {
            count_step();
            match segment.peek_or_load(position, WALK_BYTES).await? {
                Some(batch) if batch.last_offset >= offset => return Ok(Some((position, batch))),
                Some(batch) => position += batch.bytes,
                None => return Ok(None),
            }
        }
    }

    fn hint(&self, offset: Offset, segment: u64) -> Option<Position> {
        let hints = self.hints.borrow();
        hints.iter().find(|(at, of, _)| *at == offset && *of == segment).map(|(_, _, position)| *position)
    }

    fn remember(&self, offset: Offset, segment: u64, position: Position) {
        let mut hints = self.hints.borrow_mut();
        if hints.contains(&(offset, segment, position)) {
            return;
        }
        let at = self.next_hint.get();
        hints[at] = (offset, segment, position);
        self.next_hint.set((at + 1) % hints.len());
    }

    /// Kafka's ListOffsets: the first record below `limit` with a timestamp of at least `timestamp`. `in_batch`
    /// searches a batch's bytes for the record.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        limit: Offset,
        in_batch: impl AsyncFn(&[u8]) -> Option<TimedOffset>,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        for segment in segments {
            if segment.size() == 0 || segment.times().max_timestamp < timestamp {
                continue;
            }
            let from = segment.offset_before(timestamp).await?.max(self.start_offset());
            let mut next = self.find(&segment, from).await?;
            while let Some((position, batch)) = next {
                if batch.base_offset >= limit {
                    return Ok(None);
                }
                if batch.max_timestamp >= timestamp {
                    let bytes = self.batch_bytes(&segment, position, batch.bytes).await?;
                    let found = in_batch(&bytes).await.filter(|found| found.offset >= self.start_offset());
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
        let mut best: Option<(i64, Rc<Segment>, Position, u64)> = None;
        let segments: Vec<_> = self.segments.borrow().iter().cloned().collect();
        for segment in segments {
            if segment.size() == 0 || segment.base_offset >= limit {
                continue;
            }
            let times = segment.times();
            if best.as_ref().is_some_and(|(timestamp, ..)| times.max_timestamp <= *timestamp) {
                continue;
            }
            // The segment's recorded offset is used if its record is visible. Otherwise walk the segment from its base.
            let is_visible = (segment.base_offset..limit).contains(&times.offset_of_max);
            let from = if is_visible { times.offset_of_max } else { segment.base_offset };
            let mut next = self.find(&segment, from).await?;
            while let Some((position, batch)) = next {
                if batch.base_offset >= limit {
                    break;
                }
                if best.as_ref().is_none_or(|(timestamp, ..)| batch.max_timestamp > *timestamp) {
                    best = Some((batch.max_timestamp, segment.clone(), position, batch.bytes));
                }
                if batch.max_timestamp >= times.max_timestamp {
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

    async fn find_at(
        &self,
        segment: &Rc<Segment>,
        position: Position,
    ) -> Result<Option<(Position, Peeked)>, ReadError> {
        Ok(segment.peek_or_load(position, WALK_BYTES).await?.map(|batch| (position, batch)))
    }

    async fn batch_bytes(&self, segment: &Rc<Segment>, position: Position, bytes: u64) -> Result<Vec<u8>, ReadError> {
        let slices = segment.slices(position, position + bytes).await?;
        Ok(slices.iter().flat_map(|slice| slice.iter().copied()).collect())
    }
}

/// Counts a step from batch to batch, for tests.
fn count_step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

#[cfg(test)]
thread_local! {
    /// The steps from batch to batch on this thread.
    pub(crate) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
