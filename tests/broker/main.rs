//! Tests that start a Tidemill node and speak the protocol to it, or run its command line.
//!
//! | module | claim |
//! |---|---|
//! | `protocol`, `transactions` | the statements of `tests/statements.md`, in raw frames |
//! | `groups` | members, generations and committed offsets, also after a restart |
//! | `produce_rules` | the rules for a produced batch, checked against `record::validate` and a node |
//! | `bad_input` | malformed and hostile bytes get an error or close the connection |
//! | `limits` | slow readers, idle connections, fast producers and a full disk stay within their bounds |
//! | `restart`, `retention` | acknowledged records survive stops, kills and changed shard counts; old segments go |
//! | `serve`, `startup_refusals` | start-up, its advice and its refusals |
//! | `steer` | connections on one port move to the shard that their client addresses |
//! | `configuration` | settings from Kafka's file, the environment and the arguments; the lines of a start |
//! | `edge` | metrics are true, health follows the start, and no number of clients stops them |
//! | `perf` | the load generator: sweeps, mixed loads, reports, bad input |
//! | `tuning` | `tune` and `doctor`: profiles of this machine, settings of a made-up host |
//! | `data_directory` | missing, damaged and foreign files are named, and nothing is changed |
//! | `command_line`, `administration`, `inspect` | the subcommands: output, errors and exit codes |

#[path = "../support/mod.rs"]
mod support;

mod administration;
mod bad_input;
mod broker_settings;
mod command_line;
mod configuration;
mod data_directory;
mod edge;
mod groups;
mod inspect;
mod limits;
mod perf;
mod produce_rules;
mod protocol;
mod restart;
mod retention;
mod serve;
mod startup_refusals;
mod steer;
mod transactions;
mod tuning;
