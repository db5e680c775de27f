//! InitProducerId (key 22): gives an idempotent producer an id. A transactional producer also gets the next epoch,
//! which fences its predecessor and aborts the predecessor's transaction (KIP-98, KIP-360).

use std::rc::Rc;

use super::transactions::{ask, check_coordinator, producer_id};
use crate::api::server::Server;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::router::message::{TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: InitProducerIdRequest,
    version: i16,
) -> InitProducerIdResponse {
    let (producer_id, producer_epoch, error_code) = match init(server, request).await {
        Ok((id, epoch)) => (id, epoch, ErrorCode::None),
        // PRODUCER_FENCED came with version 4.
        Err(ErrorCode::ProducerFenced) if version < 4 => (-1, -1, ErrorCode::InvalidProducerEpoch),
        Err(error) => (-1, -1, error),
    };
    InitProducerIdResponse { throttle_time_ms: 0, error_code, producer_id, producer_epoch }
}

async fn init(server: &Rc<Server>, request: InitProducerIdRequest) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let Some(transactional_id) = check(&request)? else {
        return Ok((producer_id(server).await?, 0));
    };
    check_coordinator(server, transactional_id)?;
    let expected = (request.producer_id != -1).then_some((request.producer_id, request.producer_epoch));
    let operation = TransactionOperation::Init { timeout_ms: request.transaction_timeout_ms, expected };
    match ask(server, TransactionRequest { transactional_id: transactional_id.into(), operation }).await {
        TransactionReply::Producer(producer) => producer,
        _ => unreachable!("an init is answered by Producer"),
    }
}

/// Checks the request. Returns the transactional id, if the producer has one.
fn check(request: &InitProducerIdRequest) -> Result<Option<&str>, ErrorCode> {
    // KIP-360: the producer id and its epoch are both given or both -1.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        // An idempotent producer gets a fresh id, even if it sends one.
        None => Ok(None),
        // Null means no transactional id. An empty id would be shared by all producers that left it empty.
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(id) => Ok(Some(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_request(
        transactional_id: Option<&str>,
        producer_id: i64,
        producer_epoch: i16,
        expected: Result<Option<&str>, ErrorCode>,
    ) {
        let request = InitProducerIdRequest {
            transactional_id: transactional_id.map(str::to_owned),
            producer_id,
            producer_epoch,
            ..InitProducerIdRequest::default()
        };
        assert_eq!(check(&request), expected, "{request:?}");
    }

    #[test]
    fn an_id_without_its_epoch_and_an_empty_transactional_id_are_rejected() {
        check_request(None, -1, -1, Ok(None));
        check_request(None, 5, 3, Ok(None));
        check_request(None, 5, -1, Err(ErrorCode::InvalidRequest));
        check_request(None, -1, 3, Err(ErrorCode::InvalidRequest));
        check_request(Some(""), -1, -1, Err(ErrorCode::InvalidRequest));
        check_request(Some("tx"), -1, -1, Ok(Some("tx")));
        check_request(Some("tx"), 5, 3, Ok(Some("tx")));
    }
}
