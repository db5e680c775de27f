//! A real shard in the thread of a unit test.

use std::path::Path;
use std::rc::Rc;

use crate::api::server::Server;
use crate::config::BrokerConfig;
use crate::disk::journal;
use crate::disk::layout::DataDirectory;
use crate::metadata::apply::tests::{create, image_with_nodes};
use crate::model::{NodeId, ShardId, TopicPartition};
use crate::partition::append::{AppendRequest, ProduceCapabilities};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Codec;
use crate::router::Router;
use crate::router::message::Message;
use crate::runtime;
use crate::shard::Shard;
use crate::shard::open::ShardLocation;

pub const APPEND: AppendRequest = AppendRequest { capabilities: ProduceCapabilities::ALL, acks: 1, now_ms: 1_000 };

async fn open(directory: &Path, shards: u16, topics: &[(&str, usize)]) -> Rc<Shard> {
    let mut config = BrokerConfig::default();
    config.memory_bytes = Some(64 << 20);
    let location = ShardLocation {
        id: ShardId(0),
        node: NodeId(1),
        shards,
        layout: 0,
        data: DataDirectory::new(directory, None),
        config: config.into(),
        journal_file_bytes: 4 << 20,
        journal_idle: journal::IDLE,
    };
    let image = topics.iter().fold(image_with_nodes(1), |image, (name, partitions)| create(&image, name, *partitions));
    Shard::open(location, image.into()).await.expect("the directory is good").0
}

/// Runs `test` with the server of shard 0 and the router of the last shard. There is one topic, of 8 partitions.
pub fn run<F: Future<Output = ()>>(name: &str, shards: u16, test: impl FnOnce(Rc<Server>, Rc<Router>) -> F) {
    run_with(name, shards, &[("topic", 8)], test);
}

/// As [`run`], with these topics and their numbers of partitions.
pub fn run_with<F: Future<Output = ()>>(
    name: &str,
    shards: u16,
    topics: &[(&str, usize)],
    test: impl FnOnce(Rc<Server>, Rc<Router>) -> F,
) {
    let directory = std::env::temp_dir().join(format!("tidemill-api-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    runtime::run(runtime::Config::default(), || async {
        let shard = open(&directory, shards, topics).await;
        let ends = runtime::mesh::<Message>(shards.into()).into_iter().enumerate();
        let routers: Vec<_> = ends.map(|(shard, end)| Router::new(ShardId(shard as u16), end)).collect();
        let server = crate::api::serve(shard.clone(), routers[0].clone());
        test(server, routers[usize::from(shards) - 1].clone()).await;
        shard.stop().await.expect("storage works");
    })
    .expect("io_uring is available");
    let _ = std::fs::remove_dir_all(&directory);
}

/// The partitions that the shard serves.
pub fn ids(shard: &Shard) -> Vec<TopicPartition> {
    shard.all_partitions().iter().map(|partition| partition.id).collect()
}

/// A batch of one record.
pub fn batch(codec: Codec, value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
    builder.append(1_000, Some(b"key"), Some(&vec![0; value_bytes]), []);
    builder.finish()
}
