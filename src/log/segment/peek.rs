//! From batch to batch by their headers.

use std::rc::Rc;

use super::Segment;
use crate::disk::StorageError;
use crate::model::Offset;

/// A batch of which only the header was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peeked {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub bytes: u64,
    pub max_timestamp: i64,
    pub leader_epoch: i32,
    /// See `record::header`.
    pub attributes: i16,
}

/// Enough of a batch's header to step over it; see `record::header` for the whole.
const PEEK_BYTES: usize = 61;

impl Peeked {
    /// `None` when the bytes cannot be a batch's header.
    pub fn parse(head: &[u8; PEEK_BYTES]) -> Option<Peeked> {
        let i32_at = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let (base_offset, length, delta) = (i64_at(0), i32_at(8), i32_at(23));
        let plausible = base_offset >= 0 && length as i64 >= (PEEK_BYTES - 12) as i64 && delta >= 0 && head[16] == 2;
        plausible.then(|| Peeked {
            base_offset,
            last_offset: base_offset + i64::from(delta),
            bytes: length as u64 + 12,
            max_timestamp: i64_at(35),
            leader_epoch: i32_at(12),
            attributes: i16::from_be_bytes(head[21..23].try_into().expect("2 bytes")),
        })
    }
}

/// Bytes that are not in memory: where they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    pub position: u64,
}

/// Why a batch's header could not be had.
#[derive(Debug)]
pub enum PeekError {
    Missing(Missing),
    Damaged(u64),
}

impl From<Missing> for PeekError {
    fn from(missing: Missing) -> PeekError {
        PeekError::Missing(missing)
    }
}

impl Segment {
    /// The header of the batch at `position`; `Ok(None)` at the segment's end.
    pub fn peek(&self, position: u64) -> Result<Option<Peeked>, PeekError> {
        let size = self.size();
        if position >= size {
            return Ok(None);
        }
        if position + PEEK_BYTES as u64 > size {
            return Err(PeekError::Damaged(position));
        }
        let mut head = [0u8; PEEK_BYTES];
        self.copy(position, &mut head)?;
        match Peeked::parse(&head) {
            Some(peeked) if position + peeked.bytes <= size => Ok(Some(peeked)),
            _ => Err(PeekError::Damaged(position)),
        }
    }

    fn copy(&self, position: u64, into: &mut [u8; PEEK_BYTES]) -> Result<(), Missing> {
        {
            // The usual case, without building slices: all in one chunk.
            let state = self.state.borrow();
            let at = state.chunks.partition_point(|chunk| chunk.end() <= position);
            if let Some(chunk) = state.chunks.get(at)
                && position >= chunk.start
                && position + PEEK_BYTES as u64 <= chunk.end()
            {
                chunk.buf.copy_to((position - chunk.start) as usize, into);
                return Ok(());
            }
        }
        let mut slices = Vec::with_capacity(2);
        let there = self.cached(position, position + PEEK_BYTES as u64, &mut slices);
        if there < position + PEEK_BYTES as u64 {
            return Err(Missing { position: there });
        }
        let mut at = 0;
        for slice in slices {
            into[at..at + slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        Ok(())
    }

    /// Bytes of the header of the batch at `position`, all of it, of which `peek` says what is needed to step over it.
    pub async fn head(self: &Rc<Self>, position: u64) -> Result<[u8; PEEK_BYTES], StorageError> {
        let slices = self.slices(position, position + PEEK_BYTES as u64).await?;
        let mut head = [0; PEEK_BYTES];
        let mut at = 0;
        for slice in slices {
            head[at..at + slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        Ok(head)
    }

    /// The largest timestamp of the first batch of a finished segment, by which its age goes; -1 without one.
    pub(in crate::log) async fn first_timestamp(&self) -> Result<i64, StorageError> {
        let head = self.read_direct(0, PEEK_BYTES).await?;
        Ok(head.first_chunk().and_then(Peeked::parse).map_or(-1, |batch| batch.max_timestamp))
    }
}
