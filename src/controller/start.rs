//! Plans the commands that a node proposes when it starts.

use super::Plan;
use crate::config::BrokerConfig;
use crate::metadata::{Command, Endpoint, Image};
use crate::model::NodeId;

/// The data directory belongs to another node.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this data directory belongs to node {}, and node.id is {here}: \
     set node.id to that, or log.dirs to another directory",
    .known.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
)]
pub struct OtherNode {
    /// This node's `node.id`.
    pub here: i32,
    /// The node ids in the metadata log.
    pub known: Vec<i32>,
}

/// Registers this node as started, with one endpoint for each listener. An unformatted cluster gets `fresh_cluster_id`
/// first. The answer is the node's new incarnation.
pub fn plan_start(
    image: &Image,
    config: &BrokerConfig,
    endpoints: Vec<Endpoint>,
    shards: u16,
    fresh_cluster_id: String,
) -> Result<Plan<u64>, OtherNode> {
    let node = NodeId(config.node_id);
    let known = image.node(node);
    if known.is_none() && image.nodes().next().is_some() {
        let known = image.nodes().map(|node| node.id.0).collect();
        return Err(OtherNode { here: node.0, known });
    }
    let incarnation = known.map_or(0, |node| node.incarnation) + 1;
    let mut commands = Vec::new();
    if image.cluster_id.is_empty() {
        commands.push(Command::FormatCluster { cluster_id: fresh_cluster_id });
    }
    let (routing, rack) = (config.routing, config.rack_or_node());
    commands.push(Command::NodeStarted { node, incarnation, endpoints, shards, routing, rack });
    Ok(Plan { commands, answer: incarnation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::apply::apply;

    fn start(image: &Image, node: i32) -> Result<(Image, u64), OtherNode> {
        let config = crate::config::load(None, &[format!("node.id={node}")]).unwrap();
        let endpoints = vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }];
        let plan = plan_start(image, &config, endpoints, 2, "fresh".into())?;
        Ok((apply(image, image.index + 1, &plan.commands).unwrap().0, plan.answer))
    }

    #[test]
    fn the_first_start_names_the_cluster_and_later_ones_keep_the_name() {
        let (image, incarnation) = start(&Image::default(), 4).unwrap();
        assert_eq!((image.cluster_id.as_str(), incarnation), ("fresh", 1));
        let node = image.node(NodeId(4)).unwrap();
        assert_eq!((node.rack.as_str(), node.shards), ("node-4", 2));
        assert_eq!(start(&image, 4).unwrap().1, 2);
    }

    #[test]
    fn the_data_directory_of_another_node_is_rejected() {
        let image = start(&Image::default(), 4).unwrap().0;
        let error = start(&image, 5).unwrap_err();
        assert_eq!(error, OtherNode { here: 5, known: vec![4] });
        assert!(error.to_string().contains("belongs to node 4, and node.id is 5"));
    }
}
