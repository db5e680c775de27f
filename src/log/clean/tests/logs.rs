//! Whole logs are compacted and compared with a model.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::config::CleanupPolicy;
use crate::runtime::{self, Config};

#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<(u8, Option<u8>)>),
    InTransaction(i64, Vec<(u8, Option<u8>)>),
    End(i64, Ending),
    Roll,
    Clean,
    /// Compacts with a map for this many keys.
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
            end = bench.clean(NOW_MS, &resources()).await.unwrap();
            bench.append(Codec::None, &[(100, Some(1))]).await;
            bench.log.roll();
            end = bench.clean(NOW_MS + RETENTION_MS, &resources()).await.unwrap_or(end);
            assert_eq!(end, bench.log.end_offset());
            assert_eq!(bench.read_committed(end).await, survivors(&bench, end, true));
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
        // Read once through the held extents, and once by location, as another core does.
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
                bench.log.checkpoint_started(CheckpointedLog::of(&state));
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
        let with_indexes = sealed.iter().filter(|segment| segment.has_indexes());
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
            let found = bench.log.offset_for_timestamp(timestamp, Offset(60), async |bytes| {
                let header = BatchHeader::decode(bytes).unwrap();
                Some(crate::log::read::TimedOffset { offset: header.base_offset, timestamp: header.max_timestamp })
            });
            let expected = left.iter().find(|(_, at)| **at >= timestamp).map(|(offset, _)| *offset);
            assert_eq!(found.await.unwrap().map(|found| found.offset), expected, "{timestamp}");
        }
    };
    runtime::run(Config::default(), main).unwrap();
}
