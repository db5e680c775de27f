//! `tidemill produce`: produces one record per input line.
//!
//! A thread reads the lines. The main thread adds them to one batch per partition, and sends the batches when one is
//! full or when the input pauses for 5 ms (`LINGER`).

use super::Failure;
use super::client::partitioner::partition_of_key;
use super::client::produce::{Acks, PartitionBatch, ProducerIdentity};
use super::client::{Client, ClientError};
use super::connect::Connect;
use super::time::now_ms;
use super::topic::key_and_value;
use crate::model::counted;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// The arguments of `tidemill produce`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The topic to produce to
    topic: String,
    /// Read the lines from a file instead of standard input
    #[arg(long, short, value_name = "PATH")]
    file: Option<std::path::PathBuf>,
    /// The text between key and value in a line; without it records have no key
    #[arg(long, short, value_name = "TEXT", value_parser = separator)]
    key_separator: Option<String>,
    /// A header for every record; may be repeated
    #[arg(long = "header", short = 'H', value_name = "KEY=VALUE", value_parser = key_and_value)]
    headers: Vec<(String, String)>,
    /// Send a value that equals this text as null, which deletes the key in a compacted topic
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// Send all records to this partition
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// When the broker acknowledges a batch
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// The compression of the batches
    #[arg(long, short = 'z', value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// The size at which a batch is sent, before compression
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 256 << 10,
        value_parser = clap::value_parser!(u32).range(1..=64 << 20)
    )]
    batch_bytes: u32,
    /// Send no producer id and sequences; the command then fails if a response is lost, since a retry might append
    /// twice
    #[arg(long)]
    no_idempotence: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum AcksArg {
    /// All in-sync replicas have appended it
    All,
    /// The leader has appended it
    #[value(name = "1")]
    Leader,
    /// Never: the broker does not respond
    #[value(name = "0")]
    None,
}

/// The value of `--compression`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionArg {
    pub(super) fn codec(self) -> Codec {
        match self {
            CompressionArg::None => Codec::None,
            CompressionArg::Gzip => Codec::Gzip,
            CompressionArg::Snappy => Codec::Snappy,
            CompressionArg::Lz4 => Codec::Lz4,
            CompressionArg::Zstd => Codec::Zstd,
        }
    }
}

fn separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a separator has at least one character".into()),
        // A tab character is hard to type in a shell.
        _ => Ok(text.replace("\\t", "\t")),
    }
}

/// How long the input may pause before the pending batches are sent.
const LINGER: Duration = Duration::from_millis(5);
/// The capacity of the queue between the reader thread and the main thread, in lines.
const LINES_AHEAD: usize = 4096;

/// Runs `tidemill produce`.
pub fn run(args: Args) -> Result<(), Failure> {
    let (input, bytes): (Box<dyn Read + Send>, Option<u64>) = match &args.file {
        Some(path) => {
            let cannot = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
            let file = std::fs::File::open(path).map_err(cannot)?;
            let bytes = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
            (Box::new(file), bytes)
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprintln!("one record per line; end with Ctrl-D");
            }
            (Box::new(std::io::stdin()), None)
        }
    };
    let is_interactive = args.file.is_none() && std::io::stdin().is_terminal();
    let progress =
        if is_interactive || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { progress_bar(bytes) };
    run_from(args, input, &progress, &mut std::io::stdout().lock())
}

fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is constant"))
}

/// Produces the lines of `input` and writes a summary to `out`.
fn run_from(
    args: Args,
    input: impl Read + Send + 'static,
    progress: &ProgressBar,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut sender = Sender::new(&args)?;
    let began = Instant::now();
    let lines = read_lines(input);
    loop {
        let line = if sender.is_empty() {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            lines.recv_timeout(LINGER)
        };
        match line {
            Ok(line) => {
                let line = line.map_err(|error| Failure::new(format!("cannot read the input: {error}")))?;
                progress.inc(line.len() as u64 + 1);
                sender.add(&line)?;
            }
            Err(RecvTimeoutError::Timeout) => sender.flush()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    sender.flush()?;
    if sender.acks == Acks::None {
        sender.client.sync().map_err(|error| {
            Failure::with_hint(
                format!("a broker rejected a batch that was sent without acknowledgement: {error}"),
                "use --acks all to see the reason",
            )
        })?;
    }
    progress.finish_and_clear();
    report(&args, &sender.totals, began.elapsed(), out)
}

/// Starts a thread that reads lines, and returns their queue. Lines come without the line feed.
fn read_lines(input: impl Read + Send + 'static) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(1 << 16, input);
        loop {
            let mut line = Vec::new();
            let item = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    Ok(line)
                }
                Err(error) => Err(error),
            };
            let is_last = item.is_err();
            // The main thread drops the receiver when the command fails.
            if sender.send(item).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// The records that were sent to one partition.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
struct PartitionTotals {
    records: u64,
    /// -1 if the broker did not respond.
    first_offset: i64,
    /// -1 if the broker did not respond.
    last_offset: i64,
}

/// Adds records to batches and sends them.
struct Sender<'a> {
    args: &'a Args,
    acks: Acks,
    client: Client,
    /// `None` without idempotence.
    identity: Option<ProducerIdentity>,
    /// The number of partitions of the topic.
    partitions: usize,
    /// The partition of records without a key until the next flush.
    keyless: usize,
    pending: BTreeMap<i32, BatchBuilder>,
    totals: BTreeMap<i32, PartitionTotals>,
}

impl<'a> Sender<'a> {
    fn new(args: &'a Args) -> Result<Sender<'a>, Failure> {
        let mut client = args.connect.client()?;
        let topic = client.topic_or_new(&args.topic)?;
        let partitions = topic.partitions.len();
        if let Some(partition) = args.partition {
            topic.partition(partition)?;
        }
        let acks = match args.acks {
            AcksArg::All => Acks::All,
            AcksArg::Leader => Acks::Leader,
            AcksArg::None => Acks::None,
        };
        // Kafka allows idempotence only with acks=all.
        let identity = if args.no_idempotence || acks != Acks::All {
            None
        } else {
            match client.init_producer() {
                Ok(identity) => Some(identity),
                Err(ClientError::NoCommonVersion { .. }) => None,
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Sender {
            args,
            acks,
            client,
            identity,
            partitions,
            // The start depends on the clock, so that many short runs do not all fill partition 0.
            keyless: now_ms() as usize % partitions,
            pending: BTreeMap::new(),
            totals: BTreeMap::new(),
        })
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Failure> {
        let (key, value) = match &self.args.key_separator {
            None => (None, line),
            Some(separator) => {
                let at = find(line, separator.as_bytes()).ok_or_else(|| {
                    Failure::with_hint(
                        format!("no {separator:?} in the line {:?}", String::from_utf8_lossy(line)),
                        "with --key-separator, every line needs a key before the separator",
                    )
                })?;
                (Some(&line[..at]), &line[at + separator.len()..])
            }
        };
        let value =
            if self.args.null.as_ref().is_some_and(|null| null.as_bytes() == value) { None } else { Some(value) };
        let partition = match (self.args.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, self.partitions),
            (None, None) => self.keyless as i32,
        };
        let batch_bytes = self.args.batch_bytes as usize;
        let options = BatchOptions { codec: self.args.compression.codec(), ..BatchOptions::default() };
        if self.pending.get(&partition).is_some_and(|batch| batch.plain_bytes() + line.len() > batch_bytes) {
            self.flush()?;
        }
        let batch = self.pending.entry(partition).or_insert_with(|| BatchBuilder::new(options));
        let headers = self.args.headers.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes())));
        batch.append(now_ms(), key, value, headers);
        if batch.plain_bytes() >= batch_bytes { self.flush() } else { Ok(()) }
    }

    /// Sends the pending batches and waits for their acknowledgements.
    fn flush(&mut self) -> Result<(), Failure> {
        let topic = &self.args.topic;
        let mut counts = BTreeMap::new();
        let mut batches = Vec::new();
        for (partition, mut builder) in std::mem::take(&mut self.pending) {
            let records = builder.records_count();
            if let Some(identity) = &mut self.identity {
                let sequence = identity.take_sequence(topic, partition, records);
                builder.set_producer(identity.producer_id, identity.producer_epoch, sequence);
            }
            counts.insert(partition, i64::from(records));
            batches.push(PartitionBatch { partition, batch: builder.finish() });
        }
        if batches.is_empty() {
            return Ok(());
        }
        for appended in self.client.produce(topic, batches, self.acks, self.identity.is_some())? {
            let records = counts[&appended.partition];
            let totals = self
                .totals
                .entry(appended.partition)
                .or_insert(PartitionTotals { first_offset: appended.base_offset, ..PartitionTotals::default() });
            totals.records += records as u64;
            totals.last_offset = if appended.base_offset < 0 { -1 } else { appended.base_offset + records - 1 };
        }
        self.keyless = (self.keyless + 1) % self.partitions;
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn report(
    args: &Args,
    totals: &BTreeMap<i32, PartitionTotals>,
    took: Duration,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let records: u64 = totals.values().map(|totals| totals.records).sum();
    if args.connect.json {
        let partitions: Vec<_> = totals
            .iter()
            .map(|(partition, totals)| {
                let known = |offset: i64| (offset >= 0).then_some(offset);
                json!({
                    "partition": partition,
                    "records": totals.records,
                    "first_offset": known(totals.first_offset),
                    "last_offset": known(totals.last_offset),
                })
            })
            .collect();
        let seconds = took.as_secs_f64();
        let report = json!({ "topic": args.topic, "records": records, "seconds": seconds, "partitions": partitions });
        writeln!(out, "{report}")?;
    } else if let [(partition, totals)] = totals.iter().collect::<Vec<_>>()[..] {
        let offsets = match (totals.first_offset, totals.last_offset) {
            (..0, _) => String::new(),
            (first, last) if first == last => format!(" at offset {first}"),
            (first, last) => format!(" at offsets {first} to {last}"),
        };
        writeln!(out, "{} to {}-{partition}{offsets}", counted(records as usize, "record"), args.topic)?;
    } else {
        let partitions = counted(totals.len(), "partition");
        writeln!(out, "{} to {} of {}", counted(records as usize, "record"), partitions, args.topic)?;
    }
    Ok(())
}
