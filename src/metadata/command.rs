//! Every change of the metadata, as one enum. The metadata log consists of these; `archive.rs` encodes them.
//!
//! The proposer makes each random or time-dependent choice (ids, placement) and puts it into the command. Applying a
//! command therefore gives the same image on every node (META-1).

use rkyv::{Archive, Deserialize, Serialize};

use crate::config::Routing;
use crate::model::{BrokerId, NodeId, TopicId};

/// The advertised address of a node's listener.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub listener: String,
    /// The host that clients connect to.
    pub host: String,
    /// The listener's port. In direct routing, shard `s` has port + 1 + `s`.
    pub port: u16,
}

/// One change of the metadata.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its id. Applies once, as the first command of the log.
    FormatCluster {
        /// 1 to 255 characters.
        cluster_id: String,
    },
    /// A node started, for the first time or again. The command registers it and gives each partition that it leads a
    /// new leader epoch, because its log may differ from the one it acknowledged in the last epoch (KIP-101).
    NodeStarted {
        /// The node.
        node: NodeId,
        /// Increases with each start of the node; a stale one is rejected.
        incarnation: u64,
        /// One for each listener, with the addresses for clients.
        endpoints: Vec<Endpoint>,
        /// The number of shards, 1 to 1000.
        shards: u16,
        /// Direct: one broker per shard. Forward: one broker per node.
        routing: Routing,
        /// `broker.rack`, or `node-<id>` if that is not set.
        rack: String,
    },
    /// A node stopped. It leads no partition afterwards.
    NodeStopped {
        /// The node.
        node: NodeId,
        /// The incarnation that stopped. If the node has started again, the command is rejected.
        incarnation: u64,
    },
    /// One list of replicas for each partition; the first replica is the preferred leader.
    CreateTopic {
        /// A new random id.
        id: TopicId,
        /// The topic's name, in Kafka's alphabet (see [`TopicName`](crate::model::TopicName)).
        name: String,
        /// For each partition from index 0, the nodes of its replicas.
        replicas: Vec<Vec<NodeId>>,
        /// Names and values of the topic's own settings.
        overrides: Vec<(String, String)>,
    },
    /// Removes the topic and its partitions.
    DeleteTopic {
        /// The topic.
        id: TopicId,
    },
    /// Adds one partition for each list of replicas to the `have` existing ones.
    CreatePartitions {
        /// The topic.
        id: TopicId,
        /// The number of partitions before. If it has changed, the command is rejected.
        have: u32,
        /// For each new partition, the nodes of its replicas.
        replicas: Vec<Vec<NodeId>>,
    },
    /// Sets overrides; `None` removes one.
    SetTopicConfig {
        /// The topic.
        id: TopicId,
        /// Names and new values.
        changes: Vec<(String, Option<String>)>,
    },
    /// Allocates a block of `count` producer ids to a node, which assigns them to producers.
    AllocateProducerIds {
        /// The node.
        node: NodeId,
        /// The size of the block.
        count: u32,
    },
    /// Sets overrides of a group; `None` removes one. The group need not exist.
    SetGroupConfig {
        /// The group's id.
        group: String,
        /// Names and new values.
        changes: Vec<(String, Option<String>)>,
    },
    /// Sets settings of a broker, or of all brokers, that precede those of the configuration file; `None` removes one.
    /// The broker need not exist.
    SetBrokerConfig {
        /// `None`: the default of all brokers.
        broker: Option<BrokerId>,
        /// Names and new values.
        changes: Vec<(String, Option<String>)>,
    },
}
