//! `tidemill config`: the settings of a node and of a topic, from the tables that the node reads.

use std::io::Write;

use serde_json::{Value, json};

use super::Failure;
use crate::config::kafka::{self, KafkaSetting, Treatment};
use crate::config::{Setting, broker, dynamic, example, topic};

/// The arguments of `tidemill config`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List the settings of a node and of a topic: default, range, meaning, and whether they change at run time
    List(List),
}

#[derive(clap::Args, Debug)]
struct List {
    /// Show only the settings whose name contains this text
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// Show Kafka's settings that Tidemill lacks, and the consequence of each
    #[arg(long)]
    kafka: bool,
    /// Print a configuration file with every setting of a node, commented out
    #[arg(long, conflicts_with_all = ["filter", "kafka", "json"])]
    toml: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the settings. Needs no node.
pub fn run(args: Args) -> Result<(), Failure> {
    let Verb::List(list) = args.verb;
    let mut out = std::io::stdout().lock();
    if list.toml {
        return Ok(out.write_all(example::example().as_bytes())?);
    }
    let filter = list.filter.as_deref().unwrap_or_default();
    let rows: Vec<Value> = if list.kafka { of_kafka() } else { own() };
    let rows: Vec<Value> = rows.into_iter().filter(|row| text(row, "name").contains(filter)).collect();
    if rows.is_empty() {
        return Err(Failure::new(format!("no setting has a name with {filter:?}")));
    }
    if list.json {
        return Ok(writeln!(out, "{}", Value::Array(rows))?);
    }
    let mut scope = "";
    for row in &rows {
        if text(row, "scope") != scope {
            scope = text(row, "scope");
            writeln!(out, "{}{}", if scope == text(&rows[0], "scope") { "" } else { "\n" }, heading(scope))?;
        }
        write_row(&mut out, row)?;
    }
    Ok(())
}

/// The settings of a node in the order of their table, then those of a topic.
fn own() -> Vec<Value> {
    let row = |setting: &Setting, scope: &str, is_dynamic: bool, falls_back_to: Vec<&str>| {
        json!({
            "name": setting.name, "scope": scope, "default": setting.default, "range": setting.range(),
            "changes_at_run_time": is_dynamic, "falls_back_to": falls_back_to, "doc": setting.doc,
        })
    };
    let of_node = broker::SETTINGS.iter().map(|setting| row(setting, "node", dynamic::changes(setting.name), vec![]));
    let of_topic = topic::SETTINGS
        .iter()
        .map(|found| row(&found.setting, "topic", true, found.falls_back_to.iter().map(|(name, _)| *name).collect()));
    of_node.chain(of_topic).collect()
}

fn of_kafka() -> Vec<Value> {
    let mut names: Vec<_> = kafka::names().collect();
    names.sort_unstable();
    let row = |name: &'static str| {
        let found = KafkaSetting::find(name).expect("a test finds every name");
        let (consequence, doc) = match found.treatment {
            Treatment::Means(instead) => ("read as", instead),
            Treatment::NoEffect(reason) if dynamic::changes(name) => ("no effect, changes at run time too", reason),
            Treatment::NoEffect(reason) => ("no effect", reason),
            Treatment::Refused(reason) => ("refused unless default", reason),
            Treatment::Role => ("checked", "a Tidemill node is broker and controller in one, and a cluster by itself"),
        };
        json!({ "name": name, "scope": "kafka", "default": found.default, "consequence": consequence, "doc": doc })
    };
    names.into_iter().map(row).collect()
}

fn heading(scope: &str) -> &'static str {
    match scope {
        "node" => {
            "Settings of a node. It reads them when it starts: --config FILE, TIDEMILL_<NAME>, --set NAME=VALUE. \
             Some change at run time, of one broker or of all brokers: IncrementalAlterConfigs, kafka-configs --alter."
        }
        "topic" => {
            "Settings of a topic. They change at run time: tidemill topic create --config, topic alter --config."
        }
        _ => "Settings of Kafka that Tidemill lacks.",
    }
}

fn write_row(out: &mut impl Write, row: &Value) -> std::io::Result<()> {
    let default = row["default"].as_str().filter(|default| !default.is_empty()).unwrap_or("not set");
    writeln!(out, "\n{} = {default}", text(row, "name"))?;
    if let Some(consequence) = row["consequence"].as_str() {
        return writeln!(out, "    {consequence}: {}", text(row, "doc"));
    }
    writeln!(out, "    {}", text(row, "doc"))?;
    let fallback: Vec<_> = row["falls_back_to"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fallback = if fallback.is_empty() { String::new() } else { format!("; without it: {}", fallback.join(", ")) };
    let is_dynamic = text(row, "scope") == "node" && row["changes_at_run_time"] == true;
    let when = if is_dynamic { "; changes at run time" } else { "" };
    writeln!(out, "    {}{fallback}{when}", text(row, "range"))
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}
