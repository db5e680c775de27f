//! Metrics and health over HTTP.
//!
//! ```text
//! http     routes, and the limits of connections and time    health             /livez, /readyz, /startupz, /healthz
//! gather   asks the shards, bounded in rate and time         metrics, topics    /metrics
//! shard    a shard's answer: a snapshot of plain numbers     kafka, partitions  /metrics/kafka, /metrics/partitions
//! text     the text format of Prometheus                     lag, process       the lag of groups in time; proc(5)
//! ```
//!
//! - Owns: one thread with a tokio runtime, the listening socket, and its connections.
//! - Inputs: HTTP requests; snapshots of the shards, which they send on request.
//! - Outputs: text.
//! - Invariant EDGE-1: at most [`gather::ASKED_MAX`] questions wait at a shard at a time.
//! - Does not know: the data path. A shard answers in a task of the background class, and the data path only adds to
//!   plain numbers that the shard owns.
//! - Threads: `shard` runs on the shards, everything else on the edge's own thread. Only that thread uses tokio.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the edge has a thread of its own, which no shard waits for"
)]

pub mod gather;
mod health;
mod http;
mod kafka;
mod lag;
mod metrics;
mod partitions;
mod process;
pub mod shard;
mod text;
mod topics;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gather::Shards;
use lag::History;
use shard::ShardFigures;

use crate::model::Distribution;
use crate::runtime::cpu;

/// The facts about the node that the edge knows without its shards.
pub struct NodeFacts {
    /// `node.id`
    pub node_id: i32,
    /// `direct`, `steer` or `forward`.
    pub routing: &'static str,
    /// `flush.ack`: whether records are on stable storage when they are acknowledged.
    pub is_flushed: bool,
    /// The data directory, and the directory of the journals.
    pub directories: [PathBuf; 2],
    /// The start of the process.
    pub started: Instant,
}

/// The state of the edge's thread.
pub(in crate::edge) struct Edge {
    pub facts: NodeFacts,
    pub shards: Shards,
    pub is_stopping: Arc<AtomicBool>,
    /// For the lag of groups in time.
    pub history: Mutex<History>,
    interval: Mutex<Interval>,
}

/// The values of the latest interval between two snapshots.
#[derive(Clone, Copy)]
pub(in crate::edge) struct Rates {
    /// The share of the time in which the shards ran no task, from 0 to 1.
    pub idle: f64,
    /// Entries of the metadata log for each second.
    pub metadata_entries: f64,
    /// The mean time of a commit in the interval; `None` without one.
    pub commit_seconds: Option<f64>,
}

/// The sums of a snapshot, whose growth the rates are.
#[derive(Clone, Copy)]
struct Sums {
    /// The nanoseconds of tasks.
    busy_ns: u64,
    /// The index of the metadata.
    index: u64,
    /// Commits of the metadata, and the sum of their times.
    commits: u64,
    commit_ns: u64,
}

/// The end of the latest interval, and its values.
#[derive(Default)]
struct Interval {
    end: Option<(Instant, Sums)>,
    rates: Option<Rates>,
}

/// Scrapes that follow each other sooner share the values, so that two scrapers do not shorten each other's interval.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

impl Edge {
    /// The rates between two snapshots that are some seconds apart. `None` before the second one.
    pub fn rates(&self, shards: &[Box<ShardFigures>]) -> Option<Rates> {
        let mut interval = self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = shards.iter().find_map(|shard| shard.controller.as_ref()).map(|controller| &controller.commits);
        let sums = Sums {
            busy_ns: shards.iter().map(|shard| shard.runtime.class_ns.iter().sum::<u64>()).sum(),
            index: shards.iter().map(|shard| shard.image.index).max()?,
            commits: commits.map_or(0, Distribution::count),
            commit_ns: commits.map_or(0, |commits| commits.sum_ns),
        };
        interval.advance(Instant::now(), sums, shards.len());
        interval.rates
    }
}

impl Interval {
    fn advance(&mut self, now: Instant, sums: Sums, shards: usize) {
        let Some((since, before)) = self.end else {
            self.end = Some((now, sums));
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= INTERVAL_MIN {
            let whole = elapsed.as_nanos() as f64 * shards as f64;
            let commits = sums.commits.saturating_sub(before.commits);
            let commit_ns = sums.commit_ns.saturating_sub(before.commit_ns);
            self.rates = Some(Rates {
                idle: (1.0 - sums.busy_ns.saturating_sub(before.busy_ns) as f64 / whole).clamp(0.0, 1.0),
                metadata_entries: sums.index.saturating_sub(before.index) as f64 / elapsed.as_secs_f64(),
                commit_seconds: (commits > 0).then(|| commit_ns as f64 / 1e9 / commits as f64),
            });
            self.end = Some((now, sums));
        }
    }
}

/// The running edge, as the main thread sees it.
pub struct Handle {
    is_stopping: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Handle {
    /// From now on the node is not ready.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the address.
///
/// # Errors
/// If the name does not resolve, or the address is in use or not of this machine.
pub fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the edge's thread. It serves until the process ends.
///
/// # Errors
/// If the thread or its runtime cannot be started.
pub fn start(listener: TcpListener, facts: NodeFacts, shards: Shards) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    let edge = Arc::new(Edge {
        facts,
        shards,
        is_stopping: is_stopping.clone(),
        history: Mutex::default(),
        interval: Mutex::default(),
    });
    std::thread::Builder::new().name("edge".into()).spawn(move || {
        cpu::yield_to_shards();
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => http::serve(listener, edge).await,
                Err(error) => tracing::error!("metrics and health are not served: {error}"),
            }
        });
    })?;
    Ok(Handle { is_stopping, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_intervals_of_some_seconds() {
        let (mut interval, begun) = (Interval::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (seconds, busy_s, index, expected) in [
            (0, 0, 100, None),
            (4, 4, 104, None),
            (10, 5, 120, Some((0.75, 2.0))),
            // Too soon: the values stay.
            (11, 7, 130, Some((0.75, 2.0))),
            (20, 25, 120, Some((0.0, 0.0))),
        ] {
            // Each entry takes 2 ms.
            let sums = Sums { busy_ns: busy_s * 1_000_000_000, index, commits: index, commit_ns: index * 2_000_000 };
            interval.advance(at(seconds), sums, 2);
            let found = interval.rates.map(|rates| (rates.idle, rates.metadata_entries));
            assert_eq!(found.is_some(), expected.is_some(), "at {seconds} s");
            let difference = |(idle, entries): (f64, f64), (i, e): (f64, f64)| (idle - i).abs() + (entries - e).abs();
            assert!(
                found.zip(expected).is_none_or(|(found, expected)| difference(found, expected) < 1e-9),
                "{found:?}"
            );
            let commit = interval.rates.and_then(|rates| rates.commit_seconds);
            assert_eq!(
                commit.map(|seconds| (seconds * 1e3).round()),
                expected.and_then(|(_, n)| (n > 0.0).then_some(2.0))
            );
        }
    }
}
