//! AddOffsetsToTxn (key 25): adds a group's partition of `__consumer_offsets` to a transaction.

use std::rc::Rc;

use super::transactions::{ask, check_coordinator};
use crate::api::server::Server;
use crate::coordinator::partition_of;
use crate::coordinator::topic::InternalTopic;
use crate::model::ErrorCode;
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::txn::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let error_code = match add(server, request).await {
        // PRODUCER_FENCED came with version 2.
        ErrorCode::ProducerFenced if version < 2 => ErrorCode::InvalidProducerEpoch,
        error_code => error_code,
    };
    AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code }
}

async fn add(server: &Rc<Server>, request: AddOffsetsToTxnRequest) -> ErrorCode {
    if request.transactional_id.is_empty() {
        return ErrorCode::InvalidRequest;
    }
    if let Err(error) = check_coordinator(server, &request.transactional_id) {
        return error;
    }
    let image = server.shard.image();
    // A client finds the group's coordinator first, which creates the topic.
    let Some(offsets) = image.topic(InternalTopic::ConsumerOffsets.name()) else {
        return ErrorCode::CoordinatorNotAvailable;
    };
    let partition = partition_of(&request.group_id, offsets.partitions.len());
    let operation = TransactionOperation::Add {
        producer: (request.producer_id, request.producer_epoch),
        partitions: vec![(offsets.name.to_string(), partition)],
        version: 0,
    };
    match ask(server, TransactionRequest { transactional_id: request.transactional_id, operation }).await {
        TransactionReply::Partitions(errors) => errors[0],
        _ => unreachable!("an addition is answered by Partitions"),
    }
}
