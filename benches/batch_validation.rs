//! One stage: the validation of a batch (structure, CRC, every record), compared with its CRC alone, which is the
//! minimum.
//!
//! The two alternate, so that a disturbance of the machine affects both. Each figure is the median of the rounds.
//!
//! cargo bench --bench batch_validation

mod statistics;

use std::hint::black_box;
use std::time::Instant;

use statistics::median;
use tidemill::record::builder::BatchOptions;
use tidemill::record::validate::{Rules, TopicCompression, validate};
use tidemill::record::{BatchBuilder, Codec, Decompressor, TimestampType};

const ROUNDS: usize = 31;
const BYTES_PER_ROUND: usize = 16 << 20;
/// The CRC covers everything from `attributes` on.
const CRC_FROM: usize = 21;

fn batch(records: usize, value_bytes: usize, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..records {
        let value: Vec<u8> = (0..value_bytes)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        builder.append(1_000, None, Some(&value), std::iter::empty());
    }
    builder.finish()
}

/// Nanoseconds per call.
fn time(times: usize, mut once: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| once());
    start.elapsed().as_nanos() as f64 / times as f64
}

fn main() {
    let rules = Rules {
        zstd_rejection: None,
        message_bytes_max: 2 << 20,
        record_bytes_max: usize::MAX,
        segment_bytes_max: 1 << 30,
        compression: TopicCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        is_compacted: false,
        now_ms: 1_000,
    };
    let mut decompressor = Decompressor::new(128 << 20);
    println!("Batch validation, ns per batch (medians of {ROUNDS} alternating rounds)\n");
    println!("{:>8} {:>7} {:>8} {:>11} {:>11} {:>7}", "records", "value", "codec", "validation", "CRC alone", "ratio");
    for codec in [Codec::None, Codec::Lz4] {
        for (records, value) in [(1, 100), (1, 1024), (16, 1024), (100, 100), (1000, 100), (1000, 1000)] {
            let batch = batch(records, value, codec);
            let times = (BYTES_PER_ROUND / batch.len()).clamp(1, 20_000);
            let (mut whole, mut crc) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                whole.push(time(times, || {
                    black_box(validate(black_box(&batch), &rules, &mut decompressor)).expect("the batch is valid");
                }));
                crc.push(time(times, || {
                    black_box(crc32c::crc32c(black_box(&batch[CRC_FROM..])));
                }));
            }
            let (whole, crc) = (median(whole), median(crc));
            println!("{records:>8} {value:>7} {:>8} {whole:>11.0} {crc:>11.0} {:>6.2}x", codec.name(), whole / crc);
        }
    }
}
