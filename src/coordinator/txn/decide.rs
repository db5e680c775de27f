//! The decisions of the transaction coordinator, equal to Kafka's.

use super::state::is_exhausted;
use super::{PendingMarkers, Transaction, TransactionState, Transactions};
use crate::coordinator::{Now, Writes};
use crate::model::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId};
use crate::record::control::Ending;

/// The parameters of InitProducerId.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitProducer {
    /// The timeout of the producer's transactions.
    pub timeout_ms: i32,
    /// The producer's current id and epoch, if it has them (KIP-360).
    pub expected: Option<(ProducerId, ProducerEpoch)>,
}

/// The result of a decision that may need a fresh producer id, which the machine cannot allocate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProducerDecision {
    /// The producer's id and epoch after the decision.
    Producer {
        /// A producer id; the given one, or the current one.
        id: ProducerId,
        /// At least 0. It fences all smaller epochs of the id.
        epoch: ProducerEpoch,
    },
    /// Nothing was decided: call again with a fresh producer id.
    NeedsProducerId,
}

impl ProducerDecision {
    fn of(transaction: &Transaction) -> ProducerDecision {
        ProducerDecision::Producer { id: transaction.producer_id, epoch: transaction.epoch }
    }
}

impl Transactions {
    /// InitProducerId. `fresh` is an unused producer id.
    pub fn init(
        &mut self,
        id: &str,
        init: InitProducer,
        fresh: Option<ProducerId>,
        now: Now,
        writes: &mut Writes<Self>,
    ) -> Result<ProducerDecision, ErrorCode> {
        if init.timeout_ms <= 0 || init.timeout_ms > self.settings.max_timeout_ms {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let known = match self.by_id.get(id) {
            Some(known) => known.clone(),
            None => match fresh {
                Some(fresh) => Transaction::new(fresh, init.timeout_ms, now.wall_ms),
                None => return Ok(ProducerDecision::NeedsProducerId),
            },
        };
        if known.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        // The current id; or the previous one, when its epochs are exhausted and the answer with the new id was lost.
        let is_its_own = |(producer_id, epoch): (ProducerId, ProducerEpoch)| {
            known.epoch == -1
                || producer_id == known.producer_id
                || (producer_id == known.previous_producer_id && is_exhausted(epoch))
        };
        if !init.expected.is_none_or(is_its_own) {
            return Err(ErrorCode::ProducerFenced);
        }
        let expected_epoch = init.expected.map(|(_, epoch)| epoch);
        match known.state {
            TransactionState::Ongoing => {
                // No producer gets the epoch raised here. The client retries and gets the epoch after it.
                self.fence(id, now, writes);
                return Err(ErrorCode::ConcurrentTransactions);
            }
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {}
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => unreachable!("rejected above"),
            TransactionState::Dead | TransactionState::PrepareEpochFence => return Err(ErrorCode::UnknownServerError),
        }
        let mut next = Transaction {
            state: TransactionState::Empty,
            timeout_ms: init.timeout_ms,
            partitions: Default::default(),
            start_ms: -1,
            last_update_ms: now.wall_ms,
            ..known.clone()
        };
        if is_exhausted(known.epoch) {
            // The last epoch may have been used for fencing.
            if expected_epoch.is_some_and(|epoch| epoch != known.epoch && epoch != known.last_epoch) {
                return Err(ErrorCode::ProducerFenced);
            }
            let Some(fresh) = fresh else { return Ok(ProducerDecision::NeedsProducerId) };
            next.previous_producer_id = known.producer_id;
            (next.producer_id, next.epoch) = (fresh, 0);
            next.last_epoch = expected_epoch.unwrap_or(-1);
        } else {
            (next.epoch, next.last_epoch) = match expected_epoch {
                None => (known.epoch + 1, -1),
                Some(epoch) if known.epoch == -1 || epoch == known.epoch => (known.epoch + 1, known.epoch),
                // A retry of a request that succeeded.
                Some(epoch) if epoch == known.last_epoch => (known.epoch, known.last_epoch),
                Some(_) => return Err(ErrorCode::ProducerFenced),
            };
        }
        let done = ProducerDecision::of(&next);
        self.put_transition(id, next, now, writes);
        Ok(done)
    }

    /// Raises the epoch of an open transaction and aborts it: its producer was replaced, or its transaction timed out.
    pub(super) fn fence(&mut self, id: &str, now: Now, writes: &mut Writes<Self>) {
        let known = self.by_id.get(id).filter(|known| known.state == TransactionState::Ongoing);
        let next = prepare_end(known.expect("an open transaction is fenced"), Ending::Abort, 2, now);
        self.put_transition(id, next, now, writes);
    }

    /// The id's transaction, if `producer` is its current producer.
    fn check_producer(&self, id: &str, producer: (ProducerId, ProducerEpoch)) -> Result<&Transaction, ErrorCode> {
        let known = self.by_id.get(id).filter(|known| known.producer_id == producer.0);
        let known = known.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        // The highest epoch is reserved for fencing.
        let is_producer = known.epoch == producer.1 && producer.1 < ProducerEpoch::MAX;
        if is_producer { Ok(known) } else { Err(ErrorCode::ProducerFenced) }
    }

    /// The id's transaction, unless its markers are being written. KAFKA-18660: callers check this before the producer.
    /// The answer to an end may have given the producer an id or epoch that takes effect only after the markers.
    fn check_not_prepared(&self, id: &str) -> Result<&Transaction, ErrorCode> {
        let known = self.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if known.state.is_prepared() { Err(ErrorCode::ConcurrentTransactions) } else { Ok(known) }
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn.
    pub fn add_partitions(
        &mut self,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        partitions: &[(String, PartitionIndex)],
        version: i16,
        now: Now,
        writes: &mut Writes<Self>,
    ) -> Result<(), ErrorCode> {
        self.check_not_prepared(id)?;
        let known = self.check_producer(id, producer)?;
        let is_new = |(topic, partition): &(String, PartitionIndex)| !known.has(topic, *partition);
        if known.state == TransactionState::Ongoing && !partitions.iter().any(is_new) {
            return Ok(());
        }
        let mut next = known.clone();
        if next.state != TransactionState::Ongoing {
            next.partitions.clear();
            next.start_ms = now.wall_ms;
        }
        next.state = TransactionState::Ongoing;
        next.last_update_ms = now.wall_ms;
        next.client_version = version;
        for (topic, partition) in partitions {
            next.partitions.entry(topic.as_str().into()).or_default().insert(*partition);
        }
        self.put_transition(id, next, now, writes);
        Ok(())
    }

    /// Checks for each partition that it is part of the producer's transaction.
    pub fn verify(
        &self,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        partitions: &[(String, PartitionIndex)],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let known = self.check_producer(id, producer)?;
        self.check_not_prepared(id)?;
        let of = |(topic, partition): &(String, PartitionIndex)| match known.has(topic, *partition) {
            true => ErrorCode::None,
            false => ErrorCode::TransactionAbortable,
        };
        Ok(partitions.iter().map(of).collect())
    }

    /// EndTxn, up to version 4.
    pub fn end_v1(
        &mut self,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        ending: Ending,
        now: Now,
        writes: &mut Writes<Self>,
    ) -> Result<(), ErrorCode> {
        self.check_producer(id, producer)?;
        let known = self.check_not_prepared(id)?;
        match (known.state, ending) {
            (TransactionState::Ongoing, _) => {
                let next = prepare_end(known, ending, 0, now);
                self.put_transition(id, next, now, writes);
                Ok(())
            }
            (TransactionState::CompleteCommit, Ending::Commit) | (TransactionState::CompleteAbort, Ending::Abort) => {
                Ok(())
            }
            _ => Err(ErrorCode::InvalidTxnState),
        }
    }

    /// EndTxn from version 5 on (KIP-890). `fresh` is an unused producer id.
    pub fn end_v2(
        &mut self,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        ending: Ending,
        fresh: Option<ProducerId>,
        now: Now,
        writes: &mut Writes<Self>,
    ) -> Result<ProducerDecision, ErrorCode> {
        let (producer_id, epoch) = producer;
        let known = self.check_not_prepared(id)?;
        // The epochs were exhausted, and the answer with the next id was lost.
        let is_retry_of_overflow =
            known.previous_producer_id == producer_id && epoch == ProducerEpoch::MAX - 1 && known.epoch == 0;
        if known.producer_id != producer_id && !is_retry_of_overflow {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        // An equal epoch belongs to the next transaction. One below it is a retry whose first answer was lost.
        let is_retry_of_bump = known.is_v2() && epoch.checked_add(1) == Some(known.epoch);
        let is_retry = is_retry_of_bump || is_retry_of_overflow;
        let is_valid = match known.state {
            TransactionState::CompleteCommit | TransactionState::CompleteAbort => is_retry || epoch == known.epoch,
            _ => epoch == known.epoch,
        };
        // The highest epoch is reserved for fencing.
        if !is_valid || epoch == ProducerEpoch::MAX {
            return Err(ErrorCode::ProducerFenced);
        }
        match (known.state, ending) {
            (TransactionState::Ongoing, _) => {}
            // Nothing was sent. The abort still raises the epoch.
            (TransactionState::Empty, Ending::Abort) => {}
            (TransactionState::CompleteCommit | TransactionState::CompleteAbort, Ending::Abort) if !is_retry => {}
            (TransactionState::CompleteCommit, Ending::Commit) | (TransactionState::CompleteAbort, Ending::Abort)
                if is_retry =>
            {
                if known.epoch < ProducerEpoch::MAX {
                    return Ok(ProducerDecision::of(known));
                }
                // The transaction timed out and fencing took the last epoch (KAFKA-20090): continue with another id.
                let Some(fresh) = fresh else { return Ok(ProducerDecision::NeedsProducerId) };
                let next = completed(&Transaction { next_producer_id: fresh, ..known.clone() }, now);
                let done = ProducerDecision::of(&next);
                self.put_transition(id, next, now, writes);
                return Ok(done);
            }
            _ => return Err(ErrorCode::InvalidTxnState),
        }
        let mut next = prepare_end(known, ending, 2, now);
        if known.state != TransactionState::Ongoing {
            next.start_ms = now.wall_ms;
        }
        if is_exhausted(known.epoch) {
            let Some(fresh) = fresh else { return Ok(ProducerDecision::NeedsProducerId) };
            next.next_producer_id = fresh;
        }
        let done = ProducerDecision::of(&completed(&next, now));
        self.put_transition(id, next, now, writes);
        Ok(done)
    }

    /// The markers that complete the id's transaction, if its end is decided.
    pub fn pending_markers(&self, id: &str) -> Option<PendingMarkers> {
        let known = self.by_id.get(id)?;
        let partitions = known
            .partitions
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic.clone(), *partition)));
        Some(PendingMarkers {
            producer_id: known.producer_id,
            producer_epoch: known.epoch,
            ending: known.ending()?,
            is_v2: known.is_v2(),
            partitions: partitions.collect(),
        })
    }

    /// Completes the transaction after all markers are written.
    pub fn complete(&mut self, id: &str, finished: &PendingMarkers, now: Now, writes: &mut Writes<Self>) {
        let Some(known) = self.by_id.get(id) else { return };
        let is_same = (known.producer_id, known.epoch, known.ending())
            == (finished.producer_id, finished.producer_epoch, Some(finished.ending));
        if is_same {
            let next = completed(known, now);
            let prepared = self.prepared.clone();
            self.put_transition(id, next, now, writes);
            writes.after_append(move |_, _, _| prepared.finished.notify_all());
        }
    }
}

/// The transaction after its end is decided.
fn prepare_end(known: &Transaction, ending: Ending, version: i16, now: Now) -> Transaction {
    let mut next = known.clone();
    next.state = match ending {
        Ending::Commit => TransactionState::PrepareCommit,
        Ending::Abort => TransactionState::PrepareAbort,
    };
    next.client_version = version;
    next.last_update_ms = now.wall_ms;
    if version >= 2 {
        // No producer has the highest epoch, so the epoch can still be raised.
        (next.epoch, next.last_epoch) = (known.epoch.saturating_add(1), known.epoch);
    }
    next
}

/// The transaction after all its markers are written.
fn completed(known: &Transaction, now: Now) -> Transaction {
    let mut next = known.clone();
    next.state = if known.state == TransactionState::PrepareCommit {
        TransactionState::CompleteCommit
    } else {
        TransactionState::CompleteAbort
    };
    next.partitions.clear();
    next.last_update_ms = now.wall_ms;
    if known.is_v2() && known.next_producer_id >= 0 {
        next.previous_producer_id = known.producer_id;
        (next.producer_id, next.epoch) = (known.next_producer_id, 0);
    }
    next.next_producer_id = -1;
    next
}
