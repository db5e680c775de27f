//! The messages of idempotent and transactional producers.
//!
//! One file per API. All are declared with `message!`; the invariants are those of [`wire`](crate::wire).

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod describe_producers;
pub mod describe_transactions;
pub mod end_txn;
pub mod init_producer_id;
pub mod list_transactions;
pub mod write_txn_markers;
