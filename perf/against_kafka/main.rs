//! Compares the node with Apache Kafka 4.4: same client, same machine, same disk, same run.
//!
//! Both brokers run at the same time. Only one of them is under load, in turns, for several rounds; the figures are
//! medians. Kafka is measured with its defaults (it acknowledges before the flush) and with a flush per message.
//! Tidemill flushes before it acknowledges. A run with errors is printed and its figures are discarded.
//!
//! ```text
//! cargo bench --bench against_kafka                                the whole table, about a quarter of an hour
//! cargo bench --bench against_kafka -- --rounds 1 --only "16 rec"  one row, quickly
//! cargo bench --bench against_kafka -- --write                     writes the table and the plots to perf/
//! cargo bench --bench against_kafka -- --hard --write              the hard cases, in a table of their own
//! cargo bench --bench against_kafka -- --routings                  direct routing against forward routing instead
//! ```

#[path = "../../tests/support/mod.rs"]
mod support;

mod bare;
#[path = "../figures.rs"]
mod figures;
mod floors;
mod lifecycle;
mod plots;
#[path = "../../benches/statistics/mod.rs"]
mod statistics;
mod table;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bare::BareLoop;
use figures::{Figures, Goal, Metric, Round, Row, Side};
use serde_json::Value;
use support::node::Node;
use support::scratch::Ports;

/// One load, and a row of the table.
struct Work {
    title: &'static str,
    /// The arguments of `tidemill perf`, without the topic and the broker.
    arguments: &'static str,
    /// The arguments of the producer that fills the topic before a consumer reads it.
    fill: &'static str,
    partitions: u32,
    sides: &'static [Side],
    shown: &'static [Metric],
    goals: &'static [Goal],
    /// The arguments of a second load on the same broker at the same time, on its own topic.
    beside: Option<&'static str>,
    /// The number of connections to the same broker that send nothing.
    idle_connections: usize,
    /// For [`Side::Disk`]: writes per second, and the size of each in bytes.
    writes: (u32, usize),
}

/// A load without a second load.
const PLAIN: Work = Work {
    title: "",
    arguments: "",
    fill: "--seconds 2 --rate 8000",
    partitions: 16,
    sides: &Side::PRODUCED,
    shown: &[],
    goals: &[],
    beside: None,
    idle_connections: 0,
    writes: (0, 0),
};

use Metric::{CpuPerGigabyte, CpuPerRequest, MegabytesPerSecond, P50, P99, P999, RequestsPerSecond};
use Side::{Disk, Kafka, KafkaFlushed};

const WORKS: [Work; 10] = [
    Work {
        title: "16 records a batch, 16 partitions, 8 in flight on each of 4 connections",
        arguments: "produce --batch-records 16 --connections 4 --in-flight 8",
        shown: &[MegabytesPerSecond, P99, CpuPerGigabyte],
        goals: &[
            Goal::at_least(MegabytesPerSecond, Kafka, 3.0),
            Goal::at_least(MegabytesPerSecond, KafkaFlushed, 15.0),
            Goal::at_most(P99, Kafka, 1.0),
            Goal::at_most(CpuPerGigabyte, Kafka, 1.0 / 6.0),
            Goal::at_least(MegabytesPerSecond, Side::BareLoop, 0.85),
            Goal::at_most(CpuPerGigabyte, Side::BareLoop, 1.35),
        ],
        ..PLAIN
    },
    Work {
        title: "64 records a batch, the same",
        arguments: "produce --batch-records 64 --connections 4 --in-flight 8",
        shown: &[MegabytesPerSecond, P99, CpuPerGigabyte],
        goals: &[
            Goal::at_least(MegabytesPerSecond, Kafka, 3.0),
            Goal::at_least(MegabytesPerSecond, KafkaFlushed, 7.0),
            Goal::at_most(CpuPerGigabyte, Kafka, 1.0 / 6.0),
            Goal::at_least(MegabytesPerSecond, Side::BareLoop, 0.85),
            Goal::at_most(CpuPerGigabyte, Side::BareLoop, 1.35),
        ],
        ..PLAIN
    },
    Work {
        title: "1 record a batch, 16 partitions, 16 in flight on each of 4 connections",
        arguments: "produce --batch-records 1 --connections 4 --in-flight 16",
        shown: &[RequestsPerSecond, P99, CpuPerRequest],
        goals: &[
            Goal::at_least(RequestsPerSecond, Kafka, 5.0),
            Goal::at_least(RequestsPerSecond, KafkaFlushed, 18.0),
            Goal::at_most(CpuPerRequest, Kafka, 1.0 / 10.0),
        ],
        ..PLAIN
    },
    Work {
        title: "1 record a batch, 4 partitions a request, 16 partitions",
        arguments: "produce --batch-records 1 --partitions-per-request 4 --connections 4 --in-flight 16",
        shown: &[RequestsPerSecond, P99, CpuPerRequest],
        goals: &[Goal::at_least(RequestsPerSecond, Kafka, 4.0), Goal::at_least(RequestsPerSecond, KafkaFlushed, 40.0)],
        ..PLAIN
    },
    Work {
        title: "one request in flight, 1 record",
        arguments: "produce --batch-records 1 --connections 1 --in-flight 1",
        partitions: 1,
        shown: &[P50, P99, CpuPerRequest],
        goals: &[Goal::at_most(P50, KafkaFlushed, 0.6)],
        ..PLAIN
    },
    Work {
        title: "2,000 requests/s of 1 record, 1 partition",
        arguments: "latency --batch-records 1 --rate 2000",
        partitions: 1,
        sides: &Side::PACED,
        writes: (2000, 4 << 10),
        shown: &[P50, P99, P999, CpuPerRequest],
        goals: &[
            Goal::at_most(P50, Kafka, 2.0),
            Goal::at_most(P99, Kafka, 1.0 / 5.0),
            Goal::at_most(P999, Kafka, 1.0 / 10.0),
            Goal::at_most(CpuPerRequest, Kafka, 1.0 / 4.0),
            Goal::at_most(P50, Disk, 1.15),
            Goal::at_most(P99, Disk, 1.3),
            Goal::at_most(P999, Disk, 1.5),
        ],
        ..PLAIN
    },
    Work {
        title: "2,000 requests/s of 1 record, 1,000 partitions",
        arguments: "latency --batch-records 1 --rate 2000",
        partitions: 1000,
        shown: &[P50, P99, P999, CpuPerRequest],
        ..PLAIN
    },
    Work {
        title: "10 MB/s in batches of 16, 16 partitions",
        arguments: "latency --batch-records 16 --rate 610",
        sides: &Side::PACED,
        writes: (610, 20 << 10),
        shown: &[P50, P99, P999],
        goals: &[
            Goal::at_most(P99, Kafka, 1.0 / 5.0),
            Goal::at_most(P999, Kafka, 1.0 / 10.0),
            Goal::at_most(P50, Disk, 1.15),
            Goal::at_most(P99, Disk, 1.3),
            Goal::at_most(P999, Disk, 1.5),
        ],
        ..PLAIN
    },
    Work {
        title: "produce to a waiting consumer's hands, 2,000/s of 1 record, 16 partitions",
        sides: &Side::ALL,
        arguments: "latency --batch-records 1 --rate 2000 --end-to-end",
        shown: &[P50, P99, P999],
        goals: &[Goal::at_most(P99, Kafka, 1.0 / 5.0)],
        ..PLAIN
    },
    Work {
        title: "consume 16 partitions of 16-record batches, over and over, from memory",
        arguments: "consume",
        sides: &[Side::Kafka, Side::Tidemill],
        shown: &[MegabytesPerSecond, CpuPerGigabyte],
        goals: &[Goal::at_least(MegabytesPerSecond, Kafka, 1.5), Goal::at_most(CpuPerGigabyte, Kafka, 0.6)],
        ..PLAIN
    },
];

/// Loads that are hard for Tidemill, for Kafka, or for both.
const HARD_WORKS: [Work; 10] = [
    Work {
        title: "100 connections with one request of 1 record in flight each",
        arguments: "produce --batch-records 1 --connections 100 --in-flight 1",
        shown: &[RequestsPerSecond, P50, P99, CpuPerRequest],
        goals: &[Goal::at_least(RequestsPerSecond, Kafka, 2.5), Goal::at_most(P99, Kafka, 1.0)],
        ..PLAIN
    },
    Work {
        title: "400 connections, the same",
        arguments: "produce --batch-records 1 --connections 400 --in-flight 1",
        shown: &[RequestsPerSecond, P50, P99, CpuPerRequest],
        goals: &[Goal::at_least(RequestsPerSecond, Kafka, 2.5), Goal::at_most(P99, Kafka, 1.0)],
        ..PLAIN
    },
    Work {
        title: "many small batches as keyed producers send them: 4 records of 100 bytes, 64 partitions, 20 connections",
        arguments: "produce --batch-records 4 --record-bytes 100 --connections 20 --in-flight 5",
        partitions: 64,
        shown: &[RequestsPerSecond, P99, CpuPerRequest],
        ..PLAIN
    },
    Work {
        title: "one hot partition, batches of 16",
        arguments: "produce --batch-records 16 --connections 4 --in-flight 8",
        partitions: 1,
        shown: &[MegabytesPerSecond, P99, CpuPerGigabyte],
        ..PLAIN
    },
    Work {
        title: "batches of 16 compressed by lz4 to about a quarter (MB/s before compression)",
        arguments: "produce --batch-records 16 --compression lz4 --connections 4 --in-flight 8",
        shown: &[MegabytesPerSecond, P99, CpuPerGigabyte],
        ..PLAIN
    },
    Work {
        title: "the same by zstd",
        arguments: "produce --batch-records 16 --compression zstd --connections 4 --in-flight 8",
        shown: &[MegabytesPerSecond, P99, CpuPerGigabyte],
        ..PLAIN
    },
    Work {
        title: "past the retention limit: 50 MB/s, segments of 8 MiB of which 4 are kept, looked at every second",
        arguments: "latency --batch-records 16 --rate 3050 \
                    --config segment.bytes=8388608 --config retention.bytes=33554432",
        shown: &[P50, P99, P999],
        ..PLAIN
    },
    Work {
        title: "consume 8 GB that were just written at 790 MB/s",
        arguments: "consume",
        fill: "--batch-records 64 --seconds 10 --rate 12000",
        sides: &[Side::Kafka, Side::Tidemill],
        shown: &[MegabytesPerSecond, CpuPerGigabyte],
        goals: &[Goal::at_least(MegabytesPerSecond, Kafka, 1.0), Goal::at_most(CpuPerGigabyte, Kafka, 1.0)],
        ..PLAIN
    },
    Work {
        title: "a backlog drained beside 100 MB/s of producing",
        arguments: "consume",
        sides: &[Side::Kafka, Side::Tidemill],
        shown: &[MegabytesPerSecond, CpuPerGigabyte],
        beside: Some("latency --batch-records 16 --rate 6100"),
        ..PLAIN
    },
    Work {
        title: "2,000 requests/s of 1 record beside 5,000 idle connections",
        sides: &Side::ALL,
        arguments: "latency --batch-records 1 --rate 2000",
        shown: &[P50, P99, P999, CpuPerRequest],
        idle_connections: 5_000,
        ..PLAIN
    },
];

/// A short interval, so that retention runs several times in a measurement of a few seconds.
const RETENTION_CHECK: &str = "log.retention.check.interval.ms=1000";

struct Options {
    rounds: usize,
    seconds: String,
    only: Option<String>,
    writes: bool,
    compares_routings: bool,
    is_hard: bool,
}

fn options() -> Options {
    let mut options =
        Options { rounds: 3, seconds: "6".into(), only: None, writes: false, compares_routings: false, is_hard: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value().parse().expect("--rounds needs a number"),
            "--seconds" => options.seconds = value(),
            "--only" => options.only = Some(value()),
            "--write" => options.writes = true,
            "--routings" => options.compares_routings = true,
            "--hard" => options.is_hard = true,
            // `cargo bench` passes it.
            "--bench" => {}
            other => {
                panic!(
                    "{other}: the options are --rounds N, --seconds N, --only PART_OF_A_TITLE, --hard, --routings and \
                     --write"
                )
            }
        }
    }
    options
}

struct Brokers {
    tidemill: Node,
    /// Kafka, or with `--routings` Tidemill in forward routing.
    other: Node,
    bare: BareLoop,
}

impl Brokers {
    fn of(&self, side: Side) -> &Node {
        if side == Side::Tidemill { &self.tidemill } else { &self.other }
    }

    fn perf_command(&self, side: Side, topic: &str, partitions: u32, arguments: &[&str]) -> Command {
        let (bootstrap, pid) = match side {
            Side::BareLoop => (self.bare.bootstrap(), self.bare.pid()),
            _ => (self.of(side).bootstrap().to_owned(), self.of(side).pid()),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.arg("perf").args(arguments).args(["--json", "--bootstrap", &bootstrap, "--topic", topic]);
        command.args(["--partitions", &partitions.to_string(), "--pid", &pid.to_string()]);
        if side == Side::KafkaFlushed {
            command.args(["--config", "flush.messages=1"]);
        }
        command
    }

    /// Runs `tidemill perf` against one side. Prints the errors and returns `None` if there were any.
    fn perf(&self, side: Side, topic: &str, partitions: u32, arguments: &[&str]) -> Option<Value> {
        let output = self.perf_command(side, topic, partitions, arguments).output().expect("tidemill runs");
        let report: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let is_good = |report: &Value| report["errors"].as_object().is_some_and(|errors| errors.is_empty());
        match report {
            Some(report) if output.status.success() && is_good(&report) => Some(report),
            report => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                println!("  {side:?} failed: {} {stderr}", report.map_or(Value::Null, |mut r| r["errors"].take()));
                None
            }
        }
    }

    fn delete(&self, side: Side, topic: &str) {
        if side != Side::BareLoop {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
            command.args(["topic", "delete", topic, "--bootstrap", self.of(side).bootstrap()]);
            let _ = command.output();
        }
        // Write the page cache out now, so that it does not disturb the turn of the other side.
        let _ = Command::new("sync").status();
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn figures_of(report: &Value) -> Round {
    let latency = if report["end_to_end_us"].is_object() { &report["end_to_end_us"] } else { &report["produce_us"] };
    let all = [
        (Metric::MegabytesPerSecond, &report["mb_per_second"]),
        (Metric::RequestsPerSecond, &report["requests_per_second"]),
        (Metric::P50, &latency["p50"]),
        (Metric::P90, &latency["p90"]),
        (Metric::P99, &latency["p99"]),
        (Metric::P999, &latency["p99.9"]),
        (Metric::CpuPerGigabyte, &report["broker_cpu_seconds_per_gb"]),
        (Metric::CpuPerRequest, &report["broker_cpu_us_per_request"]),
        (Metric::Resident, &report["broker_resident_bytes"]),
    ];
    all.into_iter().filter_map(|(metric, value)| Some((metric, value.as_f64()?))).collect()
}

/// Runs all rounds of a work.
fn run(work: &Work, sides: &[Side], brokers: &Brokers, options: &Options) -> Figures {
    let mut rounds: BTreeMap<Side, Vec<Round>> = BTreeMap::new();
    for round in 0..options.rounds {
        for turn in 0..sides.len() {
            let side = sides[(turn + round) % sides.len()];
            let figures = match side {
                Side::Disk => Some(run_disk(work, brokers, options)),
                _ => run_broker(work, side, round, brokers, options),
            };
            if let Some(figures) = figures {
                figures::print_round(round, side, work.shown, &figures);
                rounds.entry(side).or_default().push(figures);
            }
        }
    }
    figures::medians(rounds)
}

/// One round of bare durable writes.
fn run_disk(work: &Work, brokers: &Brokers, options: &Options) -> Round {
    let lasts = Duration::from_secs_f64(options.seconds.parse().expect("--seconds needs a number"));
    let (rate, bytes) = work.writes;
    let times = floors::paced_writes(brokers.tidemill.scratch(), bytes, rate, lasts);
    let at = |quantile| times.value_at_quantile(quantile) as f64;
    BTreeMap::from([(P50, at(0.5)), (P99, at(0.99)), (P999, at(0.999))])
}

/// One round on one broker, with its second load and its idle connections. `None` if it had errors.
fn run_broker(work: &Work, side: Side, round: usize, brokers: &Brokers, options: &Options) -> Option<Round> {
    let (verb, rest) = work.arguments.split_once(' ').unwrap_or((work.arguments, ""));
    let topic = format!("perf-{round}-{side:?}").to_lowercase();
    if verb == "consume" {
        let fill: Vec<&str> = ["produce", "--warmup", "0"].into_iter().chain(work.fill.split_whitespace()).collect();
        brokers.perf(side, &topic, work.partitions, &fill)?;
    }
    let mut arguments: Vec<&str> = vec![verb];
    arguments.extend(rest.split_whitespace());
    arguments.extend(["--seconds", &options.seconds]);
    let beside = work.beside.map(|beside| {
        let arguments: Vec<&str> = beside.split_whitespace().chain(["--seconds", "3600"]).collect();
        let mut command = brokers.perf_command(side, &format!("{topic}-beside"), work.partitions, &arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("tidemill runs")
    });
    let connect = |_| TcpStream::connect(brokers.of(side).bootstrap()).expect("the broker accepts");
    let idle: Vec<TcpStream> = (0..work.idle_connections).map(connect).collect();
    let report = brokers.perf(side, &topic, work.partitions, &arguments);
    drop(idle);
    if let Some(mut beside) = beside {
        let _ = beside.kill();
        let _ = beside.wait();
        brokers.delete(side, &format!("{topic}-beside"));
    }
    brokers.delete(side, &topic);
    report.as_ref().map(figures_of)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, port, directory] = &arguments[..]
        && option == bare::OPTION
    {
        return bare::serve(port.parse().expect("a port"), Path::new(directory));
    }
    let options = options();
    let other = if options.compares_routings {
        Some(Node::tidemill_with_its_memory("perf-forward", &["--set", "routing=forward"]))
    } else {
        Node::kafka_with("perf-kafka", &[RETENTION_CHECK])
    };
    let Some(other) = other else {
        return println!("SKIP against_kafka: Apache Kafka cannot be installed");
    };
    let tidemill = Node::tidemill_with_its_memory("perf-tidemill", &["--set", RETENTION_CHECK]);
    let ports = Ports::reserve();
    let bare = BareLoop::start(ports.first(), tidemill.scratch());
    let mut brokers = Brokers { tidemill, other, bare };
    let begun = Instant::now();
    let other_side = if options.compares_routings { Side::TidemillForward } else { Side::Kafka };
    let mut lifecycles = BTreeMap::from([(other_side, lifecycle::measure_start(&mut brokers.other))]);
    lifecycles.insert(Side::Tidemill, lifecycle::measure_start(&mut brokers.tidemill));
    if !options.compares_routings {
        println!("warming up Kafka for half a minute");
        brokers.perf(Side::Kafka, "warm", 16, &["produce", "--seconds", "25"]);
        brokers.delete(Side::Kafka, "warm");
    }
    let mut rows = Vec::new();
    let works = if options.is_hard { &HARD_WORKS[..] } else { &WORKS[..] };
    for work in works {
        if options.only.as_ref().is_some_and(|only| !work.title.contains(only.as_str())) {
            continue;
        }
        println!("{:4.0} s  {}", begun.elapsed().as_secs_f64(), work.title);
        let sides = if options.compares_routings { &Side::ROUTINGS[..] } else { work.sides };
        let figures = run(work, sides, &brokers, &options);
        rows.push(Row { title: work.title, shown: work.shown, goals: work.goals, figures });
    }
    let floors = floors::measure(brokers.tidemill.scratch());
    for (side, lifecycle) in &mut lifecycles {
        let node = if *side == Side::Tidemill { &mut brokers.tidemill } else { &mut brokers.other };
        lifecycle::measure_restart(node, lifecycle, &options.seconds);
    }
    let circumstances = figures::circumstances(brokers.tidemill.scratch());
    let run = (options.rounds, options.seconds.as_str());
    let text = table::render(&rows, &floors, &lifecycles, run, &circumstances);
    println!("\n{text}");
    if options.writes && !options.compares_routings {
        let perf = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf");
        figures::write(&perf.join("README.md"), &text, "against_kafka", if options.is_hard { " --hard" } else { "" });
        if !options.is_hard {
            plots::write(&perf, &rows);
            let summary = table::summary(&rows, &circumstances);
            figures::replace(&perf.join("README.md"), "<!-- made with the table below: summary -->", &summary);
        }
        println!("written to perf/");
    }
}
