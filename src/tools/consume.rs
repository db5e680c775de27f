//! `tidemill consume`: records of a topic, printed.
//!
//! Reads all partitions (or those asked for) from where it is told to, up to where they ended when it began, or on and on
//! with `--follow`. Reads uncommitted: records of open and aborted transactions are shown, their markers are not.

mod format;

use self::format::{Field, Format, Printer};
use super::Failure;
use super::client::Client;
use super::client::fetch::{FetchOptions, Fetched, Position};
use super::client::offsets::{EARLIEST, LATEST};
use super::connect::Connect;
use super::time::parse_ms;
use crate::record::walk::Broken;
use crate::record::{Decompressor, Records, batches};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};

#[derive(clap::Args, Debug)]
pub struct Args {
    topic: String,
    /// Read only this partition; may be repeated [default: all]
    #[arg(long = "partition", short, value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Where to begin: an offset, -N for the last N of each partition, beginning, or end
    #[arg(long, short, default_value = "beginning", value_parser = parse_start_position, allow_hyphen_values = true)]
    offset: StartPosition,
    /// Begin at the first record of this time or later: milliseconds, or 2026-08-01T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_ms, conflicts_with = "offset")]
    timestamp: Option<i64>,
    /// Stop after this many records
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Go on with records as they come (as --offset end does by itself)
    #[arg(long)]
    follow: bool,
    /// Stop at what is the end now (as everything but --offset end does by itself)
    #[arg(long, conflicts_with = "follow")]
    exit_at_end: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What to print in front of the value, in this order, as text
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIELDS")]
    with: Vec<Field>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartPosition {
    Beginning,
    End,
    At(i64),
    /// This many before the end.
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

/// What one batch may decompress to; a person's terminal needs no more at once.
const DECODED_BYTES_MAX: usize = 1 << 30;

pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    // A bar between the records on the same terminal would only be in the way.
    let is_shown = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
    run_to(&args, is_shown, &mut out)
}

pub(super) fn run_to(args: &Args, has_progress: bool, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let is_endless =
        args.follow || (args.offset == StartPosition::End && args.timestamp.is_none() && !args.exit_at_end);
    let mut reading = Reading::begin(&mut client, args, is_endless)?;
    let progress = if has_progress && !is_endless { progress_bar(reading.left()) } else { ProgressBar::hidden() };
    let format = if args.connect.json { Format::Json } else { args.format };
    let mut printer = Printer::new(&args.topic, format, &args.with, args.count.unwrap_or(u64::MAX));
    while !reading.is_over() && !printer.is_done() {
        let positions: Vec<_> =
            reading.partitions.iter().map(|(&partition, state)| state.position(partition)).collect();
        for fetched in client.fetch(&args.topic, &positions, FetchOptions::default())? {
            reading.take(&args.topic, &fetched, &mut printer, out)?;
        }
        out.flush()?;
        progress.set_position(printer.printed());
    }
    progress.finish_and_clear();
    Ok(())
}

fn progress_bar(records: u64) -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} records {per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("a template that is written here");
    ProgressBar::new(records).with_style(style)
}

/// How far each partition is.
struct Reading {
    partitions: BTreeMap<i32, PartitionCursor>,
    decompressor: Decompressor,
}

struct PartitionCursor {
    next_offset: i64,
    /// Where to stop.
    end_offset: i64,
}

impl PartitionCursor {
    fn position(&self, partition: i32) -> Position {
        Position { partition, offset: self.next_offset }
    }
}

impl Reading {
    fn begin(client: &mut Client, args: &Args, is_endless: bool) -> Result<Reading, Failure> {
        let topic = client.topic(&args.topic)?;
        let mut asked = args.partitions.clone();
        if asked.is_empty() {
            asked = topic.partitions.iter().map(|partition| partition.partition).collect();
        }
        asked.sort_unstable();
        asked.dedup();
        for &partition in &asked {
            topic.partition(partition)?;
        }
        let mut listed = |timestamp| -> Result<Vec<Option<i64>>, Failure> {
            let listed = client.list_offsets(&args.topic, &asked, timestamp)?;
            Ok(listed.into_iter().map(|listed| listed.offset).collect())
        };
        let (first, end) = (listed(EARLIEST)?, listed(LATEST)?);
        let at_time = args.timestamp.map(&mut listed).transpose()?;
        let mut partitions = BTreeMap::new();
        for (i, &partition) in asked.iter().enumerate() {
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
                        "name one partition with --partition, or begin with --offset beginning",
                    ));
                }
            };
            let end_offset = if is_endless { i64::MAX } else { end };
            if next_offset < end_offset {
                partitions.insert(partition, PartitionCursor { next_offset, end_offset });
            }
        }
        Ok(Reading { partitions, decompressor: Decompressor::new(DECODED_BYTES_MAX) })
    }

    fn is_over(&self) -> bool {
        self.partitions.is_empty()
    }

    /// How many offsets are still to be read.
    fn left(&self) -> u64 {
        self.partitions.values().map(|state| (state.end_offset - state.next_offset) as u64).sum()
    }

    /// Prints what one partition had and moves on behind it.
    fn take(
        &mut self,
        topic: &str,
        fetched: &Fetched,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let partition = fetched.partition;
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let broken = |offset: i64, what: &dyn std::fmt::Display| {
            Failure::with_hint(
                format!("{topic}-{partition} has a broken batch at offset {offset}: {what}"),
                format!("go on behind it with --partition {partition} --offset N"),
            )
        };
        for batch in batches(&fetched.records) {
            let batch = match batch {
                Ok(batch) => batch,
                // The broker cut the last batch at its byte limit; the next fetch brings it whole.
                Err(Broken::Torn { position, .. }) if position > 0 => break,
                Err(error) => return Err(broken(state.next_offset, &error)),
            };
            let header = &batch.header;
            if !batch.is_intact() {
                return Err(broken(header.base_offset, &"its CRC does not match"));
            }
            if !header.is_control() {
                let decoded = self.decompressor.records(header, batch.stored_records());
                let decoded = decoded.map_err(|error| broken(header.base_offset, &error))?;
                for record in Records::new(header, decoded) {
                    let record = record.map_err(|error| broken(header.base_offset, &error))?;
                    if (state.next_offset..state.end_offset).contains(&record.offset) && !printer.is_done() {
                        printer.print(partition, header, &record, out)?;
                    }
                }
            }
            state.next_offset = state.next_offset.max(header.next_offset());
        }
        if state.next_offset >= state.end_offset {
            self.partitions.remove(&partition);
        }
        Ok(())
    }
}
