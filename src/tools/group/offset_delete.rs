//! `tidemill group offset-delete`: deletes committed offsets of a group, for topics that no member subscribes to.

use super::{missing, select_partitions};
use crate::tools::Failure;
use crate::tools::connect::Connect;
use crate::tools::output::{align_right, table};
use serde_json::{Value, json};
use std::io::Write;

/// The arguments of `tidemill group offset-delete`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The group
    name: String,
    /// A topic, or some of its partitions as TOPIC:0,1; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:P,P]", required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(args: Args, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    if client.describe_group(&args.name)?.state == "Dead" {
        return Err(missing(&args.name));
    }
    let mut partitions = Vec::new();
    for selection in &args.topics {
        partitions.extend(select_partitions(&mut client, selection)?);
    }
    partitions.sort_unstable();
    partitions.dedup();
    let before = client.committed(&args.name)?;
    partitions.retain(|at| before.contains_key(at));
    client.delete_offsets(&args.name, &partitions)?;
    if args.connect.json {
        let deleted = partitions.iter().map(|at| {
            let (topic, partition) = at;
            json!({ "topic": topic, "partition": partition, "before": before[at] })
        });
        writeln!(out, "{}", json!({ "group": args.name, "deleted": deleted.collect::<Value>() }))?;
        return Ok(());
    }
    if partitions.is_empty() {
        writeln!(out, "group {} has no committed offsets there", args.name)?;
        return Ok(());
    }
    let mut table = table(&["topic", "partition", "deleted offset"]);
    for at in &partitions {
        table.add_row([at.0.clone(), at.1.to_string(), before[at].to_string()]);
    }
    align_right(&mut table, [1, 2]);
    writeln!(out, "{table}")?;
    Ok(())
}
