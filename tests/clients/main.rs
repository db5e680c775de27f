//! Tests whose referees are unmodified Kafka clients and Kafka's own tools. The client programs are in the directories
//! beside this file.
//!
//! | module | claim |
//! |---|---|
//! | `administer` | the admin calls of clients have the effects that the clients' own tests expect |
//! | `read_back` | each client reads back its own records and those of every other client |
//! | `one_port` | each client reaches every shard through one port, also behind a forwarded port |
//! | `dump_log` | Kafka's segment dump reads our segments, and Tidemill adopts a topic directory that Kafka wrote |
//! | `kafka_tools` | Kafka's tools for reassignments, elections, features and the quorum end without an exception |
//! | `compaction` | Tidemill and Kafka keep the same records of a compacted topic |
//! | `subscriptions` | a member that changes its subscription during a rebalance stays in its group |

#[path = "../support/mod.rs"]
mod support;

mod administer;
mod compaction;
mod dump_log;
mod kafka_tools;
mod one_port;
mod read_back;
mod subscriptions;
