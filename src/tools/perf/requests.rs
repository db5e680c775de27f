//! The frames that the load generator sends.
//!
//! Produce frames are encoded before the measurement starts and are sent many times. Only the correlation id differs
//! between two sends, so the head is separate from the body, which is shared and never copied.

use super::Load;
use crate::record::BatchHeader;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::record::header::PREFIX_BYTES;
use crate::tools::Failure;
use crate::tools::time::now_ms;
use crate::wire::data::fetch::{FetchPartition, FetchRequest};
use crate::wire::data::produce::{ProduceHead, ProduceRequestWriter};
use crate::wire::{ApiKey, Topic};
use std::rc::Rc;

/// The Produce version: every broker supports it, and its record batches are those that clients use today.
pub const PRODUCE_VERSION: i16 = 7;
/// The Fetch version of all fetches.
pub const FETCH_VERSION: i16 = 11;
/// The size of the head: length, API key, version, correlation id.
pub const HEAD_BYTES: usize = 12;
const CLIENT_ID: &str = "tidemill-perf";

/// A Produce request without its head.
pub struct ProduceFrame {
    /// The bytes after the correlation id.
    pub body: Rc<[u8]>,
    pub partitions: Vec<i32>,
}

/// The Produce frames that one connection sends in turn, each for `partitions_per_request` of its partitions. `seed`
/// determines the record values.
pub fn produce_frames(
    topic: &str,
    load: &Load,
    partitions: &[i32],
    seed: u64,
) -> Result<Vec<Rc<ProduceFrame>>, Failure> {
    let per_request = load.partitions_per_request.get().min(partitions.len());
    let mut random = Random(seed | 1);
    let mut frames = Vec::with_capacity(partitions.len().div_ceil(per_request));
    for chunk in partitions.chunks(per_request) {
        let head = ProduceHead { transactional_id: None, acks: load.acks, timeout_ms: 30_000 };
        let mut writer = ProduceRequestWriter::new(PRODUCE_VERSION, 0, Some(CLIENT_ID), head, 1);
        writer.topic(Topic::Name(topic), chunk.len());
        for &partition in chunk {
            writer.partition(partition, batch(load, &mut random));
        }
        let frame = writer.finish();
        let frame = frame.map_err(|error| Failure::new(format!("cannot encode the Produce request: {error}")))?;
        let frame = frame.to_vec();
        frames.push(Rc::new(ProduceFrame { body: frame[HEAD_BYTES..].into(), partitions: chunk.to_vec() }));
    }
    Ok(frames)
}

/// A Fetch frame without a session, for the partitions and offsets in `next`. The broker waits up to 500 ms for the
/// first byte.
pub fn fetch_frame(
    topic: &str,
    next: impl Iterator<Item = (i32, i64)>,
    correlation_id: i32,
    partition_bytes: i32,
    answer_bytes: i32,
) -> Result<Vec<u8>, Failure> {
    let partitions = next.map(|(partition, offset)| FetchPartition {
        partition_max_bytes: partition_bytes,
        ..FetchPartition::new(Topic::Name(topic), partition, offset)
    });
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: answer_bytes,
        partitions: partitions.collect(),
        ..FetchRequest::default()
    };
    let frame = request.encode_frame(FETCH_VERSION, correlation_id, Some(CLIENT_ID));
    frame.map_err(|error| Failure::new(format!("cannot encode the Fetch request: {error}")))
}

/// The bytes of a batch in the log.
pub fn stored_bytes(header: &BatchHeader) -> u64 {
    header.batch_length as u64 + PREFIX_BYTES as u64
}

/// The head of a Produce frame.
pub fn head(request: &ProduceFrame, correlation_id: i32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let length = HEAD_BYTES - 4 + request.body.len();
    head[0..4].copy_from_slice(&(length as i32).to_be_bytes());
    head[4..6].copy_from_slice(&ApiKey::Produce.code().to_be_bytes());
    head[6..8].copy_from_slice(&PRODUCE_VERSION.to_be_bytes());
    head[8..12].copy_from_slice(&correlation_id.to_be_bytes());
    head
}

fn batch(load: &Load, random: &mut Random) -> Vec<u8> {
    let now = now_ms();
    let codec = load.compression.codec();
    let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
    let mut value = vec![0; load.record_bytes];
    let random_bytes = if codec == Codec::None { value.len() } else { value.len() / 4 };
    for _ in 0..load.batch_records.get() {
        random.fill(&mut value[..random_bytes]);
        builder.append(now, None, Some(&value), std::iter::empty());
    }
    builder.finish()
}

/// xorshift64*. The bytes are incompressible, and the same in every run.
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::batches;
    use crate::tools::produce::CompressionArg;
    use crate::wire::Reader;
    use crate::wire::data::produce::ProduceRequest;
    use crate::wire::frame::RequestHeader;

    #[test]
    fn head_and_body_decode_as_one_frame() {
        let load = Load {
            batch_records: 3.try_into().unwrap(),
            record_bytes: 100,
            compression: CompressionArg::None,
            partitions_per_request: 2.try_into().unwrap(),
            acks: -1,
            seconds: 1.0,
            warmup: 0.0,
            spin: false,
        };
        let requests = produce_frames("t", &load, &[4, 5, 6], 7).unwrap();
        let sent: Vec<_> = requests.iter().map(|request| request.partitions.clone()).collect();
        assert_eq!(sent, [vec![4, 5], vec![6]]);
        for (number, request) in requests.iter().enumerate() {
            let frame = [&head(request, 40 + number as i32)[..], &request.body].concat();
            assert_eq!(frame[..4], ((frame.len() - 4) as i32).to_be_bytes());
            let mut reader = Reader::new(&frame[4..]);
            let header = RequestHeader::decode(&mut reader).unwrap();
            assert_eq!((header.version, header.correlation_id), (PRODUCE_VERSION, 40 + number as i32));
            let produce = ProduceRequest::decode(&mut reader, PRODUCE_VERSION).unwrap();
            for (part, &partition) in produce.partitions().zip(&request.partitions) {
                assert_eq!((part.topic, part.partition), (Topic::Name("t"), partition));
                let batch = batches(part.records).next().unwrap().unwrap();
                assert!(batch.is_intact() && batch.header.records_count == 3);
            }
        }
    }
}
