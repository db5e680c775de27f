//! The record batch v2 as bytes: header, walking, reading, building, compressing, and what a leader accepts.
//!
//! Owns: nothing. Every function here is pure: bytes in, values or bytes out; no clock, no files, no threads of its own.
//! In: a batch as it came from a producer, from a segment or from a peer. Out: views that borrow those bytes, headers by
//! value, or a new batch.
//!
//! ```text
//! produce:  bytes --validate--> Accepted { header, records } --stored_header(offset, epoch)--> log
//! read:     segment bytes --batches()--> Batch --Decompressor--> Records --> Record
//! build:    records --BatchBuilder--> a whole batch
//! compact:  batch, which of its records stay --retain--> the batch with those left
//! ```
//!
//! Invariants:
//! - REC-1: no function panics on any input bytes, and none allocates more than the bytes it was given back up, times a
//!   codec's real expansion, capped by the caller's limit.
//! - REC-2: base offset and leader epoch lie outside the CRC; patching them never changes a batch's validity.
//! - REC-3: what [`validate::validate`] accepts has `last_offset_delta + 1 == records_count`, offset deltas 0, 1, 2, ..,
//!   a true `max_timestamp`, a matching CRC, and decompresses within the limit.
//!
//! Does not know: topics, partitions, requests, offsets already taken, producers' histories.

pub mod builder;
pub mod codec;
pub mod control;
pub mod header;
pub mod records;
pub mod retain;
pub mod timestamps;
pub mod validate;
pub mod varint;
pub mod walk;

pub use builder::BatchBuilder;
pub use codec::{Codec, CodecError, Decompressor};
pub use control::Marker;
pub use header::{BatchHeader, HEADER_BYTES, TimestampType};
pub use records::{Header, Record, RecordError, Records};
pub use walk::{Batch, Batches, Broken, batches};

#[cfg(test)]
mod tests;
