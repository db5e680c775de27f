//! Produce (key 0): appends batches in the order of arrival, and responds when they are durable.
//!
//! ```text
//! start:   first batch of a transaction in a partition: verify it with the coordinator; later requests wait behind it
//!          each partition's batch -> its shard (this one: append; another: one message) -> a slot in the response
//! finish:  wait for the journal groups that hold the batches -> encode the slots          (produced.rs)
//! ```

use std::collections::BTreeSet;
use std::rc::Rc;

use super::produced::{Pending, Slot, SlotState, TopicKey};
use crate::api::pending;
use crate::api::request::ClientRequest;
use crate::api::server::Server;
use crate::api::txn::transactions;
use crate::disk::journal::Sequence;
use crate::metadata::{Image, Topic as ImageTopic};
use crate::model::{ErrorCode, PartitionIndex, ShardId, TopicPartition};
use crate::partition::append::{AppendRefusal, AppendRequest, ProduceCapabilities};
use crate::partition::transactions::Verification;
use crate::record::BatchHeader;
use crate::router::message::{self, Batches, TransactionOperation, TransactionReply, TransactionRequest};
use crate::runtime::{TimeSlice, clock};
use crate::wire::data::produce::ProduceRequest;
use crate::wire::{Malformed, Topic};

/// The client id of Kafka's admin client.
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(in crate::api) async fn start(client: ClientRequest<'_>) -> Result<pending::Pending, Malformed> {
    let ClientRequest { server, origin, header, client_id, mut body, .. } = client;
    let request = ProduceRequest::decode(&mut body, header.version)?;
    let shard = &server.shard;
    let mut produce = Pending {
        server: server.clone(),
        header,
        listener: origin.listener.clone(),
        acks: request.acks,
        slots: Vec::with_capacity(request.partition_count),
        calls: Vec::new(),
        sequence: Sequence::ZERO,
        topic_names: Vec::new(),
        _waiting: server.requests.produce.waiting.enter(),
    };
    let rules =
        AppendRequest { capabilities: capabilities_of(header.version), acks: request.acks, now_ms: clock::wall_ms() };
    let image = shard.image();
    let mut verified = match request.transactional_id {
        None => Vec::new(),
        Some(id) => {
            let here = request.partitions().filter_map(|part| {
                let (id, owner) = server.locate(&image, look_up(&image, part.topic).ok()?, part.partition).ok()?;
                (owner == shard.id).then_some((id, part.records))
            });
            verify(server, Some(id), &rules, here).await
        }
    }
    .into_iter();
    if request.transactional_id.is_some() {
        // Covers the records that the coordinator has written ahead of these batches.
        produce.sequence = shard.last_appended();
    }
    let mut remote: Vec<(ShardId, Batches)> = Vec::new();
    let mut last_topic = None;
    let slice = TimeSlice::begin();
    for part in request.partitions() {
        if !produce.slots.is_empty() {
            slice.pause().await;
        }
        let key = match (part.topic, last_topic) {
            (topic, Some((last, key))) if topic == last => key,
            (Topic::Name(name), _) => {
                let at = produce.topic_names.len() as u32;
                produce.topic_names.extend_from_slice(name.as_bytes());
                TopicKey::Name { at, bytes: name.len() as u16 }
            }
            (Topic::Id(id), _) => TopicKey::Id(id),
        };
        last_topic = Some((part.topic, key));
        let topic = look_up(&image, part.topic);
        let place = topic.and_then(|topic| server.locate(&image, topic, part.partition));
        let is_here = place.is_ok_and(|(_, owner)| owner == shard.id);
        // `verify` returned one result for each local partition, in this order.
        let verified = if is_here { verified.next().unwrap_or(Ok(None)) } else { Ok(None) };
        let place = match place {
            _ if is_forged(&request, part.records) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
            // Only coordinators write to internal topics. Kafka makes an exception for its admin client.
            _ if topic.is_ok_and(|topic| topic.is_internal()) && client_id != ADMIN_CLIENT_ID => {
                Err(ErrorCode::InvalidTopicException)
            }
            // Kafka checks the partition first, then acks, then the leader.
            Ok(_) | Err(ErrorCode::NotLeaderOrFollower) if !(-1..=1).contains(&rules.acks) => {
                Err(ErrorCode::InvalidRequiredAcks)
            }
            place => place,
        };
        if let Ok((_, owner)) = place {
            origin.traffic.note(owner);
        }
        let state = match place {
            Err(error) => SlotState::Done(Err(error.into())),
            Ok((id, owner)) if owner == shard.id => {
                let produced = match verified {
                    Ok(verification) => shard.produce(id, part.records, &rules, verification.as_deref()).await,
                    Err(refusal) => Err(refusal),
                };
                if let Ok(produced) = &produced {
                    produce.sequence = produce.sequence.max(produced.sequence);
                }
                SlotState::Done(produced)
            }
            Ok((id, owner)) => {
                let call = remote.iter().position(|(to, _)| *to == owner).unwrap_or_else(|| {
                    remote.push((owner, Vec::new()));
                    remote.len() - 1
                });
                remote[call].1.push((id, part.records.to_vec()));
                SlotState::Remote { call, item: remote[call].1.len() - 1 }
            }
        };
        produce.slots.push(Slot { topic: key, partition: part.partition, state });
    }
    // Sent in the first stage, so that a later request of this connection cannot overtake them.
    for (owner, batches) in remote {
        let transactional_id = request.transactional_id.map(str::to_owned);
        let bytes: usize = batches.iter().map(|(_, records)| records.len()).sum();
        let held = server.crossing(transactional_id.is_some()).acquire(bytes as u64).await;
        let connection = origin.connection;
        let request = message::ShardRequest::Produce { connection, batches, request: rules, transactional_id };
        produce.calls.push(server.router.call_holding(owner, request, Some(held)));
    }
    Ok(pending::Pending::Produce(produce))
}

fn look_up<'a>(image: &'a Image, topic: Topic<'_>) -> Result<&'a ImageTopic, ErrorCode> {
    let found = match topic {
        Topic::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        Topic::Id(id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    };
    found.map(|topic| &**topic)
}

/// Verifies that the transactions of these batches include the batches' partitions, all on this shard. `None`: no
/// verification is needed, because the batch has no transaction or the log has the transaction already. Otherwise one
/// request to the coordinator verifies the partitions or, from Produce v12 on, adds them (KIP-890).
pub(in crate::api) async fn verify<'a>(
    server: &Rc<Server>,
    transactional_id: Option<&str>,
    request: &AppendRequest,
    batches: impl Iterator<Item = (TopicPartition, &'a [u8])>,
) -> Vec<Result<Option<Rc<Verification>>, AppendRefusal>> {
    let mut verified = Vec::new();
    let mut unknown: Vec<(usize, (String, PartitionIndex))> = Vec::new();
    let mut producers = BTreeSet::new();
    for (id, records) in batches {
        let header = BatchHeader::decode(records).filter(|header| header.is_transactional() && header.has_producer());
        let begun = header.zip(server.shard.partition(id)).and_then(|(header, partition)| {
            producers.insert((header.producer_id, header.producer_epoch));
            let verification = partition.begin_verification(header.producer_id, header.producer_epoch)?;
            unknown.push((verified.len(), (partition.name.to_string(), id.partition)));
            Some(verification)
        });
        verified.push(Ok(begun));
    }
    let Some(producer) = producers.first().copied().filter(|_| !unknown.is_empty()) else { return verified };
    if producers.len() > 1 {
        let message = "Transactional records contained more than one producer ID";
        let refusal = AppendRefusal::new(ErrorCode::InvalidProducerIdMapping, message);
        return verified.iter().map(|_| Err(refusal.clone())).collect();
    }
    let partitions = unknown.iter().map(|(_, partition)| partition.clone()).collect();
    let operation = if request.capabilities.has_transactions_v2 {
        TransactionOperation::Add { producer, partitions, version: 2 }
    } else {
        TransactionOperation::Verify { producer, partitions }
    };
    let ask = TransactionRequest { transactional_id: transactional_id.unwrap_or_default().into(), operation };
    // Boxed, because every connection's future would have room for this rare call.
    let TransactionReply::Partitions(errors) = Box::pin(transactions::ask_ahead(server, ask)).await else {
        unreachable!("an addition is answered by Partitions")
    };
    for ((at, _), error) in unknown.into_iter().zip(errors) {
        if error.is_error() {
            verified[at] = Err(unverified(error, &request.capabilities));
        }
    }
    verified
}

/// Maps a coordinator's error to an error that the producer's version can handle.
fn unverified(error: ErrorCode, capabilities: &ProduceCapabilities) -> AppendRefusal {
    let code = match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if !capabilities.knows_transaction_abortable => ErrorCode::InvalidTxnState,
        // A producer retries NOT_ENOUGH_REPLICAS without a Metadata request.
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
            ErrorCode::NotEnoughReplicas
        }
        ErrorCode::ConcurrentTransactions if !capabilities.has_transactions_v2 => ErrorCode::NotEnoughReplicas,
        other => other,
    };
    AppendRefusal::new(code, format!("The partition is not known to be part of the transaction: {error}"))
}

/// The features that a version of Produce allows its client.
fn capabilities_of(version: i16) -> ProduceCapabilities {
    ProduceCapabilities {
        // KIP-110: zstd came with version 7. The messages are Kafka's.
        zstd_rejection: match version {
            ..=3 => Some("Produce requests with version 3 are not allowed to use ZStandard"),
            4 => Some("Produce requests with version 4 are not allowed to use ZStandard"),
            5 => Some("Produce requests with version 5 are not allowed to use ZStandard"),
            6 => Some("Produce requests with version 6 are not allowed to use ZStandard"),
            7.. => None,
        },
        has_transactions_v2: version >= 12,
        knows_transaction_abortable: version >= 11,
    }
}

/// A transactional batch in a request without a transactional id (statement 69).
fn is_forged(request: &ProduceRequest<'_>, records: &[u8]) -> bool {
    request.transactional_id.is_none() && BatchHeader::decode(records).is_some_and(|header| header.is_transactional())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_grow_with_the_version() {
        for version in 3..=13 {
            let capabilities = capabilities_of(version);
            let rejection = format!("Produce requests with version {version} are not allowed to use ZStandard");
            assert_eq!(capabilities.zstd_rejection, (version < 7).then_some(&*rejection), "{version}");
            assert_eq!(capabilities.knows_transaction_abortable, version >= 11, "{version}");
            assert_eq!(capabilities.has_transactions_v2, version >= 12, "{version}");
        }
        assert_eq!(capabilities_of(13), ProduceCapabilities::ALL);
    }
}
