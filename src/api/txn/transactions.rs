//! Transactions across the node: calls the coordinator of a transactional id on its shard, and writes the markers of
//! transactions whose end is decided.

use std::rc::Rc;
use std::time::Duration;

use super::write_txn_markers::end_transactions;
use crate::api::controller::CONTROLLER;
use crate::api::server::Server;
use crate::config::Routing;
use crate::coordinator::txn::{InitProducer, PendingMarkers, ProducerDecision, Transactions};
use crate::coordinator::{Ledger, Now, Writes};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId, ShardId, TopicPartition};
use crate::partition::transactions::EndTransaction;
use crate::record::control::Marker;
use crate::router::message::{
    DescribedTransaction, ListedTransaction, ProducerIdsNotReserved, Reply, ShardRequest, TransactionOperation,
    TransactionReply, TransactionRequest,
};
use crate::runtime::clock;
use crate::runtime::{self, Class};

/// The pause before markers are written again.
const RETRY: Duration = Duration::from_millis(100);
/// The longest wait of a transaction's first partition for the end of the previous transaction (Kafka:
/// `add.partitions.to.txn.retry.backoff.max.ms`). The end takes about one flush; a retry of the producer takes longer.
const FINISH_WAIT: Duration = Duration::from_millis(100);

type Producer = (ProducerId, ProducerEpoch);

/// Starts the task that finishes the transactions whose end is decided.
pub(in crate::api) fn start(server: &Rc<Server>) {
    let server = server.clone();
    runtime::spawn(Class::Foreground, "transactions", async move {
        loop {
            let id = server.prepared.next().await;
            let server = server.clone();
            runtime::spawn(Class::Foreground, "transaction end", async move { finish(&server, &id).await });
        }
    });
}

/// Writes the markers of a transaction whose end is decided. Retries until all are written.
async fn finish(server: &Rc<Server>, id: &str) {
    let Ok(ledger) = server.transactions.ledger(id) else { return };
    // Markers are written only after the decision is durable, because a crash would lose the decision.
    if ledger.wait_durable().await.is_err() {
        return;
    }
    let Ok(Some(pending_markers)) = ledger.step(|machine, _, _| machine.pending_markers(id)).await else { return };
    let coordinator_epoch = ledger.partition().leader_epoch();
    write_markers(server, id, &pending_markers, coordinator_epoch.0).await;
    let complete = |machine: &mut Transactions, now: Now, writes: &mut Writes<_>| {
        machine.complete(id, &pending_markers, now, writes)
    };
    while let Err(error) = ledger.step(complete).await {
        // Retries, because a full disk gets space again.
        if server.shard.failure().is_some() || ledger.is_closed() {
            return;
        }
        tracing::debug!("{id}: retrying to complete the transaction: {error}");
        runtime::sleep(RETRY).await;
    }
}

async fn write_markers(server: &Rc<Server>, id: &str, pending_markers: &PendingMarkers, coordinator_epoch: i32) {
    let PendingMarkers { producer_id, producer_epoch, ending, is_v2, .. } = *pending_markers;
    let marker = Marker { ending, coordinator_epoch };
    let end = EndTransaction { producer_id, producer_epoch, marker, is_v2 };
    let mut left = pending_markers.partitions.clone();
    while !left.is_empty() {
        let image = server.shard.image();
        // A deleted partition needs no marker.
        let mut places: Vec<(TopicPartition, ShardId)> = Vec::new();
        left.retain(|(topic, partition)| {
            let place = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition);
            let place = place.and_then(|topic| server.locate(&image, topic, *partition));
            places.extend(place);
            place.is_ok()
        });
        let mut errors = end_transactions(server, places, end).await.into_iter();
        left.retain(|(topic, partition)| match errors.next().expect("one for one") {
            ErrorCode::None | ErrorCode::UnknownTopicOrPartition => false,
            // The partition has a higher epoch of the producer, so the transaction has already ended there.
            error @ (ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced) => {
                tracing::warn!("{id}: {topic}-{partition} does not need the marker any more: {error}");
                false
            }
            error => {
                tracing::debug!("{id}: retrying to write the marker to {topic}-{partition}: {error}");
                true
            }
        });
        if !left.is_empty() {
            if server.shard.failure().is_some() {
                return std::future::pending().await;
            }
            runtime::sleep(RETRY).await;
        }
    }
}

/// Checks that this broker accepts requests about the transactional id. In direct routing only its coordinator does; in
/// the other routings every shard of the coordinator's node does.
pub(in crate::api) fn check_coordinator(server: &Server, id: &str) -> Result<(), ErrorCode> {
    let (_, owner) = server.transactions.owner(id)?;
    match server.shard.routing {
        Routing::Direct if owner != server.shard.id => Err(ErrorCode::NotCoordinator),
        _ => Ok(()),
    }
}

/// Calls the coordinator of a transactional id on its shard. The answer is durable.
pub(in crate::api) async fn ask(server: &Rc<Server>, ask: TransactionRequest) -> TransactionReply {
    match server.transactions.owner(&ask.transactional_id) {
        Err(error) => refuse(&ask.operation, error),
        Ok((_, owner)) if owner == server.shard.id => answer(server, ask).await,
        Ok((_, owner)) => match server.router.call(owner, ShardRequest::Transaction(Box::new(ask))).reply().await {
            Reply::Transaction(answer) => answer,
            _ => unreachable!("a transaction call is answered by Transaction"),
        },
    }
}

/// Like [`ask`], for a caller that appends to a log of this shard next and responds when the append is durable. A
/// coordinator on this shard answers before its records are durable: they precede the append in the same journal, and a
/// crash leaves a prefix of the journal (COOR-4).
pub(in crate::api) async fn ask_ahead(server: &Rc<Server>, ask: TransactionRequest) -> TransactionReply {
    let owner = server.transactions.owner(&ask.transactional_id);
    if owner.is_ok_and(|(_, owner)| owner != server.shard.id) {
        return self::ask(server, ask).await;
    }
    let ledger = match server.transactions.ledger(&ask.transactional_id) {
        Ok(ledger) => ledger,
        Err(error) => return refuse(&ask.operation, error),
    };
    let answer = decide(server, &ledger, &ask).await.unwrap_or_else(|error| refuse(&ask.operation, error));
    let goes_on =
        matches!(&answer, TransactionReply::Partitions(errors) if !errors.iter().any(|error| error.is_error()));
    // After an error the caller appends nothing, so the answer itself has to be durable.
    match goes_on {
        true => answer,
        false => ledger.wait_durable().await.map_or_else(|error| refuse(&ask.operation, error), |()| answer),
    }
}

fn refuse(operation: &TransactionOperation, error: ErrorCode) -> TransactionReply {
    match operation {
        TransactionOperation::Init { .. } | TransactionOperation::End { .. } => TransactionReply::Producer(Err(error)),
        TransactionOperation::Add { partitions, .. } | TransactionOperation::Verify { partitions, .. } => {
            TransactionReply::Partitions(vec![error; partitions.len()])
        }
        TransactionOperation::Describe => TransactionReply::Described(Err(error)),
    }
}

/// Answers a call on the coordinator's shard.
pub(in crate::api) async fn answer(server: &Rc<Server>, ask: TransactionRequest) -> TransactionReply {
    let ledger = match server.transactions.ledger(&ask.transactional_id) {
        Ok(ledger) => ledger,
        Err(error) => return refuse(&ask.operation, error),
    };
    match decide(server, &ledger, &ask).await {
        Ok(answer) => match ledger.wait_durable().await {
            Ok(()) => answer,
            Err(error) => refuse(&ask.operation, error),
        },
        Err(error) => refuse(&ask.operation, error),
    }
}

async fn decide(
    server: &Rc<Server>,
    ledger: &Ledger<Transactions>,
    ask: &TransactionRequest,
) -> Result<TransactionReply, ErrorCode> {
    let id = &*ask.transactional_id;
    Ok(match &ask.operation {
        TransactionOperation::Init { timeout_ms, expected } => {
            let init = InitProducer { timeout_ms: *timeout_ms, expected: *expected };
            TransactionReply::Producer(
                with_producer_id(server, async |fresh| {
                    ledger.step(|machine, now, writes| machine.init(id, init, fresh, now, writes)).await?
                })
                .await,
            )
        }
        TransactionOperation::End { producer, ending, version: 2 } => TransactionReply::Producer(
            with_producer_id(server, async |fresh| {
                ledger.step(|machine, now, writes| machine.end_v2(id, *producer, *ending, fresh, now, writes)).await?
            })
            .await,
        ),
        TransactionOperation::End { producer, ending, .. } => {
            let ended = ledger.step(|machine, now, writes| machine.end_v1(id, *producer, *ending, now, writes)).await?;
            TransactionReply::Producer(ended.map(|()| *producer))
        }
        TransactionOperation::Add { producer, partitions, version } => {
            let added = add(server, ledger, id, *producer, partitions, *version).await?;
            TransactionReply::Partitions(vec![added.err().unwrap_or(ErrorCode::None); partitions.len()])
        }
        TransactionOperation::Verify { producer, partitions } => {
            let verified = ledger.step(|machine, _, _| machine.verify(id, *producer, partitions)).await?;
            TransactionReply::Partitions(verified.unwrap_or_else(|error| vec![error; partitions.len()]))
        }
        TransactionOperation::Describe => TransactionReply::Described(
            ledger.step(|machine, _, _| describe(machine, id)).await?.ok_or(ErrorCode::TransactionalIdNotFound),
        ),
    })
}

/// Runs `decide`, again with a fresh producer id if the decision needs one.
async fn with_producer_id(
    server: &Rc<Server>,
    mut decide: impl AsyncFnMut(Option<ProducerId>) -> Result<ProducerDecision, ErrorCode>,
) -> Result<Producer, ErrorCode> {
    let mut fresh = None;
    loop {
        match decide(fresh).await? {
            ProducerDecision::Producer { id, epoch } => return Ok((id, epoch)),
            ProducerDecision::NeedsProducerId => {
                assert!(fresh.is_none(), "the decision had a fresh producer id");
                fresh = Some(producer_id(server).await?);
            }
        }
    }
}

async fn add(
    server: &Rc<Server>,
    ledger: &Ledger<Transactions>,
    id: &str,
    producer: Producer,
    partitions: &[(String, i32)],
    version: i16,
) -> Result<Result<(), ErrorCode>, ErrorCode> {
    let deadline = clock::now() + FINISH_WAIT;
    loop {
        let finished = server.prepared.finished.notified();
        let added = ledger
            .step(|machine, now, writes| machine.add_partitions(id, producer, partitions, version, now, writes))
            .await?;
        let left = deadline.since(clock::now());
        if added != Err(ErrorCode::ConcurrentTransactions) || left.is_zero() {
            return Ok(added);
        }
        let _ = runtime::timeout(left, finished).await;
    }
}

fn describe(machine: &Transactions, id: &str) -> Option<DescribedTransaction> {
    let transaction = machine.get(id)?;
    let partitions = transaction.partitions.iter();
    Some(DescribedTransaction {
        state: transaction.state.name(),
        timeout_ms: transaction.timeout_ms,
        start_ms: transaction.start_ms,
        producer: (transaction.producer_id, transaction.epoch),
        partitions: partitions.map(|(topic, all)| (topic.clone(), all.iter().copied().collect())).collect(),
    })
}

/// The transactional ids that this shard coordinates.
pub(in crate::api) async fn list(server: &Rc<Server>) -> Result<Vec<ListedTransaction>, ErrorCode> {
    let mut listed = Vec::new();
    for ledger in server.transactions.all() {
        let of_one = ledger.step(|machine, _, _| {
            let all = machine.all().into_iter().map(|(id, transaction)| ListedTransaction {
                transactional_id: id.into(),
                producer_id: transaction.producer_id,
                state: transaction.state.name(),
                start_ms: transaction.start_ms,
            });
            all.collect::<Vec<_>>()
        });
        listed.extend(of_one.await?);
        ledger.wait_durable().await?;
    }
    Ok(listed)
}

/// Returns a producer id that was never given to a producer. The controller's shard has them.
pub(in crate::api) async fn producer_id(server: &Rc<Server>) -> Result<ProducerId, ErrorCode> {
    if server.shard.id == CONTROLLER {
        return server.controller().producer_id(server.node()).await;
    }
    match server.router.call(CONTROLLER, ShardRequest::ProducerId).reply().await {
        Reply::ProducerId(id) => id,
        _ => unreachable!("a producer id call is answered by ProducerId"),
    }
}

/// Reserves all producer ids up to `highest`, so that no producer gets one. A log that another cluster wrote remembers
/// these ids, and would take a new producer's first batch for a duplicate.
pub async fn reserve_producer_ids(server: &Rc<Server>, highest: ProducerId) -> Result<(), ProducerIdsNotReserved> {
    if server.shard.id == CONTROLLER {
        let reserved = server.controller().reserve_producer_ids(server.node(), highest).await;
        return reserved.map_err(|error| ProducerIdsNotReserved { highest, why: error.to_string() });
    }
    match server.router.call(CONTROLLER, ShardRequest::ReserveProducerIds(highest)).reply().await {
        Reply::ProducerIdsReserved(reserved) => reserved,
        _ => unreachable!("a reservation is answered by ProducerIdsReserved"),
    }
}
