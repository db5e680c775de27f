//! What can be changed, as one enum. These are what the metadata log holds; `archive.rs` turns them into bytes.
//!
//! Everything that chance or a clock decides (ids, placement) is decided by whoever proposes and stands in the command, so that
//! applying it is the same everywhere (META-1).

use rkyv::{Archive, Deserialize, Serialize};

use crate::config::Routing;
use crate::model::{NodeId, TopicId};

/// The address of a node's listener, as clients are told.
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
    /// Names the cluster; once, as the first command of its log.
    FormatCluster {
        cluster_id: String,
    },
    /// A node is up, for the first time or again: it is registered, and each partition it leads gets a new leader epoch, because
    /// what it acknowledged in the last one and what it has now may differ (KIP-101).
    NodeStarted {
        node: NodeId,
        /// Grows with each start of the node; an older one is refused.
        incarnation: u64,
        endpoints: Vec<Endpoint>,
        shards: u16,
        routing: Routing,
        rack: String,
    },
    /// A node is down: it leads nothing any more.
    NodeStopped {
        node: NodeId,
        incarnation: u64,
    },
    /// One list of replicas for each partition; the first is preferred as leader.
    CreateTopic {
        id: TopicId,
        name: String,
        replicas: Vec<Vec<NodeId>>,
        overrides: Vec<(String, String)>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// One list of replicas for each partition that is added to the `have` there are.
    CreatePartitions {
        id: TopicId,
        have: u32,
        replicas: Vec<Vec<NodeId>>,
    },
    /// Sets overrides, and with `None` removes them.
    SetTopicConfig {
        id: TopicId,
        changes: Vec<(String, Option<String>)>,
    },
    /// Sets `count` producer ids aside for a node; it hands them out as it likes.
    AllocateProducerIds {
        node: NodeId,
        count: u32,
    },
}
