//! One stage: the group commit of the journal, compared with a bare loop of RWF_DSYNC writes on the same runtime. Both
//! have the same write size and queue depth, and write to a preallocated file.
//!
//! Each appender of the journal has one batch in flight and waits until it is durable. The bare loop writes blocks of
//! the journal's mean group size. So "groups MB/s" compares the cost of everything but the device, and "batches/write"
//! is the gain from shared flushes.
//!
//! TMPDIR selects the disk. cargo bench --bench group_commit

mod statistics;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use statistics::median;
use tidemill::disk::journal::group::{EntryKind, JournalEntry};
use tidemill::disk::journal::{IDLE, Journal, JournalSettings};
use tidemill::model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use tidemill::runtime::{self, AlignedBuf, Class, Config, Durability, File, Open, Slice};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(600);
const FILE_BYTES: u64 = 64 << 20;
const HEADER: [u8; 61] = [1; 61];

/// The rates of one round of the journal, per second.
struct Rates {
    groups: f64,
    batches: f64,
    bytes: f64,
}

async fn run_journal(journal: &Rc<Journal>, appenders: usize, records: usize) -> Rates {
    let is_over = Rc::new(Cell::new(false));
    let before = (journal.counters.groups.get(), journal.counters.batches.get(), journal.counters.bytes.get());
    let start = Instant::now();
    let tasks: Vec<_> = (0..appenders)
        .map(|number| {
            let (journal, is_over) = (journal.clone(), is_over.clone());
            runtime::spawn(Class::Foreground, "appender", async move {
                let records = vec![7u8; records];
                let partition = TopicPartition { topic: TopicId([1; 16]), partition: number as i32 };
                let mut base_offset = 0;
                while !is_over.get() {
                    journal.reserve(HEADER.len() + records.len()).await.expect("the journal works");
                    let entry = JournalEntry {
                        kind: EntryKind::Batch,
                        partition,
                        leader_epoch: LeaderEpoch(0),
                        base_offset: Offset(base_offset),
                    };
                    base_offset += 1;
                    let sequence = journal.append(entry, &HEADER, &records, true);
                    journal.wait_durable(sequence).await.expect("the disk works");
                    // The journal is not replayed, so its space is released at once.
                    journal.release(&journal.position());
                }
            })
        })
        .collect();
    runtime::sleep(ROUND).await;
    is_over.set(true);
    for task in tasks {
        task.await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let counters = &journal.counters;
    Rates {
        groups: (counters.groups.get() - before.0) as f64 / seconds,
        batches: (counters.batches.get() - before.1) as f64 / seconds,
        bytes: (counters.bytes.get() - before.2) as f64 / seconds,
    }
}

/// Writes per second of the bare loop.
async fn run_bare(file: &File, bytes: usize, depth: usize) -> f64 {
    let next = Rc::new(Cell::new(0u64));
    let (start, writes) = (Instant::now(), Rc::new(Cell::new(0u64)));
    let tasks: Vec<_> = (0..depth)
        .map(|_| {
            let (file, next, writes) = (file.clone(), next.clone(), writes.clone());
            runtime::spawn(Class::Foreground, "bare writer", async move {
                let group = Slice::from(AlignedBuf::alloc(bytes).expect("within the budget")).slice(0..bytes);
                while start.elapsed() < ROUND {
                    let position = next.get();
                    next.set(if position + 2 * bytes as u64 > FILE_BYTES { 0 } else { position + bytes as u64 });
                    file.write_at(group.clone(), position, Durability::DataSync).await.expect("the disk works");
                    writes.set(writes.get() + 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    writes.get() as f64 / start.elapsed().as_secs_f64()
}

/// A file whose blocks have all been written.
async fn preallocate(path: &Path) -> File {
    let open = Open { read: true, write: true, create: true, direct: true, ..Open::default() };
    let file = File::open(path, open).await.expect("the file opens");
    let mut zeros = AlignedBuf::alloc(1 << 20).expect("within the budget");
    zeros.fill(0);
    let zeros = Slice::from(zeros);
    for position in (0..FILE_BYTES).step_by(1 << 20) {
        file.write_at(zeros.clone(), position, Durability::Cached).await.expect("the disk has space");
    }
    file.sync_all().await.expect("the disk works");
    file
}

async fn compare(directory: PathBuf) {
    let file = preallocate(&directory.join("bare")).await;
    println!("Group commit (medians of {ROUNDS} alternating rounds; ratio: groups MB/s to bare MB/s)\n");
    println!(
        "{:>5} {:>9} {:>11} {:>10} {:>13} {:>12} {:>12} {:>7}",
        "depth", "appenders", "batch bytes", "batches/s", "batches/write", "groups MB/s", "bare MB/s", "ratio"
    );
    for depth in [1, 2, 4] {
        for (appenders, records) in [(1, 1024), (16, 1024), (64, 1024), (64, 16 << 10)] {
            let directory = directory.join(format!("journal-{depth}-{appenders}-{records}"));
            let settings = JournalSettings {
                directory,
                file_bytes: FILE_BYTES,
                files_max: 2,
                group_bytes_max: 1 << 20,
                depth,
                idle: IDLE,
            };
            let journal = Journal::create(settings).await.expect("the directory is writable");
            let writer = runtime::spawn(Class::Foreground, "journal", journal.clone().run());
            // Warm up until both files exist.
            run_journal(&journal, appenders, records).await;
            let (mut batches, mut shared, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let rates = run_journal(&journal, appenders, records).await;
                let group = ((rates.bytes / rates.groups) as usize).next_multiple_of(4096);
                batches.push(rates.batches);
                shared.push(rates.batches / rates.groups);
                ours.push(rates.bytes / 1e6);
                theirs.push(run_bare(&file, group, depth).await * group as f64 / 1e6);
            }
            journal.close();
            writer.await;
            let (ours, theirs) = (median(ours), median(theirs));
            println!(
                "{depth:>5} {appenders:>9} {:>11} {:>10.0} {:>13.1} {ours:>12.1} {theirs:>12.1} {:>6.2}x",
                HEADER.len() + records,
                median(batches),
                median(shared),
                ours / theirs
            );
        }
    }
}

fn main() {
    let directory = std::env::temp_dir().join(format!("tidemill-group-commit-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let inner = directory.clone();
    runtime::run(Config::default(), || compare(inner)).expect("a ring");
    let _ = std::fs::remove_dir_all(directory);
}
