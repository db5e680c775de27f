//! The broker outside the load: its start time, its idle CPU, its memory, and its restart time after a kill.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::node::Node;
use super::support::usage::{cpu_ticks, status_bytes};

const TOPIC: &str = "life";
const IDLE: Duration = Duration::from_secs(10);

/// The figures of one broker outside the load.
pub struct Lifecycle {
    /// From the start of the process to the first acknowledged record, almost without data.
    pub start: Duration,
    /// Percent of a core, over ten seconds without a client.
    pub idle_percent: f64,
    /// In bytes.
    pub resident_at_start: u64,
    /// In bytes.
    pub resident_after_load: u64,
    /// As `start`, after kill -9 and with `data_bytes` of data.
    pub restart: Duration,
    pub data_bytes: u64,
}

/// Runs the command line against the node. Returns whether it succeeded.
fn tidemill(node: &Node, arguments: &[&str], input: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).args(["--bootstrap", node.bootstrap()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("tidemill runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the command reads its input");
    child.wait().expect("a child process").success()
}

/// Restarts the node and returns the time to its first acknowledged record.
fn time_to_first_record(node: &mut Node) -> Duration {
    let begun = Instant::now();
    node.restart();
    while !tidemill(node, &["produce", TOPIC], "one\n") {
        assert!(begun.elapsed() < Duration::from_secs(120), "no record is acknowledged within two minutes");
    }
    begun.elapsed()
}

/// Measures the start and the idle broker, before any load.
pub fn measure_start(node: &mut Node) -> Lifecycle {
    assert!(tidemill(node, &["topic", "create", TOPIC], ""), "the topic can be created");
    node.stop();
    let start = time_to_first_record(node);
    let (ticks, begun) = (cpu_ticks(node.pid()), Instant::now());
    std::thread::sleep(IDLE);
    let idle_percent = (cpu_ticks(node.pid()) - ticks) as f64 / begun.elapsed().as_secs_f64();
    let resident_at_start = status_bytes(node.pid(), "VmRSS");
    Lifecycle { start, idle_percent, resident_at_start, resident_after_load: 0, restart: Duration::ZERO, data_bytes: 0 }
}

/// Produces for `seconds`, kills the node, and measures its restart.
pub fn measure_restart(node: &mut Node, lifecycle: &mut Lifecycle, seconds: &str) {
    let load = ["perf", "produce", "--topic", "kept", "--seconds", seconds, "--warmup", "0"];
    tidemill(node, &load, "");
    lifecycle.resident_after_load = status_bytes(node.pid(), "VmRSS");
    node.kill();
    lifecycle.data_bytes = size_of(&node.data());
    lifecycle.restart = time_to_first_record(node);
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
