//! Every change of the metadata, as one enum. The metadata log consists of these; `archive.rs` encodes them.
//!
//! The proposer makes each random or time-dependent choice (ids, placement) and puts it into the command. Applying a
//! command therefore gives the same image on every node (META-1).

use rkyv::{Archive, Deserialize, Serialize};

use crate::config::Routing;
use crate::model::{NodeId, TopicId};

/// The advertised address of a node's listener.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub listener: String,
    pub host: String,
    pub port: u16,
}

/// One change of the metadata.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its id. Applies once, as the first command of the log.
    FormatCluster {
        cluster_id: String,
    },
    /// A node started, for the first time or again. The command registers it and gives each partition that it leads a
    /// new leader epoch, because its log may differ from the one it acknowledged in the last epoch (KIP-101).
    NodeStarted {
        node: NodeId,
        /// Increases with each start of the node; a stale one is rejected.
        incarnation: u64,
        endpoints: Vec<Endpoint>,
        shards: u16,
        routing: Routing,
        rack: String,
    },
    /// A node stopped. It leads no partition afterwards.
    NodeStopped {
        node: NodeId,
        incarnation: u64,
    },
    /// One list of replicas for each partition; the first replica is the preferred leader.
    CreateTopic {
        id: TopicId,
        name: String,
        replicas: Vec<Vec<NodeId>>,
        overrides: Vec<(String, String)>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// Adds one partition for each list of replicas to the `have` existing ones.
    CreatePartitions {
        id: TopicId,
        have: u32,
        replicas: Vec<Vec<NodeId>>,
    },
    /// Sets overrides; `None` removes one.
    SetTopicConfig {
        id: TopicId,
        changes: Vec<(String, Option<String>)>,
    },
    /// Allocates a block of `count` producer ids to a node, which assigns them to producers.
    AllocateProducerIds {
        node: NodeId,
        count: u32,
    },
}
