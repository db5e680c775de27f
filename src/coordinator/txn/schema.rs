//! The records of `__transaction_state`: `TransactionLogKey` 0 and `TransactionLogValue` 0 and 1. Each starts with its
//! version; a value of version 1 is flexible.

use crate::coordinator::Unreadable;
use crate::wire::{Malformed, Reader, Wire, Writer, message};

/// The version that Kafka writes since `transaction.version=1`.
const VERSION: i16 = 1;
const FLEXIBLE_FROM: i16 = 1;
const VERSION_MAX: i16 = 1;

message! {
    /// The state of a transactional id.
    part TransactionLogValue {
        /// The current producer's id.
        producer_id: i64, 0+;
        /// The current producer's epoch.
        producer_epoch: i16, 0+;
        /// The producer's `transaction.timeout.ms`.
        transaction_timeout_ms: i32, 0+;
        /// The number of a [`TransactionState`](super::TransactionState).
        transaction_status: i8, 0+;
        /// Null in the Empty state.
        transaction_partitions: Option<Vec<TransactionLogPartitions>>, 0+;
        /// Wall time of this record in ms since 1970, for `transactional.id.expiration.ms`.
        transaction_last_update_timestamp_ms: i64, 0+;
        /// Wall time of the first partition in ms since 1970; -1 if no transaction was started.
        transaction_start_timestamp_ms: i64, 0+;
        /// The producer id before its epochs were exhausted.
        previous_producer_id: i64, 1+, tag = 0, default = -1, ignorable = true;
        /// The producer id that the producer gets at the end of this transaction, because its epochs are exhausted.
        next_producer_id: i64, 1+, tag = 1, default = -1, ignorable = true;
        /// The `transaction.version` that the producer follows; 2 raises the epoch with each transaction (KIP-890).
        client_transaction_version: i16, 1+, tag = 2, ignorable = true;
    }

    /// The partitions of one topic in the transaction.
    part TransactionLogPartitions {
        /// The topic's name.
        topic: String, 0+;
        /// Partition indexes.
        partition_ids: Vec<i32>, 0+;
    }
}

impl TransactionLogValue {
    /// Parses a value with its version.
    pub fn parse(bytes: &[u8]) -> Result<TransactionLogValue, Malformed> {
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        let version = r.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(r.malformed("an unknown version of TransactionLogValue"));
        }
        r.set_flexible(version >= FLEXIBLE_FROM);
        let value = <TransactionLogValue as Wire>::decode(&mut r, version)?;
        r.end()?;
        Ok(value)
    }

    /// The value with its version, as Kafka writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(VERSION, false);
        w.i16(VERSION);
        w.set_flexible(true);
        Wire::encode(self, &mut w, VERSION);
        w.finish().expect("every field is in the version")
    }
}

/// The transactional id of a key.
pub fn parse_key(bytes: &[u8]) -> Result<&str, Unreadable> {
    let mut r = Reader::new(bytes);
    r.set_flexible(false);
    match r.i16()? {
        0 => Ok(r.string()?),
        version => Err(Unreadable::UnknownKey(version)),
    }
}

/// The key of a transactional id.
pub fn key(transactional_id: &str) -> Vec<u8> {
    let mut w = Writer::new(0, false);
    w.i16(0);
    w.string(transactional_id);
    w.finish().expect("the request that carried the id has the same length limit")
}
