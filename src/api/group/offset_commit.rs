//! OffsetCommit (key 8): commits the offsets of a group.

use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::api::gather::by_topic;
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::wire::{Malformed, Reader};

/// The first version that names topics by id.
const IDS_FROM: i16 = 10;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let version = call.header.version;
    let mut request: OffsetCommitRequest = call.decode(body)?;
    let place = call.owner(&request.group_id);
    if let GroupOwner::Remote(owner) = place {
        return Ok(call.forward(owner));
    }
    let refused = take_unknown(&mut request.topics, version >= IDS_FROM, &call.server.shard.image());
    if request.topics.is_empty() {
        return Ok(call.respond_now(&refused));
    }
    let ledger = match place {
        GroupOwner::Local(ledger) => ledger,
        GroupOwner::Remote(_) => unreachable!("forwarded above"),
        GroupOwner::Unavailable(error) => return Ok(call.respond_now(&merge(refused, refuse_all(&request, error)))),
    };
    let stepped = ledger.step(|groups, now, writes| groups.commit(&request, version >= 9, now, writes)).await;
    Ok(Box::pin(async move {
        let committed = durable(&ledger, stepped).await.and_then(|committed| committed);
        let response = committed.unwrap_or_else(|error| refuse_all(&request, error));
        call.respond(&merge(refused, response))
    }))
}

/// Removes unknown topics and partitions, and returns their errors. Sets the names of the topics that stay. `by_id`:
/// the request names topics by id.
pub(super) fn take_unknown(
    topics: &mut Vec<OffsetCommitRequestTopic>,
    by_id: bool,
    image: &Image,
) -> OffsetCommitResponse {
    let mut refused = OffsetCommitResponse::default();
    topics.retain_mut(|asked| {
        let topic = if by_id { image.topic_by_id(asked.topic_id) } else { image.topic(&asked.name) };
        let Some(topic) = topic else {
            let error = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            refused.topics.push(refuse(asked, error));
            return false;
        };
        asked.name = topic.name.as_str().into();
        let known = |index: i32| topic.partition(index).is_some();
        let unknown: Vec<_> = asked.partitions.extract_if(.., |asked| !known(asked.partition_index)).collect();
        if !unknown.is_empty() {
            let asked = OffsetCommitRequestTopic { partitions: unknown, ..asked.clone() };
            refused.topics.push(refuse(&asked, ErrorCode::UnknownTopicOrPartition));
        }
        !asked.partitions.is_empty()
    });
    refused
}

fn refuse(topic: &OffsetCommitRequestTopic, error_code: ErrorCode) -> OffsetCommitResponseTopic {
    let refuse = |partition_index| OffsetCommitResponsePartition { partition_index, error_code };
    let partitions = topic.partitions.iter().map(|partition| refuse(partition.partition_index)).collect();
    OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
}

/// The same error for each partition.
pub(super) fn refuse_all(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| refuse(topic, error)).collect();
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}

/// Merges two responses, with one entry for each topic.
pub(super) fn merge(response: OffsetCommitResponse, more: OffsetCommitResponse) -> OffsetCommitResponse {
    // The common case needs no map.
    if response.topics.is_empty() && more.topics.len() == 1 {
        return more;
    }
    let all = response.topics.into_iter().chain(more.topics);
    let topics = by_topic(all.map(|topic| ((topic.name, topic.topic_id), topic.partitions))).into_iter();
    let topics = topics.map(|((name, topic_id), partitions)| OffsetCommitResponseTopic { name, topic_id, partitions });
    OffsetCommitResponse { topics: topics.collect(), ..response }
}
