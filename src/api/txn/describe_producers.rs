//! DescribeProducers (key 61): the producers of a partition, with the start offset of each open transaction.
//! Operators find hanging transactions with it (KIP-664).

use std::rc::Rc;

use crate::api::admin::refusal::UNKNOWN_TOPIC;
use crate::api::gather::{by_topic, deduplicate_if_many};
use crate::api::server::Server;
use crate::model::{ErrorCode, Offset, TopicName, TopicPartition};
use crate::partition::producers::ProducerSnapshot;
use crate::router::message::{self, Reply};
use crate::wire::txn::describe_producers::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicResponse, ProducerState,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: DescribeProducersRequest,
    _version: i16,
) -> DescribeProducersResponse {
    let image = server.shard.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for (name, asked) in by_topic(request.topics.into_iter().map(|asked| (asked.name, asked.partition_indexes))) {
        let topic = match TopicName::new(&name) {
            Ok(_) => image.topic(&name).ok_or((ErrorCode::UnknownTopicOrPartition, UNKNOWN_TOPIC.to_owned())),
            Err(error) => Err((ErrorCode::InvalidTopicException, error.to_string())),
        };
        let mut partitions = Vec::new();
        for partition_index in deduplicate_if_many(asked.into_iter(), |partition_index| *partition_index) {
            let mut response =
                DescribeProducersPartitionResponse { partition_index, ..DescribeProducersPartitionResponse::default() };
            let place = match &topic {
                Ok(topic) => server.locate(&image, topic, partition_index),
                Err((error, message)) => {
                    response.error_message = Some(message.clone());
                    Err(*error)
                }
            };
            let producers = match place {
                Err(error) => Err(error),
                Ok((id, owner)) if owner == server.shard.id => producers(server, id),
                Ok((id, owner)) => {
                    match server.router.call(owner, message::ShardRequest::Producers(id)).reply().await {
                        Reply::Producers(producers) => producers,
                        _ => unreachable!("a producers call is answered by Producers"),
                    }
                }
            };
            match producers {
                Ok(producers) => response.active_producers = producers.into_iter().map(state).collect(),
                Err(error) => response.error_code = error,
            }
            partitions.push(response);
        }
        topics.push(DescribeProducersTopicResponse { name, partitions });
    }
    DescribeProducersResponse { throttle_time_ms: 0, topics }
}

/// The producers of a partition of this shard.
pub(in crate::api) fn producers(server: &Server, id: TopicPartition) -> Result<Vec<ProducerSnapshot>, ErrorCode> {
    let partition = server.shard.partition(id).ok_or_else(|| server.shard.error_without(id))?;
    Ok(partition.producer_snapshots())
}

fn state(producer: ProducerSnapshot) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.epoch.into(),
        last_sequence: producer.batches.last().map_or(-1, |batch| batch.last_sequence),
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.current_txn_first_offset.unwrap_or(Offset::UNKNOWN).0,
    }
}
