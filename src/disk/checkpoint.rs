//! A shard's checkpoint: the journal group where replay starts, and the flushed state of each partition's segments.
//!
//! One small file, which is replaced as a whole; [`mod@file`] is its format. The states in it need not be of one
//! moment: replay starts at or before the first group that any of them needs, and skips the entries that a state holds
//! already. So a checkpoint can be stored when only some of the partitions were flushed.

mod file;

use std::path::Path;

use rkyv::{Archive, Deserialize, Serialize};

use crate::disk::journal::{ReplayStart, Sequence};
use crate::disk::{StorageError, is_aligned};
use crate::model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use crate::runtime::file::{File, Open};
pub use file::{CheckpointWriter, parse_body, partition_sections};

/// The state that a shard needs to recover, besides the journal and the segments.
#[derive(Clone, PartialEq, Debug)]
pub struct Checkpoint {
    /// The journal, and where its replay starts.
    pub head: CheckpointHead,
    /// The shard's partitions.
    pub partitions: Vec<PartitionState>,
}

/// A checkpoint without its partitions.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointHead {
    /// The random number of the journal, which every file and group carries.
    pub journal_id: u64,
    /// The number of the journal's files. The journal may have grown since.
    pub journal_files: u32,
    /// The latest session of the journal. The next session gets the next number.
    pub session: u64,
    /// The first group that a replay needs.
    pub start: JournalStart,
    /// The index of the metadata image that the shard had applied when the checkpoint was stored. A metadata log that
    /// ends before it has lost entries.
    pub metadata_index: u64,
    /// The shard stopped gracefully: segments are cut to their lengths, and nothing needs a replay.
    pub is_clean: bool,
}

/// [`ReplayStart`] in its stored form.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalStart {
    /// The number of the file.
    pub file: u32,
    /// The byte in the file where the group begins, a multiple of a block.
    pub position: u64,
    /// The group's sequence number, from 1.
    pub sequence: u64,
    /// The checksum of the previous group; 0 before the first.
    pub previous_checksum: u32,
    /// The session that wrote the previous group.
    pub session: u64,
    /// How often the journal has wrapped around to its first file.
    pub lap: u32,
}

/// The flushed state of one partition.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct PartitionState {
    /// The topic's id.
    pub topic: [u8; 16],
    /// The partition's index.
    pub partition: i32,
    /// The sequence of the journal's open group when this state was captured. Replay skips the partition's entries in
    /// earlier groups.
    pub needed_from: u64,
    /// Batches below it are deleted, and never come back after a restart.
    pub log_start_offset: Offset,
    /// The segments before the active one, in order, flushed and cut to their lengths. Retention may have removed the
    /// first of them since.
    pub sealed: Vec<SealedSegment>,
    /// Everything below this offset is compacted. Kept here and not in Kafka's `cleaner-offset-checkpoint`, because it
    /// must change in the same step as the compacted segments.
    pub cleaned_to: Offset,
    /// The active segment's base offset.
    pub segment_base_offset: Offset,
    /// The flushed bytes of the active segment: whole batches.
    pub segment_position: u64,
    /// The offset after the last flushed batch.
    pub end_offset: Offset,
    /// The largest timestamp in the active segment; -1 if it is empty.
    pub segment_max_timestamp: i64,
    /// The offset of the record with that timestamp; -1 if the segment is empty.
    pub segment_offset_of_max_timestamp: Offset,
    /// Wall time of the active segment's first append, for time-based rolling; -1 if it is empty.
    pub segment_first_append_ms: i64,
    /// The entries of the active segment's offset index for these bytes. The index is not flushed with them: fewer
    /// entries show that a power failure took the others.
    pub segment_index_entries: u32,
    /// The entries of its time index.
    pub segment_time_entries: u32,
    /// The flushed entries of the active segment's index of aborted transactions.
    pub segment_aborted: u32,
    /// (leader epoch, its first offset), ascending.
    pub leader_epochs: Vec<(LeaderEpoch, Offset)>,
    /// The producers with batches or markers in the log.
    pub producers: Vec<ProducerState>,
}

/// A segment that takes no more appends.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// The offset in the file's name.
    pub base_offset: Offset,
    /// The length of its `.log` file.
    pub bytes: u64,
    /// The largest timestamp of its records; -1 without one.
    pub max_timestamp: i64,
    /// The offset to look that timestamp up by; -1 without one.
    pub offset_of_max: Offset,
    /// The entries of its index of aborted transactions.
    pub aborted: u32,
    /// The segment is compacted, and may not have replaced its originals yet: see `log::clean::swap`.
    pub is_swap: bool,
}

/// One idempotent producer's last batches on one partition.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct ProducerState {
    /// The id, at least 0.
    pub producer_id: i64,
    /// The epoch of its last batch or marker.
    pub epoch: i16,
    /// Wall time of its last batch or marker in ms since 1970, for `producer.id.expiration.ms`.
    pub last_activity_ms: i64,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that wrote the last marker; -1 without one.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction; -1 without one.
    pub current_txn_first_offset: Offset,
    /// At most five, oldest first.
    pub batches: Vec<ProducedBatch>,
}

/// One of a producer's last batches.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducedBatch {
    /// The sequence of its first record.
    pub first_sequence: i32,
    /// The sequence of its last record, smaller than the first if it wrapped; -1 for a coordinator's batch.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The batch's `max_timestamp` as stored.
    pub timestamp: i64,
}

impl From<ReplayStart> for JournalStart {
    fn from(start: ReplayStart) -> JournalStart {
        let ReplayStart { file, position, sequence, previous_checksum, session, lap } = start;
        JournalStart { file, position, sequence: sequence.0, previous_checksum, session, lap }
    }
}

impl From<JournalStart> for ReplayStart {
    fn from(start: JournalStart) -> ReplayStart {
        let JournalStart { file, position, sequence, previous_checksum, session, lap } = start;
        ReplayStart { file, position, sequence: Sequence(sequence), previous_checksum, session, lap }
    }
}

/// Why a checkpoint file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file ends inside its header.
    #[error("it is {bytes} bytes long, shorter than its header")]
    Short {
        /// The file's length.
        bytes: usize,
    },
    /// The file is not a checkpoint.
    #[error("it does not begin with a checkpoint's magic")]
    Magic,
    /// Another build wrote the file.
    #[error("it is of version {found}, this build reads {} to {}", file::VERSION_MIN, file::VERSION)]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The file ends before the end of its archive, or continues behind it.
    #[error("its archive should be {expected} bytes long and is {found}")]
    Length {
        /// The length in the header.
        expected: u64,
        /// The bytes after the header.
        found: usize,
    },
    /// The archive's bytes have changed since they were written.
    #[error("it does not match its checksum")]
    Checksum,
    /// The checksum matches, so the build that wrote it had other sections.
    #[error("a section of kind {kind} is out of its place or cut short")]
    Section {
        /// The kind; 0 if the section has no header, or if the head is missing.
        kind: u32,
    },
    /// The checksum matches, so the build that wrote it had another structure.
    #[error("{0}")]
    Structure(#[from] rkyv::rancor::Error),
}

impl PartitionState {
    /// The partition's id.
    pub fn id(&self) -> TopicPartition {
        TopicPartition { topic: TopicId(self.topic), partition: self.partition }
    }
}

impl CheckpointHead {
    /// Asserts the invariants of a checkpoint before it is written.
    fn check(&self) {
        assert!(self.start.sequence > 0 && self.start.session <= self.session, "the start is of a session so far");
        assert!(self.start.file < self.journal_files, "replay starts in a file of the journal");
        assert!(is_aligned(self.start.position, 0), "groups begin at whole blocks");
    }
}

impl PartitionState {
    /// Asserts the invariants of a state before it is written.
    fn check(&self) {
        assert!(self.needed_from > 0, "groups are numbered from 1");
        assert!(self.log_start_offset <= self.end_offset, "PART-1: log start <= log end");
        assert!(self.segment_base_offset <= self.end_offset, "the active segment begins before it ends");
        let is_ascending = self.sealed.is_sorted_by(|one, next| one.base_offset < next.base_offset);
        assert!(is_ascending, "LOG-1: segments are in the order of their offsets");
    }
}

impl Checkpoint {
    /// Replaces the checkpoint at `path`. Once it returns, a restart finds the new one.
    pub async fn store(&self, path: &Path) -> Result<(), StorageError> {
        let mut writer = CheckpointWriter::create(path, &self.head).await?;
        for state in &self.partitions {
            writer.push(&partition_sections(state.clone()).await?).await?;
        }
        writer.finish().await
    }

    /// Reads the checkpoint at `path`. `None` when the file does not exist.
    pub async fn load(path: &Path) -> Result<Option<Checkpoint>, StorageError> {
        let file = match File::open(path, Open { read: true, ..Open::default() }).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("open checkpoint", path)(error)),
        };
        let length = file.len().await.map_err(StorageError::io("measure checkpoint", path))?;
        let bytes = file.read_vec(length as usize, 0).await.map_err(StorageError::io("read checkpoint", path))?;
        let why = match Checkpoint::parse(&bytes) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error @ CheckpointError::Version { .. }) => error.to_string(),
            Err(error) => format!(
                "{error}. It names where the replay of the journal starts, so acknowledged records could be lost \
                 without it. Restore the whole data directory from a copy"
            ),
        };
        Err(StorageError::format("a checkpoint", path, why))
    }

    /// Parses the bytes of a checkpoint file.
    ///
    /// # Errors
    /// If the bytes are not exactly a whole checkpoint of a version that this build reads.
    pub fn parse(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        file::parse(bytes)
    }
}
