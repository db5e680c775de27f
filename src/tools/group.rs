//! `tidemill group`: list, describe and delete groups, and set how far they have read.

use super::Failure;
use super::client::Client;
use super::client::groups::{Group, Member, Offsets};
use super::client::offsets::{EARLIEST, LATEST};
use super::connect::Connect;
use super::time::{now_ms, parse_ms};
use super::topic::{align_right, counted, table};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List the groups
    List(List),
    /// Show groups' members, what they are assigned, and how far behind they are
    Describe(Named),
    /// Set how far a group has read; nobody may be in it
    ResetOffsets(Reset),
    /// Delete groups and what they have committed
    Delete(Named),
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Named {
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct Reset {
    name: String,
    /// A topic, or some of its partitions as TOPIC:0,1; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:P,P]", required_unless_present = "all_topics")]
    topics: Vec<String>,
    /// Every topic for which the group has committed something
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    target: Target,
    /// Do it, and not only say what would be done
    #[arg(long)]
    execute: bool,
    /// Only say what would be done: the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record there is
    #[arg(long)]
    to_earliest: bool,
    /// To behind the last record
    #[arg(long)]
    to_latest: bool,
    /// To an offset, as far as there are records
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// By so many records, backwards if negative, as far as there are records
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record of a time: YYYY-MM-DDTHH:MM:SS.sss (UTC) or milliseconds
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    to_datetime: Option<i64>,
    /// To the first record of so long ago, such as P7D or PT1H30M
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    by_duration: Option<i64>,
}

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

/// One partition of a group: what it has committed, where the records end, and whose it is.
struct Row {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<usize>,
}

impl Row {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

fn rows(client: &mut Client, group: &Group) -> Result<Vec<Row>, Failure> {
    let committed = client.committed(&group.id)?;
    let mut owners: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assigned.iter().map(|at| (at.clone(), index)));
    }
    let mut all: Vec<(String, i32)> = committed.keys().chain(owners.keys()).cloned().collect();
    all.sort_unstable();
    all.dedup();
    let ends = places(client, &all, LATEST)?;
    let row = |at: (String, i32)| Row {
        committed: committed.get(&at).copied(),
        end: ends.get(&at).copied(),
        member: owners.get(&at).copied(),
        topic: at.0,
        partition: at.1,
    };
    Ok(all.into_iter().map(row).collect())
}

/// The offset that a time or a word stands for, of each partition; of those that have one.
fn places(client: &mut Client, partitions: &[(String, i32)], timestamp: i64) -> Result<Offsets, Failure> {
    let mut places = Offsets::new();
    for of_topic in partitions.chunk_by(|a, b| a.0 == b.0) {
        let topic = &of_topic[0].0;
        let indexes: Vec<i32> = of_topic.iter().map(|(_, partition)| *partition).collect();
        for listed in client.list_offsets(topic, &indexes, timestamp)? {
            if let Some(offset) = listed.offset {
                places.insert((topic.clone(), listed.partition), offset);
            }
        }
    }
    Ok(places)
}

fn run_describe(args: Named, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let mut described = Vec::new();
    for name in &args.names {
        let group = client.describe_group(name)?;
        if group.state == "Dead" {
            return Err(Failure::new(format!("there is no group {name:?}; `tidemill group list` shows all")));
        }
        let rows = rows(&mut client, &group)?;
        if args.connect.json {
            described.push(json(&group, &rows));
            continue;
        }
        writeln!(out, "group {name}  {}  {}", group.state, counted(group.members.len(), "member"))?;
        if !rows.is_empty() {
            let mut table = table(&["topic", "partition", "committed", "end", "lag", "member", "host", "client"]);
            let shown = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
            for row in &rows {
                let member = row.member.map(|index| &group.members[index]);
                let of = |field: fn(&Member) -> &String| member.map_or("-".into(), |member| field(member).clone());
                table.add_row([
                    row.topic.clone(),
                    row.partition.to_string(),
                    shown(row.committed),
                    shown(row.end),
                    shown(row.lag()),
                    of(|member| &member.id),
                    of(|member| &member.client_host),
                    of(|member| &member.client_id),
                ]);
            }
            align_right(&mut table, &[1, 2, 3, 4]);
            writeln!(out, "{table}")?;
        }
        for (index, member) in group.members.iter().enumerate() {
            if rows.iter().all(|row| row.member != Some(index)) {
                writeln!(out, "member {} on {} has no partition", member.id, member.client_host)?;
            }
        }
    }
    if args.connect.json {
        writeln!(out, "{}", Value::Array(described))?;
    }
    Ok(())
}

fn json(group: &Group, rows: &[Row]) -> Value {
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
        let why = format!("group {:?} is {state}: its offsets can only be set when nobody is in it", args.name);
        return Err(Failure::new(why));
    }
    let committed = client.committed(&args.name)?;
    let mut partitions: Vec<(String, i32)> = committed.keys().filter(|_| args.all_topics).cloned().collect();
    for asked in &args.topics {
        partitions.extend(named(&mut client, asked)?);
    }
    partitions.sort_unstable();
    partitions.dedup();
    let first = places(&mut client, &partitions, EARLIEST)?;
    let end = places(&mut client, &partitions, LATEST)?;
    let time = args.target.to_datetime.or(args.target.by_duration.map(|ago| now_ms() - ago));
    let timed = time.map(|time| places(&mut client, &partitions, time)).transpose()?.unwrap_or_default();
    let mut new = Offsets::new();
    for at in partitions {
        let (first, end) = (first.get(&at).copied().unwrap_or(0), end.get(&at).copied().unwrap_or(0));
        let target = &args.target;
        let wanted = if target.to_earliest {
            first
        } else if let Some(offset) = target.to_offset {
            offset
        } else if let Some(by) = target.shift_by {
            let Some(from) = committed.get(&at) else {
                let why = format!("group {:?} has committed nothing for {}-{} to shift", args.name, at.0, at.1);
                return Err(Failure::new(why));
            };
            from.saturating_add(by)
        } else if time.is_some() {
            // Nothing is that late: behind the last record.
            timed.get(&at).copied().unwrap_or(end)
        } else {
            end
        };
        new.insert(at, wanted.clamp(first, end));
    }
    if args.execute {
        client.commit(&args.name, &new)?;
    }
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
    for (at, offset) in &new {
        let before = committed.get(at).map_or("-".into(), i64::to_string);
        table.add_row([at.0.clone(), at.1.to_string(), before, offset.to_string()]);
    }
    align_right(&mut table, &[1, 2, 3]);
    writeln!(out, "{table}")?;
    if !args.execute {
        writeln!(out, "nothing was changed; add --execute to do it")?;
    }
    Ok(())
}

/// `TOPIC`, or `TOPIC:0,1`.
fn named(client: &mut Client, asked: &str) -> Result<Vec<(String, i32)>, Failure> {
    let (topic, partitions) = asked.split_once(':').map_or((asked, None), |(topic, rest)| (topic, Some(rest)));
    let known = client.topic(topic)?.clone();
    let Some(partitions) = partitions else {
        return Ok(known.partitions.iter().map(|partition| (topic.to_owned(), partition.partition)).collect());
    };
    let mut named = Vec::new();
    for partition in partitions.split(',') {
        let partition = partition.trim().parse();
        let partition = partition.map_err(|_| Failure::new(format!("{asked:?} is not TOPIC or TOPIC:0,1")))?;
        named.push((topic.to_owned(), known.partition(partition)?.partition));
    }
    Ok(named)
}

fn run_delete(args: Named, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    for name in &args.names {
        client.delete_group(name)?;
        if args.connect.json {
            writeln!(out, "{}", json!({ "group": name, "deleted": true }))?;
        } else {
            writeln!(out, "deleted group {name}")?;
        }
    }
    Ok(())
}

/// An ISO 8601 duration of days, hours, minutes and seconds, in milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration such as P7D or PT1H30M");
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
    fn durations_are_read_as_iso_8601_writes_them() {
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
