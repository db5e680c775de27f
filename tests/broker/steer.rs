//! Steer routing: all brokers of a node have one port, and a connection moves to the shard that its client addresses.
//!
//! A connection's shard is visible in ListGroups: a connection for one shard lists the groups of that shard, and a
//! connection for no shard yet lists those of the node.

use std::time::Duration;

use crate::support::bench::{create, metadata};
use crate::support::node::Node;
use crate::support::talk::{Talk, batch, from};
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use tidemill::wire::{Topic, frame};

const SOON: Duration = Duration::from_secs(30);
const GROUPS: usize = 8;

fn commit_request(group: &str) -> OffsetCommitRequest {
    let partitions = vec![OffsetCommitRequestPartition::default()];
    let topics = vec![OffsetCommitRequestTopic { name: "t".into(), partitions, ..Default::default() }];
    OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() }
}

fn commit(talk: &mut Talk, group: &str) {
    wait_for("the group's coordinator has loaded", SOON, || {
        let answer: OffsetCommitResponse = talk.call(&commit_request(group), 8);
        match answer.topics[0].partitions[0].error_code {
            ErrorCode::CoordinatorLoadInProgress => None,
            code => {
                assert_eq!(code, ErrorCode::None);
                Some(())
            }
        }
    });
}

fn listed(talk: &mut Talk) -> Vec<String> {
    let answer: ListGroupsResponse = talk.call(&ListGroupsRequest::default(), 4);
    assert_eq!(answer.error_code, ErrorCode::None);
    answer.groups.into_iter().map(|group| group.group_id).collect()
}

fn coordinator(bootstrap: &str, group: &str) -> i32 {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let answer: FindCoordinatorResponse = Talk::to(bootstrap).call(&request, 4);
    assert_eq!(answer.coordinators[0].error_code, ErrorCode::None);
    answer.coordinators[0].node_id
}

/// A node with two shards, a topic `t`, and a group on each shard. Returns the groups by their broker.
fn start(name: &str) -> (Node, [Vec<String>; 2]) {
    let node = Node::tidemill(name, &["--shards", "2", "--set", "routing=steer", "--set", "journal.bytes=134217728"]);
    create(&node, "t", 4, &[]);
    let mut groups = [vec![], vec![]];
    for group in (0..GROUPS).map(|n| format!("group-{n}")) {
        let broker = coordinator(node.bootstrap(), &group);
        commit(&mut Talk::to(node.bootstrap()), &group);
        groups[(broker - 1000) as usize].push(group);
    }
    assert!(groups.iter().all(|groups| !groups.is_empty()), "{groups:?}");
    (node, groups)
}

/// The broker that leads a partition of `t`.
fn leader(node: &Node, partition: usize) -> usize {
    let answer = metadata(&mut Talk::to(node.bootstrap()), 9, Some(&["t"]));
    let partition = answer.topics[0].partitions.iter().find(|found| found.partition_index == partition as i32);
    (partition.expect("a partition of t").leader_id - 1000) as usize
}

#[test]
fn brokers_share_the_listeners_port_and_differ_in_their_hosts() {
    let (node, _) = start("steer-brokers");
    let port: i32 = node.bootstrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let brokers = metadata(&mut Talk::to(node.bootstrap()), 9, Some(&[])).brokers;
    let brokers: Vec<_> = brokers.iter().map(|broker| (broker.node_id, broker.host.as_str(), broker.port)).collect();
    assert_eq!(brokers, [(1000, "127.0.0.1", port), (1001, "localhost", port)]);
}

#[test]
fn the_first_request_for_a_shard_moves_the_connection() {
    let (node, groups) = start("steer-moves");
    for _ in 0..4 {
        // The kernel chooses the shard that accepts, so each round starts on a shard by chance.
        let mut talk = Talk::to(node.bootstrap());
        assert_eq!(listed(&mut talk).len(), GROUPS, "the connection is for no shard yet");
        for shard in 0..2 {
            let mut talk = Talk::to(node.bootstrap());
            commit(&mut talk, &groups[shard][0]);
            assert_eq!(listed(&mut talk), groups[shard], "the connection is for shard {shard}");
            // A request for another shard is served all the same, and the connection stays.
            commit(&mut talk, &groups[1 - shard][0]);
            assert_eq!(listed(&mut talk), groups[shard], "the connection is for shard {shard}");
        }
        for partition in 0..4 {
            let shard = leader(&node, partition);
            let mut talk = Talk::to(node.bootstrap());
            talk.append("t", partition as i32, &["produced"]);
            assert_eq!(listed(&mut talk), groups[shard], "a Produce request");
            let mut talk = Talk::to(node.bootstrap());
            let answer = talk
                .fetch(&FetchRequest { partitions: vec![from("t", partition as i32, 0)], ..Default::default() }, 12);
            assert_eq!(answer.partitions[0].code(), ErrorCode::None);
            assert_eq!(listed(&mut talk), groups[shard], "a Fetch request");
        }
    }
}

/// KIP-1242: the first request names the broker that the client expects.
#[test]
fn the_expected_broker_in_api_versions_moves_the_connection() {
    let (node, groups) = start("steer-expected");
    let cluster_id = metadata(&mut Talk::to(node.bootstrap()), 9, Some(&[])).cluster_id;
    let request = |cluster_id: Option<&str>, node_id| ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        cluster_id: cluster_id.map(str::to_owned),
        node_id,
    };
    for _ in 0..4 {
        for (shard, groups) in (0..).zip(&groups) {
            let mut talk = Talk::to(node.bootstrap());
            let answer: ApiVersionsResponse = talk.call(&request(cluster_id.as_deref(), 1000 + shard), 5);
            assert_eq!(answer.error_code, ErrorCode::None);
            assert_eq!(listed(&mut talk), *groups);
        }
        for (cluster_id, node_id, code) in [
            (None, 1001, ErrorCode::InvalidRequest),
            (cluster_id.as_deref(), 1002, ErrorCode::RebootstrapRequired),
            (Some("another"), 1001, ErrorCode::RebootstrapRequired),
        ] {
            let mut talk = Talk::to(node.bootstrap());
            let answer: ApiVersionsResponse = talk.call(&request(cluster_id, node_id), 5);
            assert_eq!(answer.error_code, code, "{cluster_id:?} {node_id}");
            assert_eq!(listed(&mut talk).len(), GROUPS, "the connection is for no shard yet");
        }
    }
}

#[test]
fn pipelined_requests_move_with_their_connection_in_order() {
    let (node, groups) = start("steer-pipelined");
    for partition in 0..4 {
        let shard = leader(&node, partition);
        // The frames arrive as one piece, and cut inside the frame that moves the connection.
        for cut in [None, Some(0), Some(3), Some(30)] {
            let mut talk = Talk::to(node.bootstrap());
            let mut bytes = Vec::new();
            let first = talk.id();
            bytes.extend(frame::encode_request(&ListGroupsRequest::default(), 4, first, Some("test")).unwrap());
            let list_bytes = bytes.len();
            let batches: Vec<Vec<u8>> = (0..40).map(|n| batch(&[&format!("{n}")])).collect();
            let mut ids = Vec::new();
            for batch in &batches {
                let (id, frame) = talk.produce_frame(9, -1, &[(Topic::Name("t"), partition as i32, batch)]);
                ids.push(id);
                bytes.extend(frame);
            }
            let cut = cut.map_or(bytes.len(), |more: usize| list_bytes + more);
            talk.send(&bytes[..cut]);
            // The response shows that the first piece has arrived alone.
            assert_eq!(received_list(&mut talk, first).len(), GROUPS);
            talk.send(&bytes[cut..]);
            let mut offsets: Vec<i64> = Vec::new();
            for id in ids {
                let answer = talk.receive_produce(9, id).remove(0);
                assert_eq!(answer.code, ErrorCode::None, "{answer:?}");
                offsets.push(answer.base_offset);
            }
            assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
            assert_eq!(listed(&mut talk), groups[shard]);
        }
    }
}

fn received_list(talk: &mut Talk, id: i32) -> Vec<String> {
    use tidemill::wire::ApiKey;
    let answer =
        talk.answer(ApiKey::ListGroups, 4, id, |reader| ListGroupsResponse::decode(reader, 4).expect("a list"));
    answer.groups.into_iter().map(|group| group.group_id).collect()
}

#[test]
fn a_large_first_request_is_served_and_the_connection_moves_behind_it() {
    let (node, groups) = start("steer-large");
    let value = "x".repeat(900_000);
    for partition in 0..4 {
        let mut talk = Talk::to(node.bootstrap());
        talk.append("t", partition, &[&value]);
        talk.append("t", partition, &["small"]);
        assert_eq!(listed(&mut talk), groups[leader(&node, partition as usize)]);
    }
}
