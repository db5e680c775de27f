//! The brokers that Kafka clients see, and their addresses.
//!
//! | routing | brokers of a node | port | host |
//! |---|---|---|---|
//! | direct | one per shard | the listener's + 1 + shard | the advertised one |
//! | steer | one per shard | the listener's | a spelling of the advertised one for each shard ([`host_of`]) |
//! | forward | one | the listener's | the advertised one |
//!
//! Ids and addresses are derived from the image and stored nowhere (design D2).

use std::borrow::Cow;
use std::net::IpAddr;

use crate::config::Routing;
use crate::config::listener::SHARD_IN_HOST;
use crate::metadata::owner::shard_of;
use crate::metadata::{Image, Node};
use crate::model::{BrokerId, NodeId, PartitionIndex, ShardId, TopicId};

/// A broker as responses name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker<'a> {
    /// Direct and steer routing: node id x 1000 + shard. Forward routing: the node id.
    pub id: BrokerId,
    /// The host for clients on the requested listener.
    pub host: Cow<'a, str>,
    /// The port for clients on the requested listener.
    pub port: i32,
    /// `broker.rack`, or `node-<id>` if that is not set.
    pub rack: &'a str,
    /// The node is registered but down (KIP-841).
    pub is_fenced: bool,
}

/// The brokers of a node, with the addresses for clients of `listener`.
pub fn brokers_of<'a>(node: &'a Node, listener: &str) -> impl Iterator<Item = Broker<'a>> + use<'a> {
    let endpoint = node.endpoint(listener);
    (0..brokers_count(node)).map(ShardId).filter_map(move |shard| {
        let endpoint = endpoint?;
        Some(Broker {
            id: node.broker_id(shard),
            host: host_of(&endpoint.host, node.routing, shard),
            port: match node.routing {
                Routing::Direct => shard_port(endpoint.port, shard),
                Routing::Steer | Routing::Forward => i32::from(endpoint.port),
            },
            rack: &node.rack,
            is_fenced: node.is_fenced,
        })
    })
}

/// The broker that serves a partition on a node, with its address for clients of `listener`.
pub fn serving_broker<'a>(
    node: &'a Node,
    listener: &str,
    topic: TopicId,
    partition: PartitionIndex,
) -> Option<Broker<'a>> {
    let nth = match node.routing {
        Routing::Direct | Routing::Steer => shard_of(topic, partition, node.shards).0,
        Routing::Forward => 0,
    };
    brokers_of(node, listener).nth(nth.into())
}

/// The number of brokers that clients see for a node.
pub fn brokers_count(node: &Node) -> u16 {
    match node.routing {
        Routing::Direct | Routing::Steer => node.shards,
        Routing::Forward => 1,
    }
}

/// The host that is advertised for a shard.
///
/// Clients that keep brokers by host and port would take two shards with one address for one. In steer routing each
/// shard therefore has a spelling of its own that resolves alike: DNS ignores case, and the clients' tables do not.
/// An address has one spelling, except 127.0.0.1, which is `localhost` too. A host with `{shard}` gets the number
/// instead.
fn host_of(host: &str, routing: Routing, shard: ShardId) -> Cow<'_, str> {
    if host.contains(SHARD_IN_HOST) {
        return host.replace(SHARD_IN_HOST, &shard.0.to_string()).into();
    }
    match (routing, shard.0) {
        (Routing::Direct | Routing::Forward, _) | (_, 0) => host.into(),
        (Routing::Steer, nth) if host == "127.0.0.1" => spelling("localhost", nth - 1).into(),
        (Routing::Steer, _) if host.parse::<IpAddr>().is_ok() => host.into(),
        (Routing::Steer, nth) => spelling(host, nth).into(),
    }
}

/// Whether two shards of a node have different hosts in steer routing, if `host` is advertised.
pub fn has_host_per_shard(host: &str) -> bool {
    host_of(host, Routing::Steer, ShardId(0)) != host_of(host, Routing::Steer, ShardId(1))
}

/// The name with the case of its letters toggled by the bits of `nth`.
fn spelling(name: &str, nth: u16) -> String {
    let mut bits = nth;
    let spell = |letter: char| {
        if !letter.is_ascii_alphabetic() {
            return letter;
        }
        let is_toggled = bits & 1 == 1;
        bits >>= 1;
        match (is_toggled, letter.is_ascii_lowercase()) {
            (false, _) => letter,
            (true, true) => letter.to_ascii_uppercase(),
            (true, false) => letter.to_ascii_lowercase(),
        }
    };
    name.chars().map(spell).collect()
}

/// The port of a listener on `port` on which only `shard` accepts connections.
pub fn shard_port(port: u16, shard: ShardId) -> i32 {
    i32::from(port) + 1 + i32::from(shard.0)
}

/// The brokers of all live nodes, ordered by id.
pub fn live_brokers<'a>(image: &'a Image, listener: &'a str) -> impl Iterator<Item = Broker<'a>> {
    image.live_nodes().flat_map(move |node| brokers_of(node, listener))
}

/// The id of the broker that serves a partition on a node.
pub fn broker_of(node: &Node, topic: TopicId, partition: PartitionIndex) -> BrokerId {
    node.broker_id(shard_of(topic, partition, node.shards))
}

/// The broker that stands for a whole node, such as its controller: the first one.
pub fn first_broker(node: &Node) -> BrokerId {
    node.broker_id(ShardId(0))
}

/// The node of a broker, if the broker exists.
pub fn node_of(image: &Image, broker: BrokerId) -> Option<&Node> {
    let by_shard = || {
        let node = image.node(broker.node()).filter(|node| node.routing != Routing::Forward)?;
        (broker.0 >= 0 && broker.shard().0 < node.shards).then_some(&**node)
    };
    let forward = || image.node(NodeId(broker.0)).filter(|node| node.routing == Routing::Forward).map(|node| &**node);
    by_shard().or_else(forward)
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
        let host = || Cow::Borrowed("OUT.host");
        assert_eq!(brokers, [(7000, host(), 19093), (7001, host(), 19094), (7002, host(), 19095)]);
        let topic = TopicId([3; 16]);
        let node = image.node(NodeId(7)).unwrap();
        let owners: Vec<_> = (0..3).map(|partition| broker_of(node, topic, partition)).collect();
        assert_eq!(owners[1].0, 7000 + i32::from(shard_of(topic, 1, 3).0));
        assert!(owners.iter().all(|owner| brokers.iter().any(|broker| broker.0 == owner.0)));
        assert_eq!(first_broker(node), BrokerId(7000));
    }

    #[test]
    fn steer_routing_names_a_broker_per_shard_on_the_listeners_port() {
        let image = image(Routing::Steer, 3);
        let brokers: Vec<_> =
            live_brokers(&image, "OUT").map(|broker| (broker.id.0, broker.host.into_owned(), broker.port)).collect();
        let expected = [(7000, "OUT.host", 19092), (7001, "oUT.host", 19092), (7002, "OuT.host", 19092)];
        assert_eq!(brokers, expected.map(|(id, host, port)| (id, host.to_owned(), port)));
        let (node, topic) = (image.node(NodeId(7)).unwrap(), TopicId([3; 16]));
        for partition in 0..3 {
            let broker = serving_broker(node, "IN", topic, partition).unwrap();
            assert_eq!(broker.id, broker_of(node, topic, partition));
            assert_eq!(broker.id.0, 7000 + i32::from(shard_of(topic, partition, 3).0));
        }
    }

    #[test]
    fn each_shard_has_a_host_that_resolves_alike() {
        let hosts = |host: &str, routing| [0, 1, 2, 3].map(|shard| host_of(host, routing, ShardId(shard)).into_owned());
        let steer = |host| hosts(host, Routing::Steer);
        assert_eq!(steer("kafka.local"), ["kafka.local", "Kafka.local", "kAfka.local", "KAfka.local"]);
        assert_eq!(steer("127.0.0.1"), ["127.0.0.1", "localhost", "Localhost", "lOcalhost"]);
        assert_eq!(steer("10.0.0.7"), ["10.0.0.7"; 4]);
        assert_eq!(steer("::1"), ["::1"; 4]);
        assert_eq!(steer("k-{shard}.local"), ["k-0.local", "k-1.local", "k-2.local", "k-3.local"]);
        assert_eq!(hosts("k-{shard}.local", Routing::Direct), steer("k-{shard}.local"));
        assert_eq!(hosts("kafka.local", Routing::Direct), ["kafka.local"; 4]);
        assert!(has_host_per_shard("kafka.local") && has_host_per_shard("127.0.0.1"));
        assert!(!has_host_per_shard("10.0.0.7") && !has_host_per_shard("::1"));
        // More shards than spellings share names; they are served all the same.
        assert_eq!(steer("a"), ["a", "A", "a", "A"]);
    }

    #[test]
    fn forward_routing_names_a_broker_per_node_on_the_listeners_port() {
        let image = image(Routing::Forward, 3);
        let brokers: Vec<_> =
            live_brokers(&image, "IN").map(|broker| (broker.id.0, broker.host, broker.port)).collect();
        assert_eq!(brokers, [(7, Cow::Borrowed("IN.host"), 9092)]);
        assert_eq!(broker_of(image.node(NodeId(7)).unwrap(), TopicId([3; 16]), 1), BrokerId(7));
    }

    #[test]
    fn a_broker_id_leads_back_to_its_node() {
        let direct = image(Routing::Direct, 3);
        for (id, known) in [(7000, true), (7002, true), (7003, false), (7, false), (8000, false), (-1, false)] {
            assert_eq!(node_of(&direct, BrokerId(id)).is_some(), known, "{id}");
        }
        let steer = image(Routing::Steer, 3);
        assert!(node_of(&steer, BrokerId(7002)).is_some() && node_of(&steer, BrokerId(7)).is_none());
        let forward = image(Routing::Forward, 3);
        for (id, known) in [(7, true), (7000, false), (-1, false)] {
            assert_eq!(node_of(&forward, BrokerId(id)).is_some(), known, "{id}");
        }
    }
}
