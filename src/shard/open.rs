//! Opening a shard: checkpoint, logs, replay of the journal.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::image::make_way;
use super::{Shard, partition_metadata};
use crate::config::{BrokerConfig, TopicConfig};
use crate::disk::StorageError;
use crate::disk::checkpoint::{Checkpoint, PartitionState};
use crate::disk::journal::group::EntryKind;
use crate::disk::journal::recover::{Replay, used_file};
use crate::disk::journal::{self, Journal, JournalSettings};
use crate::disk::layout::DataDirectory;
use crate::log::Log;
use crate::log::recover::Known;
use crate::log::tail::Memory;
use crate::metadata::owner::shard_of;
use crate::metadata::{Image, Topic};
use crate::model::{NodeId, ProducerId, ShardId, TopicPartition};
use crate::partition::producers::Producers;
use crate::partition::restore_producers;
use crate::record::codec::Decompressor;
use crate::record::control::Marker;
use crate::record::header::{BatchHeader, HEADER_BYTES};
use crate::runtime::buf::BLOCK_BYTES_MAX;
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};
use crate::runtime::{clock, dir};

/// With the group's own header this fills a block of the arena. One byte more would make every group a mapping of its own,
/// faulted in page by page and unmapped again.
const GROUP_BYTES_MAX: usize = BLOCK_BYTES_MAX - journal::group::HEADER_BYTES;

/// Partitions opened at a time.
const OPENERS: usize = 32;
/// How often replay asks for memory without anything having been written back in between. Each time a few dozen more
/// chunks are looked at, so it takes some.
const REPLAY_TRIES: u32 = 10_000;

/// Which shard to open, and where.
#[derive(Clone)]
pub struct ShardLocation {
    pub id: ShardId,
    pub node: NodeId,
    pub shards: u16,
    pub layout: u64,
    pub data: DataDirectory,
    pub config: Arc<BrokerConfig>,
    /// Of one file of the journal: [`JOURNAL_FILE_BYTES`](crate::config::broker::JOURNAL_FILE_BYTES) in a node; tests want laps that are soon round.
    pub journal_file_bytes: u64,
}

/// No cluster has come so far with giving producer ids, block after block; what is higher, a client has made up.
const FOREIGN_PRODUCER_ID_LIMIT: ProducerId = 1 << 40;

/// What opening found; for the start-up report.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct OpenReport {
    pub partitions: usize,
    pub was_clean: bool,
    pub groups_replayed: u64,
    pub batches_replayed: u64,
    pub bytes_replayed: u64,
    /// The highest that a log remembers which another cluster has begun.
    pub foreign_producer_id: Option<ProducerId>,
}

impl ShardLocation {
    pub fn journal_settings(&self) -> JournalSettings {
        JournalSettings {
            directory: self.data.journal_directory(self.layout, self.id.0),
            file_bytes: self.journal_file_bytes,
            files_max: (self.config.journal_bytes / self.journal_file_bytes).max(2) as u32,
            group_bytes_max: GROUP_BYTES_MAX.min(self.journal_file_bytes as usize / 4),
            depth: self.config.journal_depth as usize,
        }
    }
}

impl Shard {
    /// Opens the shard's part of the data directory as the image describes it. When it returns, all that was ever
    /// acknowledged is in the logs, and the shard's tasks run.
    pub async fn open(place: ShardLocation, image: Arc<Image>) -> Result<(Rc<Shard>, OpenReport), StorageError> {
        let checkpoint_path = place.data.checkpoint_path(place.layout, place.id.0);
        let mut checkpoint = Checkpoint::load(&checkpoint_path).await?;
        if checkpoint.is_some() {
            // Segments are replaced because it says so: should the power fail then, it must not be an older one that is
            // found. The process before may have been killed between the rename and this.
            let directory = place.data.shard_directory(place.layout, place.id.0);
            dir::sync(&directory).await.map_err(StorageError::flush("flush directory", &directory))?;
        }
        let (journal, mut replay) = match &checkpoint {
            None => {
                // Nothing was acknowledged before the first checkpoint: leftovers of an unfinished first start go.
                let settings = place.journal_settings();
                if dir::exists(&settings.directory) {
                    if let Some(used) = used_file(&settings.directory).await? {
                        return Err(StorageError::format(
                            "a checkpoint",
                            checkpoint_path,
                            format!(
                                "it is missing, and {} holds groups: acknowledged records may be there and nowhere else",
                                used.display()
                            ),
                        ));
                    }
                    journal::remove(&settings.directory).await?;
                }
                let journal = Journal::create(settings).await?;
                // With `journal.dir` set, the journal's directory is not below the checkpoint's.
                let directory = place.data.shard_directory(place.layout, place.id.0);
                dir::create_all(&directory).await.map_err(StorageError::io("create directory", &directory))?;
                place.data.sync_names(place.layout).await?;
                (Some(journal), None)
            }
            Some(checkpoint) => {
                let start = checkpoint.start.into();
                let settings = place.journal_settings();
                let directory = settings.directory.clone();
                let replay = Replay::open(settings, checkpoint.journal_id, start).await?;
                let (found, had) = (replay.files_count(), checkpoint.journal_files);
                if found < had {
                    let why = format!("it has {found} files, and had {had} at the last checkpoint");
                    return Err(StorageError::format("a journal", directory, why));
                }
                (None, Some(replay))
            }
        };
        // Log data takes what requests being received and journal buffers leave of the shard's memory.
        let memory = Memory::new((place.config.memory_bytes / 8 * 5) as usize);
        let mut report =
            OpenReport { was_clean: checkpoint.as_ref().is_none_or(|found| found.is_clean), ..OpenReport::default() };
        let states = checkpoint
            .as_ref()
            .map(|found| found.partitions.iter().map(|state| (state.id(), state.clone())).collect::<HashMap<_, _>>());
        let opened = open_logs(&place, &image, states, &memory).await?;
        report.partitions = opened.len();
        report.foreign_producer_id = opened.iter().filter_map(|opened| opened.foreign_producer_id).max();

        let make = |journal: Rc<Journal>| {
            Rc::new(Shard {
                id: place.id,
                node: place.node,
                shards: place.shards,
                config: place.config.clone(),
                data: place.data.clone(),
                layout: place.layout,
                image: RefCell::new(Rc::new(image.clone())),
                partitions: RefCell::new(HashMap::new()),
                committed: Cell::new(journal.durable()),
                journal,
                memory: memory.clone(),
                decompressor: RefCell::new(Decompressor::new(super::DECODED_BYTES_MAX)),
                uncommitted: RefCell::new(VecDeque::new()),
                committed_moved: Notify::new(),
                disk_full: Cell::new(false),
                failed: RefCell::new(None),
                checkpoint_wanted: Notify::new(),
                checkpointing: Cell::new(false),
                checkpoint_done: Notify::new(),
                stopping: Rc::new(Cell::new(false)),
                cleaning: Cell::new(false),
                cleaning_done: Notify::new(),
            })
        };
        // The logs are replayed into before the journal takes anything new.
        let mut logs: HashMap<TopicPartition, Opened> = opened.into_iter().map(|log| (log.id, log)).collect();
        let journal = match (journal, replay.take()) {
            (Some(journal), _) => journal,
            (None, Some(mut replay)) => {
                let checkpoint = checkpoint.as_mut().expect("replay comes from a checkpoint");
                replay_into(&mut replay, &mut logs, &memory, &mut report).await?;
                let session = checkpoint.session.max(replay.position().session) + 1;
                // Stored before the session writes anything, so that no number is used twice.
                checkpoint.session = session;
                checkpoint.is_clean = false;
                checkpoint.store(&checkpoint_path).await?;
                replay.into_journal(session).await?
            }
            (None, None) => unreachable!("one of both was made"),
        };
        let shard = make(journal);
        for opened in logs.into_values() {
            let topic = image.topic_by_id(opened.id.topic).expect("opened from this image");
            shard.adopt(opened.id, topic, opened.log, opened.producers);
        }
        if checkpoint.is_none() {
            shard.checkpoint(false).await?;
        }
        shard.start();
        Ok((shard, report))
    }
}

struct Opened {
    id: TopicPartition,
    log: Log,
    producers: Producers,
    foreign_producer_id: Option<ProducerId>,
}

async fn open_logs(
    place: &ShardLocation,
    image: &Image,
    states: Option<HashMap<TopicPartition, PartitionState>>,
    memory: &Rc<Memory>,
) -> Result<Vec<Opened>, StorageError> {
    let has_journal = states.is_some();
    let mut states = states.unwrap_or_default();
    let mut waiting = Vec::new();
    for topic in image.topics() {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let id = TopicPartition { topic: topic.id, partition: index as i32 };
            let is_here = partition.replicas.contains(&place.node);
            if is_here && shard_of(topic.id, index as i32, place.shards) == place.id {
                waiting.push((id, topic.clone(), states.remove(&id)));
            }
        }
    }
    let waiting = Rc::new(RefCell::new(waiting));
    let openers: Vec<_> = (0..OPENERS)
        .map(|_| {
            let (waiting, memory, place) = (waiting.clone(), memory.clone(), place.clone());
            let cluster_id = image.cluster_id.clone();
            runtime::spawn(Class::Foreground, "open log", async move {
                let mut opened = Vec::new();
                loop {
                    let Some((id, topic, state)) = waiting.borrow_mut().pop() else { return Ok(opened) };
                    let known = match &state {
                        Some(state) => Known::Checkpointed(state),
                        None if has_journal => Known::Journaled,
                        None => Known::Nothing,
                    };
                    opened.push(open_log(&place, id, &topic, &cluster_id, known, &memory).await?);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for opener in openers {
        let opened: Result<Vec<Opened>, StorageError> = opener.await;
        all.extend(opened?);
    }
    Ok(all)
}

async fn open_log(
    place: &ShardLocation,
    id: TopicPartition,
    topic: &Topic,
    cluster_id: &str,
    mut known: Known<'_>,
    memory: &Rc<Memory>,
) -> Result<Opened, StorageError> {
    let config = Rc::new(TopicConfig::resolve(&topic.overrides, &place.config));
    let directory = place.data.partition_directory(topic.name.as_str(), id.partition);
    let now_ms = clock::wall_ms();
    let described = make_way(&place.data, topic.name.as_str(), id, cluster_id).await?;
    // What was copied here may have been compacted elsewhere, and the journal has none of it.
    let is_own = described.as_ref().is_some_and(|described| described.cluster_id.as_deref() == Some(cluster_id));
    if matches!(known, Known::Journaled) && !is_own {
        known = Known::Nothing;
    }
    let mut producers = match &known {
        Known::Checkpointed(state) => restore_producers(&state.producers),
        Known::Journaled | Known::Nothing => Producers::default(),
    };
    // The log makes its own index of aborted transactions of what it scans.
    let mut note = |header: &BatchHeader, marker: Option<Marker>| {
        producers.replay(header, marker, now_ms);
    };
    let log = Log::open(&directory, config, known, memory.clone(), &mut note).await?;
    let foreign_producer_id = if is_own { None } else { producers.highest_id(FOREIGN_PRODUCER_ID_LIMIT) };
    if !dir::exists(directory.join(partition_metadata::NAME)) {
        partition_metadata::store(&directory, id.topic, cluster_id).await?;
    }
    Ok(Opened { id, log, producers, foreign_producer_id })
}

async fn replay_into(
    replay: &mut Replay,
    logs: &mut HashMap<TopicPartition, Opened>,
    memory: &Rc<Memory>,
    report: &mut OpenReport,
) -> Result<(), StorageError> {
    let now_ms = clock::wall_ms();
    while let Some(group) = replay.next_group().await? {
        report.groups_replayed += 1;
        report.bytes_replayed += group.header.total_bytes as u64;
        for (entry, batch) in group.entries() {
            // A topic that has been deleted since.
            let Some(opened) = logs.get_mut(&entry.partition) else { continue };
            if entry.kind == EntryKind::LogStart {
                opened.log.replay_log_start(entry.base_offset)?;
                continue;
            }
            let header = BatchHeader::decode(batch).expect("verified by the journal");
            let end = opened.log.end_offset();
            if header.base_offset < end {
                // The segments have it: they were written back, or captured, after the checkpoint's position.
                continue;
            }
            if header.base_offset > end {
                return Err(StorageError::format(
                    "a partition's log",
                    opened.log.directory(),
                    format!(
                        "it ends at offset {end}, and the journal goes on at {}: records are missing",
                        header.base_offset
                    ),
                ));
            }
            let mut tries = 0;
            while !opened.log.reserve(batch.len(), header.records_count as u32, now_ms).await? {
                // Replay may bring more than memory holds; nobody else writes back yet.
                if write_back_all(memory).await? {
                    tries = 0;
                }
                tries += 1;
                if tries > REPLAY_TRIES {
                    return Err(StorageError::Refused(format!(
                        "memory.bytes is too small to replay the journal: {} bytes are in use and none can be given back",
                        memory.used()
                    )));
                }
            }
            let appended = crate::log::AppendedBatch {
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                leader_epoch: header.leader_epoch,
                max_timestamp: header.max_timestamp,
                // At batch precision, as Kafka's own index recovery has it.
                offset_of_max_timestamp: header.last_offset(),
            };
            opened.log.append(&appended, &[batch], now_ms);
            let marker = Marker::parse(&header, &batch[HEADER_BYTES..]);
            if let Some(aborted) = opened.producers.replay(&header, marker, now_ms) {
                opened.log.note_aborted(aborted);
            }
            report.batches_replayed += 1;
        }
    }
    logs.values().try_for_each(|opened| opened.log.require_no_missing_segments())
}

/// Writes what can be written; whether that was anything.
async fn write_back_all(memory: &Rc<Memory>) -> Result<bool, StorageError> {
    let mut has_written = false;
    while let Some(segment) = memory.take_dirty() {
        let before = segment.written();
        segment.write_back(true).await?;
        has_written |= segment.written() > before;
    }
    Ok(has_written)
}
