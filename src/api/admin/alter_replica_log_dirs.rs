//! AlterReplicaLogDirs (key 34): moves replicas between a broker's data directories. A node has one, so a move into it
//! succeeds without work, and there is no other directory to move to.
//!
//! All brokers of a node share the directory, so each of them answers for all replicas of the node.

use std::collections::BTreeMap;

use super::context::Context;
use crate::model::{ErrorCode, TopicPartition};
use crate::wire::admin::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

pub fn answer(request: &AlterReplicaLogDirsRequest, context: &Context<'_>) -> AlterReplicaLogDirsResponse {
    let own = std::path::absolute(&context.config.data_dirs).unwrap_or_else(|_| (&context.config.data_dirs).into());
    let own = own.display().to_string();
    // A partition that the request repeats has one result, for its last directory.
    let mut results: BTreeMap<&str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            for &partition in &topic.partitions {
                let code =
                    if dir.path == own { code(&topic.name, partition, context) } else { ErrorCode::LogDirNotFound };
                results.entry(&topic.name).or_default().insert(partition, code);
            }
        }
    }
    let partition = |(partition_index, error_code)| AlterReplicaLogDirPartitionResult { partition_index, error_code };
    let topic = |(name, partitions): (&str, BTreeMap<_, _>)| AlterReplicaLogDirTopicResult {
        name: name.to_owned(),
        partitions: partitions.into_iter().map(partition).collect(),
    };
    AlterReplicaLogDirsResponse { results: results.into_iter().map(topic).collect(), ..Default::default() }
}

/// The result for a partition that is to be in this node's directory.
fn code(topic: &str, index: i32, context: &Context<'_>) -> ErrorCode {
    let Some(topic) = context.image.topic(topic) else { return ErrorCode::UnknownTopicOrPartition };
    match topic.partition(index) {
        None => ErrorCode::UnknownTopicOrPartition,
        Some(partition) if !partition.replicas.contains(&context.node) => ErrorCode::ReplicaNotAvailable,
        Some(_) if context.offline.contains(TopicPartition { topic: topic.id, partition: index }) => {
            ErrorCode::KafkaStorageError
        }
        Some(_) => ErrorCode::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};
    use crate::wire::admin::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic};

    fn ask(world: &World, moves: &[(&str, &str, &[i32])]) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
        let dir = |(path, topic, partitions): &(&str, &str, &[i32])| AlterReplicaLogDir {
            path: (*path).into(),
            topics: vec![AlterReplicaLogDirTopic { name: (*topic).into(), partitions: partitions.to_vec() }],
        };
        let request = AlterReplicaLogDirsRequest { dirs: moves.iter().map(dir).collect() };
        let response = answer(&request, &world.at(2));
        check_encodes(&response, 2);
        let partition = |result: AlterReplicaLogDirPartitionResult| (result.partition_index, result.error_code);
        let topic = |result: AlterReplicaLogDirTopicResult| {
            (result.name, result.partitions.into_iter().map(partition).collect())
        };
        response.results.into_iter().map(topic).collect()
    }

    #[test]
    fn a_replica_is_in_the_only_directory_and_cannot_move_elsewhere() {
        let world = World::nodes(2).set(&["log.dirs=/data/t"]).topic("here", &[&[1], &[1]]).topic("there", &[&[2]]);
        let (ok, not_found) = (ErrorCode::None, ErrorCode::LogDirNotFound);
        for (moves, expected) in [
            (&[("/data/t", "here", &[0, 1][..])][..], vec![("here", vec![(0, ok), (1, ok)])]),
            (&[("/data/u", "here", &[0])], vec![("here", vec![(0, not_found)])]),
            // The directory decides first, as in Kafka.
            (&[("/data/u", "nope", &[0])], vec![("nope", vec![(0, not_found)])]),
            (&[("/data/t", "here", &[2])], vec![("here", vec![(2, ErrorCode::UnknownTopicOrPartition)])]),
            (&[("/data/t", "nope", &[0])], vec![("nope", vec![(0, ErrorCode::UnknownTopicOrPartition)])]),
            (&[("/data/t", "there", &[0])], vec![("there", vec![(0, ErrorCode::ReplicaNotAvailable)])]),
            (&[("/data/t", "here", &[0, 1]), ("/data/u", "here", &[1])], vec![("here", vec![(0, ok), (1, not_found)])]),
            (&[], vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(topic, codes)| (topic.to_owned(), codes)).collect();
            assert_eq!(ask(&world, moves), expected, "{moves:?}");
        }
    }
}
