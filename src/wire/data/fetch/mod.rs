//! Fetch (key 1), versions 4 to 18: by hand, because its cost is paid per partition of every request.
//!
//! The request is decoded into flat lists of small structs; the answer is built as [`Pieces`](crate::wire::Pieces), so that
//! records leave from the buffers they are already in. Compact and tagged from v12; topics by id from v13 (KIP-516);
//! sessions from v7 (KIP-227).

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchHead, FetchResponse, FetchResponseWriter, FetchedPartition, PartitionHead,
};

const BY_ID_FROM: i16 = 13;
