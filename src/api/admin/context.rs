//! The image and the settings from which a request is answered.

use crate::api::offline::Offline;
use crate::config::BrokerConfig;
use crate::metadata::{Image, Node, Partition, Topic};
use crate::model::{BrokerId, NodeId, ShardId, TopicPartition};
use crate::router::broker;

/// A handler of an admin API is a pure function of the request and of this context.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub image: &'a Image,
    pub config: &'a BrokerConfig,
    /// This node.
    pub node: NodeId,
    /// The shard that answers.
    pub shard: ShardId,
    /// The name of the listener that the request came in on. Responses give brokers' addresses on this listener.
    pub listener: &'a str,
    pub version: i16,
    pub offline: &'a Offline,
}

/// The broker ids of a partition's replicas.
pub(in crate::api) struct Replicas {
    /// -1 without a leader.
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
        // Like Kafka's controller, which elects no leader on a failed log directory.
        let id = TopicPartition { topic: topic.id, partition: index as i32 };
        let is_offline_here = self.offline.contains(id);
        let is_offline = |node_id: NodeId| node(node_id).is_fenced || node_id == self.node && is_offline_here;
        Replicas {
            leader: partition.leader.filter(|leader| !is_offline(*leader)).map_or(-1, broker),
            all: brokers(&partition.replicas),
            in_sync: brokers(&partition.isr),
            offline: partition.replicas.iter().filter(|id| is_offline(**id)).map(|id| broker(*id)).collect(),
        }
    }

    /// The broker that answers.
    pub(in crate::api) fn broker(&self) -> Option<BrokerId> {
        self.image.node(self.node).map(|node| node.broker_id(self.shard))
    }

    /// A live broker that accepts admin requests. Every broker does, so it is the first one of this node.
    pub(in crate::api) fn controller(&self) -> BrokerId {
        self.image.node(self.node).map_or(BrokerId(-1), |node| broker::first_broker(node))
    }
}
