//! The effect of compaction on a load with a fixed rate: the latency of the load while keyed records are written to a
//! compacted log, and while they are written to a log without compaction. Everything else is equal.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill::model::ErrorCode;
use tidemill::record::BatchBuilder;
use tidemill::record::builder::BatchOptions;

use super::cluster;
use super::figures::Metric;
use super::support::node::Node;
use super::talk::{Talk, now_ms};

const FOREGROUND: &str = "beside-compaction";
/// The keyed records: 4 MB/s. Compaction keeps only the latest record of each of the thousand keys.
const KEYS: usize = 1000;
const VALUE_BYTES: usize = 1000;
const BATCH_RECORDS: usize = 100;
const BATCHES_PER_SECOND: u32 = 40;
/// A short pause between compactions, so that compaction runs most of the time.
pub const SETTING: &str = "log.cleaner.backoff.ms=100";
const SEGMENT: (&str, &str) = ("segment.bytes", "2097152");

/// The p50 and p99 of the load without compaction, and its p99 with compaction. `None` if the log was not compacted.
pub fn run(node: &Node, round: usize, lasts: Duration) -> Option<BTreeMap<Metric, f64>> {
    let mut figures = BTreeMap::new();
    // The order alternates from round to round.
    for compacts in [!round.is_multiple_of(2), round.is_multiple_of(2)] {
        let (p50, p99) = measure(node, compacts, lasts)?;
        if compacts {
            figures.insert(Metric::P99Compacting, p99);
        } else {
            figures.extend([(Metric::P50, p50), (Metric::P99, p99)]);
        }
    }
    Some(figures)
}

/// The p50 and p99 of the load while keyed records are written to another topic.
fn measure(node: &Node, compacts: bool, lasts: Duration) -> Option<(f64, f64)> {
    let topic = if compacts { "compacted" } else { "not-compacted" };
    let policy = ("cleanup.policy", if compacts { "compact" } else { "delete" });
    let dirty = ("min.cleanable.dirty.ratio", "0.1");
    cluster::create(node.bootstrap(), topic, 1, &[policy, dirty, SEGMENT]);
    let leader = cluster::leaders(node.bootstrap(), topic).remove(0);
    let (report, written) = std::thread::scope(|scope| {
        let until = Instant::now() + lasts + Duration::from_secs(2);
        let writer = scope.spawn(move || write(&leader, topic, until));
        let report = foreground(node, lasts);
        (report, writer.join().expect("the writer does not panic"))
    });
    let kept = size_of(&node.partition_dir(topic, 0));
    cluster::delete(node.bootstrap(), topic);
    cluster::delete(node.bootstrap(), FOREGROUND);
    if compacts && kept > written / 2 {
        println!("  {kept} of {written} bytes are left: the log was not compacted");
        return None;
    }
    Some((report["produce_us"]["p50"].as_f64()?, report["produce_us"]["p99"].as_f64()?))
}

/// Runs the load and returns its report.
fn foreground(node: &Node, lasts: Duration) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["perf", "latency", "--batch-records", "1", "--rate", "2000", "--partitions", "16", "--json"]);
    command.args(["--warmup", "2", "--seconds", &lasts.as_secs_f64().to_string()]);
    command.args(["--bootstrap", node.bootstrap(), "--topic", FOREGROUND]).stderr(Stdio::null());
    serde_json::from_slice(&command.output().expect("tidemill runs").stdout).unwrap_or_default()
}

/// Writes keyed records at a fixed rate. Returns the number of bytes.
fn write(leader: &str, topic: &str, until: Instant) -> u64 {
    let value = [b'v'; VALUE_BYTES];
    let batch = |first: usize| {
        let mut batch = BatchBuilder::new(BatchOptions::default());
        for n in first..first + BATCH_RECORDS {
            batch.append(now_ms(), Some(format!("key-{n}").as_bytes()), Some(&value), []);
        }
        batch.finish()
    };
    let batches: Vec<Vec<u8>> = (0..KEYS).step_by(BATCH_RECORDS).map(batch).collect();
    let mut talk = Talk::to(leader);
    let (begun, mut bytes) = (Instant::now(), 0);
    for n in 0.. {
        let due = begun + Duration::from_secs(1) * n / BATCHES_PER_SECOND;
        if due >= until {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let batch = &batches[n as usize % batches.len()];
        let response = talk.produce_one(topic, 0, batch);
        assert_eq!(response.code, ErrorCode::None, "{response:?}");
        bytes += batch.len() as u64;
    }
    bytes
}

/// The total size of a partition's segments.
fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
