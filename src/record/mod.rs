//! The record batch v2 as bytes: header, walking, reading, building, compressing, and the checks of a leader.
//!
//! Owns: nothing. Every function is pure: no clock, no files.
//! Inputs: the bytes of a batch, from a producer, a segment or a peer.
//! Outputs: views that borrow those bytes, headers by value, or a new batch.
//!
//! ```text
//! produce:  bytes --validate--> Accepted { header, records } --stored_header(offset, epoch)--> log
//! read:     segment bytes --batches()--> Batch --Decompressor--> Records --> Record
//! build:    records --BatchBuilder--> a whole batch
//! compact:  batch, its retained records --retain--> the batch with these records
//! ```
//!
//! Invariants:
//! - REC-1: no function panics on any input bytes, and none allocates more than the input times the largest expansion
//!   of its codec, or more than the caller's limit.
//! - REC-2: the CRC does not cover base offset and leader epoch, so patching them keeps a batch valid.
//! - REC-3: a batch that [`validate::validate`] accepts has `last_offset_delta + 1 == records_count`, offset deltas 0,
//!   1, 2, .., the maximum of its timestamps as `max_timestamp`, and a matching CRC, and decompresses within the limit.
//!
//! Does not know: topics, partitions, requests, assigned offsets, the state of producers. Runs on any thread.

pub mod builder;
pub mod codec;
pub mod control;
pub mod header;
pub mod records;
pub mod retain;
pub(crate) mod timestamps;
pub mod validate;
mod varint;
pub mod walk;

pub use builder::BatchBuilder;
pub use codec::{Codec, CodecError, Decompressor};
pub use control::Marker;
pub use header::{BatchHeader, HEADER_BYTES, TimestampType};
pub use records::{Header, Record, RecordError, Records};
pub use walk::{Batch, Batches, Broken, batches};

#[cfg(test)]
mod tests;
