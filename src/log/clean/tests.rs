//! Tests of compaction: the filter batch by batch, and whole logs against a model, with restarts in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use proptest::prelude::*;

use super::filter::LastRecord;
use super::*;
use crate::config::{CleanupPolicy, TopicConfig};
use crate::disk::checkpoint::PartitionState;
use crate::log::AppendedBatch;
use crate::log::aborted::{AbortedTransaction, OpenTransactions};
use crate::log::read::ReadRequest;
use crate::log::recover::Known;
use crate::log::tests::compacting;
use crate::model::LeaderEpoch;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::record::control::{self, Ending};
use crate::record::walk::batches;
use crate::runtime::{self, Config};

const NOW_MS: i64 = 1_000_000;
const RETENTION_MS: i64 = 1_000;

// ---- the filter -------------------------------------------------------------------------------------------------

/// A batch of these keys and values; the value "-" makes a tombstone.
fn batch(base_offset: Offset, options: BatchOptions, records: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, ..options });
    for (n, (key, value)) in records.iter().enumerate() {
        let value = (*value != "-").then_some(value.as_bytes());
        builder.append(NOW_MS - 50 + n as i64, Some(key.as_bytes()), value, []);
    }
    builder.finish()
}

fn plain() -> BatchOptions {
    BatchOptions::default()
}

fn transactional(producer_id: i64) -> BatchOptions {
    BatchOptions { producer_id, producer_epoch: 0, base_sequence: 0, is_transactional: true, ..plain() }
}

/// A transaction's marker. KIP-98: version 0 and type, then the coordinator's epoch.
fn marker(base_offset: Offset, producer_id: i64, commits: bool) -> Vec<u8> {
    let options = BatchOptions { base_sequence: -1, is_control: true, base_offset, ..transactional(producer_id) };
    let mut builder = BatchBuilder::new(options);
    builder.append(NOW_MS, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0, 0, 0, 0, 0, 9]), []);
    builder.finish()
}

fn keys(latest: &[(&str, Offset)], up_to: Offset) -> Keys {
    let mut keys = Keys::new(0.9);
    keys.add(AlignedBuf::alloc(4096).unwrap(), 100);
    let mut latest = latest.to_vec();
    latest.sort_by_key(|(_, offset)| *offset);
    latest.into_iter().for_each(|(key, offset)| assert!(keys.put(key.as_bytes(), offset)));
    keys.reached(up_to);
    keys
}

fn filter(keys: Keys, producers: LastRecords, now_ms: i64) -> Filter {
    let rules = Rules { keys, producers, now_ms, delete_retention_ms: RETENTION_MS, end: Offset(1000) };
    Filter::new(rules, Decompressor::new(1 << 20))
}

fn judge(filter: &mut Filter, bytes: &[u8]) -> Verdict {
    filter.judge(&batch_at(bytes, 0).unwrap()).unwrap()
}

/// The rest of a batch: its header, and the offset and key of each record.
fn left(verdict: &Verdict, of: &[u8]) -> Option<(BatchHeader, Vec<(Offset, String)>)> {
    let bytes = match verdict {
        Verdict::Keep => of,
        Verdict::Rewrite(bytes) => bytes,
        Verdict::Drop => return None,
    };
    let batch = batch_at(bytes, 0).unwrap();
    assert!(batch.is_intact() && batch.bytes.len() == bytes.len());
    let mut decompressor = Decompressor::new(1 << 20);
    let plain = decompressor.records(&batch.header, batch.stored_records()).unwrap();
    let records = Records::new(&batch.header, plain).map(Result::unwrap);
    let kept = records.map(|r| (r.offset, String::from_utf8_lossy(r.key.unwrap_or_default()).into_owned()));
    Some((batch.header, kept.collect()))
}

#[test]
fn clean_1_last_record_of_a_key_stays_at_its_offset() {
    let mut f = filter(
        keys(&[("a", Offset(12)), ("b", Offset(11)), ("c", Offset(20))], Offset(20)),
        LastRecords::new(),
        NOW_MS,
    );
    let whole = batch(Offset(10), plain(), &[("a", "1"), ("b", "2"), ("a", "3"), ("x", "4")]);
    let (header, records) = left(&judge(&mut f, &whole), &whole).unwrap();
    // A record stays if the map does not have its key.
    assert_eq!(records, [(Offset(11), "b".into()), (Offset(12), "a".into()), (Offset(13), "x".into())]);
    assert_eq!((header.base_offset, header.last_offset(), header.delete_horizon_ms()), (Offset(10), Offset(13), None));
    assert_eq!(judge(&mut f, &batch(Offset(14), plain(), &[("c", "5")])), Verdict::Drop);
    assert_eq!(judge(&mut f, &batch(Offset(20), plain(), &[("c", "6")])), Verdict::Keep);
    // Records behind the offsets that the map covers stay.
    assert_eq!(judge(&mut f, &batch(Offset(21), plain(), &[("c", "7"), ("c", "8")])), Verdict::Keep);
}

#[test]
fn record_without_a_key_is_dropped() {
    let mut f = filter(keys(&[], Offset(20)), LastRecords::new(), NOW_MS);
    let mut builder = BatchBuilder::new(plain());
    builder.append(NOW_MS, None, Some(b"without a key"), []);
    assert_eq!(judge(&mut f, &builder.finish()), Verdict::Drop);
}

#[test]
fn clean_2_tombstone_stays_for_the_retention_time_after_its_first_round() {
    for codec in Codec::ALL {
        let known = || keys(&[("a", Offset(10)), ("b", Offset(11))], Offset(20));
        let fresh = batch(Offset(10), BatchOptions { codec, ..plain() }, &[("a", "-"), ("b", "2")]);
        let (header, records) = left(&judge(&mut filter(known(), LastRecords::new(), NOW_MS), &fresh), &fresh).unwrap();
        assert_eq!((header.delete_horizon_ms(), records.len()), (Some(NOW_MS + RETENTION_MS), 2), "{codec:?}");
        let Verdict::Rewrite(stamped) = judge(&mut filter(known(), LastRecords::new(), NOW_MS), &fresh) else {
            panic!("it has a horizon now");
        };
        let later = |now_ms| judge(&mut filter(known(), LastRecords::new(), now_ms), &stamped);
        assert_eq!(later(NOW_MS + RETENTION_MS - 1), Verdict::Keep, "its horizon does not move");
        let (header, records) = left(&later(NOW_MS + RETENTION_MS), &stamped).unwrap();
        assert_eq!(records, [(Offset(11), "b".into())]);
        assert_eq!(
            header.delete_horizon_ms(),
            Some(NOW_MS + RETENTION_MS),
            "it stays, as in Kafka, although no tombstone needs it"
        );
    }
}

#[test]
fn clean_2_retention_time_begins_when_the_map_covers_the_whole_batch() {
    let fresh = batch(Offset(10), plain(), &[("a", "-"), ("b", "-")]);
    let check = |latest: &[(&str, Offset)], up_to, horizon| {
        let verdict = judge(&mut filter(keys(latest, up_to), LastRecords::new(), NOW_MS), &fresh);
        let (header, records) = left(&verdict, &fresh).unwrap();
        assert_eq!((header.delete_horizon_ms(), records.len()), (horizon, 2), "a map up to {up_to}");
    };
    // The map ends before the tombstones: records that they delete may still exist.
    check(&[("z", Offset(5))], Offset(5), None);
    // A batch has one horizon, and the map does not cover its second tombstone.
    check(&[("a", Offset(10))], Offset(10), None);
    check(&[("a", Offset(10)), ("b", Offset(11))], Offset(11), Some(NOW_MS + RETENTION_MS));
}

#[test]
fn clean_2_aborted_records_are_dropped_and_their_marker_after_the_retention_time() {
    let aborted = AbortedTransaction {
        producer_id: 7,
        first_offset: Offset(10),
        last_offset: Offset(13),
        last_stable_offset: Offset(14),
    };
    let known = || keys(&[("a", Offset(20))], Offset(20));
    let (data, end) = (batch(Offset(10), transactional(7), &[("k", "1"), ("l", "-")]), marker(Offset(13), 7, false));
    let other = batch(Offset(12), transactional(8), &[("m", "1")]);
    let mut f = filter(known(), LastRecords::new(), NOW_MS);
    f.transactions.expect(Offset(10), &[aborted]);
    assert_eq!(judge(&mut f, &data), Verdict::Drop);
    assert_eq!(judge(&mut f, &other), Verdict::Keep, "its transaction was committed");
    assert_eq!(judge(&mut f, &end), Verdict::Keep, "a reader of the records needs the marker");
    assert_eq!(f.aborted, [aborted]);
    // Next round: no record of the transaction is left, so the marker's retention time begins.
    let mut f = filter(known(), LastRecords::new(), NOW_MS);
    f.transactions.expect(Offset(10), &[aborted]);
    let Verdict::Rewrite(stamped) = judge(&mut f, &end) else { panic!("it has a horizon now") };
    assert_eq!(left(&Verdict::Keep, &stamped).unwrap().0.delete_horizon_ms(), Some(NOW_MS + RETENTION_MS));
    assert!(f.aborted.is_empty());
    for (now_ms, expected) in [(NOW_MS + RETENTION_MS - 1, Verdict::Keep), (NOW_MS + RETENTION_MS, Verdict::Drop)] {
        assert_eq!(judge(&mut filter(known(), LastRecords::new(), now_ms), &stamped), expected);
    }
}

#[test]
fn commit_marker_stays_in_a_round_that_reads_a_batch_of_its_transaction() {
    let commit = marker(Offset(13), 7, true);
    let mut f = filter(keys(&[("k", Offset(30))], Offset(30)), LastRecords::new(), NOW_MS);
    // The round has read a batch, even if it drops it: the marker stays until a later round.
    assert_eq!(judge(&mut f, &batch(Offset(10), transactional(7), &[("k", "1")])), Verdict::Drop);
    assert_eq!(judge(&mut f, &commit), Verdict::Keep);
    assert!(matches!(judge(&mut f, &commit), Verdict::Rewrite(_)), "no batch of its transaction comes before it");
}

#[test]
fn clean_3_last_batch_of_a_producer_stays_by_its_header() {
    let options = BatchOptions { producer_id: 7, producer_epoch: 2, base_sequence: 5, codec: Codec::Lz4, ..plain() };
    let known = || keys(&[("k", Offset(30))], Offset(30));
    let (first, last) =
        (batch(Offset(10), options, &[("k", "1")]), batch(Offset(11), options, &[("k", "2"), ("k", "3")]));
    let producers = LastRecords::from([(7, LastRecord { offset: Some(Offset(12)), epoch: 2 })]);
    let mut f = filter(known(), producers.clone(), NOW_MS);
    assert_eq!(judge(&mut f, &first), Verdict::Drop);
    let Verdict::Rewrite(empty) = judge(&mut f, &last) else { panic!("its records are dropped") };
    let (header, records) = left(&Verdict::Keep, &empty).unwrap();
    assert!(records.is_empty());
    assert_eq!((header.last_offset(), header.last_sequence(), header.producer_epoch), (Offset(12), 6, 2));
    assert_eq!(judge(&mut filter(known(), producers, NOW_MS), &empty), Verdict::Keep);
    // The producer has written a later batch.
    let moved = LastRecords::from([(7, LastRecord { offset: Some(Offset(40)), epoch: 2 })]);
    assert_eq!(judge(&mut filter(known(), moved, NOW_MS), &empty), Verdict::Drop);
    // If a marker is the last batch, the marker keeps the epoch.
    let fenced = LastRecords::from([(7, LastRecord { offset: None, epoch: 0 })]);
    let mut builder = filter(known(), fenced.clone(), NOW_MS);
    let Verdict::Rewrite(stamped) = judge(&mut builder, &marker(Offset(13), 7, true)) else {
        panic!("it has a horizon now")
    };
    let late = judge(&mut filter(known(), fenced, NOW_MS + RETENTION_MS), &stamped);
    assert!(left(&late, &stamped).unwrap().1.is_empty());
}

#[test]
fn last_batch_of_a_round_stays_by_its_header() {
    let mut f = filter(keys(&[("k", Offset(2000))], Offset(2000)), LastRecords::new(), NOW_MS);
    let last = batch(Offset(998), plain(), &[("k", "1"), ("k", "2")]);
    let (header, records) = left(&judge(&mut f, &last), &last).unwrap();
    assert!(records.is_empty() && header.next_offset() == Offset(1000));
}

// ---- whole logs -------------------------------------------------------------------------------------------------

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-clean-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const MEMORY_BYTES: usize = 8 << 20;

fn resources() -> CleaningResources {
    CleaningResources {
        pace: Pace::new(f64::MAX),
        buffer_bytes: 16 << 10,
        keys_bytes_max: 1 << 20,
        load_factor: 0.9,
        decoded_bytes_max: 1 << 20,
        stopping: Rc::default(),
    }
}

fn settings() -> TopicConfig {
    TopicConfig {
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: RETENTION_MS,
        index_interval_bytes: 200,
        ..compacting()
    }
}

/// A log's records as (offset, key, value).
type Row = (Offset, Vec<u8>, Option<Vec<u8>>);

struct Bench {
    log: Log,
    memory: Rc<Memory>,
    written: Vec<Row>,
    transactions: OpenTransactions,
    /// The offsets of the records in each producer's open transaction.
    of_producer: [Vec<Offset>; 3],
    aborted: HashSet<Offset>,
}

impl Bench {
    async fn new(directory: &Path) -> Bench {
        let memory = Memory::new(MEMORY_BYTES);
        let log = Log::create(directory, Rc::new(settings()), memory.clone()).await.unwrap();
        Bench {
            log,
            memory,
            written: Vec::new(),
            transactions: OpenTransactions::default(),
            of_producer: Default::default(),
            aborted: HashSet::new(),
        }
    }

    /// Four sealed segments of ten batches each, all of the same keys and in a stored checkpoint: 200 records.
    async fn of_four_segments(directory: &Path) -> Bench {
        let mut bench = Bench::new(directory).await;
        for n in 0..40 {
            bench.append(Codec::None, &[(n % 4, Some(n)); 5]).await;
            if n % 10 == 9 {
                bench.log.roll();
            }
        }
        bench.store_checkpoint().await;
        bench
    }

    async fn append(&mut self, codec: Codec, records: &[(u8, Option<u8>)]) {
        self.append_of(BatchOptions { codec, ..plain() }, records).await;
    }

    async fn append_of(&mut self, options: BatchOptions, records: &[(u8, Option<u8>)]) {
        let base_offset = self.log.end_offset();
        let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch: LeaderEpoch(0), ..options });
        for (n, (key, value)) in records.iter().enumerate() {
            let row = (base_offset + n as i64, vec![b'k', *key], value.map(|value| vec![value; 20]));
            builder.append(NOW_MS + row.0.0, Some(&row.1), row.2.as_deref(), []);
            self.written.push(row);
        }
        if options.is_transactional {
            self.transactions.note(options.producer_id, base_offset);
            self.of_producer[options.producer_id as usize].extend((0..records.len() as i64).map(|n| base_offset + n));
        }
        self.append_bytes(&builder.finish(), base_offset, base_offset + records.len() as i64 - 1).await;
    }

    /// Appends a producer's marker, with or without an open transaction.
    async fn end(&mut self, producer_id: i64, ending: Ending) {
        let offset = self.log.end_offset();
        let (header, records) = control::Marker { ending, coordinator_epoch: 0 }.batch(producer_id, 0, NOW_MS, false);
        let header = BatchHeader { base_offset: offset, leader_epoch: LeaderEpoch(0), ..header };
        self.append_bytes(&[&header.encode(), &records[..]].concat(), offset, offset).await;
        let ended = self.transactions.end(producer_id, ending, offset);
        let written = std::mem::take(&mut self.of_producer[producer_id as usize]);
        if let Some(aborted) = ended.and_then(|ended| ended.aborted) {
            self.log.note_aborted(aborted);
            self.aborted.extend(written);
        }
    }

    async fn append_bytes(&mut self, bytes: &[u8], base_offset: Offset, last_offset: Offset) {
        let records = (last_offset - base_offset + 1) as u32;
        assert!(self.log.reserve(bytes.len(), records, NOW_MS).await.unwrap());
        let appended = AppendedBatch {
            base_offset,
            last_offset,
            leader_epoch: LeaderEpoch(0),
            max_timestamp: NOW_MS + last_offset.0,
            offset_of_max_timestamp: last_offset,
        };
        self.log.append(&appended, &[bytes], NOW_MS);
    }

    fn stable_offset(&self) -> Offset {
        self.transactions.first_offset().unwrap_or(self.log.end_offset())
    }

    /// The state of the log that a checkpoint stores; flushes the log.
    async fn checkpoint(&self) -> PartitionState {
        let active = self.log.active();
        let state = PartitionState {
            topic: [1; 16],
            partition: 0,
            log_start_offset: self.log.start_offset(),
            sealed: self.log.sealed(),
            cleaned_to: self.log.cleaned_to(),
            segment_base_offset: active.base_offset,
            segment_position: active.size(),
            end_offset: self.log.end_offset(),
            segment_max_timestamp: active.times().max_timestamp,
            segment_offset_of_max_timestamp: active.times().offset_of_max,
            segment_first_append_ms: active.times().first_append_ms,
            segment_aborted: active.aborted_count() as u32,
            leader_epochs: self.log.epochs().entries().to_vec(),
            producers: Vec::new(),
        };
        self.log.flush().await.unwrap();
        state
    }

    /// Stores a checkpoint.
    async fn store_checkpoint(&self) {
        let state = self.checkpoint().await;
        self.log.checkpoint_stored(&state).await.unwrap();
    }

    /// Stores checkpoints until no swap is pending.
    async fn finish_swaps(&self) {
        while self.log.is_swap_pending() {
            self.store_checkpoint().await;
        }
    }

    /// Begins a round over the offsets below `end`.
    async fn begin(&self, end: Offset) -> Round {
        let plan = self.log.plan_cleaning(end, NOW_MS).await.unwrap().unwrap();
        self.log.begin_cleaning(&plan, LastRecords::new(), NOW_MS, &resources()).await.unwrap()
    }

    /// Compacts as much as possible. Returns the end of the compacted part.
    async fn clean(&self, now_ms: i64, resources: &CleaningResources) -> Option<Offset> {
        self.store_checkpoint().await;
        if self.log.cleaning_needs_checkpoint() {
            self.store_checkpoint().await;
        }
        assert!(!self.log.cleaning_needs_checkpoint());
        let plan = self.log.plan_cleaning(self.stable_offset(), now_ms).await.unwrap()?;
        let mut round = self.log.begin_cleaning(&plan, LastRecords::new(), now_ms, resources).await.unwrap();
        loop {
            let is_last = self.log.clean(&mut round, resources).await.unwrap();
            self.finish_swaps().await;
            if is_last {
                return Some(self.log.cleaned_to());
            }
        }
    }

    /// Reopens the log from a checkpoint, as a restart does.
    async fn reopen(&mut self) {
        self.store_checkpoint().await;
        let state = self.checkpoint().await;
        let directory = self.log.directory().to_owned();
        self.log.discard();
        let known = Known::Checkpointed(&state);
        let log = Log::open(&directory, Rc::new(settings()), known, self.memory.clone(), &mut |_, _| {}).await;
        self.log = log.unwrap();
    }

    /// The records that a read-committed consumer gets. Checks that no aborted record is left below `end`. In the
    /// segment in which a full map ended, aborted records behind `end` may stay for the next round.
    async fn read_committed(&self, end: Offset) -> Vec<Row> {
        let mut rows = self.read().await;
        rows.retain(|row| {
            let is_aborted = self.aborted.contains(&row.0);
            assert!(!is_aborted || row.0 >= end, "{row:?} was aborted, and is below the compacted end {end}");
            !is_aborted
        });
        rows
    }

    async fn read(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut decompressor = Decompressor::new(1 << 20);
        for bytes in read_bytes(&self.log).await {
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                assert!(batch.is_intact());
                if batch.header.is_control() {
                    continue;
                }
                let plain = decompressor.records(&batch.header, batch.stored_records()).unwrap();
                rows.extend(Records::new(&batch.header, plain).map(|record| {
                    let record = record.unwrap();
                    assert_eq!(record.timestamp, NOW_MS + record.offset.0, "records keep their times");
                    (record.offset, record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec))
                }));
            }
        }
        rows
    }
}

/// All bytes of a log, as a consumer reads them, across gaps.
async fn read_bytes(log: &Log) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut from = log.start_offset();
    while from < log.end_offset() {
        let limit = log.end_offset();
        let request = ReadRequest { from, bytes_max: 4096, limit, at_least_one: true, knows_zstd: true };
        let read = log.read(&request).await.unwrap();
        if read.bytes == 0 {
            break;
        }
        assert!(read.next_offset > from);
        from = read.next_offset;
        let mut bytes = Vec::new();
        for mut extent in read.extents {
            while extent.bytes() > 0 {
                let part = extent.load(1 << 20).await.unwrap();
                bytes.extend_from_slice(&part);
                extent.advance(part.len());
            }
        }
        all.push(bytes);
    }
    all
}

/// The model: below `end` the last record of each key that was not aborted, and all records from `end` on.
/// `drops_tombstones`: without the tombstones below `end`.
fn survivors(bench: &Bench, end: Offset, drops_tombstones: bool) -> Vec<Row> {
    let mut last: HashMap<&[u8], Offset> = HashMap::new();
    for (offset, key, _) in bench.written.iter().filter(|row| row.0 < end && !bench.aborted.contains(&row.0)) {
        last.insert(key, *offset);
    }
    let is_last = |row: &Row| last.get(&row.1[..]) == Some(&row.0);
    let stays = |row: &&Row| row.0 >= end || (is_last(row) && !(drops_tombstones && row.2.is_none()));
    bench.written.iter().filter(stays).filter(|row| !bench.aborted.contains(&row.0)).cloned().collect()
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<(u8, Option<u8>)>),
    InTransaction(i64, Vec<(u8, Option<u8>)>),
    End(i64, Ending),
    Roll,
    Clean,
    /// With a map for this many keys.
    CleanNarrowly(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..12u8, prop::option::weighted(0.8, any::<u8>()));
    let transacted = record.clone();
    prop_oneof![
        8 => (0..5usize, prop::collection::vec(record, 1..30))
            .prop_map(|(codec, records)| Step::Append(codec, records)),
        4 => (0..3i64, prop::collection::vec(transacted, 1..10))
            .prop_map(|(id, records)| Step::InTransaction(id, records)),
        4 => (0..3i64, any::<bool>()).prop_map(|(id, commits)| {
            Step::End(id, if commits { Ending::Commit } else { Ending::Abort })
        }),
        4 => Just(Step::Roll),
        2 => Just(Step::Clean),
        1 => (2..8usize).prop_map(Step::CleanNarrowly),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn clean_1_repeated_compaction_matches_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let scratch = Scratch::new("model");
        runtime::run(Config::default(), async || {
            let mut bench = Bench::new(&scratch.0).await;
            let mut end = Offset(0);
            for step in &steps {
                match step {
                    Step::Append(codec, records) => bench.append(Codec::ALL[*codec], records).await,
                    Step::InTransaction(id, records) => bench.append_of(transactional(*id), records).await,
                    Step::End(id, ending) => bench.end(*id, *ending).await,
                    Step::Roll => bench.log.roll(),
                    Step::Clean => end = bench.clean(NOW_MS, &resources()).await.unwrap_or(end),
                    Step::CleanNarrowly(keys) => {
                        let narrow = CleaningResources { keys_bytes_max: keys * SLOT_BYTES, ..resources() };
                        end = bench.clean(NOW_MS, &narrow).await.unwrap_or(end);
                    }
                    Step::Reopen => bench.reopen().await,
                }
                let left = bench.read_committed(end).await;
                assert_eq!(left, survivors(&bench, end, false), "after {step:?}, up to {end}");
            }
            for id in 0..3 {
                bench.end(id, Ending::Abort).await;
            }
            // Seal all; after their retention time, the next round drops the tombstones.
            bench.append(Codec::None, &[(0, Some(1))]).await;
            bench.log.roll();
            end = Offset((bench.clean(NOW_MS, &resources()).await.unwrap()).0);
            bench.append(Codec::None, &[(100, Some(1))]).await;
            bench.log.roll();
            end = Offset((bench.clean(NOW_MS + RETENTION_MS, &resources()).await.unwrap_or(Offset(end.0))).0);
            assert_eq!(end, bench.log.end_offset());
            assert_eq!(bench.read_committed(end).await, survivors(&bench, Offset(end.0), true));
            assert!(scratch.names(".cleaned").is_empty() && scratch.names(".swap").is_empty());
            let expected = 1 + usize::from(bench.log.active().written() > 0);
            assert_eq!(scratch.names(".log").len(), expected, "all segments became one");
        }).unwrap();
    }
}

#[test]
fn reader_of_a_replaced_segment_gets_the_old_bytes() {
    let scratch = Scratch::new("reader");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        for n in 0..100 {
            bench.append(Codec::None, &[(n % 3, Some(n)); 20]).await;
            if n % 30 == 29 {
                bench.log.roll();
            }
        }
        bench.log.flush().await.unwrap();
        // Evict everything: later reads come from the file.
        bench.memory.evict(MEMORY_BYTES);
        bench.log.evict_idle();
        let request = ReadRequest {
            from: Offset(0),
            bytes_max: 1 << 20,
            limit: Offset(2000),
            at_least_one: true,
            knows_zstd: true,
        };
        let mut held = bench.log.read(&request).await.unwrap().extents;
        bench.memory.evict(MEMORY_BYTES);
        let before: Vec<Row> = bench.written.clone();
        let places: Vec<_> = held.iter().map(|extent| extent.location()).collect();
        assert_eq!(bench.clean(NOW_MS, &resources()).await, Some(Offset(1800)));
        bench.memory.evict(MEMORY_BYTES);
        bench.log.evict_idle();
        // Once by the extents held, and once by location, as another core reads.
        let named = places.into_iter().map(|(segment, positions)| bench.log.extent(segment, positions).unwrap());
        held.extend(named.collect::<Vec<_>>());
        let mut offsets = Vec::new();
        for mut extent in held {
            let mut bytes = Vec::new();
            while extent.bytes() > 0 {
                let part = extent.load(1 << 20).await.unwrap();
                bytes.extend_from_slice(&part);
                extent.advance(part.len());
            }
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                assert!(batch.is_intact());
                offsets.extend(batch.header.base_offset.0..batch.header.next_offset().0);
            }
        }
        let expected: Vec<_> = before.iter().map(|row| row.0.0).take(offsets.len() / 2).collect();
        assert!(offsets.len() / 2 >= 600, "{} offsets", offsets.len());
        assert_eq!(offsets, [expected.clone(), expected].concat());
        assert_eq!(bench.read().await, survivors(&bench, Offset(1800), false));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn damaged_batch_ends_the_compaction_and_loses_no_record() {
    let scratch = Scratch::new("damaged");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        for n in 0..20 {
            bench.append(Codec::None, &[(n, Some(n)); 5]).await;
        }
        bench.log.roll();
        bench.store_checkpoint().await;
        let path = scratch.0.join("00000000000000000000.log");
        let before = std::fs::read(&path).unwrap();
        let second = before.len() / 20;
        for (at, expected) in [(second + 100, "does not match its CRC"), (second + 3, "has offsets from")] {
            let mut damaged = before.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let plan = bench.log.plan_cleaning(Offset(100), NOW_MS).await.unwrap().unwrap();
            let outcome = bench.log.begin_cleaning(&plan, LastRecords::new(), NOW_MS, &resources()).await;
            assert!(outcome.is_err_and(|error| error.to_string().contains(expected)));
            std::fs::write(&path, &before).unwrap();
            let mut round = bench.log.begin_cleaning(&plan, LastRecords::new(), NOW_MS, &resources()).await.unwrap();
            std::fs::write(&path, &damaged).unwrap();
            assert!(bench.log.clean(&mut round, &resources()).await.is_err());
            assert!(scratch.names(".cleaned").is_empty() && !bench.log.has_swap());
            std::fs::write(&path, &before).unwrap();
        }
        assert_eq!(bench.read().await, bench.written);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn log_4_restart_takes_only_the_swap_that_its_checkpoint_names() {
    for is_named in [false, true] {
        let scratch = Scratch::new("restart");
        let main = async || {
            let mut bench = Bench::of_four_segments(&scratch.0).await;
            let before = bench.checkpoint().await;
            let mut round = bench.begin(Offset(200)).await;
            assert!(bench.log.clean(&mut round, &resources()).await.unwrap());
            assert_eq!(bench.read().await, bench.written, "readers see the old segments until the swap");
            let after = bench.checkpoint().await;
            assert_eq!((after.sealed.len(), after.cleaned_to, before.cleaned_to), (1, Offset(200), Offset(0)));
            // The process stops here.
            bench.log.discard();
            let state = if is_named { &after } else { &before };
            let known = Known::Checkpointed(state);
            let log = Log::open(&scratch.0, Rc::new(settings()), known, bench.memory.clone(), &mut |_, _| {}).await;
            bench.log = log.unwrap();
            let end = if is_named { 200 } else { 0 };
            assert_eq!(bench.read().await, survivors(&bench, Offset(end), false), "named: {is_named}");
            assert!(scratch.names(".swap").is_empty());
            assert_eq!(scratch.names(".log").len(), if is_named { 1 } else { 4 });
            // First a checkpoint without swaps is necessary: a restart cannot distinguish a second swap from the first.
            assert_eq!(bench.log.cleaning_needs_checkpoint(), is_named);
            assert_eq!(bench.clean(NOW_MS, &resources()).await, (!is_named).then_some(Offset(200)));
            assert_eq!(bench.read().await, survivors(&bench, Offset(200), false));
        };
        runtime::run(Config::default(), main).unwrap();
    }
}

/// Segments of one batch each, compacted one at a time.
const BOTH: CleanupPolicy = CleanupPolicy { deletes: true, compacts: true };

fn narrow() -> TopicConfig {
    TopicConfig { segment_bytes: 1, ..settings() }
}

#[test]
fn aborted_transaction_ends_even_if_retention_removes_its_marker_between_two_steps() {
    let scratch = Scratch::new("marker");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        bench.log.set_config(Rc::new(narrow()));
        bench.append(Codec::None, &[(1, Some(1))]).await;
        bench.append_of(transactional(0), &[(2, Some(2))]).await;
        bench.append(Codec::None, &[(3, Some(3))]).await;
        bench.end(0, Ending::Abort).await;
        bench.append_of(transactional(0), &[(4, Some(4))]).await;
        bench.end(0, Ending::Commit).await;
        bench.log.roll();
        bench.store_checkpoint().await;
        let mut round = bench.begin(Offset(6)).await;
        // Up to the record between the transaction's batch and its marker.
        while round.next < Offset(3) {
            assert!(!bench.log.clean(&mut round, &resources()).await.unwrap());
            bench.finish_swaps().await;
        }
        assert_eq!(round.next, Offset(3));
        bench.log.decide_log_start(Offset(4));
        bench.log.advance_log_start(Offset(4));
        assert_eq!(bench.log.drop_segments().await.unwrap(), 4);
        while !bench.log.clean(&mut round, &resources()).await.unwrap() {
            bench.finish_swaps().await;
        }
        bench.store_checkpoint().await;
        assert_eq!(bench.read().await, bench.written[3..], "committed records stay");
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn retention_skips_segments_that_compaction_has_emptied() {
    let scratch = Scratch::new("emptied");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        bench.log.set_config(Rc::new(narrow()));
        for (key, value) in [(1, 1), (1, 2), (1, 3), (2, 4)] {
            bench.append(Codec::None, &[(key, Some(value))]).await;
        }
        assert_eq!(bench.clean(NOW_MS, &resources()).await, Some(Offset(3)));
        let sizes: Vec<_> = bench.log.sealed_segments().iter().map(|segment| segment.size() > 0).collect();
        assert_eq!(sizes, [false, false, true]);
        let retention = |retention_ms| TopicConfig { cleanup_policy: BOTH, retention_ms, ..narrow() };
        // A record's timestamp is NOW_MS plus its offset.
        for (retention_ms, expected) in [(9, None), (7, Some(Offset(3))), (6, Some(Offset(4)))] {
            bench.log.set_config(Rc::new(retention(retention_ms)));
            assert_eq!(bench.log.retention_point(NOW_MS + 10, Offset(4)).await.unwrap(), expected, "{retention_ms}");
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn log_4_swap_is_withdrawn_only_if_no_checkpoint_may_name_it() {
    let scratch = Scratch::new("withdrawn");
    let main = async || {
        let bench = Bench::of_four_segments(&scratch.0).await;
        for may_be_named in [false, true] {
            let mut round = bench.begin(Offset(200)).await;
            assert!(bench.log.clean(&mut round, &resources()).await.unwrap());
            // The first checkpoint is abandoned before it is stored, the second one while it is stored.
            let state = bench.checkpoint().await;
            if may_be_named {
                bench.log.checkpoint_started(&state);
            }
            bench.log.withdraw_swap().await;
            assert_eq!((bench.log.has_swap(), bench.log.swap_was_withdrawn()), (may_be_named, !may_be_named));
            assert_eq!(scratch.names(".swap").is_empty(), !may_be_named);
            assert_eq!(
                (bench.read().await, bench.log.cleaned_to()),
                (bench.written.clone(), if may_be_named { round.next } else { Offset::ZERO })
            );
        }
        bench.store_checkpoint().await;
        assert_eq!(bench.read().await, survivors(&bench, Offset(200), false));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn step_loads_only_the_indexes_of_the_segments_that_it_rewrites() {
    let scratch = Scratch::new("indexes");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        bench.log.set_config(Rc::new(narrow()));
        for n in 0..20 {
            bench.append(Codec::None, &[(n, Some(n))]).await;
        }
        bench.store_checkpoint().await;
        let mut round = bench.begin(Offset(19)).await;
        bench.log.evict_idle();
        assert!(!bench.log.clean(&mut round, &resources()).await.unwrap());
        let sealed = bench.log.sealed_segments();
        let with_indexes = sealed.iter().filter(|segment| segment.indexes_in_memory().is_some());
        assert_eq!(with_indexes.map(|segment| segment.base_offset).collect::<Vec<_>>(), [Offset(0)]);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn batch_length_beyond_memory_is_damage() {
    let scratch = Scratch::new("length");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        for n in 0..70 {
            bench.append(Codec::None, &[(n, Some(n)); 5_000]).await;
            bench.log.flush().await.unwrap();
        }
        bench.log.roll();
        bench.store_checkpoint().await;
        let path = scratch.0.join("00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > MEMORY_BYTES);
        let length = bytes.len() as u32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let plan = bench.log.plan_cleaning(Offset(350_000), NOW_MS).await.unwrap().unwrap();
        let outcome = bench.log.begin_cleaning(&plan, LastRecords::new(), NOW_MS, &resources()).await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("more than memory has room for")));
        // A log that no checkpoint vouches for ends before the batch.
        bench.log.discard();
        let memory = bench.memory.clone();
        let log = Log::open(&scratch.0, Rc::new(settings()), Known::Nothing, memory, &mut |_, _| {}).await.unwrap();
        assert_eq!((log.end_offset(), log.size_bytes()), (Offset(0), 0));
    };
    // The arena has no room for a batch of the file's length.
    runtime::run(Config { arena_bytes_max: MEMORY_BYTES, ..Config::default() }, main).unwrap();
}

#[test]
fn offsets_by_timestamp_are_found_across_gaps() {
    let scratch = Scratch::new("times");
    let main = async || {
        let mut bench = Bench::new(&scratch.0).await;
        for n in 0..60 {
            bench.append(Codec::None, &[(n % 7, Some(n))]).await;
        }
        bench.log.roll();
        assert_eq!(bench.clean(NOW_MS, &resources()).await, Some(Offset(60)));
        let left: BTreeMap<Offset, i64> = bench.read().await.iter().map(|row| (row.0, NOW_MS + row.0.0)).collect();
        assert_eq!(left.len(), 7);
        for timestamp in NOW_MS..NOW_MS + 62 {
            let found = bench.log.offset_for_timestamp(timestamp, Offset(60), |bytes| {
                let header = BatchHeader::decode(bytes).unwrap();
                Some(crate::log::read::TimedOffset { offset: header.base_offset, timestamp: header.max_timestamp })
            });
            let expected = left.iter().find(|(_, at)| **at >= timestamp).map(|(offset, _)| *offset);
            assert_eq!(found.await.unwrap().map(|found| found.offset), expected, "{timestamp}");
        }
    };
    runtime::run(Config::default(), main).unwrap();
}
