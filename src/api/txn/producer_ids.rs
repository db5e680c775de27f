//! Producer ids that the controller has allocated and that no producer has yet.
//!
//! Ids come in blocks, so that most producers cost no metadata change. The controller's shard takes an id from its
//! [`ProducerIds`]; when none is left it proposes `Command::AllocateProducerIds` for [`BLOCK`] more. A restart skips
//! the ids of a block that were not used.

use std::collections::VecDeque;
use std::ops::Range;

use crate::model::ProducerId;

/// Ids in a block; the same number as in Apache Kafka.
pub const BLOCK: u32 = 1000;

/// The unused ids of the blocks that the controller allocated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerIds {
    /// No block is empty.
    blocks: VecDeque<Range<ProducerId>>,
}

impl ProducerIds {
    /// Takes an unused id. Returns `None` when no block is left.
    pub fn take(&mut self) -> Option<ProducerId> {
        let block = self.blocks.front_mut()?;
        let id = block.next().expect("blocks are not empty");
        if block.is_empty() {
            self.blocks.pop_front();
        }
        Some(id)
    }

    /// Adds a block. Several blocks can arrive, when several producers waited for one.
    pub fn add(&mut self, block: Range<ProducerId>) {
        if !block.is_empty() {
            self.blocks.push_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::{image_with_nodes, run};
    use crate::metadata::{Command, Image};
    use crate::model::NodeId;

    /// Allocates a block, as the controller does.
    fn allocate(image: &mut Image, ids: &mut ProducerIds, node: i32) {
        let (next, delta) = run(image, &Command::AllocateProducerIds { node: NodeId(node), count: BLOCK });
        *image = next;
        ids.add(delta.producer_ids.unwrap().1);
    }

    #[test]
    fn ids_are_fresh_and_unique_across_shards_and_restarts() {
        let mut image = image_with_nodes(2);
        let mut given = std::collections::HashSet::new();
        // Two shards on two nodes. Then the first one again after a restart, which skips the rest of its block.
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
