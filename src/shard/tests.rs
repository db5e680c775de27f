//! One shard on a scratch directory: commits, ownership, and failing storage.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::open::ShardLocation;
use crate::config::BrokerConfig;
use crate::disk::StorageError;
use crate::disk::journal::{self, Sequence};
use crate::disk::layout::DataDirectory;
use crate::metadata::Image;
use crate::metadata::apply::tests::{create, image_with_nodes};
use crate::metadata::owner::shard_of;
use crate::model::{NodeId, Offset, ShardId, TopicPartition};
use crate::partition::append::{AppendRequest, ProduceCapabilities};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::runtime;

const SHARDS: u16 = 2;
const PARTITIONS: usize = 4;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
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
    let mut config = BrokerConfig::default();
    config.memory_bytes = 64 << 20;
    let location = ShardLocation {
        id,
        node: NodeId(1),
        shards: SHARDS,
        layout: 0,
        data: DataDirectory::new(directory, None),
        config: Arc::new(config),
        journal_file_bytes: 4 << 20,
        journal_idle: journal::IDLE,
    };
    Shard::open(location, Arc::new(image())).await.expect("the directory is good").0
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::run(runtime::Config::default(), || future).expect("io_uring is available")
}

fn batch() -> Vec<u8> {
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
