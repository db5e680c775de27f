//! `tidemill topic`: creates, grows, lists, describes, alters and deletes topics, and deletes their oldest records.

mod delete;
mod select;

use super::Failure;
use super::client::admin::{NewTopic, TopicSetting};
use super::client::offsets::{EARLIEST, LATEST};
use super::client::{Client, ClientError, PartitionLeader, TopicInfo};
use super::connect::Connect;
use super::output::{align_right, count_parser, number_or_dash, table};
use crate::model::{ErrorCode, counted};
use serde_json::{Value, json};
use std::io::Write;

/// The arguments of `tidemill topic`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Create topics
    Create(Create),
    /// Add partitions to a topic
    AddPartitions(AddPartitions),
    /// List the topics
    List(Selection),
    /// Show the partitions, leaders, offsets and settings of topics
    Describe(Selection),
    /// Change a topic's settings
    Alter(Alter),
    /// Delete topics and all their records
    Delete(delete::Args),
    /// Delete the oldest records of a topic
    DeleteRecords(DeleteRecords),
}

#[derive(clap::Args, Debug)]
struct Create {
    /// The topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The number of partitions [default: the broker's]
    #[arg(long, short, value_parser = count_parser::<i32>, allow_negative_numbers = true)]
    partitions: Option<i32>,
    /// The number of replicas of each partition [default: the broker's]
    #[arg(long, value_parser = count_parser::<i16>, allow_negative_numbers = true)]
    replication_factor: Option<i16>,
    /// A topic setting, such as retention.ms=3600000; may be repeated
    #[arg(long = "config", short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    configs: Vec<(String, String)>,
    /// Succeed for topics that already exist
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct AddPartitions {
    /// The topic
    name: String,
    #[command(flatten)]
    to: NewCount,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct NewCount {
    /// The number of partitions to add
    #[arg(long, value_name = "N", value_parser = count_parser::<i32>, allow_negative_numbers = true)]
    add: Option<i32>,
    /// The new total number of partitions
    #[arg(long, short, value_name = "N", value_parser = count_parser::<i32>, allow_negative_numbers = true)]
    partitions: Option<i32>,
}

#[derive(clap::Args, Debug)]
struct Selection {
    /// Topics, or patterns such as 'events-*' [default: all]
    #[arg(value_name = "NAME|PATTERN")]
    names: Vec<String>,
    /// Show internal topics too
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
#[group(id = "change", required = true, multiple = true, args = ["configs", "delete_configs"])]
struct Alter {
    /// The topic
    name: String,
    /// A topic setting, such as retention.ms=3600000; may be repeated
    #[arg(long = "config", short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    configs: Vec<(String, String)>,
    /// A setting to reset to its default; may be repeated
    #[arg(long = "delete-config", value_name = "KEY")]
    delete_configs: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args, Debug)]
struct DeleteRecords {
    /// The topic
    name: String,
    /// The first offset to keep, or `end` to keep none
    #[arg(long, value_name = "OFFSET|end", value_parser = offset_or_end)]
    before: Before,
    /// A partition; may be repeated [default: all]
    #[arg(long = "partition", short, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    #[command(flatten)]
    connect: Connect,
}

/// The first offset to keep. `None` is the end of the log.
#[derive(Clone, Copy, Debug)]
struct Before(Option<i64>);

fn offset_or_end(text: &str) -> Result<Before, String> {
    match text.parse() {
        Ok(offset @ 0..) => Ok(Before(Some(offset))),
        _ if text == "end" => Ok(Before(None)),
        _ => Err(format!("expected an offset of at least 0, or `end`, got {text:?}")),
    }
}

/// Parses `KEY=VALUE`.
pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("expected KEY=VALUE, got {text:?}")),
    }
}

/// Runs `tidemill topic`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match args.verb {
        Verb::Create(create) => run_create(create, &mut out),
        Verb::List(list) => run_list(list, &mut out),
        Verb::Describe(describe) => run_describe(describe, &mut out),
        Verb::Alter(alter) => run_alter(alter, &mut out),
        Verb::AddPartitions(add) => run_add_partitions(add, &mut out),
        Verb::Delete(args) => delete::run(args, &mut out),
        Verb::DeleteRecords(delete) => run_delete_records(delete, &mut out),
    }
}

fn run_create(args: Create, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    for name in args.names {
        let new = NewTopic {
            name,
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            configs: args.configs.clone(),
        };
        let (is_new, note) = match client.create_topic(&new) {
            Ok(note) => (true, note),
            Err(ClientError::Refused { code: ErrorCode::TopicAlreadyExists, .. }) if args.if_not_exists => {
                (false, None)
            }
            Err(error) => return Err(error.into()),
        };
        let topic = wait_for_topic(&mut client, &new.name, 1)?;
        let partitions = topic.partitions.len();
        if args.connect.json {
            let mut created = json!({ "topic": new.name, "created": is_new, "partitions": partitions });
            if let Some(note) = note {
                created["note"] = note.into();
            }
            writeln!(out, "{created}")?;
            continue;
        }
        if is_new {
            writeln!(out, "created topic {} with {}", new.name, counted(partitions, "partition"))?;
        } else {
            writeln!(out, "topic {} exists, with {}", new.name, counted(partitions, "partition"))?;
        }
        if let Some(note) = note {
            writeln!(out, "note: {note}")?;
        }
    }
    Ok(())
}

fn run_add_partitions(args: AddPartitions, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let have = client.topic(&args.name)?.partitions.len();
    let count = match args.to {
        NewCount { partitions: Some(total), .. } => total,
        NewCount { add, .. } => i32::try_from(have).unwrap_or(i32::MAX).saturating_add(add.unwrap_or(1)),
    };
    client.create_partitions(&args.name, count)?;
    let topic = wait_for_topic(&mut client, &args.name, count as usize)?;
    let (name, now) = (&topic.name, topic.partitions.len());
    if args.connect.json {
        writeln!(out, "{}", json!({ "topic": name, "before": have, "partitions": now }))?;
    } else {
        writeln!(out, "topic {name} has {} now, {have} before", counted(now, "partition"))?;
    }
    Ok(())
}

/// Waits until the bootstrap broker knows the topic with at least this number of partitions.
fn wait_for_topic(client: &mut Client, name: &str, partitions: usize) -> Result<TopicInfo, Failure> {
    let deadline = std::time::Instant::now() + client.config().timeout;
    loop {
        match client.topic(name) {
            Ok(topic) if topic.partitions.len() >= partitions => return Ok(topic.clone()),
            Err(error) if !matches!(error, ClientError::UnknownTopic { .. }) => return Err(error.into()),
            Ok(topic) if std::time::Instant::now() >= deadline => return Ok(topic.clone()),
            Err(error) if std::time::Instant::now() >= deadline => return Err(error.into()),
            _ => {
                client.forget_topic(name);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

fn run_list(args: Selection, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let topics = select::topics(&mut client, &args.names, args.internal)?;
    if args.connect.json {
        let topics: Vec<_> = topics.iter().map(summary).collect();
        writeln!(out, "{}", Value::Array(topics))?;
    } else if topics.is_empty() {
        writeln!(out, "no topics; create one with `tidemill topic create NAME`")?;
    } else {
        let mut table = table(&["topic", "partitions", "replicas"]);
        for topic in &topics {
            table.add_row([topic.name.clone(), topic.partitions.len().to_string(), replicas(topic).to_string()]);
        }
        align_right(&mut table, [1, 2]);
        writeln!(out, "{table}")?;
    }
    Ok(())
}

fn summary(topic: &TopicInfo) -> Value {
    json!({
        "topic": topic.name,
        "topic_id": topic.topic_id.to_string(),
        "internal": topic.is_internal,
        "partitions": topic.partitions.len(),
        "replication_factor": replicas(topic),
    })
}

fn replicas(topic: &TopicInfo) -> usize {
    topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}

fn run_describe(args: Selection, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let mut described = Vec::new();
    for topic in select::topics(&mut client, &args.names, args.internal)? {
        let name = &topic.name;
        let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        let first = client.list_offsets(name, &all, EARLIEST)?;
        let end = client.list_offsets(name, &all, LATEST)?;
        let offsets: Vec<_> = first.iter().zip(&end).map(|(a, b)| (a.offset, b.offset)).collect();
        // Describe the topic without its settings if the broker does not have DescribeConfigs.
        let settings = match client.topic_settings(name) {
            Err(ClientError::NoCommonVersion { .. }) => Vec::new(),
            other => other?,
        };
        if args.connect.json {
            let mut value = summary(&topic);
            value["partitions"] = topic.partitions.iter().zip(&offsets).map(partition_json).collect();
            let settings = settings
                .iter()
                .map(|setting| json!({ "name": setting.name, "value": setting.value, "default": !setting.is_own }));
            value["settings"] = settings.collect();
            described.push(value);
            continue;
        }
        print_topic(&topic, &offsets, &settings, out)?;
    }
    if args.connect.json {
        writeln!(out, "{}", Value::Array(described))?;
    }
    Ok(())
}

/// The first offset and the end offset of a partition.
type OffsetRange = (Option<i64>, Option<i64>);

fn print_topic(
    topic: &TopicInfo,
    offsets: &[OffsetRange],
    settings: &[TopicSetting],
    out: &mut impl Write,
) -> Result<(), Failure> {
    writeln!(out, "topic {}  id {}", topic.name, topic.topic_id)?;
    let mut table = table(&["partition", "leader", "epoch", "replicas", "in sync", "first offset", "end offset"]);
    for (partition, (first, end)) in topic.partitions.iter().zip(offsets) {
        let leader = if partition.leader_id < 0 { "none".into() } else { partition.leader_id.to_string() };
        table.add_row([
            partition.partition.to_string(),
            leader,
            partition.leader_epoch.to_string(),
            list(&partition.replicas),
            list(&partition.in_sync),
            number_or_dash(*first),
            number_or_dash(*end),
        ]);
    }
    align_right(&mut table, [0, 1, 2, 5, 6]);
    writeln!(out, "{table}")?;
    for setting in settings.iter().filter(|setting| setting.is_own) {
        writeln!(out, "{} = {}", setting.name, setting.value.as_deref().unwrap_or("(hidden)"))?;
    }
    Ok(())
}

fn partition_json((partition, (first, end)): (&PartitionLeader, &OffsetRange)) -> Value {
    json!({
        "partition": partition.partition,
        "leader": partition.leader_id,
        "leader_epoch": partition.leader_epoch,
        "replicas": partition.replicas,
        "in_sync": partition.in_sync,
        "first_offset": first,
        "end_offset": end,
    })
}

fn run_alter(args: Alter, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    client.alter_topic(&args.name, &args.configs, &args.delete_configs)?;
    if args.connect.json {
        let set: serde_json::Map<_, _> =
            args.configs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        writeln!(out, "{}", json!({ "topic": args.name, "set": set, "deleted": args.delete_configs }))?;
        return Ok(());
    }
    for (key, value) in &args.configs {
        writeln!(out, "topic {}: {key} = {value}", args.name)?;
    }
    for key in &args.delete_configs {
        writeln!(out, "topic {}: {key} is the default", args.name)?;
    }
    Ok(())
}

fn run_delete_records(args: DeleteRecords, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let mut partitions = args.partitions;
    if partitions.is_empty() {
        partitions = client.topic(&args.name)?.partitions.iter().map(|partition| partition.partition).collect();
    }
    let below = partitions.into_iter().map(|partition| (partition, args.before.0)).collect();
    let starts = client.delete_records(&args.name, &below).map_err(|error| match error {
        ClientError::Refused { code: ErrorCode::OffsetOutOfRange, .. } => Failure::with_hint(
            format!("{error}: the offset is behind the end of the partition"),
            format!("see the end offsets with `tidemill topic describe {}`, or use --before end", args.name),
        ),
        error => error.into(),
    })?;
    if args.connect.json {
        let row = |(partition, start)| json!({ "partition": partition, "first_offset": start });
        let partitions: Vec<_> = starts.into_iter().map(row).collect();
        writeln!(out, "{}", json!({ "topic": args.name, "partitions": partitions }))?;
        return Ok(());
    }
    let mut table = table(&["partition", "first offset"]);
    for (partition, start) in starts {
        table.add_row([partition.to_string(), start.to_string()]);
    }
    align_right(&mut table, [0, 1]);
    writeln!(out, "{table}")?;
    Ok(())
}

fn list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
