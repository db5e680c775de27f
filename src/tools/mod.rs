//! The subcommands of the command line, and the Kafka client that they share.
//!
//! - Owns: the arguments and the output of each subcommand, and [`client`], a small blocking client over `std::net`.
//! - Inputs: arguments, standard input, the address of a broker.
//! - Outputs: tables, lines or JSON on standard output; progress and errors on standard error.
//! - Does not know: whether the broker is Tidemill. Versions are negotiated, so the commands work with every broker
//!   that speaks the Kafka protocol. Only [`inspect`], [`tune`] and [`doctor`] read files.
//! - Runs on the main thread of the process. Only [`tune`] starts shards and rings, to measure them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the command line runs on threads of its own, without a shard or a ring"
)]

pub mod client;
pub mod cluster;
pub mod config;
mod connect;
pub mod consume;
pub mod doctor;
pub mod failure;
pub mod group;
pub mod inspect;
pub mod log_dirs;
mod output;
pub mod perf;
pub mod produce;
mod time;
pub mod topic;
pub mod tune;
pub mod txn;

pub use failure::Failure;
