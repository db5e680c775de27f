//! One core: its partitions, their journal and memory, and the tasks that keep them going.
//!
//! In come, from the layers above, batches to append and reads to do for partitions that this shard owns, and new
//! metadata images. Out go results, and the number [`Shard::committed`] up to which the journal's groups are
//! acknowledgeable. It does not know connections or API messages, and nothing of other shards.
//!
//! Its tasks: the journal's writer; `commit` (durable groups move high watermarks); `write_back` (chunks to segment
//! files); `checkpoint` (flushes segments and frees journal space); `housekeeping` (retention, expiry); `cleaner` (compaction).
//!
//! Invariants:
//! - SHARD-1: `committed` moves to a group only after every partition's high watermark in it has moved.
//! - SHARD-2: a partition is served by exactly one shard of a node: the one that `metadata::owner` names.
//! - SHARD-3: after a failed segment write or flush no checkpoint is stored any more, so the journal keeps what the
//!   segments may lack.

mod checkpoint;
mod clean;
mod commit;
mod housekeeping;
mod image;
mod log_start;
pub mod open;
mod partition_metadata;
mod produce;
mod write_back;

pub use crate::partition::DECODED_BYTES_MAX;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::BrokerConfig;
use crate::disk::journal::{Journal, Sequence};
use crate::disk::layout::DataDirectory;
use crate::log::tail::Memory;
use crate::metadata::Image;
use crate::model::{NodeId, Offset, ShardId, TopicPartition};
use crate::partition::Partition;
use crate::record::codec::Decompressor;
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};

/// How often who waits for the journal looks whether it waits in vain.
const PATIENCE: Duration = Duration::from_millis(100);

pub struct Shard {
    pub id: ShardId,
    pub node: NodeId,
    /// How many shards the node has.
    pub shards: u16,
    pub config: Arc<BrokerConfig>,
    pub data: DataDirectory,
    layout: u64,
    /// Behind an `Rc` too, so that a request's look at it touches no counter that other cores touch.
    #[expect(clippy::redundant_allocation, reason = "the inner counter is shared between cores, the outer is not")]
    image: RefCell<Rc<Arc<Image>>>,
    partitions: RefCell<HashMap<TopicPartition, Rc<Partition>>>,
    journal: Rc<Journal>,
    pub memory: Rc<Memory>,
    decompressor: RefCell<Decompressor>,
    /// Appended and not committed yet, in the journal's order.
    uncommitted: RefCell<VecDeque<(Sequence, Rc<Partition>, Offset)>>,
    committed: Cell<Sequence>,
    committed_moved: Notify,
    disk_full: Cell<bool>,
    failed: RefCell<Option<String>>,
    checkpoint_wanted: Notify,
    checkpointing: Cell<bool>,
    checkpoint_done: Notify,
    stopping: Rc<Cell<bool>>,
    cleaning: Cell<bool>,
    cleaning_done: Notify,
}

impl Shard {
    /// The metadata as this shard sees it. Swapped whole; hold on to it for one request.
    pub fn image(&self) -> Rc<Arc<Image>> {
        self.image.borrow().clone()
    }

    pub fn partition(&self, id: TopicPartition) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).cloned()
    }

    pub fn partitions_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// Those that are served here.
    pub fn all_partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// Why this shard takes no more writes, if so.
    pub fn failure(&self) -> Option<String> {
        self.failed.borrow().clone().or_else(|| self.journal.failure().map(|failure| failure.to_string()))
    }

    /// The journal group that the latest append went into.
    pub fn last_appended(&self) -> Sequence {
        self.journal.last_appended()
    }

    /// Where a partition's segments are.
    fn directory_of(&self, partition: &Partition) -> PathBuf {
        self.data.partition_directory(partition.name.as_str(), partition.id.partition)
    }

    /// Whether an append might have to wait.
    pub fn is_pressed(&self) -> bool {
        self.memory.is_short() || self.disk_full.get() || self.journal.is_waiting()
    }

    pub fn is_disk_full(&self) -> bool {
        self.disk_full.get()
    }

    /// SHARD-3: storage can no longer be trusted. Reads go on.
    fn fail(&self, failure: &crate::disk::StorageError) {
        tracing::error!("shard {} takes no more writes: {failure}", self.id.0);
        self.failed.borrow_mut().get_or_insert_with(|| failure.to_string());
        self.memory.freed.notify_all();
        self.committed_moved.notify_all();
    }

    /// Starts the shard's tasks.
    pub fn start(self: &Rc<Self>) {
        runtime::spawn(Class::Foreground, "journal", self.journal.clone().run());
        runtime::spawn(Class::Foreground, "commit", self.clone().run_commit());
        self.start_write_back();
        runtime::spawn(Class::Background, "checkpoint", self.clone().run_checkpoint());
        runtime::spawn(Class::Background, "housekeeping", self.clone().run_housekeeping());
        if self.config.log_cleaner_enable {
            runtime::spawn(Class::Background, "cleaner", self.clone().run_cleaner());
        }
    }

    /// A graceful stop: everything journaled, flushed to segments, segments cut, and a clean checkpoint stored.
    pub async fn stop(self: &Rc<Self>) -> Result<(), String> {
        self.stopping.set(true);
        // Not the journal's own word: when it is full, and the shard has failed, what is appended stays unwritten (SHARD-3).
        let last = self.journal.last_appended();
        loop {
            if let Ok(committed) = runtime::timeout(PATIENCE, self.wait_committed(last)).await {
                break committed?;
            }
            // It may wait for space, and the task that makes some is not there any more.
            self.checkpoint(false).await.map_err(|failure| failure.to_string())?;
        }
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        while self.cleaning.get() {
            self.cleaning_done.notified().await;
        }
        self.checkpoint(true).await.map_err(|failure| failure.to_string())?;
        self.journal.close();
        Ok(())
    }
    /// After [`stop`](Self::stop), for a shard that others take over in this process: its memory is given back, though
    /// its tasks may still sleep.
    pub fn retire(&self) {
        for partition in self.partitions.borrow_mut().drain().map(|(_, partition)| partition) {
            partition.discard();
        }
        // They hold the journal's files.
        self.memory.work.notify_all();
        self.checkpoint_wanted.notify_all();
    }
}
