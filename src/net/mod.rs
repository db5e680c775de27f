//! Sockets: listeners, and connections that carry Kafka frames.
//!
//! In: bytes. Out: frames to [`crate::api`] in the order in which they came, and its answers in that same order. It
//! does not know what a request means. Each shard accepts on the shared listening port (SO_REUSEPORT) and, in direct
//! routing, on a port of its own. Runs on the shard's thread.
//!
//! Invariants:
//! - NET-1: answers leave a connection in the order of its requests.
//! - NET-2: memory follows bytes that arrived, never bytes that were announced.
//! - NET-3: a connection whose answers wait is not read beyond [`connection::IN_FLIGHT_MAX`] requests.

pub mod connection;
mod frames;
pub mod listener;
