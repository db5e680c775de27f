//! `tidemill group`: lists, describes and deletes groups, and resets and deletes their committed offsets.

mod offset_delete;
mod reset;

use super::Failure;
use super::client::Client;
use super::client::groups::{Group, Member, Offsets};
use super::client::offsets::LATEST;
use super::connect::Connect;
use super::output::{align_right, number_or_dash, print_deleted, table};
use crate::model::counted;
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
    ResetOffsets(reset::Args),
    /// Delete committed offsets of a group
    OffsetDelete(offset_delete::Args),
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

/// Runs `tidemill group`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match args.verb {
        Verb::List(list) => run_list(list, &mut out),
        Verb::Describe(named) => run_describe(named, &mut out),
        Verb::ResetOffsets(args) => reset::run(args, &mut out),
        Verb::OffsetDelete(args) => offset_delete::run(args, &mut out),
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

/// Looks up the offset for a timestamp, or for `EARLIEST` or `LATEST`, in each partition. `partitions` is sorted.
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
            return Err(missing(name));
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

/// The failure of a command that names a group that does not exist.
fn missing(name: &str) -> Failure {
    Failure::with_hint(format!("group {name:?} does not exist"), "list the groups with `tidemill group list`")
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

fn run_delete(args: Named, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    for name in &args.names {
        client.delete_group(name)?;
        print_deleted("group", name, args.connect.json, out)?;
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
