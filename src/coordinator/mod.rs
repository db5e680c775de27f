//! Coordinators: state machines whose state is stored in the partitions of internal topics.
//!
//! Owns this shard's partitions of `__consumer_offsets` and `__transaction_state`. Each one has a [`Ledger`]: the
//! partition and the state machine that its records produce. Input: steps, each of which is one decision of the state
//! machine. Output: the answers of the steps, and records in Kafka's format in the partition's log.
//!
//! ```text
//! key -> partition -> shard -> Ledger::step: decide (pure, in memory) -> records -> one batch into log and journal
//!                              -> StateMachine::replay of the batch -> Ledger::wait_durable -> answer
//! start-up                     Ledger reads the log from its start -> StateMachine::replay -> StateMachine::on_loaded
//! ```
//!
//! Groups and transactions differ in their [`StateMachine`]. A state machine keeps these rules:
//! - State that must survive a restart changes only in [`StateMachine::replay`], from a record. A restart therefore
//!   restores it.
//! - A step reads the machine, puts records into [`Writes`] and returns the answer. It may change volatile state
//!   (waiters, deadlines) at once, or in [`Writes::after_append`], which receives the result of the append.
//! - A request that must wait for a later step leaves a `Sender` in the machine.
//!
//! Invariants:
//! - COOR-1: a key's coordinator is the shard that owns its partition of the internal topic; no other shard has its
//!   state.
//! - COOR-2: the steps of a ledger run one after another; each sees all records of the steps before it.
//! - COOR-3: the machine replays only records that the log has; rejected records change nothing.
//! - COOR-4: an answer leaves only when all records that its step saw are durable ([`Ledger::wait_durable`]), so that a
//!   crash cannot undo an answered request.
//!
//! Does not know frames, connections or API versions: `api` decodes requests and finds the ledger. It passes the
//! messages of `wire`, with capabilities in place of versions, and encodes the answers. Runs on the thread of the shard
//! that owns the partition.

pub mod group;
mod key;
mod ledger;
mod ledgers;
mod load;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod topic;
pub mod txn;
mod writes;

pub use key::partition_of;
pub use ledger::Ledger;
pub use ledgers::Ledgers;
pub use timers::Timers;
pub use writes::Writes;

use std::sync::Arc;

use crate::metadata::{Image, ImageUpdate};
use crate::model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use crate::runtime::Mono;
use crate::runtime::clock;
use crate::wire::Malformed;
use topic::InternalTopic;

/// The time of a step. Deadlines use the monotonic clock; records use the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For records, in milliseconds since the epoch.
    pub wall_ms: i64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Now {
        Now { mono: clock::now(), wall_ms: clock::wall_ms() }
    }
}

/// One record of an internal partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayedRecord<'a> {
    /// The record's offset in the partition.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp_ms: i64,
    /// The record's key, which begins with its version.
    pub key: &'a [u8],
    /// `None` is a tombstone: it deletes the key's state.
    pub value: Option<&'a [u8]>,
    /// The producer whose transaction contains the record. The record takes effect when that transaction commits.
    pub transaction: Option<(ProducerId, ProducerEpoch)>,
}

/// Why a state machine cannot replay a record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer release wrote the record. The load skips it, as Kafka does.
    #[error("its key has the unknown version {0}")]
    UnknownKey(i16),
    /// Every record of an internal topic has a key.
    #[error("it has no key")]
    NoKey,
    /// The key or the value is not in Kafka's format.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The value has a version that this release cannot read.
    #[error("its OffsetCommitValue has the unknown version {0}")]
    UnknownOffsetValue(i16),
    /// Kafka has no transaction state with this number.
    #[error("it has the unknown transaction state {0}")]
    UnknownTransactionState(i8),
    /// A consumer group's record, while a classic group of that id has members.
    #[error("it belongs to the consumer group {0}, which is a classic group with members")]
    NotAConsumerGroup(String),
}

/// A state machine over one internal partition. Pure: its inputs are its records, its steps and their [`Now`].
pub trait StateMachine: Sized + 'static {
    /// The internal topic that stores the records.
    const TOPIC: InternalTopic;

    /// Applies a record. Only this function changes state that must survive a restart. The machine must be able to
    /// replay every record that it wrote itself.
    fn replay(&mut self, record: &ReplayedRecord<'_>) -> Result<(), Unreadable>;

    /// A producer's transaction has ended: its records in this partition take effect (`is_committed`), or are
    /// discarded.
    fn end_transaction(&mut self, producer: ProducerId, is_committed: bool);

    /// The whole log is replayed and steps follow. Arms deadlines.
    fn on_loaded(&mut self, image: &Arc<Image>, now: Now, writes: &mut Writes<Self>);

    /// The cluster's metadata has changed.
    fn on_image_changed(&mut self, update: &ImageUpdate, now: Now, writes: &mut Writes<Self>);

    /// When to call [`on_deadline`](Self::on_deadline) next. Called after every step, so it must be cheap.
    fn deadline(&self) -> Option<Mono>;

    /// The deadline has passed. Does the due work, or a part of it: the rest stays due.
    fn on_deadline(&mut self, now: Now, writes: &mut Writes<Self>);
}

/// The error that a coordinator's client receives for a failed append: Kafka's map (`handleOperationException`).
pub fn code_of_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
