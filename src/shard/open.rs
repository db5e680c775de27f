//! Opens a shard: loads the checkpoint, opens the logs, and replays the journal into them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use super::{DECODED_BYTES_MAX, LiveConfig, Shard, config, directories, partition_metadata};
use crate::config::{BrokerConfig, TopicConfig};
use crate::disk::StorageError;
use crate::disk::checkpoint::{Checkpoint, CheckpointHead, PartitionState};
use crate::disk::earlier;
use crate::disk::journal::group::EntryKind;
use crate::disk::journal::recover::{Replay, used_file};
use crate::disk::journal::{self, Journal, JournalSettings, Sequence};
use crate::disk::layout::DataDirectory;
use crate::log::Log;
use crate::log::recover::{self, Known};
use crate::log::tail::Memory;
use crate::metadata::owner::shard_of;
use crate::metadata::{Image, Topic};
use crate::model::{NodeId, ProducerId, ShardId, TopicId, TopicPartition};
use crate::partition::flushed::FlushedState;
use crate::partition::producers::Producers;
use crate::partition::{DECODED_BYTES_AT_ONCE, restore_producers};
use crate::record::codec::Decompressor;
use crate::record::control::Marker;
use crate::record::header::{BatchHeader, HEADER_BYTES};
use crate::runtime::buf::BLOCK_BYTES_MAX;
use crate::runtime::sync::{Milestones, Notify};
use crate::runtime::{self, Class, Permits};
use crate::runtime::{clock, dir};

/// With its header, such a group fills exactly one block of the arena. A larger group would be a separate mapping,
/// which is faulted in page by page and unmapped again.
const GROUP_BYTES_MAX: usize = BLOCK_BYTES_MAX - journal::group::HEADER_BYTES;

/// The number of partitions that are opened at the same time.
const OPENERS: usize = 32;
/// The most attempts of replay to reserve memory without a write-back in between. Each attempt examines a few dozen
/// more chunks.
const REPLAY_TRIES: u32 = 10_000;

/// A shard's identity on its node, and the location of its files.
#[derive(Clone)]
pub struct ShardLocation {
    /// The position of the shard on its node, from 0.
    pub id: ShardId,
    /// `node.id`
    pub node: NodeId,
    /// The number of shards of the node.
    pub shards: u16,
    /// The number of the current `layouts/<n>`.
    pub layout: u64,
    /// The paths of the data directory.
    pub data: DataDirectory,
    /// The node's configuration.
    pub config: Arc<BrokerConfig>,
    /// The size of a journal file: [`JOURNAL_FILE_BYTES`](crate::config::broker::JOURNAL_FILE_BYTES) in a node, less in
    /// tests, so that they reach the next lap soon.
    pub journal_file_bytes: u64,
    /// How long the journal is idle before it writes a closing group: [`IDLE`](crate::disk::journal::IDLE) in a node.
    pub journal_idle: Duration,
}

/// No cluster assigns as many producer ids. A client has invented a higher one.
const FOREIGN_PRODUCER_ID_LIMIT: ProducerId = 1 << 40;

/// The result of opening a shard, for the start-up log.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct OpenReport {
    /// Opened partitions.
    pub partitions: usize,
    /// The last stop was graceful, or this is the first start: nothing needed a replay.
    pub was_clean: bool,
    /// Journal groups from the checkpoint's start.
    pub groups_replayed: u64,
    /// Batches that the logs lacked.
    pub batches_replayed: u64,
    /// Bytes of the groups on disk, with headers and padding.
    pub bytes_replayed: u64,
    /// The highest producer id in a log that another cluster wrote.
    pub foreign_producer_id: Option<ProducerId>,
}

impl ShardLocation {
    /// The settings of the shard's journal.
    pub fn journal_settings(&self) -> JournalSettings {
        JournalSettings {
            directory: self.data.journal_directory(self.layout, self.id.0),
            file_bytes: self.journal_file_bytes,
            files_max: (self.config.journal_bytes / self.journal_file_bytes).max(2) as u32,
            group_bytes_max: GROUP_BYTES_MAX.min(self.journal_file_bytes as usize / 4),
            depth: self.config.journal_depth as usize,
            idle: self.journal_idle,
        }
    }
}

/// How far a shard has opened. The shard writes it, and the thread that reports the start reads it.
#[derive(Default)]
pub struct OpenProgress {
    step: AtomicU8,
    logs: AtomicU64,
    logs_opened: AtomicU64,
    groups_replayed: AtomicU64,
    bytes_replayed: AtomicU64,
}

/// The steps of opening a shard, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum OpenStep {
    /// The shard waits for the metadata.
    Waiting,
    /// It reads its checkpoint and opens its journal.
    Journal,
    /// It opens the logs of its partitions.
    Logs,
    /// It replays the journal into the logs.
    Replay,
    /// The logs hold every acknowledged batch.
    Opened,
    /// Clients can connect.
    Serving,
}

impl OpenStep {
    const ALL: [OpenStep; 6] =
        [OpenStep::Waiting, OpenStep::Journal, OpenStep::Logs, OpenStep::Replay, OpenStep::Opened, OpenStep::Serving];
}

impl OpenProgress {
    /// The current step.
    pub fn step(&self) -> OpenStep {
        OpenStep::ALL[usize::from(self.step.load(Relaxed))]
    }

    /// Enters a later step.
    pub fn enter(&self, step: OpenStep) {
        let before = self.step.swap(step as u8, Relaxed);
        assert!(before < step as u8, "the steps of opening a shard have an order");
    }

    /// The logs that are open, and all logs of the shard.
    pub fn logs(&self) -> (u64, u64) {
        (self.logs_opened.load(Relaxed), self.logs.load(Relaxed))
    }

    /// The journal groups that are replayed, and their bytes.
    pub fn replayed(&self) -> (u64, u64) {
        (self.groups_replayed.load(Relaxed), self.bytes_replayed.load(Relaxed))
    }
}

/// The journal, before the logs are replayed.
enum OpenedJournal {
    /// A first start created it.
    New(Rc<Journal>),
    /// A checkpoint names it.
    Existing(Box<Replay>),
}

impl Shard {
    /// Opens the shard's part of the data directory as the image describes it. Once it returns, the logs hold every
    /// acknowledged batch, and the shard's tasks run.
    pub async fn open(location: ShardLocation, image: Arc<Image>) -> Result<(Rc<Shard>, OpenReport), StorageError> {
        Shard::open_with(location, image, Arc::default()).await
    }

    /// As [`open`](Self::open), and reports how far it is.
    pub async fn open_with(
        location: ShardLocation,
        image: Arc<Image>,
        progress: Arc<OpenProgress>,
    ) -> Result<(Rc<Shard>, OpenReport), StorageError> {
        let config = config::resolve(&location.config, &image, location.node, location.id);
        let location = ShardLocation { config: Arc::new(config), ..location };
        progress.enter(OpenStep::Journal);
        assert!(location.id.0 < location.shards, "a shard is one of the node's shards");
        let checkpoint_path = location.data.checkpoint_path(location.layout, location.id.0);
        let mut checkpoint = Checkpoint::load(&checkpoint_path).await?;
        let opened_journal = match &checkpoint {
            None => OpenedJournal::New(create_journal(&location, &checkpoint_path).await?),
            Some(checkpoint) => OpenedJournal::Existing(Box::new(open_journal(&location, &checkpoint.head).await?)),
        };
        // The shard's other memory holds requests that are being received, and journal groups.
        let memory = Memory::new(location.config.log_memory() as usize);
        let mut report = OpenReport {
            was_clean: checkpoint.as_ref().is_none_or(|found| found.head.is_clean),
            ..OpenReport::default()
        };
        let states = checkpoint
            .as_ref()
            .map(|found| found.partitions.iter().map(|state| (state.id(), state.clone())).collect::<HashMap<_, _>>());
        progress.enter(OpenStep::Logs);
        let opened = open_logs(&location, &image, states, &memory, &progress).await?;
        report.partitions = opened.len();
        report.foreign_producer_id = opened.iter().filter_map(|opened| opened.foreign_producer_id).max();

        // Replay into the logs before the journal takes appends.
        let mut logs: HashMap<TopicPartition, OpenedLog> = opened.into_iter().map(|log| (log.id, log)).collect();
        let journal = match opened_journal {
            OpenedJournal::New(journal) => journal,
            OpenedJournal::Existing(mut replay) => {
                let checkpoint = checkpoint.as_mut().expect("a checkpoint names the journal");
                let mut skipped = HashSet::new();
                progress.enter(OpenStep::Replay);
                replay_into(&mut replay, &mut logs, &memory, &mut report, &mut skipped, &progress).await?;
                report_skipped(&skipped, &image);
                let session = checkpoint.head.session.max(replay.position().session) + 1;
                assert!(session > checkpoint.head.session, "a session number is used once");
                // Store the session before it writes its first group, so that no number is used twice.
                checkpoint.head.session = session;
                checkpoint.head.is_clean = false;
                checkpoint.store(&checkpoint_path).await?;
                replay.into_journal(session).await?
            }
        };
        assert_eq!(logs.len(), report.partitions, "replay adds no log");
        let shard = Shard::assemble(&location, &image, journal, memory);
        for opened in logs.into_values() {
            let topic = image.topic_by_id(opened.id.topic).expect("opened from this image");
            let partition = shard.add_partition(opened.id, topic, opened.log, opened.producers);
            partition.restore_flushed(opened.flushed, opened.needs_group);
        }
        if checkpoint.is_none() {
            shard.checkpoint(false).await?;
        }
        shard.start();
        progress.enter(OpenStep::Opened);
        Ok((shard, report))
    }

    fn assemble(location: &ShardLocation, image: &Arc<Image>, journal: Rc<Journal>, memory: Rc<Memory>) -> Rc<Shard> {
        assert_eq!(journal.durable(), journal.last_appended(), "an opened journal has no append in flight");
        Rc::new(Shard {
            id: location.id,
            node: location.node,
            shards: location.shards,
            routing: location.config.routing,
            config: LiveConfig::new(BrokerConfig::clone(&location.config)),
            config_changed: Notify::new(),
            data: location.data.clone(),
            layout: location.layout,
            image: RefCell::new(Rc::new(image.clone())),
            partitions: RefCell::new(HashMap::new()),
            offline: RefCell::default(),
            deleted_traffic: Cell::default(),
            offline_moved: Notify::new(),
            applying: Permits::new(1),
            committed: Cell::new(journal.durable()),
            committed_at: Cell::new(clock::now()),
            journal,
            memory,
            decompressor: RefCell::new(Decompressor::new(DECODED_BYTES_AT_ONCE)),
            decoding: Permits::new(DECODED_BYTES_MAX as u64),
            uncommitted: RefCell::new(VecDeque::new()),
            committed_moved: Milestones::new(),
            disk_full: Cell::new(false),
            failed: RefCell::new(None),
            checkpoint_wanted: Notify::new(),
            checkpointing: Cell::new(false),
            checkpoints: Default::default(),
            checkpoint_done: Notify::new(),
            stopping: Rc::new(Cell::new(false)),
            cleaning: Cell::new(false),
            cleaning_done: Notify::new(),
        })
    }
}

/// Creates the journal of a shard without a checkpoint. Nothing was acknowledged before the first checkpoint, so the
/// files of an unfinished first start are removed.
async fn create_journal(location: &ShardLocation, checkpoint_path: &Path) -> Result<Rc<Journal>, StorageError> {
    let settings = location.journal_settings();
    if dir::exists(&settings.directory) {
        if let Some(used) = used_file(&settings.directory).await? {
            let why = format!(
                "it is missing, and {} holds groups: acknowledged records may be there and nowhere else",
                used.display()
            );
            return Err(StorageError::format("a checkpoint", checkpoint_path, why));
        }
        tracing::warn!(
            "{} is missing, and the journal beside it was never used: the shard begins anew",
            checkpoint_path.display()
        );
        journal::remove(&settings.directory).await?;
    }
    let journal = Journal::create(settings).await?;
    // With `journal.dir` set, the journal's directory is not below the checkpoint's.
    let directory = location.data.shard_directory(location.layout, location.id.0);
    dir::create_all(&directory).await.map_err(StorageError::io("create directory", &directory))?;
    location.data.sync_names(location.layout).await?;
    Ok(journal)
}

/// Opens the journal that a checkpoint names.
async fn open_journal(location: &ShardLocation, checkpoint: &CheckpointHead) -> Result<Replay, StorageError> {
    // The previous process may have been killed between the rename of the checkpoint and this sync. Segments are
    // replaced because this checkpoint names them, so a power failure must not bring an older one back.
    let directory = location.data.shard_directory(location.layout, location.id.0);
    dir::sync(&directory).await.map_err(StorageError::flush("flush directory", &directory))?;
    let settings = location.journal_settings();
    let directory = settings.directory.clone();
    let names = dir::list(&directory).map_err(StorageError::io("list directory", &directory))?;
    for name in names.iter().filter(|name| name.ends_with(".journal")) {
        earlier::wait_for_writes(&directory.join(name)).await?;
    }
    let replay = Replay::open(settings, checkpoint.journal_id, checkpoint.start.into()).await?;
    let (found, expected) = (replay.files_count(), checkpoint.journal_files);
    if found < expected {
        let why = format!("it has {found} files, but had {expected} at the last checkpoint");
        return Err(StorageError::format("a journal", directory, why));
    }
    Ok(replay)
}

/// A log, before the journal is replayed into it.
struct OpenedLog {
    id: TopicPartition,
    log: Log,
    producers: Producers,
    foreign_producer_id: Option<ProducerId>,
    /// The state in the checkpoint. It has the entries of all groups before `holds_before`.
    flushed: Option<FlushedState>,
    holds_before: Sequence,
    /// The first replayed group with an entry of the partition.
    needs_group: Option<Sequence>,
}

/// Opens the logs of the shard's partitions, several at the same time. `states`: the checkpoint's, if there is one.
async fn open_logs(
    location: &ShardLocation,
    image: &Arc<Image>,
    states: Option<HashMap<TopicPartition, PartitionState>>,
    memory: &Rc<Memory>,
    progress: &Arc<OpenProgress>,
) -> Result<Vec<OpenedLog>, StorageError> {
    let has_journal = states.is_some();
    let mut states = states.unwrap_or_default();
    let mut waiting = Vec::new();
    for topic in image.topics() {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let id = TopicPartition { topic: topic.id, partition: index as i32 };
            let is_here = partition.replicas.contains(&location.node);
            if is_here && shard_of(topic.id, index as i32, location.shards) == location.id {
                waiting.push((id, topic.clone(), states.remove(&id)));
            }
        }
    }
    progress.logs.store(waiting.len() as u64, Relaxed);
    let waiting = Rc::new(RefCell::new(waiting));
    let openers: Vec<_> = (0..OPENERS)
        .map(|_| {
            let (waiting, memory, location) = (waiting.clone(), memory.clone(), location.clone());
            let (image, progress) = (image.clone(), progress.clone());
            runtime::spawn(Class::Foreground, "open log", async move {
                let mut opened = Vec::new();
                loop {
                    let Some((id, topic, state)) = waiting.borrow_mut().pop() else { return Ok(opened) };
                    let known = match &state {
                        Some(state) => Known::Checkpointed(state),
                        None if has_journal => Known::Journaled,
                        None => Known::Nothing,
                    };
                    let mut log = open_log(&location, id, &topic, &image, known, &memory).await?;
                    if let Some(state) = state {
                        log.holds_before = Sequence(state.needed_from);
                        log.flushed = Some(FlushedState::restored(state).await?);
                    }
                    opened.push(log);
                    progress.logs_opened.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for opener in openers {
        let opened: Result<Vec<OpenedLog>, StorageError> = opener.await;
        all.extend(opened?);
    }
    Ok(all)
}

async fn open_log(
    location: &ShardLocation,
    id: TopicPartition,
    topic: &Topic,
    image: &Image,
    mut known: Known<'_>,
    memory: &Rc<Memory>,
) -> Result<OpenedLog, StorageError> {
    let config = Rc::new(TopicConfig::resolve(&topic.overrides, &location.config));
    let directory = location.data.partition_directory(topic.name.as_str(), id.partition);
    let now_ms = clock::wall_ms();
    let owner = directories::clear_other_topic(&location.data, topic.name.as_str(), id, image).await?;
    // A log copied from another cluster may have been compacted there, and the journal holds none of its batches.
    let is_own = owner.as_ref().is_some_and(|owner| owner.cluster_id.as_deref() == Some(&image.cluster_id));
    if matches!(known, Known::Journaled) && !is_own {
        known = Known::Nothing;
    }
    let mut producers = match &known {
        Known::Checkpointed(state) => restore_producers(&state.producers),
        Known::Journaled | Known::Nothing => Producers::default(),
    };
    // The log builds its own index of aborted transactions from the batches that it scans.
    let mut note = |header: &BatchHeader, marker: Option<Marker>| {
        producers.replay(header, marker, now_ms);
    };
    recover::wait_for_writes(&directory, &known).await?;
    let log = Log::open(&directory, config, known, memory.clone(), &mut note).await?;
    let foreign_producer_id = if is_own { None } else { producers.highest_id(FOREIGN_PRODUCER_ID_LIMIT) };
    if !dir::exists(directory.join(partition_metadata::NAME)) {
        partition_metadata::store(&directory, id.topic, &image.cluster_id).await?;
    }
    let (flushed, holds_before, needs_group) = (None, Sequence::ZERO, None);
    Ok(OpenedLog { id, log, producers, foreign_producer_id, flushed, holds_before, needs_group })
}

/// Logs the topics whose batches were skipped, unless the metadata log has deleted them.
fn report_skipped(skipped: &HashSet<TopicId>, image: &Image) {
    for id in skipped.iter().filter(|id| !image.deleted_topics.contains(**id)) {
        tracing::error!(
            "the journal holds records of topic id {id}, which the metadata log neither contains nor has deleted \
             lately: they are not served"
        );
    }
}

/// Replays the journal to its end into the logs. `skipped` gets the topics that no log is of: they were deleted since.
async fn replay_into(
    replay: &mut Replay,
    logs: &mut HashMap<TopicPartition, OpenedLog>,
    memory: &Rc<Memory>,
    report: &mut OpenReport,
    skipped: &mut HashSet<TopicId>,
    progress: &OpenProgress,
) -> Result<(), StorageError> {
    let now_ms = clock::wall_ms();
    while let Some(group) = replay.next_group().await? {
        report.groups_replayed += 1;
        report.bytes_replayed += group.header.total_bytes as u64;
        progress.groups_replayed.store(report.groups_replayed, Relaxed);
        progress.bytes_replayed.store(report.bytes_replayed, Relaxed);
        for (entry, batch) in group.entries() {
            let Some(opened) = logs.get_mut(&entry.partition) else {
                skipped.insert(entry.partition.topic);
                continue;
            };
            let sequence = group.header.identity.sequence;
            // The replay starts at the first group that any partition needs, and the states are of later moments.
            if sequence < opened.holds_before {
                continue;
            }
            opened.needs_group.get_or_insert(sequence);
            if entry.kind == EntryKind::LogStart {
                opened.log.replay_log_start(entry.base_offset)?;
                continue;
            }
            let header = BatchHeader::decode(batch).expect("verified by the journal");
            let end = opened.log.end_offset();
            if header.base_offset < end {
                // The state was captured when this group was open, or the files were scanned without a state.
                continue;
            }
            if header.base_offset > end {
                return Err(StorageError::format(
                    "a partition's log",
                    opened.log.directory(),
                    format!(
                        "it ends at offset {end}, and the journal continues at {}: records are missing",
                        header.base_offset
                    ),
                ));
            }
            let mut tries = 0;
            while !opened.log.reserve(batch.len(), header.records_count as u32, now_ms).await? {
                // The journal may hold more than memory, and the write-back tasks do not run yet.
                if write_back_all(memory).await? {
                    tries = 0;
                }
                tries += 1;
                if tries > REPLAY_TRIES {
                    return Err(StorageError::Refused(format!(
                        "memory.bytes is too small to replay the journal: {} bytes are in use and none can be freed",
                        memory.used()
                    )));
                }
            }
            let appended = crate::log::AppendedBatch {
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                leader_epoch: header.leader_epoch,
                max_timestamp: header.max_timestamp,
                // The batch's last record, as in Kafka's own index recovery.
                offset_of_max_timestamp: header.last_offset(),
            };
            opened.log.append(&appended, &[batch], now_ms);
            assert_eq!(opened.log.end_offset(), header.last_offset() + 1, "PART-3: the log gets the journal's batch");
            let marker = Marker::parse(&header, &batch[HEADER_BYTES..]);
            if let Some(aborted) = opened.producers.replay(&header, marker, now_ms) {
                opened.log.note_aborted(aborted);
            }
            report.batches_replayed += 1;
        }
    }
    logs.values().try_for_each(|opened| opened.log.require_no_missing_segments())
}

/// Writes every dirty segment back. True: some bytes were written.
async fn write_back_all(memory: &Rc<Memory>) -> Result<bool, StorageError> {
    let mut has_written = false;
    while let Some(segment) = memory.take_dirty() {
        has_written |= segment.write_back(true).await? > 0;
    }
    Ok(has_written)
}
