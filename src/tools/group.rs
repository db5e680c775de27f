//! `tidemill group`: lists, describes and deletes groups, and resets their committed offsets.

use super::Failure;
use super::client::Client;
use super::client::groups::{Group, Member, Offsets};
use super::client::offsets::{EARLIEST, LATEST};
use super::connect::Connect;
use super::output::{align_right, counted, number_or_dash, print_deleted, table};
use super::time::{now_ms, parse_ms};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// The arguments of `tidemill group`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List the groups
    List(List),
    /// Show the members of groups, their assigned partitions, and their lag
    Describe(Named),
    /// Reset the committed offsets of a group without members
    ResetOffsets(Reset),
    /// Delete groups and their committed offsets
    Delete(Named),
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Named {
    /// The groups
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Reset {
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

/// Runs `tidemill group`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match args.verb {
        Verb::List(list) => run_list(list, &mut out),
        Verb::Describe(named) => run_describe(named, &mut out),
        Verb::ResetOffsets(reset) => run_reset(reset, &mut out),
        Verb::Delete(named) => run_delete(named, &mut out),
    }
}

fn run_list(args: List, out: &mut impl Write) -> Result<(), Failure> {
    let groups = args.connect.client()?.groups()?;
    if args.connect.json {
        let groups = groups.iter().map(|group| {
            json!({ "group": group.group_id, "state": group.group_state, "type": group.group_type,
                    "protocol_type": group.protocol_type })
        });
        writeln!(out, "{}", Value::Array(groups.collect()))?;
    } else if groups.is_empty() {
        writeln!(out, "no groups")?;
    } else {
        let mut table = table(&["group", "state", "type", "protocol"]);
        for group in groups {
            let protocol = Some(group.protocol_type).filter(|own| !own.is_empty()).unwrap_or("-".into());
            table.add_row([group.group_id, group.group_state, group.group_type, protocol]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

/// One partition of a group.
struct GroupPartition {
    topic: String,
    partition: i32,
    /// The committed offset.
    committed: Option<i64>,
    /// The end of the log.
    end: Option<i64>,
    /// The index of the assigned member.
    member: Option<usize>,
}

impl GroupPartition {
    /// The number of records below the end that the group has not committed.
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

/// The partitions that the group has committed or that are assigned to a member, in order.
fn group_partitions(client: &mut Client, group: &Group) -> Result<Vec<GroupPartition>, Failure> {
    let committed = client.committed(&group.id)?;
    let mut owners: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assigned.iter().map(|at| (at.clone(), index)));
    }
    let mut all: Vec<(String, i32)> = committed.keys().chain(owners.keys()).cloned().collect();
    all.sort_unstable();
    all.dedup();
    let ends = offsets_at(client, &all, LATEST)?;
    let row = |at: (String, i32)| GroupPartition {
        committed: committed.get(&at).copied(),
        end: ends.get(&at).copied(),
        member: owners.get(&at).copied(),
        topic: at.0,
        partition: at.1,
    };
    Ok(all.into_iter().map(row).collect())
}

/// Looks up the offset for a timestamp, or for [`EARLIEST`] or [`LATEST`], in each partition. `partitions` is sorted.
/// Partitions without such an offset are left out.
fn offsets_at(client: &mut Client, partitions: &[(String, i32)], timestamp: i64) -> Result<Offsets, Failure> {
    let mut offsets = Offsets::new();
    for of_topic in partitions.chunk_by(|a, b| a.0 == b.0) {
        let topic = &of_topic[0].0;
        let indexes: Vec<i32> = of_topic.iter().map(|(_, partition)| *partition).collect();
        for listed in client.list_offsets(topic, &indexes, timestamp)? {
            if let Some(offset) = listed.offset {
                offsets.insert((topic.clone(), listed.partition), offset);
            }
        }
    }
    Ok(offsets)
}

fn run_describe(args: Named, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let mut described = Vec::new();
    for name in &args.names {
        let group = client.describe_group(name)?;
        if group.state == "Dead" {
            return Err(Failure::with_hint(
                format!("group {name:?} does not exist"),
                "list the groups with `tidemill group list`",
            ));
        }
        let rows = group_partitions(&mut client, &group)?;
        if args.connect.json {
            described.push(group_json(&group, &rows));
        } else {
            print_group(&group, &rows, out)?;
        }
    }
    if args.connect.json {
        writeln!(out, "{}", Value::Array(described))?;
    }
    Ok(())
}

fn print_group(group: &Group, rows: &[GroupPartition], out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "group {}  {}  {}", group.id, group.state, counted(group.members.len(), "member"))?;
    if !rows.is_empty() {
        let mut table = table(&["topic", "partition", "committed", "end", "lag", "member", "host", "client"]);
        for row in rows {
            let member = row.member.map(|index| &group.members[index]);
            let of = |field: fn(&Member) -> &String| member.map_or("-".into(), |member| field(member).clone());
            table.add_row([
                row.topic.clone(),
                row.partition.to_string(),
                number_or_dash(row.committed),
                number_or_dash(row.end),
                number_or_dash(row.lag()),
                of(|member| &member.id),
                of(|member| &member.client_host),
                of(|member| &member.client_id),
            ]);
        }
        align_right(&mut table, [1, 2, 3, 4]);
        writeln!(out, "{table}")?;
    }
    for (index, member) in group.members.iter().enumerate() {
        if rows.iter().all(|row| row.member != Some(index)) {
            writeln!(out, "member {} on {} has no partition", member.id, member.client_host)?;
        }
    }
    Ok(())
}

fn group_json(group: &Group, rows: &[GroupPartition]) -> Value {
    let members = group.members.iter().map(|member| {
        json!({ "member": member.id, "instance": member.instance_id, "client": member.client_id,
                "host": member.client_host })
    });
    let partitions = rows.iter().map(|row| {
        json!({ "topic": row.topic, "partition": row.partition, "committed": row.committed, "end": row.end,
                "lag": row.lag(), "member": row.member.map(|index| &group.members[index].id) })
    });
    json!({ "group": group.id, "state": group.state, "protocol_type": group.protocol_type,
            "protocol": group.protocol, "members": members.collect::<Value>(),
            "partitions": partitions.collect::<Value>() })
}

fn run_reset(args: Reset, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let state = client.describe_group(&args.name)?.state;
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
    args: &Reset,
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

fn print_reset(args: &Reset, committed: &Offsets, new: &Offsets, out: &mut impl Write) -> Result<(), Failure> {
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

/// Parses `TOPIC` (all partitions) or `TOPIC:0,1`.
fn select_partitions(client: &mut Client, selection: &str) -> Result<Vec<(String, i32)>, Failure> {
    let (topic, partitions) = selection.split_once(':').map_or((selection, None), |(topic, rest)| (topic, Some(rest)));
    let known = client.topic(topic)?.clone();
    let Some(partitions) = partitions else {
        return Ok(known.partitions.iter().map(|partition| (topic.to_owned(), partition.partition)).collect());
    };
    let mut selected = Vec::new();
    for partition in partitions.split(',') {
        let partition = partition.trim().parse();
        let partition = partition.map_err(|_| Failure::new(format!("{selection:?} is not TOPIC or TOPIC:0,1")))?;
        selected.push((topic.to_owned(), known.partition(partition)?.partition));
    }
    Ok(selected)
}

fn run_delete(args: Named, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    for name in &args.names {
        client.delete_group(name)?;
        print_deleted("group", name, args.connect.json, out)?;
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
