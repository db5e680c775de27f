//! A checkpoint of many partitions: journal space is freed before all of them are flushed, and a restart finds every
//! record in each state of a round.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::disk::checkpoint::Checkpoint;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};

const MANY: usize = 200;
const FILE_BYTES: u64 = 1 << 20;
const VALUE_BYTES: usize = 24_000;

/// A journal of up to twelve files, of which a test fills fewer than six: the journal requests no checkpoint. It writes
/// no closing group, which would fail on a full disk.
fn many(directory: &Path) -> ShardLocation {
    let mut location = ShardLocation { shards: 1, ..location(directory, ShardId(0)) };
    Arc::get_mut(&mut location.config).expect("not shared yet").journal_bytes = 12 * FILE_BYTES;
    location.journal_file_bytes = FILE_BYTES;
    location.journal_idle = Duration::from_secs(3600);
    location
}

/// Opens a shard that stores no checkpoint of its own accord; see [`checkpoint`].
async fn open_many(directory: &Path) -> Rc<Shard> {
    let image = create(&image_with_nodes(1), "topic", MANY);
    let shard = open_with(many(directory), image).await;
    shard.checkpointing.set(true);
    shard
}

/// Stores a checkpoint on a disk that is full from the `nth` write on, if there is one.
async fn checkpoint(shard: &Rc<Shard>, nth: Option<u64>) -> Result<(), StorageError> {
    if let Some(nth) = nth {
        let rule = Rule { target: Target::Write, nth, and_after: true, fault: Fault::Errno(libc::ENOSPC) };
        runtime::install_faults(Some(FaultPlan::new([rule])));
    }
    let outcome = shard.write_checkpoint(false).await;
    runtime::install_faults(None);
    outcome
}

async fn stop(shard: &Rc<Shard>) {
    shard.checkpointing.set(false);
    shard.stop().await.expect("storage works");
}

async fn append(shard: &Rc<Shard>, partitions: impl Iterator<Item = i32>) {
    let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
    let by_index: BTreeMap<i32, TopicPartition> = ids(shard).into_iter().map(|id| (id.partition, id)).collect();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1_000, Some(b"key"), Some(&[7; VALUE_BYTES]), []);
    let batch = builder.finish();
    for index in partitions {
        // The journal grows in the background, and requests a checkpoint if it finds no free file.
        let has_free_file = || {
            let used = shard.journal.files_freed_by(&shard.journal.position());
            shard.journal.files_count() as usize > used
        };
        while !has_free_file() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        let produced = shard.produce(by_index[&index], &batch, &request, None).await.expect("the batch is good");
        shard.wait_committed(produced.sequence).await.expect("storage works");
    }
}

/// The number of records of each partition.
fn ends(shard: &Shard) -> BTreeMap<i32, i64> {
    shard.all_partitions().iter().map(|partition| (partition.id.partition, partition.high_watermark().0)).collect()
}

fn stored(directory: &Path) -> Checkpoint {
    let path = many(directory).data.checkpoint_path(0, 0);
    Checkpoint::parse(&std::fs::read(path).expect("opening stores a checkpoint")).expect("a whole checkpoint")
}

#[test]
fn journal_space_is_freed_before_all_partitions_are_flushed() {
    let scratch = Scratch::new("early");
    // Each life ends as if the process was killed.
    let expected = run(async {
        let shard = open_many(&scratch.0).await;
        append(&shard, 0..MANY as i32).await;
        let begin = stored(&scratch.0).head.start.sequence;
        // The disk is full before each partition has written its segment and its epochs.
        assert!(checkpoint(&shard, Some(240)).await.is_err_and(|error| error.is_disk_full()));
        let early = stored(&scratch.0);
        assert!(
            early.head.start.sequence > begin,
            "the replay starts at group {}, as before",
            early.head.start.sequence
        );
        let flushed = early.partitions.iter().filter(|state| state.end_offset > Offset(0)).count();
        assert!((1..MANY).contains(&flushed), "{flushed} of {MANY} partitions were flushed");
        assert!(shard.all_partitions().iter().any(|partition| partition.is_dirty()));
        ends(&shard)
    });
    let expected = run(async {
        let shard = open_many(&scratch.0).await;
        assert_eq!(ends(&shard), expected, "every record is replayed");
        // The stored states lack the replayed batches, so the next checkpoint must not start behind them.
        append(&shard, 0..1).await;
        assert!(checkpoint(&shard, Some(1)).await.is_err());
        ends(&shard)
    });
    run(async {
        let shard = open_many(&scratch.0).await;
        assert_eq!(ends(&shard), expected);
        stop(&shard).await;
    });
}

#[test]
fn restart_finds_every_record_after_a_full_disk_at_any_point_of_a_round() {
    let scratch = Scratch::new("points");
    let mut expected = None;
    for point in 0..10 {
        expected = run(async {
            let shard = open_many(&scratch.0).await;
            assert!(expected.is_none_or(|expected| ends(&shard) == expected), "round {point}");
            checkpoint(&shard, None).await.expect("the disk has space again");
            assert!(shard.all_partitions().iter().all(|partition| !partition.needs_flush()));
            assert_eq!(stored(&scratch.0).head.start.sequence, shard.journal.position().sequence.0);
            // Some partitions change in each round, and each round ends at another point.
            append(&shard, (0..MANY as i32).filter(|index| (index + point) % 3 > 0)).await;
            let _ = checkpoint(&shard, Some(1 + 41 * point as u64)).await;
            Some(ends(&shard))
        });
    }
}

#[test]
fn unchanged_partition_is_not_captured_again() {
    let scratch = Scratch::new("unchanged");
    run(async {
        let shard = open_many(&scratch.0).await;
        append(&shard, 0..10).await;
        checkpoint(&shard, None).await.expect("storage works");
        let states = || -> BTreeMap<i32, _> {
            let all = shard.all_partitions();
            all.iter().map(|partition| (partition.id.partition, partition.flushed_state().expect("stored"))).collect()
        };
        let before = states();
        append(&shard, 3..4).await;
        checkpoint(&shard, None).await.expect("storage works");
        for (index, state) in states() {
            assert_eq!(Rc::ptr_eq(&state, &before[&index]), index != 3, "partition {index}");
        }
        let found = stored(&scratch.0);
        assert_eq!(found.partitions.len(), MANY);
        assert_eq!(found.head.metadata_index, shard.image().index);
        stop(&shard).await;
    });
}

#[test]
fn round_pauses_while_it_looks_for_changed_partitions() {
    let scratch = Scratch::new("round-pauses");
    run(async {
        let shard = open_many(&scratch.0).await;
        let (stored, pauses) = runtime::count_pauses(checkpoint(&shard, None)).await;
        stored.expect("storage works");
        assert!(pauses >= MANY, "{pauses} pauses for {MANY} partitions");
        stop(&shard).await;
    });
}
