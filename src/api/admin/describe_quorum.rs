//! DescribeQuorum (key 55): the leader, term and length of the metadata log. A node is a quorum of one: its only voter
//! is the leader. An entry's offset is its index.

use super::change::Change;
use crate::metadata::Node;
use crate::model::ErrorCode;
use crate::router::broker::first_broker;
use crate::runtime::clock;
use crate::wire::admin::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedQuorum, DescribedTopic, METADATA_TOPIC, QuorumListener,
    QuorumNode, QuorumTopic, ReplicaState,
};

/// The metadata log as its leader knows it.
struct MetadataLog {
    term: u64,
    /// The index of the last entry.
    index: u64,
    now_ms: i64,
}

/// The handler, on the controller's shard.
pub(in crate::api) async fn describe(change: Change, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let controller = change.server.controller();
    let image = controller.image();
    let log = MetadataLog { term: controller.term(), index: image.index, now_ms: clock::wall_ms() };
    let node = image.node(change.server.shard.node).expect("a serving node is registered");
    answer(&request, &log, node, change.version)
}

fn answer(request: &DescribeQuorumRequest, log: &MetadataLog, node: &Node, version: i16) -> DescribeQuorumResponse {
    let is_metadata_log = |topics: &[QuorumTopic]| match topics {
        [QuorumTopic { topic_name, partitions }] if topic_name == METADATA_TOPIC => {
            partitions.len() == 1 && partitions[0].partition_index == 0
        }
        _ => false,
    };
    if !is_metadata_log(&request.topics) {
        return refuse_all(request);
    }
    let leader_id = first_broker(node).0;
    let end = log.index as i64 + 1;
    let leader = ReplicaState {
        replica_id: leader_id,
        log_end_offset: end,
        last_fetch_timestamp: log.now_ms,
        last_caught_up_timestamp: log.now_ms,
        ..ReplicaState::default()
    };
    let quorum = DescribedQuorum {
        leader_id,
        leader_epoch: i32::try_from(log.term).unwrap_or(i32::MAX),
        high_watermark: end,
        current_voters: vec![leader],
        error_message: Some(String::new()),
        ..DescribedQuorum::default()
    };
    let listeners = node.endpoints.iter().map(|endpoint| QuorumListener {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
    });
    DescribeQuorumResponse {
        topics: vec![DescribedTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![quorum] }],
        nodes: match version {
            0 | 1 => Vec::new(),
            _ => vec![QuorumNode { node_id: leader_id, listeners: listeners.collect() }],
        },
        error_message: Some(String::new()),
        ..DescribeQuorumResponse::default()
    }
}

/// The response to a request for other partitions: each of them is unknown.
fn refuse_all(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let refuse = |partition_index: i32| DescribedQuorum {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition,
        error_message: Some("This server does not host this topic-partition.".into()),
        ..DescribedQuorum::default()
    };
    let topics = request.topics.iter().map(|topic| DescribedTopic {
        topic_name: topic.topic_name.clone(),
        partitions: topic.partitions.iter().map(|partition| refuse(partition.partition_index)).collect(),
    });
    let error_message = Some(String::new());
    DescribeQuorumResponse { topics: topics.collect(), error_message, ..DescribeQuorumResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};
    use crate::model::NodeId;
    use crate::wire::admin::describe_quorum::QuorumPartition;

    fn ask(version: i16, topics: &[(&str, &[i32])]) -> DescribeQuorumResponse {
        let partition = |&partition_index: &i32| QuorumPartition { partition_index };
        let topic = |(name, partitions): &(&str, &[i32])| QuorumTopic {
            topic_name: (*name).into(),
            partitions: partitions.iter().map(partition).collect(),
        };
        let request = DescribeQuorumRequest { topics: topics.iter().map(topic).collect() };
        let world = World::nodes(1);
        let node = world.image.node(NodeId(1)).unwrap();
        let response = answer(&request, &MetadataLog { term: 3, index: 41, now_ms: 1000 }, node, version);
        check_encodes(&response, version);
        response
    }

    #[test]
    fn the_node_is_the_leader_and_the_only_voter() {
        for version in 0..2 {
            assert_eq!(ask(version, &[(METADATA_TOPIC, &[0])]).topics.len(), 1);
        }
        let response = ask(2, &[(METADATA_TOPIC, &[0])]);
        let quorum = &response.topics[0].partitions[0];
        assert_eq!((quorum.leader_id, quorum.leader_epoch, quorum.high_watermark), (1000, 3, 42));
        assert_eq!((quorum.current_voters.len(), quorum.current_voters[0].log_end_offset), (1, 42));
        assert_eq!((response.nodes.len(), response.nodes[0].node_id, quorum.observers.len()), (1, 1000, 0));
        assert_eq!(response.nodes[0].listeners[0].name, "PLAINTEXT");
    }

    #[test]
    fn every_other_partition_is_unknown() {
        let others: [&[(&str, &[i32])]; 4] = [
            &[(METADATA_TOPIC, &[1])],
            &[(METADATA_TOPIC, &[0, 1])],
            &[("a", &[0])],
            &[(METADATA_TOPIC, &[0]), ("a", &[0])],
        ];
        for topics in others {
            for version in 0..=2 {
                let response = ask(version, topics);
                let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions);
                assert!(codes.all(|quorum| quorum.error_code == ErrorCode::UnknownTopicOrPartition), "{topics:?}");
            }
        }
    }
}
