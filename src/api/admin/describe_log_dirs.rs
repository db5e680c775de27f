//! DescribeLogDirs (key 35): the data directory, and how large this broker's partitions are in it. User interfaces
//! show the sizes of topics and the fill of disks with it.
//!
//! With a broker per shard each one reports its own partitions and an equal share of the volume. The sum over all
//! brokers then counts the volume once, and each broker still has the right ratio of usable to total bytes.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::api::server::Server;
use crate::model::{ErrorCode, PartitionIndex, ShardId};
use crate::router::message::{self, LogSize, Reply};
use crate::runtime::dir;
use crate::wire::admin::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: DescribeLogDirsRequest,
    is_for_node: bool,
) -> DescribeLogDirsResponse {
    let directory = &server.shard.data.root;
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
    let mut result = DescribeLogDirsResult { log_dir: directory.display().to_string(), ..Default::default() };
    match dir::volume(&directory) {
        Ok(volume) => {
            let (shard, shards) = if is_for_node { (ShardId(0), 1) } else { (server.shard.id, server.shard.shards) };
            result.total_bytes = i64::try_from(share(volume.total_bytes, shard, shards)).unwrap_or(i64::MAX);
            result.usable_bytes = i64::try_from(share(volume.usable_bytes, shard, shards)).unwrap_or(i64::MAX);
        }
        Err(error) => tracing::warn!("cannot read the size of the volume of {}: {error}", directory.display()),
    }
    let image = server.shard.image();
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for LogSize { id, bytes, lag } in all(server, is_for_node).await {
        let Some(topic) = image.topic_by_id(id.topic) else { continue };
        if is_wanted(request.topics.as_deref(), topic.name.as_str(), id.partition) {
            topics.entry(topic.name.to_string()).or_default().push(DescribeLogDirsPartition {
                partition_index: id.partition,
                partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                offset_lag: lag,
                is_future_key: false,
            });
        }
    }
    for (name, mut partitions) in topics {
        partitions.sort_by_key(|partition| partition.partition_index);
        result.topics.push(DescribeLogDirsTopic { name, partitions });
    }
    DescribeLogDirsResponse { error_code: ErrorCode::None, results: vec![result], ..Default::default() }
}

/// The part of `bytes` of a shard's broker. The parts of all shards add up to `bytes`.
fn share(bytes: u64, shard: ShardId, shards: u16) -> u64 {
    let (each, rest) = (bytes / u64::from(shards), bytes % u64::from(shards));
    each + u64::from(u64::from(shard.0) < rest)
}

fn is_wanted(topics: Option<&[DescribableLogDirTopic]>, name: &str, partition: PartitionIndex) -> bool {
    topics.is_none_or(|topics| topics.iter().any(|asked| asked.topic == name && asked.partitions.contains(&partition)))
}

/// The logs of this shard, or of all shards of the node.
async fn all(server: &Rc<Server>, is_for_node: bool) -> Vec<LogSize> {
    let mut all = here(server);
    if is_for_node {
        for shard in (0..server.shard.shards).map(ShardId).filter(|shard| *shard != server.shard.id) {
            match server.router.call(shard, message::ShardRequest::LogSizes).reply().await {
                Reply::LogSizes(sizes) => all.extend(sizes),
                _ => unreachable!("a call for sizes is answered by LogSizes"),
            }
        }
    }
    all
}

/// The logs of this shard.
pub(in crate::api) fn here(server: &Server) -> Vec<LogSize> {
    let partitions = server.shard.all_partitions();
    let size = |partition: Rc<crate::partition::Partition>| LogSize {
        id: partition.id,
        bytes: partition.size_bytes(),
        lag: partition.log_end() - partition.high_watermark(),
    };
    partitions.into_iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_shards_add_up_to_the_volume() {
        for (bytes, shards) in [(0, 1), (10, 3), (u64::MAX, 7), (1 << 40, 1000)] {
            let shares: Vec<u64> = (0..shards).map(|shard| share(bytes, ShardId(shard), shards)).collect();
            assert_eq!(shares.iter().map(|share| u128::from(*share)).sum::<u128>(), u128::from(bytes));
            assert!(shares.iter().all(|share| share.abs_diff(shares[0]) <= 1));
        }
    }
}
