//! Tests of a log alone: memory, disk, and the bytes that readers get.

mod indexes;
mod races;
mod recover;

use std::path::PathBuf;
use std::rc::Rc;

use super::read::{Extent, Read, ReadError, ReadRequest};
use super::recover::Known;
use super::tail::Memory;
use super::{AppendedBatch, CheckpointedLog, Log, segment};
use crate::config::{CleanupPolicy, TopicConfig};
use crate::disk::checkpoint::PartitionState;
use crate::model::{LeaderEpoch, Offset};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::runtime::{self, Config};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn batch(offset: i64, codec: Codec, value_bytes: usize) -> Vec<u8> {
    let options =
        BatchOptions { base_offset: Offset(offset), leader_epoch: LeaderEpoch(0), codec, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let value: Vec<u8> = (0..value_bytes).map(|at| (at as i64 * 31 + offset * 7) as u8).collect();
    builder.append(offset, None, Some(&value), []);
    builder.finish()
}

/// Appends one batch; false if memory is short.
async fn append(log: &Log, bytes: &[u8]) -> bool {
    if !log.reserve(bytes.len(), 1, 0).await.expect("a disk that works") {
        return false;
    }
    let offset = log.end_offset();
    let appended = AppendedBatch {
        base_offset: offset,
        last_offset: offset,
        leader_epoch: LeaderEpoch(0),
        max_timestamp: offset.0,
        offset_of_max_timestamp: offset,
    };
    log.append(&appended, &[bytes], 0);
    true
}

fn request(log: &Log, from: i64) -> ReadRequest {
    ReadRequest {
        from: Offset(from),
        bytes_max: 4 << 20,
        limit: log.end_offset(),
        at_least_one: true,
        knows_zstd: true,
    }
}

/// The extents' bytes, loaded a window at a time, as a response sends them.
async fn bytes_of(read: Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut extent in read.extents {
        while extent.bytes() > 0 {
            let part = extent.load(1 << 20).await.expect("a disk that works");
            bytes.extend_from_slice(&part);
            extent.advance(part.len());
        }
    }
    bytes
}

/// Kafka's defaults, without limits of time and size: no retention, no compaction, no roll by age.
pub fn unlimited() -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy { deletes: false, compacts: false },
        retention_ms: -1,
        segment_ms: i64::MAX,
        file_delete_delay_ms: 0,
        ..TopicConfig::default()
    }
}

pub fn compacting() -> TopicConfig {
    TopicConfig { cleanup_policy: CleanupPolicy { deletes: false, compacts: true }, ..unlimited() }
}

fn deleting() -> TopicConfig {
    TopicConfig { cleanup_policy: CleanupPolicy { deletes: true, compacts: false }, ..unlimited() }
}

const VALUE_BYTES: usize = 100_000;
const MEMORY_BYTES: usize = 4 << 20;

#[test]
fn extents_are_readable_after_their_chunks_were_evicted() {
    let scratch = Scratch::new("round");
    let config = Config { arena_bytes_max: 2 * MEMORY_BYTES, ..Config::default() };
    let main = async || {
        let memory = Memory::new(MEMORY_BYTES);
        let settings = Rc::new(TopicConfig { segment_bytes: 3 << 20, ..unlimited() });
        let log = Log::create(&scratch.0, settings, memory.clone()).await.unwrap();
        let mut kept: Vec<(i64, Vec<Extent>)> = Vec::new();
        for n in 0..200 {
            while !append(&log, &batch(n, Codec::None, VALUE_BYTES)).await {
                log.flush().await.unwrap();
            }
            assert!(memory.used() <= MEMORY_BYTES);
            let read = log.read(&request(&log, n)).await.unwrap();
            assert_eq!(read.next_offset, Offset(n + 1));
            kept.push((n, read.extents));
        }
        // The appends were five times the memory: most extents are only on disk. Eight readers at a time.
        let mut readers = Vec::new();
        for (n, extents) in kept {
            let memory = memory.clone();
            readers.push(runtime::spawn(runtime::Class::Foreground, "reader", async move {
                let read = Read { extents, ..Read::default() };
                assert_eq!(bytes_of(read).await, batch(n, Codec::None, VALUE_BYTES), "offset {n}");
                assert!(memory.used() <= MEMORY_BYTES);
            }));
            if readers.len() == 8 {
                for reader in readers.drain(..) {
                    reader.await;
                }
            }
        }
        // Read from start to end, as a consumer does.
        let (mut next, mut all) = (0, Vec::new());
        while next < log.end_offset().0 {
            let read = log.read(&request(&log, next)).await.unwrap();
            assert!(read.next_offset > Offset(next), "a read below the end returns a batch");
            next = read.next_offset.0;
            all.extend(bytes_of(read).await);
        }
        assert_eq!(all, (0..200).flat_map(|n| batch(n, Codec::None, VALUE_BYTES)).collect::<Vec<_>>());
    };
    runtime::run(config, main).unwrap();
}

#[test]
fn a_smaller_budget_evicts_written_chunks_and_loses_nothing() {
    let scratch = Scratch::new("budget");
    let main = async || {
        let memory = Memory::new(MEMORY_BYTES);
        let log = Log::create(&scratch.0, Rc::new(unlimited()), memory.clone()).await.unwrap();
        for n in 0..100 {
            assert!(append(&log, &batch(n, Codec::None, VALUE_BYTES)).await, "written chunks are evicted");
            log.flush().await.unwrap();
        }
        assert!(!memory.is_exhausted(), "a memory full of written chunks makes nobody wait");
        let (before, budget) = (memory.used(), MEMORY_BYTES / 2);
        assert!(before > budget, "{before} bytes are in use");
        memory.set_budget(budget);
        assert!(memory.used() <= budget, "{} of {budget}", memory.used());
        for n in 0..100 {
            let read = log.read(&ReadRequest { bytes_max: 1, ..request(&log, n) }).await.unwrap();
            assert_eq!(bytes_of(read).await, batch(n, Codec::None, VALUE_BYTES));
            assert!(memory.used() <= budget);
        }
        memory.set_budget(MEMORY_BYTES);
        for n in 100..200 {
            assert!(append(&log, &batch(n, Codec::None, VALUE_BYTES)).await);
            log.flush().await.unwrap();
        }
        assert!(memory.used() > budget, "the memory fills again");
    };
    let config = Config { arena_bytes_max: 2 * MEMORY_BYTES, ..Config::default() };
    runtime::run(config, main).unwrap();
}

#[test]
fn unwritten_chunks_leave_readers_their_share_of_memory() {
    let scratch = Scratch::new("share");
    let main = async || {
        let memory = Memory::new(MEMORY_BYTES);
        let old = Log::create(&scratch.0.join("old"), Rc::new(unlimited()), memory.clone()).await.unwrap();
        for n in 0..30 {
            while !append(&old, &batch(n, Codec::None, VALUE_BYTES)).await {
                old.flush().await.unwrap();
            }
        }
        old.close().await.unwrap();
        // This log is never written back, as if the disk were full.
        let new = Log::create(&scratch.0.join("new"), Rc::new(unlimited()), memory.clone()).await.unwrap();
        let mut taken = 0;
        while append(&new, &batch(taken, Codec::None, VALUE_BYTES)).await {
            taken += 1;
        }
        assert!(taken >= 20, "chunks may take three quarters of the memory, and took {taken} batches");
        assert!(memory.is_exhausted(), "and the next append has to wait");
        let read = old.read(&request(&old, 0)).await.unwrap();
        assert!(read.bytes >= VALUE_BYTES);
        for _ in 0..3 {
            for n in 0..30 {
                let read = old.read(&ReadRequest { bytes_max: 1, ..request(&old, n) }).await.unwrap();
                assert_eq!(bytes_of(read).await, batch(n, Codec::None, VALUE_BYTES));
            }
            for n in 0..taken {
                let read = new.read(&ReadRequest { bytes_max: 1, ..request(&new, n) }).await.unwrap();
                assert_eq!(bytes_of(read).await, batch(n, Codec::None, VALUE_BYTES));
            }
        }
        assert!(memory.used() <= MEMORY_BYTES);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn reading_a_removed_segment_fails_and_no_file_is_left() {
    let scratch = Scratch::new("removed");
    let main = async || {
        let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
        assert!(append(&log, &batch(0, Codec::None, VALUE_BYTES)).await);
        let extent = log.read(&request(&log, 0)).await.unwrap().extents.remove(0);
        log.roll();
        log.flush().await.unwrap();
        let segment = log.segments.borrow_mut().pop_front().unwrap();
        segment.evict_idle();
        segment.remove(std::time::Duration::ZERO).await.unwrap();
        assert!(extent.load(1 << 20).await.is_err());
        runtime::sleep(std::time::Duration::from_millis(50)).await;
        let left: Vec<_> = std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "leader-epoch-checkpoint"), "{left:?}");
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn statement_97_clients_without_zstd_get_the_batches_before_the_first_zstd_batch() {
    let scratch = Scratch::new("zstd");
    let main = async || {
        let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
        for (n, codec) in [Codec::None, Codec::Gzip, Codec::Zstd, Codec::None].into_iter().enumerate() {
            assert!(append(&log, &batch(n as i64, codec, 100)).await);
        }
        let old = |from| ReadRequest { knows_zstd: false, ..request(&log, from) };
        let read = log.read(&old(0)).await.unwrap();
        assert!(read.next_offset == Offset(2) && !read.begins_with_zstd);
        let kept = [batch(0, Codec::None, 100), batch(1, Codec::Gzip, 100)].concat();
        assert_eq!(bytes_of(read).await, kept);
        let read = log.read(&old(2)).await.unwrap();
        assert!(read.begins_with_zstd && read.bytes == 0 && read.next_offset == Offset(2));
        let read = log.read(&old(3)).await.unwrap();
        assert!(!read.begins_with_zstd && read.next_offset == Offset(4));
        assert_eq!(log.read(&request(&log, 0)).await.unwrap().next_offset, Offset(4));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn reserving_the_next_chunk_does_not_evict_the_chunk_in_use() {
    let scratch = Scratch::new("own");
    let main = async || {
        let memory = Memory::new(1 << 20);
        let first = Log::create(&scratch.0.join("first"), Rc::new(unlimited()), memory.clone()).await.unwrap();
        assert!(append(&first, &batch(0, Codec::None, 1_000)).await);
        first.flush().await.unwrap();
        // The oldest chunk is written and has room left; no other chunk can be evicted.
        let second = Log::create(&scratch.0.join("second"), Rc::new(unlimited()), memory.clone()).await.unwrap();
        let mut taken = 0;
        while append(&second, &batch(taken, Codec::None, 30_000)).await {
            taken += 1;
        }
        while !append(&first, &batch(1, Codec::None, 40_000)).await {
            second.flush().await.unwrap();
        }
        for n in 0..2 {
            let read = first.read(&ReadRequest { bytes_max: 1, ..request(&first, n) }).await.unwrap();
            assert_eq!(bytes_of(read).await, batch(n, Codec::None, if n == 0 { 1_000 } else { 40_000 }));
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

/// The state of the log that a checkpoint stores.
fn state(log: &Log) -> PartitionState {
    let active = log.active();
    let times = active.times();
    PartitionState {
        topic: [1; 16],
        partition: 0,
        needed_from: 1,
        log_start_offset: log.decided_log_start(),
        sealed: log.sealed(),
        cleaned_to: log.cleaned_to(),
        segment_base_offset: active.base_offset,
        segment_position: active.size(),
        end_offset: log.end_offset(),
        segment_max_timestamp: times.max_timestamp,
        segment_offset_of_max_timestamp: times.offset_of_max,
        segment_first_append_ms: times.first_append_ms,
        segment_index_entries: active.index_entries().0 as u32,
        segment_time_entries: active.index_entries().1 as u32,
        segment_aborted: 0,
        leader_epochs: log.epochs().entries().to_vec(),
        producers: Vec::new(),
    }
}

/// A log of three segments with one batch each.
async fn three_segments(scratch: &Scratch) -> Log {
    let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
    for n in 0..3 {
        log.roll();
        assert!(append(&log, &batch(n, Codec::None, 100)).await);
    }
    log
}

#[test]
fn log_3_segments_below_the_start_are_removed_after_a_checkpoint_with_a_later_active_one() {
    let scratch = Scratch::new("start");
    let main = async || {
        let log = three_segments(&scratch).await;
        log.decide_log_start(Offset(2));
        assert_eq!(
            (state(&log).log_start_offset, log.start_offset()),
            (Offset(2), Offset(0)),
            "decided, and not visible yet"
        );
        assert_eq!(log.drop_segments().await.unwrap(), 0);
        log.advance_log_start(Offset(2));
        assert!(matches!(log.read(&request(&log, 1)).await, Err(ReadError::OutOfRange { start: Offset(2), .. })));
        assert!(log.drop_segments().await.unwrap() == 0 && log.waits_for_checkpoint());
        log.flush().await.unwrap();
        log.checkpoint_stored(CheckpointedLog::of(&state(&log))).await.unwrap();
        assert_eq!((log.drop_segments().await.unwrap(), log.segment_count()), (2, 1));
        assert!(!log.waits_for_checkpoint());
        assert_eq!(bytes_of(log.read(&request(&log, 2)).await.unwrap()).await, batch(2, Codec::None, 100));
        // A start inside a segment is kept as a number, and the segment stays.
        log.decide_log_start(Offset(3));
        log.advance_log_start(Offset(3));
        assert_eq!((log.start_offset(), log.drop_segments().await.unwrap(), log.segment_count()), (Offset(3), 0, 1));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn missing_segments_are_an_error_unless_the_log_start_is_behind_them() {
    let scratch = Scratch::new("explained");
    let main = async || {
        let log = three_segments(&scratch).await;
        log.flush().await.unwrap();
        let known = state(&log);
        std::fs::remove_file(segment::file_path(&scratch.0, Offset(0), "log")).unwrap();
        let settings = |retention_bytes| Rc::new(TopicConfig { retention_bytes, ..deleting() });
        let open = async |known: &PartitionState, retention_bytes| {
            let memory = Memory::new(MEMORY_BYTES);
            let known = Known::Checkpointed(known);
            Log::open(&scratch.0, settings(retention_bytes), known, memory, &mut |_, _| {}).await.unwrap()
        };
        let lost = open(&known, -1).await;
        lost.replay_log_start(Offset(0)).unwrap();
        assert!(
            lost.require_no_missing_segments().unwrap_err().to_string().contains("held the records from offset 0 to 1")
        );
        let journaled = open(&known, -1).await;
        journaled.replay_log_start(Offset(1)).unwrap();
        journaled.require_no_missing_segments().unwrap();
        assert_eq!(journaled.start_offset(), Offset(1));
        assert!(journaled.replay_log_start(Offset(4)).is_err(), "records are missing at the other end");
        let checkpointed = open(&PartitionState { log_start_offset: Offset(2), ..known.clone() }, -1).await;
        checkpointed.require_no_missing_segments().unwrap();
        assert_eq!(checkpointed.start_offset(), Offset(2));
        let retained = open(&known, 100).await;
        retained.require_no_missing_segments().unwrap();
        assert_eq!(retained.start_offset(), Offset(1));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn discarded_log_leaves_the_files_of_a_new_log_of_its_name() {
    let scratch = Scratch::new("discarded");
    let main = async || {
        let old = three_segments(&scratch).await;
        old.flush().await.unwrap();
        old.checkpoint_stored(CheckpointedLog::of(&state(&old))).await.unwrap();
        old.decide_log_start(Offset(2));
        old.advance_log_start(Offset(2));
        old.discard();
        std::fs::remove_dir_all(&scratch.0).unwrap();
        let new = three_segments(&scratch).await;
        new.flush().await.unwrap();
        assert_eq!(old.drop_segments().await.unwrap(), 0);
        for base in 0..3 {
            assert!(segment::file_path(&scratch.0, Offset(base), "log").exists(), "{base}");
        }
        old.set_config(Rc::new(TopicConfig { retention_ms: 0, ..deleting() }));
        assert_eq!((old.retention_point(1 << 40, Offset(3)).await.unwrap(), old.segment_count()), (None, 3));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let scratch = Scratch::new("timeless");
    let main = async || {
        let settings = TopicConfig { retention_ms: 60_000, ..deleting() };
        let log = Log::create(&scratch.0, Rc::new(settings), Memory::new(MEMORY_BYTES)).await.unwrap();
        for offset in 0..2 {
            log.roll();
            let bytes = batch(offset, Codec::None, 100);
            assert!(log.reserve(bytes.len(), 1, 0).await.unwrap());
            let (max_timestamp, offset_of_max_timestamp) = (-1, -1);
            let (base_offset, last_offset) = (offset, offset);
            let appended = AppendedBatch {
                base_offset: Offset(base_offset),
                last_offset: Offset(last_offset),
                leader_epoch: LeaderEpoch(0),
                max_timestamp,
                offset_of_max_timestamp: Offset(offset_of_max_timestamp),
            };
            log.append(&appended, &[&bytes], 0);
        }
        let now_ms = runtime::clock::wall_ms();
        assert_eq!(log.retention_point(now_ms + 61_000, Offset(2)).await.unwrap(), None, "no byte is written yet");
        log.flush().await.unwrap();
        assert_eq!(log.retention_point(now_ms + 50_000, Offset(2)).await.unwrap(), None);
        assert_eq!(log.retention_point(now_ms + 120_000, Offset(2)).await.unwrap(), Some(Offset(2)));
    };
    runtime::run(Config::default(), main).unwrap();
}

fn appended(base_offset: i64, last_offset: i64) -> AppendedBatch {
    AppendedBatch {
        base_offset: Offset(base_offset),
        last_offset: Offset(last_offset),
        leader_epoch: LeaderEpoch(0),
        max_timestamp: -1,
        offset_of_max_timestamp: Offset(last_offset),
    }
}

#[test]
#[should_panic(expected = "LOG-1")]
fn log_1_append_below_the_end_panics() {
    let scratch = Scratch::new("overlap");
    let main = async || {
        let log = three_segments(&scratch).await;
        let bytes = batch(2, Codec::None, 100);
        assert!(log.reserve(bytes.len(), 1, 0).await.unwrap());
        log.append(&appended(2, 2), &[&bytes], 0);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn log_1_each_segment_begins_at_the_end_of_the_one_before() {
    let scratch = Scratch::new("contiguous");
    let main = async || {
        let log = three_segments(&scratch).await;
        let segments = log.segments.borrow();
        let ranges: Vec<_> = segments.iter().map(|segment| (segment.base_offset, segment.end_offset())).collect();
        assert_eq!(ranges, [(Offset(0), Offset(1)), (Offset(1), Offset(2)), (Offset(2), Offset(3))]);
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn log_2_log_start_never_moves_back() {
    let scratch = Scratch::new("forward");
    let main = async || {
        let log = three_segments(&scratch).await;
        log.decide_log_start(Offset(2));
        log.advance_log_start(Offset(2));
        log.decide_log_start(Offset(1));
        log.advance_log_start(Offset(1));
        assert_eq!((log.decided_log_start(), log.start_offset()), (Offset(2), Offset(2)));
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
#[should_panic(expected = "LOG-2")]
fn log_2_log_start_behind_the_end_panics() {
    let scratch = Scratch::new("behind");
    let main = async || three_segments(&scratch).await.decide_log_start(Offset(4));
    runtime::run(Config::default(), main).unwrap();
}

/// SEG-1 and SEG-2.
#[test]
fn seg_1_and_seg_2_failed_write_back_moves_no_position() {
    let scratch = Scratch::new("failed-write");
    let main = async || {
        let log = Log::create(&scratch.0, Rc::new(unlimited()), Memory::new(MEMORY_BYTES)).await.unwrap();
        let bytes = batch(0, Codec::None, VALUE_BYTES);
        assert!(append(&log, &bytes).await);
        std::fs::remove_dir_all(&scratch.0).unwrap();
        let segment = log.active();
        assert!(segment.flush().await.is_err(), "the directory is missing");
        assert_eq!((segment.flushed(), segment.written(), segment.size()), (0, 0, bytes.len() as u64));
        log.roll();
        assert!(segment.finish().await.is_err() && segment.is_dirty(), "a segment that is not flushed is not finished");
        std::fs::create_dir_all(&scratch.0).unwrap();
        segment.finish().await.unwrap();
        assert_eq!((segment.flushed(), segment.written(), segment.is_dirty()), (segment.size(), segment.size(), false));
        assert_eq!(std::fs::read(segment.log_path()).unwrap(), bytes);
    };
    runtime::run(Config::default(), main).unwrap();
}
