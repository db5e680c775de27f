//! Kafka's wire format: frames, primitives, and one file per API.
//!
//! Owns: the layout of each request and response at each version. The broker decodes requests and encodes responses;
//! the load generator and the command line do the reverse, against any Kafka broker.
//! In: a frame's bytes without the length prefix, as a [`Reader`]. Out: typed requests, and frames ready to send: as a
//! [`Writer`], or as [`Pieces`] if they carry record bytes.
//!
//! ```text
//! bytes -> frame::RequestHeader -> data | group | txn | admin ::x::XRequest     (api executes it)
//! XResponse -> frame::response / FetchResponseWriter -> bytes | Pieces          (net sends it)
//! ```
//!
//! The messages are in [`data`], [`group`], [`txn`] and [`admin`]; [`for_each_message!`] lists them all. Produce and
//! Fetch are written by hand, because every partition of a request pays their cost. All others are declared field by
//! field with `message!`, as Kafka's own schemas are.
//!
//! Invariants:
//! - WIRE-1: a decoder never panics: it rejects bad bytes with a [`Malformed`] that names a position inside the frame.
//! - WIRE-2: a decoder allocates for a count only if that many elements of the smallest size fit in the remaining
//!   bytes.
//! - WIRE-3: record bytes are never copied: a decoder returns their range, an encoder takes them as a payload.
//!
//! Does not know: sockets, the meaning of a request, whether a topic exists, or which versions a handler accepts. It
//! keeps no state and runs on the thread that calls it.

#[macro_use]
pub(crate) mod message;

pub mod admin;
mod api_table;
pub mod data;
pub mod frame;
pub mod group;
mod pieces;
mod reader;
mod topic;
pub mod txn;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::for_each_message;
pub use api_table::{API_TABLE, Api, ApiKey};
pub use data::{CurrentLeader, NodeEndpoint};
pub use message::{Bytes, Message, Wire};
pub(crate) use message::{in_versions, message, message_or};
pub use pieces::{Payload, Pieces};
pub use reader::{ARRAY_ELEMENTS_MAX, Malformed, Reader, TAGGED_FIELDS_MAX};
pub use topic::Topic;
pub use writer::{Unencodable, Writer};
