//! The transaction coordinator: the state of each transactional id in a partition of `__transaction_state` (KIP-98,
//! KIP-360, KIP-890).
//!
//! ```text
//! InitProducerId -> Empty -> AddPartitions -> Ongoing -> EndTxn -> Prepare{Commit,Abort} -> markers -> Complete
//!                     ^                          |   timeout, or a new InitProducerId: raise the epoch, then as EndTxn
//!                     +--------------------------+--- Complete{Commit,Abort} continues like Empty
//! ```
//! Owns the state of each transactional id of the partition. Input: the decisions of InitProducerId,
//! AddPartitionsToTxn, AddOffsetsToTxn and EndTxn, and timeouts. Output: records, and the queue of transactions that
//! need markers ([`PreparedQueue`]).
//!
//! Once an [`Ending`] is decided and durable it cannot change. A task of `api` then writes a marker into each partition
//! of the transaction and retries until all are written. Only after that can the id start its next transaction. The
//! decisions and their order are those of Kafka's `TransactionCoordinator`.
//!
//! Under `transaction.version=2` each end raises the producer's epoch, so a late record or marker of one transaction
//! cannot affect the next one. A producer whose epochs are exhausted continues with another producer id.
//!
//! Invariants:
//! - TXN-1: a decided end never changes: a prepared state is followed only by its own Complete state.
//!
//! Does not know where partitions are or how markers are written. Runs on the thread of the shard that owns the
//! partition.

mod decide;
pub mod schema;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use decide::{InitProducer, ProducerDecision};
pub use state::{Transaction, TransactionState};

use super::topic::InternalTopic;
use super::{Now, ReplayedRecord, StateMachine, Unreadable, Writes};
use crate::config::BrokerConfig;
use crate::coordinator::txn::schema::{TransactionLogValue, key, parse_key};
use crate::metadata::{Image, ImageUpdate};
use crate::model::{ProducerEpoch, ProducerId};
use crate::record::control::Ending;
use crate::runtime::Mono;
use crate::runtime::sync::Notify;

/// Kafka's time limits for transactions, in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest timeout that a producer may request.
    pub max_timeout_ms: i32,
    /// How long an unused id is kept.
    pub id_expiration_ms: i64,
    /// The interval of the search for expired transactions.
    pub abort_interval_ms: u64,
    /// The interval of the search for unused ids.
    pub expire_interval_ms: u64,
}

impl Settings {
    /// The settings of a broker's configuration.
    pub fn of(config: &BrokerConfig) -> Settings {
        Settings {
            max_timeout_ms: config.transaction_max_timeout_ms,
            id_expiration_ms: i64::from(config.transactional_id_expiration_ms),
            abort_interval_ms: config.transaction_abort_timed_out_interval_ms as u64,
            expire_interval_ms: config.transaction_remove_expired_interval_ms as u64,
        }
    }
}

/// Transactions whose end is decided and whose markers are not written yet, of all ledgers of a shard.
#[derive(Default)]
pub struct PreparedQueue {
    ids: RefCell<VecDeque<Box<str>>>,
    arrived: Notify,
    /// Signals that a transaction has completed.
    pub finished: Notify,
}

impl PreparedQueue {
    fn push(&self, id: &str) {
        self.ids.borrow_mut().push_back(id.into());
        self.arrived.notify_all();
    }

    /// Waits for the next transaction that needs markers, and removes it from the queue.
    pub async fn next(&self) -> Box<str> {
        loop {
            if let Some(id) = self.ids.borrow_mut().pop_front() {
                return id;
            }
            self.arrived.notified().await;
        }
    }
}

/// The markers that complete a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingMarkers {
    /// The producer id that the markers carry.
    pub producer_id: ProducerId,
    /// The epoch that the markers carry.
    pub producer_epoch: ProducerEpoch,
    /// Commit or abort.
    pub ending: Ending,
    /// The transaction ended under `transaction.version=2`.
    pub is_v2: bool,
    /// The partitions that need a marker.
    pub partitions: Vec<(Box<str>, i32)>,
}

/// The transactional ids of one partition.
pub struct Transactions {
    by_id: HashMap<Box<str>, Transaction>,
    settings: Rc<Settings>,
    prepared: Rc<PreparedQueue>,
    /// When to abort transactions that timed out, and when to remove unused ids.
    next_abort: Option<Mono>,
    next_expire: Option<Mono>,
}

impl Transactions {
    /// No transactional ids. Decided transactions are queued in `prepared`.
    pub fn new(settings: Rc<Settings>, prepared: Rc<PreparedQueue>) -> Transactions {
        Transactions { by_id: HashMap::new(), settings, prepared, next_abort: None, next_expire: None }
    }

    /// Writes the id's new state. The state takes effect when the log has appended it. A prepared state is then queued
    /// for its markers.
    fn put_transition(&mut self, id: &str, next: Transaction, now: Now, writes: &mut Writes<Self>) {
        let current = self.by_id.get(id).map_or(TransactionState::Empty, |known| known.state);
        let is_legal = current.can_become(next.state);
        assert!(is_legal, "TXN-1: {id} cannot go from {} to {}", current.name(), next.state.name());
        writes.put(&key(id), Some(&next.to_value().to_bytes()));
        let id: Box<str> = id.into();
        let last_epoch = next.last_epoch;
        writes.after_append(move |machine, _, appended| {
            let Some(transaction) = machine.by_id.get_mut(&id).filter(|_| appended.is_ok()) else { return };
            // Kafka does not write the last epoch either: a retry after a restart of the coordinator is fenced.
            transaction.last_epoch = last_epoch;
            if transaction.state.is_prepared() {
                machine.prepared.push(&id);
            }
        });
        self.arm(now);
    }

    fn arm(&mut self, now: Now) {
        let after = |ms: u64| Some(now.mono + Duration::from_millis(ms));
        if self.next_abort.is_none() {
            self.next_abort = after(self.settings.abort_interval_ms);
        }
        if self.next_expire.is_none() {
            self.next_expire = after(self.settings.expire_interval_ms);
        }
    }

    /// All transactional ids, sorted, for listings.
    pub fn all(&self) -> BTreeMap<&str, &Transaction> {
        self.by_id.iter().map(|(id, transaction)| (&**id, transaction)).collect()
    }

    /// The state of a transactional id.
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id)
    }
}

/// The most records that a sweep writes.
const SWEPT_MAX: usize = 100;
/// The most bytes that a sweep writes, unless one record is larger: they form one batch, which the topic must accept.
const SWEPT_BYTES_MAX: usize = 128 << 10;

impl StateMachine for Transactions {
    const TOPIC: InternalTopic = InternalTopic::TransactionState;

    fn replay(&mut self, record: &ReplayedRecord<'_>) -> Result<(), Unreadable> {
        let id = parse_key(record.key)?;
        match record.value {
            None => drop(self.by_id.remove(id)),
            Some(value) => {
                let value = TransactionLogValue::parse(value)?;
                let transaction = Transaction::from_value(&value)?;
                match self.by_id.get_mut(id) {
                    Some(known) => *known = transaction,
                    None => drop(self.by_id.insert(id.into(), transaction)),
                }
            }
        }
        Ok(())
    }

    /// No producer writes to this topic in a transaction.
    fn end_transaction(&mut self, _: ProducerId, _: bool) {}

    fn on_loaded(&mut self, _: &Arc<Image>, now: Now, _: &mut Writes<Self>) {
        // Markers may be written twice, which is harmless.
        for (id, _) in self.by_id.iter().filter(|(_, transaction)| transaction.state.is_prepared()) {
            self.prepared.push(id);
        }
        if !self.by_id.is_empty() {
            self.arm(now);
        }
    }

    fn on_image_changed(&mut self, _: &ImageUpdate, _: Now, _: &mut Writes<Self>) {}

    fn deadline(&self) -> Option<Mono> {
        self.next_abort.into_iter().chain(self.next_expire).min()
    }

    fn on_deadline(&mut self, now: Now, writes: &mut Writes<Self>) {
        let mut written = 0;
        if self.next_abort.is_some_and(|at| at <= now.mono) {
            let mut too_old: Vec<(Box<str>, usize)> = self
                .by_id
                .iter()
                .filter(|(_, t)| t.is_timed_out(now.wall_ms))
                .map(|(id, t)| (id.clone(), t.to_value().to_bytes().len()))
                .take(SWEPT_MAX)
                .collect();
            while let Some((id, _)) =
                too_old.pop_if(|(_, bytes)| writes.is_empty() || writes.bytes() + *bytes <= SWEPT_BYTES_MAX)
            {
                tracing::info!("aborting the transaction of {id}: it exceeded its timeout");
                self.fence(&id, now, writes);
                written += 1;
            }
            // After a full sweep the next one is due at once.
            self.next_abort = (written == SWEPT_MAX || !too_old.is_empty()).then_some(now.mono);
        }
        if written == 0 && self.next_expire.is_some_and(|at| at <= now.mono) {
            let expiration_ms = self.settings.id_expiration_ms;
            let is_unused = |t: &Transaction| t.is_unused_for(now.wall_ms, expiration_ms);
            let unused: Vec<Box<str>> =
                self.by_id.iter().filter(|(_, t)| is_unused(t)).map(|(id, _)| id.clone()).take(SWEPT_MAX).collect();
            unused.iter().for_each(|id| writes.put(&key(id), None));
            self.next_expire = (unused.len() == SWEPT_MAX).then_some(now.mono);
        }
        if !self.by_id.is_empty() {
            self.arm(now);
        }
    }
}
