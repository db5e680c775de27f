//! `tidemill perf`: a load generator that says what a broker costs, and not what the client costs.
//!
//! In: arguments, a broker's address, and the process id of the broker when it runs here. Out: a table, or JSON.
//! One thread, a few non-blocking sockets, requests made once and sent again and again, so that on a small machine
//! the broker has the cores to itself. Works against everything that speaks Kafka's Produce v7 and Fetch v11.
//!
//! ```text
//! batches.rs  topic -> whole Produce frames, one set per leader       socket.rs   frames out, frames in, no waiting
//! load.rs     the loop of `produce` and `latency`                     consume.rs  the loop of `consume`
//! window.rs   when to measure, and the broker's CPU meanwhile         report.rs   the table and the JSON
//! ```
//!
//! With `--rate` the load is open: a request's latency counts from when it was due, whether or not an earlier one
//! was late, so a stall is seen by all the requests it delayed (no coordinated omission). It knows nothing of
//! Tidemill: what it measures, it measures of any broker alike.

mod consume;
mod load;
mod report;
mod requests;
mod socket;
mod topic;
mod window;

use super::Failure;
use super::connect::Connect;
use super::produce::CompressionArg;
use std::num::{NonZeroU32, NonZeroUsize};

const EXAMPLES: &str = "\
Examples:
  How fast can it take 16 KiB batches, and at what price in CPU?
    tidemill perf produce --partitions 16 --batch-records 16 --pid $(pidof tidemill)
  How many small requests per second?
    tidemill perf produce --partitions 16 --batch-records 1 --in-flight 16
  What does one record take, alone on the wire?
    tidemill perf produce --partitions 1 --batch-records 1 --connections 1 --in-flight 1
  How long until a consumer has a record, at a load that is well below the limit?
    tidemill perf latency --rate 2000 --end-to-end
  How fast can it all be read again?
    tidemill perf consume --seconds 10

MB are 10^6 bytes of record values (produce), or of stored batches (consume).";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Produce as fast as the broker answers, or at a rate
    #[command(after_help = EXAMPLES)]
    Produce(Produce),
    /// Produce at a rate, and measure how long each request (or each record, to its consumer) takes
    #[command(after_help = EXAMPLES)]
    Latency(Latency),
    /// Read a topic from its start to where it ends now
    #[command(after_help = EXAMPLES)]
    Consume(Consume),
}

/// What all three have.
#[derive(clap::Args, Clone, Debug)]
struct Target {
    /// Made when it is not there
    #[arg(long, default_value = "perf")]
    topic: String,
    /// How many partitions to use, and to make the topic with
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// A setting of the topic if it is made, such as retention.bytes=1000000000; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = super::topic::key_and_value)]
    configs: Vec<(String, String)>,
    /// The broker's process on this machine, for its CPU and memory; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
    #[command(flatten)]
    connect: Connect,
}

/// What is sent, and how long.
#[derive(clap::Args, Clone, Debug)]
struct Load {
    /// Records in a batch
    #[arg(long, default_value = "16")]
    batch_records: NonZeroU32,
    /// Bytes of a record's value; they do not compress, unless there is a --compression: then to about a quarter
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Compression of the batches
    #[arg(long, value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// Batches in a request, each for another partition of the same leader
    #[arg(long, default_value = "1")]
    partitions_per_request: NonZeroUsize,
    /// What to wait for: 0 (nothing), 1 (the leader) or -1 (all in-sync replicas)
    #[arg(long, default_value_t = -1, allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1..=1))]
    acks: i16,
    /// How long to measure
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    warmup: f64,
    /// Look for answers without ever sleeping: a microsecond's client, at the price of a whole core
    #[arg(long)]
    spin: bool,
}

#[derive(clap::Args, Debug)]
struct Produce {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Connections, spread over the partitions' leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Requests that a connection sends before it waits for an answer
    #[arg(long, default_value = "8")]
    in_flight: NonZeroUsize,
    /// Requests a second, all connections together; latency counts from when a request was due [default: no limit]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
}

#[derive(clap::Args, Debug)]
struct Latency {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Requests a second, all connections together
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    rate: f64,
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Requests that a connection sends before it waits for an answer; later ones wait, and their clock runs
    #[arg(long, default_value = "8")]
    in_flight: NonZeroUsize,
    /// Also to a waiting consumer's hands
    #[arg(long)]
    end_to_end: bool,
}

#[derive(clap::Args, Debug)]
struct Consume {
    #[command(flatten)]
    target: Target,
    /// Connections, spread over the partitions' leaders
    #[arg(long, default_value = "4")]
    connections: NonZeroUsize,
    /// Bytes of one partition in one answer
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    partition_bytes: i32,
    /// Bytes of one answer
    #[arg(long, default_value_t = 50 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    answer_bytes: i32,
    /// Read over and over for this long [default: once, to the end]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Compute the CRC of every batch
    #[arg(long)]
    verify: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 on".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("expected a number of requests per second above 0".into()),
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    let (json, report) = match args.verb {
        Verb::Produce(args) => {
            let plan = load::Plan {
                connections: args.connections.get(),
                in_flight: args.in_flight.get(),
                rate: args.rate,
                end_to_end: false,
            };
            (args.target.connect.json, load::run("produce", &args.target, &args.load, &plan)?)
        }
        Verb::Latency(args) => {
            let plan = load::Plan {
                connections: args.connections.get(),
                in_flight: args.in_flight.get(),
                rate: Some(args.rate),
                end_to_end: args.end_to_end,
            };
            (args.target.connect.json, load::run("latency", &args.target, &args.load, &plan)?)
        }
        Verb::Consume(args) => (args.target.connect.json, consume::run(&args)?),
    };
    let mut out = std::io::stdout().lock();
    report.print(json, &mut out)?;
    Ok(())
}
