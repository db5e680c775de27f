//! The watermarks of one partition, with a real log and a real journal.

use std::path::PathBuf;
use std::rc::Rc;

use super::append::{AppendRefusal, AppendRequest, ProduceCapabilities, Produced};
use super::producers::{Membership, Producers};
use super::transactions::{EndTransaction, MARKER_BYTES_MAX};
use super::{DECODED_BYTES_MAX, Leadership, Partition};
use crate::config::{BrokerConfig, TopicConfig};
use crate::disk::journal::recover::Replay;
use crate::disk::journal::{self, Journal, JournalSettings, ReplayStart, Sequence};
use crate::log::Log;
use crate::log::tail::Memory;
use crate::model::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicName, TopicPartition};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Decompressor;
use crate::record::control::{Ending, Marker};
use crate::record::validate::validate;
use crate::runtime::{self, Class};

const ID: TopicPartition = TopicPartition { topic: TopicId([5; 16]), partition: 0 };
const REQUEST: AppendRequest = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };

struct World {
    partition: Rc<Partition>,
    journal: Rc<Journal>,
    directory: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl World {
    async fn new(name: &str) -> World {
        let directory = std::env::temp_dir().join(format!("tidemill-partition-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let journal = Journal::create(settings(&directory)).await.expect("the directory is good");
        runtime::spawn(Class::Foreground, "journal", journal.clone().run());
        let config = Rc::new(TopicConfig::resolve(&Default::default(), &BrokerConfig::default()));
        let memory = Memory::new(64 << 20);
        let log = Log::create(&directory.join("log"), config, memory).await.expect("the directory is good");
        let leadership = Leadership { leader_epoch: LeaderEpoch(3), replicas: 1, in_sync_replicas: 1 };
        let name = TopicName::new("topic").expect("the name is good");
        let partition = Partition::new(ID, name, log, leadership, Producers::default());
        World { partition, journal, directory }
    }

    /// Appends a batch of `count` records. `sequence`: of producer 7, in a transaction.
    async fn append(&self, count: i64, sequence: Option<i32>) -> Produced {
        let options = match sequence {
            None => BatchOptions::default(),
            Some(base_sequence) => BatchOptions {
                producer_id: 7,
                producer_epoch: 0,
                base_sequence,
                is_transactional: true,
                ..BatchOptions::default()
            },
        };
        let mut builder = BatchBuilder::new(options);
        for n in 0..count {
            builder.append(1_000, Some(&n.to_be_bytes()), Some(b"value"), []);
        }
        let bytes = builder.finish();
        self.reserve(bytes.len(), count as u32).await;
        let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
        let rules = self.partition.rules(&REQUEST).expect("the partition accepts batches");
        let accepted = validate(&bytes, &rules, &mut decompressor).expect("the batch is good");
        let membership = Membership::Verified { is_v2: false };
        self.partition.append(&self.journal, &accepted, membership, REQUEST.now_ms).expect("the batch is fresh")
    }

    async fn end_transaction(&self) -> Produced {
        self.reserve(MARKER_BYTES_MAX, 1).await;
        let marker = Marker { ending: Ending::Commit, coordinator_epoch: 0 };
        let end = EndTransaction { producer_id: 7, producer_epoch: 0, marker, is_v2: false };
        self.partition.append_marker(&self.journal, &end, REQUEST.now_ms).expect("a transaction is open")
    }

    async fn reserve(&self, bytes: usize, records: u32) {
        while !self.partition.has_room(&self.journal, bytes, records, REQUEST.now_ms) {
            assert!(self.partition.reserve(bytes, records, REQUEST.now_ms).await.expect("the disk is good"));
            self.journal.reserve(bytes).await.expect("the journal has not failed");
        }
    }

    /// Waits until the group is durable, and commits the records below `offset`.
    async fn commit(&self, sequence: Sequence, offset: i64) {
        self.journal.wait_durable(sequence).await.expect("the journal has not failed");
        self.partition.advance_high_watermark(Offset(offset));
    }

    /// (log start, last stable offset, high watermark, log end).
    fn watermarks(&self) -> (i64, i64, i64, i64) {
        let partition = &self.partition;
        let watermarks =
            (partition.log_start(), partition.last_stable_offset(), partition.high_watermark(), partition.log_end());
        let (start, stable, high, end) = watermarks;
        assert!(start <= stable && stable <= high && high <= end, "PART-1: {watermarks:?}");
        (start.0, stable.0, high.0, end.0)
    }
}

fn settings(directory: &std::path::Path) -> JournalSettings {
    let directory = directory.join("shard/journal");
    let idle = journal::IDLE;
    JournalSettings { directory, file_bytes: 1 << 20, files_max: 2, group_bytes_max: 64 << 10, depth: 2, idle }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is available")
}

// PART-1
#[test]
fn watermarks_stay_ordered() {
    run(async {
        let world = World::new("ordered").await;
        assert_eq!(world.watermarks(), (0, 0, 0, 0));
        let first = world.append(3, None).await;
        assert_eq!(world.watermarks(), (0, 0, 0, 3));
        world.commit(first.sequence, 3).await;
        assert_eq!(world.watermarks(), (0, 3, 3, 3));
        let open = world.append(2, Some(0)).await;
        world.commit(open.sequence, 5).await;
        assert_eq!(world.watermarks(), (0, 3, 5, 5));
        world.journal.reserve(0).await.expect("the journal has not failed");
        let sequence = world.partition.append_log_start(&world.journal, Offset(4));
        world.journal.wait_durable(sequence).await.expect("the journal has not failed");
        world.partition.advance_log_start(Offset(4));
        assert_eq!(world.watermarks(), (4, 4, 5, 5), "the log start is inside the open transaction");
    });
}

// PART-1
#[test]
#[should_panic(expected = "PART-1: high watermark 4 <= log end")]
fn high_watermark_above_the_log_end_is_refused() {
    run(async {
        let world = World::new("above").await;
        world.append(3, None).await;
        world.partition.advance_high_watermark(Offset(4));
    });
}

// PART-1
#[test]
#[should_panic(expected = "PART-1: log start 2 <= high watermark")]
fn log_start_above_the_high_watermark_is_refused() {
    run(async {
        let world = World::new("start").await;
        world.append(3, None).await;
        world.partition.advance_log_start(Offset(2));
    });
}

// PART-2
#[test]
fn high_watermark_never_goes_back() {
    run(async {
        let world = World::new("back").await;
        world.append(3, None).await;
        let second = world.append(2, None).await;
        world.commit(second.sequence, 5).await;
        // The earlier group is reported last.
        world.partition.advance_high_watermark(Offset(3));
        assert_eq!(world.partition.high_watermark(), Offset(5));
    });
}

// PART-3
#[test]
fn journal_and_log_get_batches_in_the_same_order() {
    run(async {
        let world = World::new("same-order").await;
        let mut expected = Vec::new();
        for n in 0..20 {
            let produced = world.append(1 + n % 3, None).await;
            expected.push((produced.base_offset, produced.last_offset));
            world.journal.wait_durable(produced.sequence).await.expect("the journal has not failed");
        }
        let is_contiguous = expected.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0);
        assert!(is_contiguous && expected[19].1 + 1 == world.partition.log_end(), "{expected:?}");
        world.journal.close();
        let start = ReplayStart { session: 1, ..ReplayStart::BEGINNING };
        let mut replay =
            Replay::open(settings(&world.directory), world.journal.id(), start).await.expect("it is whole");
        let mut replayed = Vec::new();
        while let Some(group) = replay.next_group().await.expect("it is whole") {
            replayed.extend(group.entries().map(|(entry, _)| entry.base_offset));
        }
        assert_eq!(replayed, expected.iter().map(|(base, _)| *base).collect::<Vec<_>>());
    });
}

// PART-4
#[test]
fn last_stable_offset_waits_for_a_committed_marker() {
    run(async {
        let world = World::new("marker").await;
        let batch = world.append(2, Some(0)).await;
        world.commit(batch.sequence, 2).await;
        let marker = world.end_transaction().await;
        assert_eq!(marker.base_offset, Offset(2));
        assert_eq!(world.partition.last_stable_offset(), Offset(0), "the marker is in the log, and not committed");
        world.commit(marker.sequence, 3).await;
        assert_eq!(world.watermarks(), (0, 3, 3, 3));
    });
}

#[test]
fn deleted_partition_refuses_appends() {
    run(async {
        let world = World::new("deleted").await;
        world.append(1, None).await;
        world.partition.delete();
        let marker = Marker { ending: Ending::Commit, coordinator_epoch: 0 };
        let end = EndTransaction { producer_id: 7, producer_epoch: 0, marker, is_v2: false };
        let refusal = world.partition.append_marker(&world.journal, &end, 0).unwrap_err();
        assert_eq!(refusal, AppendRefusal::from(ErrorCode::UnknownTopicOrPartition));
    });
}
