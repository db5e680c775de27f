//! What a request is answered from, besides its own bytes.

use crate::config::BrokerConfig;
use crate::metadata::{Image, Node, Partition, Topic};
use crate::model::{BrokerId, NodeId};
use crate::router::broker;

/// One request's surroundings. A handler is a function of the request and of this.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub image: &'a Image,
    pub config: &'a BrokerConfig,
    /// This node.
    pub node: NodeId,
    /// The name of the listener that the request came in on: answers name brokers by their addresses on it.
    pub listener: &'a str,
    pub version: i16,
}

/// A partition's replicas in the words of an answer: broker ids.
pub(in crate::api) struct Replicas {
    /// -1 when there is none.
    pub leader: i32,
    pub all: Vec<i32>,
    pub in_sync: Vec<i32>,
    pub offline: Vec<i32>,
}

impl Context<'_> {
    pub(in crate::api) fn replicas(&self, topic: &Topic, index: usize, partition: &Partition) -> Replicas {
        let node = |id: NodeId| -> &Node { self.image.node(id).expect("META-5: a replica is a node of the image") };
        let broker = |id: NodeId| broker::broker_of(node(id), topic.id, index as i32).0;
        let brokers = |nodes: &[NodeId]| nodes.iter().map(|id| broker(*id)).collect();
        Replicas {
            leader: partition.leader.map_or(-1, broker),
            all: brokers(&partition.replicas),
            in_sync: brokers(&partition.isr),
            offline: partition.replicas.iter().filter(|id| node(**id).is_fenced).map(|id| broker(*id)).collect(),
        }
    }

    /// A live broker that takes admin requests: every one does, and this one is up.
    pub(in crate::api) fn controller(&self) -> BrokerId {
        self.image.node(self.node).map_or(BrokerId(-1), |node| broker::first_broker(node))
    }
}
