//! A shard's checkpoint: from which group on its journal must be replayed, and what each partition's segments
//! hold for sure.
//!
//! One small file, replaced whole: written beside, flushed, renamed, its directory flushed.
//!
//! ```text
//!  0  u32  magic "TMC1"    4  u32  version (5)    8  u64  archive bytes    16  u32  CRC-32C of the archive
//! 32  the archive (rkyv), checked against the CRC before it is looked at, and validated when it is
//! ```
//!
//! What a partition's entry says is captured when its segments are flushed, at some moment after the journal
//! position was taken; replay skips what lies below the entry's end.

use std::path::Path;

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::disk::StorageError;
use crate::disk::journal::ReplayStart;
use crate::disk::layout::replace_file;
use crate::model::{TopicId, TopicPartition};
use crate::runtime::file::{File, Open};

const MAGIC: u32 = u32::from_le_bytes(*b"TMC1");
/// Since 5 the journal may hold log starts, which who knows 4 alone would take for damage. The bytes here are the same.
const VERSION: u32 = 5;
const VERSION_OLDEST: u32 = 4;
const HEAD_BYTES: usize = 32;

/// Everything a shard must know to recover, apart from the journal and the segments.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Checkpoint {
    pub journal_id: u64,
    /// How many files the journal had; it may have grown since.
    pub journal_files: u32,
    /// Sessions of the journal that have been started so far; the next one takes the number after it.
    pub session: u64,
    pub start: JournalStart,
    /// Written at a graceful stop: segments are cut to their lengths and nothing needs replaying.
    pub is_clean: bool,
    pub partitions: Vec<PartitionState>,
}

/// [`ReplayStart`], as it is stored.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalStart {
    pub file: u32,
    pub position: u64,
    pub sequence: u64,
    pub previous_checksum: u32,
    pub session: u64,
    pub lap: u32,
}

/// What is flushed of one partition.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct PartitionState {
    pub topic: [u8; 16],
    pub partition: i32,
    pub log_start_offset: i64,
    /// The segments before the active one, flushed and cut to their lengths, in order. Retention may have taken some of the
    /// first since.
    pub sealed: Vec<SealedSegment>,
    /// Everything below this offset has been compacted. Here and not in Kafka's `cleaner-offset-checkpoint`, because it has
    /// to become true in the same moment as the compacted segments.
    pub cleaned_to: i64,
    /// The active segment at that moment.
    pub segment_base_offset: i64,
    /// Flushed bytes of that segment; whole batches.
    pub segment_position: u64,
    /// The offset behind the last flushed batch.
    pub end_offset: i64,
    /// The largest timestamp in that segment and its record's offset; -1 when it is empty.
    pub segment_max_timestamp: i64,
    pub segment_offset_of_max_timestamp: i64,
    /// Wall time of the segment's first append, for time-based rolling; -1 when it is empty.
    pub segment_first_append_ms: i64,
    /// Flushed entries of that segment's index of aborted transactions.
    pub segment_aborted: u32,
    /// (epoch, its first offset), ascending.
    pub leader_epochs: Vec<(i32, i64)>,
    pub producers: Vec<ProducerState>,
}

/// A segment that nothing is appended to any more.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    pub base_offset: i64,
    pub bytes: u64,
    /// Entries of its index of aborted transactions.
    pub aborted: u32,
    /// Compacted, and perhaps not yet in the place of those that it was made from: see `log::clean::swap`.
    pub is_swap: bool,
}

/// One idempotent producer's last batches on one partition.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_activity_ms: i64,
    /// Of its last batch or marker.
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// Where its open transaction began; -1 without one.
    pub current_txn_first_offset: i64,
    /// At most five, oldest first.
    pub batches: Vec<ProducedBatch>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducedBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub timestamp: i64,
}

impl From<ReplayStart> for JournalStart {
    fn from(start: ReplayStart) -> JournalStart {
        let ReplayStart { file, position, sequence, previous_checksum, session, lap } = start;
        JournalStart { file, position, sequence, previous_checksum, session, lap }
    }
}

impl From<JournalStart> for ReplayStart {
    fn from(start: JournalStart) -> ReplayStart {
        let JournalStart { file, position, sequence, previous_checksum, session, lap } = start;
        ReplayStart { file, position, sequence, previous_checksum, session, lap }
    }
}

impl PartitionState {
    pub fn id(&self) -> TopicPartition {
        TopicPartition { topic: TopicId(self.topic), partition: self.partition }
    }
}

impl Checkpoint {
    /// Replaces the checkpoint at `path`. When it returns, this one is what a restart finds.
    pub async fn store(&self, path: &Path) -> Result<(), StorageError> {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(self)
            .map_err(|error| StorageError::format("a checkpoint", path, error.to_string()))?;
        let mut bytes = vec![0u8; HEAD_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&(archive.len() as u64).to_le_bytes());
        bytes[16..20].copy_from_slice(&crc32c::crc32c(&archive).to_le_bytes());
        bytes.extend_from_slice(&archive);
        replace_file(path, bytes).await
    }

    /// The checkpoint at `path`; `None` when there is none.
    pub async fn load(path: &Path) -> Result<Option<Checkpoint>, StorageError> {
        let file = match File::open(path, Open { read: true, ..Open::default() }).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("open checkpoint", path)(error)),
        };
        let length = file.len().await.map_err(StorageError::io("measure checkpoint", path))?;
        let bytes = file.read_vec(length as usize, 0).await.map_err(StorageError::io("read checkpoint", path))?;
        Checkpoint::parse(&bytes).map(Some).map_err(|why| StorageError::format("a checkpoint", path, why))
    }

    /// Reads a checkpoint file's bytes; says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
        let Some((head, archive)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(format!("it is {} bytes long, shorter than its header", bytes.len()));
        };
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        if u32_at(0) != MAGIC {
            return Err("it does not begin with a checkpoint's magic".into());
        }
        if !(VERSION_OLDEST..=VERSION).contains(&u32_at(4)) {
            return Err(format!("it is of version {}, this build reads {VERSION_OLDEST} to {VERSION}", u32_at(4)));
        }
        let stated = u64::from_le_bytes(head[8..16].try_into().expect("8 bytes"));
        if stated != archive.len() as u64 {
            return Err(format!("its archive should be {stated} bytes long and is {}", archive.len()));
        }
        if u32_at(16) != crc32c::crc32c(archive) {
            return Err("it does not match its checksum".into());
        }
        let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
        aligned.extend_from_slice(archive);
        rkyv::from_bytes::<Checkpoint, rkyv::rancor::Error>(&aligned).map_err(|error| error.to_string())
    }
}
