//! The state of one partition's idempotent and transactional producers (KIP-98, KIP-360, KIP-890): enough to append
//! each batch once, and to know which transactions are open.
//!
//! A leader calls [`Producers::check`] before it appends a batch, and [`Producers::record_batch`] as soon as the batch
//! has its offset. No await lies between the two, so the next request in flight is checked against this one. For
//! transaction markers it calls [`Producers::check_marker`] and [`Producers::record_marker`]. A follower, and recovery,
//! call only [`Producers::replay`]. Pure: the caller passes the time in, and nothing is read or written. So the same
//! calls in the same order give the same state.
//!
//! The invariants PROD-1 (order of a producer's batches) and PROD-2 (bound on the producers) are defined in [`super`].

use crate::log::aborted::{AbortedTransaction, Ended, OpenTransactions};
use crate::model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use crate::record::BatchHeader;
use crate::record::control::Marker;
use crate::record::header::advance_sequence;
use std::collections::BTreeMap;

/// The most batches kept per producer: as many as a client may have in flight.
pub const BATCHES_KEPT: usize = 5;
/// The most producers that a partition keeps by default.
pub const PRODUCERS_MAX_DEFAULT: usize = 10_000;

/// The leader's decision about a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProducerVerdict {
    /// Append it.
    Fresh,
    /// The log already holds it. Acknowledge it with the first append's offset and timestamp, once that append is as
    /// durable as the request's acks require.
    Duplicate {
        /// The offset of the first append's first record.
        base_offset: Offset,
        /// The offset of the first append's last record.
        last_offset: Offset,
        /// The first append's `max_timestamp` as stored, in ms since 1970.
        timestamp: i64,
    },
}

/// Why a batch or a marker must not be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerRefusal {
    /// A newer producer with the same id has written here: this one is fenced.
    #[error("Epoch of producer {producer_id} is {got}, which is smaller than the last seen epoch {current}")]
    OldEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        got: ProducerEpoch,
        /// The producer's epoch in this partition.
        current: ProducerEpoch,
    },
    /// A batch is missing, or it is an old duplicate beyond the batches kept.
    #[error("Out of order sequence number for producer {producer_id}: {got} (incoming), {last} (current end)")]
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first sequence.
        got: i32,
        /// The last sequence in the log.
        last: i32,
    },
    /// A new epoch starts its sequences at 0.
    #[error(
        "Invalid sequence number for new epoch of producer {producer_id}: {epoch} (request epoch), {got} (sequence), \
         {current} (current epoch)"
    )]
    NewEpochNotAtZero {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        epoch: ProducerEpoch,
        /// The batch's first sequence.
        got: i32,
        /// The producer's epoch in this partition.
        current: ProducerEpoch,
    },
    /// The first batch under `transaction.version=2` starts at sequence 0 (KIP-890).
    #[error("Invalid sequence number for producer {producer_id}: {got}. Expected sequence 0 from an unknown producer")]
    UnknownNotAtZero {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first sequence.
        got: i32,
    },
    /// A plain batch between the batches of a transaction.
    #[error("Expected a transactional write from producer {producer_id}, which has a transaction open")]
    OutsideTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// The log holds no open transaction of the producer, and the coordinator has not confirmed one.
    #[error("Record was not part of an ongoing transaction of producer {producer_id}")]
    NoTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// A marker of an earlier epoch of the producer.
    #[error("Epoch of the marker for producer {producer_id} is {got}, and the last seen epoch is {current}")]
    OldMarker {
        /// The producer.
        producer_id: ProducerId,
        /// The marker's producer epoch.
        got: ProducerEpoch,
        /// The producer's epoch in this partition.
        current: ProducerEpoch,
    },
    /// A coordinator of an earlier epoch wrote the marker: it has lost its leadership.
    #[error("Invalid coordinator epoch for producer {producer_id}: {got} (zombie), {current} (current)")]
    OldCoordinator {
        /// The producer.
        producer_id: ProducerId,
        /// The marker's coordinator epoch.
        got: i32,
        /// The epoch of the last marker's coordinator.
        current: i32,
    },
}

/// The proof, when a transactional batch is appended, that the partition is in its producer's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Only the log: it must already hold a batch of the transaction.
    ByLog,
    /// The transaction coordinator has confirmed it, and no marker came since. `is_v2`: under `transaction.version=2`,
    /// where a producer that is unknown here must begin at sequence 0.
    Verified {
        /// The producer follows `transaction.version=2`.
        is_v2: bool,
    },
}

impl ProducerRefusal {
    /// Kafka's code for the refusal.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            // Since Kafka 2.7 not PRODUCER_FENCED: on this code a client aborts the transaction and continues.
            ProducerRefusal::OldEpoch { .. } | ProducerRefusal::OldMarker { .. } => ErrorCode::InvalidProducerEpoch,
            // Also for a duplicate older than the batches kept: Kafka no longer sends DUPLICATE_SEQUENCE_NUMBER.
            ProducerRefusal::OutOfOrder { .. }
            | ProducerRefusal::NewEpochNotAtZero { .. }
            | ProducerRefusal::UnknownNotAtZero { .. } => ErrorCode::OutOfOrderSequenceNumber,
            ProducerRefusal::OutsideTransaction { .. } | ProducerRefusal::NoTransaction { .. } => {
                ErrorCode::InvalidTxnState
            }
            ProducerRefusal::OldCoordinator { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

/// The producers of one partition. It owns no memory while it is empty.
#[derive(Clone, Debug)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Box<Producer>>,
    producers_max: usize,
    /// The open transactions. Each belongs to a producer in `producers`.
    open: OpenTransactions,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    epoch: ProducerEpoch,
    last_activity_ms: i64,
    last_timestamp: i64,
    coordinator_epoch: i32,
    /// The last batches, oldest first. Only the first `batches_count` are valid.
    batches: [AppendedBatch; BATCHES_KEPT],
    batches_count: u8,
}

/// One batch of a producer in the log. A coordinator's batch has no sequence numbers, so it is kept with last sequence
/// -1: compaction keeps the last batch of each producer and needs its offset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AppendedBatch {
    /// The sequence of its first record; after 2^31-1 follows 0.
    pub first_sequence: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The batch's `max_timestamp` as stored.
    pub timestamp: i64,
}

impl AppendedBatch {
    /// The offset of the batch's last record.
    pub fn last_offset(&self) -> Offset {
        // The distance between the sequences, which may wrap.
        self.base_offset + i64::from(self.last_sequence.wrapping_sub(self.first_sequence) & i32::MAX)
    }
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            last_activity_ms: 0,
            last_timestamp: -1,
            coordinator_epoch: -1,
            batches: Default::default(),
            batches_count: 0,
        }
    }

    fn batches(&self) -> &[AppendedBatch] {
        &self.batches[..usize::from(self.batches_count)]
    }

    fn push(&mut self, batch: AppendedBatch) {
        let is_ascending = self.batches().last().is_none_or(|last| last.base_offset < batch.base_offset);
        assert!(is_ascending, "PROD-1: a producer's batches are in the order of their offsets");
        if usize::from(self.batches_count) == BATCHES_KEPT {
            self.batches.rotate_left(1);
        } else {
            self.batches_count += 1;
        }
        assert!(usize::from(self.batches_count) <= BATCHES_KEPT, "PROD-1: at most {BATCHES_KEPT} batches are kept");
        self.batches[usize::from(self.batches_count) - 1] = batch;
    }

    /// PROD-1: a new epoch drops the batches of the old one.
    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches_count = 0;
        }
    }
}

impl Default for Producers {
    fn default() -> Producers {
        Producers::new(PRODUCERS_MAX_DEFAULT)
    }
}

impl Producers {
    /// Without producers, and with room for `producers_max`.
    pub fn new(producers_max: usize) -> Producers {
        assert!(producers_max > 0, "PROD-2: the bound leaves room for the producer that appends");
        Producers { producers: BTreeMap::new(), producers_max, open: OpenTransactions::default() }
    }

    /// The highest producer id below `limit`.
    pub fn highest_id(&self, limit: ProducerId) -> Option<ProducerId> {
        self.producers.keys().copied().filter(|id| *id < limit).max()
    }

    /// The number of producers.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is kept.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Decides whether a client's batch with this header may be appended.
    pub fn check(&self, header: &BatchHeader, membership: Membership) -> Result<ProducerVerdict, ProducerRefusal> {
        if !header.has_producer() {
            return Ok(ProducerVerdict::Fresh);
        }
        let producer_id = header.producer_id;
        let got = header.base_sequence;
        let known = self.producers.get(&producer_id).filter(|producer| producer.epoch <= header.producer_epoch);
        if let Some(producer) = known.filter(|producer| producer.epoch == header.producer_epoch && got >= 0) {
            let (first, last) = (got, header.last_sequence());
            let is_same = |batch: &&AppendedBatch| batch.first_sequence == first && batch.last_sequence == last;
            if let Some(seen) = producer.batches().iter().find(is_same) {
                let AppendedBatch { base_offset, timestamp, .. } = *seen;
                return Ok(ProducerVerdict::Duplicate { base_offset, last_offset: seen.last_offset(), timestamp });
            }
        }
        // KIP-890: no transactional record enters a log unless its coordinator knows that the partition is in the
        // transaction.
        let is_outside = header.is_transactional() && !self.has_open(producer_id, header.producer_epoch);
        if is_outside && membership == Membership::ByLog {
            return Err(ProducerRefusal::NoTransaction { producer_id });
        }
        let Some(producer) = self.producers.get(&producer_id) else {
            // The producer's state may have expired, so any sequence may be its next.
            if got != 0 && membership == (Membership::Verified { is_v2: true }) {
                return Err(ProducerRefusal::UnknownNotAtZero { producer_id, got });
            }
            return Ok(ProducerVerdict::Fresh);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ProducerRefusal::OldEpoch { producer_id, got: header.producer_epoch, current: producer.epoch });
        }
        if got < 0 {
            // A coordinator's own batch: a coordinator never repeats one, and gives it no sequence.
        } else if header.producer_epoch > producer.epoch {
            if got != 0 {
                let (epoch, current) = (header.producer_epoch, producer.epoch);
                return Err(ProducerRefusal::NewEpochNotAtZero { producer_id, epoch, got, current });
            }
        } else {
            // After only a marker, a producer has an epoch and no batches. Its first sequence is then 0.
            let last = producer.batches().last().map_or(-1, |batch| batch.last_sequence);
            let expected = if last < 0 { 0 } else { advance_sequence(last, 1) };
            if got != expected {
                return Err(ProducerRefusal::OutOfOrder { producer_id, got, last });
            }
        }
        if self.open.of(producer_id).is_some() && !header.is_transactional() {
            return Err(ProducerRefusal::OutsideTransaction { producer_id });
        }
        Ok(ProducerVerdict::Fresh)
    }

    /// Whether the producer has, at exactly this epoch, an open transaction in the partition.
    pub fn has_open(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.open.of(producer_id).is_some()
            && self.producers.get(&producer_id).is_some_and(|producer| producer.epoch == epoch)
    }

    /// The first offset of the earliest open transaction.
    pub fn first_open_offset(&self) -> Option<Offset> {
        self.open.first_offset()
    }

    /// Decides whether a coordinator's marker may be appended. `is_v2`: the transaction follows
    /// `transaction.version=2`, where the coordinator raises the epoch with each transaction's end. A late marker is
    /// then known by its epoch.
    pub fn check_marker(
        &self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        marker: &Marker,
        is_v2: bool,
    ) -> Result<(), ProducerRefusal> {
        let Some(producer) = self.producers.get(&producer_id) else { return Ok(()) };
        // KAFKA-19999: a marker at the current epoch, without an open transaction, is the last marker sent again. It is
        // written again. KAFKA-20090: coordinators never assign the highest epoch, but a transaction of that epoch may
        // end.
        let is_last = epoch == ProducerEpoch::MAX;
        let is_late = epoch < producer.epoch
            || (is_v2 && epoch == producer.epoch && self.open.of(producer_id).is_some() && !is_last);
        if is_late {
            return Err(ProducerRefusal::OldMarker { producer_id, got: epoch, current: producer.epoch });
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            let (got, current) = (marker.coordinator_epoch, producer.coordinator_epoch);
            return Err(ProducerRefusal::OldCoordinator { producer_id, got, current });
        }
        Ok(())
    }

    /// Records a batch that was appended at `base_offset`.
    pub fn record_batch(&mut self, header: &BatchHeader, base_offset: Offset, now_ms: i64) {
        if !header.has_producer() || header.is_control() {
            return;
        }
        let producer = self.enter(header, now_ms);
        let is_numbered = header.base_sequence >= 0;
        producer.push(AppendedBatch {
            first_sequence: if is_numbered { header.base_sequence } else { -1 - header.last_offset_delta },
            last_sequence: header.last_sequence(),
            base_offset,
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() {
            self.open.note(header.producer_id, base_offset);
        }
        self.keep_bound(header.producer_id);
    }

    /// Records a marker that was appended at `offset`. Returns the transaction that it ended, if one was open.
    pub fn record_marker(
        &mut self,
        header: &BatchHeader,
        marker: &Marker,
        offset: Offset,
        now_ms: i64,
    ) -> Option<Ended> {
        self.enter(header, now_ms).coordinator_epoch = marker.coordinator_epoch;
        let ended = self.open.end(header.producer_id, marker.ending, offset);
        assert!(self.open.of(header.producer_id).is_none(), "a marker leaves its producer no open transaction");
        self.keep_bound(header.producer_id);
        ended
    }

    /// Records a batch that is already in a log. `marker`: the batch's content, if it is a marker. Returns the new
    /// entry for the index of aborted transactions, if the batch ends one.
    pub fn replay(&mut self, header: &BatchHeader, marker: Option<Marker>, now_ms: i64) -> Option<AbortedTransaction> {
        match marker {
            Some(marker) if header.has_producer() => {
                self.record_marker(header, &marker, header.base_offset, now_ms).and_then(|ended| ended.aborted)
            }
            _ => {
                self.record_batch(header, header.base_offset, now_ms);
                None
            }
        }
    }

    /// The batch's producer, moved to the batch's epoch.
    fn enter(&mut self, header: &BatchHeader, now_ms: i64) -> &mut Producer {
        let new = || Box::new(Producer::new(header.producer_epoch));
        let producer = self.producers.entry(header.producer_id).or_insert_with(new);
        producer.enter_epoch(header.producer_epoch);
        producer.last_activity_ms = producer.last_activity_ms.max(now_ms);
        producer.last_timestamp = header.max_timestamp;
        producer
    }

    /// PROD-2.
    fn keep_bound(&mut self, keep: ProducerId) {
        if self.producers.len() > self.producers_max {
            self.evict_longest_silent(keep);
            assert!(self.producers.contains_key(&keep), "PROD-2: the producer that appends stays");
        }
    }

    /// Evicts the producers that have been silent for `expiration_ms` (`producer.id.expiration.ms`) and have no open
    /// transaction. Returns their number.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|id, producer| {
            self.open.of(*id).is_some() || now_ms.saturating_sub(producer.last_activity_ms) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Evicts an eighth of the bound, so that one pass over all producers serves many appends.
    fn evict_longest_silent(&mut self, keep: ProducerId) {
        let mut silent: Vec<(i64, ProducerId)> = self
            .producers
            .iter()
            .filter(|(id, _)| **id != keep && self.open.of(**id).is_none())
            .map(|(id, producer)| (producer.last_activity_ms, *id))
            .collect();
        silent.sort_unstable();
        let surplus = self.producers.len() - self.producers_max;
        for (_, id) in silent.into_iter().take(surplus + self.producers_max / 8) {
            self.producers.remove(&id);
        }
        let is_bounded = self.producers.len() <= self.producers_max
            || self.producers.keys().all(|id| *id == keep || self.open.of(*id).is_some());
        assert!(is_bounded, "PROD-2: above the bound are only producers with an open transaction");
    }

    /// The state of all producers, by producer id, for a checkpoint.
    pub fn snapshot(&self) -> Vec<ProducerSnapshot> {
        let mut snapshot = Vec::with_capacity(self.producers.len());
        for (id, producer) in &self.producers {
            snapshot.push(ProducerSnapshot {
                producer_id: *id,
                epoch: producer.epoch,
                last_activity_ms: producer.last_activity_ms,
                last_timestamp: producer.last_timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_first_offset: self.open.of(*id),
                batches: producer.batches().to_vec(),
            });
        }
        snapshot
    }

    /// Restores the state from its snapshot. It keeps at most the last [`BATCHES_KEPT`] batches.
    pub fn restore(snapshot: &[ProducerSnapshot], producers_max: usize) -> Producers {
        let mut restored = Producers::new(producers_max);
        for saved in snapshot {
            let mut producer = Producer {
                last_activity_ms: saved.last_activity_ms,
                last_timestamp: saved.last_timestamp,
                coordinator_epoch: saved.coordinator_epoch,
                ..Producer::new(saved.epoch)
            };
            if let Some(first_offset) = saved.current_txn_first_offset {
                restored.open.note(saved.producer_id, first_offset);
            }
            for batch in &saved.batches {
                producer.push(*batch);
            }
            restored.producers.insert(saved.producer_id, Box::new(producer));
        }
        restored
    }
}

/// The state of one producer in a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerSnapshot {
    /// The id, at least 0.
    pub producer_id: ProducerId,
    /// The epoch of its last batch or marker.
    pub epoch: ProducerEpoch,
    /// Wall time of its last batch or marker in ms since 1970, for `producer.id.expiration.ms`.
    pub last_activity_ms: i64,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that wrote the last marker; -1 without a marker.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction in this partition.
    pub current_txn_first_offset: Option<Offset>,
    /// Oldest first, at most [`BATCHES_KEPT`].
    pub batches: Vec<AppendedBatch>,
}

#[cfg(test)]
mod tests;
