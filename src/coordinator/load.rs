//! Replays an internal partition from its start, to restore the state machine.
//!
//! A log of a million commits is hundreds of megabytes of small batches. The load reads it in large stretches; each is
//! copied once into a reused buffer and decoded in place.

use super::{ReplayedRecord, StateMachine, Unreadable};
use crate::log::read::Extent;
use crate::model::Offset;
use crate::partition::Partition;
use crate::partition::fetch::Request;
use crate::partition::purgatory::Isolation;
use crate::record::codec::Decompressor;
use crate::record::control::{Ending, Marker};
use crate::record::walk::{Batch, Broken, batches};
use crate::record::{BatchHeader, Record, Records};
use crate::runtime;
use crate::shard::DECODED_BYTES_MAX;

/// Bytes of the log per read; other tasks run between two reads.
const STRETCH_BYTES: usize = 1 << 20;
/// Batches that are replayed before the load yields to other tasks.
const BATCHES_PER_TURN: usize = 500;

/// Replays the whole log of the partition. Fails when a part of it is unreadable: a state with gaps is wrong.
pub(super) async fn load<M: StateMachine>(partition: &Partition, machine: &mut M) -> Result<(), String> {
    let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
    let mut buffer = Vec::new();
    let mut next = partition.log_start();
    let mut unknown = 0u64;
    let mut since_yield = 0;
    while next < partition.high_watermark() {
        let request = Request {
            fetch_offset: next,
            bytes_max: STRETCH_BYTES,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            isolation: Isolation::ReadUncommitted,
            at_least_one: true,
            knows_zstd: true,
        };
        let fetched = partition.fetch(&request).await;
        if fetched.error.is_error() {
            return Err(format!("offset {next} cannot be read: {}", fetched.error));
        }
        if fetched.read.extents.is_empty() {
            return Err(format!("nothing is readable from offset {next} on, below {}", partition.high_watermark()));
        }
        for extent in fetched.read.extents {
            copy(extent, &mut buffer).await?;
            for batch in batches(&buffer) {
                let batch = batch.map_err(|broken: Broken| format!("behind offset {next}: {broken}"))?;
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

async fn copy(mut extent: Extent, buffer: &mut Vec<u8>) -> Result<(), String> {
    buffer.clear();
    buffer.reserve(extent.bytes());
    while extent.bytes() > 0 {
        let slice = extent.load(extent.bytes()).await.map_err(|error| error.to_string())?;
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
) -> Result<u64, String> {
    let header = &batch.header;
    let at = header.base_offset;
    if !batch.is_intact() {
        return Err(format!("the batch at offset {at} is damaged"));
    }
    let codec = header.codec().ok_or_else(|| format!("the batch at offset {at} is compressed in an unknown way"))?;
    let decoded =
        decompressor.decompress(codec, batch.stored_records()).map_err(|error| format!("offset {at}: {error}"))?;
    if let Some(marker) = Marker::parse(header, decoded) {
        machine.end_transaction(header.producer_id, marker.ending == Ending::Commit);
    }
    let mut unknown = 0;
    for record in Records::new(header, decoded) {
        let record = record.map_err(|error| format!("offset {at}: {error}"))?;
        if header.is_control() {
            continue;
        }
        let replayed = replayed_record(header, record.offset, &record).and_then(|entry| machine.replay(&entry));
        match replayed {
            Ok(()) => {}
            Err(Unreadable::UnknownKey(_)) => unknown += 1,
            Err(malformed) => return Err(format!("the record at offset {}: {malformed}", record.offset)),
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
        key: record.key.ok_or_else(|| Unreadable::Malformed("it has no key".into()))?,
        value: record.value,
        transaction: header.is_transactional().then_some((header.producer_id, header.producer_epoch)),
    })
}
