//! Kafka's own platform, unmodified, on a Tidemill node: Connect, MirrorMaker 2 and Streams.
//!
//! Each test starts several JVMs, so they run one after the other (`support::turn`).

#[path = "../support/mod.rs"]
mod support;

mod connect;
mod mirror;
mod streams;
