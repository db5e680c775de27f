//! Requests of transactional and idempotent producers, and the admin requests about transactions.
//!
//! `transactions` calls the coordinator of a transactional id on its shard, and writes the markers of decided
//! transactions.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod describe_producers;
pub(crate) mod describe_transactions;
pub(crate) mod end_txn;
pub(crate) mod init_producer_id;
pub(crate) mod list_transactions;
pub(crate) mod producer_ids;
pub(crate) mod transactions;
pub(crate) mod write_txn_markers;
