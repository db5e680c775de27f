//! Finds records by time in one batch, compressed or not, at the precision of a record (ListOffsets).

use crate::model::Offset;
use crate::record::codec::{CodecError, Decoding};
use crate::record::header::TimestampType;
use crate::record::records::{RecordError, Records};
use crate::record::validate::STEP_RECORDS;
use crate::record::walk::Batch;

/// The timestamp and the offset of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampOffset {
    /// In ms since 1970.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: Offset,
}

/// Why a stored batch cannot be searched. It was valid when it was appended, so its bytes have changed since.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SearchError {
    /// The records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The decompressed bytes are not records.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The first record of `batch` at or after `from_offset` whose timestamp is `target_timestamp` or later. Decodes at
/// most `limit` bytes, and calls `pause` between steps, so that other tasks can run.
pub async fn offset_for_timestamp(
    batch: &Batch<'_>,
    target_timestamp: i64,
    from_offset: Offset,
    limit: usize,
    pause: impl AsyncFn(),
) -> Result<Option<TimestampOffset>, SearchError> {
    // KIP-32: max_timestamp bounds every record, so most batches are skipped unread.
    if batch.header.max_timestamp < target_timestamp {
        return Ok(None);
    }
    let is_wanted = |timestamp, offset| timestamp >= target_timestamp && offset >= from_offset;
    first_record(batch, is_wanted, limit, pause).await
}

/// The first record of `batch` with its `max_timestamp` (KIP-734). `None` for a batch without timestamps or records.
/// `limit` and `pause` as for [`offset_for_timestamp`].
pub async fn offset_of_max_timestamp(
    batch: &Batch<'_>,
    limit: usize,
    pause: impl AsyncFn(),
) -> Result<Option<TimestampOffset>, SearchError> {
    let max_timestamp = batch.header.max_timestamp;
    if max_timestamp < 0 {
        return Ok(None);
    }
    first_record(batch, |timestamp, _| timestamp == max_timestamp, limit, pause).await
}

async fn first_record(
    batch: &Batch<'_>,
    is_wanted: impl Fn(i64, Offset) -> bool,
    limit: usize,
    pause: impl AsyncFn(),
) -> Result<Option<TimestampOffset>, SearchError> {
    let header = &batch.header;
    if header.timestamp_type() == TimestampType::LogAppendTime
        && header.records_count > 0
        && is_wanted(header.max_timestamp, header.base_offset)
    {
        // All records have this time. Unless compaction removed records, the first one has the base offset.
        if header.records_count - 1 == header.last_offset_delta {
            return Ok(Some(TimestampOffset { timestamp: header.max_timestamp, offset: header.base_offset }));
        }
    }
    let codec = header.codec().ok_or(CodecError::Unknown(header.codec_id()))?;
    let mut decoding = Decoding::new(codec, batch.stored_records(), limit)?;
    while decoding.step()? {
        pause().await;
    }
    for (number, record) in (1..).zip(Records::new(header, decoding.decoded())) {
        let record = record?;
        if number % STEP_RECORDS == 0 {
            pause().await;
        }
        if is_wanted(record.timestamp, record.offset) {
            return Ok(Some(TimestampOffset { timestamp: record.timestamp, offset: record.offset }));
        }
    }
    Ok(None)
}
