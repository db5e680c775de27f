//! `tidemill serve`: starts a node, and stops it on a signal.
//!
//! Owns: the threads of the shards, and the order of start and stop. In: the command line, the environment and
//! the settings file. Out: a
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

mod args;
mod banner;
mod bind;
mod edge;
mod error;
mod examine;
mod layout;
mod logging;
mod machine;
mod node;
mod profile;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{BrokerConfig, Loaded};
use crate::disk::layout::DataDirectory;
use crate::edge::Handle;
use crate::net::addresses::Addresses;
use crate::runtime::{Injector, clock, cpu, dir, injector, mesh, probe};
use crate::tools::Failure;
use crate::tools::tune::machine::Roots;
pub use args::Args;
use banner::Banner;
use error::NodeError;
use node::{Bound, Machine, Started, Stop};

/// Runs a node until a signal stops it.
pub fn run(args: Args) -> Result<(), Failure> {
    let started_at = Instant::now();
    let banner = Banner::new(args.json);
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let variable = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let complaints = logging::start(variable("TIDEMILL_LOG"), variable("TIDEMILL_LOG_FORMAT"));
    let loaded = args::load(&args, &environment)?;
    let roots = Roots::new(None);
    let (Loaded { mut config, warnings }, of_profile) =
        profile::apply(&args, &environment, loaded, &roots, clock::wall_ms())?;
    for warning in complaints.into_iter().chain(warnings.iter().map(ToString::to_string)) {
        banner.warning(&warning);
    }
    if args.check {
        of_profile.iter().for_each(|line| banner.profile(line));
        banner.checked(warnings.len());
        return Ok(());
    }
    // Before any thread exists, so that every thread blocks these signals and only the waiting thread takes them.
    let signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::new(format!("cannot handle SIGTERM and SIGINT: {error}")))?;

    let shards = config.shards.unwrap_or(cpu::cores().len().clamp(1, 1000) as u16);
    let data = DataDirectory::new(&config.data_dirs, config.journal_dir.as_ref().map(PathBuf::from));
    machine::plan_memory(&mut config, shards, banner)?;
    let config = Arc::new(config);
    machine::prepare_directories(&config, &data, shards, banner)?;
    let probed = report_probes(banner, &data)?;
    of_profile.iter().for_each(|line| banner.profile(line));
    let _locks = lock_directories(&data)?;
    let bound = bind::bind(&config, shards)?;
    let addresses = Addresses::new(bind::limited_addresses(&config)?);
    if config.is_open_to_network() {
        banner.warning(
            "the node listens on all interfaces, without authentication or encryption: every client that can reach \
             this machine can read, write and delete all topics",
        );
    }
    banner.opening(&config, &data, shards);
    let (links, questions) = edge::links(shards);
    let edge = edge::start(banner, &config, &data, links, started_at)?;
    let running = start_shards(&config, &data, &bound, addresses, &probed, questions)?;
    match wait_until_started(&running.starts, &running.ends, shards) {
        Ok(reports) => banner.ready(&config, &reports, started_at, &bound, edge.as_ref().map(Handle::address)),
        Err(error) => return Err(Failure::new(error.to_string())),
    }
    wait_until_stopped(banner, signals, running, shards, edge)
}

/// Probes the machine, prints the findings, and returns those that the shards use.
fn report_probes(banner: Banner, data: &DataDirectory) -> Result<Machine, Failure> {
    let refused = |refusal: probe::ProbeRefusal| Failure::new(refusal.to_string());
    let probed = probe::probe(&data.root).map_err(refused)?;
    banner.version();
    probed.findings.iter().for_each(|finding| banner.finding(finding));
    let mut buffered_devices: Vec<u64> = (!probed.direct_io).then_some(probed.device).into_iter().collect();
    if data.journal_root != data.root {
        let journal = probe::probe(&data.journal_root).map_err(refused)?;
        if !journal.stable_storage {
            banner
                .warning("journal.dir is not stable storage; an acknowledgement survives a crash of the process only");
        }
        buffered_devices.extend((!journal.direct_io).then_some(journal.device));
    }
    Ok(Machine { ring_entries: probed.ring_entries, buffered_devices })
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
    addresses: Arc<Addresses>,
    machine: &Machine,
    questions: Vec<edge::OnShard>,
) -> Result<RunningShards, Failure> {
    let cores = cpu::cores();
    let shards = questions.len() as u16;
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
    let ends_of_links = image_receivers.into_iter().zip(questions);
    for (endpoint, (images, (questions, progress))) in mesh(shards.into()).into_iter().zip(ends_of_links) {
        let shard = endpoint.own() as u16;
        let (stopper, stops) = injector::<Stop>();
        stoppers.push(stopper);
        let launch = node::Launch {
            shard,
            shards,
            core: (usize::from(shards) <= cores.len()).then(|| cores[usize::from(shard)]),
            machine: machine.clone(),
            config: config.clone(),
            data: data.clone(),
            bound: bound.to_vec(),
            addresses: addresses.clone(),
            endpoint,
            stops,
            questions,
            progress,
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
    banner: Banner,
    mut signals: Signals,
    running: RunningShards,
    shards: u16,
    edge: Option<Handle>,
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
                banner.stopping(name);
                edge.iter().for_each(Handle::stopping);
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
            banner.stopped();
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
