//! One partition as its leader keeps it: the log, who may append to it, and up to where others may read.
//!
//! In come batches as clients sent them; they are judged ([`crate::record::validate`], [`producers`]), given
//! offsets, and put into the log and the shard's journal in one step without an await in between, so both have them
//! in the same order. Out go stretches of the log below the high watermark. It does not know connections, API
//! versions (but for what the record rules ask) or other shards.
//!
//! Invariants:
//! - PART-1: log start <= last stable offset <= high watermark <= log end.
//! - PART-2: the high watermark never goes back within a leader epoch, and moves only to what the journal has made
//!   durable (on one node; with replicas, to what the in-sync replicas have made durable).
//! - PART-3: a batch is in the journal's order and the log's order at the same place.
//! - PART-4: the last stable offset passes a transaction only when its marker is as durable as PART-2 asks: no reader of
//!   committed records sees what a crash may leave open.

pub mod append;
pub mod epochs;
pub mod fetch;
pub mod list_offsets;
pub mod producers;
pub mod purgatory;
pub mod transactions;
pub mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use crate::config::TopicConfig;
use crate::disk::checkpoint::{PartitionState, ProducedBatch, ProducerState};
use crate::log::Log;
use crate::model::{LeaderEpoch, Offset, TopicName, TopicPartition};
use producers::{AppendedBatch, PRODUCERS_MAX_DEFAULT, ProducerSnapshot, Producers};
use purgatory::Isolation;

/// The most bytes that a batch may decompress to. A larger batch is rejected: its records cannot be checked in bounded memory.
pub const DECODED_BYTES_MAX: usize = 128 << 20;

/// What the metadata image says of a partition: its leadership, and how many replicas it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leadership {
    pub leader_epoch: LeaderEpoch,
    pub replicas: usize,
    pub in_sync_replicas: usize,
}

pub struct Partition {
    pub id: TopicPartition,
    pub name: TopicName,
    log: Log,
    leader_epoch: Cell<LeaderEpoch>,
    replicas: Cell<usize>,
    in_sync_replicas: Cell<usize>,
    high_watermark: Cell<Offset>,
    producers: RefCell<Producers>,
    /// Transactions whose markers are not durable yet: where each began, and its marker.
    ending: RefCell<VecDeque<(Offset, Offset)>>,
    verifying: RefCell<Vec<Weak<transactions::Verification>>>,
    waiters: purgatory::Waiters,
    deleted: Cell<bool>,
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
        let high_watermark = Cell::new(log.end_offset());
        Rc::new(Partition {
            id,
            name,
            log,
            leader_epoch: Cell::new(leadership.leader_epoch),
            replicas: Cell::new(leadership.replicas),
            in_sync_replicas: Cell::new(leadership.in_sync_replicas),
            high_watermark,
            producers: RefCell::new(producers),
            ending: RefCell::new(VecDeque::new()),
            verifying: RefCell::new(Vec::new()),
            waiters: purgatory::Waiters::default(),
            deleted: Cell::new(false),
        })
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    pub fn log_start(&self) -> Offset {
        self.log.start_offset()
    }

    /// The offset that the next record gets.
    pub fn log_end(&self) -> Offset {
        self.log.end_offset()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// The state of every producer that the partition remembers, by producer id.
    pub fn producer_snapshots(&self) -> Vec<ProducerSnapshot> {
        self.producers.borrow().snapshot()
    }

    /// The first offset that a read_committed reader may not see yet: where the earliest transaction began that is open or
    /// whose marker may still be lost, else the high watermark (statement 75).
    pub fn last_stable_offset(&self) -> Offset {
        let open = self.producers.borrow().first_open_offset();
        let ending = self.ending.borrow().iter().map(|(first, _)| *first).min();
        let unstable = open.into_iter().chain(ending).min().unwrap_or(Offset::MAX);
        // Retention may have taken where it began.
        unstable.max(self.log.start_offset()).min(self.high_watermark.get())
    }

    /// Up to where such a reader may see.
    pub fn read_limit(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// The topic's settings, shared with the log.
    pub fn config(&self) -> Rc<TopicConfig> {
        self.log.config()
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.get()
    }

    /// Takes the leadership and the settings of a new metadata image.
    pub fn update(&self, leadership: Leadership, config: Rc<TopicConfig>) {
        assert!(leadership.leader_epoch >= self.leader_epoch.get(), "a leader epoch never goes back");
        self.leader_epoch.set(leadership.leader_epoch);
        self.replicas.set(leadership.replicas);
        self.in_sync_replicas.set(leadership.in_sync_replicas);
        self.log.set_config(config);
    }

    /// Everything below `offset` is durable.
    pub fn advance_high_watermark(&self, offset: Offset) {
        // PART-2: several groups may report in one go, the later ones first.
        if offset > self.high_watermark.get() {
            assert!(offset <= self.log.end_offset(), "PART-1: high watermark <= log end");
            let stable = self.last_stable_offset();
            self.high_watermark.set(offset);
            // PART-4
            self.ending.borrow_mut().retain(|(_, marker)| *marker >= offset);
            self.waiters.fire(Isolation::ReadUncommitted);
            if self.last_stable_offset() > stable {
                self.waiters.fire(Isolation::ReadCommitted);
            }
        }
    }

    /// The log begins at `offset`, and that is durable: who waits to read below it is told, and who reads what is committed
    /// may see further, if a transaction began there.
    pub fn advance_log_start(&self, offset: Offset) {
        assert!(offset <= self.high_watermark.get(), "PART-1: log start <= high watermark");
        self.log.advance_log_start(offset);
        self.waiters.fire(Isolation::ReadUncommitted);
        self.waiters.fire(Isolation::ReadCommitted);
    }

    /// Takes the partition out of use; whoever waits for it is told.
    pub fn delete(&self) {
        self.deleted.set(true);
        self.log.discard();
        self.waiters.fire(Isolation::ReadUncommitted);
        self.waiters.fire(Isolation::ReadCommitted);
    }

    /// What a checkpoint says of the partition as it is now. True on disk once the log is flushed.
    fn capture(&self) -> PartitionState {
        let active = self.log.active();
        let times = active.times();
        PartitionState {
            topic: self.id.topic.0,
            partition: self.id.partition,
            log_start_offset: self.log.decided_log_start(),
            sealed: self.log.sealed(),
            cleaned_to: self.log.cleaned_to(),
            segment_base_offset: active.base_offset,
            segment_position: active.size(),
            end_offset: self.log.end_offset(),
            segment_max_timestamp: times.max_timestamp,
            segment_offset_of_max_timestamp: times.offset_of_max,
            segment_first_append_ms: times.first_append_ms,
            segment_aborted: active.aborted_count() as u32,
            leader_epochs: self.log.epochs().entries().to_vec(),
            producers: store_producers(&self.producers.borrow()),
        }
    }
}

fn store_producers(producers: &Producers) -> Vec<ProducerState> {
    let stored = producers.snapshot().into_iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        epoch: producer.epoch,
        last_activity_ms: producer.last_activity_ms,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_first_offset: producer.current_txn_first_offset.unwrap_or(-1),
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

/// The producers that a checkpoint names.
pub fn restore_producers(stored: &[ProducerState]) -> Producers {
    let snapshot: Vec<ProducerSnapshot> = stored
        .iter()
        .map(|producer| ProducerSnapshot {
            producer_id: producer.producer_id,
            epoch: producer.epoch,
            last_activity_ms: producer.last_activity_ms,
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            current_txn_first_offset: Some(producer.current_txn_first_offset).filter(|offset| *offset >= 0),
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
