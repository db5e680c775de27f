//! The state of one transactional id, and its record.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::Unreadable;
use crate::coordinator::txn::schema::{TransactionLogPartitions, TransactionLogValue};
use crate::model::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::record::control::Ending;

macro_rules! states {
    ($($(#[$doc:meta])* $code:literal $name:ident;)*) => {
        /// The state of a transactional id, with Kafka's names and numbers.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(i8)]
        pub enum TransactionState { $($(#[$doc])* $name = $code),* }

        impl TransactionState {
            /// The state with Kafka's number.
            pub fn from_code(code: i8) -> Option<TransactionState> {
                match code { $($code => Some(TransactionState::$name),)* _ => None }
            }

            /// The state with Kafka's name.
            pub fn from_name(name: &str) -> Option<TransactionState> {
                match name { $(stringify!($name) => Some(TransactionState::$name),)* _ => None }
            }

            /// Kafka's name.
            pub fn name(self) -> &'static str {
                match self { $(TransactionState::$name => stringify!($name)),* }
            }
        }
    };
}

states! {
    /// A producer has the id, and has opened no transaction yet.
    0 Empty;
    /// The transaction has at least one partition, and its end is not decided.
    1 Ongoing;
    /// It will be committed: some partitions may already show its records.
    2 PrepareCommit;
    /// It will be aborted: some partitions may already have the marker.
    3 PrepareAbort;
    /// Every partition has its commit marker.
    4 CompleteCommit;
    /// Every partition has its abort marker.
    5 CompleteAbort;
    /// Kafka has it only in memory, while it expires the id. A listing may filter by it and finds nothing.
    6 Dead;
    /// Kafka has it only in memory, while it fences a producer. A listing may filter by it and finds nothing.
    7 PrepareEpochFence;
}

impl TransactionState {
    /// The end is decided, and some markers are not written yet.
    pub fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Whether the state may follow this one. TXN-1: a prepared state is followed only by its own Complete state.
    pub fn can_become(self, next: TransactionState) -> bool {
        use TransactionState::{
            CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit, PrepareEpochFence,
        };
        match self {
            // Under version 2 a producer may abort although no transaction is open.
            Empty => matches!(next, Empty | Ongoing | PrepareAbort),
            Ongoing => matches!(next, Ongoing | PrepareCommit | PrepareAbort),
            PrepareCommit => next == CompleteCommit,
            PrepareAbort => next == CompleteAbort,
            // CompleteAbort follows itself when a retry gets another producer id (KAFKA-20090).
            CompleteCommit | CompleteAbort => matches!(next, Empty | Ongoing | PrepareAbort | CompleteAbort),
            Dead | PrepareEpochFence => false,
        }
    }

    /// No transaction is open or has markers left to write.
    pub fn is_idle(self) -> bool {
        matches!(self, TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort)
    }
}

/// From this epoch on a producer id is exhausted: the highest epoch is reserved for fencing.
const EPOCH_EXHAUSTED: ProducerEpoch = ProducerEpoch::MAX - 1;

/// The state of a transactional id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// The current producer id.
    pub producer_id: ProducerId,
    /// -1 before the first producer.
    pub epoch: ProducerEpoch,
    /// The previous epoch, if the producer itself requested the present one (KIP-360); otherwise -1.
    pub last_epoch: ProducerEpoch,
    /// The producer id before its epochs were exhausted; -1 if there is none.
    pub previous_producer_id: ProducerId,
    /// The producer id after this transaction ends; -1 unless the epochs are exhausted.
    pub next_producer_id: ProducerId,
    /// The timeout of a transaction.
    pub timeout_ms: i32,
    /// The state of the id.
    pub state: TransactionState,
    /// The partitions of the open or ending transaction.
    pub partitions: BTreeMap<Box<str>, BTreeSet<PartitionIndex>>,
    /// -1 without a transaction.
    pub start_ms: i64,
    /// The time of the last transition.
    pub last_update_ms: i64,
    /// `transaction.version` at the last end or added partition.
    pub client_version: i16,
}

/// Whether a producer id with this epoch must be replaced.
pub fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch >= EPOCH_EXHAUSTED
}

impl Transaction {
    /// A new transactional id without a producer epoch.
    pub fn new(producer_id: ProducerId, timeout_ms: i32, now_ms: i64) -> Transaction {
        Transaction {
            producer_id,
            epoch: -1,
            last_epoch: -1,
            previous_producer_id: -1,
            next_producer_id: -1,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeMap::new(),
            start_ms: -1,
            last_update_ms: now_ms,
            client_version: 0,
        }
    }

    /// Whether the last end or added partition used `transaction.version=2`.
    pub fn is_v2(&self) -> bool {
        self.client_version >= 2
    }

    /// Whether the transaction is open for longer than its timeout.
    pub fn is_timed_out(&self, now_ms: i64) -> bool {
        self.state == TransactionState::Ongoing && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now_ms
    }

    /// Whether the id has been idle for the expiration time.
    pub fn is_unused_for(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.state.is_idle() && now_ms.saturating_sub(self.last_update_ms) >= expiration_ms
    }

    /// The decided end of a prepared transaction.
    pub fn ending(&self) -> Option<Ending> {
        match self.state {
            TransactionState::PrepareCommit => Some(Ending::Commit),
            TransactionState::PrepareAbort => Some(Ending::Abort),
            _ => None,
        }
    }

    /// Whether the partition belongs to the transaction.
    pub fn has(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// The record's value.
    pub fn to_value(&self) -> TransactionLogValue {
        let partitions = self.partitions.iter().map(|(topic, partitions)| TransactionLogPartitions {
            topic: topic.to_string(),
            partition_ids: partitions.iter().copied().collect(),
        });
        TransactionLogValue {
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            transaction_timeout_ms: self.timeout_ms,
            transaction_status: self.state as i8,
            transaction_partitions: (self.state != TransactionState::Empty).then(|| partitions.collect()),
            transaction_last_update_timestamp_ms: self.last_update_ms,
            transaction_start_timestamp_ms: self.start_ms,
            previous_producer_id: self.previous_producer_id,
            next_producer_id: self.next_producer_id,
            client_transaction_version: self.client_version,
        }
    }

    /// The state that a record's value describes.
    pub fn from_value(value: &TransactionLogValue) -> Result<Transaction, Unreadable> {
        let state = TransactionState::from_code(value.transaction_status);
        let state = state.ok_or(Unreadable::UnknownTransactionState(value.transaction_status))?;
        let mut partitions: BTreeMap<Box<str>, BTreeSet<PartitionIndex>> = BTreeMap::new();
        for topic in value.transaction_partitions.iter().flatten() {
            partitions.entry(topic.topic.as_str().into()).or_default().extend(&topic.partition_ids);
        }
        Ok(Transaction {
            producer_id: value.producer_id,
            epoch: value.producer_epoch,
            last_epoch: -1,
            previous_producer_id: value.previous_producer_id,
            next_producer_id: value.next_producer_id,
            timeout_ms: value.transaction_timeout_ms,
            state,
            partitions,
            start_ms: value.transaction_start_timestamp_ms,
            last_update_ms: value.transaction_last_update_timestamp_ms,
            client_version: value.client_transaction_version,
        })
    }
}
