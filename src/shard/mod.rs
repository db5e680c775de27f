//! One core: its partitions, their journal and memory, and the tasks that run them.
//!
//! Owns: the partitions that this shard serves, its journal, its memory, and its checkpoint. In: batches and reads for
//! these partitions, and new metadata images. Out: results, and [`Shard::committed`], the journal group up to which
//! appends may be acknowledged.
//!
//! Its tasks: the journal's writer; `commit` (advances high watermarks); `write_back` (writes chunks to segment files);
//! `checkpoint` (flushes segments and frees journal space); `housekeeping` (retention, expiry); `cleaner` (compaction);
//! `retries` (creates partitions whose creation failed).
//!
//! Invariants:
//! - SHARD-1: `committed` advances to a group only after the high watermark of every partition in that group.
//! - SHARD-2: exactly one shard of a node serves a partition, and `metadata::owner` derives it.
//! - SHARD-3: after a failed segment write or flush the shard stores no checkpoint, so the journal keeps the batches
//!   that the segments may lack.
//!
//! It does not know connections, API messages or other shards. Runs on the shard's thread.

pub mod checkpoint;
mod clean;
mod commit;
mod config;
pub(crate) mod directories;
mod housekeeping;
mod image;
mod log_start;
pub mod memory;
pub mod offline;
pub mod open;
mod partition_metadata;
mod produce;
#[cfg(test)]
mod tests;
mod write_back;

pub use crate::partition::DECODED_BYTES_MAX;
pub use config::LiveConfig;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Routing;
use crate::disk::StorageError;
use crate::disk::journal::{Journal, Sequence};
use crate::disk::layout::DataDirectory;
use crate::log::tail::Memory;
use crate::metadata::Image;
use crate::model::{NodeId, Offset, ShardId, TopicPartition};
use crate::partition::{Partition, Traffic};
use crate::record::codec::Decompressor;
use crate::runtime::clock::Mono;
use crate::runtime::sync::{Milestones, Notify};
use crate::runtime::{self, Class, Permits};
use offline::OfflinePartitions;

/// How often a task that waits for the journal or for memory checks again, for example for a failure.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

/// One shard of a node.
pub struct Shard {
    /// The position of the shard on its node, from 0.
    pub id: ShardId,
    /// `node.id`
    pub node: NodeId,
    /// The number of shards of the node.
    pub shards: u16,
    /// The routing of the node.
    pub routing: Routing,
    config: LiveConfig,
    /// The settings have changed.
    config_changed: Notify,
    /// The paths of the data directory.
    pub data: DataDirectory,
    layout: u64,
    /// The `Rc` keeps requests from touching the reference count of the `Arc`, which all cores share.
    #[expect(clippy::redundant_allocation, reason = "the inner counter is shared between cores, the outer is not")]
    image: RefCell<Rc<Arc<Image>>>,
    partitions: RefCell<HashMap<TopicPartition, Rc<Partition>>>,
    offline: RefCell<OfflinePartitions>,
    /// The traffic of the partitions that were deleted since the start.
    deleted_traffic: Cell<Traffic>,
    /// The set of offline partitions has changed.
    pub offline_moved: Notify,
    /// Held while partitions are created or deleted.
    applying: Permits,
    journal: Rc<Journal>,
    /// The budget for log data: chunks of tails, and pages read back.
    pub memory: Rc<Memory>,
    /// For batches that are validated at once.
    decompressor: RefCell<Decompressor>,
    /// Permits for the decoded bytes of large batches, one of the largest at a time.
    pub decoding: Permits,
    /// Appends that are not committed yet, in the journal's order: group, partition, and the offset after the batch.
    uncommitted: RefCell<VecDeque<(Sequence, Rc<Partition>, Offset)>>,
    committed: Cell<Sequence>,
    committed_at: Cell<Mono>,
    committed_moved: Milestones,
    disk_full: Cell<bool>,
    failed: RefCell<Option<Arc<StorageError>>>,
    checkpoint_wanted: Notify,
    checkpointing: Cell<bool>,
    /// Counts the checkpoints.
    pub checkpoints: checkpoint::CheckpointCounters,
    checkpoint_done: Notify,
    stopping: Rc<Cell<bool>>,
    cleaning: Cell<bool>,
    cleaning_done: Notify,
}

impl Shard {
    /// The latest metadata image of this shard. A request uses one image throughout.
    pub fn image(&self) -> Rc<Arc<Image>> {
        self.image.borrow().clone()
    }

    /// The partition, if this shard serves it.
    pub fn partition(&self, id: TopicPartition) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// The journal of this shard.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The number of partitions that this shard serves.
    pub fn partitions_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// The traffic of the partitions that were deleted since the start.
    pub fn deleted_traffic(&self) -> Traffic {
        self.deleted_traffic.get()
    }

    /// The partitions that this shard serves.
    pub fn all_partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The failure after which this shard takes no more writes.
    pub fn failure(&self) -> Option<Arc<StorageError>> {
        self.failed.borrow().clone().or_else(|| self.journal.failure())
    }

    /// The journal group that the latest append went into.
    pub fn last_appended(&self) -> Sequence {
        self.journal.last_appended()
    }

    /// The directory of a partition's segments.
    fn directory_of(&self, partition: &Partition) -> PathBuf {
        self.data.partition_directory(partition.name.as_str(), partition.id.partition)
    }

    /// Whether an append might have to wait.
    pub fn is_pressed(&self) -> bool {
        self.memory.is_exhausted() || self.disk_full.get() || self.journal.is_waiting()
    }

    /// Whether the last write found the disk full.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full.get()
    }

    /// SHARD-3: stops all writes of the shard, because its storage can no longer be trusted. Reads continue. Returns
    /// the first failure.
    fn fail(&self, failure: StorageError) -> Arc<StorageError> {
        assert!(!failure.is_disk_full(), "a full disk does not end a shard's writes");
        tracing::error!("shard {} takes no more writes: {failure}", self.id.0);
        let first = self.failed.borrow_mut().get_or_insert_with(|| Arc::new(failure)).clone();
        self.memory.freed.notify_all();
        self.committed_moved.reach(u64::MAX);
        first
    }

    /// Starts the shard's tasks.
    pub fn start(self: &Rc<Self>) {
        assert!(!self.stopping.get(), "a stopped shard does not start again");
        runtime::spawn(Class::Foreground, "journal", self.journal.clone().run());
        runtime::spawn(Class::Foreground, "commit", self.clone().run_commit());
        self.start_write_back();
        runtime::spawn(Class::Background, "checkpoint", self.clone().run_checkpoint());
        runtime::spawn(Class::Background, "housekeeping", self.clone().run_housekeeping());
        runtime::spawn(Class::Background, "retries", self.clone().run_retries());
        if self.config().log_cleaner_enable {
            runtime::spawn(Class::Background, "cleaner", self.clone().run_cleaner());
        }
    }

    /// Stops gracefully: commits every append, flushes the segments, cuts them to their lengths, and stores a clean
    /// checkpoint.
    pub async fn stop(self: &Rc<Self>) -> Result<(), Arc<StorageError>> {
        let was_stopping = self.stopping.replace(true);
        assert!(!was_stopping, "a shard stops once");
        // Wait for the commit and not for the journal alone: a failed shard frees no journal space, so a full journal
        // would never write the last group (SHARD-3).
        let last = self.journal.last_appended();
        loop {
            if let Ok(committed) = runtime::timeout(RECHECK_INTERVAL, self.wait_committed(last)).await {
                break committed?;
            }
            // The journal may wait for space, and the checkpoint task has ended.
            self.checkpoint(false).await?;
        }
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        while self.cleaning.get() {
            self.cleaning_done.notified().await;
        }
        self.checkpoint(true).await?;
        self.journal.close();
        Ok(())
    }

    /// After [`stop`](Self::stop), when other shards of this process take over: frees the shard's memory, although its
    /// tasks may still sleep.
    pub fn retire(&self) {
        for partition in self.partitions.borrow_mut().drain().map(|(_, partition)| partition) {
            partition.discard();
        }
        // Wake the tasks, so that they end: they hold the journal's files.
        self.memory.work.notify_all();
        self.checkpoint_wanted.notify_all();
    }
}
