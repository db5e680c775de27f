//! Reads for clients: below the high watermark (or the last stable offset), and only in the client's leader epoch.

use std::ops::Range;

use super::Partition;
use super::purgatory::Isolation;
use crate::disk::StorageError;
use crate::log::aborted::AbortedTransaction;
use crate::log::read::{Extent, Read, ReadError, ReadRequest};
use crate::model::{ErrorCode, LeaderEpoch, Offset, Position};

/// One partition of a Fetch request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionFetch {
    /// The offset of the first wanted record. The response begins with the batch that contains it.
    pub fetch_offset: Offset,
    /// The most record bytes, in whole batches.
    pub bytes_max: usize,
    /// The client sent a negative limit. As in Kafka, a read that finds records then fails with UNKNOWN_SERVER_ERROR.
    pub has_negative_limit: bool,
    /// The client's leader epoch; -1: not checked (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the reader's last record; -1: unknown (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// The read limit: the high watermark, or the last stable offset.
    pub isolation: Isolation,
    /// The response is still empty: one batch may exceed `bytes_max` (KIP-74).
    pub at_least_one: bool,
    /// False for clients that cannot decode zstd (KIP-110): they get an error in place of a zstd batch. Kafka checks
    /// only the topic's `compression.type`, and so returns batches that the producer itself compressed.
    pub knows_zstd: bool,
}

/// The result of a [`PartitionFetch`].
pub struct Fetched {
    /// [`ErrorCode::None`] if the fetch succeeded.
    pub error: ErrorCode,
    /// Consumers may read below this offset.
    pub high_watermark: Offset,
    /// Read-committed consumers may read below this offset.
    pub last_stable_offset: Offset,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// KIP-595: the reader's log diverges. Its last epoch ended at this offset, before its fetch offset.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The ranges of the batches; empty after an error.
    pub read: Read,
    /// For read_committed: the aborted transactions whose records are in `read`, which the reader drops (statement 76).
    pub aborted: Vec<AbortedTransaction>,
}

impl Fetched {
    /// A partition that cannot be read.
    pub fn refused(error: ErrorCode) -> Fetched {
        Fetched {
            error,
            high_watermark: Offset::UNKNOWN,
            last_stable_offset: Offset::UNKNOWN,
            log_start_offset: Offset::UNKNOWN,
            diverging: None,
            read: Read::default(),
            aborted: Vec::new(),
        }
    }
}

impl Partition {
    /// KIP-320: a client with an older epoch must refresh its metadata; a client with a newer epoch is ahead of this
    /// broker.
    pub fn check_epoch(&self, claimed: LeaderEpoch) -> Result<(), ErrorCode> {
        match claimed {
            _ if claimed < LeaderEpoch::ZERO => Ok(()),
            _ if claimed < self.leader_epoch() => Err(ErrorCode::FencedLeaderEpoch),
            _ if claimed > self.leader_epoch() => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// Finds the records from the fetch offset on.
    pub async fn fetch(&self, request: &PartitionFetch) -> Fetched {
        if self.is_deleted() {
            return Fetched::refused(ErrorCode::UnknownTopicOrPartition);
        }
        if let Err(error) = self.check_epoch(request.current_leader_epoch) {
            return Fetched::refused(error);
        }
        let limit = self.read_limit(request.isolation);
        let mut fetched = Fetched {
            error: ErrorCode::None,
            high_watermark: self.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: self.log.start_offset(),
            diverging: None,
            read: Read { next_offset: request.fetch_offset, ..Read::default() },
            aborted: Vec::new(),
        };
        if request.last_fetched_epoch >= LeaderEpoch::ZERO {
            match self.log.epochs().end_offset_for(request.last_fetched_epoch, self.log.end_offset()) {
                // KIP-595: the reader has records that this log never had, or has different ones at their offsets.
                Some((epoch, end)) if epoch < request.last_fetched_epoch || end < request.fetch_offset => {
                    fetched.diverging = Some((epoch, end));
                    return fetched;
                }
                Some(_) => {}
                None => {
                    fetched.error = ErrorCode::OffsetOutOfRange;
                    return fetched;
                }
            }
        }
        if request.has_negative_limit && (self.log.start_offset()..limit).contains(&request.fetch_offset) {
            return Fetched::refused(ErrorCode::UnknownServerError);
        }
        // As in Kafka, an offset is out of range only above the log end: from the high watermark to there, nothing is
        // readable yet.
        let read_request = ReadRequest {
            from: request.fetch_offset,
            bytes_max: request.bytes_max,
            limit,
            at_least_one: request.at_least_one,
            knows_zstd: request.knows_zstd,
        };
        match self.log.read(&read_request).await {
            Ok(read) if read.begins_with_zstd => return Fetched::refused(ErrorCode::UnsupportedCompressionType),
            Ok(read) => {
                if request.isolation == Isolation::ReadCommitted && read.next_offset > request.fetch_offset {
                    match self.log.aborted_between(request.fetch_offset, read.next_offset).await {
                        Ok(aborted) => fetched.aborted = aborted,
                        Err(error) => return self.read_failed(fetched, request.fetch_offset, &error),
                    }
                }
                assert!(read.next_offset >= request.fetch_offset, "a read never goes back");
                assert!(read.bytes == 0 || read.next_offset > request.fetch_offset, "a read of records advances");
                fetched.read = read;
            }
            Err(ReadError::OutOfRange { .. }) => fetched.error = ErrorCode::OffsetOutOfRange,
            Err(ReadError::Storage(error)) => return self.read_failed(fetched, request.fetch_offset, &error),
        }
        fetched
    }

    /// The bytes of a segment that a fetch found earlier; `None` when the segment is gone.
    pub fn extent(&self, segment: u64, positions: Range<Position>) -> Option<Extent> {
        self.log.extent(segment, positions)
    }

    /// The aborted transactions with records in `[from, to)`.
    pub async fn aborted_between(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, StorageError> {
        self.log.aborted_between(from, to).await
    }

    /// The result of a fetch from `from` whose read failed.
    fn read_failed(&self, fetched: Fetched, from: Offset, error: &StorageError) -> Fetched {
        // Retention removed the segment during the read.
        if from < self.log.start_offset() {
            return Fetched { error: ErrorCode::OffsetOutOfRange, ..fetched };
        }
        if self.is_deleted() {
            return Fetched::refused(ErrorCode::UnknownTopicOrPartition);
        }
        tracing::error!("{}-{}: {error}", self.name, self.id.partition);
        Fetched::refused(ErrorCode::KafkaStorageError)
    }
}
