//! TxnOffsetCommit (key 28): commits offsets of a group as part of a transaction (KIP-98, KIP-447).
//!
//! The group's partition of `__consumer_offsets` is a partition of the transaction. AddOffsetsToTxn adds it; from
//! version 5 on this request adds it (KIP-890).

use std::rc::Rc;

use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::api::gather::by_topic;
use crate::api::txn::transactions;
use crate::coordinator::Ledger;
use crate::coordinator::group::Groups;
use crate::metadata::Image;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::partition::Partition;
use crate::partition::producers::Membership;
use crate::partition::transactions::Verification;
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};
use crate::wire::{Malformed, Reader};

/// The first version that adds the partition to the transaction.
const ADDS_FROM: i16 = 5;
/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// The first version that names topics by id, and whose clients know GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH.
const IDS_FROM: i16 = 6;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let mut request: TxnOffsetCommitRequest = call.decode(body)?;
    let place = call.owner(&request.group_id);
    if let GroupOwner::Remote(owner) = place {
        return Ok(call.forward(owner));
    }
    let refused = take_unknown(&mut request, call.header.version, &call.server.shard.image());
    if request.topics.is_empty() {
        return Ok(call.respond_now(&refused));
    }
    if request.group_id.is_empty() {
        return Ok(call.respond_now(&merge(refused, refuse_all(&request, ErrorCode::InvalidGroupId))));
    }
    let committed = match place {
        GroupOwner::Local(ledger) => commit(&call, &ledger, &request).await.map(|committed| (ledger, committed)),
        GroupOwner::Remote(_) => unreachable!("forwarded above"),
        GroupOwner::Unavailable(error) => Err(error),
    };
    Ok(Box::pin(async move {
        let committed = match committed {
            Ok((ledger, committed)) => durable(&ledger, Ok(committed)).await,
            Err(error) => Err(error),
        };
        let response = committed.unwrap_or_else(|error| refuse_all(&request, error));
        call.respond(&merge(refused, response))
    }))
}

async fn commit(
    call: &GroupRequest,
    ledger: &Rc<Ledger<Groups>>,
    request: &TxnOffsetCommitRequest,
) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    let partition = ledger.partition().clone();
    let producer = (request.producer_id, request.producer_epoch);
    let verification = partition.begin_verification(producer.0, producer.1);
    if verification.is_some() {
        verify(call, &partition, request).await?;
    }
    let step = ledger.step(|groups, now, writes| {
        if !is_in_transaction(&partition, producer, verification.as_deref()) {
            return Err(ErrorCode::InvalidTxnState);
        }
        groups.commit_in_transaction(request, call.header.version >= IDS_FROM, now, writes)
    });
    step.await?
}

/// Checks again in the step itself: the transaction may have ended during the verification.
fn is_in_transaction(
    partition: &Partition,
    producer: (ProducerId, ProducerEpoch),
    verification: Option<&Verification>,
) -> bool {
    partition.has_open_transaction(producer.0, producer.1)
        || verification.is_some_and(|verification| verification.membership(false) != Membership::ByLog)
}

/// Verifies with the transaction's coordinator that the partition is in the transaction, or adds it.
async fn verify(call: &GroupRequest, partition: &Partition, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    let version = call.header.version;
    let producer = (request.producer_id, request.producer_epoch);
    let partitions = vec![(partition.name.to_string(), partition.id.partition)];
    let operation = match version {
        ADDS_FROM.. => TransactionOperation::Add { producer, partitions, version: 2 },
        _ => TransactionOperation::Verify { producer, partitions },
    };
    let ask = TransactionRequest { transactional_id: request.transactional_id.clone(), operation };
    // Boxed, because every connection's future would have room for this rare call.
    let TransactionReply::Partitions(errors) = Box::pin(transactions::ask_ahead(&call.server, ask)).await else {
        unreachable!("an addition is answered by Partitions")
    };
    Err(match errors[0] {
        ErrorCode::None => return Ok(()),
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        // These errors concern the transaction's coordinator. The client must retry here, and not look for another
        // group coordinator.
        ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::ConcurrentTransactions if version < ADDS_FROM => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    })
}

/// Removes unknown topics and partitions, and returns their errors. Sets the names of the topics that stay.
fn take_unknown(request: &mut TxnOffsetCommitRequest, version: i16, image: &Image) -> TxnOffsetCommitResponse {
    let mut refused = TxnOffsetCommitResponse::default();
    request.topics.retain_mut(|asked| {
        let by_id = version >= IDS_FROM;
        let topic = if by_id { image.topic_by_id(asked.topic_id) } else { image.topic(&asked.name) };
        let Some(topic) = topic else {
            let error = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            refused.topics.push(refuse(asked, error));
            return false;
        };
        asked.name = topic.name.as_str().into();
        let is_known = |index: i32| topic.partition(index).is_some();
        let unknown: Vec<_> = asked.partitions.extract_if(.., |asked| !is_known(asked.partition_index)).collect();
        if !unknown.is_empty() {
            let unknown = TxnOffsetCommitRequestTopic { partitions: unknown, ..asked.clone() };
            refused.topics.push(refuse(&unknown, ErrorCode::UnknownTopicOrPartition));
        }
        !asked.partitions.is_empty()
    });
    refused
}

fn refuse(topic: &TxnOffsetCommitRequestTopic, error_code: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let refuse = |partition_index| TxnOffsetCommitResponsePartition { partition_index, error_code };
    let partitions = topic.partitions.iter().map(|partition| refuse(partition.partition_index)).collect();
    TxnOffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
}

fn refuse_all(request: &TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| refuse(topic, error)).collect();
    TxnOffsetCommitResponse { throttle_time_ms: 0, topics }
}

/// Merges two responses, with one entry for each topic.
fn merge(response: TxnOffsetCommitResponse, more: TxnOffsetCommitResponse) -> TxnOffsetCommitResponse {
    // The common case needs no map.
    if response.topics.is_empty() && more.topics.len() == 1 {
        return more;
    }
    let all = response.topics.into_iter().chain(more.topics);
    let topics = by_topic(all.map(|topic| ((topic.name, topic.topic_id), topic.partitions))).into_iter();
    let topics =
        topics.map(|((name, topic_id), partitions)| TxnOffsetCommitResponseTopic { name, topic_id, partitions });
    TxnOffsetCommitResponse { topics: topics.collect(), ..response }
}
