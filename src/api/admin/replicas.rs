//! The replicas of new partitions: placed by the controller, or chosen by the client.
//!
//! In direct routing one node shows a broker per shard, and clients derive a replication factor from the number of
//! brokers. A cluster of one node therefore accepts as many replicas as it shows brokers, and creates one. The response
//! reports it. A partition's shard is derived from the topic's id ([`owner`]), so a new topic gets an id that puts most
//! partitions on the shards that the client chose. The response names the brokers of the others.

use std::collections::HashMap;

use super::refusal::AdminRefusal;
use crate::config::Routing;
use crate::controller::placement;
use crate::metadata::Image;
use crate::metadata::owner::{self, shard_of};
use crate::model::{BrokerId, ErrorCode, NodeId, PartitionIndex, TopicId};
use crate::router::broker;

/// The note names at most this many partitions.
const NOTED_MAX: usize = 5;

/// The nodes of new partitions, one list for each partition.
pub(super) type Replicas = Vec<Vec<NodeId>>;

/// Replicas that the controller placed.
pub(super) struct Placed {
    pub replicas: Replicas,
    /// The differences from the request, in a sentence.
    pub note: Option<String>,
}

/// Places partitions `first..first + count` with `factor` replicas each. `chance` selects the first node.
pub(super) fn place(
    image: &Image,
    first: usize,
    count: usize,
    factor: usize,
    chance: u64,
) -> Result<Placed, AdminRefusal> {
    let brokers = brokers_count(image);
    let is_capped = is_alone(image) && (2..=brokers).contains(&factor);
    let given = if is_capped { 1 } else { factor };
    let replicas = placement::place(image, first, count, given, chance).map_err(|few| {
        let what = match is_alone(image) {
            true => format!("only {brokers} broker(s) are registered."),
            false => format!(
                "only {} node(s) are up. Replicas of a partition never share a node, however many brokers it shows.",
                few.live
            ),
        };
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because {what}"
        );
        AdminRefusal::new(ErrorCode::InvalidReplicationFactor, message)
    })?;
    let note = is_capped.then(|| {
        format!(
            "Each partition has 1 replica in place of {factor}: the {brokers} brokers of this cluster are one node."
        )
    });
    Ok(Placed { replicas, note })
}

/// The nodes of the brokers that a client chose for one partition.
pub(super) fn chosen(brokers: &[i32], image: &Image) -> Result<Vec<NodeId>, AdminRefusal> {
    let invalid = |message: String| Err(AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if brokers.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut nodes: Vec<NodeId> = Vec::with_capacity(brokers.len());
    for (i, broker) in brokers.iter().enumerate() {
        let Some(node) = broker::node_of(image, BrokerId(*broker)) else {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        };
        if brokers[..i].contains(broker) {
            return invalid(format!("The manual partition assignment includes the broker {broker} more than once."));
        }
        match nodes.contains(&node.id) {
            false => nodes.push(node.id),
            true if is_alone(image) => {}
            true => {
                return invalid(format!(
                    "The manual partition assignment includes node {} more than once: brokers {brokers:?} share nodes.",
                    node.id.0
                ));
            }
        }
    }
    Ok(nodes)
}

/// The refusal of an assignment whose number of replicas is not that of the other partitions.
pub(super) fn inconsistent(have: usize, factor: usize) -> AdminRefusal {
    let message = format!(
        "The manual partition assignment includes a partition with {have} replica(s), but this is not consistent with \
         previous partitions, which have {factor} replica(s)."
    );
    AdminRefusal::new(ErrorCode::InvalidReplicaAssignment, message)
}

/// Names the partitions, from index `first` on, whose replicas lie on other brokers than the `chosen` ones.
pub(super) fn note_elsewhere(
    topic: TopicId,
    first: usize,
    replicas: &Replicas,
    chosen: &[&[i32]],
    image: &Image,
) -> Option<String> {
    let elsewhere = replicas.iter().zip(chosen).enumerate().filter_map(|(i, (nodes, chosen))| {
        let index = (first + i) as PartitionIndex;
        let nodes = nodes.iter().filter_map(|id| image.node(*id));
        let brokers: Vec<i32> = nodes.map(|node| broker::broker_of(node, topic, index).0).collect();
        (brokers != *chosen).then(|| format!("partition {index} lies on {brokers:?}, not on {chosen:?}"))
    });
    let all: Vec<String> = elsewhere.collect();
    let more = match all.len().saturating_sub(NOTED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let named = &all[..all.len().min(NOTED_MAX)];
    (!all.is_empty())
        .then(|| format!("A topic's id selects the brokers of a node for its partitions: {}{more}.", named.join(", ")))
}

/// Draws a topic id that puts as many partitions as possible on the `chosen` brokers of the first partition's node.
pub(super) fn id_for(chosen: &[&[i32]], image: &Image, mut draw: impl FnMut() -> TopicId) -> TopicId {
    let id = draw();
    let leader =
        |brokers: &[i32]| broker::node_of(image, BrokerId(brokers[0])).filter(|n| n.routing != Routing::Forward);
    let Some(node) = leader(chosen[0]) else { return id };
    // Partitions take consecutive shards, so each one asks for a shard of partition 0.
    let mut asked: HashMap<u16, usize> = HashMap::new();
    for (index, brokers) in chosen.iter().enumerate() {
        if leader(brokers).is_some_and(|other| other.id == node.id) {
            let shard = BrokerId(brokers[0]).shard();
            *asked.entry(owner::shard_before(shard, index, node.shards).0).or_default() += 1;
        }
    }
    let most = asked.values().copied().max().unwrap_or_default();
    let is_wanted = |id: TopicId| asked.get(&shard_of(id, 0, node.shards).0) == Some(&most);
    // On average one of as many draws as shards is wanted.
    let draws = std::iter::repeat_with(&mut draw).take(usize::from(node.shards) * 32);
    if is_wanted(id) { id } else { draws.into_iter().find(|id| is_wanted(*id)).unwrap_or(id) }
}

/// Whether the cluster consists of one node.
fn is_alone(image: &Image) -> bool {
    image.nodes().count() == 1
}

/// The number of brokers that clients see.
fn brokers_count(image: &Image) -> usize {
    image.live_nodes().map(|node| usize::from(broker::brokers_count(node))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, numbers};

    fn draw(random: &mut impl FnMut() -> u64) -> TopicId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random().to_be_bytes());
        TopicId(bytes)
    }

    #[test]
    fn one_node_accepts_as_many_replicas_as_it_shows_brokers() {
        let image = World::nodes(1).image;
        for (factor, has_note) in [(1, false), (2, true)] {
            let placed = place(&image, 0, 3, factor, 7).ok().unwrap();
            assert_eq!((placed.replicas, placed.note.is_some()), (vec![vec![NodeId(1)]; 3], has_note));
        }
        let refused = place(&image, 0, 3, 3, 7).err().unwrap();
        assert_eq!(refused.code, ErrorCode::InvalidReplicationFactor);
        assert!(refused.message.contains("only 2 broker(s) are registered"), "{}", refused.message);
        // Two nodes can give two replicas, and no more.
        let image = World::nodes(2).image;
        assert_eq!(place(&image, 0, 1, 2, 0).ok().unwrap().replicas[0].len(), 2);
        assert!(place(&image, 0, 1, 3, 0).err().unwrap().message.contains("only 2 node(s) are up"));
    }

    #[test]
    fn a_new_topics_partitions_lie_on_the_chosen_brokers() {
        let image = World::nodes(2).image;
        let mut random = numbers();
        for (chosen, matches) in [
            (vec![&[1000][..]], 1),
            (vec![&[1001]], 1),
            (vec![&[1001, 2000]], 1),
            (vec![&[1001], &[1000], &[1001]], 3),
            // All on one shard cannot be: consecutive partitions take consecutive shards.
            (vec![&[1001], &[1001], &[1001]], 2),
        ] {
            for _ in 0..20 {
                let id = id_for(&chosen, &image, || draw(&mut random));
                let node = image.node(NodeId(1)).unwrap();
                let lie = |(i, brokers): (usize, &&[i32])| broker::broker_of(node, id, i as i32).0 == brokers[0];
                assert_eq!(chosen.iter().enumerate().filter(|at| lie(*at)).count(), matches, "{chosen:?}");
            }
        }
    }

    #[test]
    fn the_note_names_the_brokers_that_differ() {
        let image = World::nodes(1).image;
        let mut random = numbers();
        let chosen = vec![&[1001][..]; 9];
        let id = id_for(&chosen, &image, || draw(&mut random));
        let note = note_elsewhere(id, 0, &vec![vec![NodeId(1)]; 9], &chosen, &image).unwrap();
        assert!(note.contains("partition 1 lies on [1000], not on [1001]"), "{note}");
        assert!(!note.contains("partition 0 lies") && !note.contains("more"), "{note}");
        assert_eq!(note_elsewhere(id, 0, &vec![vec![NodeId(1)]; 1], &chosen[..1], &image), None);
        let note = note_elsewhere(id, 0, &vec![vec![NodeId(1)]; 1], &[&[1001, 1000]], &image).unwrap();
        assert!(note.contains("partition 0 lies on [1001], not on [1001, 1000]"), "{note}");
        let many = vec![&[1001, 1000][..]; 9];
        assert!(note_elsewhere(id, 0, &vec![vec![NodeId(1)]; 9], &many, &image).unwrap().ends_with("and 4 more."));
    }
}
