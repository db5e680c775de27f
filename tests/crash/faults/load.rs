//! A real shard under load in this process, and a ledger of its input and its acknowledgements with their moments.
//!
//! All sizes are small, so that everything happens within a second: journal files of 1 MiB and laps of three, segments
//! of a dozen batches, retention, DeleteRecords, compaction, topics that are created, deleted and recreated under the
//! same name, and overlapping transactions of three producers.

mod ledger;
mod topics;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemill::config::BrokerConfig;
use tidemill::disk::layout::DataDirectory;
use tidemill::log::aborted::OpenTransactions;
use tidemill::metadata::{Delta, Image, ImageUpdate};
use tidemill::model::{LeaderEpoch, NodeId, Offset, ShardId, TopicPartition};
use tidemill::partition::Partition;
use tidemill::partition::append::{AppendRefusal, AppendRequest, ProduceCapabilities, Produced};
use tidemill::partition::fetch::PartitionFetch;
use tidemill::partition::purgatory::Isolation;
use tidemill::partition::transactions::EndTransaction;
use tidemill::record::BatchHeader;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::control::{Ending, Marker};
use tidemill::record::{Records, walk};
use tidemill::runtime::fault::FaultPlan;
use tidemill::runtime::record::Recorder;
use tidemill::runtime::{self, Class, clock, dir};
use tidemill::shard::Shard;
use tidemill::shard::open::{OpenReport, ShardLocation};

use crate::support::chance::Chance;
pub use ledger::{Batch, Found, FoundLog, Keyed, Ledger};
use ledger::{Deletion, Sent};
use topics::without_topic;
pub use topics::{image_with, partitions, with_topic};

const NODE: NodeId = NodeId(1);
const MIB: u64 = 1 << 20;
/// The capabilities of Produce version 9.
const V9: ProduceCapabilities =
    ProduceCapabilities { has_transactions_v2: false, knows_transaction_abortable: false, ..ProduceCapabilities::ALL };
/// Large batches have this size or up to twice as much, so that many cross from one chunk of their log to the next.
const LARGE_BYTES: u64 = 36 << 10;
/// A load without progress for so long hangs.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// The first compaction takes some 20 ms.
const COMPACTED_WITHIN: Duration = Duration::from_secs(5);

/// The directories below a root.
pub fn place(root: &Path, own_journal_dir: bool) -> ShardLocation {
    let data = root.join("data");
    let journal = own_journal_dir.then(|| root.join("journal"));
    for directory in [Some(&data), journal.as_ref()].into_iter().flatten() {
        fs::create_dir_all(directory).expect("the scratch directory can be written");
    }
    let mut config = BrokerConfig::default();
    config.journal_bytes = 3 * MIB;
    config.memory_bytes = Some(64 * MIB);
    config.log_retention_check_interval_ms = 40;
    config.log_cleaner_backoff_ms = 10;
    let data = DataDirectory::new(data, journal);
    ShardLocation {
        id: ShardId(0),
        node: NODE,
        shards: 1,
        layout: 0,
        data,
        config: Arc::new(config),
        journal_file_bytes: MIB,
        // Far longer than a life: the last group of a killed shard is one with records, as the faults count on.
        journal_idle: Duration::from_secs(3600),
    }
}

/// Opens as a node opens its shards: an interrupted deletion is completed first.
pub async fn open(place: &ShardLocation, image: &Arc<Image>) -> Result<(Rc<Shard>, OpenReport), String> {
    let names = dir::list(&place.data.root).map_err(|error| error.to_string())?;
    dir::sync(&place.data.root).await.map_err(|error| error.to_string())?;
    for name in names.iter().filter(|name| name.ends_with("-delete")) {
        dir::remove_all(place.data.root.join(name)).await.map_err(|error| error.to_string())?;
    }
    Shard::open(place.clone(), image.clone()).await.map_err(|error| error.to_string())
}

/// Runs as a node's shard, with less memory.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let config = runtime::Config { recv_buffers: 1, ring_entries: 128, ..runtime::Config::default() };
    runtime::run(config, || future).expect("io_uring is here")
}

// ---- a life -----------------------------------------------------------------------------------------------------

/// The settings of a shard's life.
#[derive(Clone, Default)]
pub struct Load {
    pub seed: u64,
    /// Batches for each partition.
    pub batches: usize,
    /// The largest batch in bytes, apart from the large ones.
    pub batch_bytes_max: u64,
    /// One batch in so many is large enough that the journal writes it from the log's memory; none if it is 0.
    pub large_one_in: u64,
    /// Each batch waits for the acknowledgement of the previous one, so that each is a group.
    pub one_by_one: bool,
    /// Topics are created and deleted.
    pub with_topics: bool,
    /// The life ends with a graceful stop.
    pub stops: bool,
    /// The faults count operations from the end of the open, not from its beginning.
    pub opens_without_faults: bool,
    /// The load lasts until the compacted topic is compacted once, so that each kind of operation occurs.
    pub awaits_compaction: bool,
}

/// The outcome of a life.
#[derive(Default)]
pub struct Life {
    /// The reason why the shard did not open or did not stop.
    pub failure: Option<String>,
    pub has_opened: bool,
    /// The disk events so far; later ones are not awaited.
    pub ended_at: usize,
    pub has_struck: bool,
    /// The bytes of batches that the journal has written from the memory of their logs.
    pub image_bytes: u64,
}

/// Opens the shard, runs a load, records acknowledgements in the ledger, and leaves the disk as a killed process would.
pub fn live(
    place: &ShardLocation,
    ledger: &Rc<RefCell<Ledger>>,
    load: &Load,
    recorder: &Recorder,
    faults: FaultPlan,
) -> Life {
    run(async {
        runtime::record(recorder.clone());
        let mut faults = Some(faults);
        if !load.opens_without_faults {
            runtime::install_faults(faults.take());
        }
        let mut life = Life::default();
        let image = ledger.borrow().image_at(usize::MAX);
        let opened = open(place, &image).await;
        if faults.is_some() {
            runtime::install_faults(faults);
        }
        match opened {
            Err(why) => {
                life.failure = Some(why);
                life.ended_at = recorder.now();
            }
            Ok((shard, _)) => {
                life.has_opened = true;
                let loaded = runtime::timeout(LOAD_WITHIN, give(&shard, ledger, load, recorder)).await;
                life.failure = loaded.unwrap_or_else(|_| Err("the load hangs".into())).err();
                if load.stops {
                    let stopped = runtime::timeout(LOAD_WITHIN, shard.stop()).await;
                    life.failure = match stopped {
                        Ok(stopped) => life.failure.or(stopped.err().map(|failure| failure.to_string())),
                        Err(_) => Some("the stop hangs".into()),
                    };
                }
                life.ended_at = recorder.now();
                let counters = &shard.journal().counters;
                life.image_bytes = counters.batch_bytes.get() - counters.copied_bytes.get();
                // A killed process frees its memory; this process continues, so it frees the shard here.
                shard.retire();
            }
        }
        let faults = runtime::install_faults(None).expect("installed above");
        life.has_struck = faults.has_struck();
        life
    })
}

async fn give(shard: &Rc<Shard>, ledger: &Rc<RefCell<Ledger>>, load: &Load, recorder: &Recorder) -> Result<(), String> {
    let mut chance = Chance::new(load.seed);
    let image = ledger.borrow().image_at(usize::MAX);
    let mut tasks = Vec::new();
    let compact = image.topic("compact").map(|topic| topic.id);
    let start = |id: TopicPartition, seed: u64, batches: usize| {
        let producer = Producer {
            shard: shard.clone(),
            ledger: ledger.clone(),
            recorder: recorder.clone(),
            id,
            chance: Chance::new(seed),
            batch_bytes_max: load.batch_bytes_max,
            large_one_in: load.large_one_in,
            one_by_one: load.one_by_one,
            transactional: (image.topic("txn").map(|topic| topic.id) == Some(id.topic)).then(Transactional::new),
            is_keyed: Some(id.topic) == compact,
        };
        runtime::spawn(Class::Foreground, "producer", producer.run(batches))
    };
    let again = image.topic("again").map(|topic| topic.id);
    let many = image.topic("many").map(|topic| topic.id);
    for id in partitions(&image).into_iter().filter(|id| Some(id.topic) != again) {
        let batches = if Some(id.topic) == many { load.batches / 4 } else { load.batches };
        tasks.push(start(id, chance.next(), batches));
    }
    if let Some(topic) = image.topic("purged") {
        let id = TopicPartition { topic: topic.id, partition: 0 };
        let (shard, ledger, recorder) = (shard.clone(), ledger.clone(), recorder.clone());
        let deletes = delete(shard, ledger, recorder, id, Chance::new(chance.next()), load.batches);
        tasks.push(runtime::spawn(Class::Foreground, "deleter", deletes));
    }
    if load.with_topics {
        // The same name again and again, each time with another topic id.
        for _ in 0..3 {
            let now = ledger.borrow().image_at(usize::MAX);
            let is_there = now.topic("again").is_some();
            let next = if is_there { without_topic(&now, "again") } else { with_topic(&now, "again") };
            ledger.borrow_mut().images.push((recorder.now(), next.clone()));
            let topics_created = next.topic("again").cloned().into_iter().collect();
            let topics_deleted = now.topic("again").cloned().into_iter().collect();
            let delta = Delta { topics_created, topics_deleted, ..Delta::default() };
            let update = ImageUpdate { from: now.index, image: next.clone(), deltas: vec![Arc::new(delta)] };
            shard.apply_image(&update).await;
            shard.offline().into_values().next().map_or(Ok(()), |error| Err(error.to_string()))?;
            if let Some(topic) = next.topic("again") {
                let id = TopicPartition { topic: topic.id, partition: 0 };
                start(id, chance.next(), load.batches / 4).await?;
            }
            runtime::sleep(Duration::from_millis(chance.below(40))).await;
            if chance.one_in(3) {
                shard.request_checkpoint();
            }
        }
    }
    for task in tasks {
        task.await?;
    }
    if let Some(topic) = image.topic("compact").filter(|_| load.awaits_compaction) {
        let id = TopicPartition { topic: topic.id, partition: 0 };
        let compacted = async {
            while shard.failure().is_none() && shard.partition(id).is_some_and(|it| it.cleaned_to() == Offset::ZERO) {
                runtime::sleep(Duration::from_millis(1)).await;
            }
        };
        // A fault can disable the compaction of the log.
        let _ = runtime::timeout(COMPACTED_WITHIN, compacted).await;
    }
    Ok(())
}

/// Deletes records below random offsets from time to time.
async fn delete(
    shard: Rc<Shard>,
    ledger: Rc<RefCell<Ledger>>,
    recorder: Recorder,
    id: TopicPartition,
    mut chance: Chance,
    times: usize,
) -> Result<(), String> {
    for _ in 0..times {
        runtime::sleep(Duration::from_micros(chance.below(4000))).await;
        let Some(partition) = shard.partition(id) else { return Ok(()) };
        let (start, end) = (partition.log_start(), partition.high_watermark());
        // Mostly within the first batches: deleted records cannot be lost, and so test nothing.
        let offset = start + chance.below((end - start + 1) as u64).min(chance.below(60)) as i64;
        let deletion = Deletion { offset: offset.0, asked_at: recorder.now(), acknowledged_at: None };
        let at = {
            let mut ledger = ledger.borrow_mut();
            let deletions = ledger.deletions.entry(id).or_default();
            deletions.push(deletion);
            deletions.len() - 1
        };
        let deleted = shard.delete_records(&[(id, Some(offset))]).await.remove(0);
        let begins = match deleted {
            Ok(begins) => begins,
            Err(_) if shard.failure().is_some() || shard.is_disk_full() => return Ok(()),
            Err(error) => return Err(format!("records cannot be deleted: {error}")),
        };
        if begins < offset {
            return Err(format!("deleted up to {offset}, and the log begins at {begins}"));
        }
        ledger.borrow_mut().deletions.get_mut(&id).expect("noted above")[at].acknowledged_at = Some(recorder.now());
    }
    Ok(())
}

struct Producer {
    shard: Rc<Shard>,
    ledger: Rc<RefCell<Ledger>>,
    recorder: Recorder,
    id: TopicPartition,
    chance: Chance,
    batch_bytes_max: u64,
    large_one_in: u64,
    one_by_one: bool,
    is_keyed: bool,
    transactional: Option<[Transactional; 3]>,
}

/// A transactional producer that lives for one life.
struct Transactional {
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    is_open: bool,
}

impl Transactional {
    fn new() -> [Transactional; 3] {
        // These ids are new.
        [0, 1, 2].map(|nth| Transactional {
            producer_id: clock::wall_ms() * 1000 + i64::from(clock::now().as_nanos() as u32 % 300) * 3 + nth,
            epoch: 0,
            sequence: 0,
            is_open: false,
        })
    }
}

impl Producer {
    /// Produces with several batches in flight. Ends when all are acknowledged, or with the error of one.
    async fn run(mut self, batches: usize) -> Result<(), String> {
        let mut acknowledgements = Vec::new();
        for _ in 0..batches {
            let (produced, sent) = match self.transactional.take() {
                None => self.append().await,
                Some(mut producers) => {
                    let nth = self.chance.below(3) as usize;
                    let appended = self.go_on(&mut producers[nth]).await;
                    self.transactional = Some(producers);
                    appended
                }
            }
            .map_err(|refusal| refusal.message.unwrap_or_else(|| refusal.error.to_string()))?;
            self.ledger.borrow_mut().sent.entry(self.id).or_default().push(sent);
            let (shard, ledger, recorder, id) =
                (self.shard.clone(), self.ledger.clone(), self.recorder.clone(), self.id);
            let acknowledge = async move {
                shard.wait_committed(produced.sequence).await.map_err(|failure| failure.to_string())?;
                let start = shard.partition(id).map(|partition| partition.log_start().0);
                let mut ledger = ledger.borrow_mut();
                ledger.acknowledge(id, produced.base_offset.0, recorder.now());
                ledger.starts.entry(id).or_default().extend(start.map(|start| (recorder.now(), start)));
                Ok::<(), String>(())
            };
            if self.one_by_one {
                acknowledge.await?;
                continue;
            }
            acknowledgements.push(runtime::spawn(Class::Foreground, "acknowledgement", acknowledge));
            if self.chance.one_in(4) {
                runtime::sleep(Duration::from_micros(self.chance.below(3000))).await;
            }
        }
        for acknowledgement in acknowledgements {
            acknowledgement.await?;
        }
        Ok(())
    }

    async fn append(&mut self) -> Result<(Produced, Sent), AppendRefusal> {
        let (bytes, keyed) = self.batch(BatchOptions::default());
        let request = AppendRequest { capabilities: V9, acks: -1, now_ms: clock::wall_ms() };
        let produced = self.shard.produce(self.id, &bytes, &request, None).await?;
        Ok((produced, Sent::of(&produced, &BatchHeader::decode(&bytes).expect("a batch"), keyed)))
    }

    /// One step of a transactional producer: a batch, or the end of its transaction.
    async fn go_on(&mut self, producer: &mut Transactional) -> Result<(Produced, Sent), AppendRefusal> {
        let now_ms = clock::wall_ms();
        if producer.is_open && self.chance.one_in(4) || self.chance.one_in(40) {
            let ending = if self.chance.one_in(2) { Ending::Abort } else { Ending::Commit };
            let marker = Marker { ending, coordinator_epoch: 0 };
            producer.epoch += 1;
            (producer.sequence, producer.is_open) = (0, false);
            let (producer_id, producer_epoch) = (producer.producer_id, producer.epoch);
            let end = EndTransaction { producer_id, producer_epoch, marker, is_v2: true };
            let partition = self.shard.partition(self.id).expect("it is served");
            let produced = self.shard.end_transaction(&partition, &end, now_ms).await?;
            let (header, _) = marker.batch(producer_id, producer_epoch, now_ms, false);
            return Ok((produced, Sent::of(&produced, &header, Vec::new())));
        }
        let (bytes, keyed) = self.batch(BatchOptions {
            is_transactional: true,
            producer_id: producer.producer_id,
            producer_epoch: producer.epoch,
            base_sequence: producer.sequence,
            ..BatchOptions::default()
        });
        let header = BatchHeader::decode(&bytes).expect("a batch");
        let partition = self.shard.partition(self.id).expect("it is served");
        // The coordinator of a node would have added the partition.
        let verification = partition.begin_verification(producer.producer_id, producer.epoch);
        let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms };
        let produced = self.shard.produce(self.id, &bytes, &request, verification.as_deref()).await?;
        (producer.sequence, producer.is_open) = (producer.sequence + header.records_count, true);
        Ok((produced, Sent::of(&produced, &header, keyed)))
    }

    /// A batch and its keys, with offsets relative to the first record.
    fn batch(&mut self, options: BatchOptions) -> (Vec<u8>, Vec<Keyed>) {
        let mut keyed = Vec::new();
        let mut builder = BatchBuilder::new(options);
        let records = 1 + self.chance.below(5);
        let is_large = self.large_one_in > 0 && self.chance.one_in(self.large_one_in);
        let all = if is_large {
            LARGE_BYTES + self.chance.below(LARGE_BYTES)
        } else {
            self.chance.below(self.batch_bytes_max)
        };
        let bytes = 1 + all / records;
        let now_ms = clock::wall_ms();
        for offset in 0..records as i64 {
            let mut value = vec![0; bytes as usize];
            value.chunks_mut(8).for_each(|eight| {
                let length = eight.len();
                eight.copy_from_slice(&self.chance.next().to_le_bytes()[..length]);
            });
            if self.is_keyed {
                let key = self.chance.below(20) as u8;
                let value = (!self.chance.one_in(5)).then_some(&value[..]);
                builder.append(now_ms, Some(&[key]), value, []);
                keyed.push(Keyed { offset, key, value: value.map(crc32c::crc32c) });
            } else {
                builder.append(now_ms, None, Some(&value), []);
            }
        }
        (builder.finish(), keyed)
    }
}

// ---- after ------------------------------------------------------------------------------------------------------

/// Opens the shard on the disk, and reads all records. Retention does not run meanwhile.
pub fn reopen(place: &ShardLocation, image: &Arc<Image>) -> Result<(Found, OpenReport), String> {
    let mut config = BrokerConfig::clone(&place.config);
    config.log_retention_check_interval_ms = 3_600_000;
    let place = ShardLocation { config: Arc::new(config), ..place.clone() };
    run(async {
        let (shard, report) = open(&place, image).await?;
        let mut found = Found::new();
        for id in partitions(image) {
            let partition = shard.partition(id).ok_or("a partition of the image is not served")?;
            found.insert(id, read(&partition).await?);
        }
        shard.retire();
        Ok((found, report))
    })
}

/// Reads all batches of a partition. Its transaction state must match its batches and markers.
async fn read(partition: &Partition) -> Result<FoundLog, String> {
    let name = format!("{}-{}", partition.name, partition.id.partition);
    let start = partition.log_start();
    let (mut open, mut aborted) = (OpenTransactions::default(), Vec::new());
    let mut next = start;
    let (mut batches, mut keyed) = (Vec::new(), Vec::new());
    while next < partition.log_end() {
        let request = PartitionFetch {
            fetch_offset: next,
            bytes_max: 1 << 20,
            current_leader_epoch: LeaderEpoch(-1),
            last_fetched_epoch: LeaderEpoch(-1),
            has_negative_limit: false,
            isolation: Isolation::ReadUncommitted,
            at_least_one: true,
            knows_zstd: true,
        };
        let fetched = partition.fetch(&request).await;
        if fetched.error.is_error() {
            return Err(format!("{name}: offset {next} cannot be read: {}", fetched.error));
        }
        let read = fetched.read;
        if read.bytes == 0 && !partition.is_compacted() {
            return Err(format!("{name}: nothing lies at {next}"));
        }
        let mut bytes = Vec::with_capacity(read.bytes);
        for mut extent in read.extents {
            while extent.bytes() > 0 {
                let part = extent.load(1 << 20).await.map_err(|error| error.to_string())?;
                bytes.extend_from_slice(&part);
                extent.advance(part.len());
            }
        }
        for batch in walk::batches(&bytes) {
            let batch = batch.map_err(|broken| format!("{name}: {broken}"))?;
            if !batch.is_intact() {
                return Err(format!("{name}: torn at {}", batch.header.base_offset));
            }
            let header = &batch.header;
            aborted.extend(open.apply(header, Marker::parse(header, batch.stored_records())).and_then(|e| e.aborted));
            for record in Records::new(header, batch.stored_records()).filter(|_| !header.is_control()) {
                let record = record.map_err(|error| format!("{name}: {error}"))?;
                let key = record.key.and_then(|key| key.first().copied());
                let value = record.value.map(crc32c::crc32c);
                keyed.extend(key.map(|key| Keyed { offset: record.offset.0, key, value }));
            }
            batches.push(Batch {
                base_offset: header.base_offset.0,
                end_offset: header.next_offset().0,
                bytes: batch.bytes.len(),
                crc: header.crc,
            });
        }
        if read.bytes == 0 {
            // Compaction has removed all records behind this offset.
            break;
        }
        next = read.next_offset;
    }
    if partition.high_watermark() != partition.log_end() {
        return Err(format!("{name}: the log is not committed to its end after recovery"));
    }
    // A transaction whose first records retention has removed cannot be checked.
    if start == Offset(0) {
        let stable = open.first_offset().unwrap_or(partition.log_end());
        let indexed = partition.aborted_between(Offset(0), Offset(i64::MAX)).await;
        let indexed = indexed.map_err(|error| error.to_string())?;
        if partition.last_stable_offset() != stable || indexed != aborted {
            return Err(format!(
                "{name}: the last stable offset is {}, by the batches {stable}; \
                 aborted are {indexed:?}, by the batches {aborted:?}",
                partition.last_stable_offset(),
            ));
        }
    }
    Ok(FoundLog { start: start.0, batches, keyed })
}

/// A directory for disk images. It is in memory if there is room, because the images are many and temporary.
pub fn images(what: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("tidemill-{what}-{}", std::process::id()))
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch directory can be written");
    for entry in fs::read_dir(from).expect("a directory of ours") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file of ours");
        }
    }
}
