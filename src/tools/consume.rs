//! `tidemill consume`: prints the records of a topic.
//!
//! Reads all partitions, or the selected ones, from a start offset up to their ends at the start of the command. With
//! `--follow` it does not stop there. With `--group` the group's coordinator assigns the partitions. Transaction
//! markers are not printed; `--isolation read_committed` leaves out the records of open and aborted transactions too.

mod aborted;
mod format;
mod member;

use self::aborted::Aborted;
use self::format::{Field, Format, Printer};
use super::Failure;
use super::client::Client;
use super::client::fetch::{FetchOptions, FetchPosition, Fetched};
use super::client::groups::Offsets;
use super::client::offsets::{EARLIEST, LATEST, ListedOffset};
use super::connect::Connect;
use super::time::parse_ms;
use crate::record::walk::Broken;
use crate::record::{Decompressor, Records, batches};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::RangeInclusive;

/// The arguments of `tidemill consume`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The topic to read
    topic: String,
    /// Read only this partition; may be repeated [default: all]
    #[arg(long = "partition", short, value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Read as a member of this group, from its committed offsets, and commit the offsets of printed records
    #[arg(long, short, conflicts_with = "partitions")]
    group: Option<String>,
    /// read_committed: skip the records of open and aborted transactions
    #[arg(long, value_enum, default_value_t = Isolation::ReadUncommitted)]
    isolation: Isolation,
    /// The start: an offset, -N for the last N records of each partition, beginning, or end; with --group, only for
    /// partitions without a committed offset
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

/// The value of `--isolation`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "snake_case")]
enum Isolation {
    /// All records up to the high watermark
    ReadUncommitted,
    /// Records without a transaction, and those of committed transactions
    ReadCommitted,
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
    let format = if args.connect.json { Format::Json } else { args.format };
    let mut printer = Printer::new(&args.topic, format, &args.with, args.count.unwrap_or(u64::MAX));
    if let Some(group) = &args.group {
        return member::run(&mut client, args, group, &mut printer, out);
    }
    let mut selected = args.partitions.clone();
    let topic = client.topic(&args.topic)?;
    if selected.is_empty() {
        selected = topic.partitions.iter().map(|partition| partition.partition).collect();
    }
    selected.sort_unstable();
    selected.dedup();
    for &partition in &selected {
        topic.partition(partition)?;
    }
    let mut reader = TopicReader::new(args);
    reader.add(&mut client, args, &selected, &Offsets::new())?;
    let progress =
        if has_progress && !args.is_endless() { progress_bar(reader.remaining()) } else { ProgressBar::hidden() };
    while !reader.is_at_end() && !printer.is_done() {
        reader.print_next(&mut client, &mut printer, out)?;
        progress.set_position(printer.printed());
    }
    progress.finish_and_clear();
    Ok(())
}

impl Args {
    /// Whether the command continues at the ends of the partitions.
    fn is_endless(&self) -> bool {
        self.follow || (self.offset == StartPosition::End && self.timestamp.is_none() && !self.exit_at_end)
    }
}

fn progress_bar(records: u64) -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} records {per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    ProgressBar::new(records).with_style(style)
}

/// Reads partitions of one topic.
struct TopicReader<'a> {
    topic: &'a str,
    partitions: BTreeMap<i32, PartitionCursor>,
    options: FetchOptions,
    decompressor: Decompressor,
}

/// The range of offsets that remains to be read.
struct PartitionCursor {
    next_offset: i64,
    /// Exclusive; `i64::MAX` with `--follow`.
    end_offset: i64,
}

impl PartitionCursor {
    fn is_at_end(&self) -> bool {
        self.next_offset >= self.end_offset
    }
}

impl<'a> TopicReader<'a> {
    /// A reader without partitions.
    fn new(args: &'a Args) -> TopicReader<'a> {
        let is_read_committed = args.isolation == Isolation::ReadCommitted;
        TopicReader {
            topic: &args.topic,
            partitions: BTreeMap::new(),
            options: FetchOptions { is_read_committed, ..FetchOptions::default() },
            decompressor: Decompressor::new(DECODED_BYTES_MAX),
        }
    }

    /// Looks up the start and end offsets of partitions and adds them. A committed offset precedes the arguments.
    fn add(&mut self, client: &mut Client, args: &Args, added: &[i32], committed: &Offsets) -> Result<(), Failure> {
        let offsets = |listed: Vec<ListedOffset>| listed.into_iter().map(|listed| listed.offset).collect::<Vec<_>>();
        let first = offsets(client.list_offsets(self.topic, added, EARLIEST)?);
        let end = offsets(match self.options.is_read_committed {
            true => client.list_stable_offsets(self.topic, added)?,
            false => client.list_offsets(self.topic, added, LATEST)?,
        });
        let at_time = match args.timestamp {
            Some(time) => Some(offsets(client.list_offsets(self.topic, added, time)?)),
            None => None,
        };
        for (i, &partition) in added.iter().enumerate() {
            let (first, end) = (first[i].unwrap_or(0), end[i].unwrap_or(0));
            let next_offset = match (committed.get(&(self.topic.to_owned(), partition)), &at_time, args.offset) {
                (Some(offset), ..) => (*offset).clamp(first, end.max(first)),
                (None, Some(at_time), _) => at_time[i].unwrap_or(end),
                (None, None, StartPosition::Beginning) => first,
                (None, None, StartPosition::End) => end,
                (None, None, StartPosition::Last(count)) => end.saturating_sub(count).max(first),
                (None, None, StartPosition::At(offset)) if (first..=end).contains(&offset) => offset,
                (None, None, StartPosition::At(offset)) => {
                    return Err(self.outside(partition, offset, first..=end, added.len()));
                }
            };
            let end_offset = if args.is_endless() { i64::MAX } else { end };
            self.partitions.insert(partition, PartitionCursor { next_offset, end_offset });
        }
        Ok(())
    }

    /// The failure for a start offset that a partition does not have.
    fn outside(&self, partition: i32, offset: i64, range: RangeInclusive<i64>, selected: usize) -> Failure {
        let (first, end) = (range.start(), range.end());
        let hint = match selected {
            1 => format!("start with --offset beginning, end, or a number from {first} to {end}"),
            _ => "select one partition with --partition, or start with --offset beginning".into(),
        };
        Failure::with_hint(
            format!("offset {offset} is outside of {}-{partition}, which has {first} to {end}", self.topic),
            hint,
        )
    }

    fn is_at_end(&self) -> bool {
        self.partitions.values().all(PartitionCursor::is_at_end)
    }

    /// The number of offsets that remain to be read.
    fn remaining(&self) -> u64 {
        self.partitions.values().map(|cursor| (cursor.end_offset - cursor.next_offset).max(0) as u64).sum()
    }

    /// Fetches once from every partition that is not at its end, and prints the records.
    fn print_next(
        &mut self,
        client: &mut Client,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let open = self.partitions.iter().filter(|(_, cursor)| !cursor.is_at_end());
        let positions: Vec<_> =
            open.map(|(&partition, cursor)| FetchPosition { partition, offset: cursor.next_offset }).collect();
        for fetched in client.fetch(self.topic, &positions, self.options)? {
            self.print_fetched(&fetched, printer, out)?;
        }
        Ok(out.flush()?)
    }

    /// Prints the fetched records of one partition and advances its cursor.
    fn print_fetched(
        &mut self,
        fetched: &Fetched,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let partition = fetched.partition;
        let topic = self.topic;
        let Some(cursor) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let mut aborted = Aborted::new(&fetched.aborted);
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
            if !aborted.skips(header, batch.stored_records()) {
                let decoded = self.decompressor.records(header, batch.stored_records());
                let decoded = decoded.map_err(|error| broken(header.base_offset.0, &error))?;
                for record in Records::new(header, decoded) {
                    let record = record.map_err(|error| broken(header.base_offset.0, &error))?;
                    if printer.is_done() {
                        return Ok(());
                    }
                    if (cursor.next_offset..cursor.end_offset).contains(&record.offset.0) {
                        printer.print(partition, header, &record, out)?;
                        cursor.next_offset = record.offset.0 + 1;
                    }
                }
            }
            cursor.next_offset = cursor.next_offset.max(header.next_offset().0);
        }
        Ok(())
    }
}
