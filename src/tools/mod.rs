//! What a person runs: the command line's verbs, and the Kafka client under them.
//!
//! Owns: the subcommands' arguments and their output, and [`client`], a small blocking client over `std::net`.
//! In: arguments, standard input, a broker's address. Out: tables, lines or JSON on standard output; progress and errors
//! on standard error.
//!
//! Runs on the process's own main thread; no shard and no ring is started. Works against any broker that speaks Kafka:
//! versions are negotiated, and nothing here knows that the broker might be Tidemill.

pub mod client;
mod connect;
pub mod consume;
pub mod failure;
pub mod group;
pub mod inspect;
pub mod perf;
pub mod produce;
mod time;
pub mod topic;
pub mod txn;

pub use failure::Failure;
