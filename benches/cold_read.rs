//! One stage: reads of a log that is not in memory, compared with bare O_DIRECT reads of the same file. The bare reads
//! have the size of the log's pages, and eight are in flight.
//!
//! TMPDIR selects the disk. cargo bench --bench cold_read

mod statistics;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use statistics::median;
use tidemill::config::TopicConfig;
use tidemill::log::read::ReadRequest;
use tidemill::log::recover::Known;
use tidemill::log::segment::PAGE_BYTES;
use tidemill::log::tail::Memory;
use tidemill::log::{AppendedBatch, Log};
use tidemill::model::{LeaderEpoch, Offset};
use tidemill::record::BatchBuilder;
use tidemill::record::builder::BatchOptions;
use tidemill::runtime::{self, AlignedBuf, Class, Config, File, Open};

const ROUNDS: usize = 5;
const LOG_BYTES: usize = 192 << 20;
const MEMORY_BYTES: usize = 32 << 20;
const DEPTH: usize = 8;
/// The bytes that a response sends at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Writes a log of batches of 16 records of 1 KiB, and closes it.
async fn fill(directory: &Path) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = [7u8; 1024];
    (0..16).for_each(|_| builder.append(0, None, Some(&value), std::iter::empty()));
    let mut batch = builder.finish();
    let log = Log::create(directory, Rc::<TopicConfig>::default(), Memory::new(MEMORY_BYTES))
        .await
        .expect("the directory is writable");
    for number in 0..LOG_BYTES / batch.len() {
        let base_offset = number as i64 * 16;
        batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
        batch[12..16].copy_from_slice(&0i32.to_be_bytes());
        while !log.reserve(batch.len(), 16, 0).await.expect("the disk works") {
            log.flush().await.expect("the disk has space");
        }
        let appended = AppendedBatch {
            base_offset: Offset(base_offset),
            last_offset: Offset(base_offset + 15),
            leader_epoch: LeaderEpoch(0),
            max_timestamp: 0,
            offset_of_max_timestamp: Offset(base_offset),
        };
        log.append(&appended, &[&batch], 0);
    }
    log.close().await.expect("the disk works");
}

/// MB/s of reads of `bytes` each, one after the other, as a consumer fetches.
async fn read_log(directory: &Path, bytes: usize) -> f64 {
    let memory = Memory::new(MEMORY_BYTES);
    let log = Log::open(directory, Rc::<TopicConfig>::default(), Known::Nothing, memory, &mut |_, _| {})
        .await
        .expect("the log is readable");
    // Opening the log has read every batch. Only the end of the log is still in memory; the start is cold again.
    let (end, mut offset, mut total) = (log.end_offset(), log.start_offset(), 0);
    let start = Instant::now();
    while offset < end {
        let request = ReadRequest { from: offset, bytes_max: bytes, limit: end, at_least_one: true, knows_zstd: true };
        let mut read = log.read(&request).await.expect("the log is readable");
        for extent in &mut read.extents {
            while extent.bytes() > 0 {
                let part = extent.load(WINDOW_BYTES).await.expect("the log is readable");
                extent.advance(part.len());
            }
        }
        assert!(read.next_offset > offset, "a read below the end returns records");
        (offset, total) = (read.next_offset, total + read.bytes);
    }
    total as f64 / 1e6 / start.elapsed().as_secs_f64()
}

/// MB/s of bare reads.
async fn read_bare(path: &Path) -> f64 {
    let file =
        File::open(path, Open { read: true, direct: true, ..Open::default() }).await.expect("the file of the log");
    let length = file.len().await.expect("the file has a length");
    let next = Rc::new(Cell::new(0u64));
    let start = Instant::now();
    let tasks: Vec<_> = (0..DEPTH)
        .map(|_| {
            let (file, next) = (file.clone(), next.clone());
            runtime::spawn(Class::Foreground, "bare reader", async move {
                let mut buf = AlignedBuf::alloc(PAGE_BYTES as usize).expect("within the budget");
                while next.get() < length {
                    let position = next.replace(next.get() + PAGE_BYTES);
                    let (read, back) = file.read_at(buf, 0, PAGE_BYTES as usize, position).await;
                    buf = back;
                    assert!(read.expect("the disk works") > 0);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    length as f64 / 1e6 / start.elapsed().as_secs_f64()
}

async fn compare(directory: PathBuf) {
    let log = directory.join("cold-0");
    fill(&log).await;
    let file = log.join("00000000000000000000.log");
    println!("Read of a cold log of {} MiB (medians of {ROUNDS} alternating rounds)\n", LOG_BYTES >> 20);
    println!("{:>14} {:>10} {:>14} {:>7}", "bytes a fetch", "log MB/s", "bare MB/s", "ratio");
    for bytes in [64 << 10, 1 << 20, 4 << 20] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(read_log(&log, bytes).await);
            theirs.push(read_bare(&file).await);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{bytes:>14} {ours:>10.0} {theirs:>14.0} {:>6.2}x", ours / theirs);
    }
}

fn main() {
    let directory = std::env::temp_dir().join(format!("tidemill-cold-read-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let inner = directory.clone();
    runtime::run(Config::default(), || compare(inner)).expect("a ring");
    let _ = std::fs::remove_dir_all(directory);
}
