//! The arguments of `tidemill serve`, and the settings that they and the file give.

use std::path::PathBuf;

use crate::config::{self, BrokerConfig, Source};
use crate::tools::Failure;

/// Start a node
#[derive(clap::Args, Debug)]
#[command(after_help = "Without any argument a node starts on ./tidemill-data and 127.0.0.1:9092 and creates topics \
    when they are first used.\n\nExamples:\n  tidemill serve --data /srv/tidemill --listen 0.0.0.0:9092 \
    --set advertised.listeners=PLAINTEXT://broker1:9092\n  tidemill serve --shards 4 --config tidemill.toml \
    --set num.partitions=8")]
pub struct Args {
    /// The data directory [default: tidemill-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address to listen on; shard s also listens on PORT+1+s [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How many cores to run on [default: all that the process may use]
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// A TOML file with settings, by Kafka's names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting; overrides the file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// The settings of the file and of the arguments.
pub(super) fn load(args: &Args) -> Result<BrokerConfig, Failure> {
    let text = match &args.config {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
        ),
    };
    let name = args.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut sets = args.sets.clone();
    if let Some(data) = &args.data {
        sets.push(format!("log.dirs={}", data.display()));
    }
    if let Some(listen) = &args.listen {
        sets.push(format!("listeners=PLAINTEXT://{listen}"));
    }
    if let Some(shards) = args.shards {
        sets.push(format!("shards={shards}"));
    }
    let source = text.as_deref().map(|text| Source { name: &name, text });
    config::load(source, &sets).map_err(|fault| Failure::new(fault.to_string()))
}
