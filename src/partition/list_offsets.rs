//! Finds offsets by position and by timestamp, for Kafka's ListOffsets.

use super::{DECODED_BYTES_MAX, Partition};
use crate::log::read::{ReadError, TimedOffset};
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::partition::purgatory::Isolation;
use crate::record::codec::Decompressor;
use crate::record::timestamps::{offset_for_timestamp, offset_of_max_timestamp};
use crate::record::walk::batches;

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
    /// Finds the offset that `query` asks for, below the limit of `isolation`.
    pub async fn list_offset(&self, query: OffsetQuery, isolation: Isolation) -> Result<ListedOffset, ErrorCode> {
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
            OffsetQuery::MaxTimestamp => self.offset_of_max_timestamp(limit).await,
            OffsetQuery::AtTimestamp(timestamp) => self.offset_at_timestamp(timestamp, limit).await,
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

    async fn offset_of_max_timestamp(&self, limit: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let batch = self.log.batch_of_max_timestamp(limit).await?;
        Ok(batch.and_then(|bytes| {
            let batch = batches(&bytes).next()?.ok()?;
            let found = offset_of_max_timestamp(&batch, &mut Decompressor::new(DECODED_BYTES_MAX)).ok().flatten()?;
            Some(TimedOffset { offset: found.offset, timestamp: found.timestamp })
        }))
    }

    async fn offset_at_timestamp(&self, timestamp: i64, limit: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
        let start = self.log.start_offset();
        let in_batch = |bytes: &[u8]| {
            let batch = batches(bytes).next()?.ok()?;
            let found = offset_for_timestamp(&batch, timestamp, start, &mut decompressor).ok().flatten()?;
            Some(TimedOffset { offset: found.offset, timestamp: found.timestamp })
        };
        self.log.offset_for_timestamp(timestamp, limit, in_batch).await
    }

    fn newest_epoch(&self) -> LeaderEpoch {
        self.log.epochs().entries().last().map_or(self.leader_epoch(), |(epoch, _)| *epoch)
    }
}
