//! `tidemill serve`: starts a node, and stops it on a signal.
//!
//! Owns: the threads of the shards, and the order of start and stop. In: the command line and the settings file. Out: a
//! process that serves, and its exit status. It does not know requests; shards and connections handle them. The main
//! thread starts the shards and waits for signals; everything else runs on the shards' threads.
//!
//! ```text
//! main thread:   settings -> probe -> lock the data directory -> a thread per shard -> signals
//! shard 0:       metadata log -> layout (redistribute if the number of shards changed) -> image to all shards
//! every shard:   open (checkpoint, logs, replay) -> listen -> serve -> stop (flush, clean checkpoint)
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "start-up and shutdown run on the main thread, before and after the shards"
)]

mod error;
mod layout;
mod node;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{self, BrokerConfig, Routing, Source};
use crate::disk::layout::DataDirectory;
use crate::runtime::{Injector, cpu, dir, injector, mesh, probe};
use crate::tools::Failure;
use error::NodeError;
use node::{Bound, Started, Stop};

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

/// Runs a node until a signal stops it.
pub fn run(args: Args) -> Result<(), Failure> {
    let started_at = Instant::now();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("TIDEMILL_LOG").unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let config = Arc::new(load(&args)?);
    // Before any thread exists, so that every thread blocks these signals and only the waiting thread takes them.
    let signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::new(format!("cannot handle SIGTERM and SIGINT: {error}")))?;

    let data = DataDirectory::new(&config.data_dirs, config.journal_dir.as_ref().map(PathBuf::from));
    for root in [&data.root, &data.journal_root] {
        std::fs::create_dir_all(root)
            .map_err(|error| Failure::new(format!("cannot create {}: {error}", root.display())))?;
    }
    let mut out = std::io::stdout();
    let ring_entries = report_probes(&mut out, &data)?;
    let _locks = lock_directories(&data)?;

    let cores = cpu::cores();
    let shards = config.shards.unwrap_or(cores.len().clamp(1, 1000) as u16);
    let bound = bind(&config, shards)?;
    describe(&mut out, &config, &data, shards, &bound);

    let running = start_shards(&config, &data, &bound, shards, ring_entries)?;
    match wait_until_started(&running.starts, &running.ends, shards) {
        Ok(reports) => print_ready(&mut out, &reports, started_at, &bound),
        Err(error) => return Err(Failure::new(error.to_string())),
    }
    wait_until_stopped(&mut out, signals, running, shards)
}

/// Probes the machine, prints the findings, and returns the size of the rings.
fn report_probes(out: &mut impl Write, data: &DataDirectory) -> Result<u32, Failure> {
    let probed = probe::probe(&data.root).map_err(|refusal| Failure::new(refusal.to_string()))?;
    let _ = writeln!(out, "tidemill {}", env!("CARGO_PKG_VERSION"));
    for finding in &probed.findings {
        let _ = writeln!(out, "  {finding}");
    }
    if data.journal_root != data.root {
        let journal = probe::probe(&data.journal_root).map_err(|refusal| Failure::new(refusal.to_string()))?;
        if !journal.stable_storage {
            let _ = writeln!(
                out,
                "  journal.dir is not stable storage; an acknowledgement survives a crash of the process only"
            );
        }
    }
    Ok(probed.ring_entries)
}

/// Locks the data directory and the journal directory. The locks are held until the returned value is dropped.
fn lock_directories(data: &DataDirectory) -> Result<(dir::DirLock, Option<dir::DirLock>), Failure> {
    let lock = |root: &Path, option: &str| {
        dir::lock(root).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                Failure::new(format!("{} is in use by another tidemill process", root.display()))
                    .hinted(format!("stop that process first, or start this one with another {option}"))
            }
            _ => Failure::new(format!("cannot lock {}: {error}", root.display())),
        })
    };
    let data_lock = lock(&data.root, "--data")?;
    let has_journal = data.journal_root != data.root;
    let journal_lock = has_journal.then(|| lock(&data.journal_root, "journal.dir")).transpose()?;
    Ok((data_lock, journal_lock))
}

/// The threads of the shards, as the main thread sees them.
struct RunningShards {
    stoppers: Vec<Injector<Stop>>,
    starts: mpsc::Receiver<Started>,
    ends: mpsc::Receiver<(u16, Result<(), NodeError>)>,
}

/// Starts a thread for each shard. A shard has a core of its own if there are enough.
fn start_shards(
    config: &Arc<BrokerConfig>,
    data: &DataDirectory,
    bound: &[Bound],
    shards: u16,
    ring_entries: u32,
) -> Result<RunningShards, Failure> {
    let cores = cpu::cores();
    let (started, starts) = mpsc::channel::<Started>();
    let (ended, ends) = mpsc::channel::<(u16, Result<(), NodeError>)>();
    let mut image_senders = Vec::new();
    let mut image_receivers = vec![None];
    for _ in 1..shards {
        let (sender, receiver) = mpsc::channel();
        image_senders.push(sender);
        image_receivers.push(Some(receiver));
    }
    let mut image_senders = Some(image_senders);
    let mut stoppers = Vec::new();
    for (endpoint, images) in mesh(shards.into()).into_iter().zip(image_receivers) {
        let shard = endpoint.own() as u16;
        let (stopper, stops) = injector::<Stop>();
        stoppers.push(stopper);
        let launch = node::Launch {
            shard,
            shards,
            core: (usize::from(shards) <= cores.len()).then(|| cores[usize::from(shard)]),
            ring_entries,
            config: config.clone(),
            data: data.clone(),
            bound: bound.to_vec(),
            endpoint,
            stops,
            started: started.clone(),
            images,
            image_senders: if shard == 0 { image_senders.take() } else { None },
        };
        let ended = ended.clone();
        let thread = thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| node::run(launch)));
            // Crash beats corrupt: a panic on one shard ends the process.
            let outcome = outcome.unwrap_or_else(|_| std::process::abort());
            let _ = ended.send((shard, outcome));
        });
        thread.map_err(|error| Failure::new(format!("cannot start a thread for shard {shard}: {error}")))?;
    }
    Ok(RunningShards { stoppers, starts, ends })
}

/// Stops the shards on a signal, and waits until all have ended. Returns the first failure of a shard.
fn wait_until_stopped(
    out: &mut impl Write,
    mut signals: Signals,
    running: RunningShards,
    shards: u16,
) -> Result<(), Failure> {
    let RunningShards { stoppers, ends, .. } = running;
    // One channel for signals and for shards that end.
    let (sender, events) = mpsc::channel();
    let signal_sender = sender.clone();
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = signal_sender.send(NodeEvent::Signal(signal));
        }
        // A second signal ends the process without waiting for the shards.
        signals.forever().next();
        std::process::exit(130);
    });
    thread::spawn(move || {
        for (shard, outcome) in ends {
            let _ = sender.send(NodeEvent::Ended(shard, outcome));
        }
    });
    let mut remaining = usize::from(shards);
    let mut failure = None;
    for event in events {
        match event {
            NodeEvent::Signal(signal) => {
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                let _ = writeln!(out, "{name}: finishing requests in flight, flushing");
                for stopper in &stoppers {
                    let _ = stopper.send(Stop);
                }
            }
            NodeEvent::Ended(shard, outcome) => {
                if let Err(error) = outcome {
                    failure.get_or_insert(format!("shard {shard}: {error}"));
                }
                remaining -= 1;
                if remaining == 0 {
                    break;
                }
            }
        }
    }
    match failure {
        None => {
            let _ = writeln!(out, "stopped");
            Ok(())
        }
        Some(failure) => {
            Err(Failure::new(failure).hinted("acknowledged records are in the journal; the next start replays it"))
        }
    }
}

enum NodeEvent {
    Signal(i32),
    Ended(u16, Result<(), NodeError>),
}

fn load(args: &Args) -> Result<BrokerConfig, Failure> {
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

/// Resolves every address to listen on, and checks that it is free.
fn bind(config: &BrokerConfig, shards: u16) -> Result<Vec<Bound>, Failure> {
    let mut all: Vec<(Bound, RangeInclusive<u16>)> = Vec::new();
    for (listener, advertised) in config.bind().into_iter().zip(config.advertised()) {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let resolved = (host, listener.port).to_socket_addrs().ok().and_then(|mut found| found.next());
        let Some(address) = resolved else {
            return Err(Failure::new(format!("cannot resolve {host} of listener {listener}")));
        };
        let own_ports = match config.routing {
            Routing::Direct => shards,
            Routing::Forward => 0,
        };
        if u32::from(listener.port) + u32::from(own_ports) > u32::from(u16::MAX) || listener.port == 0 {
            return Err(Failure::new(format!(
                "port {} leaves no room for the {own_ports} ports of the shards behind it",
                listener.port
            ))
            .hinted("choose a listening port between 1 and 65535 minus the number of shards"));
        }
        let ports = listener.port..=listener.port + own_ports;
        let is_shared =
            |other: &&(Bound, RangeInclusive<u16>)| ports.contains(other.1.start()) || other.1.contains(ports.start());
        if let Some((other, others)) = all.iter().find(is_shared) {
            return Err(Failure::new(format!(
                "listener {} takes the ports {}-{}, one for each shard behind the first, and {} takes {}-{}",
                listener.name,
                ports.start(),
                ports.end(),
                other.name,
                others.start(),
                others.end()
            ))
            .hinted(format!("leave at least {own_ports} ports between two listeners")));
        }
        all.push((Bound { name: listener.name.clone(), address, advertised }, ports));
    }
    // SO_REUSEPORT would share a port with another process of the same user too, so check that it is free.
    for (bound, ports) in &all {
        for port in ports.clone() {
            let candidate = SocketAddr::new(bound.address.ip(), port);
            wait_until_free(candidate).map_err(|error| {
                Failure::new(format!("cannot listen on {candidate}: {error}"))
                    .hinted("another broker may be running there; choose another port with --listen HOST:PORT")
            })?;
        }
    }
    Ok(all.into_iter().map(|(bound, _)| bound).collect())
}

/// Waits up to two seconds for the address. The kernel closes the ring and the sockets of a killed process some time
/// after its end. A restart directly after a crash must not fail because of them.
fn wait_until_free(address: SocketAddr) -> std::io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome.map(drop),
        }
    }
}

fn describe(out: &mut impl Write, config: &BrokerConfig, data: &DataDirectory, shards: u16, bound: &[Bound]) {
    let _ = writeln!(out, "  data       {}", data.root.display());
    let routing = match config.routing {
        Routing::Direct => "direct: each core is a broker with a port of its own",
        Routing::Forward => "forward: one broker, requests cross to the core that owns the partition",
    };
    let _ = writeln!(out, "  shards     {shards} ({routing})");
    for listener in bound {
        let port = listener.address.port();
        let own = match config.routing {
            Routing::Direct => format!(", shards on {}-{}", port + 1, port + shards),
            Routing::Forward => String::new(),
        };
        let _ = writeln!(out, "  {:<10} {}{own}", listener.name.to_lowercase(), listener.address);
    }
}

/// Waits until every shard has started, or one has failed.
fn wait_until_started(
    starts: &mpsc::Receiver<Started>,
    ends: &mpsc::Receiver<(u16, Result<(), NodeError>)>,
    shards: u16,
) -> Result<Vec<Started>, NodeError> {
    let mut reports = Vec::new();
    let mut ended = 0;
    while reports.len() < usize::from(shards) {
        match starts.recv_timeout(Duration::from_millis(20)) {
            Ok(report) => reports.push(report),
            // A shard ends without an error if another one failed, whose error is returned.
            Err(_) => match ends.try_recv() {
                Ok((_, Err(why))) => return Err(why),
                Ok((_, Ok(()))) => ended += 1,
                Err(_) if ended == shards => return Err(NodeError::NoneStarted),
                Err(_) => {}
            },
        }
    }
    Ok(reports)
}

fn print_ready(out: &mut impl Write, reports: &[Started], started_at: Instant, bound: &[Bound]) {
    let partitions: usize = reports.iter().map(|started| started.report.partitions).sum();
    let replayed: u64 = reports.iter().map(|started| started.report.batches_replayed).sum();
    if partitions > 0 {
        let how = if reports.iter().all(|started| started.report.was_clean) {
            "after a clean stop".to_owned()
        } else {
            format!("{replayed} batches replayed from the journals")
        };
        let _ = writeln!(out, "  partitions {partitions}, {how}");
    }
    let address = bound.first().map_or_else(String::new, |bound| bound.address.to_string());
    let _ =
        writeln!(out, "  try        tidemill produce greetings --bootstrap {address}   (type lines, end with Ctrl-D)");
    let _ = writeln!(out, "             tidemill consume greetings --bootstrap {address}");
    let _ = writeln!(out, "ready in {} ms", started_at.elapsed().as_millis());
    let _ = out.flush();
}
