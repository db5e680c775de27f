//! Sockets: listeners, and connections that carry Kafka frames.
//!
//! Owns: the connections of a shard and the memory of frames that are partly received. In: bytes. Out: frames to
//! [`crate::api`] in the order of their arrival, and its responses in the same order. It does not know the meaning of a
//! request. Each shard accepts on the shared listening port (SO_REUSEPORT) and, in direct routing, on a port of its
//! own. In steer and forward routing a connection moves to the shard that its requests need. Runs on the shard's
//! thread.
//!
//! Invariants:
//! - NET-1: responses leave a connection in the order of its requests.
//! - NET-2: the memory of a frame grows with the bytes that arrived, not with the announced length.
//! - NET-3: a connection has at most [`connection::IN_FLIGHT_MAX`] requests that are started and not answered.

pub mod addresses;
pub mod connection;
mod frames;
pub mod listener;
mod refusals;
