//! TxnOffsetCommit (key 28): commits offsets of a group as part of a transaction (KIP-98, KIP-447).
//!
//! The group's partition of `__consumer_offsets` is a partition of the transaction. AddOffsetsToTxn adds it; from
//! version 5 on this request adds it (KIP-890).

use std::rc::Rc;

use super::offset_commit::{merge, refuse_all, take_unknown};
use super::request::{Framed, GroupOwner, GroupRequest, durable};
use crate::api::txn::transactions;
use crate::coordinator::Ledger;
use crate::coordinator::group::Groups;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::partition::Partition;
use crate::partition::producers::Membership;
use crate::partition::transactions::Verification;
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponseTopic,
};
use crate::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponseTopic,
};
use crate::wire::{Malformed, Reader};

/// The first version that adds the partition to the transaction.
const ADDS_FROM: i16 = 5;
/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// The first version that names topics by id, and whose clients know GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH.
const IDS_FROM: i16 = 6;

/// A request, with its group's part in the form of OffsetCommit.
struct Transactional {
    transactional_id: String,
    producer: (ProducerId, ProducerEpoch),
    commit: OffsetCommitRequest,
}

impl From<TxnOffsetCommitRequest> for Transactional {
    fn from(request: TxnOffsetCommitRequest) -> Transactional {
        let partition = |partition: TxnOffsetCommitRequestPartition| OffsetCommitRequestPartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            committed_metadata: partition.committed_metadata,
        };
        let topic = |topic: TxnOffsetCommitRequestTopic| OffsetCommitRequestTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic.partitions.into_iter().map(partition).collect(),
        };
        Transactional {
            transactional_id: request.transactional_id,
            producer: (request.producer_id, request.producer_epoch),
            commit: OffsetCommitRequest {
                group_id: request.group_id,
                generation_id_or_member_epoch: request.generation_id_or_member_epoch,
                member_id: request.member_id,
                group_instance_id: request.group_instance_id,
                topics: request.topics.into_iter().map(topic).collect(),
                ..OffsetCommitRequest::default()
            },
        }
    }
}

impl From<OffsetCommitResponse> for TxnOffsetCommitResponse {
    fn from(response: OffsetCommitResponse) -> TxnOffsetCommitResponse {
        let topics = response.topics.into_iter().map(|topic| {
            let OffsetCommitResponseTopic { name, topic_id, partitions } = topic;
            TxnOffsetCommitResponseTopic { name, topic_id, partitions }
        });
        TxnOffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
    }
}

pub(in crate::api) async fn start(call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
    let mut request = Transactional::from(call.decode::<TxnOffsetCommitRequest>(body)?);
    let place = call.owner(&request.commit.group_id);
    if let GroupOwner::Remote(owner) = place {
        return Ok(call.forward(owner));
    }
    let by_id = call.header.version >= IDS_FROM;
    let refused = take_unknown(&mut request.commit.topics, by_id, &call.server.shard.image());
    if request.commit.topics.is_empty() {
        return Ok(call.respond_now(&TxnOffsetCommitResponse::from(refused)));
    }
    let committed = match place {
        _ if request.commit.group_id.is_empty() => Err(ErrorCode::InvalidGroupId),
        GroupOwner::Local(ledger) => commit(&call, &ledger, &request).await.map(|committed| (ledger, committed)),
        GroupOwner::Remote(_) => unreachable!("forwarded above"),
        GroupOwner::Unavailable(error) => Err(error),
    };
    Ok(Box::pin(async move {
        let committed = match committed {
            Ok((ledger, committed)) => durable(&ledger, Ok(committed)).await,
            Err(error) => Err(error),
        };
        let response = committed.unwrap_or_else(|error| refuse_all(&request.commit, error));
        call.respond(&TxnOffsetCommitResponse::from(merge(refused, response)))
    }))
}

async fn commit(
    call: &GroupRequest,
    ledger: &Rc<Ledger<Groups>>,
    request: &Transactional,
) -> Result<OffsetCommitResponse, ErrorCode> {
    let partition = ledger.partition().clone();
    let producer = request.producer;
    let verification = partition.begin_verification(producer.0, producer.1);
    if verification.is_some() {
        verify(call, &partition, request).await?;
    }
    let step = ledger.step(|groups, now, writes| {
        if !is_in_transaction(&partition, producer, verification.as_deref()) {
            return Err(ErrorCode::InvalidTxnState);
        }
        let knows_members = call.header.version >= IDS_FROM;
        groups.commit_in_transaction(&request.commit, producer, knows_members, now, writes)
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
async fn verify(call: &GroupRequest, partition: &Partition, request: &Transactional) -> Result<(), ErrorCode> {
    let (version, producer) = (call.header.version, request.producer);
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
