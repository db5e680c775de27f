//! `tidemill consume`: prints the records of a topic.
//!
//! Reads all partitions, or the selected ones, from a start offset up to their ends at the start of the command. With
//! `--follow` it does not stop there. The isolation is `read_uncommitted`: records of open and aborted transactions are
//! printed, transaction markers are not.

mod format;

use self::format::{Field, Format, Printer};
use super::Failure;
use super::client::Client;
use super::client::fetch::{FetchOptions, FetchPosition, Fetched};
use super::client::offsets::{EARLIEST, LATEST};
use super::connect::Connect;
use super::time::parse_ms;
use crate::record::walk::Broken;
use crate::record::{Decompressor, Records, batches};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};

/// The arguments of `tidemill consume`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The topic to read
    topic: String,
    /// Read only this partition; may be repeated [default: all]
    #[arg(long = "partition", short, value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// The start: an offset, -N for the last N records of each partition, beginning, or end
    #[arg(long, short, default_value = "beginning", value_parser = parse_start_position, allow_hyphen_values = true)]
    offset: StartPosition,
    /// Start at the first record of this time or later: milliseconds, or 2026-08-01T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_ms, conflicts_with = "offset")]
    timestamp: Option<i64>,
    /// Stop after this many records
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Wait for new records at the end (the default with --offset end)
    #[arg(long)]
    follow: bool,
    /// Stop at the current end (the default without --offset end)
    #[arg(long, conflicts_with = "follow")]
    exit_at_end: bool,
    /// How to print records
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fields to print before the value, in this order; text format only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIELDS")]
    with: Vec<Field>,
    #[command(flatten)]
    connect: Connect,
}

/// The value of `--offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartPosition {
    Beginning,
    End,
    /// At this offset.
    At(i64),
    /// This number of offsets before the end.
    Last(i64),
}

fn parse_start_position(text: &str) -> Result<StartPosition, String> {
    match text {
        "beginning" | "earliest" => Ok(StartPosition::Beginning),
        "end" | "latest" => Ok(StartPosition::End),
        _ => match text.parse::<i64>() {
            Ok(offset @ 0..) => Ok(StartPosition::At(offset)),
            Ok(before) => {
                before.checked_neg().map(StartPosition::Last).ok_or_else(|| format!("{text} is too far back"))
            }
            Err(_) => Err(format!("expected an offset, -N, beginning or end, got {text:?}")),
        },
    }
}

/// The largest decompressed batch that is accepted.
const DECODED_BYTES_MAX: usize = 1 << 30;

/// Runs `tidemill consume`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    // No progress bar if the records go to the same terminal.
    let has_progress = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
    run_to(&args, has_progress, &mut out)
}

/// Prints the records to `out`.
fn run_to(args: &Args, has_progress: bool, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let is_endless =
        args.follow || (args.offset == StartPosition::End && args.timestamp.is_none() && !args.exit_at_end);
    let mut reader = TopicReader::start(&mut client, args, is_endless)?;
    let progress = if has_progress && !is_endless { progress_bar(reader.remaining()) } else { ProgressBar::hidden() };
    let format = if args.connect.json { Format::Json } else { args.format };
    let mut printer = Printer::new(&args.topic, format, &args.with, args.count.unwrap_or(u64::MAX));
    while !reader.is_at_end() && !printer.is_done() {
        let positions: Vec<_> =
            reader.partitions.iter().map(|(&partition, cursor)| cursor.position(partition)).collect();
        for fetched in client.fetch(&args.topic, &positions, FetchOptions::default())? {
            reader.print_fetched(&args.topic, &fetched, &mut printer, out)?;
        }
        out.flush()?;
        progress.set_position(printer.printed());
    }
    progress.finish_and_clear();
    Ok(())
}

fn progress_bar(records: u64) -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} records {per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    ProgressBar::new(records).with_style(style)
}

/// Reads partitions of one topic.
struct TopicReader {
    /// The partitions that are not at their ends.
    partitions: BTreeMap<i32, PartitionCursor>,
    decompressor: Decompressor,
}

/// The range of offsets that remains to be read.
struct PartitionCursor {
    next_offset: i64,
    /// Exclusive; `i64::MAX` with `--follow`.
    end_offset: i64,
}

impl PartitionCursor {
    fn position(&self, partition: i32) -> FetchPosition {
        FetchPosition { partition, offset: self.next_offset }
    }
}

impl TopicReader {
    /// Looks up the start and end offsets.
    fn start(client: &mut Client, args: &Args, is_endless: bool) -> Result<TopicReader, Failure> {
        let topic = client.topic(&args.topic)?;
        let mut selected = args.partitions.clone();
        if selected.is_empty() {
            selected = topic.partitions.iter().map(|partition| partition.partition).collect();
        }
        selected.sort_unstable();
        selected.dedup();
        for &partition in &selected {
            topic.partition(partition)?;
        }
        let mut listed = |timestamp| -> Result<Vec<Option<i64>>, Failure> {
            let listed = client.list_offsets(&args.topic, &selected, timestamp)?;
            Ok(listed.into_iter().map(|listed| listed.offset).collect())
        };
        let (first, end) = (listed(EARLIEST)?, listed(LATEST)?);
        let at_time = args.timestamp.map(&mut listed).transpose()?;
        let mut partitions = BTreeMap::new();
        for (i, &partition) in selected.iter().enumerate() {
            let (first, end) = (first[i].unwrap_or(0), end[i].unwrap_or(0));
            let next_offset = match (&at_time, args.offset) {
                (Some(at_time), _) => at_time[i].unwrap_or(end),
                (None, StartPosition::Beginning) => first,
                (None, StartPosition::End) => end,
                (None, StartPosition::Last(count)) => end.saturating_sub(count).max(first),
                (None, StartPosition::At(offset)) if (first..=end).contains(&offset) => offset,
                (None, StartPosition::At(offset)) => {
                    return Err(Failure::with_hint(
                        format!("offset {offset} is outside of {}-{partition}, which has {first} to {end}", args.topic),
                        "select one partition with --partition, or start with --offset beginning",
                    ));
                }
            };
            let end_offset = if is_endless { i64::MAX } else { end };
            if next_offset < end_offset {
                partitions.insert(partition, PartitionCursor { next_offset, end_offset });
            }
        }
        Ok(TopicReader { partitions, decompressor: Decompressor::new(DECODED_BYTES_MAX) })
    }

    fn is_at_end(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The number of offsets that remain to be read.
    fn remaining(&self) -> u64 {
        self.partitions.values().map(|cursor| (cursor.end_offset - cursor.next_offset) as u64).sum()
    }

    /// Prints the fetched records of one partition and advances its cursor.
    fn print_fetched(
        &mut self,
        topic: &str,
        fetched: &Fetched,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let partition = fetched.partition;
        let Some(cursor) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let broken = |offset: i64, reason: &dyn std::fmt::Display| {
            Failure::with_hint(
                format!("{topic}-{partition} has a broken batch at offset {offset}: {reason}"),
                format!("skip it with --partition {partition} --offset N"),
            )
        };
        for batch in batches(&fetched.records) {
            let batch = match batch {
                Ok(batch) => batch,
                // The broker truncated the last batch at its byte limit; the next fetch starts with this batch.
                Err(Broken::Torn { position, .. }) if position > 0 => break,
                Err(error) => return Err(broken(cursor.next_offset, &error)),
            };
            let header = &batch.header;
            if !batch.is_intact() {
                return Err(broken(header.base_offset.0, &"its CRC does not match"));
            }
            if !header.is_control() {
                let decoded = self.decompressor.records(header, batch.stored_records());
                let decoded = decoded.map_err(|error| broken(header.base_offset.0, &error))?;
                for record in Records::new(header, decoded) {
                    let record = record.map_err(|error| broken(header.base_offset.0, &error))?;
                    if (cursor.next_offset..cursor.end_offset).contains(&record.offset.0) && !printer.is_done() {
                        printer.print(partition, header, &record, out)?;
                    }
                }
            }
            cursor.next_offset = cursor.next_offset.max(header.next_offset().0);
        }
        if cursor.next_offset >= cursor.end_offset {
            self.partitions.remove(&partition);
        }
        Ok(())
    }
}
