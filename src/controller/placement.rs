//! Assigns the replicas of new partitions to nodes.
//!
//! Leaders are assigned round-robin from a random start. Followers are assigned round-robin too, and each round shifts
//! them by one node. Every node therefore leads equally many partitions, and its followers are spread over all other
//! nodes. Replicas of a partition go to different racks while there are unused ones. A node without a rack is a rack of
//! its own.

use crate::metadata::Image;
use crate::model::NodeId;

/// There are fewer live nodes than the replication factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFewNodes {
    /// The number of live nodes.
    pub live: usize,
}

/// The replicas of partitions `first..first + count`, `factor` each, on live nodes. `chance` selects the start.
pub fn place(
    image: &Image,
    first: usize,
    count: usize,
    factor: usize,
    chance: u64,
) -> Result<Vec<Vec<NodeId>>, TooFewNodes> {
    assert!(factor > 0, "a partition has at least one replica");
    let nodes = alternate_racks(image);
    let live = nodes.len();
    if live < factor {
        return Err(TooFewNodes { live });
    }
    let start = (chance % live as u64) as usize;
    Ok((first..first + count).map(|partition| replicas_of(&nodes, start + partition, factor)).collect())
}

/// The live nodes with their racks, ordered so that neighbours are in different racks where possible.
fn alternate_racks(image: &Image) -> Vec<(NodeId, &str)> {
    let mut nodes: Vec<(usize, &str, NodeId)> = Vec::new();
    for node in image.live_nodes() {
        let turn = nodes.iter().filter(|(_, rack, _)| *rack == node.rack).count();
        nodes.push((turn, &node.rack, node.id));
    }
    nodes.sort();
    nodes.into_iter().map(|(_, rack, id)| (id, rack)).collect()
}

fn replicas_of(nodes: &[(NodeId, &str)], position: usize, factor: usize) -> Vec<NodeId> {
    let live = nodes.len();
    let leader = position % live;
    // Each round, the candidates for followers start one node later.
    let shift = (position / live) % live.saturating_sub(1).max(1);
    let candidates = (0..live - 1).map(|i| nodes[(leader + 1 + (shift + i) % (live - 1)) % live]);
    let mut chosen = vec![nodes[leader]];
    let (mut elsewhere, mut rest) = (Vec::new(), Vec::new());
    for node in candidates {
        let is_new_rack = chosen.iter().chain(&elsewhere).all(|(_, rack)| *rack != node.1);
        if is_new_rack { &mut elsewhere } else { &mut rest }.push(node);
    }
    chosen.extend(elsewhere.into_iter().chain(rest).take(factor - 1));
    chosen.into_iter().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::Routing;
    use crate::metadata::apply::tests::{image_with_nodes, run};
    use crate::metadata::{Command, Endpoint};

    fn in_racks(racks: &[&str]) -> Image {
        let mut image = image_with_nodes(0);
        for (i, rack) in racks.iter().enumerate() {
            let endpoints = vec![Endpoint { listener: "A".into(), host: "h".into(), port: 1 }];
            let node = NodeId(i as i32 + 1);
            let rack = (*rack).into();
            let command =
                Command::NodeStarted { node, incarnation: 1, endpoints, shards: 1, routing: Routing::Direct, rack };
            image = run(&image, &command).0;
        }
        image
    }

    #[test]
    fn replicas_never_share_a_node_and_leaders_are_even() {
        for (live, factor) in [(1, 1), (3, 1), (3, 3), (5, 3), (7, 2)] {
            let image = image_with_nodes(live);
            let placed = place(&image, 0, 210, factor, 12345).unwrap();
            let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
            let mut has: BTreeMap<NodeId, usize> = BTreeMap::new();
            for replicas in &placed {
                assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor, "{replicas:?}");
                *leads.entry(replicas[0]).or_default() += 1;
                replicas.iter().for_each(|id| *has.entry(*id).or_default() += 1);
            }
            let live = live as usize;
            assert!(leads.values().all(|count| *count == 210 / live), "{leads:?}");
            assert!(has.values().all(|count| count.abs_diff(210 * factor / live) <= live), "{has:?}");
        }
    }

    #[test]
    fn a_leaders_followers_are_spread_over_all_other_nodes() {
        let placed = place(&image_with_nodes(4), 0, 24, 2, 0).unwrap();
        let followers: BTreeSet<NodeId> =
            placed.iter().filter(|replicas| replicas[0] == NodeId(1)).map(|replicas| replicas[1]).collect();
        assert_eq!(followers, [NodeId(2), NodeId(3), NodeId(4)].into());
    }

    #[test]
    fn replicas_are_in_different_racks_while_there_are_unused_ones() {
        let racks = ["a", "a", "b", "b", "c"];
        let image = in_racks(&racks);
        let rack = |id: NodeId| racks[id.0 as usize - 1];
        for replicas in place(&image, 0, 50, 3, 7).unwrap() {
            assert_eq!(replicas.iter().map(|id| rack(*id)).collect::<BTreeSet<_>>().len(), 3, "{replicas:?}");
        }
        // With more replicas than racks the nodes still differ.
        for replicas in place(&image, 0, 50, 5, 7).unwrap() {
            assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), 5);
        }
    }

    #[test]
    fn fenced_nodes_get_no_replicas() {
        let image = run(&image_with_nodes(3), &Command::NodeStopped { node: NodeId(2), incarnation: 1 }).0;
        assert!(place(&image, 0, 30, 2, 1).unwrap().iter().all(|replicas| !replicas.contains(&NodeId(2))));
        assert_eq!(place(&image, 0, 1, 3, 1), Err(TooFewNodes { live: 2 }));
    }

    #[test]
    fn added_partitions_continue_the_round_robin() {
        let image = image_with_nodes(3);
        let whole = place(&image, 0, 9, 2, 4).unwrap();
        assert_eq!(place(&image, 4, 5, 2, 4).unwrap(), whole[4..]);
    }
}
