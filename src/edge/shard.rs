//! A shard's answers to the edge: snapshots of plain numbers.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::api::Server;
use crate::api::figures::{self, ApiFigures, ControllerFigures};
use crate::coordinator::group::figures::GroupFigures;
use crate::metadata::Image;
use crate::model::{Distribution, Offset, TopicPartition};
use crate::net::listener::Connections;
use crate::partition::{Partition, Traffic};
use crate::runtime::{self, InjectorReceiver, Mono, Stats, TimeSlice};

/// A question of the edge to a shard. The shard drops it after the answer.
pub struct Question {
    /// The kind of the answer, and the way back.
    pub(in crate::edge) ask: Ask,
    /// EDGE-1: bounds the questions that wait at the shard.
    pub(in crate::edge) _permit: OwnedSemaphorePermit,
}

/// The kinds of questions.
pub(in crate::edge) enum Ask {
    /// Whether the shard runs its tasks.
    Beat(oneshot::Sender<Beat>),
    /// Its counters and the state of its partitions.
    Figures(oneshot::Sender<Box<ShardFigures>>),
}

/// A shard runs its tasks.
pub(in crate::edge) struct Beat {
    /// Why the shard takes no writes.
    pub failure: Option<String>,
    /// The last write found the disk full.
    pub is_disk_full: bool,
    /// Partitions that could not be opened.
    pub offline_partitions: usize,
}

/// One shard at one moment.
pub(in crate::edge) struct ShardFigures {
    pub shard: u16,
    pub beat: Beat,
    /// The shard's latest image.
    pub image: Arc<Image>,
    pub runtime: Stats,
    pub apis: Vec<ApiFigures>,
    pub produce_stages: [(&'static str, Distribution); PRODUCE_STAGES],
    pub fetch_stages: [(&'static str, Distribution); FETCH_STAGES],
    /// Produce requests that wait for the commit, and Fetch requests that wait for records.
    pub produces_waiting: usize,
    pub fetches_waiting: usize,
    pub connections: ConnectionFigures,
    pub journal: JournalFigures,
    pub memory: MemoryFigures,
    pub checkpoints: CheckpointFigures,
    /// The controller, on the shard that runs it.
    pub controller: Option<ControllerFigures>,
    /// The traffic of deleted partitions.
    pub deleted_traffic: Traffic,
    pub partitions: Vec<PartitionFigures>,
    pub groups: Vec<GroupFigures>,
    pub groups_omitted: usize,
}

/// The most committed offsets of groups in one answer of a shard.
const GROUP_OFFSETS_MAX: usize = 20_000;

/// The numbers of stages of a Produce and of a Fetch request.
const PRODUCE_STAGES: usize = 8;
const FETCH_STAGES: usize = 6;

pub(in crate::edge) struct ConnectionFigures {
    /// By listener.
    pub open: Vec<(String, usize)>,
    pub accepted: u64,
    pub refused: u64,
}

pub(in crate::edge) struct JournalFigures {
    pub groups: u64,
    pub bytes: u64,
    pub batches: u64,
    pub waits_for_space: u64,
    pub files: u32,
    pub files_in_use: usize,
    pub files_max: usize,
    /// Appended and not durable.
    pub pending_bytes: u64,
    pub pending_age_ns: u64,
    /// Written without a flush.
    pub unflushed_bytes: u64,
    pub unflushed_age_ns: u64,
}

pub(in crate::edge) struct MemoryFigures {
    pub arena_bytes: usize,
    pub arena_bytes_max: u64,
    pub log_bytes: usize,
    pub log_bytes_max: usize,
}

pub(in crate::edge) struct PartitionFigures {
    pub id: TopicPartition,
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
    pub size_bytes: u64,
    pub replicas: usize,
    pub in_sync: usize,
    pub in_sync_min: usize,
    pub traffic: Traffic,
}

pub(in crate::edge) struct CheckpointFigures {
    pub failed: u64,
    pub duration: Distribution,
    /// The time since the latest checkpoint.
    pub age_ns: Option<u64>,
}

/// Answers the edge's questions until the shard ends.
pub async fn run(server: Rc<Server>, connections: Rc<Connections>, questions: InjectorReceiver<Question>) {
    loop {
        // An edge that has given up has dropped its receiver.
        match questions.recv().await.ask {
            Ask::Beat(answer) => drop(answer.send(beat(&server))),
            Ask::Figures(answer) => drop(answer.send(Box::new(figures(&server, &connections).await))),
        }
    }
}

fn beat(server: &Server) -> Beat {
    Beat {
        failure: server.shard.failure().map(|failure| failure.to_string()),
        is_disk_full: server.shard.is_disk_full(),
        offline_partitions: server.shard.offline_count(),
    }
}

async fn figures(server: &Server, connections: &Connections) -> ShardFigures {
    // Before the first await: a partition that is deleted meanwhile counts once.
    let (deleted_traffic, all) = (server.shard.deleted_traffic(), server.shard.all_partitions());
    let partitions = partitions(all).await;
    let (groups, groups_omitted) = figures::groups(server, GROUP_OFFSETS_MAX);
    let (shard, produce, fetch) = (&server.shard, &server.requests.produce, &server.requests.fetch);
    let journal = shard.journal();
    let counters = &journal.counters;
    let (pending_bytes, pending_since) = journal.pending();
    let (unflushed_bytes, unflushed_since) = counters.unflushed.read();
    let age_ns = |since: Option<Mono>| since.map_or(0, |since| since.elapsed().as_nanos() as u64);
    ShardFigures {
        shard: shard.id.0,
        beat: beat(server),
        image: Arc::clone(&shard.image()),
        runtime: runtime::stats(),
        apis: server.requests.read(),
        produce_stages: [
            ("receive", produce.receive.read()),
            ("queue", produce.queue.read()),
            ("append", produce.append.read()),
            ("journal_wait", counters.wait.read()),
            ("flush", counters.flush.read()),
            ("commit", produce.commit.read()),
            ("answer", produce.answer.read()),
            ("send", produce.send.read()),
        ],
        fetch_stages: [
            ("receive", fetch.receive.read()),
            ("queue", fetch.queue.read()),
            ("plan", fetch.plan.read()),
            ("read", fetch.read.read()),
            ("wait", fetch.wait.read()),
            ("send", fetch.send.read()),
        ],
        produces_waiting: produce.waiting.count(),
        fetches_waiting: fetch.waiting.count(),
        connections: ConnectionFigures {
            open: connections.open(),
            accepted: connections.accepted(),
            refused: connections.refused(),
        },
        journal: JournalFigures {
            groups: counters.groups.get(),
            bytes: counters.bytes.get(),
            batches: counters.batches.get(),
            waits_for_space: counters.waits_for_space.get(),
            files: journal.files_count(),
            files_in_use: journal.files_in_use(),
            files_max: journal.files_max(),
            pending_bytes,
            pending_age_ns: age_ns(pending_since),
            unflushed_bytes,
            unflushed_age_ns: age_ns(unflushed_since),
        },
        memory: MemoryFigures {
            arena_bytes: runtime::arena_bytes_used(),
            arena_bytes_max: shard.config().shard_memory(),
            log_bytes: shard.memory.used(),
            log_bytes_max: shard.memory.budget(),
        },
        checkpoints: CheckpointFigures {
            failed: shard.checkpoints.failed.get(),
            duration: shard.checkpoints.duration.read(),
            age_ns: shard.checkpoints.stored_at.get().map(|at| at.elapsed().as_nanos() as u64),
        },
        controller: figures::controller(server),
        deleted_traffic,
        partitions,
        groups,
        groups_omitted,
    }
}

async fn partitions(all: Vec<Rc<Partition>>) -> Vec<PartitionFigures> {
    let mut found = Vec::with_capacity(all.len());
    let slice = TimeSlice::begin();
    for partition in all {
        found.push(partition_figures(&partition));
        slice.pause().await;
    }
    found
}

fn partition_figures(partition: &Partition) -> PartitionFigures {
    let (replicas, in_sync) = partition.replicas();
    PartitionFigures {
        id: partition.id,
        log_start: partition.log_start(),
        last_stable: partition.last_stable_offset(),
        high_watermark: partition.high_watermark(),
        log_end: partition.log_end(),
        size_bytes: partition.size_bytes(),
        replicas,
        in_sync,
        in_sync_min: partition.config().min_insync_replicas.min(replicas),
        traffic: partition.traffic.read(),
    }
}
