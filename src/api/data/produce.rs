//! Produce (key 0): appended in the order of arrival, answered when durable.
//!
//! ```text
//! start:   a transaction's first batch in a partition: its coordinator is asked, and what comes behind waits
//!          each partition's batch -> its shard (this one: at once; another: one message) -> a slot in the answer
//! finish:  wait for the journal groups that the batches went into -> encode the slots
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::leader_hint::LeaderHints;
use crate::api::txn::transactions;
use crate::api::{Header, Origin, Outcome, Server};
use crate::metadata::{Image, Topic as ImageTopic};
use crate::model::{ErrorCode, PartitionIndex, ShardId, TopicPartition};
use crate::partition::append::{Produced, Refusal, Request};
use crate::partition::transactions::Verification;
use crate::record::BatchHeader;
use crate::router::Call;
use crate::router::message::{self, Batches, Reply, TransactionAnswer, TransactionAsk, TransactionWhat};
use crate::runtime::clock;
use crate::shard::Shard;
use crate::shard::TRANSACTIONS_V2_FROM;
use crate::wire::data::produce::{ProduceRequest, ProduceResponse, ProducedPartition, RecordError};
use crate::wire::{Malformed, Reader, Topic};

/// A Produce request whose batches are appended or on their way.
pub struct Pending {
    shard: Rc<Shard>,
    header: Header,
    listener: Rc<str>,
    acks: i16,
    slots: Vec<Slot>,
    calls: Vec<Call>,
    /// The newest journal group that this shard's batches went into.
    sequence: u64,
    request: Vec<u8>,
}

/// One partition's place in the answer.
struct Slot {
    /// Where the topic's name lies in `Pending::request`, or its id.
    topic: TopicKey,
    partition: PartitionIndex,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TopicKey {
    Name { at: u32, bytes: u16 },
    Id(crate::model::TopicId),
}

enum State {
    Done(Result<Produced, Refusal>),
    /// The `item`th batch of the `call`th call.
    Remote {
        call: usize,
        item: usize,
    },
}

/// What Kafka's admin client calls itself.
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(in crate::api) async fn start(
    server: &Rc<Server>,
    origin: &Origin,
    client_id: &str,
    reader: &mut Reader<'_>,
    header: Header,
) -> Result<crate::api::Pending, Malformed> {
    let request = ProduceRequest::decode(reader, header.version)?;
    let shard = &server.shard;
    let mut pending = Pending {
        shard: shard.clone(),
        header,
        listener: origin.listener.clone(),
        acks: request.acks,
        slots: Vec::with_capacity(request.partition_count),
        calls: Vec::new(),
        sequence: 0,
        request: Vec::new(),
    };
    let rules = Request { produce_version: header.version, acks: request.acks, now_ms: clock::wall_ms() };
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
        // Of what the coordinator has written ahead, too.
        pending.sequence = shard.last_appended();
    }
    let mut remote: Vec<(ShardId, Batches)> = Vec::new();
    let mut last_topic = None;
    for part in request.partitions() {
        let key = match (part.topic, last_topic) {
            (topic, Some((last, key))) if topic == last => key,
            (Topic::Name(name), _) => {
                let at = pending.request.len() as u32;
                pending.request.extend_from_slice(name.as_bytes());
                TopicKey::Name { at, bytes: name.len() as u16 }
            }
            (Topic::Id(id), _) => TopicKey::Id(id),
        };
        last_topic = Some((part.topic, key));
        let topic = look_up(&image, part.topic);
        let place = topic.and_then(|topic| server.locate(&image, topic, part.partition));
        let is_here = place.is_ok_and(|(_, owner)| owner == shard.id);
        // One was made for each partition that is here, in this order.
        let verified = if is_here { verified.next().unwrap_or(Ok(None)) } else { Ok(None) };
        let place = match place {
            _ if is_forged(&request, part.records) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
            // Internal topics are their coordinators' alone. (The admin client, by its name, is let through, as in Kafka.)
            _ if topic.is_ok_and(|topic| topic.is_internal()) && client_id != ADMIN_CLIENT_ID => {
                Err(ErrorCode::InvalidTopicException)
            }
            // Kafka looks for the partition first, then at the acks, then who leads.
            Ok(_) | Err(ErrorCode::NotLeaderOrFollower) if !(-1..=1).contains(&rules.acks) => {
                Err(ErrorCode::InvalidRequiredAcks)
            }
            place => place,
        };
        if let Ok((_, owner)) = place {
            origin.traffic.note(owner);
        }
        let state = match place {
            Err(error) => State::Done(Err(error.into())),
            Ok((id, owner)) if owner == shard.id => {
                let produced = match verified {
                    Ok(verification) => shard.produce(id, part.records, &rules, verification.as_deref()).await,
                    Err(refusal) => Err(refusal),
                };
                if let Ok(produced) = &produced {
                    pending.sequence = pending.sequence.max(produced.sequence);
                }
                State::Done(produced)
            }
            Ok((id, owner)) => {
                let call = remote.iter().position(|(to, _)| *to == owner).unwrap_or_else(|| {
                    remote.push((owner, Vec::new()));
                    remote.len() - 1
                });
                remote[call].1.push((id, part.records.to_vec()));
                State::Remote { call, item: remote[call].1.len() - 1 }
            }
        };
        pending.slots.push(Slot { topic: key, partition: part.partition, state });
    }
    // Sent in this stage, so that a later request of this connection cannot overtake them.
    for (owner, batches) in remote {
        let transactional_id = request.transactional_id.map(str::to_owned);
        let bytes: usize = batches.iter().map(|(_, records)| records.len()).sum();
        let held = server.crossing.acquire(bytes as u64).await;
        let request = message::Request::Produce { batches, request: rules, transactional_id };
        pending.calls.push(server.router.call_holding(owner, request, Some(held)));
    }
    Ok(crate::api::Pending::Produce(pending))
}

fn look_up<'a>(image: &'a Image, topic: Topic<'_>) -> Result<&'a ImageTopic, ErrorCode> {
    let found = match topic {
        Topic::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        Topic::Id(id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    };
    found.map(|topic| &**topic)
}

/// What is known of the transactions that batches for partitions of this shard are of: `None` where nothing need be, because
/// they are of none or the log has the transaction already. Otherwise the coordinator is asked, once for all: whether the
/// partition is in the transaction, or from Produce v12 on, to add it (KIP-890).
pub(in crate::api) async fn verify<'a>(
    server: &Rc<Server>,
    transactional_id: Option<&str>,
    request: &Request,
    batches: impl Iterator<Item = (TopicPartition, &'a [u8])>,
) -> Vec<Result<Option<Rc<Verification>>, Refusal>> {
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
        let refusal = Refusal::new(ErrorCode::InvalidProducerIdMapping, message);
        return verified.iter().map(|_| Err(refusal.clone())).collect();
    }
    let partitions = unknown.iter().map(|(_, partition)| partition.clone()).collect();
    let what = match request.produce_version {
        TRANSACTIONS_V2_FROM.. => TransactionWhat::Add { producer, partitions, version: 2 },
        _ => TransactionWhat::Verify { producer, partitions },
    };
    let ask = TransactionAsk { transactional_id: transactional_id.unwrap_or_default().into(), what };
    let TransactionAnswer::Partitions(errors) = transactions::ask_ahead(server, ask).await else {
        unreachable!("an addition is answered by Partitions")
    };
    for ((at, _), error) in unknown.into_iter().zip(errors) {
        if error.is_error() {
            verified[at] = Err(unverified(error, request.produce_version));
        }
    }
    verified
}

/// What a producer is told about its coordinator's answer: errors that its version knows how to go on from.
fn unverified(error: ErrorCode, produce_version: i16) -> Refusal {
    let told = match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if produce_version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        // It retries this one without asking for metadata.
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
            ErrorCode::NotEnoughReplicas
        }
        ErrorCode::ConcurrentTransactions if produce_version < TRANSACTIONS_V2_FROM => ErrorCode::NotEnoughReplicas,
        other => other,
    };
    Refusal::new(told, format!("The partition is not known to be part of the transaction: {error}"))
}

/// The version of Produce from which on a producer knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;

/// A batch of a transaction in a request of no transactional id: nobody may write that (statement 69).
fn is_forged(request: &ProduceRequest<'_>, records: &[u8]) -> bool {
    request.transactional_id.is_none() && BatchHeader::decode(records).is_some_and(|header| header.is_transactional())
}

impl Pending {
    pub fn is_ready(&self) -> bool {
        self.calls.is_empty() && (self.acks == 0 || self.shard.committed() >= self.sequence)
    }

    pub async fn finish(mut self) -> Outcome {
        let mut replies = Vec::with_capacity(self.calls.len());
        for call in std::mem::take(&mut self.calls) {
            match call.reply().await {
                Reply::Produced(produced) => replies.push(produced.into_iter().map(Some).collect::<Vec<_>>()),
                _ => unreachable!("a produce call is answered by Produced"),
            }
        }
        for slot in &mut self.slots {
            if let State::Remote { call, item } = slot.state {
                slot.state = State::Done(replies[call][item].take().expect("each item is one slot's"));
            }
        }
        if self.acks == 0 {
            let refused = self.slots.iter().find_map(|slot| match &slot.state {
                State::Done(Err(refusal)) => Some(refusal.error),
                _ => None,
            });
            // The only way to tell an acks=0 producer: it will refresh its metadata when it reconnects.
            return match refused {
                None => Outcome::Nothing,
                Some(error) => Outcome::Close(format!("a batch of an acks=0 request was refused: {error}")),
            };
        }
        let committed = self.shard.committed_to(self.sequence).await;
        let image = self.shard.image();
        let mut hints = LeaderHints::new(&image, &self.listener);
        let partitions = self.slots.iter().map(|slot| {
            let topic = match slot.topic {
                TopicKey::Id(id) => Topic::Id(id),
                TopicKey::Name { at, bytes } => {
                    let name = &self.request[at as usize..at as usize + usize::from(bytes)];
                    Topic::Name(std::str::from_utf8(name).expect("was a string in the request"))
                }
            };
            let State::Done(result) = &slot.state else { unreachable!("replies are in") };
            match (result, &committed) {
                (Ok(produced), Ok(())) => ProducedPartition {
                    base_offset: produced.base_offset,
                    log_append_time_ms: produced.log_append_time_ms,
                    log_start_offset: produced.log_start_offset,
                    ..ProducedPartition::refused(topic, slot.partition, ErrorCode::None)
                },
                // Appended, but nobody can promise that it stays.
                (Ok(_), Err(failure)) => ProducedPartition {
                    error_message: Some(Cow::Borrowed(failure.as_str())),
                    ..ProducedPartition::refused(topic, slot.partition, ErrorCode::KafkaStorageError)
                },
                (Err(refusal), _) => ProducedPartition {
                    error_message: refusal.message.as_deref().map(Cow::Borrowed),
                    record_errors: refusal
                        .record_errors
                        .iter()
                        .map(|fault| RecordError {
                            batch_index: fault.batch_index,
                            message: Some(Cow::Borrowed(fault.message.as_str())),
                        })
                        .collect(),
                    // KIP-951
                    current_leader: match refusal.error {
                        ErrorCode::NotLeaderOrFollower => hints.leader(topic, slot.partition),
                        _ => Default::default(),
                    },
                    ..ProducedPartition::refused(topic, slot.partition, refusal.error)
                },
            }
        });
        let partitions = partitions.collect();
        let node_endpoints = hints.into_endpoints();
        let response = ProduceResponse { partitions, throttle_time_ms: 0, node_endpoints };
        match response.encode_frame(self.header.version, self.header.correlation_id) {
            Ok(frame) => Outcome::frame(frame),
            Err(error) => Outcome::Close(format!("the answer cannot be encoded: {error}")),
        }
    }
}
