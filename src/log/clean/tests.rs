//! Tests of compaction: the filter judges single batches, and whole logs are compacted, with restarts in between.

mod batches;
mod logs;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;
use crate::config::TopicConfig;
use crate::disk::checkpoint::PartitionState;
use crate::log::aborted::OpenTransactions;
use crate::log::read::ReadRequest;
use crate::log::recover::Known;
use crate::log::tests::compacting;
use crate::log::{AppendedBatch, CheckpointedLog};
use crate::model::LeaderEpoch;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::record::control::{self, Ending};
use crate::record::walk::batches;

const NOW_MS: i64 = 1_000_000;
const RETENTION_MS: i64 = 1_000;

fn plain() -> BatchOptions {
    BatchOptions::default()
}

fn transactional(producer_id: i64) -> BatchOptions {
    BatchOptions { producer_id, producer_epoch: 0, base_sequence: 0, is_transactional: true, ..plain() }
}

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
            needed_from: 1,
            log_start_offset: self.log.start_offset(),
            sealed: self.log.sealed(),
            cleaned_to: self.log.cleaned_to(),
            segment_base_offset: active.base_offset,
            segment_position: active.size(),
            end_offset: self.log.end_offset(),
            segment_max_timestamp: active.times().max_timestamp,
            segment_offset_of_max_timestamp: active.times().offset_of_max,
            segment_first_append_ms: active.times().first_append_ms,
            segment_index_entries: active.index_entries().0 as u32,
            segment_time_entries: active.index_entries().1 as u32,
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
        self.log.checkpoint_stored(CheckpointedLog::of(&state)).await.unwrap();
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
