//! Statement 124: an admin request whose response was lost may be sent again.
//!
//! The client sends a request and reads nothing. When another connection sees the effect, the client closes its
//! connection and sends the same bytes on a new one.

use std::fmt::Debug;
use std::time::Duration;

use crate::protocol::offsets::list_in;
use crate::support::bench::{self, Topic, find, fresh_name, metadata_of, new_topic};
use crate::support::node::Node;
use crate::support::talk::Talk;
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidemill::wire::admin::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use tidemill::wire::admin::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use tidemill::wire::admin::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP};
use tidemill::wire::admin::incremental_alter_configs::{
    APPEND, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    IncrementalAlterableConfig, SET,
};
use tidemill::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidemill::wire::data::list_offsets::EARLIEST;
use tidemill::wire::group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use tidemill::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use tidemill::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use tidemill::wire::{Message, frame};

const SOON: Duration = Duration::from_secs(20);

/// Sends a request without reading its response, waits until `effect` returns `expected`, and sends the request again.
/// Returns the second response. The effect must be the same after it.
fn resend<A: Message, E: PartialEq + Debug>(
    address: &str,
    request: &impl Message,
    version: i16,
    expected: E,
    mut effect: impl FnMut() -> E,
) -> A {
    assert_ne!(effect(), expected, "the effect was there before the request");
    let mut lost = Talk::to(address);
    lost.send(&frame::encode_request(request, version, 1, None).expect("encodable"));
    wait_for("the first request takes effect", SOON, || (effect() == expected).then_some(()));
    drop(lost);
    let answer = Talk::to(address).call(request, version);
    assert_eq!(effect(), expected, "the second request changed something");
    answer
}

fn setting(talk: &mut Talk, topic: &str, name: &str) -> Option<String> {
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: topic.into(),
        configuration_keys: Some(vec![name.into()]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer: DescribeConfigsResponse = talk.call(&request, 4);
    answer.results[0].configs[0].value.clone()
}

#[test]
fn s124_requests_about_topics_may_be_sent_again() {
    let node = bench::PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let name = fresh_name("resent");

    let request =
        CreateTopicsRequest { topics: vec![new_topic(&name, 2, &[])], timeout_ms: 10_000, validate_only: false };
    let created: CreateTopicsResponse =
        resend(node.bootstrap(), &request, 7, 2, || metadata_of(&mut talk, 12, &name).partitions.len());
    assert_eq!(created.topics[0].error_code, ErrorCode::TopicAlreadyExists);
    let topic = find(&node, &name);

    let grown = CreatePartitionsTopic { name: name.clone(), count: 3, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, validate_only: false };
    let grown: CreatePartitionsResponse =
        resend(node.bootstrap(), &request, 3, 3, || metadata_of(&mut talk, 12, &name).partitions.len());
    assert_eq!(grown.results[0].error_code, ErrorCode::InvalidPartitions);

    for (setting_name, config_operation, value, expected) in [
        ("retention.ms", SET, "12345", "12345"),
        // A list does not get its new word twice.
        ("cleanup.policy", APPEND, "compact", "delete,compact"),
    ] {
        let config =
            IncrementalAlterableConfig { name: setting_name.into(), config_operation, value: Some(value.into()) };
        let resource =
            IncrementalAlterConfigsResource { resource_type: 2, resource_name: name.clone(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let altered: IncrementalAlterConfigsResponse =
            resend(node.bootstrap(), &request, 1, Some(expected.to_string()), || {
                setting(&mut talk, &name, setting_name)
            });
        assert_eq!(altered.responses[0].error_code, ErrorCode::None, "{setting_name}");
    }

    // By id: the second request must not reach a topic of the same name that was created in between.
    let state = DeleteTopicState { name: None, topic_id: topic.id };
    let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 10_000, ..Default::default() };
    let deleted: DeleteTopicsResponse =
        resend(node.bootstrap(), &request, 6, ErrorCode::UnknownTopicOrPartition, || {
            metadata_of(&mut talk, 12, &name).error_code
        });
    assert_eq!(deleted.responses[0].error_code, ErrorCode::UnknownTopicId);
    let again = bench::create(&node, &name, 1, &[]);
    let deleted: DeleteTopicsResponse = talk.call(&request, 6);
    assert_eq!(deleted.responses[0].error_code, ErrorCode::UnknownTopicId);
    assert_eq!(find(&node, &name).id, again.id);
}

#[test]
fn s124_records_may_be_deleted_again() {
    let node = bench::PLAIN.node();
    let topic = bench::topic(&node, "resent-records", 1, &[]);
    topic.leader(0).append(&topic.name, 0, &["a", "b", "c"]);
    for (version, offset, expected) in [(0, 1, 1), (2, -1, 3)] {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.name.clone(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
        let mut talk = topic.leader(0);
        let deleted: DeleteRecordsResponse = resend(&topic.leaders[0], &request, version, expected, || {
            list_in(&mut talk, 7, &topic.name, 0, -1, EARLIEST).offset
        });
        let partition = &deleted.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), (ErrorCode::None, expected));
    }
}

/// The address of a group's coordinator, once it has loaded, after one committed offset in `topic`.
fn committed(node: &Node, group: &str, topic: &Topic) -> String {
    let request =
        FindCoordinatorRequest { key_type: GROUP, coordinator_keys: vec![group.into()], ..Default::default() };
    let found: FindCoordinatorResponse = Talk::to(node.bootstrap()).call(&request, 6);
    let address = format!("{}:{}", found.coordinators[0].host, found.coordinators[0].port);
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() }];
    let topics = vec![OffsetCommitRequestTopic { name: topic.name.clone(), partitions, ..Default::default() }];
    let request = OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() };
    let mut talk = Talk::to(&address);
    wait_for("the coordinator has loaded", SOON, || {
        let answer: OffsetCommitResponse = talk.call(&request, 9);
        (answer.topics[0].partitions[0].error_code == ErrorCode::None).then_some(())
    });
    address
}

/// The group's committed offsets.
fn offsets(talk: &mut Talk, group: &str) -> Vec<i64> {
    let asked = OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
    let answer: OffsetFetchResponse = talk.call(&OffsetFetchRequest { groups: vec![asked], ..Default::default() }, 9);
    let partitions = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.committed_offset).collect()
}

#[test]
fn s124_groups_and_their_offsets_may_be_deleted_again() {
    let node = bench::PLAIN.node();
    let topic = bench::topic(&node, "resent-offsets", 1, &[]);

    let group = fresh_name("s124-offsets");
    let address = committed(&node, &group, &topic);
    let mut talk = Talk::to(&address);
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topics = vec![OffsetDeleteRequestTopic { name: topic.name.clone(), partitions }];
    let request = OffsetDeleteRequest { group_id: group.clone(), topics };
    let deleted: OffsetDeleteResponse = resend(&address, &request, 0, vec![], || offsets(&mut talk, &group));
    let partition = &deleted.topics[0].partitions[0];
    assert_eq!((deleted.error_code, partition.error_code), (ErrorCode::None, ErrorCode::None));

    let group = fresh_name("s124-group");
    let address = committed(&node, &group, &topic);
    let mut talk = Talk::to(&address);
    let request = DeleteGroupsRequest { groups_names: vec![group.clone()] };
    let deleted: DeleteGroupsResponse = resend(&address, &request, 3, vec![], || offsets(&mut talk, &group));
    assert_eq!(deleted.results[0].error_code, ErrorCode::GroupIdNotFound);
    assert_eq!(deleted.results[0].error_message, None);
}
