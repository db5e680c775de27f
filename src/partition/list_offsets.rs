//! Finds offsets by position and by timestamp, for Kafka's ListOffsets.

use super::{DECODED_BYTES_AT_ONCE, DECODED_BYTES_LARGE, DECODED_BYTES_MAX, Partition};
use crate::log::read::{ReadError, TimedOffset};
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::partition::purgatory::Isolation;
use crate::record::codec::CodecError;
use crate::record::timestamps::{SearchError, TimestampOffset, offset_for_timestamp, offset_of_max_timestamp};
use crate::record::walk::{Batch, batches};
use crate::runtime::TimeSlice;
use crate::runtime::sync::Permits;

/// The offset that a client looks up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetQuery {
    /// The log's start.
    Earliest,
    /// The first offset that the reader may not read yet.
    Latest,
    /// The first record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record with this timestamp or a later one.
    AtTimestamp(i64),
    /// An offset in tiered storage, which this broker does not have.
    Tiered,
}

/// The offset that a query found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    /// The offset; -1 if no record matches.
    pub offset: Offset,
    /// The timestamp of the record at `offset`; -1 for a query by position.
    pub timestamp: i64,
    /// -1: no epoch is known for the offset.
    pub leader_epoch: LeaderEpoch,
}

impl ListedOffset {
    /// No record matches.
    pub const NONE: ListedOffset =
        ListedOffset { offset: Offset::UNKNOWN, timestamp: -1, leader_epoch: LeaderEpoch::UNKNOWN };
}

impl Partition {
    /// Finds the offset that `query` asks for, below the limit of `isolation`. `decoding`: permits for the decoded
    /// bytes of large batches, at least [`DECODED_BYTES_MAX`] in total.
    pub async fn list_offset(
        &self,
        query: OffsetQuery,
        isolation: Isolation,
        decoding: &Permits,
    ) -> Result<ListedOffset, ErrorCode> {
        let limit = self.read_limit(isolation);
        let found = match query {
            // KIP-320: the epoch in which a consumer at the end continues.
            OffsetQuery::Latest => {
                return Ok(ListedOffset { offset: limit, timestamp: -1, leader_epoch: self.newest_epoch() });
            }
            OffsetQuery::Earliest => {
                let offset = self.log.start_offset();
                let leader_epoch = self.log.epochs().epoch_at(offset).unwrap_or_else(|| self.newest_epoch());
                return Ok(ListedOffset { offset, timestamp: -1, leader_epoch });
            }
            OffsetQuery::Tiered => Ok(None),
            OffsetQuery::MaxTimestamp => self.offset_of_max_timestamp(limit, decoding).await,
            OffsetQuery::AtTimestamp(timestamp) => self.offset_at_timestamp(timestamp, limit, decoding).await,
        };
        match found {
            Ok(None) => Ok(ListedOffset::NONE),
            Ok(Some(TimedOffset { offset, timestamp })) => {
                let leader_epoch = self.log.epochs().epoch_at(offset).unwrap_or(LeaderEpoch::UNKNOWN);
                Ok(ListedOffset { offset, timestamp, leader_epoch })
            }
            Err(ReadError::OutOfRange { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(ReadError::Storage(error)) => {
                tracing::error!("{}-{}: ListOffsets: {error}", self.name, self.id.partition);
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    async fn offset_of_max_timestamp(
        &self,
        limit: Offset,
        decoding: &Permits,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let Some(bytes) = self.log.batch_of_max_timestamp(limit).await? else { return Ok(None) };
        let slice = TimeSlice::begin();
        let find = async |batch: &Batch<'_>, decoded_max: usize| {
            offset_of_max_timestamp(batch, decoded_max, async || slice.pause().await).await
        };
        Ok(search(&bytes, decoding, find).await)
    }

    async fn offset_at_timestamp(
        &self,
        timestamp: i64,
        limit: Offset,
        decoding: &Permits,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let (start, slice) = (self.log.start_offset(), TimeSlice::begin());
        let find = async |batch: &Batch<'_>, decoded_max: usize| {
            offset_for_timestamp(batch, timestamp, start, decoded_max, async || slice.pause().await).await
        };
        self.log.offset_for_timestamp(timestamp, limit, async |bytes| search(bytes, decoding, &find).await).await
    }

    fn newest_epoch(&self) -> LeaderEpoch {
        self.log.epochs().entries().last().map_or(self.leader_epoch(), |(epoch, _)| *epoch)
    }
}

/// Searches one batch. The memory for the decoded records of a large batch is reserved first; a batch that needs more
/// begins again with more.
async fn search(
    bytes: &[u8],
    decoding: &Permits,
    find: impl AsyncFn(&Batch<'_>, usize) -> Result<Option<TimestampOffset>, SearchError>,
) -> Option<TimedOffset> {
    let batch = batches(bytes).next()?.ok()?;
    for decoded_max in [DECODED_BYTES_AT_ONCE, DECODED_BYTES_LARGE, DECODED_BYTES_MAX] {
        let _decoded = match decoded_max {
            DECODED_BYTES_AT_ONCE => None,
            large => Some(decoding.acquire(large as u64).await),
        };
        match find(&batch, decoded_max).await {
            Ok(found) => return found.map(|found| TimedOffset { offset: found.offset, timestamp: found.timestamp }),
            Err(SearchError::Codec(CodecError::TooLarge { .. })) => {}
            Err(_) => return None,
        }
    }
    None
}
