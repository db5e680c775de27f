//! The arguments of `tidemill serve`, and the settings that they, the environment and the file give.

use std::path::PathBuf;

use crate::config::{self, Argument, Inputs, Loaded, Source};
use crate::tools::Failure;

/// Start a node
#[derive(clap::Args, Debug)]
#[command(after_help = "Without any argument a node starts on ./tidemill-data and 127.0.0.1:9092 and creates topics \
    when they are first used. `tidemill config list` prints every setting. Each setting is also read from the \
    environment: TIDEMILL_LOG_RETENTION_MS is log.retention.ms. An argument overrides the environment, and the \
    environment overrides the file. TIDEMILL_LOG=debug (or error, warn, trace, off) sets the level of the log; with \
    TIDEMILL_LOG_FORMAT=json each of its lines is a JSON object.\n\n\
    Examples:\n  tidemill serve --data /srv/tidemill --listen 0.0.0.0:9092 \
    --set advertised.listeners=PLAINTEXT://broker1:9092\n  tidemill serve --shards 4 --config tidemill.toml \
    --set num.partitions=8\n  tidemill serve --config server.properties --check")]
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
    /// A file with settings, by Kafka's names: TOML, or Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting; overrides the file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// The directory of core.toml and disk.toml, which `tidemill tune` writes [default: profile, in the data directory]
    #[arg(long, value_name = "DIR")]
    pub(super) profile: Option<PathBuf>,
    /// Check the settings, and do not start
    #[arg(long)]
    pub(super) check: bool,
    /// Print each line of the start, and an error, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The settings of the file, the environment and the arguments.
pub(super) fn load(args: &Args, environment: &[(String, String)]) -> Result<Loaded, Failure> {
    load_with(args, environment, Vec::new())
}

/// The same, with more settings that none of these gives.
pub(super) fn load_with(args: &Args, environment: &[(String, String)], more: Vec<Argument>) -> Result<Loaded, Failure> {
    let text = match &args.config {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
        ),
    };
    let name = args.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let file = text.as_deref().map(|text| Source { name: &name, text });
    let arguments = [arguments(args)?, more].concat();
    config::load_all(Inputs { file, environment, arguments: &arguments })
        .map_err(|error| Failure::new(error.to_string()))
}

/// Every setting of the command line. An option that contradicts a `--set` is an error.
fn arguments(args: &Args) -> Result<Vec<Argument>, Failure> {
    let mut found: Vec<_> = args.sets.iter().map(|word| Argument::set(word)).collect();
    let data = args.data.as_ref().map(|data| data.display().to_string());
    let shards = args.shards.map(|shards| shards.to_string());
    let options: [(&str, &[&str], Option<String>); 3] = [
        ("--data", &["log.dirs", "log.dir"], data),
        ("--listen", &["listeners"], args.listen.clone()),
        ("--shards", &["shards"], shards),
    ];
    for (option, names, value) in options {
        let Some(value) = value else { continue };
        let place = format!("{option} {value}");
        let text = if option == "--listen" { listener(&value)? } else { value };
        for set in &args.sets {
            let Some((name, other)) = set.split_once('=') else { continue };
            if names.contains(&name.trim()) && other.trim() != text {
                return Err(
                    Failure::new(format!("{place} and --set {set} contradict each other")).hinted("give one of them")
                );
            }
        }
        found.push(Argument { place, assignment: format!("{}={text}", names[0]) });
    }
    Ok(found)
}

/// The listener that `--listen` names.
fn listener(address: &str) -> Result<String, Failure> {
    let refuse = |why: String| Err(Failure::new(format!("--listen {address}: {why}")));
    if let Some((_, plain)) = address.split_once("://") {
        return refuse("expected HOST:PORT, without a protocol".into()).map_err(|failure| {
            failure.hinted(format!("write --listen {plain}, or --set listeners={address} for a name of its own"))
        });
    }
    match address.rsplit_once(':') {
        None => refuse(format!("expected HOST:PORT, such as {address}:9092")),
        Some((_, port)) if port.parse::<u16>().is_err() => refuse(format!("'{port}' is not a port number, 1..65535")),
        Some(_) => Ok(format!("PLAINTEXT://{address}")),
    }
}

#[cfg(test)]
mod tests;
