//! Writes a compacted segment under its temporary names `<base>.log.cleaned` and so on; see [`super::swap`].

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::names::{CLEANED, temporary};
use super::pace::Pace;
use crate::disk::{BLOCK_BYTES, StorageError};
use crate::log::aborted::{self, AbortedTransaction};
use crate::log::index::Indexes;
use crate::log::segment::Times;
use crate::log::segment::file::{SegmentFile, store_index, store_indexes};
use crate::log::tail::{Chunk, Memory};
use crate::model::{Offset, Position};
use crate::record::BatchHeader;
use crate::runtime::AppendBuf;

/// A compacted segment that is being written.
pub struct Writer<'a> {
    directory: PathBuf,
    base_offset: Offset,
    /// The end offset of the batch that was appended last.
    end_offset: Offset,
    file: SegmentFile,
    /// Bytes that are not in the file yet, at their position in it.
    chunk: Chunk,
    indexes: Indexes,
    index_interval_bytes: u64,
    times: Times,
    memory: &'a Rc<Memory>,
    pace: &'a Pace,
}

/// A segment that is written and flushed under its temporary names.
pub struct Written {
    /// The segment's base offset.
    pub base_offset: Offset,
    /// The file's length.
    pub bytes: u64,
    /// The times of its records.
    pub times: Times,
    /// The entries of its `.txnindex`.
    pub aborted: Vec<AbortedTransaction>,
}

impl<'a> Writer<'a> {
    /// Creates the segment's file, and allocates a buffer of `buffer_bytes`.
    pub async fn create(
        directory: &Path,
        base_offset: Offset,
        index_interval_bytes: u64,
        buffer_bytes: usize,
        memory: &'a Rc<Memory>,
        pace: &'a Pace,
    ) -> Result<Writer<'a>, StorageError> {
        let file = SegmentFile::create(temporary(directory, base_offset, "log", CLEANED)).await?;
        let buf = buffer(memory, buffer_bytes).await;
        assert!(buf.capacity().is_multiple_of(BLOCK_BYTES), "full chunks of {} bytes are whole blocks", buf.capacity());
        Ok(Writer {
            directory: directory.to_owned(),
            base_offset,
            end_offset: base_offset,
            file,
            chunk: Chunk { start: 0, buf },
            indexes: Indexes::default(),
            index_interval_bytes,
            times: Times::NONE,
            memory,
            pace,
        })
    }

    /// Bytes appended so far.
    pub fn size(&self) -> u64 {
        self.chunk.end()
    }

    /// Appends one whole batch.
    pub async fn append(&mut self, batch: &[u8]) -> Result<(), StorageError> {
        let header = BatchHeader::decode(batch).expect("a batch is at least its header");
        assert!(header.base_offset >= self.end_offset, "LOG-1: {} before {}", header.base_offset, self.end_offset);
        self.end_offset = header.next_offset();
        let position = self.size();
        let mut rest = batch;
        loop {
            rest = &rest[self.chunk.buf.append(rest)..];
            if self.chunk.is_full() {
                self.write().await?;
            }
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(self.size(), position + batch.len() as u64);
        // A batch that is kept only for its header still has the time of its records, which a search must not find.
        if header.records_count > 0 {
            // At batch precision, as in Kafka.
            self.times.note(header.max_timestamp, header.last_offset());
        }
        self.indexes.note(
            self.base_offset,
            header.last_offset(),
            Position(position),
            batch.len() as u64,
            self.index_interval_bytes,
            self.times.max_timestamp,
            self.times.offset_of_max,
        );
        Ok(())
    }

    /// Writes the chunk and begins the next one behind it.
    async fn write(&mut self) -> Result<(), StorageError> {
        let bytes = self.chunk.buf.len();
        let start = self.file.write_chunk(&self.chunk, self.chunk.start).await?;
        self.chunk = Chunk { start, buf: buffer(self.memory, self.chunk.buf.capacity()).await };
        self.pace.moved(bytes).await;
        Ok(())
    }

    /// Flushes everything, cuts the file to its exact length and stores the indexes.
    pub async fn finish(mut self, aborted: Vec<AbortedTransaction>) -> Result<Written, StorageError> {
        let bytes = self.size();
        if !self.chunk.buf.is_empty() {
            self.write().await?;
        }
        self.file.cut_to(bytes).await?;
        self.indexes.note_time(self.base_offset, self.times.max_timestamp, self.times.offset_of_max);
        let path = |extension| temporary(&self.directory, self.base_offset, extension, CLEANED);
        store_indexes(path, &self.indexes, true).await?;
        if !aborted.is_empty() {
            store_index(&path("txnindex"), 0, aborted::render(&aborted), true).await?;
        }
        Ok(Written { base_offset: self.base_offset, bytes, times: self.times, aborted })
    }
}

/// A buffer to write from; waits for memory, and evicts the oldest log data for it.
async fn buffer(memory: &Memory, bytes: usize) -> AppendBuf {
    memory.alloc(AppendBuf::alloc_wait(bytes), || false).await.expect("never cancelled")
}
