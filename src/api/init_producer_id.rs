//! InitProducerId (key 22): an id for a producer whose resends are to be recognised (KIP-98).
//!
//! Ids come from the controller in blocks, so that most producers cost no change of metadata: a shard asks [`check`] whether the
//! request is in order, takes an id from its [`ProducerIds`], and when these have run out proposes
//! `Command::AllocateProducerIds` with [`BLOCK`] first. Ids of a block that a shard did not use before a restart are not used.

use std::collections::VecDeque;
use std::ops::Range;

use crate::model::{ErrorCode, ProducerId};
use crate::wire::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

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

/// Whether the request is to be given an id; else the error to answer with.
pub fn check(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    // KIP-360: an id without its epoch, or the other way round, means nothing.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        // An idempotent producer that brings an id is given a fresh one all the same.
        None => Ok(()),
        // "No transactional id" is null; an empty one would be shared by whoever forgot to set it.
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::NotCoordinator),
    }
}

/// Gives out `id`, at its first epoch.
pub fn answer(id: ProducerId) -> InitProducerIdResponse {
    InitProducerIdResponse { producer_id: id, producer_epoch: 0, ..InitProducerIdResponse::default() }
}

pub fn refuse(error_code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code, producer_id: -1, producer_epoch: -1, ..InitProducerIdResponse::default() }
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
        expected: Result<(), ErrorCode>,
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
    fn an_idempotent_producer_gets_an_id_and_others_an_error() {
        check_request(None, -1, -1, Ok(()));
        check_request(None, 5, 3, Ok(()));
        check_request(None, 5, -1, Err(ErrorCode::InvalidRequest));
        check_request(None, -1, 3, Err(ErrorCode::InvalidRequest));
        check_request(Some(""), -1, -1, Err(ErrorCode::InvalidRequest));
        check_request(Some("tx"), -1, -1, Err(ErrorCode::NotCoordinator));
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
                let response = answer(id);
                assert_eq!(
                    (response.error_code, response.producer_id, response.producer_epoch),
                    (ErrorCode::None, id, 0)
                );
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
