//! WriteTxnMarkers (key 27): writes the end markers of transactions, for a coordinator or an operator.

use std::rc::Rc;

use crate::api::server::Server;
use crate::disk::journal::Sequence;
use crate::metadata::Image;
use crate::model::{ErrorCode, ShardId, TopicPartition};
use crate::partition::transactions::EndTransaction;
use crate::record::control::{Ending, Marker};
use crate::router::message::{self, Reply};
use crate::runtime::clock;
use crate::wire::txn::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: WriteTxnMarkersRequest,
    _version: i16,
) -> WriteTxnMarkersResponse {
    let image = server.shard.image();
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in &request.markers {
        let mut wanted = Vec::new();
        let mut places = Vec::new();
        for topic in &marker.topics {
            for partition in &topic.partition_indexes {
                let place = place(server, &image, marker, &topic.name, *partition);
                if let Ok(place) = place {
                    wanted.push(place);
                }
                places.push(place.err());
            }
        }
        let end = EndTransaction {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            marker: Marker {
                ending: if marker.transaction_result { Ending::Commit } else { Ending::Abort },
                coordinator_epoch: marker.coordinator_epoch,
            },
            is_v2: marker.transaction_version >= 2,
        };
        let mut ended = end_transactions(server, wanted, end).await.into_iter();
        let mut errors = places.into_iter().map(|error| error.unwrap_or_else(|| ended.next().expect("one for one")));
        let topics = marker.topics.iter().map(|topic| WritableTxnMarkerTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|partition| WritableTxnMarkerPartitionResult {
                    partition_index: *partition,
                    error_code: errors.next().expect("one for one"),
                })
                .collect(),
        });
        markers.push(WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() });
    }
    WriteTxnMarkersResponse { markers }
}

fn place(
    server: &Server,
    image: &Image,
    marker: &WritableTxnMarker,
    topic: &str,
    partition: i32,
) -> Result<(TopicPartition, ShardId), ErrorCode> {
    if marker.producer_id < 0 || marker.producer_epoch < 0 {
        // Kafka's batch builder throws an exception, which becomes UNKNOWN_SERVER_ERROR.
        return Err(ErrorCode::InvalidRequest);
    }
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    server.locate(image, topic, partition)
}

/// Ends a producer's transaction in these partitions of this node. Returns one result for each, in order, when its
/// marker is durable.
pub(in crate::api) async fn end_transactions(
    server: &Rc<Server>,
    places: Vec<(TopicPartition, ShardId)>,
    end: EndTransaction,
) -> Vec<ErrorCode> {
    let mut remote: Vec<(ShardId, Vec<TopicPartition>)> = Vec::new();
    let mut here = Vec::new();
    for (id, owner) in &places {
        if *owner == server.shard.id {
            here.push(*id);
        } else if let Some((_, partitions)) = remote.iter_mut().find(|(shard, _)| shard == owner) {
            partitions.push(*id);
        } else {
            remote.push((*owner, vec![*id]));
        }
    }
    let calls: Vec<_> = remote
        .into_iter()
        .map(|(shard, partitions)| {
            (shard, server.router.call(shard, message::ShardRequest::EndTransactions { partitions, end }))
        })
        .collect();
    let mut ended = vec![(server.shard.id, end_here(server, &here, &end).await.into_iter())];
    for (shard, call) in calls {
        match call.reply().await {
            Reply::Ended(errors) => ended.push((shard, errors.into_iter())),
            _ => unreachable!("an end call is answered by Ended"),
        }
    }
    let next =
        |owner: ShardId| ended.iter_mut().find(|(shard, _)| *shard == owner).and_then(|(_, errors)| errors.next());
    places.iter().map(|(_, owner)| *owner).map(next).map(|error| error.expect("one for one")).collect()
}

/// Ends a transaction in partitions of this shard.
pub(in crate::api) async fn end_here(
    server: &Server,
    partitions: &[TopicPartition],
    end: &EndTransaction,
) -> Vec<ErrorCode> {
    let mut sequence = Sequence::ZERO;
    let mut errors = Vec::with_capacity(partitions.len());
    for id in partitions {
        match end_in(server, *id, end).await {
            Ok(written) => {
                sequence = sequence.max(written);
                errors.push(ErrorCode::None);
            }
            Err(error) => {
                tracing::info!("rejected a transaction marker of producer {}: {error}", end.producer_id);
                errors.push(error);
            }
        }
    }
    if server.shard.wait_committed(sequence).await.is_err() {
        let appended = errors.iter_mut().filter(|error| !error.is_error());
        appended.for_each(|error| *error = ErrorCode::KafkaStorageError);
    }
    errors
}

/// In a partition of `__consumer_offsets` the group coordinator writes the marker, because its state follows the log.
async fn end_in(server: &Server, id: TopicPartition, end: &EndTransaction) -> Result<Sequence, ErrorCode> {
    if let Some(ledger) = server.groups.of_partition(id) {
        return ledger.end_transaction(end).await;
    }
    let partition = server.shard.partition(id).ok_or_else(|| server.shard.error_without(id))?;
    let ended = server.shard.end_transaction(&partition, end, clock::wall_ms()).await;
    ended.map(|produced| produced.sequence).map_err(|refusal| refusal.error)
}
