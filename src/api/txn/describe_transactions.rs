//! DescribeTransactions (key 65): the state of transactional ids (KIP-664).

use std::rc::Rc;

use super::transactions::{ask, check_coordinator};
use crate::api::gather::deduplicate_if_many;
use crate::api::server::Server;
use crate::model::ErrorCode;
use crate::router::message::{self, TransactionOperation, TransactionReply, TransactionRequest};
use crate::wire::txn::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribedTransaction, DescribedTransactionTopic,
};

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: DescribeTransactionsRequest,
    _version: i16,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for id in deduplicate_if_many(request.transactional_ids.into_iter(), String::clone) {
        response.transaction_states.push(describe(server, id).await);
    }
    response
}

async fn describe(server: &Rc<Server>, id: String) -> DescribedTransaction {
    let mut described = DescribedTransaction { transactional_id: id.clone(), ..DescribedTransaction::default() };
    match look_up(server, id).await {
        Err(error) => described.error_code = error,
        Ok(found) => {
            described.transaction_state = found.state.into();
            described.transaction_timeout_ms = found.timeout_ms;
            described.transaction_start_time_ms = found.start_ms;
            (described.producer_id, described.producer_epoch) = found.producer;
            let topics = found.partitions.into_iter();
            described.topics = topics
                .map(|(topic, partitions)| DescribedTransactionTopic { topic: topic.into(), partitions })
                .collect();
        }
    }
    described
}

async fn look_up(server: &Rc<Server>, id: String) -> Result<message::DescribedTransaction, ErrorCode> {
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    check_coordinator(server, &id)?;
    match ask(server, TransactionRequest { transactional_id: id, operation: TransactionOperation::Describe }).await {
        TransactionReply::Described(described) => described,
        _ => unreachable!("a description is answered by Described"),
    }
}
