//! One partition as its leader keeps it: the log, its producers, and the watermarks that limit its readers.
//!
//! Owns: the log, the state of its producers and transactions, the high watermark, and the fetches that wait for it to
//! move. In: batches as clients sent them. They are validated ([`crate::record::validate`], [`producers`]), get
//! offsets, and go into the log and the shard's journal in one step without an await. Out: ranges of the log below the
//! high watermark.
//!
//! Invariants:
//! - PART-1: log start <= last stable offset <= high watermark <= log end.
//! - PART-2: the high watermark never goes back within a leader epoch, and advances only to offsets that the journal
//!   has made durable (with replicas: that the in-sync replicas have made durable).
//! - PART-3: a batch has the same position in the order of the journal and in the order of the log.
//! - PART-4: the last stable offset passes a transaction only when its marker is committed: a reader of committed
//!   records never sees records whose outcome a crash can still change.
//! - PROD-1: a producer's batches are of its current epoch, at most [`producers::BATCHES_KEPT`], in the order of their
//!   offsets.
//! - PROD-2: at most the configured number of producers is kept, besides those with an open transaction. The longest
//!   silent ones are evicted first. An evicted producer may continue at any sequence: it only loses deduplication once.
//!
//! It does not know connections, API versions or other shards. Runs on the thread of the shard that owns the partition.

pub mod append;
mod epochs;
pub mod fetch;
pub mod flushed;
mod invariants;
pub(crate) mod list_offsets;
pub mod producers;
pub mod purgatory;
#[cfg(test)]
mod tests;
mod traffic;
pub mod transactions;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use crate::config::TopicConfig;
use crate::disk::checkpoint::{PartitionState, ProducedBatch, ProducerState};
use crate::disk::journal::Sequence;
use crate::log::Log;
use crate::model::{LeaderEpoch, Offset, TopicName, TopicPartition};
pub use traffic::{Traffic, TrafficCounter};

use producers::{AppendedBatch, PRODUCERS_MAX_DEFAULT, ProducerSnapshot, Producers};
use purgatory::Isolation;

/// The most bytes that a batch may decompress to. A larger batch is rejected: its records cannot be checked in bounded
/// memory.
pub const DECODED_BYTES_MAX: usize = 128 << 20;
/// The most decoded bytes of a batch without reserved memory: some ms of work.
pub const DECODED_BYTES_AT_ONCE: usize = 2 << 20;
/// The memory that is reserved for decoding a large batch at first. Only a larger batch needs all memory for decoding.
pub const DECODED_BYTES_LARGE: usize = 16 << 20;

/// The part of the metadata image that a partition uses: its leader epoch, and the number of its replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leadership {
    /// Increases with each change of the leader (META-4).
    pub leader_epoch: LeaderEpoch,
    /// The number of replicas.
    pub replicas: usize,
    /// The number of in-sync replicas, which `min.insync.replicas` is compared with.
    pub in_sync_replicas: usize,
}

/// A transaction whose marker is in the log and not committed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct EndingTransaction {
    first_offset: Offset,
    marker_offset: Offset,
}

/// One partition on its leader. All fields change on the shard's thread only.
pub struct Partition {
    /// The topic's id and the partition's index.
    pub id: TopicPartition,
    /// The topic's name.
    pub name: TopicName,
    log: Log,
    leader_epoch: Cell<LeaderEpoch>,
    replicas: Cell<usize>,
    in_sync_replicas: Cell<usize>,
    high_watermark: Cell<Offset>,
    producers: RefCell<Producers>,
    /// In the order of their markers.
    ending: RefCell<VecDeque<EndingTransaction>>,
    verifications: RefCell<Vec<Weak<transactions::Verification>>>,
    waiters: purgatory::Waiters,
    flushing: flushed::Flushing,
    deleted: Cell<bool>,
    /// Its traffic since the shard opened it.
    pub traffic: TrafficCounter,
}

impl Partition {
    /// A partition whose whole log is committed, as after recovery.
    pub fn new(
        id: TopicPartition,
        name: TopicName,
        log: Log,
        leadership: Leadership,
        producers: Producers,
    ) -> Rc<Partition> {
        assert!(leadership.in_sync_replicas <= leadership.replicas, "in-sync replicas are replicas");
        let high_watermark = Cell::new(log.end_offset());
        let partition = Rc::new(Partition {
            id,
            name,
            log,
            leader_epoch: Cell::new(leadership.leader_epoch),
            replicas: Cell::new(leadership.replicas),
            in_sync_replicas: Cell::new(leadership.in_sync_replicas),
            high_watermark,
            producers: RefCell::new(producers),
            ending: RefCell::new(VecDeque::new()),
            verifications: RefCell::new(Vec::new()),
            waiters: purgatory::Waiters::default(),
            flushing: flushed::Flushing::default(),
            deleted: Cell::new(false),
            traffic: TrafficCounter::default(),
        });
        partition.check();
        partition
    }

    /// The epoch of the current leadership.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    /// Records below this offset are committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// The first offset that readers may read.
    pub fn log_start(&self) -> Offset {
        self.log.start_offset()
    }

    /// The offset that the next record gets.
    pub fn log_end(&self) -> Offset {
        self.log.end_offset()
    }

    /// The number of replicas, and of those in sync.
    pub fn replicas(&self) -> (usize, usize) {
        (self.replicas.get(), self.in_sync_replicas.get())
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// The state of every producer that the partition remembers, by producer id.
    pub fn producer_snapshots(&self) -> Vec<ProducerSnapshot> {
        self.producers.borrow().snapshot()
    }

    /// The first offset that a read_committed reader may not read (statement 75): the start of the earliest transaction
    /// that is open or whose marker is not committed. Without one it is the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        let open = self.producers.borrow().first_open_offset();
        let ending = self.ending.borrow().iter().map(|transaction| transaction.first_offset).min();
        let unstable = open.into_iter().chain(ending).min().unwrap_or(Offset::MAX);
        // Retention may have removed the transaction's first records.
        unstable.max(self.log.start_offset()).min(self.high_watermark.get())
    }

    /// The first offset that a reader with this isolation level may not read.
    pub fn read_limit(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// The topic's settings.
    pub fn config(&self) -> Rc<TopicConfig> {
        self.log.config()
    }

    /// Whether the topic was deleted.
    pub fn is_deleted(&self) -> bool {
        self.deleted.get()
    }

    /// Takes the leadership and the settings of a new metadata image.
    pub fn update(&self, leadership: Leadership, config: Rc<TopicConfig>) {
        assert!(leadership.leader_epoch >= self.leader_epoch.get(), "a leader epoch never goes back");
        assert!(leadership.in_sync_replicas <= leadership.replicas, "in-sync replicas are replicas");
        self.leader_epoch.set(leadership.leader_epoch);
        self.replicas.set(leadership.replicas);
        self.in_sync_replicas.set(leadership.in_sync_replicas);
        self.log.set_config(config);
    }

    /// Commits every record below `offset`, which the journal has made durable, and wakes the readers that wait for
    /// one.
    pub fn advance_high_watermark(&self, offset: Offset) {
        assert!(!self.deleted.get(), "a deleted partition commits nothing");
        assert!(offset <= self.log.end_offset(), "PART-1: high watermark {offset} <= log end");
        // One flush can make several groups durable, and the last of them may be reported first.
        if offset <= self.high_watermark.get() {
            return;
        }
        let stable = self.last_stable_offset();
        let before = self.high_watermark.replace(offset);
        assert!(before < offset, "PART-2: the high watermark moves from {before} to {offset}");
        self.ending.borrow_mut().retain(|transaction| transaction.marker_offset >= offset);
        self.check();
        self.waiters.wake(Isolation::ReadUncommitted);
        if self.last_stable_offset() > stable {
            self.waiters.wake(Isolation::ReadCommitted);
        }
    }

    /// Moves the log start to `offset`, which is durable in the journal or covered by the topic's retention. Wakes all
    /// waiting readers: their fetch offset may be out of range now, and the last stable offset may have advanced.
    pub fn advance_log_start(&self, offset: Offset) {
        assert!(offset <= self.high_watermark.get(), "PART-1: log start {offset} <= high watermark");
        let before = self.log.start_offset();
        self.log.advance_log_start(offset);
        assert!(self.log.start_offset() >= before, "the log start never goes back");
        self.check();
        self.waiters.wake(Isolation::ReadUncommitted);
        self.waiters.wake(Isolation::ReadCommitted);
    }

    /// Takes the partition out of use, and wakes all waiting readers.
    pub fn delete(&self) {
        let was_deleted = self.deleted.replace(true);
        assert!(!was_deleted, "a partition is deleted once");
        self.log.discard();
        self.waiters.wake(Isolation::ReadUncommitted);
        self.waiters.wake(Isolation::ReadCommitted);
    }

    /// The partition's state for a checkpoint. It is true on disk once the log is flushed.
    fn capture(&self, needed_from: Sequence) -> PartitionState {
        let active = self.log.active();
        let times = active.times();
        let (index_entries, time_entries) = active.index_entries();
        PartitionState {
            topic: self.id.topic.0,
            partition: self.id.partition,
            needed_from: needed_from.0,
            log_start_offset: self.log.decided_log_start(),
            sealed: self.log.sealed(),
            cleaned_to: self.log.cleaned_to(),
            segment_base_offset: active.base_offset,
            segment_position: active.size(),
            end_offset: self.log.end_offset(),
            segment_max_timestamp: times.max_timestamp,
            segment_offset_of_max_timestamp: times.offset_of_max,
            segment_first_append_ms: times.first_append_ms,
            segment_index_entries: index_entries as u32,
            segment_time_entries: time_entries as u32,
            segment_aborted: active.aborted_count() as u32,
            leader_epochs: self.log.epochs().entries().to_vec(),
            producers: store_producers(&self.producers.borrow()),
        }
    }
}

/// The producers in the form of a checkpoint.
fn store_producers(producers: &Producers) -> Vec<ProducerState> {
    let stored = producers.snapshot().into_iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        epoch: producer.epoch,
        last_activity_ms: producer.last_activity_ms,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_first_offset: producer.current_txn_first_offset.unwrap_or(Offset::UNKNOWN),
        batches: producer
            .batches
            .into_iter()
            .map(|AppendedBatch { first_sequence, last_sequence, base_offset, timestamp }| ProducedBatch {
                first_sequence,
                last_sequence,
                base_offset,
                timestamp,
            })
            .collect(),
    });
    stored.collect()
}

/// Restores the producers that a checkpoint holds.
pub fn restore_producers(stored: &[ProducerState]) -> Producers {
    let snapshot: Vec<ProducerSnapshot> = stored
        .iter()
        .map(|producer| ProducerSnapshot {
            producer_id: producer.producer_id,
            epoch: producer.epoch,
            last_activity_ms: producer.last_activity_ms,
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            current_txn_first_offset: Some(producer.current_txn_first_offset).filter(|offset| *offset >= Offset::ZERO),
            batches: producer
                .batches
                .iter()
                .map(|&ProducedBatch { first_sequence, last_sequence, base_offset, timestamp }| AppendedBatch {
                    first_sequence,
                    last_sequence,
                    base_offset,
                    timestamp,
                })
                .collect(),
        })
        .collect();
    Producers::restore(&snapshot, PRODUCERS_MAX_DEFAULT)
}
