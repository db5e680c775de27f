//! ListTransactions (key 66): the transactional ids of a broker, with filters (KIP-664, KIP-994, KIP-1152).

use std::rc::Rc;

use super::transactions;
use crate::api::server::Server;
use crate::coordinator::txn::TransactionState;
use crate::model::{ErrorCode, ShardId};
use crate::router::message::{self, Reply};
use crate::runtime::clock;
use crate::wire::txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse, ListedTransaction};

/// The largest size of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(in crate::api) async fn answer(
    server: &Rc<Server>,
    request: ListTransactionsRequest,
    is_for_node: bool,
) -> ListTransactionsResponse {
    let mut response = ListTransactionsResponse::default();
    let pattern = match request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => {
            match regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build() {
                Ok(pattern) => Some(pattern),
                Err(_) => {
                    response.error_code = ErrorCode::InvalidRegularExpression;
                    return response;
                }
            }
        }
    };
    let all = match all(server, is_for_node).await {
        Ok(all) => all,
        Err(error_code) => {
            response.error_code = error_code;
            return response;
        }
    };
    let is_unknown = |state: &&String| TransactionState::from_name(state).is_none();
    response.unknown_state_filters = request.state_filters.iter().filter(is_unknown).cloned().collect();
    let now_ms = clock::wall_ms();
    let is_wanted = |listed: &message::ListedTransaction| {
        (request.producer_id_filters.is_empty() || request.producer_id_filters.contains(&listed.producer_id))
            && (request.state_filters.is_empty() || request.state_filters.iter().any(|state| state == listed.state))
            && (request.duration_filter < 0 || now_ms - listed.start_ms > request.duration_filter)
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&listed.transactional_id))
    };
    let wanted = all.into_iter().filter(is_wanted);
    response.transaction_states = wanted
        .map(|listed| ListedTransaction {
            transactional_id: listed.transactional_id.into(),
            producer_id: listed.producer_id,
            transaction_state: listed.state.into(),
        })
        .collect();
    response
}

/// The transactions of this shard, or of all shards of the node.
async fn all(server: &Rc<Server>, is_for_node: bool) -> Result<Vec<message::ListedTransaction>, ErrorCode> {
    let mut all = transactions::list(server).await?;
    if is_for_node {
        for shard in (0..server.shard.shards).map(ShardId).filter(|shard| *shard != server.shard.id) {
            match server.router.call(shard, message::ShardRequest::ListTransactions).reply().await {
                Reply::Transactions(listed) => all.extend(listed?),
                _ => unreachable!("a list call is answered by Transactions"),
            }
        }
    }
    Ok(all)
}
