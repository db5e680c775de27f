//! A log's start moves: into the journal first, so that no restart goes back behind what a reader has seen.
//!
//! Retention moves it and clients do (DeleteRecords), in the same way. Segments below it go in the background.

use std::rc::Rc;

use super::{PATIENCE, Shard};
use crate::disk::StorageError;
use crate::disk::journal::Sequence;
use crate::model::{ErrorCode, Offset, TopicPartition};
use crate::partition::Partition;
use crate::runtime::{self, Class};

/// A start on its way into the journal.
struct Begun {
    partition: Rc<Partition>,
    start: Offset,
    sequence: Sequence,
}

impl Shard {
    /// Has each of these partitions' logs begin at the offset beside it, or where nothing is committed yet; answers where it
    /// begins then. One group makes all of them durable.
    pub async fn delete_records(
        self: &Rc<Self>,
        asked: &[(TopicPartition, Option<Offset>)],
    ) -> Vec<Result<Offset, ErrorCode>> {
        let mut begun = Vec::with_capacity(asked.len());
        for (id, offset) in asked {
            begun.push(match self.deletion(*id, *offset) {
                Ok((partition, start)) => self.begin_at(partition, start).await,
                Err(error) => Err(error),
            });
        }
        let mut deleted = Vec::with_capacity(asked.len());
        for begun in begun {
            deleted.push(match begun {
                Ok(begun) => self.finish(begun).await,
                Err(error) => Err(error),
            });
        }
        let moved = asked.iter().zip(&deleted).filter(|(_, start)| start.is_ok());
        self.free_segments(moved.map(|((id, _), _)| *id).collect());
        deleted
    }

    /// The partition, and from where on a client wants to keep its records; or why it may not be.
    fn deletion(&self, id: TopicPartition, offset: Option<Offset>) -> Result<(Rc<Partition>, Offset), ErrorCode> {
        let partition = self.partition(id).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if !partition.config().is_deletable() {
            return Err(ErrorCode::PolicyViolation);
        }
        let high_watermark = partition.high_watermark();
        let start = offset.unwrap_or(high_watermark);
        if !(0..=high_watermark).contains(&start) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok((partition, start))
    }

    /// Has retention take what it may of a partition's log.
    pub(super) async fn retain(&self, partition: &Rc<Partition>, now_ms: i64) -> Result<(), StorageError> {
        let point = partition.retention_point(now_ms).await?;
        let Some(point) = point else { return Ok(()) };
        // On a full disk the journal may be full too, and these segments are what frees both. That they may be missing, the
        // topic's setting says as well.
        if self.disk_full.get() || !self.is_durable_from(partition, point).await {
            if self.failure().is_some() || partition.is_deleted() {
                return Ok(());
            }
            partition.decide_log_start(point);
        }
        partition.advance_log_start(point);
        tracing::info!("{}-{}: retention has the log begin at {point}", partition.name, partition.id.partition);
        Ok(())
    }

    /// Whether the start is durable in the end; false when that may never be.
    async fn is_durable_from(&self, partition: &Rc<Partition>, start: Offset) -> bool {
        let Ok(begun) = self.begin_at(partition.clone(), start).await else { return false };
        while !self.disk_full.get() {
            if let Ok(outcome) = runtime::timeout(PATIENCE, self.wait_committed(begun.sequence)).await {
                return outcome.is_ok();
            }
        }
        false
    }

    /// Puts the start into the journal. Waits when that has no room.
    async fn begin_at(&self, partition: Rc<Partition>, start: Offset) -> Result<Begun, ErrorCode> {
        while !self.journal.has_room(0) {
            if self.failure().is_some() || self.disk_full.get() {
                return Err(ErrorCode::KafkaStorageError);
            }
            let _ = runtime::timeout(PATIENCE, self.journal.reserve(0)).await;
        }
        if self.failure().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if partition.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if start <= partition.log_start() {
            return Ok(Begun { partition, start, sequence: 0 });
        }
        let sequence = partition.append_log_start(&self.journal, start);
        Ok(Begun { partition, start, sequence })
    }

    /// Waits until it is durable; answers where the log begins.
    async fn finish(&self, begun: Begun) -> Result<Offset, ErrorCode> {
        let Begun { partition, start, sequence } = begun;
        if let Err(failure) = self.wait_committed(sequence).await {
            tracing::error!("{}-{}: its start cannot move: {failure}", partition.name, partition.id.partition);
            return Err(ErrorCode::KafkaStorageError);
        }
        if sequence > 0 {
            partition.advance_log_start(start);
        }
        Ok(partition.log_start())
    }

    /// Frees what lies below these partitions' starts, in the background.
    fn free_segments(self: &Rc<Self>, ids: Vec<TopicPartition>) {
        let shard = self.clone();
        runtime::spawn(Class::Background, "free segments", async move {
            let mut waits = false;
            for partition in ids.into_iter().filter_map(|id| shard.partition(id)) {
                shard.drop_segments(&partition).await;
                waits |= partition.waits_for_checkpoint();
            }
            if waits {
                shard.request_checkpoint();
            }
        });
    }

    /// How many segments went.
    pub(super) async fn drop_segments(&self, partition: &Partition) -> usize {
        let (name, index) = (&partition.name, partition.id.partition);
        match partition.drop_segments().await {
            Ok(0) => 0,
            Ok(count) => {
                tracing::info!("{name}-{index}: {count} segments go, the log begins at {}", partition.log_start());
                count
            }
            Err(error) => {
                tracing::warn!("{name}-{index}: segments below its start stay: {error}");
                0
            }
        }
    }
}
