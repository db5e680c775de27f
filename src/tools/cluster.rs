//! `tidemill cluster`: shows the brokers, the controller, the features and the APIs of a cluster.

use super::Failure;
use super::client::Cluster;
use super::connect::Connect;
use super::output::{align_right, table};
use crate::wire::ApiKey;
use crate::wire::admin::api_versions::{ApiVersionsResponse, FinalizedFeature};
use crate::wire::admin::describe_quorum::DescribedQuorum;
use serde_json::{Value, json};
use std::io::Write;

/// The arguments of `tidemill cluster`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Show the cluster id, the brokers, the controller, the metadata log and the features
    Info(Info),
}

#[derive(clap::Args, Debug)]
struct Info {
    /// Show the APIs and versions of the bootstrap broker too
    #[arg(long)]
    apis: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Runs `tidemill cluster`.
pub fn run(args: Args) -> Result<(), Failure> {
    let Verb::Info(args) = args.verb;
    let mut out = std::io::stdout().lock();
    let mut client = args.connect.client()?;
    client.refresh(None)?;
    let versions = client.api_versions()?;
    let quorum = client.quorum()?;
    let cluster = client.cluster();
    if args.connect.json {
        writeln!(out, "{}", as_json(cluster, &versions, quorum.as_ref()))?;
    } else {
        print(cluster, &versions, quorum.as_ref(), args.apis, &mut out)?;
    }
    Ok(())
}

fn print(
    cluster: &Cluster,
    versions: &ApiVersionsResponse,
    quorum: Option<&DescribedQuorum>,
    has_apis: bool,
    out: &mut impl Write,
) -> std::io::Result<()> {
    writeln!(out, "cluster     {}", cluster.cluster_id.as_deref().unwrap_or("(unknown)"))?;
    writeln!(out, "controller  {}", cluster.controller_id)?;
    if let Some(quorum) = quorum {
        let (leader, epoch, end) = (quorum.leader_id, quorum.leader_epoch, quorum.high_watermark);
        writeln!(out, "metadata    leader {leader}, epoch {epoch}, high watermark {end}")?;
    }
    let mut brokers = table(&["broker", "address", "rack"]);
    for (id, broker) in &cluster.brokers {
        brokers.add_row([id.to_string(), broker.address(), broker.rack.clone().unwrap_or("-".into())]);
    }
    align_right(&mut brokers, [0]);
    writeln!(out, "\n{brokers}\n")?;
    let mut features = table(&["feature", "level", "supported"]);
    for feature in &versions.supported_features {
        let level = finalized(versions, &feature.name).map_or("-".into(), |level| level.max_version_level.to_string());
        let supported = format!("{} to {}", feature.min_version, feature.max_version);
        features.add_row([feature.name.clone(), level, supported]);
    }
    align_right(&mut features, [1]);
    writeln!(out, "{features}")?;
    if has_apis {
        let mut apis = table(&["key", "API", "versions"]);
        for api in &versions.api_keys {
            let versions = format!("{} to {}", api.min_version, api.max_version);
            apis.add_row([api.api_key.to_string(), api_name(api.api_key).unwrap_or("-").into(), versions]);
        }
        align_right(&mut apis, [0]);
        writeln!(out, "\n{apis}")?;
    }
    Ok(())
}

fn finalized<'a>(versions: &'a ApiVersionsResponse, name: &str) -> Option<&'a FinalizedFeature> {
    versions.finalized_features.iter().find(|feature| feature.name == name)
}

/// The name of an API, if this client has it.
fn api_name(code: i16) -> Option<&'static str> {
    ApiKey::from_code(code).map(|key| key.api().name)
}

fn as_json(cluster: &Cluster, versions: &ApiVersionsResponse, quorum: Option<&DescribedQuorum>) -> Value {
    let brokers = cluster
        .brokers
        .iter()
        .map(|(id, broker)| json!({ "broker": id, "host": broker.host, "port": broker.port, "rack": broker.rack }));
    let features = versions.supported_features.iter().map(|feature| {
        let level = finalized(versions, &feature.name).map(|level| level.max_version_level);
        json!({ "feature": feature.name, "level": level, "min": feature.min_version, "max": feature.max_version })
    });
    let apis = versions.api_keys.iter().map(|api| {
        json!({ "key": api.api_key, "api": api_name(api.api_key), "min": api.min_version, "max": api.max_version })
    });
    let quorum = quorum.map(|quorum| {
        json!({ "leader": quorum.leader_id, "epoch": quorum.leader_epoch, "high_watermark": quorum.high_watermark })
    });
    json!({
        "cluster": cluster.cluster_id, "controller": cluster.controller_id, "metadata": quorum,
        "brokers": brokers.collect::<Value>(), "features": features.collect::<Value>(),
        "features_epoch": versions.finalized_features_epoch, "apis": apis.collect::<Value>(),
    })
}
