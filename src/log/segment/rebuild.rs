//! Rebuilds a segment's indexes from its batches.

use std::rc::Rc;

use super::peek::SCAN_BYTES;
use super::{Peeked, Segment, Times};
use crate::disk::StorageError;
use crate::log::index::Indexes;
use crate::model::{Offset, Position};

/// Kafka's default of `index.interval.bytes`, for indexes that are rebuilt.
const REBUILT_INTERVAL_BYTES: u64 = 4096;

/// Walks a segment's batches from `position` on, and adds their entries to `indexes`, which cover the batches before
/// it. Takes Kafka's default interval.
pub(in crate::log) async fn rebuild_indexes(
    segment: &Rc<Segment>,
    mut indexes: Indexes,
    mut position: Position,
) -> Result<Indexes, StorageError> {
    let mut times = Times::NONE;
    if let Some(last) = indexes.times.last() {
        times.note(last.timestamp, segment.base_offset + i64::from(last.relative_offset));
    }
    while let Some(batch) = segment.peek_or_load(position, SCAN_BYTES).await? {
        index_batch(&mut indexes, &mut times, segment.base_offset, position, &batch);
        position += batch.bytes;
    }
    assert_eq!(position.0, segment.size(), "a walk ends at the segment's end");
    indexes.note_time(segment.base_offset, times.max_timestamp, times.offset_of_max);
    Ok(indexes)
}

/// Adds the batch at `position` to indexes that are being rebuilt.
pub(in crate::log) fn index_batch(
    indexes: &mut Indexes,
    times: &mut Times,
    base: Offset,
    position: Position,
    batch: &Peeked,
) {
    // Records are not searched: Kafka's rebuild takes the batch's last offset too.
    times.note(batch.max_timestamp, batch.last_offset);
    let (timestamp, offset) = (times.max_timestamp, times.offset_of_max);
    indexes.note(base, batch.last_offset, position, batch.bytes, REBUILT_INTERVAL_BYTES, timestamp, offset);
}
