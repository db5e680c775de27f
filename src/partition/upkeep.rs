//! The operations of the shard's background tasks on a partition's log: retention, compaction, release of memory.
//! [`flushed`](super::flushed) has those of checkpoints.
//!
//! The log stays private to the partition: each task calls the verbs below, and none reaches the log itself.

use super::Partition;
use crate::disk::StorageError;
use crate::log::clean::filter::{LastRecord, LastRecords};
use crate::log::clean::plan::Plan;
use crate::log::clean::{CleaningResources, Round};
use crate::model::Offset;
use crate::runtime::Permit;

/// Retention and removal.
impl Partition {
    /// Whether the log holds bytes that are not flushed to its segment files.
    pub fn is_dirty(&self) -> bool {
        self.log.is_dirty()
    }

    /// The new log start that retention asks for, if it asks for one.
    pub async fn retention_point(&self, now_ms: i64) -> Result<Option<Offset>, StorageError> {
        self.log.retention_point(now_ms, self.high_watermark()).await
    }

    /// Lets the next checkpoint name `start` as the log's start, although the journal does not hold it.
    pub fn decide_log_start(&self, start: Offset) {
        self.log.decide_log_start(start);
    }

    /// Removes the segments that lie below the log's start as a whole, and returns their number.
    pub async fn drop_segments(&self) -> Result<usize, StorageError> {
        self.log.drop_segments().await
    }

    /// Whether a segment below the log's start waits for a checkpoint before it can be removed.
    pub fn waits_for_checkpoint(&self) -> bool {
        self.log.waits_for_checkpoint()
    }

    /// The number of segments.
    pub fn segment_count(&self) -> usize {
        self.log.segment_count()
    }

    /// Closes idle files and evicts indexes of sealed segments; the next read opens and loads them again.
    pub fn evict_idle(&self) {
        self.log.evict_idle();
    }

    /// Forgets producers that have been silent for `expiration_ms`.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64) {
        self.producers.borrow_mut().expire(now_ms, expiration_ms);
    }

    /// Waits until no task uses the directory of the deleted partition's log. The directory may be renamed while the
    /// permit is held.
    pub async fn release_directory(&self) -> Permit {
        self.log.release_directory().await
    }

    /// Frees the log's memory. Nothing is written to the log any more.
    pub fn discard(&self) {
        self.log.discard();
    }
}

/// Compaction.
impl Partition {
    /// Whether the topic's `cleanup.policy` contains `compact`.
    pub fn is_compacted(&self) -> bool {
        self.config().cleanup_policy.compacts
    }

    /// Whether compaction needs a checkpoint before it can continue.
    pub fn cleaning_needs_checkpoint(&self) -> bool {
        self.log.cleaning_needs_checkpoint()
    }

    /// Selects the segments to compact. Kafka compacts neither records of an open transaction nor uncommitted ones.
    pub async fn plan_cleaning(&self, now_ms: i64) -> Result<Option<Plan>, StorageError> {
        let stable = self.last_stable_offset().min(self.high_watermark());
        self.log.plan_cleaning(stable, now_ms).await
    }

    /// Reads the keys of the segments that were never compacted.
    pub async fn begin_cleaning(
        &self,
        plan: &Plan,
        now_ms: i64,
        resources: &CleaningResources,
    ) -> Result<Round, StorageError> {
        self.log.begin_cleaning(plan, self.last_records(), now_ms, resources).await
    }

    /// Rewrites the next segments. True: these were the round's last.
    pub async fn clean(&self, round: &mut Round, resources: &CleaningResources) -> Result<bool, StorageError> {
        self.log.clean(round, resources).await
    }

    /// Whether compacted segments wait for a checkpoint.
    pub fn is_swap_pending(&self) -> bool {
        self.log.is_swap_pending()
    }

    /// Whether the round's compacted segments were removed to free space.
    pub fn swap_was_withdrawn(&self) -> bool {
        self.log.swap_was_withdrawn()
    }

    /// Everything below this offset is compacted.
    pub fn cleaned_to(&self) -> Offset {
        self.log.cleaned_to()
    }

    /// Stops compacting the log until a restart.
    pub fn disable_cleaning(&self) {
        self.log.disable_cleaning();
    }

    /// Each producer's last batch, which compaction keeps.
    fn last_records(&self) -> LastRecords {
        let producers = self.producers.borrow().snapshot();
        let last = producers.into_iter().map(|producer| {
            let offset = producer.batches.last().map(|batch| batch.last_offset());
            (producer.producer_id, LastRecord { offset, epoch: producer.epoch })
        });
        last.collect()
    }
}
