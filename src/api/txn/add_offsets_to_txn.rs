//! AddOffsetsToTxn (key 25): a group's partition of `__consumer_offsets` becomes part of a transaction.

use std::rc::Rc;

use super::transactions::{ask, check_coordinator};
use crate::api::{Header, Outcome, Pending, Server};
use crate::coordinator::partition_of;
use crate::coordinator::topic::InternalTopic;
use crate::model::ErrorCode;
use crate::router::message::{TransactionAnswer, TransactionAsk, TransactionWhat};
use crate::wire::txn::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::wire::{Malformed, Reader};

pub(in crate::api) fn start(
    server: &Rc<Server>,
    reader: &mut Reader<'_>,
    header: Header,
) -> Result<Pending, Malformed> {
    let request = AddOffsetsToTxnRequest::decode(reader, header.version)?;
    let server = server.clone();
    Ok(Pending::later(async move {
        let error_code = match add(&server, request).await {
            // Clients of that time know no PRODUCER_FENCED.
            ErrorCode::ProducerFenced if header.version < 2 => ErrorCode::InvalidProducerEpoch,
            error_code => error_code,
        };
        Outcome::of(&AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code }, &header)
    }))
}

async fn add(server: &Rc<Server>, request: AddOffsetsToTxnRequest) -> ErrorCode {
    if request.transactional_id.is_empty() {
        return ErrorCode::InvalidRequest;
    }
    if let Err(error) = check_coordinator(server, &request.transactional_id) {
        return error;
    }
    let image = server.shard.image();
    // Who has found the group's coordinator has had the topic made.
    let Some(offsets) = image.topic(InternalTopic::ConsumerOffsets.name()) else {
        return ErrorCode::CoordinatorNotAvailable;
    };
    let partition = partition_of(&request.group_id, offsets.partitions.len());
    let what = TransactionWhat::Add {
        producer: (request.producer_id, request.producer_epoch),
        partitions: vec![(offsets.name.to_string(), partition)],
        version: 0,
    };
    match ask(server, TransactionAsk { transactional_id: request.transactional_id, what }).await {
        TransactionAnswer::Partitions(errors) => errors[0],
        _ => unreachable!("an addition is answered by Partitions"),
    }
}
