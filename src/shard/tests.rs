//! One shard on a scratch directory: commits, ownership, and failing storage.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::open::ShardLocation;
use crate::config::BrokerConfig;
use crate::disk::StorageError;
use crate::disk::journal::{self, Sequence};
use crate::disk::layout::DataDirectory;
use crate::metadata::apply::tests::{create, image_with_nodes, run as run_command};
use crate::metadata::owner::shard_of;
use crate::metadata::{Command, Image, ImageUpdate, apply_to};
use crate::model::{NodeId, Offset, ShardId, TopicPartition};
use crate::partition::append::{AppendRequest, ProduceCapabilities};
use crate::partition::list_offsets::OffsetQuery;
use crate::partition::purgatory::Isolation;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::runtime::fault::{Fault, FaultPlan, Rule, Target};
use crate::runtime::{self, Class};

const SHARDS: u16 = 2;
pub(super) const PARTITIONS: usize = 4;

mod checkpoint;

pub(super) struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-shard-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn image() -> Image {
    create(&image_with_nodes(1), "topic", PARTITIONS)
}

async fn open(directory: &Path, id: ShardId) -> Rc<Shard> {
    open_with(location(directory, id), image()).await
}

pub(super) async fn open_with(location: ShardLocation, image: Image) -> Rc<Shard> {
    Shard::open(location, Arc::new(image)).await.expect("the directory is good").0
}

pub(super) fn location(directory: &Path, id: ShardId) -> ShardLocation {
    let mut config = BrokerConfig::default();
    config.memory_bytes = Some(64 << 20);
    ShardLocation {
        id,
        node: NodeId(1),
        shards: SHARDS,
        layout: 0,
        data: DataDirectory::new(directory, None),
        config: Arc::new(config),
        journal_file_bytes: 4 << 20,
        journal_idle: journal::IDLE,
    }
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is available")
}

pub(super) fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1_000, Some(b"key"), Some(b"value"), []);
    builder.finish()
}

fn ids(shard: &Shard) -> Vec<TopicPartition> {
    shard.all_partitions().iter().map(|partition| partition.id).collect()
}

// SHARD-1
#[test]
fn high_watermarks_advance_before_a_group_is_committed() {
    let scratch = Scratch::new("commit");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
        for round in 0..20 {
            let mut last = Sequence::ZERO;
            for id in ids(&shard) {
                let produced = shard.produce(id, &batch(), &request, None).await.expect("the batch is good");
                assert!(produced.sequence > shard.committed() && produced.base_offset == Offset(round));
                last = last.max(produced.sequence);
            }
            shard.wait_committed(last).await.expect("storage works");
            assert!(shard.committed() >= last);
            for partition in shard.all_partitions() {
                assert_eq!(partition.high_watermark(), Offset(round + 1), "SHARD-1: {:?}", partition.id);
            }
        }
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn other_appends_continue_while_a_decompression_bomb_is_validated() {
    let scratch = Scratch::new("bomb");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
        let mut builder = BatchBuilder::new(BatchOptions { codec: Codec::Lz4, ..BatchOptions::default() });
        builder.append(1_000, Some(b"key"), Some(&vec![0; 64 << 20]), []);
        let bomb: Rc<[u8]> = builder.finish().into();
        let id = ids(&shard)[0];
        let bombs = [(); 2].map(|()| {
            let (shard, bomb) = (shard.clone(), bomb.clone());
            runtime::spawn(Class::Foreground, "bomb", async move { shard.produce(id, &bomb, &request, None).await })
        });
        let (mut small, mut is_contended) = (0, false);
        while !bombs.iter().all(|bomb| bomb.is_finished()) {
            shard.produce(ids(&shard)[1], &batch(), &request, None).await.expect("the batch is good");
            small += 1;
            is_contended |= shard.decoding.is_contended();
            runtime::yield_now().await;
        }
        assert!(small > 3, "{small} batches were appended meanwhile");
        assert!(is_contended, "the bombs are decoded one after the other");
        for bomb in bombs {
            bomb.await.expect("the batch is good");
        }
        assert_eq!(shard.decoding.available(), shard.decoding.total(), "the memory is free again");
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn an_append_pauses_if_its_batch_is_large_or_is_rebuilt() {
    for (compression, codec, value_bytes, pauses_least) in [
        // Not above the limits: one step.
        ("producer", Codec::Zstd, 1 << 20, 0),
        ("zstd", Codec::Lz4, 100_000, 0),
        // Above the limit of decoded bytes: 256 KiB in each step.
        ("producer", Codec::Zstd, 3 << 20, 12),
        // Above the limit of decoded bytes of a rebuilt batch: decoded in two steps, and encoded in two.
        ("zstd", Codec::Lz4, 500_000, 2),
        // Above the limit of stored bytes.
        ("producer", Codec::None, 3 << 20, 1),
    ] {
        let scratch = Scratch::new("pauses");
        run(async {
            let image = image();
            let changes = [("compression.type", compression), ("max.message.bytes", "8388608")];
            let changes = changes.map(|(name, value)| (name.into(), Some(value.into()))).to_vec();
            let command = Command::SetTopicConfig { id: image.topic("topic").expect("created").id, changes };
            let shard = open_with(location(&scratch.0, ShardId(0)), run_command(&image, &command).0).await;
            let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
            let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
            builder.append(1_000, Some(b"key"), Some(&vec![0; value_bytes]), []);
            let batch = builder.finish();
            let append = shard.produce(ids(&shard)[0], &batch, &request, None);
            let (produced, pauses) = runtime::count_pauses(append).await;
            produced.expect("the batch is good");
            let expected = if pauses_least == 0 { 0..=0 } else { pauses_least..=usize::MAX };
            assert!(expected.contains(&pauses), "{codec:?} to {compression}, {value_bytes} bytes: {pauses} pauses");
            shard.stop().await.expect("storage works");
        });
    }
}

#[test]
fn a_search_by_timestamp_pauses_in_a_large_batch_and_reserves_its_memory() {
    let scratch = Scratch::new("search");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let partition = shard.all_partitions()[0].clone();
        for (offset, (value_bytes, pauses_least)) in [(1 << 20, 0), (20 << 20, 80)].into_iter().enumerate() {
            let mut builder = BatchBuilder::new(BatchOptions { codec: Codec::Lz4, ..BatchOptions::default() });
            let timestamp = 1_000 + offset as i64;
            builder.append(timestamp, Some(b"key"), Some(&vec![0; value_bytes]), []);
            produce(&shard, partition.id, &builder.finish()).await;
            for query in [OffsetQuery::AtTimestamp(timestamp), OffsetQuery::MaxTimestamp] {
                let search = partition.list_offset(query, Isolation::ReadUncommitted, &shard.decoding);
                let (found, pauses) = runtime::count_pauses(search).await;
                assert_eq!(found.expect("it is there").offset, Offset(offset as i64));
                assert!(pauses >= pauses_least, "{query:?}: {pauses} pauses for {value_bytes} bytes");
            }
        }
        // The large batch needs all memory for decoding, and the small one none.
        let held = shard.decoding.acquire(1).await;
        let search = |timestamp| {
            let (shard, partition) = (shard.clone(), partition.clone());
            runtime::spawn(Class::Foreground, "search", async move {
                let query = OffsetQuery::AtTimestamp(timestamp);
                partition.list_offset(query, Isolation::ReadUncommitted, &shard.decoding).await
            })
        };
        assert_eq!(search(1_000).await.expect("it is there").offset, Offset(0));
        let large = search(1_001);
        let waits = async {
            while !shard.decoding.is_contended() {
                runtime::yield_now().await;
            }
        };
        runtime::timeout(Duration::from_secs(10), waits).await.expect("the search waits for memory");
        assert!(!large.is_finished());
        drop(held);
        assert_eq!(large.await.expect("it is there").offset, Offset(1));
        assert_eq!(shard.decoding.available(), shard.decoding.total(), "the memory is free again");
        shard.stop().await.expect("storage works");
    });
}

// SHARD-2
#[test]
fn each_partition_is_served_by_exactly_one_shard() {
    let scratch = Scratch::new("owner");
    run(async {
        let mut served = Vec::new();
        for id in (0..SHARDS).map(ShardId) {
            let shard = open(&scratch.0, id).await;
            for partition in ids(&shard) {
                assert!(shard.owns(partition) && shard.owner(partition) == id);
                assert_eq!(shard_of(partition.topic, partition.partition, SHARDS), id);
                served.push(partition.partition);
            }
            shard.stop().await.expect("storage works");
            shard.retire();
        }
        served.sort_unstable();
        assert_eq!(served, (0..PARTITIONS as i32).collect::<Vec<_>>());
    });
}

// SHARD-3
#[test]
fn no_checkpoint_is_stored_after_a_failed_flush() {
    let scratch = Scratch::new("failed");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let path = shard.data.checkpoint_path(0, 0);
        let stored = std::fs::read(&path).expect("opening stores a checkpoint");
        let failed = std::io::Error::from_raw_os_error(libc::EIO);
        let failure = shard.fail(StorageError::flush("flush segment", "a segment")(failed));
        let refused = shard.checkpoint(false).await.expect_err("SHARD-3");
        assert_eq!(refused.to_string(), failure.to_string());
        assert!(matches!(refused, StorageError::Earlier(_)));
        assert_eq!(std::fs::read(&path).expect("the checkpoint stays"), stored);
        assert!(shard.stop().await.is_err());
    });
}

fn batch_of(value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1_000, Some(b"key"), Some(&vec![7; value_bytes]), []);
    builder.finish()
}

async fn produce(shard: &Shard, id: TopicPartition, batch: &[u8]) {
    let request = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: -1, now_ms: 1_000 };
    let produced = shard.produce(id, batch, &request, None).await.expect("the batch is good");
    shard.wait_committed(produced.sequence).await.expect("storage works");
}

// LOG-5
#[test]
fn topic_is_deleted_and_created_anew_while_its_segment_is_opened() {
    let scratch = Scratch::new("delete");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let image = shard.image();
        let mut gone = Image::clone(&image);
        let id = image.topic("topic").expect("created").id;
        apply_to(&mut gone, &mut Default::default(), image.index + 1, &[Command::DeleteTopic { id }]).unwrap();
        let deletion = ImageUpdate::between(&image, &gone);
        let creation = ImageUpdate::between(&gone, &create(&gone, "topic", PARTITIONS));
        let old_partitions = ids(&shard);
        // The writers open the segments of all partitions, and the opens are held back.
        let hold = Rule { target: Target::Open, nth: 1, and_after: true, fault: Fault::Hold };
        runtime::install_faults(Some(FaultPlan::new([hold])));
        for id in &old_partitions {
            // The second batch fills the first chunk.
            produce(&shard, *id, &batch_of(100_000)).await;
            produce(&shard, *id, &batch_of(100_000)).await;
        }
        let held = async {
            while runtime::held_operations() < old_partitions.len() {
                runtime::yield_now().await;
            }
        };
        runtime::timeout(Duration::from_secs(10), held).await.expect("a full chunk is written at once");
        let deleted = runtime::spawn(Class::Foreground, "delete", {
            let shard = shard.clone();
            async move { shard.apply_image(&deletion).await }
        });
        runtime::sleep(Duration::from_millis(50)).await;
        assert!(!deleted.is_finished(), "LOG-5: the directory is renamed while files in it are opened");
        runtime::install_faults(None);
        deleted.await;
        shard.apply_image(&creation).await;
        for id in ids(&shard) {
            produce(&shard, id, &batch()).await;
        }
        shard.checkpoint(false).await.expect("storage works");
        assert!(shard.failure().is_none(), "{:?}", shard.failure());
        for partition in shard.all_partitions() {
            let directory = shard.data.partition_directory("topic", partition.id.partition);
            let written = std::fs::read(directory.join("00000000000000000000.log")).expect("flushed");
            assert!(written.len() < 100_000, "the segment has bytes of the deleted topic");
        }
        shard.stop().await.expect("storage works");
    });
}

#[test]
fn shard_opens_after_the_writes_of_its_predecessor() {
    let scratch = Scratch::new("predecessor");
    let paths = run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let id = ids(&shard)[0];
        produce(&shard, id, &batch()).await;
        shard.stop().await.expect("storage works");
        let journal = shard.data.journal_directory(0, 0).join("00000000.journal");
        let directory = shard.data.partition_directory("topic", id.partition);
        [journal, directory.join("00000000000000000000.log")]
    });
    for path in paths {
        // A write in flight keeps its file open, as this does.
        let written = std::fs::File::options().write(true).open(path).expect("created");
        run(async {
            let opened = runtime::spawn(Class::Foreground, "open", {
                let directory = scratch.0.clone();
                async move { open(&directory, ShardId(0)).await }
            });
            runtime::sleep(Duration::from_millis(50)).await;
            assert!(!opened.is_finished(), "the predecessor's write could land on the successor's");
            drop(written);
            opened.await.stop().await.expect("storage works");
        });
    }
}

#[test]
fn write_back_of_nothing_does_not_end_a_full_disk() {
    let scratch = Scratch::new("full");
    run(async {
        let shard = open(&scratch.0, ShardId(0)).await;
        let id = ids(&shard)[0];
        produce(&shard, id, &batch()).await;
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        shard.enter_disk_full(&StorageError::io("write segment", "a segment")(full));
        // Queues the segment, which has no full chunk.
        shard.memory.evict(1);
        runtime::sleep(Duration::from_millis(50)).await;
        assert!(shard.memory.take_dirty().is_none() && shard.is_disk_full());
        // These bytes are written.
        produce(&shard, id, &batch_of(100_000)).await;
        let freed = async {
            while shard.is_disk_full() {
                runtime::yield_now().await;
            }
        };
        runtime::timeout(Duration::from_secs(10), freed).await.expect("a write succeeds");
        shard.stop().await.expect("storage works");
    });
}
