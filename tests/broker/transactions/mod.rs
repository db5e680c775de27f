//! Transactions, statement by statement, against a running node that is spoken to in raw frames (statements 65 to 78).
//!
//! What the coordinator decides when is held by `coordinator::txn::tests`, what a partition takes by
//! `partition::producers::tests`, what survives a power failure by `tests/crash/faults`.

mod clients;
mod command_line;
mod markers;
mod offsets;
mod producer;
mod readers;
mod restarts;
mod rules;
