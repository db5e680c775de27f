//! DeleteRecords (key 21): deletes a partition's records below an offset. Kafka Streams purges its repartition topics
//! with it.
//!
//! The response carries the low watermark: the offset at which every replica's log begins. It is sent when the new log
//! start is durable, so a restart does not bring the records back.

use std::collections::HashMap;
use std::rc::Rc;

use crate::api::gather::by_topic;
use crate::api::server::Server;
use crate::metadata::{Image, image};
use crate::model::{ErrorCode, Offset, PartitionIndex, ShardId, TopicPartition};
use crate::router::message::{self, Reply};
use crate::runtime::{self, Class};
use crate::wire::data::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult, HIGH_WATERMARK,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: DeleteRecordsRequest,
    _version: i16,
) -> DeleteRecordsResponse {
    let image = server.shard.image();
    let asked = asked(&request);
    let mut by_shard: HashMap<ShardId, Vec<(TopicPartition, Option<Offset>)>> = HashMap::new();
    let mut places = HashMap::with_capacity(asked.len());
    for (name, partition, offset) in &asked {
        let place = locate(server, &image, name, *partition);
        if let Ok((id, owner)) = place {
            let offset = Some(*offset).filter(|offset| *offset != Offset(HIGH_WATERMARK));
            by_shard.entry(owner).or_default().push((id, offset));
        }
        places.insert((*name, *partition), place.map(|(id, _)| id));
    }
    let here = by_shard.remove(&server.shard.id).unwrap_or_default();
    let calls: Vec<_> = by_shard
        .into_iter()
        .map(|(owner, asked)| {
            let ids: Vec<TopicPartition> = asked.iter().map(|(id, _)| *id).collect();
            (ids, server.router.call(owner, message::ShardRequest::DeleteRecords(asked)))
        })
        .collect();
    let mut starts: HashMap<TopicPartition, Result<Offset, ErrorCode>> = HashMap::new();
    // A deletion that has begun completes, even if the client disconnects.
    let (shard, ids) = (server.shard.clone(), here.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let deleted = runtime::spawn(Class::Foreground, "delete records", async move { shard.delete_records(&here).await });
    starts.extend(ids.into_iter().zip(deleted.await));
    for (ids, call) in calls {
        match call.reply().await {
            Reply::RecordsDeleted(deleted) => starts.extend(ids.into_iter().zip(deleted)),
            _ => unreachable!("a call to delete records is answered by RecordsDeleted"),
        }
    }
    let results = asked
        .into_iter()
        .map(|(name, partition, _)| (name, [result(partition, places[&(name, partition)].and_then(|id| starts[&id]))]));
    let topics = by_topic(results).into_iter();
    let topics = topics.map(|(name, partitions)| DeleteRecordsTopicResult { name: name.into(), partitions });
    DeleteRecordsResponse { topics: topics.collect(), ..DeleteRecordsResponse::default() }
}

/// Lists each partition once. The last offset wins if a partition is named several times, as in Kafka.
fn asked(request: &DeleteRecordsRequest) -> Vec<(&str, PartitionIndex, Offset)> {
    let mut offsets: HashMap<(&str, PartitionIndex), Offset> = HashMap::new();
    let mut order = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.as_str(), partition.partition_index);
            if offsets.insert(key, Offset(partition.offset)).is_none() {
                order.push(key);
            }
        }
    }
    order.into_iter().map(|key| (key.0, key.1, offsets[&key])).collect()
}

fn locate(
    server: &Server,
    image: &Image,
    name: &str,
    partition: PartitionIndex,
) -> Result<(TopicPartition, ShardId), ErrorCode> {
    let topic = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let place = server.locate(image, topic, partition)?;
    // Clients must not delete the state of groups and transactions.
    if image::is_internal(name) { Err(ErrorCode::InvalidTopicException) } else { Ok(place) }
}

fn result(partition_index: PartitionIndex, start: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match start {
        Ok(start) => (start, ErrorCode::None),
        Err(error) => (Offset::UNKNOWN, error),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark: low_watermark.0, error_code }
}
