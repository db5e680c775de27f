//! The brokers that Kafka clients see, and their addresses.
//!
//! In direct routing each shard is a broker, on its own port above the listener's. In forward routing each node is a
//! broker, on the listener's port (design D2). Ids and ports are derived from the image and stored nowhere.

use crate::config::Routing;
use crate::metadata::owner::shard_of;
use crate::metadata::{Image, Node};
use crate::model::{BrokerId, NodeId, PartitionIndex, ShardId, TopicId};

/// A broker as responses name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broker<'a> {
    /// Direct routing: node id x 1000 + shard. Forward routing: the node id.
    pub id: BrokerId,
    /// The advertised host on the requested listener.
    pub host: &'a str,
    /// The advertised port. In direct routing: listener port + 1 + shard.
    pub port: i32,
    /// `broker.rack`, or `node-<id>` if that is not set.
    pub rack: &'a str,
    /// The node is registered but down (KIP-841).
    pub is_fenced: bool,
}

/// The brokers of a node, with the addresses for clients of `listener`.
pub fn brokers_of<'a>(node: &'a Node, listener: &str) -> impl Iterator<Item = Broker<'a>> {
    let endpoint = node.endpoint(listener);
    let count = brokers_count(node);
    let (id, routing, rack, is_fenced) = (node.id, node.routing, node.rack.as_str(), node.is_fenced);
    (0..count).filter_map(move |shard| {
        let endpoint = endpoint?;
        let (id, port) = match routing {
            Routing::Direct => (BrokerId::new(id, ShardId(shard)), shard_port(endpoint.port, ShardId(shard))),
            Routing::Forward => (BrokerId(id.0), i32::from(endpoint.port)),
        };
        Some(Broker { id, host: &endpoint.host, port, rack, is_fenced })
    })
}

/// The number of brokers that clients see for a node.
pub fn brokers_count(node: &Node) -> u16 {
    match node.routing {
        Routing::Direct => node.shards,
        Routing::Forward => 1,
    }
}

/// The port of a listener on `port` on which only `shard` accepts connections.
pub fn shard_port(port: u16, shard: ShardId) -> i32 {
    i32::from(port) + 1 + i32::from(shard.0)
}

/// The brokers of all live nodes, ordered by id.
pub fn live_brokers<'a>(image: &'a Image, listener: &'a str) -> impl Iterator<Item = Broker<'a>> {
    image.live_nodes().flat_map(move |node| brokers_of(node, listener))
}

/// The broker that serves a partition on a node.
pub fn broker_of(node: &Node, topic: TopicId, partition: PartitionIndex) -> BrokerId {
    match node.routing {
        Routing::Direct => BrokerId::new(node.id, shard_of(topic, partition, node.shards)),
        Routing::Forward => BrokerId(node.id.0),
    }
}

/// The broker that stands for a whole node, such as its controller: the first one.
pub fn first_broker(node: &Node) -> BrokerId {
    match node.routing {
        Routing::Direct => BrokerId::new(node.id, ShardId(0)),
        Routing::Forward => BrokerId(node.id.0),
    }
}

/// The node of a broker, if the broker exists.
pub fn node_of(image: &Image, broker: BrokerId) -> Option<&Node> {
    let direct = || {
        let node = image.node(broker.node()).filter(|node| node.routing == Routing::Direct)?;
        (broker.0 >= 0 && broker.shard().0 < node.shards).then_some(&**node)
    };
    let forward = || image.node(NodeId(broker.0)).filter(|node| node.routing == Routing::Forward).map(|node| &**node);
    direct().or_else(forward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::tests::run;
    use crate::metadata::{Command, Endpoint};

    fn image(routing: Routing, shards: u16) -> Image {
        let endpoint =
            |listener: &str, port| Endpoint { listener: listener.into(), host: format!("{listener}.host"), port };
        let endpoints = vec![endpoint("IN", 9092), endpoint("OUT", 19092)];
        let rack = "node-7".into();
        run(
            &Image::default(),
            &Command::NodeStarted { node: NodeId(7), incarnation: 1, endpoints, shards, routing, rack },
        )
        .0
    }

    #[test]
    fn direct_routing_names_a_broker_per_shard_each_on_its_port() {
        let image = image(Routing::Direct, 3);
        let brokers: Vec<_> =
            live_brokers(&image, "OUT").map(|broker| (broker.id.0, broker.host, broker.port)).collect();
        assert_eq!(brokers, [(7000, "OUT.host", 19093), (7001, "OUT.host", 19094), (7002, "OUT.host", 19095)]);
        let topic = TopicId([3; 16]);
        let node = image.node(NodeId(7)).unwrap();
        let owners: Vec<_> = (0..3).map(|partition| broker_of(node, topic, partition)).collect();
        assert_eq!(owners[1].0, 7000 + i32::from(shard_of(topic, 1, 3).0));
        assert!(owners.iter().all(|owner| brokers.iter().any(|broker| broker.0 == owner.0)));
        assert_eq!(first_broker(node), BrokerId(7000));
    }

    #[test]
    fn forward_routing_names_a_broker_per_node_on_the_listeners_port() {
        let image = image(Routing::Forward, 3);
        let brokers: Vec<_> =
            live_brokers(&image, "IN").map(|broker| (broker.id.0, broker.host, broker.port)).collect();
        assert_eq!(brokers, [(7, "IN.host", 9092)]);
        assert_eq!(broker_of(image.node(NodeId(7)).unwrap(), TopicId([3; 16]), 1), BrokerId(7));
    }

    #[test]
    fn a_broker_id_leads_back_to_its_node() {
        let direct = image(Routing::Direct, 3);
        for (id, known) in [(7000, true), (7002, true), (7003, false), (7, false), (8000, false), (-1, false)] {
            assert_eq!(node_of(&direct, BrokerId(id)).is_some(), known, "{id}");
        }
        let forward = image(Routing::Forward, 3);
        for (id, known) in [(7, true), (7000, false), (-1, false)] {
            assert_eq!(node_of(&forward, BrokerId(id)).is_some(), known, "{id}");
        }
    }
}
