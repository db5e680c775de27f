//! InitProducerId (key 22): an id for a producer whose resends are to be recognised, and for a transactional one the next
//! epoch, which ends whatever went before (KIP-98, KIP-360).
//!
//! Ids come from the controller in blocks, so that most producers cost no change of metadata: the controller's
//! shard takes an id from its [`ProducerIds`], and when these have run out proposes `Command::AllocateProducerIds` with [`BLOCK`]
//! first. Ids of a block that were not used before a restart are not used.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::transactions::{ask, check_coordinator, producer_id};
use crate::api::{Header, Outcome, Pending, Server};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::router::message::{TransactionAnswer, TransactionAsk, TransactionWhat};
use crate::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{Malformed, Reader};

/// How many ids a shard asks for at a time; as many as a broker of Kafka does.
pub const BLOCK: u32 = 1000;

/// A shard's producer ids that it has not given to anyone yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerIds {
    /// None of them empty.
    blocks: VecDeque<Range<ProducerId>>,
}

impl ProducerIds {
    /// An id that nobody has, or `None` when there are none left here.
    pub fn take(&mut self) -> Option<ProducerId> {
        let block = self.blocks.front_mut()?;
        let id = block.next().expect("blocks are not empty");
        if block.is_empty() {
            self.blocks.pop_front();
        }
        Some(id)
    }

    /// A block that the controller has set aside for this shard alone. Several may arrive, when several producers waited.
    pub fn add(&mut self, block: Range<ProducerId>) {
        if !block.is_empty() {
            self.blocks.push_back(block);
        }
    }
}

/// Answers with an id that nobody has, or with the producer's next epoch.
pub(in crate::api) fn start(
    server: &Rc<Server>,
    reader: &mut Reader<'_>,
    header: Header,
) -> Result<Pending, Malformed> {
    let request = InitProducerIdRequest::decode(reader, header.version)?;
    let server = server.clone();
    Ok(Pending::later(async move {
        let (producer_id, producer_epoch, error_code) = match init(&server, request).await {
            Ok((id, epoch)) => (id, epoch, ErrorCode::None),
            // Clients of that time know no PRODUCER_FENCED.
            Err(ErrorCode::ProducerFenced) if header.version < 4 => (-1, -1, ErrorCode::InvalidProducerEpoch),
            Err(error) => (-1, -1, error),
        };
        let response = InitProducerIdResponse { throttle_time_ms: 0, error_code, producer_id, producer_epoch };
        Outcome::of(&response, &header)
    }))
}

async fn init(server: &Rc<Server>, request: InitProducerIdRequest) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let Some(transactional_id) = check(&request)? else {
        return Ok((producer_id(server).await?, 0));
    };
    check_coordinator(server, transactional_id)?;
    let expected = (request.producer_id != -1).then_some((request.producer_id, request.producer_epoch));
    let what = TransactionWhat::Init { timeout_ms: request.transaction_timeout_ms, expected };
    match ask(server, TransactionAsk { transactional_id: transactional_id.into(), what }).await {
        TransactionAnswer::Producer(producer) => producer,
        _ => unreachable!("an init is answered by Producer"),
    }
}

/// The transactional id, if the producer has one; or the error to answer with.
fn check(request: &InitProducerIdRequest) -> Result<Option<&str>, ErrorCode> {
    // KIP-360: an id without its epoch, or the other way round, means nothing.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        // An idempotent producer that brings an id is given a fresh one all the same.
        None => Ok(None),
        // "No transactional id" is null; an empty one would be shared by whoever forgot to set it.
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(id) => Ok(Some(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{image_with_nodes, run};
    use crate::metadata::{Command, Image};
    use crate::model::NodeId;

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
    fn an_id_and_its_epoch_belong_together_and_an_empty_transactional_id_is_none() {
        check_request(None, -1, -1, Ok(None));
        check_request(None, 5, 3, Ok(None));
        check_request(None, 5, -1, Err(ErrorCode::InvalidRequest));
        check_request(None, -1, 3, Err(ErrorCode::InvalidRequest));
        check_request(Some(""), -1, -1, Err(ErrorCode::InvalidRequest));
        check_request(Some("tx"), -1, -1, Ok(Some("tx")));
        check_request(Some("tx"), 5, 3, Ok(Some("tx")));
    }

    /// A block, as a shard gets one.
    fn allocate(image: &mut Image, ids: &mut ProducerIds, node: i32) {
        let (next, delta) = run(image, &Command::AllocateProducerIds { node: NodeId(node), count: BLOCK });
        *image = next;
        ids.add(delta.producer_ids.unwrap().1);
    }

    #[test]
    fn ids_are_fresh_and_unique_across_shards_and_restarts() {
        let mut image = image_with_nodes(2);
        let mut given = std::collections::HashSet::new();
        // Two shards on two nodes, and one of them again after a restart, which forgets its block half-way.
        for (node, takes) in [(1, 2500), (2, 10), (1, 700)] {
            let mut ids = ProducerIds::default();
            for _ in 0..takes {
                let id = ids.take().unwrap_or_else(|| {
                    allocate(&mut image, &mut ids, node);
                    ids.take().unwrap()
                });
                assert!(given.insert(id), "{id} was given before");
            }
        }
        assert_eq!(given.len(), 3210);
    }

    #[test]
    fn blocks_that_arrive_together_are_all_used() {
        let mut ids = ProducerIds::default();
        [0..2, 5..5, 7..8].into_iter().for_each(|block| ids.add(block));
        let all: Vec<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(all, [0, 1, 7]);
    }
}
