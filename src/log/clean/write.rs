//! A compacted segment on its way: `<base>.log.cleaned` and its indexes, which count for nothing until they are whole,
//! flushed, and renamed to `.swap`; see [`super::swap`].

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::pace::Pace;
use super::swap::{CLEANED, temporary};
use crate::disk::{StorageError, block_ceil};
use crate::log::aborted::{self, AbortedTransaction};
use crate::log::index::Indexes;
use crate::log::segment::Times;
use crate::log::tail::Memory;
use crate::model::Offset;
use crate::record::BatchHeader;
use crate::runtime::AppendBuf;
use crate::runtime::file::{Durability, File, Open};

pub struct Writer<'a> {
    directory: PathBuf,
    base_offset: Offset,
    file: File,
    buffer: AppendBuf,
    /// Bytes in the file.
    written: u64,
    indexes: Indexes,
    index_interval_bytes: u64,
    times: Times,
    memory: &'a Rc<Memory>,
    pace: &'a Pace,
}

/// A segment that is written and flushed under its temporary names.
pub struct Written {
    pub base_offset: Offset,
    pub bytes: u64,
    pub times: Times,
    pub aborted: Vec<AbortedTransaction>,
}

impl<'a> Writer<'a> {
    pub async fn create(
        directory: &Path,
        base_offset: Offset,
        index_interval_bytes: u64,
        buffer_bytes: usize,
        memory: &'a Rc<Memory>,
        pace: &'a Pace,
    ) -> Result<Writer<'a>, StorageError> {
        let path = temporary(directory, base_offset, "log", CLEANED);
        let open = Open { read: true, write: true, create: true, truncate: true, direct: true, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create segment", &path))?;
        Ok(Writer {
            directory: directory.to_owned(),
            base_offset,
            file,
            buffer: buffer(memory, buffer_bytes).await,
            written: 0,
            indexes: Indexes::default(),
            index_interval_bytes,
            times: Times::NONE,
            memory,
            pace,
        })
    }

    pub fn size(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub async fn append(&mut self, batch: &[u8]) -> Result<(), StorageError> {
        let header = BatchHeader::decode(batch).expect("a batch is at least its header");
        assert!(header.base_offset >= self.base_offset, "batches lie behind their segment's base");
        let position = self.size();
        let mut rest = batch;
        loop {
            rest = &rest[self.buffer.append(rest)..];
            if self.buffer.remaining() == 0 {
                self.write().await?;
            }
            if rest.is_empty() {
                break;
            }
        }
        // A batch that is left for its header alone still says when its records were; nobody finds them there.
        if header.records_count > 0 && header.max_timestamp > self.times.max_timestamp {
            self.times.max_timestamp = header.max_timestamp;
            // At batch precision, as Kafka has it.
            self.times.offset_of_max = header.last_offset();
        }
        self.indexes.note(
            self.base_offset,
            header.last_offset(),
            position,
            batch.len() as u64,
            self.index_interval_bytes,
            self.times.max_timestamp,
            self.times.offset_of_max,
        );
        Ok(())
    }

    /// Writes the buffer, padded to whole blocks, and begins another.
    async fn write(&mut self) -> Result<(), StorageError> {
        let bytes = self.buffer.len();
        let block = self.buffer.aligned(0..block_ceil(bytes));
        let path = self.path("log");
        self.file
            .write_at(block, self.written, Durability::Cached)
            .await
            .map_err(StorageError::io("write segment", path))?;
        self.written += bytes as u64;
        self.buffer = buffer(self.memory, self.buffer.capacity()).await;
        self.pace.moved(bytes).await;
        Ok(())
    }

    fn path(&self, extension: &str) -> PathBuf {
        temporary(&self.directory, self.base_offset, extension, CLEANED)
    }

    /// Everything flushed, cut to its length, with its indexes beside it.
    pub async fn finish(mut self, aborted: Vec<AbortedTransaction>) -> Result<Written, StorageError> {
        let bytes = self.size();
        if !self.buffer.is_empty() {
            self.write().await?;
        }
        let path = self.path("log");
        self.file.set_len(bytes).await.map_err(StorageError::io("cut segment", &path))?;
        self.file.sync_data().await.map_err(StorageError::flush("flush segment", &path))?;
        self.indexes.note_time(self.base_offset, self.times.max_timestamp, self.times.offset_of_max);
        self.store("index", self.indexes.offsets_bytes()).await?;
        self.store("timeindex", self.indexes.times_bytes()).await?;
        if !aborted.is_empty() {
            self.store("txnindex", aborted::render(&aborted)).await?;
        }
        Ok(Written { base_offset: self.base_offset, bytes, times: self.times, aborted })
    }

    async fn store(&self, extension: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let path = self.path(extension);
        let open = Open { write: true, create: true, truncate: true, ..Open::default() };
        let file = File::open(&path, open).await.map_err(StorageError::io("create index", &path))?;
        if !bytes.is_empty() {
            file.write_at(bytes, 0, Durability::Cached).await.map_err(StorageError::io("write index", &path))?;
        }
        file.sync_data().await.map_err(StorageError::flush("flush index", &path))
    }
}

/// A buffer to write from; waits for memory, and evicts the oldest log data for it.
async fn buffer(memory: &Memory, bytes: usize) -> AppendBuf {
    memory.alloc(AppendBuf::alloc_wait(bytes), || false).await.expect("never cancelled")
}
