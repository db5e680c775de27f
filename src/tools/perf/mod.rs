//! `tidemill perf`: a load generator that measures the cost of the broker and keeps the cost of the client low.
//!
//! - Owns: the load, the latencies, and the report.
//! - Inputs: arguments, the address of a broker, and its process id if it runs on this machine.
//! - Outputs: a table or JSON on standard output; with `--report` a page and its numbers in a directory.
//! - Does not know: whether the broker is Tidemill. It works with every broker that supports Produce v7 and Fetch v11.
//! - Runs on the main thread with a few non-blocking sockets. Requests are encoded once and sent many times, so that
//!   the broker has the cores of a small machine to itself.
//!
//! With `--rate` the load is open: the latency of a request counts from the time at which it was due, even if an
//! earlier request was late. A stall is then visible in every request that it delayed (no coordinated omission).
//!
//! ```text
//! requests.rs  the Produce and Fetch frames                   socket.rs    sends and receives frames without waiting
//! load.rs      the loop of all commands that produce          consume.rs   the loop of `consume`
//! sweep.rs     the rates of `sweep`, and its knee             timeline.rs  latency over time
//! window.rs    the measured time, and the broker's CPU in it  report.rs    the table and the JSON
//! isolation.rs the client's cores, away from the broker's     progress.rs  the progress bar
//! document.rs  report.html and report.json                    chart.rs     a chart of the page
//! environment.rs  machine, disk, client, broker, durability
//! ```

mod chart;
mod consume;
mod document;
mod environment;
mod isolation;
mod load;
mod progress;
mod report;
mod requests;
mod socket;
mod sweep;
mod timeline;
mod topic;
mod window;

use super::Failure;
use super::connect::Connect;
use super::produce::CompressionArg;
use crate::tools::tune::machine::Roots;
use document::{Document, Outcome};
use environment::Environment;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  Throughput and CPU cost of 16 KiB batches:
    tidemill perf produce --partitions 16 --batch-records 16 --pid $(pidof tidemill)
  Small requests per second:
    tidemill perf produce --partitions 16 --batch-records 1 --in-flight 16
  Latency of one record at a time:
    tidemill perf produce --partitions 1 --batch-records 1 --connections 1 --in-flight 1
  Latency from producer to consumer, at a load well below the limit:
    tidemill perf latency --rate 2000 --end-to-end
  The highest rate at which the broker keeps up with low latency:
    tidemill perf sweep --batch-records 1 --from 1000 --seconds 5
  Producers and waiting consumers at the same time:
    tidemill perf mixed --rate 5000
  Many connections:
    tidemill perf produce --connections 1000 --in-flight 1 --batch-records 1
  Throughput of reading it again:
    tidemill perf consume --seconds 10

MB are 10^6 bytes of record values (produce), or of stored batches (consume).";

/// The arguments of `tidemill perf`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Produce as fast as the broker responds, or at a rate
    #[command(after_help = EXAMPLES)]
    Produce(Produce),
    /// Produce at a rate, and measure the latency of each request, or of each batch until a consumer has it
    #[command(after_help = EXAMPLES)]
    Latency(Latency),
    /// Produce and consume at the same time: throughput, and the latency until a waiting consumer has the records
    #[command(after_help = EXAMPLES)]
    Mixed(Produce),
    /// Raise the rate step by step until the broker does not keep up, and find the knee
    #[command(after_help = EXAMPLES)]
    Sweep(Sweep),
    /// Read a topic from its start to its current end
    #[command(after_help = EXAMPLES)]
    Consume(Consume),
}

/// The arguments of all three subcommands.
#[derive(clap::Args, Clone, Debug)]
struct Target {
    /// The topic; created if it does not exist
    #[arg(long, default_value = "perf")]
    topic: String,
    /// The number of partitions to use, and of a new topic
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// A setting of a new topic, such as retention.bytes=1000000000; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = super::topic::key_and_value)]
    configs: Vec<(String, String)>,
    /// The process id of the broker on this machine, to measure its CPU and memory; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
    /// The cores of this client: auto (those that the broker of --pid leaves), all, or a list such as 2-3
    #[arg(long, default_value = "auto", value_parser = isolation::parse)]
    cpus: isolation::Cores,
    /// Write report.html and report.json into this directory: figures, charts, machine, disk, versions, durability
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The data directory of the broker on this machine, whose disk the report describes [default: the broker's answer]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

/// The content and the length of the load.
#[derive(clap::Args, Clone, Debug)]
struct Load {
    /// Records in a batch
    #[arg(long, default_value = "16")]
    batch_records: NonZeroU32,
    /// Bytes of each record value; incompressible, but with --compression a quarter of the bytes is random
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// The compression of the batches
    #[arg(long, value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// Batches in a request, each for another partition of the same leader
    #[arg(long, default_value = "1")]
    partitions_per_request: NonZeroUsize,
    /// When the broker acknowledges: 0 (never), 1 (the leader has it) or -1 (all in-sync replicas have it)
    #[arg(
        long,
        default_value_t = -1,
        allow_hyphen_values = true,
        value_parser = clap::value_parser!(i16).range(-1..=1)
    )]
    acks: i16,
    /// The length of the measurement, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// The time to run before the measurement, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    warmup: f64,
    /// Poll for responses without sleeping; saves microseconds and uses a whole core
    #[arg(long)]
    spin: bool,
}

#[derive(clap::Args, Debug)]
struct Produce {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Connections, distributed over the partition leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Requests in flight on each connection
    #[arg(long, default_value = "8")]
    in_flight: NonZeroUsize,
    /// Requests per second of all connections; latency counts from the due time of a request [default: no limit]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
}

impl Produce {
    fn run(&self, verb: &'static str, end_to_end: bool) -> Result<report::Report, Failure> {
        let (connections, in_flight) = (self.connections.get(), self.in_flight.get());
        let plan = load::Plan { connections, in_flight, rate: self.rate, end_to_end };
        load::run(verb, &self.target, &self.load, &plan)
    }
}

#[derive(clap::Args, Debug)]
struct Latency {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Requests per second of all connections
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    rate: f64,
    /// Connections, distributed over the partition leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Requests in flight on each connection; the latency of a later request includes its wait
    #[arg(long, default_value = "8")]
    in_flight: NonZeroUsize,
    /// Measure also the latency until a waiting consumer has the records
    #[arg(long)]
    end_to_end: bool,
}

#[derive(clap::Args, Debug)]
struct Sweep {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// The lowest rate, in requests per second of all connections
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    from: f64,
    /// The highest rate [default: until the broker does not keep up]
    #[arg(long, value_parser = rate)]
    to: Option<f64>,
    /// Each rate in multiples of the previous one
    #[arg(long, default_value_t = 1.5, value_parser = more_than_one)]
    factor: f64,
    /// The rates, separated by commas, in place of --from, --to and --factor
    #[arg(long, value_delimiter = ',', value_parser = rate, conflicts_with_all = ["from", "to", "factor"])]
    rates: Vec<f64>,
    /// The knee is the highest rate whose p99 is at most this multiple of the lowest rate's
    #[arg(long = "knee", value_name = "MULTIPLE", default_value_t = 3.0, value_parser = more_than_one)]
    multiple: f64,
    /// Connections, distributed over the partition leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Requests in flight on each connection; the latency of a later request includes its wait
    #[arg(long, default_value = "32")]
    in_flight: NonZeroUsize,
    /// Measure the latency until a waiting consumer has the records
    #[arg(long)]
    end_to_end: bool,
}

impl Sweep {
    fn rates(&self) -> Result<sweep::Rates, Failure> {
        if !self.rates.is_empty() {
            return Ok(sweep::Rates::Listed(self.rates.clone()));
        }
        if let Some(to) = self.to.filter(|to| *to < self.from) {
            return Err(Failure::new(format!("--to {to} is below --from {}", self.from)));
        }
        Ok(sweep::Rates::Growing { from: self.from, to: self.to, factor: self.factor })
    }
}

#[derive(clap::Args, Debug)]
struct Consume {
    #[command(flatten)]
    target: Target,
    /// Connections, distributed over the partition leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// The limit for one partition in one response, in bytes
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    partition_bytes: i32,
    /// The limit for one response, in bytes
    #[arg(long, default_value_t = 50 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    answer_bytes: i32,
    /// Read the topic repeatedly for this time, in seconds [default: once, to the end]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Compute the CRC of every batch
    #[arg(long)]
    verify: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, at least 0".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("expected a number of requests per second above 0".into()),
    }
}

fn more_than_one(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (1.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number above 1".into()),
    }
}

/// The latency of one record at a time, as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct OneAtATime {
    /// The number of requests.
    pub requests: u64,
    /// The median, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile, in microseconds.
    pub p99_us: f64,
}

/// Produces one record of 1 KiB at a time to the topic, which is created with one partition if it does not exist.
pub fn one_at_a_time(connect: &Connect, topic: &str, seconds: f64) -> Result<OneAtATime, Failure> {
    let target = Target {
        topic: topic.to_owned(),
        partitions: 1,
        configs: Vec::new(),
        pid: Vec::new(),
        cpus: isolation::Cores::All,
        report: None,
        data: None,
        connect: connect.clone(),
    };
    let load = Load {
        batch_records: NonZeroU32::MIN,
        record_bytes: 1024,
        compression: CompressionArg::None,
        partitions_per_request: NonZeroUsize::MIN,
        acks: -1,
        seconds,
        warmup: seconds / 4.0,
        spin: false,
    };
    let plan = load::Plan { connections: 1, in_flight: 1, rate: None, end_to_end: false };
    let report = load::run("produce", &target, &load, &plan)?;
    let Some((_, latencies)) = report.latencies.first() else {
        let errors: Vec<String> = report.errors.keys().cloned().collect();
        return Err(Failure::new(format!("no record was acknowledged ({})", errors.join(", "))));
    };
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(OneAtATime { requests: report.requests, p50_us: at(0.5), p99_us: at(0.99) })
}

impl Verb {
    fn target(&self) -> &Target {
        match self {
            Verb::Produce(args) | Verb::Mixed(args) => &args.target,
            Verb::Latency(args) => &args.target,
            Verb::Sweep(args) => &args.target,
            Verb::Consume(args) => &args.target,
        }
    }

    /// The acknowledgements of the producers.
    fn acks(&self) -> Option<i16> {
        match self {
            Verb::Produce(args) | Verb::Mixed(args) => Some(args.load.acks),
            Verb::Latency(args) => Some(args.load.acks),
            Verb::Sweep(args) => Some(args.load.acks),
            Verb::Consume(_) => None,
        }
    }

    fn run(&self) -> Result<Outcome, Failure> {
        Ok(match self {
            Verb::Produce(args) => Outcome::Run(args.run("produce", false)?.into()),
            Verb::Mixed(args) => Outcome::Run(args.run("mixed", true)?.into()),
            Verb::Latency(args) => {
                let plan = load::Plan {
                    connections: args.connections.get(),
                    in_flight: args.in_flight.get(),
                    rate: Some(args.rate),
                    end_to_end: args.end_to_end,
                };
                Outcome::Run(load::run("latency", &args.target, &args.load, &plan)?.into())
            }
            Verb::Sweep(args) => Outcome::Sweep(sweep::run(args, &args.target, &args.load)?),
            Verb::Consume(args) => Outcome::Run(consume::run(args)?.into()),
        })
    }
}

/// Runs `tidemill perf`.
pub fn run(args: Args) -> Result<(), Failure> {
    let target = args.verb.target();
    if let Some(directory) = &target.report {
        document::prepare(directory)?;
    }
    window::check_processes(&target.pid)?;
    // Each connection needs a descriptor. A limit that stays too low shows as an error of a connection.
    let _ = crate::runtime::probe::raise_open_files();
    let machine = environment::machine(&Roots::new(None));
    let cores = isolation::isolate(target)?;
    let outcome = args.verb.run()?;
    let mut out = std::io::stdout().lock();
    outcome.print(target.connect.json, &mut out)?;
    let Some(directory) = &target.report else {
        return Ok(());
    };
    let mut sections = vec![machine, environment::client(&cores)];
    sections.extend(environment::broker(target, args.verb.acks())?);
    let command = document::command(std::env::args(), &target.connect.bootstrap);
    Document { command: &command, environment: &Environment { sections }, outcome: &outcome }.write(directory)?;
    eprintln!("report: {}", directory.join(document::HTML).display());
    Ok(())
}
