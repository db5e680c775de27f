//! OffsetFetch (key 9): the committed offsets of groups.

use std::collections::BTreeMap;

use super::request::{Framed, GroupRequest, GroupsByOwner};
use crate::api::gather::as_asked;
use crate::metadata::Image;
use crate::model::ErrorCode;
use crate::router::message::CloseReason;
use crate::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::{Malformed, Reader};

/// The first version with several groups in a request.
const GROUPS_FROM: i16 = 8;
const IDS_FROM: i16 = 10;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let request: OffsetFetchRequest = call.decode(body)?;
    Ok(Box::pin(async move {
        let version = call.header.version;
        if version >= GROUPS_FROM {
            let groups = fetch(&call, request.groups, request.require_stable).await?;
            return call.respond(&OffsetFetchResponse { groups, ..OffsetFetchResponse::default() });
        }
        let topics = request.topics.map(|topics| {
            let named = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            });
            named.collect()
        });
        let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
        let asked = group.topics.clone().unwrap_or_default();
        let mut groups = fetch(&call, vec![group], request.require_stable).await?;
        call.respond(&single_group(groups.pop().expect("the request has one group"), &asked, version))
    }))
}

async fn fetch(
    call: &GroupRequest,
    groups: Vec<OffsetFetchRequestGroup>,
    require_stable: bool,
) -> Result<Vec<OffsetFetchResponseGroup>, CloseReason> {
    let image = call.server.shard.image();
    let by_id = call.header.version >= IDS_FROM;
    let mut answers: Vec<OffsetFetchResponseGroup> = Vec::with_capacity(groups.len());
    let ids: Vec<String> = groups.iter().map(|group| group.group_id.clone()).collect();
    // A request may repeat a group, for several members.
    let mut asked: BTreeMap<&str, Vec<OffsetFetchRequestGroup>> = BTreeMap::new();
    for (id, group) in ids.iter().zip(groups) {
        asked.entry(id).or_default().push(group);
    }
    let by_owner = GroupsByOwner::new(call, asked.keys().copied());
    for (owner, owned) in &by_owner.remote {
        let part: Vec<_> = owned.iter().filter_map(|id| asked.remove(id)).flatten().collect();
        let mut request = OffsetFetchRequest { require_stable, ..OffsetFetchRequest::default() };
        if call.header.version >= GROUPS_FROM {
            request.groups = part;
        } else {
            let OffsetFetchRequestGroup { group_id, topics, .. } =
                part.into_iter().next().expect("the request has one group");
            (request.group_id, request.topics) =
                (group_id, topics.map(|topics| topics.into_iter().map(topic_before_groups).collect()));
        }
        let response: OffsetFetchResponse = call.ask(*owner, &request).await?;
        match call.header.version >= GROUPS_FROM {
            true => answers.extend(response.groups),
            false => answers.push(group_from_single(request.group_id, response)),
        }
    }
    for (group, error_code) in &by_owner.unavailable {
        answers.push(OffsetFetchResponseGroup {
            group_id: (*group).into(),
            error_code: *error_code,
            ..Default::default()
        });
    }
    for (id, ledger) in &by_owner.local {
        for mut group in asked.remove(id).unwrap_or_default() {
            let unknown = if by_id { take_unknown(&mut group, &image) } else { Vec::new() };
            let group = &group;
            let fetched = ledger.step(|groups, _, _| groups.fetch(group, require_stable)).await;
            let fetched = match fetched {
                Ok(fetched) => ledger.wait_durable().await.map(|()| fetched),
                Err(error) => Err(error),
            };
            let mut answer = fetched.unwrap_or_else(|error_code| OffsetFetchResponseGroup {
                group_id: group.group_id.clone(),
                error_code,
                ..Default::default()
            });
            if by_id && group.topics.is_none() {
                answer.topics.retain_mut(|topic| {
                    let found = image.topic(&topic.name);
                    topic.topic_id = found.map_or(topic.topic_id, |found| found.id);
                    found.is_some()
                });
            }
            if !answer.error_code.is_error() {
                answer.topics.extend(unknown);
            }
            answers.push(answer);
        }
    }
    as_asked(&mut answers, &ids, |answer| &answer.group_id);
    Ok(answers)
}

/// Removes unknown topics, and returns their errors. Sets the names of the topics that stay.
fn take_unknown(group: &mut OffsetFetchRequestGroup, image: &Image) -> Vec<OffsetFetchResponseTopics> {
    let mut refused = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|asked| {
            if let Some(topic) = image.topic_by_id(asked.topic_id) {
                asked.name = topic.name.as_str().into();
                return true;
            }
            let refuse = |index: &i32| OffsetFetchResponsePartitions {
                partition_index: *index,
                committed_offset: -1,
                metadata: Some(String::new()),
                error_code: ErrorCode::UnknownTopicId,
                ..Default::default()
            };
            let partitions = asked.partition_indexes.iter().map(refuse).collect();
            refused.push(OffsetFetchResponseTopics { topic_id: asked.topic_id, partitions, ..Default::default() });
            false
        });
    }
    refused
}

fn topic_before_groups(topic: OffsetFetchRequestTopics) -> crate::wire::group::offset_fetch::OffsetFetchRequestTopic {
    let OffsetFetchRequestTopics { name, partition_indexes, .. } = topic;
    crate::wire::group::offset_fetch::OffsetFetchRequestTopic { name, partition_indexes }
}

/// The response for one group, before version 8.
fn single_group(
    group: OffsetFetchResponseGroup,
    asked: &[OffsetFetchRequestTopics],
    version: i16,
) -> OffsetFetchResponse {
    let mut response = OffsetFetchResponse { error_code: group.error_code, ..OffsetFetchResponse::default() };
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            error_code: partition.error_code,
        });
        OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    response.topics = topics.collect();
    if version < 2 && response.error_code.is_error() {
        // Before version 2 only partitions have an error field.
        let refuse = |index: &i32| OffsetFetchResponsePartition {
            partition_index: *index,
            committed_offset: -1,
            metadata: Some(String::new()),
            error_code: group.error_code,
            ..Default::default()
        };
        let topics = asked.iter().map(|topic| OffsetFetchResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().map(refuse).collect(),
        });
        response.topics = topics.collect();
    }
    response
}

/// The reverse of [`single_group`], for a response of another shard.
fn group_from_single(group_id: String, response: OffsetFetchResponse) -> OffsetFetchResponseGroup {
    let topics = response.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartitions {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            error_code: partition.error_code,
        });
        OffsetFetchResponseTopics { name: topic.name, partitions: partitions.collect(), ..Default::default() }
    });
    OffsetFetchResponseGroup { group_id, topics: topics.collect(), error_code: response.error_code }
}
