//! One stage: durable direct writes of large pieces, into three kinds of file space.
//!
//! - "overwrite": blocks that have been written before, each write with RWF_DSYNC. The journal writes in this way.
//! - "fresh": allocated blocks that have never been written, each write with RWF_DSYNC. A node that acknowledges large
//!   batches from the segment alone would write in this way.
//! - "fresh, late": the same blocks without RWF_DSYNC, and an fdatasync every 16 MiB. Write-back is of this kind.
//!
//! An acknowledgement waits for writes of the first two kinds. The table shows why a batch is written twice: see
//! "Each batch is written twice" in `src/lib.rs`.
//!
//! TMPDIR selects the disk, which needs 2 GiB. cargo bench --bench fresh_space

mod statistics;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use statistics::median;
use tidemill::runtime::{self, AlignedBuf, Class, Config, Durability, File, Open, Slice};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(600);
/// The file that is written again and again.
const OVERWRITTEN_BYTES: u64 = 512 << 20;
/// A file that is written once. A round ends early at its end.
const FRESH_BYTES: u64 = 1 << 30;
const SYNC_BYTES: u64 = 16 << 20;
const MIB: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Overwrite,
    Fresh,
    FreshLate,
}

/// The state that the writers of a round share.
struct Shared {
    file: File,
    space: Space,
    started: Instant,
    next: Cell<u64>,
    /// Bytes since the last fdatasync began.
    unsynced: Cell<u64>,
    written: Cell<u64>,
}

/// Writes until the round ends. Returns the time of each write in microseconds.
async fn write(shared: Rc<Shared>, bytes: usize) -> Vec<f64> {
    let mut piece = AlignedBuf::alloc(bytes).expect("within the budget");
    piece.fill(7);
    let piece = Slice::from(piece).slice(0..bytes);
    let mut took = Vec::new();
    while shared.started.elapsed() < ROUND {
        let mut position = shared.next.get();
        match shared.space {
            Space::Overwrite if position + bytes as u64 > OVERWRITTEN_BYTES => position = 0,
            Space::Fresh | Space::FreshLate if position + bytes as u64 > FRESH_BYTES => break,
            _ => {}
        }
        shared.next.set(position + bytes as u64);
        let durability = if shared.space == Space::FreshLate { Durability::Cached } else { Durability::DataSync };
        let began = Instant::now();
        shared.file.write_at(piece.clone(), position, durability).await.expect("the disk works");
        took.push(began.elapsed().as_nanos() as f64 / 1e3);
        shared.written.set(shared.written.get() + bytes as u64);
        shared.unsynced.set(shared.unsynced.get() + bytes as u64);
        if shared.space == Space::FreshLate && shared.unsynced.get() >= SYNC_BYTES {
            shared.unsynced.set(0);
            shared.file.sync_data().await.expect("the disk works");
        }
    }
    took
}

/// MB/s, and the median time of a write in microseconds.
async fn round(file: &File, space: Space, bytes: usize, depth: usize) -> (f64, f64) {
    let zero = || Cell::new(0);
    let (file, started) = (file.clone(), Instant::now());
    let shared = Rc::new(Shared { file, space, started, next: zero(), unsynced: zero(), written: zero() });
    let start = |_| runtime::spawn(Class::Foreground, "writer", write(shared.clone(), bytes));
    let writers: Vec<_> = (0..depth).map(start).collect();
    let mut took = Vec::new();
    for writer in writers {
        took.extend(writer.await);
    }
    if space == Space::FreshLate {
        shared.file.sync_data().await.expect("the disk works");
    }
    (shared.written.get() as f64 / 1e6 / shared.started.elapsed().as_secs_f64(), median(took))
}

async fn open(path: &Path) -> File {
    let open = Open { read: true, write: true, create: true, truncate: true, direct: true, ..Open::default() };
    File::open(path, open).await.expect("the file opens")
}

/// A file whose blocks have all been written.
async fn overwritten(path: &Path) -> File {
    let file = open(path).await;
    let mut zeros = AlignedBuf::alloc(MIB).expect("within the budget");
    zeros.fill(0);
    let zeros = Slice::from(zeros);
    for position in (0..OVERWRITTEN_BYTES).step_by(MIB) {
        file.write_at(zeros.clone(), position, Durability::Cached).await.expect("the disk has space");
    }
    file.sync_all().await.expect("the disk works");
    file
}

/// A file whose blocks are allocated, and none is written.
async fn fresh(path: &Path) -> File {
    let file = open(path).await;
    file.allocate(0, FRESH_BYTES).await.expect("the file system allocates");
    file.sync_all().await.expect("the disk works");
    file
}

async fn compare(directory: &Path) {
    let old = overwritten(&directory.join("overwritten")).await;
    println!("Durable direct writes (medians of {ROUNDS} alternating rounds)\n");
    println!(
        "{:>7} {:>5} {:>14} {:>10} {:>16} {:>17} {:>13}",
        "KiB", "depth", "overwrite MB/s", "fresh MB/s", "fresh, late MB/s", "overwrite p50 us", "fresh p50 us"
    );
    for bytes in [MIB / 16, MIB / 4, MIB] {
        for depth in [2, 8] {
            let mut rates = [Vec::new(), Vec::new(), Vec::new()];
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (at, space) in [Space::Overwrite, Space::Fresh, Space::FreshLate].into_iter().enumerate() {
                    let path = directory.join("fresh");
                    let file = if space == Space::Overwrite { old.clone() } else { fresh(&path).await };
                    let (rate, time) = round(&file, space, bytes, depth).await;
                    rates[at].push(rate);
                    times[at].push(time);
                    let _ = std::fs::remove_file(path);
                }
            }
            let ([overwrite, fresh, late], [overwrite_us, fresh_us, _]) = (rates.map(median), times.map(median));
            println!(
                "{:>7} {depth:>5} {overwrite:>14.0} {fresh:>10.0} {late:>16.0} {overwrite_us:>17.0} {fresh_us:>13.0}",
                bytes >> 10
            );
        }
    }
}

fn main() {
    let directory = std::env::temp_dir().join(format!("tidemill-fresh-space-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let inner = directory.clone();
    runtime::run(Config::default(), || async move { compare(&inner).await }).expect("a ring");
    let _ = std::fs::remove_dir_all(directory);
}
