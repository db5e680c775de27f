//! `tidemill topic delete`: deletes topics, and asks before it deletes internal ones or those that match a pattern.

use super::select::{self, is_pattern};
use crate::model::counted;
use crate::tools::Failure;
use crate::tools::client::TopicInfo;
use crate::tools::connect::Connect;
use crate::tools::output::{confirm, print_deleted};
use std::io::Write;

/// The arguments of `tidemill topic delete`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Topics, or patterns such as 'events-*', which match no internal topic
    #[arg(required = true, value_name = "NAME|PATTERN")]
    names: Vec<String>,
    /// Do not ask before deleting internal topics, or topics that match a pattern
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(args: Args, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = args.connect.client()?;
    let topics = select::topics(&mut client, &args.names, false).map_err(select::without_advice_to_create)?;
    if !args.yes {
        for topic in topics.iter().filter(|topic| topic.is_internal) {
            ask(&format!("topic {} is internal: {}", topic.name, loss(&topic.name)))?;
        }
        let matched: Vec<&TopicInfo> =
            topics.iter().filter(|topic| args.names.iter().all(|name| *name != topic.name)).collect();
        if args.names.iter().any(|name| is_pattern(name)) && !matched.is_empty() {
            let names: Vec<&str> = matched.iter().map(|topic| topic.name.as_str()).collect();
            let count = counted(names.len(), "topic");
            ask(&format!("the pattern matches {count} with all their records: {}", names.join(", ")))?;
        }
    }
    for topic in topics {
        client.delete_topic(&topic.name).map_err(select::without_advice_to_create)?;
        print_deleted("topic", &topic.name, args.connect.json, out)?;
    }
    Ok(())
}

/// Asks whether to delete. An error unless the user agrees.
fn ask(statement: &str) -> Result<(), Failure> {
    if confirm(&format!("{statement}. Delete?"), statement)? {
        return Ok(());
    }
    Err(Failure::new("nothing was deleted"))
}

/// The state that is lost with an internal topic.
fn loss(name: &str) -> &'static str {
    match name {
        "__consumer_offsets" => "every group loses its committed offsets",
        "__transaction_state" => "every transactional producer loses its transactions",
        _ => "the cluster keeps state of its own in it",
    }
}
