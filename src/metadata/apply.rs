//! Applies commands to an image: the result is the next image, or the reason why the commands do not apply.
//!
//! The commands at one index of the log form a list. Either the whole list applies, or none of it (META-2).

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::command::Command;
use super::image::{GroupOverrides, Image, Node, Partition, Topic};
use crate::config::topic::Overrides;
use crate::model::{BrokerId, InvalidTopicName, LeaderEpoch, NodeId, ProducerId, TopicId, TopicName, TopicPartition};

/// The changes from one image to the next. Topics are in their new state, and deleted topics in their last one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// The created topics, in their state after the last command.
    pub topics_created: Vec<Arc<Topic>>,
    /// The deleted topics, in their state before the deletion.
    pub topics_deleted: Vec<Arc<Topic>>,
    /// The new partitions of topics that existed before.
    pub partitions_added: Vec<(TopicId, Range<i32>)>,
    /// Existing partitions whose leader, leader epoch or in-sync replicas changed.
    pub leadership_changed: Vec<TopicPartition>,
    /// Topics whose overrides changed.
    pub configs_changed: Vec<TopicId>,
    /// Settings of a broker, or of all brokers, changed.
    pub broker_configs_changed: bool,
    /// Nodes that started or stopped.
    pub nodes_changed: Vec<NodeId>,
    /// The node that got a block of producer ids, and the block.
    pub producer_ids: Option<(NodeId, Range<ProducerId>)>,
}

/// Why a command does not apply to an image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandRejected {
    /// The cluster's id cannot change.
    #[error("the cluster already has the id '{have}', not '{given}'")]
    AlreadyFormatted {
        /// The current id.
        have: String,
        /// The command's id.
        given: String,
    },
    /// The id has this many characters.
    #[error("a cluster id has 1 to 255 characters, not {0}")]
    ClusterIdLength(usize),
    /// The node has started again since the command was proposed.
    #[error("node {node} is at incarnation {have}, so {given} is stale")]
    StaleIncarnation {
        /// The node.
        node: i32,
        /// Its current incarnation.
        have: u64,
        /// The command's incarnation.
        given: u64,
    },
    /// The registration breaks a bound: a broker id is node id x 1000 + shard, in an i32.
    #[error("node {node} needs 1 to 1000 shards, an address and an id up to 2000000")]
    NodeUnusable {
        /// The node.
        node: i32,
    },
    /// The node never started in this cluster.
    #[error("node {0} is not registered")]
    UnknownNode(i32),
    /// The topic was deleted, or never existed.
    #[error("there is no topic with id {0}")]
    UnknownTopic(TopicId),
    /// The name of a new topic is illegal.
    #[error(transparent)]
    InvalidName(#[from] InvalidTopicName),
    /// Names are unique (META-3).
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    /// The names differ only in `.` and `_`, which the names of Kafka's metrics do not distinguish.
    #[error("Topic '{name}' collides with existing topic: {other}")]
    NameCollides {
        /// The new topic's name.
        name: String,
        /// The existing topic's name.
        other: String,
    },
    /// Ids are unique, and zero stands for "no id" in requests.
    #[error("the topic id {0} is zero or in use")]
    IdTaken(TopicId),
    /// The list of replicas is empty.
    #[error("a command creates at least one partition, not none")]
    NoPartitions,
    /// Another command has changed the number of partitions since this one was planned.
    #[error("the topic has {have} partitions, not {given}")]
    PartitionsMoved {
        /// The current number.
        have: usize,
        /// The number for which the command was planned.
        given: u32,
    },
    /// The list of replicas is empty, repeats a node, or has an unknown one.
    #[error("partition {partition} needs replicas on different nodes that exist, not {replicas:?}")]
    BadReplicas {
        /// The partition's index.
        partition: usize,
        /// The listed node ids.
        replicas: Vec<i32>,
    },
    /// The next block would exceed an i64.
    #[error("no producer ids are left")]
    ProducerIdsExhausted,
}

/// The image after the `commands` at `index` of the log, and the changes. All of them apply, or none (META-2).
pub fn apply(image: &Image, index: u64, commands: &[Command]) -> Result<(Image, Delta), CommandRejected> {
    let mut next = image.clone();
    let mut delta = Delta::default();
    apply_to(&mut next, &mut delta, index, commands)?;
    assert!(image.index < index && next.index == index, "META-2: the index moves once, after the whole list");
    Ok((next, delta))
}

/// Applies the commands in place, for recovery of a long log. If one is rejected, the image is unusable: the commands
/// before it have been applied.
pub fn apply_to(image: &mut Image, delta: &mut Delta, index: u64, commands: &[Command]) -> Result<(), CommandRejected> {
    assert!(index > image.index, "META-1: commands apply in the order of the log, {index} after {}", image.index);
    let deleted_before = delta.topics_deleted.len();
    commands.iter().try_for_each(|command| apply_one(image, delta, command))?;
    image.deleted_topics.add(delta.topics_deleted[deleted_before..].iter().map(|topic| topic.id));
    image.index = index;
    Ok(())
}

fn apply_one(image: &mut Image, delta: &mut Delta, command: &Command) -> Result<(), CommandRejected> {
    match command {
        Command::FormatCluster { cluster_id } => format_cluster(image, cluster_id),
        Command::NodeStarted { node, incarnation, endpoints, shards, routing, rack } => {
            let node = Node {
                id: *node,
                incarnation: *incarnation,
                endpoints: endpoints.clone(),
                shards: *shards,
                routing: *routing,
                rack: rack.clone(),
                is_fenced: false,
            };
            start_node(image, delta, node)
        }
        Command::NodeStopped { node, incarnation } => stop_node(image, delta, *node, *incarnation),
        Command::CreateTopic { id, name, replicas, overrides } => {
            create_topic(image, delta, *id, name, replicas, overrides)
        }
        Command::DeleteTopic { id } => delete_topic(image, delta, *id),
        Command::CreatePartitions { id, have, replicas } => create_partitions(image, delta, *id, *have, replicas),
        Command::SetTopicConfig { id, changes } => set_topic_config(image, delta, *id, changes),
        Command::AllocateProducerIds { node, count } => allocate_producer_ids(image, delta, *node, *count),
        Command::SetGroupConfig { group, changes } => {
            set_group_config(image, group, changes);
            Ok(())
        }
        Command::SetBrokerConfig { broker, changes } => {
            set_broker_config(image, delta, *broker, changes);
            Ok(())
        }
    }
}

fn format_cluster(image: &mut Image, cluster_id: &str) -> Result<(), CommandRejected> {
    if !image.cluster_id.is_empty() {
        return Err(CommandRejected::AlreadyFormatted { have: image.cluster_id.clone(), given: cluster_id.into() });
    }
    if !(1..=255).contains(&cluster_id.len()) {
        return Err(CommandRejected::ClusterIdLength(cluster_id.len()));
    }
    image.cluster_id = cluster_id.into();
    Ok(())
}

fn start_node(image: &mut Image, delta: &mut Delta, node: Node) -> Result<(), CommandRejected> {
    if let Some(known) = image.node(node.id).filter(|known| known.incarnation >= node.incarnation) {
        return Err(CommandRejected::StaleIncarnation {
            node: node.id.0,
            have: known.incarnation,
            given: node.incarnation,
        });
    }
    if !(1..=1000).contains(&node.shards) || node.endpoints.is_empty() || !(0..=2_000_000).contains(&node.id.0) {
        return Err(CommandRejected::NodeUnusable { node: node.id.0 });
    }
    let id = node.id;
    image.nodes.insert(id, Arc::new(node));
    delta.nodes_changed.push(id);
    change_partitions(image, delta, |_, partition| {
        let may_lead = partition.leader.is_none() && partition.isr.contains(&id);
        if partition.leader != Some(id) && !may_lead {
            return false;
        }
        partition.leader = Some(id);
        // KIP-101: every leadership has its own epoch, including one after a restart.
        partition.leader_epoch = partition.leader_epoch.next();
        true
    });
    Ok(())
}

fn stop_node(image: &mut Image, delta: &mut Delta, id: NodeId, incarnation: u64) -> Result<(), CommandRejected> {
    let known = image.node(id).ok_or(CommandRejected::UnknownNode(id.0))?;
    if known.incarnation != incarnation {
        return Err(CommandRejected::StaleIncarnation { node: id.0, have: known.incarnation, given: incarnation });
    }
    let stopped = Node { is_fenced: true, ..Node::clone(known) };
    image.nodes.insert(id, Arc::new(stopped));
    delta.nodes_changed.push(id);
    change_partitions(image, delta, |nodes, partition| {
        if !partition.isr.contains(&id) {
            return false;
        }
        // The last in-sync replica stays in sync: no other replica has every acknowledged record.
        if partition.isr.len() > 1 {
            partition.isr.retain(|replica| *replica != id);
        }
        if partition.leader == Some(id) {
            partition.leader = partition.isr.iter().copied().find(|replica| nodes.is_live(*replica));
            partition.leader_epoch = partition.leader_epoch.next();
        }
        true
    });
    Ok(())
}

/// Runs `change` on every partition. `change` returns whether it changed the partition.
fn change_partitions(image: &mut Image, delta: &mut Delta, change: impl Fn(&Image, &mut Partition) -> bool) {
    let topics: Vec<Arc<Topic>> = image.topics.values().cloned().collect();
    for topic in topics {
        let mut next: Option<Topic> = None;
        for (i, partition) in topic.partitions.iter().enumerate() {
            let before = partition;
            let mut partition = partition.clone();
            if change(image, &mut partition) {
                assert!(
                    partition.leader_epoch.0 >= before.leader_epoch.0 + i32::from(partition.leader != before.leader),
                    "META-4: leader epoch {} after {} of {:?}",
                    partition.leader_epoch,
                    before.leader_epoch,
                    before.leader
                );
                partition.partition_epoch += 1;
                next.get_or_insert_with(|| Topic::clone(&topic)).partitions[i] = partition;
                delta.leadership_changed.push(TopicPartition { topic: topic.id, partition: i as i32 });
            }
        }
        if let Some(next) = next {
            insert_topic(image, next);
        }
    }
}

/// Inserts or replaces a topic. The maps by name and by id change together, here and in `delete_topic` (META-3).
fn insert_topic(image: &mut Image, topic: Topic) -> Arc<Topic> {
    debug_assert!(topic.partitions.iter().all(has_legal_replicas), "META-5: {:?} of {}", topic.partitions, topic.name);
    let topic = Arc::new(topic);
    image.ids.insert(topic.id, topic.clone());
    image.topics.insert(topic.name.clone(), topic.clone());
    assert!(image.ids.len() == image.topics.len(), "META-3: {} has a name or an id alone", topic.name);
    topic
}

/// META-5
fn has_legal_replicas(partition: &Partition) -> bool {
    let distinct: HashSet<&NodeId> = partition.replicas.iter().collect();
    distinct.len() == partition.replicas.len()
        && partition.isr.iter().all(|replica| distinct.contains(replica))
        && partition.leader.is_none_or(|leader| partition.isr.contains(&leader))
        && !partition.isr.is_empty()
}

fn create_topic(
    image: &mut Image,
    delta: &mut Delta,
    id: TopicId,
    name: &str,
    replicas: &[Vec<NodeId>],
    overrides: &[(String, String)],
) -> Result<(), CommandRejected> {
    let name = TopicName::new(name)?;
    if image.topic(name.as_str()).is_some() {
        return Err(CommandRejected::TopicExists(name.as_str().into()));
    }
    if let Some(other) = image.colliding_topic(&name) {
        return Err(CommandRejected::NameCollides { name: name.as_str().into(), other: other.name.as_str().into() });
    }
    if id.is_zero() || image.topic_by_id(id).is_some() {
        return Err(CommandRejected::IdTaken(id));
    }
    let partitions = new_partitions(image, 0, replicas)?;
    let overrides: Overrides = overrides.iter().cloned().collect();
    delta.topics_created.push(insert_topic(image, Topic { id, name, partitions, overrides }));
    Ok(())
}

/// New partitions on these replicas, numbered from `first`. The first live replica leads.
fn new_partitions(image: &Image, first: usize, replicas: &[Vec<NodeId>]) -> Result<Vec<Partition>, CommandRejected> {
    if replicas.is_empty() {
        return Err(CommandRejected::NoPartitions);
    }
    let mut partitions = Vec::with_capacity(replicas.len());
    for (i, replicas) in replicas.iter().enumerate() {
        let distinct: HashSet<&NodeId> = replicas.iter().collect();
        if replicas.is_empty() || distinct.len() < replicas.len() || replicas.iter().any(|id| image.node(*id).is_none())
        {
            let replicas = replicas.iter().map(|id| id.0).collect();
            return Err(CommandRejected::BadReplicas { partition: first + i, replicas });
        }
        let live: Vec<NodeId> = replicas.iter().copied().filter(|id| image.is_live(*id)).collect();
        let leader = live.first().copied();
        // If no replica is live, the partition is empty on all of them, so each of them is in sync.
        let isr = if live.is_empty() { replicas.clone() } else { live };
        partitions.push(Partition {
            leader,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
            replicas: replicas.clone(),
            isr,
        });
    }
    Ok(partitions)
}

fn delete_topic(image: &mut Image, delta: &mut Delta, id: TopicId) -> Result<(), CommandRejected> {
    let topic = image.ids.remove(&id).ok_or(CommandRejected::UnknownTopic(id))?;
    image.topics.remove(topic.name.as_str());
    assert!(image.ids.len() == image.topics.len(), "META-3: {} has a name or an id alone", topic.name);
    delta.topics_deleted.push(topic);
    Ok(())
}

fn create_partitions(
    image: &mut Image,
    delta: &mut Delta,
    id: TopicId,
    have: u32,
    replicas: &[Vec<NodeId>],
) -> Result<(), CommandRejected> {
    let topic = image.topic_by_id(id).ok_or(CommandRejected::UnknownTopic(id))?;
    let first = topic.partitions.len();
    if first != have as usize {
        return Err(CommandRejected::PartitionsMoved { have: first, given: have });
    }
    let added = new_partitions(image, first, replicas)?;
    let mut next = Topic::clone(topic);
    next.partitions.extend(added);
    delta.partitions_added.push((id, first as i32..next.partitions.len() as i32));
    insert_topic(image, next);
    Ok(())
}

fn set_topic_config(
    image: &mut Image,
    delta: &mut Delta,
    id: TopicId,
    changes: &[(String, Option<String>)],
) -> Result<(), CommandRejected> {
    let mut next = Topic::clone(image.topic_by_id(id).ok_or(CommandRejected::UnknownTopic(id))?);
    change_overrides(&mut next.overrides, changes);
    delta.configs_changed.push(id);
    insert_topic(image, next);
    Ok(())
}

fn set_group_config(image: &mut Image, group: &str, changes: &[(String, Option<String>)]) {
    let mut overrides = image.group_overrides(group).cloned().unwrap_or_default();
    change_overrides(&mut overrides, changes);
    if overrides.is_empty() {
        image.groups.remove(group);
    } else {
        image.groups.insert(group.into(), Arc::new(GroupOverrides { group: group.into(), overrides }));
    }
}

fn set_broker_config(
    image: &mut Image,
    delta: &mut Delta,
    broker: Option<BrokerId>,
    changes: &[(String, Option<String>)],
) {
    let mut overrides = image.broker_overrides(broker).cloned().unwrap_or_default();
    change_overrides(&mut overrides, changes);
    delta.broker_configs_changed = true;
    if overrides.is_empty() {
        image.brokers.remove(&broker);
    } else {
        image.brokers.insert(broker, Arc::new(overrides));
    }
}

fn change_overrides(overrides: &mut Overrides, changes: &[(String, Option<String>)]) {
    for (name, text) in changes {
        match text {
            Some(text) => overrides.insert(name.clone(), text.clone()),
            None => overrides.remove(name),
        };
    }
}

fn allocate_producer_ids(
    image: &mut Image,
    delta: &mut Delta,
    node: NodeId,
    count: u32,
) -> Result<(), CommandRejected> {
    image.node(node).ok_or(CommandRejected::UnknownNode(node.0))?;
    let first = image.next_producer_id;
    let end = first.checked_add(i64::from(count)).ok_or(CommandRejected::ProducerIdsExhausted)?;
    image.next_producer_id = end;
    delta.producer_ids = Some((node, first..end));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
