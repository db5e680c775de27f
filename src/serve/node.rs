//! The thread of one shard: opens the shard, serves, and stops it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::error::NodeError;
use super::{examine, layout};
use crate::api::remote::{Appends, serve};
use crate::api::{self, Origin, Server};
use crate::config::broker::JOURNAL_FILE_BYTES;
use crate::config::{BrokerConfig, Listener as Advertised, Routing};
use crate::controller::Controller;
use crate::controller::start::plan_start;
use crate::disk::journal;
use crate::disk::layout::DataDirectory;
use crate::edge::{self, shard::Question};
use crate::metadata::{Endpoint as NodeEndpoint, Image};
use crate::model::{BrokerId, NodeId, ShardId};
use crate::net::addresses::Addresses;
use crate::net::listener::Connections;
use crate::router::Router;
use crate::router::message::Message;
use crate::runtime::{self, Class, Endpoint, InjectorReceiver, Listener, Stream};
use crate::shard::Shard;
use crate::shard::open::{OpenProgress, OpenReport, OpenStep, ShardLocation};

/// The message that stops a shard.
pub struct Stop;

/// A listener: the address that it binds, and the address that clients connect to.
#[derive(Clone)]
pub struct Bound {
    pub name: String,
    pub address: SocketAddr,
    pub advertised: Advertised,
}

/// The message of a shard that has started to serve.
pub struct Started {
    pub report: OpenReport,
}

/// The metadata and the layout that shard 0 found, which the other shards open.
#[derive(Clone)]
pub struct Opening {
    image: Arc<Image>,
    layout: u64,
}

/// 16 MiB: new data of a sixth of a second at 100 MB/s. Preparing as much again takes a third of that time.
const CHUNKS_READY: usize = 8;

/// The findings of the probes that a shard's runtime uses.
#[derive(Clone)]
pub struct Machine {
    pub ring_entries: u32,
    pub buffered_devices: Vec<u64>,
}

/// The inputs of a shard's thread.
pub struct Launch {
    pub shard: u16,
    pub shards: u16,
    pub core: Option<usize>,
    pub machine: Machine,
    pub config: Arc<BrokerConfig>,
    pub data: DataDirectory,
    pub bound: Vec<Bound>,
    pub addresses: Arc<Addresses>,
    pub endpoint: Endpoint<Message>,
    pub stops: InjectorReceiver<Stop>,
    /// The questions of the edge.
    pub questions: InjectorReceiver<Question>,
    /// How far the shard has opened, for the edge.
    pub progress: Arc<OpenProgress>,
    pub started: mpsc::Sender<Started>,
    /// On shards other than 0: receives the opening of shard 0.
    pub images: Option<mpsc::Receiver<Opening>>,
    /// On shard 0: sends the opening to each of the other shards.
    pub image_senders: Option<Vec<mpsc::Sender<Opening>>>,
}

/// Runs the shard on this thread until it is stopped.
pub fn run(launch: Launch) -> Result<(), NodeError> {
    let opening = match &launch.images {
        None => None,
        // Shard 0 has failed and returns its error itself.
        Some(images) => match images.recv() {
            Ok(opening) => Some(opening),
            Err(_) => return Ok(()),
        },
    };
    let settings = runtime::Config {
        shard: launch.shard,
        core: launch.core,
        spin: Duration::from_micros(launch.config.spin_us.into()),
        ring_entries: launch.machine.ring_entries,
        buffered_devices: launch.machine.buffered_devices.clone(),
        arena_bytes_max: launch.config.shard_memory() as usize,
        chunks_ready: CHUNKS_READY,
        ..runtime::Config::default()
    };
    runtime::run(settings, move || run_shard(launch, opening)).map_err(NodeError::Reactor)?
}

async fn run_shard(launch: Launch, opening: Option<Opening>) -> Result<(), NodeError> {
    let Launch { shard, shards, config, data, bound, addresses, endpoint, image_senders, .. } = launch;
    let Launch { stops, questions, progress, started, .. } = launch;
    let (opening, controller) = match opening {
        Some(opening) => (opening, None),
        None => {
            let (opening, controller) = open_metadata(&config, &data, shards, &bound).await?;
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
        journal_idle: journal::IDLE,
    };
    let (shard, report) = Shard::open_with(place, opening.image, progress.clone()).await?;
    let router = Router::new(shard.id, endpoint);
    let server = api::serve(shard.clone(), router.clone());
    let connections = Connections::new(server.clone(), addresses);
    runtime::spawn(Class::Foreground, "router", receive(server.clone(), connections.clone()));
    if !config.is_given("memory.bytes") {
        runtime::spawn(Class::Background, "memory", shard.clone().run_memory());
    }
    if let Some(controller) = controller {
        server.run_controller(controller);
    }
    if let Some(highest) = report.foreign_producer_id {
        api::reserve_producer_ids(&server, highest).await?;
    }
    let acceptors = listen(&connections, &config, &bound, shard.id).map_err(NodeError::Listen)?;
    runtime::spawn(Class::Background, "edge", edge::shard::run(server.clone(), connections.clone(), questions));
    progress.enter(OpenStep::Serving);
    let _ = started.send(Started { report });

    stops.recv().await;
    for acceptor in acceptors {
        acceptor.abort();
    }
    connections.close_all();
    Ok(server.stop().await?)
}

/// On shard 0, before the other shards open: opens the metadata log, and prepares the layout for the number of shards.
async fn open_metadata(
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    shards: u16,
    bound: &[Bound],
) -> Result<(Opening, Controller), NodeError> {
    let (meta, expected) = examine::examine(data).await?.unzip();
    let opened = Controller::open(&data.metadata_directory(), expected.as_ref()).await?;
    if let Some((bytes, why)) = opened.torn {
        tracing::warn!(
            "the last {bytes} bytes of the metadata log are not an entry ({why}) and were cut off. If the process \
             ended while it wrote them, they were never acknowledged. Otherwise the last metadata change is lost"
        );
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
    let plan = plan_start(&controller.image(), config, endpoints, shards, layout::fresh_cluster_id())?;
    if let Some(meta) = &meta {
        examine::require_node(meta, config, data.meta_path())?;
    }
    controller.propose(plan.commands).await?;
    layout::adopt_directories(&controller, config, data).await?;
    let layout = layout::prepare(&controller.image(), config, data, meta, shards).await?;
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
        let mut ports = vec![(bound.address, origin.clone())];
        if config.routing == Routing::Direct {
            let own_port = SocketAddr::new(bound.address.ip(), bound.address.port() + 1 + shard.0);
            ports.push((own_port, origin.at_broker(BrokerId::new(NodeId(config.node_id), shard))));
        }
        for (address, origin) in ports {
            let listener = Listener::bind(address, true)?;
            let accepting = connections.clone().accept(listener, origin);
            acceptors.push(runtime::spawn(Class::Foreground, "accept", accepting));
        }
    }
    Ok(acceptors)
}

/// Serves the requests of other shards until the node stops.
async fn receive(server: Rc<Server>, connections: Rc<Connections>) {
    let appends = Rc::new(Appends::default());
    loop {
        match server.router.receive().await {
            (from, Message::Request { id, request }) => serve(&server, &appends, from, id, request),
            (_, Message::Adopt(hand_over)) => match Stream::from_fd(hand_over.socket) {
                Ok(stream) => {
                    let origin = Origin::handed_over(&hand_over.listener);
                    if let Some(session) = hand_over.session {
                        api::adopt_fetch_session(&server, &origin, session);
                    }
                    connections.adopt(stream, origin, hand_over.received);
                }
                Err(error) => tracing::warn!("lost a connection that another shard handed over: {error}"),
            },
            (_, Message::Reply { .. }) => unreachable!("Router::receive delivers replies to their callers"),
        }
    }
}
