//! Statements 65 to 80, and 86 and 103 for transactions, against a running node in raw frames.
//!
//! Other tests cover the coordinator's decisions (`coordinator::txn::tests`), the batches that a partition accepts
//! (`partition::producers::tests`) and power failures (`tests/crash/faults`).

mod clients;
mod command_line;
mod markers;
mod offsets;
mod producer;
mod readers;
mod restarts;
mod rules;
