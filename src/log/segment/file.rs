//! The files of one segment: the only code in the log that writes, cuts or flushes a `.log` or an index.
//!
//! Write-back writes a growing segment through it, compaction a whole new one. Both write chunks of the segment's image
//! with direct I/O, flush them, and cut the file to its exact length.
//!
//! A failed write or flush returns an error and moves no position (SEG-2). The caller must not take a later flush that
//! succeeds as proof that the earlier bytes are on the device.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::disk::{BLOCK_BYTES, StorageError, block_ceil, block_floor};
use crate::log::index::Indexes;
use crate::log::tail::Chunk;
use crate::runtime::buf::{AlignedBuf, Slice};
use crate::runtime::file::{Durability, File, Open};

/// A segment's `.log` file, open for direct reads and writes. Clones share the open file.
#[derive(Clone)]
pub(in crate::log) struct SegmentFile {
    file: File,
    path: Rc<Path>,
}

impl SegmentFile {
    /// Opens the file.
    pub async fn open(path: PathBuf) -> Result<SegmentFile, StorageError> {
        SegmentFile::open_as("open segment", path, Open::default()).await
    }

    /// Opens the file, or creates it.
    pub async fn open_or_create(path: PathBuf) -> Result<SegmentFile, StorageError> {
        SegmentFile::open_as("create segment", path, Open { create: true, ..Open::default() }).await
    }

    /// Creates the file empty; earlier contents are lost.
    pub async fn create(path: PathBuf) -> Result<SegmentFile, StorageError> {
        SegmentFile::open_as("create segment", path, Open { create: true, truncate: true, ..Open::default() }).await
    }

    async fn open_as(doing: &'static str, path: PathBuf, open: Open) -> Result<SegmentFile, StorageError> {
        let open = Open { read: true, write: true, direct: true, ..open };
        let file = File::open(&path, open).await.map_err(StorageError::io(doing, &path))?;
        Ok(SegmentFile { file, path: path.into() })
    }

    /// Opens a removed segment's file, to hold its space until [`truncate`](Self::truncate) frees it.
    pub async fn open_removed(path: &Path) -> Option<SegmentFile> {
        let open = Open { read: true, write: true, ..Open::default() };
        let file = File::open(path, open).await.ok()?;
        Some(SegmentFile { file, path: path.into() })
    }

    /// Writes the chunk's bytes from position `written` on, and returns the position up to which the file has them now.
    ///
    /// Direct I/O needs whole blocks: the write begins at the start of the block that holds `written`, and pads the
    /// last block with zeros.
    pub async fn write_chunk(&self, chunk: &Chunk, written: u64) -> Result<u64, StorageError> {
        let end = chunk.end();
        assert!(chunk.start.is_multiple_of(BLOCK_BYTES as u64), "a chunk begins at a block, not at {}", chunk.start);
        assert!((chunk.start..end).contains(&written), "SEG-1: {written} is outside of {}..{end}", chunk.start);
        let from = block_floor(written);
        assert!(from >= chunk.start && written - from < BLOCK_BYTES as u64, "at most one block is written again");
        let range = (from - chunk.start) as usize..block_ceil((end - chunk.start) as usize);
        let bytes = chunk.buf.aligned(range);
        let done = self.file.write_at(bytes, from, Durability::Cached).await;
        done.map_err(StorageError::io("write segment", &*self.path))?;
        Ok(end)
    }

    /// Flushes all earlier writes.
    pub async fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().await.map_err(StorageError::flush("flush segment", &*self.path))
    }

    /// Cuts the file to exactly `bytes`, without the padding of its last block, and flushes it.
    pub async fn cut_to(&self, bytes: u64) -> Result<(), StorageError> {
        self.truncate(bytes).await?;
        self.sync().await
    }

    /// Sets the file's length and does not flush.
    pub async fn truncate(&self, bytes: u64) -> Result<(), StorageError> {
        self.file.set_len(bytes).await.map_err(StorageError::io("cut segment", &*self.path))
    }

    /// Reads `bytes` at `position`, a block's start, into `buf`. Short only at the file's end.
    pub async fn read(&self, buf: AlignedBuf, position: u64, bytes: usize) -> Result<Slice, StorageError> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "a direct read begins at a block, not at {position}");
        assert!(block_ceil(bytes) <= buf.capacity(), "{bytes} bytes do not fit {}", buf.capacity());
        let (read, buf) = self.file.read_at(buf, 0, block_ceil(bytes), position).await;
        let read = read.map_err(StorageError::io("read segment", &*self.path))?;
        assert!(read <= block_ceil(bytes), "a read of {bytes} bytes returned {read}");
        Ok(buf.freeze().slice(0..read.min(bytes)))
    }
}

/// Writes a part of an index at byte `at`; at 0 it replaces the file. `is_flushed`: flushes the file too.
pub(in crate::log) async fn store_index(
    path: &Path,
    at: u64,
    bytes: Vec<u8>,
    is_flushed: bool,
) -> Result<(), StorageError> {
    let open = Open { write: true, create: true, truncate: at == 0, ..Open::default() };
    let file = File::open(path, open).await.map_err(StorageError::io("create index", path))?;
    if !bytes.is_empty() {
        file.write_at(bytes, at, Durability::Cached).await.map_err(StorageError::io("write index", path))?;
    }
    if is_flushed {
        file.sync_data().await.map_err(StorageError::flush("flush index", path))?;
    }
    Ok(())
}

/// Writes the offset index and the time index whole. `path` names the file of an extension. The future does not hold
/// the indexes.
pub(in crate::log) fn store_indexes<P: Fn(&'static str) -> PathBuf>(
    path: P,
    indexes: &Indexes,
    is_flushed: bool,
) -> impl Future<Output = Result<(), StorageError>> + use<P> {
    let (offsets, times) = (indexes.offsets_bytes(0), indexes.times_bytes(0));
    let (index, timeindex) = (path("index"), path("timeindex"));
    async move {
        store_index(&index, 0, offsets, is_flushed).await?;
        store_index(&timeindex, 0, times, is_flushed).await
    }
}

/// The length of a file in bytes.
pub(in crate::log) async fn length_of(path: &Path) -> Result<u64, StorageError> {
    let file = File::open(path, Open { read: true, ..Open::default() })
        .await
        .map_err(StorageError::io("open segment", path))?;
    file.len().await.map_err(StorageError::io("measure segment", path))
}

/// Cuts a closed file to `length` bytes, without a flush.
pub(in crate::log) async fn cut(path: &Path, length: u64) -> Result<(), StorageError> {
    let open = Open { read: true, write: true, ..Open::default() };
    let file = File::open(path, open).await.map_err(StorageError::io("open segment", path))?;
    file.set_len(length).await.map_err(StorageError::io("cut segment", path))
}

/// Flushes a closed file.
pub(in crate::log) async fn flush(path: &Path) -> Result<(), StorageError> {
    let file = File::open(path, Open { read: true, ..Open::default() }).await;
    let file = file.map_err(StorageError::io("open segment", path))?;
    file.sync_data().await.map_err(StorageError::flush("flush segment", path))
}
