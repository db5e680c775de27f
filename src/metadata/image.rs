//! The image: all metadata at one index of the log, as a value that never changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::Endpoint;
use super::deleted::DeletedTopics;
use super::shared_map::SharedMap;
use crate::config::Routing;
use crate::config::topic::Overrides;
use crate::model::{
    BrokerId, LeaderEpoch, NodeId, PartitionIndex, ProducerId, ShardId, TopicId, TopicName, TopicPartition,
};

/// All metadata after the command at `index`. A clone shares the topics and nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// The index of the last applied command; 0 before the first.
    pub index: u64,
    /// Empty until the cluster is formatted.
    pub cluster_id: String,
    /// The first producer id that is not allocated.
    pub next_producer_id: ProducerId,
    /// The tombstones of deleted topics.
    pub deleted_topics: DeletedTopics,
    pub(super) nodes: BTreeMap<NodeId, Arc<Node>>,
    pub(super) topics: SharedMap<TopicName, Arc<Topic>>,
    pub(super) ids: SharedMap<TopicId, Arc<Topic>>,
    pub(super) groups: SharedMap<String, Arc<GroupOverrides>>,
    /// The settings of brokers that changed at run time: of one broker, and under `None` those of all. None is empty.
    pub(super) brokers: BTreeMap<Option<BrokerId>, Arc<Overrides>>,
}

/// The settings of a group that precede those of the broker. At least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupOverrides {
    /// The group's id. The group may not exist yet, or no longer.
    pub group: String,
    /// By name.
    pub overrides: Overrides,
}

/// A node, as it registered at its last start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// `node.id`
    pub id: NodeId,
    /// Increases with each start of the node.
    pub incarnation: u64,
    /// The advertised address of each listener.
    pub endpoints: Vec<Endpoint>,
    /// The number of shards, 1 to 1000.
    pub shards: u16,
    /// Direct: one broker per shard. Forward: one broker per node.
    pub routing: Routing,
    /// `broker.rack`, or `node-<id>` if that is not set.
    pub rack: String,
    /// The node is registered but down: it leads no partition, and clients are not directed to it.
    pub is_fenced: bool,
}

/// A topic, with its partitions and overrides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Unique over time: a topic that is created again gets a new id (KIP-516).
    pub id: TopicId,
    /// Unique among live topics.
    pub name: TopicName,
    /// At the position of its index.
    pub partitions: Vec<Partition>,
    /// The topic's own settings, which precede those of the broker.
    pub overrides: Overrides,
}

/// A partition's leader and replicas. The shard of a node that owns it is not stored: `metadata::owner` derives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// `None`: none of the in-sync replicas is on a live node.
    pub leader: Option<NodeId>,
    /// Counts leaderships (META-4).
    pub leader_epoch: LeaderEpoch,
    /// Counts all changes of this struct.
    pub partition_epoch: i32,
    /// The first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// The replicas in sync with the leader, or with the last leader; in the order of `replicas`. Never empty.
    pub isr: Vec<NodeId>,
}

impl Image {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All nodes, in order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The nodes that are not fenced.
    pub fn live_nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes().filter(|node| !node.is_fenced)
    }

    /// Whether the node is registered and not fenced.
    pub fn is_live(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| !node.is_fenced)
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.ids.get(&id)
    }

    /// The partition with this topic id and number.
    pub fn partition(&self, at: TopicPartition) -> Option<&Partition> {
        self.topic_by_id(at.topic)?.partition(at.partition)
    }

    /// All topics, in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics from `name` on, in order of their names.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> + use<'a> {
        self.topics.values_from(name)
    }

    /// The own settings of a group, if it has any.
    pub fn group_overrides(&self, group: &str) -> Option<&Overrides> {
        self.groups.get(group).map(|known| &known.overrides)
    }

    /// The groups with own settings, in order of their ids.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<GroupOverrides>> {
        self.groups.values()
    }

    /// The settings of a broker, or with `None` of all brokers, that precede those of the configuration file.
    pub fn broker_overrides(&self, broker: Option<BrokerId>) -> Option<&Overrides> {
        self.brokers.get(&broker).map(|overrides| &**overrides)
    }

    /// The number of topics.
    pub fn topics_count(&self) -> usize {
        self.topics.len()
    }

    /// A topic whose name differs from `name` only in `.` and `_`.
    pub fn colliding_topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        // Colliding names agree up to the first of these characters, so only names with that prefix are compared.
        let at = name.as_str().find(['.', '_'])?;
        let prefix = &name.as_str()[..at];
        self.topics_from(prefix)
            .take_while(|topic| topic.name.as_str().starts_with(prefix))
            .find(|topic| topic.name != *name && topic.name.collides_with(name))
    }
}

impl Node {
    /// The broker that clients see for a shard of the node.
    pub fn broker_id(&self, shard: ShardId) -> BrokerId {
        match self.routing {
            Routing::Direct | Routing::Steer => BrokerId::new(self.id, shard),
            Routing::Forward => BrokerId(self.id.0),
        }
    }

    /// The address for clients that connected to `listener`, or the first one if the node has no listener of that name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener).or(self.endpoints.first())
    }
}

impl Topic {
    /// The partition with this number.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// Whether brokers write the topic, not users. Clients hide such topics.
    pub fn is_internal(&self) -> bool {
        is_internal(self.name.as_str())
    }
}

/// Whether `name` is that of an internal topic of Kafka.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use crate::metadata::apply::tests::{create, image_with_nodes, name};

    #[test]
    fn topics_are_found_by_name_by_id_and_in_order() {
        let image = create(&create(&image_with_nodes(1), "b", 1), "a", 2);
        let a = image.topic("a").unwrap();
        assert_eq!(image.topic_by_id(a.id), Some(a));
        assert_eq!(image.topics().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(image.topics_from("aa").map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(a.partition(1).is_some() && a.partition(2).is_none() && a.partition(-1).is_none());
    }

    #[test]
    fn a_colliding_name_is_found_however_the_dots_fall() {
        let mut image = image_with_nodes(1);
        for topic in ["a.b_c", "a", "ab", "_x", "plain"] {
            image = create(&image, topic, 1);
        }
        for (asked, expected) in [
            ("a_b.c", Some("a.b_c")),
            ("a.b.c", Some("a.b_c")),
            (".x", Some("_x")),
            ("a.b_c", None),
            ("a.b", None),
            ("plain", None),
        ] {
            assert_eq!(image.colliding_topic(&name(asked)).map(|topic| topic.name.as_str()), expected, "{asked}");
        }
    }
}
