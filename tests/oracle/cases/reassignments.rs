//! ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments in a cluster of one broker.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use tidemill::wire::admin::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use tidemill::wire::admin::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};

use super::super::case::{Case, case, say};

type Partitions = &'static [(&'static str, &'static [i32])];

fn elect(name: &'static str, election_type: i8, asked: Option<Partitions>) -> Case {
    case(ApiKey::ElectLeaders, name, move |_, v| {
        let topic = |(topic, partitions): &(&str, &[i32])| TopicPartitions {
            topic: (*topic).into(),
            partitions: partitions.to_vec(),
        };
        let topic_partitions = asked.map(|asked| asked.iter().map(topic).collect());
        let election_type = if v == 0 { 0 } else { election_type };
        say(&ElectLeadersRequest { election_type, topic_partitions, ..Default::default() }, v)
    })
}

/// Topic, partition and replicas of each partition to reassign.
type Moves = &'static [(&'static str, i32, Option<&'static [i32]>)];

fn reassign(name: &'static str, may_resize: bool, moves: Moves) -> Case {
    let since = if may_resize { 0 } else { 1 };
    let case = case(ApiKey::AlterPartitionReassignments, name, move |_, v| {
        let topic = |(name, partition_index, replicas): &(&str, i32, Option<&[i32]>)| ReassignableTopic {
            name: (*name).into(),
            partitions: vec![ReassignablePartition {
                partition_index: *partition_index,
                replicas: replicas.map(<[i32]>::to_vec),
            }],
        };
        let request = AlterPartitionReassignmentsRequest {
            allow_replication_factor_change: may_resize,
            topics: moves.iter().map(topic).collect(),
            ..Default::default()
        };
        say(&request, v)
    });
    case.since(since)
}

fn list(name: &'static str, asked: Option<Partitions>) -> Case {
    case(ApiKey::ListPartitionReassignments, name, move |_, v| {
        let topic = |(name, partitions): &(&str, &[i32])| ListPartitionReassignmentsTopics {
            name: (*name).into(),
            partition_indexes: partitions.to_vec(),
        };
        let topics = asked.map(|asked| asked.iter().map(topic).collect());
        say(&ListPartitionReassignmentsRequest { topics, ..Default::default() }, v)
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        elect("preferred leaders", 0, Some(&[("plain", &[0, 1, 2, 3, -1]), ("nope", &[0])])),
        elect("preferred leaders of all partitions", 0, None),
        elect("unclean leaders of all partitions", 1, None),
        elect("unclean leaders", 1, Some(&[("plain", &[0, 9])])),
        elect("leaders of nothing", 0, Some(&[])),
        elect("leaders by an unknown election type", 2, Some(&[("plain", &[0, 1])])).since(1),
        elect("all leaders by an unknown election type", 77, None).since(1),
        reassign("the present replicas", true, &[("plain", 0, Some(&[1])), ("plain", 1, Some(&[1]))]),
        reassign("the present replicas, of the same number", false, &[("plain", 0, Some(&[1]))]),
        reassign("nothing", true, &[]),
        reassign("cancel", true, &[("plain", 0, None), ("plain", 9, None), ("nope", 0, None), ("plain", -1, None)]),
        reassign("unknown partitions", true, &[("plain", 9, Some(&[1])), ("nope", 0, Some(&[1]))]),
        reassign("no replicas", true, &[("plain", 0, Some(&[]))]),
        reassign("an unknown broker", true, &[("plain", 0, Some(&[9, 1, 7]))]),
        reassign("a broker twice", true, &[("plain", 0, Some(&[1, 1]))]),
        reassign("no replicas, of the same number", false, &[("plain", 0, Some(&[])), ("plain", 1, None)]),
        reassign(
            "more replicas, of the same number",
            false,
            &[("plain", 0, Some(&[1, 1])), ("plain", 0, Some(&[9, 1]))],
        ),
        list("all moving partitions", None),
        list("no partitions", Some(&[])),
        list("known and unknown partitions", Some(&[("plain", &[0, 1, 9, -1]), ("nope", &[0])])),
    ]
}
