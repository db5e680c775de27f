//! `tidemill log-dirs`: shows the log directories of the brokers, and the bytes of the partitions in them.

use super::Failure;
use super::client::Client;
use super::connect::Connect;
use super::output::{or_dash, table_of_numbers};
use crate::wire::admin::describe_log_dirs::DescribeLogDirsResult;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// The arguments of `tidemill log-dirs`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show only these topics
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Runs `tidemill log-dirs`.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let all = log_dirs(&mut client, &args.topics)?;
    let mut out = std::io::stdout().lock();
    if args.connect.json {
        writeln!(out, "{}", all.iter().map(as_json).collect::<Value>())?;
    } else {
        print(&all, &mut out)?;
    }
    Ok(())
}

/// A broker and one of its directories.
type LogDir = (i32, DescribeLogDirsResult);

fn log_dirs(client: &mut Client, topics: &[String]) -> Result<Vec<LogDir>, Failure> {
    let mut asked = Vec::new();
    for name in topics {
        let partitions = client.topic(name)?.partitions.iter().map(|partition| partition.partition);
        asked.push((name.clone(), partitions.collect()));
    }
    client.refresh(None)?;
    let brokers: Vec<i32> = client.cluster().brokers.keys().copied().collect();
    let mut all = Vec::new();
    for broker in brokers {
        all.extend(client.log_dirs(broker, &asked)?.into_iter().map(|directory| (broker, directory)));
    }
    Ok(all)
}

/// The bytes of a directory's listed partitions.
fn log_bytes(directory: &DescribeLogDirsResult) -> i64 {
    let partitions = directory.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.partition_size).sum()
}

fn print(all: &[LogDir], out: &mut impl Write) -> std::io::Result<()> {
    let mut directories = table_of_numbers(&["directory", "broker", "total bytes", "free bytes", "log bytes"], 1);
    // Topic -> partitions (replicas, if there are several) and bytes.
    let mut topics: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for (broker, directory) in all {
        directories.add_row([
            directory.log_dir.clone(),
            broker.to_string(),
            or_dash(directory.total_bytes),
            or_dash(directory.usable_bytes),
            log_bytes(directory).to_string(),
        ]);
        for topic in &directory.topics {
            let (partitions, bytes) = topics.entry(&topic.name).or_default();
            *partitions += topic.partitions.len();
            *bytes += topic.partitions.iter().map(|partition| partition.partition_size).sum::<i64>();
        }
    }
    writeln!(out, "{directories}")?;
    if !topics.is_empty() {
        let mut table = table_of_numbers(&["topic", "replicas", "bytes"], 1);
        for (name, (partitions, bytes)) in topics {
            table.add_row([name.to_owned(), partitions.to_string(), bytes.to_string()]);
        }
        writeln!(out, "\n{table}")?;
    }
    Ok(())
}

fn as_json((broker, directory): &LogDir) -> Value {
    let partitions = directory.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            json!({ "topic": topic.name, "partition": partition.partition_index, "bytes": partition.partition_size,
                    "lag": partition.offset_lag })
        })
    });
    let size = |bytes: i64| (bytes >= 0).then_some(bytes);
    json!({
        "broker": broker, "directory": directory.log_dir, "total_bytes": size(directory.total_bytes),
        "free_bytes": size(directory.usable_bytes), "log_bytes": log_bytes(directory),
        "partitions": partitions.collect::<Value>(),
    })
}
