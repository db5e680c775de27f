//! The leader of a partition and its address, for a response that rejects a partition with NOT_LEADER_OR_FOLLOWER or
//! FENCED_LEADER_EPOCH. The client continues without a Metadata request (KIP-951).

use crate::metadata::Image;
use crate::model::PartitionIndex;
use crate::router::broker::{broker_of, serving_broker};
use crate::wire::{CurrentLeader, NodeEndpoint, Topic};

/// The leaders named in one response.
pub(in crate::api) struct LeaderHints<'a> {
    image: &'a Image,
    listener: &'a str,
    endpoints: Vec<NodeEndpoint<'a>>,
}

impl<'a> LeaderHints<'a> {
    /// `listener` is the name of the listener that the request came in on.
    pub fn new(image: &'a Image, listener: &'a str) -> LeaderHints<'a> {
        LeaderHints { image, listener, endpoints: Vec::new() }
    }

    /// Empty for a partition that does not exist. Only the epoch for a partition without a leader.
    pub fn leader(&mut self, topic: Topic<'_>, partition: PartitionIndex) -> CurrentLeader {
        let topic = match topic {
            Topic::Name(name) => self.image.topic(name),
            Topic::Id(id) => self.image.topic_by_id(id),
        };
        let Some((topic, state)) = topic.and_then(|topic| Some((topic, topic.partition(partition)?))) else {
            return CurrentLeader::default();
        };
        let leader_epoch = state.leader_epoch;
        let Some(node) = state.leader.and_then(|leader| self.image.node(leader)) else {
            return CurrentLeader { leader_id: -1, leader_epoch: leader_epoch.0 };
        };
        let leader = broker_of(node, topic.id, partition);
        if self.endpoints.iter().all(|endpoint| endpoint.node_id != leader.0)
            && let Some(broker) = serving_broker(node, self.listener, topic.id, partition)
        {
            self.endpoints.push(NodeEndpoint {
                node_id: leader.0,
                host: broker.host,
                port: broker.port,
                rack: Some(broker.rack.into()),
            });
        }
        CurrentLeader { leader_id: leader.0, leader_epoch: leader_epoch.0 }
    }

    pub fn endpoints(&self) -> &[NodeEndpoint<'a>] {
        &self.endpoints
    }

    pub fn into_endpoints(self) -> Vec<NodeEndpoint<'a>> {
        self.endpoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::World;

    #[test]
    fn statement_54_a_leader_is_named_once_with_its_address() {
        let world = World::nodes(3).topic("t", &[&[2, 1], &[2, 3], &[3, 2]]);
        let mut hints = LeaderHints::new(&world.image, "PLAINTEXT");
        let leaders: Vec<_> = (0..3).map(|partition| hints.leader(Topic::Name("t"), partition).leader_id).collect();
        assert_eq!(leaders.iter().map(|leader| leader / 1000).collect::<Vec<_>>(), [2, 2, 3]);
        let mut named: Vec<_> = hints.endpoints().iter().map(|endpoint| endpoint.node_id).collect();
        let mut expected = leaders.clone();
        named.sort();
        expected.sort();
        expected.dedup();
        assert_eq!(named, expected);
        let node = world.image.node(crate::model::NodeId(2)).unwrap();
        for endpoint in hints.endpoints().iter().filter(|endpoint| endpoint.node_id / 1000 == 2) {
            let broker = crate::router::broker::brokers_of(node, "PLAINTEXT")
                .find(|broker| broker.id.0 == endpoint.node_id)
                .unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (&*broker.host, broker.port));
        }
        let by_id = Topic::Id(world.image.topic("t").unwrap().id);
        assert_eq!(hints.leader(by_id, 2).leader_id, leaders[2]);
        assert_eq!(hints.leader(Topic::Name("t"), 3), CurrentLeader::default());
        assert_eq!(hints.leader(Topic::Name("u"), 0), CurrentLeader::default());
    }

    #[test]
    fn a_partition_without_leader_has_an_epoch_all_the_same() {
        let world = World::nodes(2).topic("t", &[&[2]]).without_node(2);
        let mut hints = LeaderHints::new(&world.image, "PLAINTEXT");
        let leader = hints.leader(Topic::Name("t"), 0);
        assert!(leader.leader_id == -1 && leader.leader_epoch >= 0, "{leader:?}");
        assert!(hints.endpoints().is_empty());
    }
}
