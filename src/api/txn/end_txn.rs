//! EndTxn (key 26): commits or aborts a transaction. The response is sent when the decision is durable; the markers
//! follow.

use std::rc::Rc;

use super::transactions::{ask, check_coordinator};
use crate::api::server::Server;
use crate::model::ErrorCode;
use crate::record::control::Ending;
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::txn::end_txn::{EndTxnRequest, EndTxnResponse};

pub(in crate::api) async fn answer(server: &Rc<Server>, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let ended = match request.transactional_id.is_empty() {
        true => Err(ErrorCode::InvalidRequest),
        false => end(server, request, version).await,
    };
    match ended {
        Ok((producer_id, producer_epoch)) => {
            EndTxnResponse { producer_id, producer_epoch, ..EndTxnResponse::default() }
        }
        // PRODUCER_FENCED came with version 2.
        Err(ErrorCode::ProducerFenced) if version < 2 => {
            EndTxnResponse { error_code: ErrorCode::InvalidProducerEpoch, ..EndTxnResponse::default() }
        }
        Err(error_code) => EndTxnResponse { error_code, ..EndTxnResponse::default() },
    }
}

async fn end(server: &Rc<Server>, request: EndTxnRequest, version: i16) -> Result<(i64, i16), ErrorCode> {
    check_coordinator(server, &request.transactional_id)?;
    let operation = TransactionOperation::End {
        producer: (request.producer_id, request.producer_epoch),
        ending: if request.committed { Ending::Commit } else { Ending::Abort },
        version: if version >= 5 { 2 } else { 0 },
    };
    match ask(server, TransactionRequest { transactional_id: request.transactional_id, operation }).await {
        TransactionReply::Producer(producer) => producer,
        _ => unreachable!("an end is answered by Producer"),
    }
}
