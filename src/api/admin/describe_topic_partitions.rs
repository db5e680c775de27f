//! DescribeTopicPartitions (key 75): topics in the order of their names, in pages (KIP-966).

use std::collections::BTreeSet;

use super::context::Context;
use crate::api::operation::Resource;
use crate::metadata::Topic;
use crate::metadata::image::is_internal;
use crate::model::{ErrorCode, TopicName};
use crate::wire::admin::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribedPartition, DescribedTopic,
};

/// The most partitions in a page, even if the client requests more: Kafka's `max.request.partition.size.limit`.
const PAGE_PARTITIONS_MAX: i32 = 2000;

pub fn answer(request: &DescribeTopicPartitionsRequest, context: &Context<'_>) -> DescribeTopicPartitionsResponse {
    if !is_cursor_valid(request) {
        return refuse(request);
    }
    let start = request.cursor.as_ref().map_or("", |cursor| &cursor.topic_name);
    let names: Box<dyn Iterator<Item = &str>> = if request.topics.is_empty() {
        Box::new(context.image.topics_from(start).map(|topic| topic.name.as_str()))
    } else {
        let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        Box::new(names.into_iter().filter(move |name| *name >= start))
    };
    let mut room = request.response_partition_limit.clamp(1, PAGE_PARTITIONS_MAX) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if room == 0 {
            response.next_cursor = Some(Cursor { topic_name: name.into(), partition_index: 0 });
            break;
        }
        let Some(topic) = context.image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let first = match &request.cursor {
            Some(cursor) if cursor.topic_name == name => cursor.partition_index as usize,
            _ => 0,
        };
        let end = topic.partitions.len().min(first.saturating_add(room));
        let described = describe(topic, first..end, context);
        room -= described.partitions.len();
        response.topics.push(described);
        if end < topic.partitions.len() {
            response.next_cursor = Some(Cursor { topic_name: name.into(), partition_index: end as i32 });
            break;
        }
    }
    response
}

/// A cursor names a topic of the request, or any topic if the request is for all.
fn is_cursor_valid(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let is_asked = request.topics.is_empty() || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
    cursor.partition_index >= 0 && is_asked
}

fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| DescribedTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(topic.name.clone()),
        ..DescribedTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}

fn unknown(name: &str) -> DescribedTopic {
    let error_code = match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribedTopic {
        error_code,
        name: Some(name.into()),
        is_internal: is_internal(name),
        topic_authorized_operations: Resource::Topic.all_authorized(),
        ..DescribedTopic::default()
    }
}

fn describe(topic: &Topic, range: std::ops::Range<usize>, context: &Context<'_>) -> DescribedTopic {
    let partitions = topic.partitions.iter().enumerate().take(range.end).skip(range.start).map(|(i, partition)| {
        let replicas = context.replicas(topic, i, partition);
        DescribedPartition {
            error_code: if replicas.leader == -1 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None },
            partition_index: i as i32,
            leader_id: replicas.leader,
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: replicas.all,
            isr_nodes: replicas.in_sync,
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: replicas.offline,
        }
    });
    DescribedTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        // This API has no flag for authorized operations; Kafka always sends them.
        topic_authorized_operations: Resource::Topic.all_authorized(),
        ..DescribedTopic::default()
    }
}

#[cfg(test)]
mod tests;
