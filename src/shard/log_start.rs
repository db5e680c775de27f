//! Moves the start of logs. The journal gets the new start first, so that a restart never goes back behind a start that
//! readers have seen.
//!
//! Retention and clients (DeleteRecords) move it in the same way. The segments below it are removed in the background.

use std::rc::Rc;

use super::{RECHECK_INTERVAL, Shard};
use crate::disk::StorageError;
use crate::disk::journal::Sequence;
use crate::model::{ErrorCode, Offset, TopicPartition};
use crate::partition::Partition;
use crate::runtime::{self, Class};

/// A log start that is in the journal and not committed yet.
struct PendingLogStart {
    partition: Rc<Partition>,
    start: Offset,
    /// 0 if the log starts there already.
    sequence: Sequence,
}

impl Shard {
    /// Moves the log start of each partition to its offset, or to the high watermark if that is `None`. Returns the log
    /// starts. One journal group makes all of them durable.
    pub async fn delete_records(
        self: &Rc<Self>,
        deletions: &[(TopicPartition, Option<Offset>)],
    ) -> Vec<Result<Offset, ErrorCode>> {
        let mut pending = Vec::with_capacity(deletions.len());
        for (id, offset) in deletions {
            pending.push(match self.check_deletion(*id, *offset) {
                Ok((partition, start)) => self.journal_log_start(partition, start).await,
                Err(error) => Err(error),
            });
        }
        let mut deleted = Vec::with_capacity(deletions.len());
        for start in pending {
            deleted.push(match start {
                Ok(start) => self.finish_log_start(start).await,
                Err(error) => Err(error),
            });
        }
        assert_eq!(deleted.len(), deletions.len(), "every deletion has a result");
        let moved = deletions.iter().zip(&deleted).filter(|(_, start)| start.is_ok());
        self.free_segments(moved.map(|((id, _), _)| *id).collect());
        deleted
    }

    /// The partition and its new log start, or the reason why the client must not move it.
    fn check_deletion(&self, id: TopicPartition, offset: Option<Offset>) -> Result<(Rc<Partition>, Offset), ErrorCode> {
        let partition = self.partition(id).ok_or_else(|| self.error_without(id))?;
        if !partition.config().is_deletable() {
            return Err(ErrorCode::PolicyViolation);
        }
        let high_watermark = partition.high_watermark();
        let start = offset.unwrap_or(high_watermark);
        if !(Offset::ZERO..=high_watermark).contains(&start) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok((partition, start))
    }

    /// Applies retention to a partition's log.
    pub(super) async fn retain(&self, partition: &Rc<Partition>, now_ms: i64) -> Result<(), StorageError> {
        let point = partition.retention_point(now_ms).await?;
        let Some(point) = point else { return Ok(()) };
        // On a full disk the journal may be full too, and only these segments can free both. A restart accepts that
        // they are missing, because the topic has retention.
        if self.disk_full.get() || !self.is_start_committed(partition, point).await {
            if self.failure().is_some() || partition.is_deleted() {
                return Ok(());
            }
            partition.decide_log_start(point);
        }
        partition.advance_log_start(point);
        tracing::info!("{}-{}: retention moved the log start to {point}", partition.name, partition.id.partition);
        Ok(())
    }

    /// Journals the start and waits for it. False: it may never be committed.
    async fn is_start_committed(&self, partition: &Rc<Partition>, start: Offset) -> bool {
        let Ok(pending) = self.journal_log_start(partition.clone(), start).await else { return false };
        while !self.disk_full.get() {
            if let Ok(outcome) = runtime::timeout(RECHECK_INTERVAL, self.wait_committed(pending.sequence)).await {
                return outcome.is_ok();
            }
        }
        false
    }

    /// Appends the start to the journal. Waits while the journal has no room.
    async fn journal_log_start(&self, partition: Rc<Partition>, start: Offset) -> Result<PendingLogStart, ErrorCode> {
        while !self.journal.has_room(0) {
            if self.failure().is_some() || self.disk_full.get() {
                return Err(ErrorCode::KafkaStorageError);
            }
            let _ = runtime::timeout(RECHECK_INTERVAL, self.journal.reserve(0)).await;
        }
        if self.failure().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if partition.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if start <= partition.log_start() {
            return Ok(PendingLogStart { partition, start, sequence: Sequence::ZERO });
        }
        let sequence = partition.append_log_start(&self.journal, start);
        assert!(sequence > self.committed(), "a new log start is not committed yet");
        Ok(PendingLogStart { partition, start, sequence })
    }

    /// Waits until the start is committed, and applies it. Returns the log start.
    async fn finish_log_start(&self, pending: PendingLogStart) -> Result<Offset, ErrorCode> {
        let PendingLogStart { partition, start, sequence } = pending;
        if let Err(failure) = self.wait_committed(sequence).await {
            tracing::error!("{}-{}: cannot move the log start: {failure}", partition.name, partition.id.partition);
            return Err(ErrorCode::KafkaStorageError);
        }
        if sequence > Sequence::ZERO {
            partition.advance_log_start(start);
        }
        Ok(partition.log_start())
    }

    /// Removes the segments below these partitions' log starts, in the background.
    fn free_segments(self: &Rc<Self>, ids: Vec<TopicPartition>) {
        let shard = self.clone();
        runtime::spawn(Class::Background, "free segments", async move {
            let mut needs_checkpoint = false;
            for partition in ids.into_iter().filter_map(|id| shard.partition(id)) {
                shard.drop_segments(&partition).await;
                needs_checkpoint |= partition.waits_for_checkpoint();
            }
            if needs_checkpoint {
                shard.request_checkpoint();
            }
        });
    }

    /// Removes the segments below a partition's log start. Returns their number.
    pub(super) async fn drop_segments(&self, partition: &Partition) -> usize {
        let (name, index) = (&partition.name, partition.id.partition);
        match partition.drop_segments().await {
            Ok(0) => 0,
            Ok(count) => {
                tracing::info!(
                    "{name}-{index}: removed {count} segments below the log start {}",
                    partition.log_start()
                );
                count
            }
            Err(error) => {
                tracing::warn!("{name}-{index}: cannot remove the segments below the log start: {error}");
                0
            }
        }
    }
}
