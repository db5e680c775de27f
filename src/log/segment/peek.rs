//! Stepping from batch to batch by their headers.

use std::rc::Rc;

use super::Segment;
use crate::disk::StorageError;
use crate::model::{Offset, Position};
use crate::runtime::buf::Slice;

/// A batch of which only the header was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peeked {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The batch's length.
    pub bytes: u64,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// See `record::header`.
    pub attributes: i16,
}

/// A batch's header.
const PEEK_BYTES: usize = crate::record::header::HEADER_BYTES;
/// Bytes of a batch before the part that its length field counts: base offset and length.
const LENGTH_END: usize = 12;
/// Bytes that a scan of a whole segment loads at a time.
pub(in crate::log) const SCAN_BYTES: u64 = 1 << 20;

const _: () = assert!(PEEK_BYTES == 61);

impl Peeked {
    /// `None` when the bytes cannot be a batch's header.
    pub fn parse(head: &[u8; PEEK_BYTES]) -> Option<Peeked> {
        let i32_at = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let (base_offset, length, delta) = (i64_at(0), i32_at(8), i32_at(23));
        let plausible =
            base_offset >= 0 && length as i64 >= (PEEK_BYTES - LENGTH_END) as i64 && delta >= 0 && head[16] == 2;
        plausible.then(|| Peeked {
            base_offset: Offset(base_offset),
            last_offset: Offset(base_offset + i64::from(delta)),
            bytes: length as u64 + LENGTH_END as u64,
            max_timestamp: i64_at(35),
            leader_epoch: i32_at(12),
            attributes: i16::from_be_bytes(head[21..23].try_into().expect("2 bytes")),
        })
    }
}

/// The position of the first byte that is not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The first byte that is not in memory.
    pub position: Position,
}

/// Why a batch's header cannot be returned.
#[derive(Debug)]
pub enum PeekError {
    /// It is not in memory: load it and try again.
    Missing(Missing),
    /// No whole batch begins at this position.
    Damaged(Position),
}

impl From<Missing> for PeekError {
    fn from(missing: Missing) -> PeekError {
        PeekError::Missing(missing)
    }
}

impl Segment {
    /// The header of the batch at `position`; `Ok(None)` at the segment's end.
    pub fn peek(&self, position: Position) -> Result<Option<Peeked>, PeekError> {
        let size = self.size();
        if position.0 >= size {
            return Ok(None);
        }
        if position.0 + PEEK_BYTES as u64 > size {
            return Err(PeekError::Damaged(position));
        }
        let mut head = [0u8; PEEK_BYTES];
        self.copy(position, &mut head)?;
        match Peeked::parse(&head) {
            Some(peeked) if position.0 + peeked.bytes <= size => Ok(Some(peeked)),
            _ => Err(PeekError::Damaged(position)),
        }
    }

    fn copy(&self, position: Position, into: &mut [u8; PEEK_BYTES]) -> Result<(), Missing> {
        {
            // The usual case: all in one chunk, so no slices are needed.
            let content = self.content.borrow();
            let at = content.chunks.partition_point(|chunk| chunk.end() <= position.0);
            if let Some(chunk) = content.chunks.get(at)
                && position.0 >= chunk.start
                && position.0 + PEEK_BYTES as u64 <= chunk.end()
            {
                chunk.buf.copy_to((position.0 - chunk.start) as usize, into);
                return Ok(());
            }
        }
        let mut slices = Vec::with_capacity(2);
        let cached_to = self.cached(position, position + PEEK_BYTES as u64, &mut slices);
        if cached_to < position + PEEK_BYTES as u64 {
            return Err(Missing { position: cached_to });
        }
        fill(into, &slices);
        Ok(())
    }

    /// As [`peek`](Self::peek), but loads `load_bytes` from the file when the header is not in memory.
    pub(in crate::log) async fn peek_or_load(
        self: &Rc<Self>,
        position: Position,
        load_bytes: u64,
    ) -> Result<Option<Peeked>, StorageError> {
        loop {
            match self.peek(position) {
                Ok(found) => return Ok(found),
                Err(PeekError::Missing(missing)) => drop(self.load(missing.position, load_bytes).await?),
                Err(PeekError::Damaged(position)) => return Err(self.damaged_error(position)),
            }
        }
    }

    pub(in crate::log) fn damaged_error(&self, position: Position) -> StorageError {
        let why = format!("there is no whole batch at byte {position} of {}", self.size());
        StorageError::format("a segment", self.log_path(), why)
    }

    /// All bytes of the header of the batch at `position`, read from the file if necessary.
    pub async fn head(self: &Rc<Self>, position: Position) -> Result<[u8; PEEK_BYTES], StorageError> {
        let slices = self.slices(position, position + PEEK_BYTES as u64).await?;
        let mut head = [0; PEEK_BYTES];
        fill(&mut head, &slices);
        Ok(head)
    }

    /// The largest timestamp of a finished segment's first batch, which determines its age; -1 without one.
    pub(in crate::log) async fn first_timestamp(&self) -> Result<i64, StorageError> {
        let head = self.read_direct(0, PEEK_BYTES).await?;
        Ok(head.first_chunk().and_then(Peeked::parse).map_or(-1, |batch| batch.max_timestamp))
    }
}

fn fill(head: &mut [u8; PEEK_BYTES], slices: &[Slice]) {
    let mut at = 0;
    for slice in slices {
        head[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    assert_eq!(at, PEEK_BYTES, "a header is whole");
}
