//! Kafka's wire format: frames, primitives, and one file per API.
//!
//! Owns: how a request or an answer is laid out at each version, in both directions (the broker decodes requests and
//! encodes answers; the load generator and the command line do the reverse, against any broker).
//! In: a frame's bytes without the length prefix, as a [`Reader`]. Out: typed requests that borrow from those bytes,
//! and frames ready to send, as a [`Writer`] or, where record bytes are involved, as [`Pieces`].
//!
//! ```text
//! bytes -> frame::RequestHeader -> produce | fetch | metadata | ... ::XRequest     (api decides what it means)
//! XResponse -> frame::response / FetchResponseWriter -> bytes | Pieces             (net sends it)
//! ```
//!
//! Produce and Fetch are written by hand, because their cost is paid per partition; everything else, ApiVersions too, is
//! declared field by field with `message!`, as Kafka's own schemas are.
//!
//! Invariants:
//! - WIRE-1: no decoder panics, whatever the bytes; what is wrong with them is a [`Malformed`] with its position.
//! - WIRE-2: nothing is allocated for a count before that many smallest elements fit in the bytes that remain.
//! - WIRE-3: record bytes are never copied here: a decoder says where they are, an encoder takes them as a payload.
//!
//! Does not know: sockets, what a request means, whether a topic exists, or which versions a handler likes; it runs on
//! whichever thread calls it and keeps no state.

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
