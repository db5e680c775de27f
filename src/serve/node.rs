//! One shard's life, from its thread's first instruction to its last.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::layout;
use crate::api::remote::{Appends, serve};
use crate::api::{self, Origin, Server};
use crate::config::broker::JOURNAL_FILE_BYTES;
use crate::config::{BrokerConfig, Listener as Advertised, Routing};
use crate::controller::Controller;
use crate::controller::start::plan_start;
use crate::disk::layout::DataDirectory;
use crate::metadata::{Endpoint as NodeEndpoint, Image};
use crate::model::{NodeId, ShardId};
use crate::net::listener::Connections;
use crate::router::Router;
use crate::router::message::Message;
use crate::runtime::{self, Class, Endpoint, InjectorReceiver, Listener, Stream};
use crate::shard::Shard;
use crate::shard::open::{OpenReport, ShardLocation};

/// An order to stop.
pub struct Stop;

/// A listener as it is bound, and as clients are told of it.
#[derive(Clone)]
pub struct Bound {
    pub name: String,
    pub address: SocketAddr,
    pub advertised: Advertised,
}

/// What a shard says when it serves.
pub struct Started {
    pub report: OpenReport,
}

/// What the shards need to know of each other and the node before they open.
#[derive(Clone)]
pub struct Opening {
    image: Arc<Image>,
    layout: u64,
}

/// 16 MiB: a sixth of a second of new data at 100 MB/s, and it takes a third of that to make as much again.
const CHUNKS_READY: usize = 8;

/// Everything a shard's thread is given.
pub struct Launch {
    pub shard: u16,
    pub shards: u16,
    pub core: Option<usize>,
    pub ring_entries: u32,
    pub config: Arc<BrokerConfig>,
    pub data: DataDirectory,
    pub bound: Vec<Bound>,
    pub endpoint: Endpoint<Message>,
    pub stops: InjectorReceiver<Stop>,
    pub started: mpsc::Sender<Started>,
    /// Where shards other than 0 wait for what shard 0 found.
    pub images: Option<mpsc::Receiver<Opening>>,
    pub image_senders: Option<Vec<mpsc::Sender<Opening>>>,
}

pub fn run(launch: Launch) -> Result<(), String> {
    let opening = match &launch.images {
        None => None,
        // Shard 0 is gone without having told: it has said why.
        Some(images) => match images.recv() {
            Ok(opening) => Some(opening),
            Err(_) => return Ok(()),
        },
    };
    let settings = runtime::Config {
        shard: launch.shard,
        core: launch.core,
        spin: Duration::from_micros(launch.config.spin_us.into()),
        ring_entries: launch.ring_entries,
        arena_bytes_max: launch.config.memory_bytes as usize,
        chunks_ready: CHUNKS_READY,
        ..runtime::Config::default()
    };
    runtime::run(settings, move || live(launch, opening))
        .map_err(|error| format!("the reactor could not be set up: {error}"))?
}

async fn live(launch: Launch, opening: Option<Opening>) -> Result<(), String> {
    let Launch { shard, shards, config, data, bound, endpoint, stops, started, image_senders, .. } = launch;
    let (opening, controller) = match opening {
        Some(opening) => (opening, None),
        None => {
            let (opening, controller) = lead(&config, &data, shards, &bound).await?;
            for sender in image_senders.into_iter().flatten() {
                let _ = sender.send(opening.clone());
            }
            (opening, Some(controller))
        }
    };
    let place = ShardLocation {
        id: ShardId(shard),
        node: NodeId(config.node_id),
        shards,
        layout: opening.layout,
        data,
        config: config.clone(),
        journal_file_bytes: JOURNAL_FILE_BYTES,
    };
    let (shard, report) = Shard::open(place, opening.image).await.map_err(|error| error.to_string())?;
    let router = Router::new(shard.id, endpoint);
    let server = api::serve(shard.clone(), router.clone());
    let connections = Connections::new(server.clone());
    runtime::spawn(Class::Foreground, "router", receive(server.clone(), connections.clone()));
    if let Some(controller) = controller {
        server.run_controller(controller);
    }
    if let Some(highest) = report.foreign_producer_id {
        let reserved = api::reserve_producer_ids(&server, highest).await;
        reserved.map_err(|why| format!("cannot reserve the producer ids of logs of another cluster: {why}"))?;
    }
    let acceptors =
        listen(&connections, &config, &bound, shard.id).map_err(|error| format!("cannot listen: {error}"))?;
    let _ = started.send(Started { report });

    stops.recv().await;
    for acceptor in acceptors {
        acceptor.abort();
    }
    connections.close_all();
    server.stop().await
}

/// Shard 0, before the others: the metadata, and the layout for as many shards as there are now.
async fn lead(
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    shards: u16,
    bound: &[Bound],
) -> Result<(Opening, Controller), String> {
    let opened = Controller::open(&data.metadata_directory()).await.map_err(|error| error.to_string())?;
    let was_cut = opened.torn.is_some();
    if let Some((bytes, why)) = opened.torn {
        tracing::warn!("the last write of the metadata log was torn ({why}); its {bytes} bytes were never answered");
    }
    let controller = opened.controller;
    let endpoints: Vec<NodeEndpoint> = bound
        .iter()
        .map(|bound| NodeEndpoint {
            listener: bound.name.clone(),
            host: bound.advertised.host.clone(),
            port: bound.advertised.port,
        })
        .collect();
    let plan = plan_start(&controller.image(), config, endpoints, shards, layout::fresh_cluster_id())
        .map_err(|error| error.to_string())?;
    controller.propose(plan.commands).await.map_err(|error| error.to_string())?;
    layout::adopt_directories(&controller, config, data, was_cut).await?;
    let layout = layout::settle(&controller.image(), config, data, shards).await?;
    Ok((Opening { image: controller.image(), layout }, controller))
}

fn listen(
    connections: &Rc<Connections>,
    config: &BrokerConfig,
    bound: &[Bound],
    shard: ShardId,
) -> std::io::Result<Vec<runtime::JoinHandle<()>>> {
    let mut acceptors = Vec::new();
    for bound in bound {
        let origin = Origin::new(&bound.name);
        let mut addresses = vec![bound.address];
        if config.routing == Routing::Direct {
            addresses.push(SocketAddr::new(bound.address.ip(), bound.address.port() + 1 + shard.0));
        }
        for address in addresses {
            let listener = Listener::bind(address, true)?;
            let accepting = connections.clone().accept(listener, origin.clone());
            acceptors.push(runtime::spawn(Class::Foreground, "accept", accepting));
        }
    }
    Ok(acceptors)
}

/// Answers other shards for as long as the node runs.
async fn receive(server: Rc<Server>, connections: Rc<Connections>) {
    let appends: Vec<_> = (0..server.shard.shards).map(|from| Appends::start(&server, ShardId(from))).collect();
    loop {
        match server.router.receive().await {
            (from, Message::Request { id, request }) => serve(&server, &appends, from, id, request),
            (_, Message::Adopt(hand_over)) => match Stream::from_fd(hand_over.socket) {
                Ok(stream) => {
                    let origin = Origin::new(&hand_over.listener);
                    connections.serve(stream, origin, hand_over.received);
                }
                Err(error) => tracing::warn!("a connection was lost in its hand-over: {error}"),
            },
            (_, Message::Reply { .. }) => unreachable!("replies go to their callers"),
        }
    }
}
