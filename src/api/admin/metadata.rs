//! Metadata (key 3): the brokers, the topics, and the leader of each partition.
//!
//! A topic that is named, does not exist and may be auto-created is created first, so the response already has it and
//! the client needs no second request. (Kafka responds with UNKNOWN_TOPIC_OR_PARTITION and creates the topic
//! meanwhile; the client retries.) [`answer_known`] serves requests without missing topics; [`create_missing`] the
//! others.

use std::collections::HashSet;

use std::rc::Rc;

use super::change::Change;
use super::context::Context;
use super::create_topics::plan_default;
use super::refusal::PARTITIONS_PER_REQUEST_MAX;
use crate::api::operation::Resource;
use crate::config::BrokerConfig;
use crate::controller::Plan;
use crate::metadata::image::is_internal;
use crate::metadata::{Image, Topic};
use crate::model::{ErrorCode, TopicId, TopicName};
use crate::router::broker;
use crate::runtime;
use crate::wire::admin::metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};

/// The topics that could not be created.
pub type NotCreated = Vec<(TopicName, ErrorCode)>;

/// The topics to create first: at most as many as CreateTopics would. The others are unknown in this response, and the
/// client's next request creates more of them.
pub fn missing(request: &MetadataRequest, context: &Context<'_>) -> Vec<TopicName> {
    if !context.config.auto_create_topics_enable
        || !request.allow_auto_topic_creation
        || fault(request, context).is_some()
    {
        return Vec::new();
    }
    let asked = request.topics.iter().flatten().filter(|topic| topic.topic_id.is_zero());
    let names = asked.filter_map(|topic| TopicName::new(topic.name.as_deref()?).ok());
    let mut seen = HashSet::new();
    names
        // Coordinators create the internal topics, with their own partition counts.
        .filter(|name| context.image.topic(name.as_str()).is_none() && !is_internal(name.as_str()))
        .filter(|name| seen.insert(name.clone()))
        .take((PARTITIONS_PER_REQUEST_MAX / context.config.num_partitions as usize).max(1))
        .collect()
}

/// Plans `names` with the broker's defaults, except topics that exist by now. `random` returns a fresh random number.
pub fn plan(
    names: &[TopicName],
    image: &Image,
    config: &BrokerConfig,
    random: &mut dyn FnMut() -> u64,
) -> Plan<NotCreated> {
    let mut plan = Plan { commands: Vec::new(), answer: NotCreated::new() };
    let mut image = image.clone();
    for name in names {
        if image.topic(name.as_str()).is_some() {
            continue;
        }
        match plan_default(name, &mut image, config, random) {
            Ok(command) => plan.commands.push(command),
            Err(refusal) => plan.answer.push((name.clone(), refusal.code)),
        }
    }
    plan
}

/// Answers from the image. `None`: the controller has to create topics first.
pub(in crate::api) fn answer_known(request: &MetadataRequest, context: &Context<'_>) -> Option<MetadataResponse> {
    missing(request, context).is_empty().then(|| answer(request, context, &NotCreated::new()))
}

/// Creates the missing topics on the controller's shard, and answers from the image that has them.
pub(in crate::api) async fn create_missing(change: Change, request: MetadataRequest) -> MetadataResponse {
    let (request, change) = (Rc::new(request), Rc::new(change));
    let create = |request: &MetadataRequest, context: &Context<'_>| {
        plan(&missing(request, context), context.image, context.config, &mut runtime::random_u64)
    };
    let (image, not_created) = match change.clone().propose(request.clone(), create).await {
        Ok(created) => created,
        Err(error) => {
            tracing::warn!("cannot create the topics of a Metadata request: {error}");
            (change.server.controller().image(), NotCreated::new())
        }
    };
    answer(&request, &change.context(&image, &change.server.shard.config()), &not_created)
}

pub fn answer(request: &MetadataRequest, context: &Context<'_>, not_created: &NotCreated) -> MetadataResponse {
    let mut response = MetadataResponse {
        brokers: broker::live_brokers(context.image, context.listener)
            .map(|broker| MetadataBroker {
                node_id: broker.id.0,
                host: broker.host.into(),
                port: broker.port,
                rack: Some(broker.rack.into()),
            })
            .collect(),
        cluster_id: Some(context.image.cluster_id.clone()),
        controller_id: context.controller().0,
        topics: topics(request, context, not_created),
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = Resource::Cluster.all_authorized();
    }
    if request.include_topic_authorized_operations {
        response
            .topics
            .iter_mut()
            .for_each(|topic| topic.topic_authorized_operations = Resource::Topic.all_authorized());
    }
    response
}

fn topics(request: &MetadataRequest, context: &Context<'_>, not_created: &NotCreated) -> Vec<MetadataTopic> {
    if request.wants_all_topics(context.version) {
        return context.image.topics().map(|topic| found(topic, context)).collect();
    }
    let asked = request.topics.as_deref().unwrap_or_default();
    if let Some(code) = fault(request, context) {
        // Kafka rejects the request as a whole, with an error in each topic.
        return asked
            .iter()
            .map(|topic| named(topic.name.clone().or(Some(String::new())), topic.topic_id, code))
            .collect();
    }
    let mut seen = HashSet::with_capacity(asked.len());
    let mut topics = Vec::with_capacity(asked.len());
    for topic in asked {
        if seen.insert((topic.topic_id, topic.name.as_deref())) {
            topics.push(one(topic, context, not_created));
        }
    }
    topics
}

/// Versions 10 and 11 have topic ids, but clients may use them only from version 12 on (KIP-516).
fn fault(request: &MetadataRequest, context: &Context<'_>) -> Option<ErrorCode> {
    let mut asked = request.topics.iter().flatten();
    let is_wrong = context.version < 12 && asked.any(|topic| topic.name.is_none() || !topic.topic_id.is_zero());
    is_wrong.then_some(ErrorCode::InvalidRequest)
}

fn one(asked: &MetadataRequestTopic, context: &Context<'_>, not_created: &NotCreated) -> MetadataTopic {
    if !asked.topic_id.is_zero() {
        return match context.image.topic_by_id(asked.topic_id) {
            Some(topic) => found(topic, context),
            None => named(None, asked.topic_id, ErrorCode::UnknownTopicId),
        };
    }
    let Some(name) = &asked.name else {
        return named(None, TopicId::ZERO, ErrorCode::InvalidRequest);
    };
    if let Some(topic) = context.image.topic(name) {
        return found(topic, context);
    }
    let code = match TopicName::check(name) {
        Err(_) => ErrorCode::InvalidTopicException,
        Ok(()) => {
            let refused = not_created.iter().find(|(other, _)| other.as_str() == name);
            refused.map_or(ErrorCode::UnknownTopicOrPartition, |(_, code)| *code)
        }
    };
    named(Some(name.clone()), TopicId::ZERO, code)
}

fn named(name: Option<String>, topic_id: TopicId, error_code: ErrorCode) -> MetadataTopic {
    let is_internal = name.as_deref().is_some_and(is_internal);
    MetadataTopic { error_code, name, topic_id, is_internal, ..MetadataTopic::default() }
}

fn found(topic: &Topic, context: &Context<'_>) -> MetadataTopic {
    let partition = |(i, partition)| {
        let replicas = context.replicas(topic, i, partition);
        let error_code = if replicas.leader == -1 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        MetadataPartition {
            error_code,
            partition_index: i as i32,
            leader_id: replicas.leader,
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: replicas.all,
            isr_nodes: replicas.in_sync,
            offline_replicas: replicas.offline,
        }
    };
    MetadataTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        ..MetadataTopic::default()
    }
}

#[cfg(test)]
mod tests;
