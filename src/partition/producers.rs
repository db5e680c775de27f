//! What one partition remembers of its idempotent and transactional producers (KIP-98, KIP-360, KIP-890): enough to append
//! each batch once, and to know which transactions are open.
//!
//! A leader calls [`Producers::check`] before it appends and [`Producers::applied`] as soon as the batch has its offset,
//! in the same turn, so that requests in flight behind it are checked against it; for transaction markers it calls
//! [`Producers::check_marker`] and [`Producers::ended`]. A follower, and recovery, call [`Producers::replay`] alone. Pure:
//! time is handed in, nothing is read or written.
//!
//! Invariants:
//! - PROD-1: a producer's batches are of its current epoch, at most [`BATCHES_KEPT`], in the order of their offsets.
//! - PROD-2: at most the configured number of producers are kept, but for those with an open transaction. The longest
//!   silent ones go first; a producer that was forgotten may go on at any sequence, it merely loses deduplication once.
//! - PROD-3: two states that saw the same calls give equal snapshots.

use crate::log::aborted::{AbortedTransaction, Ended, OpenTransactions};
use crate::model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use crate::record::BatchHeader;
use crate::record::control::Marker;
use crate::record::header::advance_sequence;
use std::collections::BTreeMap;

/// How many batches of a producer are remembered: as many as a client may have in flight.
pub const BATCHES_KEPT: usize = 5;
/// How many producers a partition remembers unless told otherwise.
pub const PRODUCERS_MAX_DEFAULT: usize = 10_000;

/// What is to be done with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProducerVerdict {
    /// Append it.
    Fresh,
    /// It is in the log already. Answer success with what the first append was told, once that one is as durable as
    /// this request asks.
    Duplicate { base_offset: Offset, last_offset: Offset, timestamp: i64 },
}

/// Why a batch may not be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerRefusal {
    #[error("Epoch of producer {producer_id} is {got}, which is smaller than the last seen epoch {current}")]
    OldEpoch { producer_id: ProducerId, got: ProducerEpoch, current: ProducerEpoch },
    #[error("Out of order sequence number for producer {producer_id}: {got} (incoming), {last} (current end)")]
    OutOfOrder { producer_id: ProducerId, got: i32, last: i32 },
    #[error(
        "Invalid sequence number for new epoch of producer {producer_id}: {epoch} (request epoch), {got} (sequence), \
         {current} (current epoch)"
    )]
    NewEpochNotAtZero { producer_id: ProducerId, epoch: ProducerEpoch, got: i32, current: ProducerEpoch },
    #[error("Invalid sequence number for producer {producer_id}: {got}. Expected sequence 0 from an unknown producer")]
    UnknownNotAtZero { producer_id: ProducerId, got: i32 },
    #[error("Expected a transactional write from producer {producer_id}, which has a transaction open")]
    OutsideTransaction { producer_id: ProducerId },
    #[error("Record was not part of an ongoing transaction of producer {producer_id}")]
    NoTransaction { producer_id: ProducerId },
    #[error("Epoch of the marker for producer {producer_id} is {got}, and the last seen epoch is {current}")]
    OldMarker { producer_id: ProducerId, got: ProducerEpoch, current: ProducerEpoch },
    #[error("Invalid coordinator epoch for producer {producer_id}: {got} (zombie), {current} (current)")]
    OldCoordinator { producer_id: ProducerId, got: i32, current: i32 },
}

/// What is known, when a transactional batch is to be appended, of whether the partition is in its producer's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Nothing but what the log says: it must have a batch of the transaction already.
    ByLog,
    /// The transaction coordinator has said so, and no marker came since. `is_v2`: under `transaction.version=2` (Produce
    /// v12+), where a producer that is unknown here begins at sequence 0.
    Verified { is_v2: bool },
}

impl ProducerRefusal {
    pub fn error_code(&self) -> ErrorCode {
        match self {
            // Not PRODUCER_FENCED since Kafka 2.7: clients then abort the transaction and go on.
            ProducerRefusal::OldEpoch { .. } | ProducerRefusal::OldMarker { .. } => ErrorCode::InvalidProducerEpoch,
            // This is also the answer to a duplicate older than the batches kept; Kafka never sends
            // DUPLICATE_SEQUENCE_NUMBER any more.
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

/// The producers of one partition. Empty, it owns no memory.
#[derive(Clone, Debug)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Box<Producer>>,
    producers_max: usize,
    /// Of producers that are all known.
    open: OpenTransactions,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    epoch: ProducerEpoch,
    last_activity_ms: i64,
    last_timestamp: i64,
    coordinator_epoch: i32,
    /// The last batches, oldest first; the first `batches_count` are there.
    batches: [AppendedBatch; BATCHES_KEPT],
    batches_count: u8,
}

/// One batch of a producer as it lies in the log. A coordinator's, which numbers nothing, ends at sequence -1: compaction keeps
/// the last batch of each producer, and must be told where it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AppendedBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: Offset,
    /// The batch's `max_timestamp` as stored.
    pub timestamp: i64,
}

impl AppendedBatch {
    pub fn last_offset(&self) -> Offset {
        // The distance of the sequences, which may have wrapped between them.
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
        if usize::from(self.batches_count) == BATCHES_KEPT {
            self.batches.rotate_left(1);
        } else {
            self.batches_count += 1;
        }
        self.batches[usize::from(self.batches_count) - 1] = batch;
    }

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
    pub fn new(producers_max: usize) -> Producers {
        assert!(producers_max > 0, "PROD-2: a bound of no producers would refuse the one that is appending");
        Producers { producers: BTreeMap::new(), producers_max, open: OpenTransactions::default() }
    }

    /// The highest id of a producer that is remembered here, of those below `limit`.
    pub fn highest_id(&self, limit: ProducerId) -> Option<ProducerId> {
        self.producers.keys().copied().filter(|id| *id < limit).max()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Whether the batch with this header, fresh from a client, may be appended.
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
        // KIP-890: no transactional record gets into a log without its coordinator knowing of it.
        let is_outside = header.is_transactional() && !self.has_open(producer_id, header.producer_epoch);
        if is_outside && membership == Membership::ByLog {
            return Err(ProducerRefusal::NoTransaction { producer_id });
        }
        let Some(producer) = self.producers.get(&producer_id) else {
            // Its state may have expired, so it may start anywhere.
            if got != 0 && membership == (Membership::Verified { is_v2: true }) {
                return Err(ProducerRefusal::UnknownNotAtZero { producer_id, got });
            }
            return Ok(ProducerVerdict::Fresh);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ProducerRefusal::OldEpoch { producer_id, got: header.producer_epoch, current: producer.epoch });
        }
        if got < 0 {
            // A coordinator's own record: it sends nothing twice, and numbers nothing.
        } else if header.producer_epoch > producer.epoch {
            if got != 0 {
                let (epoch, current) = (header.producer_epoch, producer.epoch);
                return Err(ProducerRefusal::NewEpochNotAtZero { producer_id, epoch, got, current });
            }
        } else {
            // After a marker alone a producer has an epoch and no batches; it then starts at 0.
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

    /// Whether the producer, at this very epoch, has a transaction open here.
    pub fn has_open(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.open.of(producer_id).is_some()
            && self.producers.get(&producer_id).is_some_and(|producer| producer.epoch == epoch)
    }

    /// Where the earliest open transaction began.
    pub fn first_open_offset(&self) -> Option<Offset> {
        self.open.first_offset()
    }

    /// Whether a coordinator's marker may be appended. `is_v2`: of a transaction under `transaction.version=2`, whose
    /// coordinator raises the epoch with each transaction's end, so that a late marker is known by its epoch.
    pub fn check_marker(
        &self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        marker: &Marker,
        is_v2: bool,
    ) -> Result<(), ProducerRefusal> {
        let Some(producer) = self.producers.get(&producer_id) else { return Ok(()) };
        // KAFKA-19999: at the current epoch, with nothing open, it is the last marker sent again, and is written again.
        // KAFKA-20090: nobody is given the highest epoch; whoever has had it all the same is let go.
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

    /// Takes note of a batch that lies in the log at `base_offset`.
    pub fn applied(&mut self, header: &BatchHeader, base_offset: Offset, now_ms: i64) {
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

    /// Takes note of a marker that lies in the log at `offset`. Answers the transaction that it ended, if there was one.
    pub fn ended(&mut self, header: &BatchHeader, marker: &Marker, offset: Offset, now_ms: i64) -> Option<Ended> {
        self.enter(header, now_ms).coordinator_epoch = marker.coordinator_epoch;
        let ended = self.open.end(header.producer_id, marker.ending, offset);
        self.keep_bound(header.producer_id);
        ended
    }

    /// Takes note of a batch as it lies in a log; `marker` is what is in it if it is one. Answers what belongs into the
    /// index of aborted transactions.
    pub fn replay(&mut self, header: &BatchHeader, marker: Option<Marker>, now_ms: i64) -> Option<AbortedTransaction> {
        match marker {
            Some(marker) if header.has_producer() => {
                self.ended(header, &marker, header.base_offset, now_ms).and_then(|ended| ended.aborted)
            }
            _ => {
                self.applied(header, header.base_offset, now_ms);
                None
            }
        }
    }

    /// The batch's producer, in its epoch.
    fn enter(&mut self, header: &BatchHeader, now_ms: i64) -> &mut Producer {
        let new = || Box::new(Producer::new(header.producer_epoch));
        let producer = self.producers.entry(header.producer_id).or_insert_with(new);
        producer.enter_epoch(header.producer_epoch);
        producer.last_activity_ms = producer.last_activity_ms.max(now_ms);
        producer.last_timestamp = header.max_timestamp;
        producer
    }

    fn keep_bound(&mut self, keep: ProducerId) {
        if self.producers.len() > self.producers_max {
            self.forget_the_longest_silent(keep);
        }
    }

    /// Forgets producers that have been silent for `expiration_ms` (`producer.id.expiration.ms`) and have no
    /// transaction open. Answers how many.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|id, producer| {
            self.open.of(*id).is_some() || now_ms.saturating_sub(producer.last_activity_ms) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Makes room by an eighth, so that one pass over all serves many appends.
    fn forget_the_longest_silent(&mut self, keep: ProducerId) {
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
    }

    /// Everything, by producer id, to be written down.
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

    /// The state that a snapshot was taken of. Of more than [`BATCHES_KEPT`] batches the last ones count.
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

/// One producer, written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerSnapshot {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_activity_ms: i64,
    /// Of its last batch or marker.
    pub last_timestamp: i64,
    /// Of the last transaction marker; -1 if there was none.
    pub coordinator_epoch: i32,
    /// Where the open transaction began in this partition.
    pub current_txn_first_offset: Option<Offset>,
    /// Oldest first, at most [`BATCHES_KEPT`].
    pub batches: Vec<AppendedBatch>,
}

#[cfg(test)]
mod tests;
