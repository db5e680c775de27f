//! Starts the edge: metrics and health over HTTP.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use super::banner::Banner;
use crate::config::{BrokerConfig, Routing};
use crate::disk::layout::DataDirectory;
use crate::edge::gather::{ShardLink, Shards};
use crate::edge::shard::Question;
use crate::edge::{self, Handle, NodeFacts};
use crate::runtime::{InjectorReceiver, injector};
use crate::shard::open::OpenProgress;
use crate::tools::Failure;

/// A shard's end of its link with the edge.
pub(super) type OnShard = (InjectorReceiver<Question>, Arc<OpenProgress>);

/// The links between the edge and the shards, both ends in the order of the shards.
pub(super) fn links(shards: u16) -> (Shards, Vec<OnShard>) {
    let (links, on_shards) = (0..shards)
        .map(|_| {
            let (sender, receiver) = injector();
            let progress = Arc::new(OpenProgress::default());
            (ShardLink::new(sender, progress.clone()), (receiver, progress))
        })
        .unzip();
    (Shards::new(links), on_shards)
}

/// Starts the edge, if it is on. Before the shards, so that it shows how far they are.
pub(super) fn start(
    banner: Banner,
    config: &BrokerConfig,
    data: &DataDirectory,
    shards: Shards,
    started: Instant,
) -> Result<Option<Handle>, Failure> {
    let Some((host, port)) = config.edge() else { return Ok(None) };
    let address = &config.edge_listen;
    let listener = match edge::bind(host, port) {
        Ok(listener) => listener,
        // Several nodes of one machine have the same default, and only one of them gets it.
        Err(error) if error.kind() == ErrorKind::AddrInUse && !config.is_given("edge.listen") => {
            banner.warning(&format!(
                "no metrics and health: {address} is in use, most likely by another node. Give each node its own \
                 address with --set edge.listen=127.0.0.1:PORT, or switch them off with --set edge.listen=off"
            ));
            return Ok(None);
        }
        Err(error) => {
            return Err(Failure::new(format!("cannot serve metrics and health on {address}: {error}"))
                .hinted("choose another address with --set edge.listen=HOST:PORT, or off"));
        }
    };
    let facts = NodeFacts {
        node_id: config.node_id,
        routing: match config.routing {
            Routing::Direct => "direct",
            Routing::Steer => "steer",
            Routing::Forward => "forward",
        },
        is_flushed: config.flush_ack,
        directories: [data.root.clone(), data.journal_root.clone()],
        started,
    };
    let handle = edge::start(listener, facts, shards)
        .map_err(|error| Failure::new(format!("cannot start the thread of metrics and health: {error}")))?;
    let bound = handle.address();
    if !bound.ip().is_loopback() {
        banner.warning(&format!(
            "metrics and health are served on {bound} without authentication: every client that can reach it sees the \
             names of topics and groups"
        ));
    }
    Ok(Some(handle))
}
