//! `tidemill group reset-offsets`: resets the committed offsets of a group without members.

use super::{missing, offsets_at, select_partitions};
use crate::tools::Failure;
use crate::tools::client::Client;
use crate::tools::client::groups::Offsets;
use crate::tools::client::offsets::{EARLIEST, LATEST};
use crate::tools::connect::Connect;
use crate::tools::output::{align_right, number_or_dash, table};
use crate::tools::time::{now_ms, parse_ms};
use serde_json::{Value, json};
use std::io::Write;

/// The arguments of `tidemill group reset-offsets`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The group
    name: String,
    /// A topic, or some of its partitions as TOPIC:0,1; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:P,P]", required_unless_present = "all_topics")]
    topics: Vec<String>,
    /// Every topic for which the group has committed offsets
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    target: Target,
    /// Create the group if it does not exist
    #[arg(long, conflicts_with = "all_topics")]
    create: bool,
    /// Commit the new offsets
    #[arg(long)]
    execute: bool,
    /// Only print the new offsets (the default)
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first offset of the log
    #[arg(long)]
    to_earliest: bool,
    /// To the end of the log
    #[arg(long)]
    to_latest: bool,
    /// To this offset, limited to the range of the log
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// Forward by this number of offsets (back if negative), limited to the range of the log
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record at or after this time: YYYY-MM-DDTHH:MM:SS.sss (UTC) or milliseconds
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    to_datetime: Option<i64>,
    /// To the first record that is at most this old, such as P7D or PT1H30M
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    by_duration: Option<i64>,
}

pub(super) fn run(args: Args, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let state = client.describe_group(&args.name)?.state;
    if state == "Dead" && !args.create {
        let failure = missing(&args.name);
        return Err(if args.all_topics { failure } else { failure.hinted("add --create to create it") });
    }
    if !matches!(state.as_str(), "Empty" | "Dead") {
        let message = format!("group {:?} is {state}: its offsets can only be reset when it has no members", args.name);
        return Err(Failure::new(message));
    }
    let committed = client.committed(&args.name)?;
    let mut partitions: Vec<(String, i32)> = committed.keys().filter(|_| args.all_topics).cloned().collect();
    for selection in &args.topics {
        partitions.extend(select_partitions(&mut client, selection)?);
    }
    partitions.sort_unstable();
    partitions.dedup();
    let new = target_offsets(&mut client, &args, &committed, partitions)?;
    if args.execute {
        client.commit(&args.name, &new)?;
    }
    print_reset(&args, &committed, &new, out)
}

/// Computes the new offset of each partition, limited to the range of its log.
fn target_offsets(
    client: &mut Client,
    args: &Args,
    committed: &Offsets,
    partitions: Vec<(String, i32)>,
) -> Result<Offsets, Failure> {
    let target = &args.target;
    let first = offsets_at(client, &partitions, EARLIEST)?;
    let end = offsets_at(client, &partitions, LATEST)?;
    let time = target.to_datetime.or(target.by_duration.map(|ago| now_ms() - ago));
    let timed = time.map(|time| offsets_at(client, &partitions, time)).transpose()?.unwrap_or_default();
    let mut new = Offsets::new();
    for at in partitions {
        let (first, end) = (first.get(&at).copied().unwrap_or(0), end.get(&at).copied().unwrap_or(0));
        let offset = if target.to_earliest {
            first
        } else if let Some(offset) = target.to_offset {
            offset
        } else if let Some(by) = target.shift_by {
            let Some(from) = committed.get(&at) else {
                let (group, topic, partition) = (&args.name, at.0, at.1);
                let message = format!("group {group:?} has no committed offset for {topic}-{partition} to shift");
                return Err(Failure::new(message));
            };
            from.saturating_add(by)
        } else if time.is_some() {
            // No record has this time or a later one, so the new offset is the end.
            timed.get(&at).copied().unwrap_or(end)
        } else {
            end
        };
        new.insert(at, offset.clamp(first, end));
    }
    Ok(new)
}

fn print_reset(args: &Args, committed: &Offsets, new: &Offsets, out: &mut impl Write) -> Result<(), Failure> {
    if args.connect.json {
        let offsets = new.iter().map(|((topic, partition), offset)| {
            let before = committed.get(&(topic.clone(), *partition));
            json!({ "topic": topic, "partition": partition, "before": before, "after": offset })
        });
        let offsets = offsets.collect::<Value>();
        writeln!(out, "{}", json!({ "group": args.name, "executed": args.execute, "offsets": offsets }))?;
        return Ok(());
    }
    let mut table = table(&["topic", "partition", "before", "after"]);
    for (at, offset) in new {
        let before = number_or_dash(committed.get(at).copied());
        table.add_row([at.0.clone(), at.1.to_string(), before, offset.to_string()]);
    }
    align_right(&mut table, [1, 2, 3]);
    writeln!(out, "{table}")?;
    if !args.execute {
        writeln!(out, "nothing was changed; add --execute to commit the new offsets")?;
    }
    Ok(())
}

/// Parses an ISO 8601 duration of days, hours, minutes and seconds into milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration such as P7D or PT1H30M");
    let rest = text.strip_prefix('P').filter(|rest| !rest.is_empty() && !rest.ends_with('T')).ok_or_else(wrong)?;
    let (mut total, mut number, mut is_time) = (0i64, String::new(), false);
    for c in rest.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            'T' if number.is_empty() && !is_time => {
                is_time = true;
                continue;
            }
            'D' if !is_time => 24 * 3600,
            'H' if is_time => 3600,
            'M' if is_time => 60,
            'S' if is_time => 1,
            _ => return Err(wrong()),
        };
        let count: i64 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit * 1000).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
    }
    if number.is_empty() { Ok(total) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_durations_are_parsed() {
        for (text, expected) in [
            ("P7D", Some(7 * 86_400_000)),
            ("PT1H30M", Some(5_400_000)),
            ("P1DT2S", Some(86_402_000)),
            ("PT", None),
            ("P", None),
            ("1H", None),
            ("PT5", None),
            ("P5M", None),
            ("PT99999999999999999999S", None),
            ("P9999999999999999D", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        }
    }
}
