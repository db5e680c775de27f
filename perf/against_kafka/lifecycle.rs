//! A broker's life around the load: how soon it works, what it costs when nobody asks, and how soon it is back.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::node::Node;
use super::support::usage::{cpu_ticks, status_bytes};

const TOPIC: &str = "life";
const IDLE: Duration = Duration::from_secs(10);

pub struct Life {
    /// From the start of the process to the first acknowledged record, with next to no data.
    pub start: Duration,
    /// Percent of a core, over ten seconds without a client.
    pub idle_percent: f64,
    pub resident_at_start: u64,
    pub resident_after_load: u64,
    /// As `start`, after kill -9 and with so much data.
    pub restart: Duration,
    pub data_bytes: u64,
}

fn tidemill(node: &Node, arguments: &[&str], input: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).args(["--bootstrap", node.bootstrap()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("tidemill runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait().expect("a child of ours").success()
}

/// Starts the node again, up to its first acknowledged record.
fn time_to_first_record(node: &mut Node) -> Duration {
    let begun = Instant::now();
    node.restart();
    while !tidemill(node, &["produce", TOPIC], "one\n") {
        assert!(begun.elapsed() < Duration::from_secs(120), "no record is taken two minutes after the start");
    }
    begun.elapsed()
}

/// Before any load: start and idle.
pub fn begin(node: &mut Node) -> Life {
    assert!(tidemill(node, &["topic", "create", TOPIC], ""), "a topic can be made");
    node.stop();
    let start = time_to_first_record(node);
    let (ticks, begun) = (cpu_ticks(node.pid()), Instant::now());
    std::thread::sleep(IDLE);
    let idle_percent = (cpu_ticks(node.pid()) - ticks) as f64 / begun.elapsed().as_secs_f64();
    let resident_at_start = status_bytes(node.pid(), "VmRSS");
    Life { start, idle_percent, resident_at_start, resident_after_load: 0, restart: Duration::ZERO, data_bytes: 0 }
}

/// After the load: `seconds` of it once more, a kill in the middle of it, and back.
pub fn end(node: &mut Node, life: &mut Life, seconds: &str) {
    let load = ["perf", "produce", "--topic", "kept", "--seconds", seconds, "--warmup", "0"];
    tidemill(node, &load, "");
    life.resident_after_load = status_bytes(node.pid(), "VmRSS");
    node.kill();
    life.data_bytes = size_of(&node.data());
    life.restart = time_to_first_record(node);
}

fn size_of(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
