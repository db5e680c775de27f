//! Fetch (key 1), versions 4 to 18. Written by hand, because every partition of a request pays its cost.
//!
//! A request is decoded into flat lists of small structs. A response is built as [`Pieces`](crate::wire::Pieces), so
//! that records are sent from the buffers that already hold them. Compact and tagged from v12; topics by id from v13
//! (KIP-516); sessions from v7 (KIP-227).

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchHead, FetchResponse, FetchResponseWriter, FetchedPartition, PartitionHead,
};

const BY_ID_FROM: i16 = 13;
