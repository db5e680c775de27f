//! TxnOffsetCommit (key 28): how far a group has read, if a transaction is committed (KIP-98, KIP-447).
//!
//! The group's partition of `__consumer_offsets` is in the transaction as any other that the producer writes to:
//! added by AddOffsetsToTxn before, or from version 5 on right here (KIP-890).

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
use crate::router::message::{TransactionAnswer, TransactionAsk, TransactionWhat};
use crate::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};
use crate::wire::{Malformed, Reader};

/// From here on the partition is added by the commit.
const ADDS_FROM: i16 = 5;
/// From here on a client knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let mut request: TxnOffsetCommitRequest = call.decode(body)?;
    let place = call.owner(&request.group_id);
    if let GroupOwner::Remote(owner) = place {
        return Ok(call.forward(owner));
    }
    let refused = take_unknown(&mut request, &call.server.shard.image());
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
        groups.commit_in_transaction(request, now, writes)
    });
    step.await?
}

/// Still, now that it is this request's turn.
fn is_in_transaction(
    partition: &Partition,
    producer: (ProducerId, ProducerEpoch),
    verification: Option<&Verification>,
) -> bool {
    partition.has_open_transaction(producer.0, producer.1)
        || verification.is_some_and(|verification| verification.membership(false) != Membership::ByLog)
}

/// Asks the transaction's coordinator, wherever it is, to let the partition be part of the transaction.
async fn verify(call: &GroupRequest, partition: &Partition, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    let version = call.header.version;
    let producer = (request.producer_id, request.producer_epoch);
    let partitions = vec![(partition.name.to_string(), partition.id.partition)];
    let what = match version {
        ADDS_FROM.. => TransactionWhat::Add { producer, partitions, version: 2 },
        _ => TransactionWhat::Verify { producer, partitions },
    };
    let ask = TransactionAsk { transactional_id: request.transactional_id.clone(), what };
    let TransactionAnswer::Partitions(errors) = transactions::ask_ahead(&call.server, ask).await else {
        unreachable!("an addition is answered by Partitions")
    };
    Err(match errors[0] {
        ErrorCode::None => return Ok(()),
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        // Of the transaction's coordinator, not of the group's: the client is to ask again, and not to look for
        // another one.
        ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::ConcurrentTransactions if version < ADDS_FROM => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    })
}

/// Takes out partitions that do not exist, and answers for them.
fn take_unknown(request: &mut TxnOffsetCommitRequest, image: &Image) -> TxnOffsetCommitResponse {
    let mut refused = TxnOffsetCommitResponse::default();
    request.topics.retain_mut(|asked| {
        let topic = image.topic(&asked.name);
        let is_known = |index: i32| topic.is_some_and(|topic| topic.partition(index).is_some());
        let unknown: Vec<_> = asked.partitions.extract_if(.., |asked| !is_known(asked.partition_index)).collect();
        if !unknown.is_empty() {
            let unknown = TxnOffsetCommitRequestTopic { name: asked.name.clone(), partitions: unknown };
            refused.topics.push(refuse(&unknown, ErrorCode::UnknownTopicOrPartition));
        }
        !asked.partitions.is_empty()
    });
    refused
}

fn refuse(topic: &TxnOffsetCommitRequestTopic, error_code: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let refuse = |partition_index| TxnOffsetCommitResponsePartition { partition_index, error_code };
    let partitions = topic.partitions.iter().map(|partition| refuse(partition.partition_index)).collect();
    TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions }
}

fn refuse_all(request: &TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| refuse(topic, error)).collect();
    TxnOffsetCommitResponse { throttle_time_ms: 0, topics }
}

/// One entry for each topic.
fn merge(response: TxnOffsetCommitResponse, more: TxnOffsetCommitResponse) -> TxnOffsetCommitResponse {
    // The usual case, without more ado.
    if response.topics.is_empty() && more.topics.len() == 1 {
        return more;
    }
    let all = response.topics.into_iter().chain(more.topics);
    let topics = by_topic(all.map(|topic| (topic.name, topic.partitions))).into_iter();
    let topics = topics.map(|(name, partitions)| TxnOffsetCommitResponseTopic { name, partitions });
    TxnOffsetCommitResponse { topics: topics.collect(), ..response }
}
