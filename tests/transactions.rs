//! Transactions, statement by statement, against a running node that is spoken to in raw frames (statements 65 to 78).
//!
//! What the coordinator decides when is held by `coordinator::txn::tests`, what a partition takes by
//! `partition::producers::tests`, what survives a power failure by `tests/faults`.

mod support;

#[expect(dead_code, reason = "tests/protocol.rs uses the rest")]
#[path = "protocol/bench.rs"]
mod bench;
#[expect(dead_code, reason = "tests/protocol.rs uses the rest")]
#[path = "protocol/talk.rs"]
mod talk;

#[path = "transactions/clients.rs"]
mod clients;
#[path = "transactions/command_line.rs"]
mod command_line;
#[path = "transactions/markers.rs"]
mod markers;
#[path = "transactions/offsets.rs"]
mod offsets;
#[path = "transactions/producer.rs"]
mod producer;
#[path = "transactions/readers.rs"]
mod readers;
#[path = "transactions/restarts.rs"]
mod restarts;
#[path = "transactions/rules.rs"]
mod rules;
