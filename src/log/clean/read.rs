//! Reads a finished segment's batches one after the other from its file. Bypasses the memory that readers share:
//! compaction would evict their pages.

use std::rc::Rc;

use super::pace::Pace;
use crate::disk::{BLOCK_BYTES, StorageError, block_floor};
use crate::log::segment::Segment;
use crate::model::{Offset, Position};
use crate::record::walk::{Batch, Broken, batch_at};
use crate::runtime::Slice;

/// A sequential reader of one segment.
pub struct Reader<'a> {
    segment: &'a Rc<Segment>,
    pace: &'a Pace,
    /// Bytes of one read.
    read_bytes: usize,
    buffer: Slice,
    /// The buffer's position in the file.
    start: u64,
    /// The next batch's position in the file.
    position: Position,
    /// The least base offset that the next batch may have. The CRC does not cover it.
    offset: Offset,
}

impl<'a> Reader<'a> {
    /// A reader from `position` on, which reads at least `read_bytes` at a time.
    pub fn new(segment: &'a Rc<Segment>, position: Position, read_bytes: usize, pace: &'a Pace) -> Reader<'a> {
        Reader {
            segment,
            pace,
            read_bytes,
            buffer: Slice::default(),
            start: position.0,
            position,
            offset: segment.base_offset,
        }
    }

    /// Returns the next batch, with its CRC checked; `None` at the segment's end.
    ///
    /// # Errors
    /// If the file cannot be read, or [`StorageError::Format`] if no whole batch begins at the position.
    pub async fn next(&mut self) -> Result<Option<Slice>, StorageError> {
        let size = self.segment.size();
        let mut wanted = 0;
        loop {
            if self.position.0 == size {
                return Ok(None);
            }
            assert!(self.start <= self.position.0 && self.position.0 < size, "byte {} of {size}", self.position);
            let at = (self.position.0 - self.start) as usize;
            if at < self.buffer.len() {
                match batch_at(&self.buffer, at) {
                    Ok(Batch { header, .. })
                        if header.base_offset < self.offset
                            || header.last_offset_delta < 0
                            || header.last_offset() >= self.segment.end_offset() =>
                    {
                        return Err(self.damaged(&format!("has offsets from {} on", header.base_offset)));
                    }
                    Ok(batch) if batch.is_intact() => {
                        self.offset = batch.header.next_offset();
                        let end = at + batch.bytes.len();
                        self.position += batch.bytes.len() as u64;
                        return Ok(Some(self.buffer.slice(at..end)));
                    }
                    Ok(_) => return Err(self.damaged("does not match its CRC")),
                    Err(Broken::Torn { .. }) if self.start + self.buffer.len() as u64 == size => {
                        return Err(self.damaged("is not whole"));
                    }
                    Err(Broken::Torn { needed, .. }) => wanted = needed,
                    Err(Broken::Corrupt { reason, .. }) => return Err(self.damaged(&reason.to_string())),
                }
            }
            let start = block_floor(self.position.0);
            // A damaged length must not cause a read behind the file's end.
            let bytes = (wanted + BLOCK_BYTES).max(self.read_bytes).min((size - start) as usize);
            self.buffer = self.segment.read_direct(start, bytes).await?;
            self.start = start;
            if self.buffer.len() < bytes {
                return Err(self
                    .damaged(&format!("extends beyond the end of the file, at {}", start + self.buffer.len() as u64)));
            }
            self.pace.moved(bytes).await;
        }
    }

    fn damaged(&self, why: &str) -> StorageError {
        let why = format!("the batch at byte {} {why}", self.position);
        StorageError::format("a segment", self.segment.log_path(), why)
    }
}
