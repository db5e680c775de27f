//! One stage: the append of a batch to its log in memory (reservation, copy, indexes), compared with the copy alone.
//!
//! Both fill the same number of new 1 MiB blocks of the arena. The two alternate; each figure is the median of the
//! rounds.
//!
//! cargo bench --bench log_append

mod statistics;

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use statistics::median;
use tidemill::config::TopicConfig;
use tidemill::log::tail::Memory;
use tidemill::log::{AppendedBatch, Log};
use tidemill::model::{LeaderEpoch, Offset};
use tidemill::runtime::{self, AlignedBuf, Config};

const ROUNDS: usize = 21;
const BYTES_PER_ROUND: usize = 32 << 20;
const BLOCK_BYTES: usize = 1 << 20;
const HEADER_BYTES: usize = 61;

/// Nanoseconds per batch. Nothing is written to disk: the round ends before the memory is full, and drops its chunks.
async fn append(directory: &Path, header: &[u8], records: &[u8], count: usize) -> f64 {
    let memory = Memory::new(2 * BYTES_PER_ROUND);
    let log = Log::create(directory, Rc::<TopicConfig>::default(), memory.clone()).await.expect("a directory");
    let bytes = header.len() + records.len();
    let start = Instant::now();
    for number in 0..count {
        if !log.has_room(bytes, 1, 0) {
            assert!(log.reserve(bytes, 1, 0).await.expect("no file is written"), "the memory is twice the round");
        }
        let offset = number as i64;
        let batch = AppendedBatch {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            max_timestamp: offset,
            offset_of_max_timestamp: Offset(offset),
        };
        log.append(&batch, &[header, records], 0);
    }
    let took = start.elapsed().as_nanos() as f64 / count as f64;
    // Dirty chunks keep their segment alive.
    while memory.take_dirty().is_some() {}
    took
}

/// Nanoseconds per batch.
fn copy(header: &[u8], records: &[u8], count: usize) -> f64 {
    let bytes = header.len() + records.len();
    let start = Instant::now();
    let mut blocks: Vec<AlignedBuf> = Vec::new();
    let mut filled = BLOCK_BYTES;
    for _ in 0..count {
        if filled + bytes > BLOCK_BYTES {
            blocks.push(AlignedBuf::alloc(BLOCK_BYTES).expect("within the budget"));
            filled = 0;
        }
        let block = blocks.last_mut().expect("just pushed");
        block[filled..filled + header.len()].copy_from_slice(header);
        block[filled + header.len()..filled + bytes].copy_from_slice(records);
        filled += bytes;
    }
    black_box(&blocks);
    start.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let directory = std::env::temp_dir().join(format!("tidemill-log-append-{}", std::process::id()));
    println!("Append to the log in memory, ns per batch (medians of {ROUNDS} alternating rounds)\n");
    println!("{:>11} {:>10} {:>10} {:>7}", "batch bytes", "append", "memcpy", "ratio");
    let removed = directory.clone();
    let run = async move {
        for records in [100, 1024, 16 << 10, 128 << 10] {
            let (header, records) = (vec![1u8; HEADER_BYTES], vec![7u8; records]);
            let count = BYTES_PER_ROUND / (HEADER_BYTES + records.len());
            let (mut appended, mut copied) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                appended.push(append(&directory, &header, &records, count).await);
                copied.push(copy(&header, &records, count));
            }
            let (appended, copied) = (median(appended), median(copied));
            let bytes = HEADER_BYTES + records.len();
            println!("{bytes:>11} {appended:>10.0} {copied:>10.0} {:>6.2}x", appended / copied);
        }
    };
    runtime::run(Config::default(), || run).expect("a ring");
    let _ = std::fs::remove_dir_all(removed);
}
