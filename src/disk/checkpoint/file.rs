//! The bytes of a checkpoint file, written in pieces: a checkpoint of many partitions does not hold up the shard.
//!
//! ```text
//!  0  u32  magic "TMC1"    4  u32  version (7)    8  u64  body bytes    16  u32  CRC-32C of the body
//! 20  12 bytes of zero
//! 32  the body: sections, each a header of 16 bytes and an archive (rkyv), padded to 16 bytes
//!
//! section   0  u32  kind    4  u32  archive bytes    8  8 bytes of zero
//!           kinds: 1 the head, which is first; 2 a partition without its producers; 3 producers of that partition
//! ```
//!
//! The reader checks the CRC, then validates the structure of each archive.

use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use super::{Checkpoint, CheckpointError, CheckpointHead, PartitionState, ProducerState};
use crate::disk::StorageError;
use crate::disk::layout::{create_replacement, put_replacement};
use crate::runtime::file::{Durability, File};
use crate::runtime::yield_now;

const MAGIC: u32 = u32::from_le_bytes(*b"TMC1");
/// Version 6 added the index of the metadata log, the groups that a partition needs, and the largest timestamps of
/// sealed segments; and it has sections. Version 7 is the same: it keeps releases that do not read the journal's groups
/// of version 2 from opening them, because they would take such groups for the journal's end.
pub(super) const VERSION: u32 = 7;
pub(super) const VERSION_MIN: u32 = 6;
const HEAD_BYTES: usize = 32;
const SECTION_HEAD_BYTES: usize = 16;
const KIND_HEAD: u32 = 1;
const KIND_PARTITION: u32 = 2;
const KIND_PRODUCERS: u32 = 3;
/// The most producers that are archived without a yield.
const PRODUCERS_PER_SECTION: usize = 512;
/// The bytes of one write.
const PIECE_BYTES: usize = 256 << 10;

const _: () =
    assert!(HEAD_BYTES.is_multiple_of(16) && SECTION_HEAD_BYTES.is_multiple_of(16), "rkyv aligns to 16 bytes");

impl CheckpointHead {
    /// The head's section.
    pub fn section(&self) -> Result<Vec<u8>, StorageError> {
        self.check();
        let mut bytes = Vec::new();
        push_section(&mut bytes, KIND_HEAD, rkyv::to_bytes::<rkyv::rancor::Error>(self))?;
        Ok(bytes)
    }
}

/// The sections of one partition. Yields between sections: a partition may have very many producers.
pub async fn partition_sections(mut state: PartitionState) -> Result<Vec<u8>, StorageError> {
    state.check();
    let mut producers = std::mem::take(&mut state.producers).into_iter();
    let mut bytes = Vec::new();
    push_section(&mut bytes, KIND_PARTITION, rkyv::to_bytes::<rkyv::rancor::Error>(&state))?;
    while producers.len() > 0 {
        let some: Vec<ProducerState> = producers.by_ref().take(PRODUCERS_PER_SECTION).collect();
        push_section(&mut bytes, KIND_PRODUCERS, rkyv::to_bytes::<rkyv::rancor::Error>(&some))?;
        yield_now().await;
    }
    // The bytes are kept until the partition changes.
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn push_section(
    bytes: &mut Vec<u8>,
    kind: u32,
    archived: Result<AlignedVec, rkyv::rancor::Error>,
) -> Result<(), StorageError> {
    let archive = archived.map_err(|error| StorageError::Refused(format!("cannot archive a checkpoint: {error}")))?;
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&(archive.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&archive);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    Ok(())
}

/// A checkpoint file that is being written. The file that it replaces stays until [`finish`](Self::finish).
pub struct CheckpointWriter {
    path: PathBuf,
    file: File,
    /// Sections that are not written yet.
    piece: Vec<u8>,
    /// The position of `piece` in the file.
    position: u64,
    crc: u32,
}

impl CheckpointWriter {
    /// Begins a file with this head.
    pub async fn create(path: &Path, head: &CheckpointHead) -> Result<CheckpointWriter, StorageError> {
        let head = head.section()?;
        let file = create_replacement(path).await?;
        let piece = Vec::with_capacity(PIECE_BYTES);
        let mut writer = CheckpointWriter { path: path.to_owned(), file, piece, position: HEAD_BYTES as u64, crc: 0 };
        writer.push(&head).await?;
        Ok(writer)
    }

    /// Adds the sections of a partition.
    pub async fn push(&mut self, mut sections: &[u8]) -> Result<(), StorageError> {
        assert!(sections.len().is_multiple_of(16), "sections are padded");
        while !sections.is_empty() {
            let taken = sections.len().min(PIECE_BYTES - self.piece.len());
            self.piece.extend_from_slice(&sections[..taken]);
            sections = &sections[taken..];
            if self.piece.len() == PIECE_BYTES {
                self.write_piece().await?;
            }
        }
        Ok(())
    }

    async fn write_piece(&mut self) -> Result<(), StorageError> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.crc = crc32c::crc32c_append(self.crc, &piece);
        let (at, bytes) = (self.position, piece.len() as u64);
        self.position += bytes;
        self.write(piece, at).await
    }

    async fn write(&self, bytes: Vec<u8>, at: u64) -> Result<(), StorageError> {
        let written = self.file.write_at(bytes, at, Durability::Cached).await;
        written.map_err(StorageError::io("write checkpoint", &self.path))?;
        Ok(())
    }

    /// Replaces the checkpoint. Once it returns, a restart finds the new one.
    pub async fn finish(mut self) -> Result<(), StorageError> {
        if !self.piece.is_empty() {
            self.write_piece().await?;
        }
        let mut head = vec![0; HEAD_BYTES];
        head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&VERSION.to_le_bytes());
        head[8..16].copy_from_slice(&(self.position - HEAD_BYTES as u64).to_le_bytes());
        head[16..20].copy_from_slice(&self.crc.to_le_bytes());
        self.write(head, 0).await?;
        put_replacement(&self.file, &self.path).await
    }
}

/// Parses the bytes of a checkpoint file.
pub(super) fn parse(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let Some((head, body)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Err(CheckpointError::Short { bytes: bytes.len() });
    };
    if u32_at(head, 0) != MAGIC {
        return Err(CheckpointError::Magic);
    }
    if !(VERSION_MIN..=VERSION).contains(&u32_at(head, 4)) {
        return Err(CheckpointError::Version { found: u32_at(head, 4) });
    }
    let expected = u64::from_le_bytes(head[8..16].try_into().expect("8 bytes"));
    if expected != body.len() as u64 {
        return Err(CheckpointError::Length { expected, found: body.len() });
    }
    if u32_at(head, 16) != crc32c::crc32c(body) {
        return Err(CheckpointError::Checksum);
    }
    parse_body(body)
}

/// Parses the sections of a checkpoint.
///
/// # Errors
/// If a section is cut short, is of an unknown kind, is out of its place, or is malformed.
pub fn parse_body(mut body: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let mut head: Option<CheckpointHead> = None;
    let mut partitions: Vec<PartitionState> = Vec::new();
    while !body.is_empty() {
        let (kind, archive) = take_section(&mut body)?;
        match (kind, &head, partitions.last_mut()) {
            (KIND_HEAD, None, _) => head = Some(rkyv::from_bytes::<_, rkyv::rancor::Error>(&archive)?),
            (KIND_PARTITION, Some(_), _) => {
                partitions.push(rkyv::from_bytes::<_, rkyv::rancor::Error>(&archive)?);
            }
            (KIND_PRODUCERS, Some(_), Some(partition)) => {
                let some: Vec<ProducerState> = rkyv::from_bytes::<_, rkyv::rancor::Error>(&archive)?;
                partition.producers.extend(some);
            }
            _ => return Err(CheckpointError::Section { kind }),
        }
    }
    let head = head.ok_or(CheckpointError::Section { kind: 0 })?;
    Ok(Checkpoint { head, partitions })
}

/// Removes the first section from `body`. Returns its kind and its archive.
fn take_section(body: &mut &[u8]) -> Result<(u32, AlignedVec<16>), CheckpointError> {
    let (head, rest) = body.split_at_checked(SECTION_HEAD_BYTES).ok_or(CheckpointError::Section { kind: 0 })?;
    let (kind, bytes) = (u32_at(head, 0), u32_at(head, 4) as usize);
    let padded = bytes.next_multiple_of(16);
    let (section, rest) = rest.split_at_checked(padded).ok_or(CheckpointError::Section { kind })?;
    let mut archive = AlignedVec::with_capacity(bytes);
    archive.extend_from_slice(&section[..bytes]);
    *body = rest;
    Ok((kind, archive))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::disk::checkpoint::{JournalStart, ProducedBatch};
    use crate::model::{LeaderEpoch, Offset};

    fn partition(index: i32, producers: i64) -> PartitionState {
        let batch = ProducedBatch { first_sequence: 0, last_sequence: 4, base_offset: Offset(7), timestamp: 9 };
        let producer = |producer_id| ProducerState {
            producer_id,
            epoch: 3,
            last_activity_ms: 1_000,
            last_timestamp: 1_000,
            coordinator_epoch: -1,
            current_txn_first_offset: Offset::UNKNOWN,
            batches: vec![batch; 1 + producer_id as usize % 5],
        };
        PartitionState {
            topic: [1; 16],
            partition: index,
            needed_from: 5,
            log_start_offset: Offset(0),
            sealed: Vec::new(),
            cleaned_to: Offset(0),
            segment_base_offset: Offset(0),
            segment_position: 4096,
            end_offset: Offset(12),
            segment_max_timestamp: 9,
            segment_offset_of_max_timestamp: Offset(7),
            segment_first_append_ms: 1_000,
            segment_index_entries: 1,
            segment_time_entries: 1,
            segment_aborted: 0,
            leader_epochs: vec![(LeaderEpoch(0), Offset(0))],
            producers: (0..producers).map(producer).collect(),
        }
    }

    /// The sections of a partition, and how often the future yielded.
    fn sections(state: PartitionState) -> (Vec<u8>, usize) {
        let mut future = pin!(partition_sections(state));
        let mut context = Context::from_waker(Waker::noop());
        let mut yields = 0;
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(sections) => return (sections.expect("into memory"), yields),
                Poll::Pending => yields += 1,
            }
        }
    }

    #[test]
    fn producers_are_archived_in_parts_and_read_back_as_one() {
        let start = JournalStart { file: 0, position: 4096, sequence: 5, previous_checksum: 0, session: 1, lap: 0 };
        let head =
            CheckpointHead { journal_id: 1, journal_files: 2, session: 2, start, metadata_index: 3, is_clean: false };
        let partitions = vec![partition(0, 0), partition(1, 10_000), partition(2, 1)];
        let mut body = head.section().unwrap();
        for (state, yields_least) in partitions.iter().zip([0, 10_000 / PRODUCERS_PER_SECTION, 1]) {
            let (sections, yields) = sections(state.clone());
            assert!(yields >= yields_least, "{yields} yields for {} producers", state.producers.len());
            body.extend(sections);
        }
        let parsed = parse_body(&body).unwrap();
        assert_eq!((parsed.head, &parsed.partitions), (head, &partitions));
        for cut in [8, body.len() - 16] {
            assert!(matches!(parse_body(&body[..cut]), Err(CheckpointError::Section { .. })), "cut to {cut} bytes");
        }
        let headless = &body[head.section().unwrap().len()..];
        assert!(matches!(parse_body(headless), Err(CheckpointError::Section { kind: KIND_PARTITION })));
    }
}
