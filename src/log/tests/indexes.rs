//! The indexes of sealed segments: when they are read, and the memory that they take.

use std::rc::Rc;

use super::races::wait_held;
use super::{MEMORY_BYTES, Scratch, append, batch, bytes_of, deleting, request, state, unlimited};
use crate::config::TopicConfig;
use crate::log::Log;
use crate::log::aborted::AbortedTransaction;
use crate::log::recover::Known;
use crate::log::tail::Memory;
use crate::model::{Offset, Position};
use crate::record::codec::Codec;
use crate::runtime::fault::{FaultPlan, Target};
use crate::runtime::{self, Class, Config};

const SEGMENTS: i64 = 8;
const BATCHES: i64 = 10;

/// A log of full segments with an index entry per batch, as a restart finds it. The timestamps are the offsets.
async fn reopened(scratch: &Scratch, memory_bytes: usize, settings: TopicConfig) -> Log {
    let settings = Rc::new(TopicConfig { index_interval_bytes: 0, ..settings });
    let log = Log::create(&scratch.0, settings.clone(), Memory::new(MEMORY_BYTES)).await.unwrap();
    for n in 0..SEGMENTS * BATCHES {
        if n % BATCHES == 0 {
            log.roll();
        }
        assert!(append(&log, &batch(n, Codec::None, 100)).await);
    }
    log.roll();
    log.close().await.unwrap();
    let known = state(&log);
    let memory = Memory::new(memory_bytes);
    Log::open(&scratch.0, settings, Known::Checkpointed(&known), memory, &mut |_, _| {}).await.unwrap()
}

/// The numbers of the segments whose indexes are in memory.
fn with_indexes(log: &Log) -> Vec<usize> {
    let segments = log.segments.borrow();
    (0..SEGMENTS as usize).filter(|at| segments[*at].has_indexes()).collect()
}

#[test]
fn retention_after_a_restart_reads_no_index() {
    let scratch = Scratch::new("retention-times");
    let main = async || {
        let settings = TopicConfig { retention_ms: 1_000, ..deleting() };
        let log = reopened(&scratch, MEMORY_BYTES, settings).await;
        // All records of the first three segments are older than a second.
        let now_ms = 3 * BATCHES - 1 + 1_001;
        let point = log.retention_point(now_ms, log.end_offset()).await.unwrap();
        assert_eq!(point, Some(Offset(3 * BATCHES)));
        assert!(with_indexes(&log).is_empty(), "the checkpoint has the largest timestamps");
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn indexes_are_read_without_blocking_the_shard() {
    let scratch = Scratch::new("ring");
    let main = async || {
        let log = Rc::new(reopened(&scratch, MEMORY_BYTES, unlimited()).await);
        let segment = log.active();
        assert!(append(&log, &batch(80, Codec::None, 100)).await);
        let offset = Offset(80);
        let aborted = AbortedTransaction {
            producer_id: 1,
            first_offset: offset,
            last_offset: offset,
            last_stable_offset: offset,
        };
        log.note_aborted(aborted);
        log.roll();
        log.flush().await.unwrap();
        segment.evict_idle();
        for number in 0..2 {
            // Each read is in flight for as long as it takes, and this task continues.
            runtime::install_faults(Some(FaultPlan::hold(Target::Read, 1)));
            let reader = runtime::spawn(Class::Foreground, "reader", {
                let (log, segment) = (log.clone(), segment.clone());
                async move {
                    match number {
                        0 => assert_eq!(segment.position_before(offset).await.unwrap(), Position::ZERO),
                        _ => assert_eq!(log.aborted_between(offset, offset + 1).await.unwrap(), [aborted]),
                    }
                }
            });
            wait_held().await;
            assert!(!reader.is_finished());
            runtime::install_faults(None);
            reader.await;
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn loaded_indexes_are_evicted_for_others() {
    let scratch = Scratch::new("budget");
    let main = async || {
        // Room for the indexes of a few segments: an entry takes 8 bytes in one and 16 in the other.
        let memory_bytes = 4 * BATCHES as usize * 24;
        let log = reopened(&scratch, memory_bytes, unlimited()).await;
        for _ in 0..2 {
            for at in 0..SEGMENTS as usize {
                let segment = log.segments.borrow()[at].clone();
                let offset = segment.base_offset + BATCHES - 1;
                assert!(segment.position_before(offset).await.unwrap() > Position::ZERO);
                assert!(log.memory.used() <= memory_bytes && with_indexes(&log).contains(&at));
            }
            let held = with_indexes(&log);
            assert!(held.len() < SEGMENTS as usize / 2 + 2 && !held.contains(&0), "the oldest are evicted: {held:?}");
        }
    };
    runtime::run(Config::default(), main).unwrap();
}

#[test]
fn indexes_of_sealed_segments_are_counted_once() {
    let scratch = Scratch::new("counted");
    let main = async || {
        let log = reopened(&scratch, MEMORY_BYTES, unlimited()).await;
        let segment = log.segments.borrow()[0].clone();
        let mut used = None;
        for _ in 0..3 {
            segment.position_before(Offset(5)).await.unwrap();
            assert!(segment.has_indexes());
            let now = *used.get_or_insert(log.memory.used());
            assert!(now > 0 && log.memory.used() == now);
            segment.evict_idle();
            assert!(!segment.has_indexes());
        }
        log.memory.evict(MEMORY_BYTES);
        assert_eq!(log.memory.used(), 0);
        assert_eq!(bytes_of(log.read(&request(&log, 79)).await.unwrap()).await, batch(79, Codec::None, 100));
    };
    runtime::run(Config::default(), main).unwrap();
}
