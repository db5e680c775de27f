//! Replays an internal partition from its start, to restore the state machine.
//!
//! A log of a million commits is hundreds of megabytes of small batches. The load reads it in large stretches; each is
//! copied once into a reused buffer and decoded in place.

use super::{ReplayedRecord, StateMachine, Unreadable};
use crate::disk::StorageError;
use crate::log::read::Extent;
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::partition::Partition;
use crate::partition::fetch::PartitionFetch;
use crate::partition::purgatory::Isolation;
use crate::record::codec::{CodecError, Decompressor};
use crate::record::control::{Ending, Marker};
use crate::record::records::RecordError;
use crate::record::walk::{Batch, Broken, batches};
use crate::record::{BatchHeader, Record, Records};
use crate::runtime;
use crate::shard::DECODED_BYTES_MAX;

/// Bytes of the log per read; other tasks run between two reads.
const STRETCH_BYTES: usize = 1 << 20;
/// Batches that are replayed before the load yields to other tasks.
const BATCHES_PER_TURN: usize = 500;

/// Why the log of a partition cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("offset {offset} cannot be read: {error}")]
    Fetch { offset: Offset, error: ErrorCode },
    #[error("nothing is readable from offset {offset} on, below {high_watermark}")]
    NothingReadable { offset: Offset, high_watermark: Offset },
    #[error("after offset {offset}: {source}")]
    Read { offset: Offset, source: StorageError },
    #[error("after offset {offset}: {source}")]
    Framing { offset: Offset, source: Broken },
    #[error("the batch at offset {offset} does not match its CRC")]
    Corrupt { offset: Offset },
    #[error("the batch at offset {offset} has an unknown compression codec")]
    UnknownCodec { offset: Offset },
    #[error("the batch at offset {offset}: {source}")]
    Codec { offset: Offset, source: CodecError },
    #[error("the batch at offset {offset}: {source}")]
    Record { offset: Offset, source: RecordError },
    #[error("the record at offset {offset}: {source}")]
    Unreadable { offset: Offset, source: Unreadable },
}

/// Replays the whole log of the partition. Fails when a part of it is unreadable: a state with gaps is wrong.
pub(super) async fn load<M: StateMachine>(partition: &Partition, machine: &mut M) -> Result<(), LoadError> {
    let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
    let mut buffer = Vec::new();
    let mut next = partition.log_start();
    let mut unknown = 0u64;
    let mut since_yield = 0;
    while next < partition.high_watermark() {
        let request = PartitionFetch {
            fetch_offset: next,
            bytes_max: STRETCH_BYTES,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
            has_negative_limit: false,
            isolation: Isolation::ReadUncommitted,
            at_least_one: true,
            knows_zstd: true,
        };
        let fetched = partition.fetch(&request).await;
        if fetched.error.is_error() {
            return Err(LoadError::Fetch { offset: next, error: fetched.error });
        }
        if fetched.read.extents.is_empty() {
            return Err(LoadError::NothingReadable { offset: next, high_watermark: partition.high_watermark() });
        }
        for extent in fetched.read.extents {
            copy(extent, &mut buffer).await.map_err(|source| LoadError::Read { offset: next, source })?;
            for batch in batches(&buffer) {
                let batch = batch.map_err(|source| LoadError::Framing { offset: next, source })?;
                unknown += replay_batch(&batch, machine, &mut decompressor)?;
                since_yield += 1;
                if since_yield == BATCHES_PER_TURN {
                    since_yield = 0;
                    runtime::yield_now().await;
                }
            }
        }
        next = fetched.read.next_offset;
    }
    if unknown > 0 {
        tracing::warn!("{}-{}: skipped {unknown} records of a newer release", partition.name, partition.id.partition);
    }
    Ok(())
}

async fn copy(mut extent: Extent, buffer: &mut Vec<u8>) -> Result<(), StorageError> {
    buffer.clear();
    buffer.reserve(extent.bytes());
    while extent.bytes() > 0 {
        let slice = extent.load(extent.bytes()).await?;
        buffer.extend_from_slice(&slice);
        extent.advance(slice.len());
    }
    Ok(())
}

/// Returns how many of the batch's records have a key version that this release does not know.
fn replay_batch<M: StateMachine>(
    batch: &Batch<'_>,
    machine: &mut M,
    decompressor: &mut Decompressor,
) -> Result<u64, LoadError> {
    let header = &batch.header;
    let offset = header.base_offset;
    if !batch.is_intact() {
        return Err(LoadError::Corrupt { offset });
    }
    let codec = header.codec().ok_or(LoadError::UnknownCodec { offset })?;
    let decoded = decompressor.decompress(codec, batch.stored_records());
    let decoded = decoded.map_err(|source| LoadError::Codec { offset, source })?;
    if let Some(marker) = Marker::parse(header, decoded) {
        machine.end_transaction(header.producer_id, marker.ending == Ending::Commit);
    }
    let mut unknown = 0;
    for record in Records::new(header, decoded) {
        let record = record.map_err(|source| LoadError::Record { offset, source })?;
        if header.is_control() {
            continue;
        }
        let replayed = replayed_record(header, record.offset, &record).and_then(|record| machine.replay(&record));
        match replayed {
            Ok(()) => {}
            Err(Unreadable::UnknownKey(_)) => unknown += 1,
            Err(source) => return Err(LoadError::Unreadable { offset: record.offset, source }),
        }
    }
    Ok(unknown)
}

pub(super) fn replayed_record<'a>(
    header: &BatchHeader,
    offset: Offset,
    record: &Record<'a>,
) -> Result<ReplayedRecord<'a>, Unreadable> {
    Ok(ReplayedRecord {
        offset,
        timestamp_ms: record.timestamp,
        key: record.key.ok_or(Unreadable::NoKey)?,
        value: record.value,
        transaction: header.is_transactional().then_some((header.producer_id, header.producer_epoch)),
    })
}
