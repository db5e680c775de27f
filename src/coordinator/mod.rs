//! Coordinators: state machines that live in the logs of internal topics.
//!
//! Owns: the partitions of `__consumer_offsets` and `__transaction_state` that this shard has, each with the state that its
//! records tell: a [`Ledger`]. In: steps, each a decision of the state machine. Out: their answers, and records in Kafka's own
//! format in the partition's log.
//!
//! ```text
//! partition of a key -> its shard -> Ledger::step: decide (pure, on memory) -> records -> one batch into log and journal
//!                                                  -> StateMachine::replay of what was written -> answer, once Ledger::wait_durable
//! at a start         Ledger: read the log from its start -> StateMachine::replay of all of it -> StateMachine::loaded
//! ```
//!
//! A [`StateMachine`] is what differs between groups and transactions. To make one:
//! - what must survive a restart changes in [`StateMachine::replay`] alone, from a record; so a restart finds what was there;
//! - a step looks at the machine, puts records into [`Writes`] and says the answer; it may change what need not survive (who
//!   waits, deadlines) on the spot, or in [`Writes::then`], which is told whether the records were taken;
//! - whoever has to wait for another step leaves a `Sender` in the machine.
//!
//! Invariants:
//! - COOR-1: a key's coordinator is the shard that owns its partition of the internal topic; nobody else touches its state.
//! - COOR-2: steps of one ledger follow one another; each sees all of what the ones before it wrote.
//! - COOR-3: records that the log refuses change nothing.
//! - COOR-4: an answer leaves only when everything that its step saw is durable ([`Ledger::wait_durable`]): nobody learns what a
//!   crash may take back.
//!
//! It does not know requests, versions and connections: `api` decodes, finds the ledger, steps and encodes. Runs on the thread
//! of the shard that owns the partition.

pub mod group;
mod key;
mod ledger;
mod ledgers;
mod load;
#[cfg(test)]
mod tests;
mod timers;
pub mod topic;
pub mod txn;
mod writes;

pub use key::partition_of;
pub use ledger::Ledger;
pub use ledgers::Ledgers;
pub use timers::Timers;
pub use writes::Writes;

use std::sync::Arc;

use crate::metadata::Image;
use crate::model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use crate::runtime::Mono;
use crate::runtime::clock;
use topic::InternalTopic;

/// The time of a step. Deadlines are of the monotonic clock; what is written down is of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    pub mono: Mono,
    pub wall_ms: i64,
}

impl Now {
    pub fn read() -> Now {
        Now { mono: clock::now(), wall_ms: clock::wall_ms() }
    }
}

/// One record of an internal partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayedRecord<'a> {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: &'a [u8],
    /// `None` is a tombstone: what the key stood for is gone.
    pub value: Option<&'a [u8]>,
    /// Written in a transaction of this producer: it counts when that is committed.
    pub transaction: Option<(ProducerId, ProducerEpoch)>,
}

/// Why a record says nothing to its machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Of a newer release: passed over, as Kafka does.
    #[error("its key is of the unknown version {0}")]
    UnknownKey(i16),
    #[error("{0}")]
    Malformed(String),
}

/// A state machine over one internal partition. Pure: what it knows comes from its records, its steps and their [`Now`].
pub trait StateMachine: Sized + 'static {
    const TOPIC: InternalTopic;

    /// Takes over what a record says. The only place where what must survive a restart changes. Of what the machine has
    /// written itself it can read everything.
    fn replay(&mut self, entry: &ReplayedRecord<'_>) -> Result<(), Unreadable>;

    /// A producer's transaction has ended: what it wrote here counts (`is_committed`), or never did.
    fn end_transaction(&mut self, producer: ProducerId, is_committed: bool);

    /// All of the log was replayed; steps come next. The time to arm deadlines.
    fn on_loaded(&mut self, image: &Arc<Image>, now: Now, writes: &mut Writes<Self>);

    /// The cluster's metadata has changed.
    fn on_image_changed(&mut self, before: &Arc<Image>, after: &Arc<Image>, now: Now, writes: &mut Writes<Self>);

    /// When [`elapsed`](Self::elapsed) is to be called next. Asked after every step: it must be cheap.
    fn deadline(&self) -> Option<Mono>;

    /// The deadline has come. Does what is due, or a part of it: the rest stays due.
    fn on_deadline(&mut self, now: Now, writes: &mut Writes<Self>);
}

/// What a coordinator's client is told about a failed append: Kafka's map (`handleOperationException`).
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
