//! The fixed files of a journal, which are reused in turn.
//!
//! Each file is written from end to end before its first use: an append into allocated but unwritten extents costs 2 to
//! 2.5 times as much, because each flush then commits an extent conversion. A journal starts with one file, so that a
//! new node is ready at once, and grows to its configured size in the background.
//!
//! ```text
//! NNNNNNNN.journal: one block of header, then groups
//!  0  u32  magic "TMJ1"      4  u32  version (1)     8  u64  journal id
//! 16  u32  file number      20  u32  zero           24  u64  file bytes       32  u32  CRC-32C of the first 32 bytes
//! ```

use std::path::{Path, PathBuf};

use super::sequence::Sequence;
use crate::disk::{BLOCK_BYTES, StorageError};
use crate::runtime::buf::{AlignedBuf, Slice};
use crate::runtime::dir;
use crate::runtime::file::{Durability, File, Open};

const MAGIC: u32 = u32::from_le_bytes(*b"TMJ1");
const VERSION: u32 = 1;
/// The bytes of one write when a new file is filled.
const FILL_BYTES: usize = 1 << 20;

const _: () = assert!(FILL_BYTES.is_multiple_of(BLOCK_BYTES), "O_DIRECT");

/// One file of a journal, open for direct I/O.
pub struct JournalFile {
    /// Opened with O_DIRECT: positions, lengths and buffers are whole blocks.
    pub file: File,
    /// `<journal directory>/NNNNNNNN.journal`
    pub path: PathBuf,
    /// The file's fixed length.
    pub bytes: u64,
    /// The highest sequence number of a group in this file; 0 if it holds none.
    pub last_sequence: Sequence,
}

/// The path of the file with this number.
pub fn path_of(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.journal"))
}

/// The header of a journal file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The random number of the journal; a file with another one belongs to another journal.
    pub journal_id: u64,
    /// The number in the file's name, from 0.
    pub number: u32,
    /// The file's length.
    pub bytes: u64,
}

impl FileHeader {
    /// `None` when the bytes do not begin with a whole header of this version.
    pub fn parse(block: &[u8]) -> Option<FileHeader> {
        let head = block.get(..36)?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let is_whole = u32_at(0) == MAGIC && u32_at(4) == VERSION && u32_at(32) == crc32c::crc32c(&head[..32]);
        is_whole.then(|| FileHeader { journal_id: u64_at(8), number: u32_at(16), bytes: u64_at(24) })
    }
}

fn direct() -> Open {
    Open { read: true, write: true, direct: true, ..Open::default() }
}

/// The first block of a file.
fn header(journal_id: u64, number: u32, bytes: u64) -> Result<AlignedBuf, StorageError> {
    let mut block = alloc(BLOCK_BYTES)?;
    block[..BLOCK_BYTES].fill(0);
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[4..8].copy_from_slice(&VERSION.to_le_bytes());
    block[8..16].copy_from_slice(&journal_id.to_le_bytes());
    block[16..20].copy_from_slice(&number.to_le_bytes());
    block[24..32].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32c::crc32c(&block[..32]);
    block[32..36].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FileHeader::parse(&block), Some(FileHeader { journal_id, number, bytes }), "the header reads back");
    Ok(block)
}

fn alloc(bytes: usize) -> Result<AlignedBuf, StorageError> {
    AlignedBuf::alloc(bytes).map_err(|over| StorageError::Refused(format!("no memory for the journal: {over}")))
}

impl JournalFile {
    /// The file handle for a write, and the path for its error.
    pub fn handle(&self) -> (File, PathBuf) {
        (self.file.clone(), self.path.clone())
    }

    /// Creates a file of `bytes`, with every block written and flushed. The file gets its name last, so a file with
    /// that name is always whole.
    pub async fn create(
        directory: &Path,
        journal_id: u64,
        number: u32,
        bytes: u64,
    ) -> Result<JournalFile, StorageError> {
        let created = JournalFile::fill(directory, journal_id, number, bytes).await;
        if created.is_err() {
            // On a full disk, the unfinished file occupies the space that segments need.
            let _ = dir::remove_file(path_of(directory, number).with_extension("filling")).await;
        }
        created
    }

    async fn fill(directory: &Path, journal_id: u64, number: u32, bytes: u64) -> Result<JournalFile, StorageError> {
        assert!(bytes.is_multiple_of(FILL_BYTES as u64) && bytes > 0, "a journal file is whole MiB");
        let path = path_of(directory, number);
        let filling = path.with_extension("filling");
        let open = Open { create: true, truncate: true, ..direct() };
        let file = File::open(&filling, open).await.map_err(StorageError::io("create journal file", &filling))?;
        let mut zeros = alloc(FILL_BYTES)?;
        zeros[..FILL_BYTES].fill(0);
        let zeros: Slice = Slice::from(zeros).slice(0..FILL_BYTES);
        for at in (0..bytes).step_by(FILL_BYTES) {
            file.write_at(zeros.clone(), at, Durability::Cached)
                .await
                .map_err(StorageError::io("write journal file end to end", &filling))?;
        }
        let block: Slice = Slice::from(header(journal_id, number, bytes)?).slice(0..BLOCK_BYTES);
        file.write_at(block, 0, Durability::Cached).await.map_err(StorageError::io("write journal file", &filling))?;
        file.sync_all().await.map_err(StorageError::io("flush journal file", &filling))?;
        dir::rename(&filling, &path).await.map_err(StorageError::io("name journal file", &path))?;
        dir::sync(directory).await.map_err(StorageError::flush("flush directory", directory))?;
        Ok(JournalFile { file, path, bytes, last_sequence: Sequence::ZERO })
    }

    /// Opens a file that [`create`](Self::create) made, and checks that it belongs to this journal.
    pub async fn open(directory: &Path, journal_id: u64, number: u32) -> Result<JournalFile, StorageError> {
        let path = path_of(directory, number);
        let file = File::open(&path, direct()).await.map_err(StorageError::io("open journal file", &path))?;
        let bytes = file.len().await.map_err(StorageError::io("measure journal file", &path))?;
        let (read, block) = file.read_at(alloc(BLOCK_BYTES)?, 0, BLOCK_BYTES, 0).await;
        let read = read.map_err(StorageError::io("read journal file", &path))?;
        let refuse = |why: String| StorageError::format("a journal file", &path, why);
        if read < BLOCK_BYTES {
            return Err(refuse(format!("it is {bytes} bytes long and has no header")));
        }
        let header =
            FileHeader::parse(&block).ok_or_else(|| refuse("its header is damaged or of another version".into()))?;
        if header.journal_id != journal_id {
            let found = header.journal_id;
            return Err(refuse(format!("it is of journal {found:016x}, the checkpoint names {journal_id:016x}")));
        }
        if header.number != number || header.bytes != bytes {
            return Err(refuse(format!(
                "its header names file {} of {} bytes, and it has {bytes}",
                header.number, header.bytes
            )));
        }
        Ok(JournalFile { file, path, bytes, last_sequence: Sequence::ZERO })
    }
}
