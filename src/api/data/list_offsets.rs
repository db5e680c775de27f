//! ListOffsets (key 2): offsets by timestamp, and the special offsets (earliest, latest, maximum timestamp).

use std::collections::HashMap;
use std::rc::Rc;

use super::fetch::isolation_of;
use crate::api::server::Server;
use crate::model::{ErrorCode, LeaderEpoch};
use crate::partition::list_offsets::{ListedOffset, OffsetQuery};
use crate::router::message::{self, ListOffset, Reply};
use crate::wire::data::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, EARLIEST_PENDING_UPLOAD, LATEST, LATEST_TIERED, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP, timestamp_from_version,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let image = server.shard.image();
    let isolation = isolation_of(request.isolation_level);
    let mut topics = Vec::with_capacity(request.topics.len());
    // KAFKA-1757: a partition that the request repeats gets one INVALID_REQUEST.
    let mut times: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            *times.entry((&topic.name, asked.partition_index)).or_default() += 1;
        }
    }
    for asked_topic in &request.topics {
        let topic = image.topic(&asked_topic.name);
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for asked in &asked_topic.partitions {
            let Some(times) = times.remove(&(&*asked_topic.name, asked.partition_index)) else { continue };
            let place = topic
                .ok_or(ErrorCode::UnknownTopicOrPartition)
                .and_then(|topic| server.locate(&image, topic, asked.partition_index));
            let found = match (timestamp_from_version(asked.timestamp), place) {
                _ if times > 1 => Err(ErrorCode::InvalidRequest),
                (Some(from), _) if from > version => Err(ErrorCode::UnsupportedVersion),
                (None, _) => Err(ErrorCode::UnsupportedVersion),
                (_, Err(error)) => Err(error),
                (_, Ok((id, owner))) => {
                    let (current_leader_epoch, query) = (asked.current_leader_epoch, query_of(asked.timestamp));
                    let list =
                        ListOffset { id, current_leader_epoch: LeaderEpoch(current_leader_epoch), query, isolation };
                    if owner == server.shard.id {
                        list_offset(server, list).await
                    } else {
                        let call = server.router.call(owner, message::ShardRequest::ListOffsets(vec![list]));
                        match call.reply().await {
                            Reply::Offsets(mut offsets) => offsets.pop().expect("one for one"),
                            _ => unreachable!("a list call is answered by Offsets"),
                        }
                    }
                }
            };
            let (error_code, listed) = match found {
                Ok(listed) => (ErrorCode::None, listed),
                Err(error) => (error, ListedOffset::NONE),
            };
            partitions.push(ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code,
                timestamp: listed.timestamp,
                offset: listed.offset.0,
                leader_epoch: listed.leader_epoch.0,
            });
        }
        if !partitions.is_empty() {
            topics.push(ListOffsetsTopicResponse { name: asked_topic.name.clone(), partitions });
        }
    }
    ListOffsetsResponse { throttle_time_ms: 0, topics }
}

/// On the owning shard.
pub(in crate::api) async fn list_offset(server: &Rc<Server>, list: ListOffset) -> Result<ListedOffset, ErrorCode> {
    let partition = server.shard.partition(list.id).ok_or_else(|| server.shard.error_without(list.id))?;
    partition.check_epoch(list.current_leader_epoch)?;
    partition.list_offset(list.query, list.isolation, &server.shard.decoding).await
}

fn query_of(timestamp: i64) -> OffsetQuery {
    match timestamp {
        LATEST => OffsetQuery::Latest,
        EARLIEST | EARLIEST_LOCAL => OffsetQuery::Earliest,
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => OffsetQuery::Tiered,
        MAX_TIMESTAMP => OffsetQuery::MaxTimestamp,
        timestamp => OffsetQuery::AtTimestamp(timestamp),
    }
}
