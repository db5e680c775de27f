//! Statements 20 to 40: metadata and topics.

use std::time::Duration;

use crate::support::bench::{self, PLAIN, SMALL, create, find, fresh_name, metadata, metadata_of, new_topic};
use crate::support::talk::Talk;
use crate::support::wait_for;
use tidemill::model::{ErrorCode, TopicId};
use tidemill::wire::admin::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use tidemill::wire::admin::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidemill::wire::admin::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use tidemill::wire::admin::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidemill::wire::admin::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, OPERATIONS_NOT_ASKED};

fn names(answer: &MetadataResponse) -> Vec<&str> {
    answer.topics.iter().filter_map(|topic| topic.name.as_deref()).collect()
}

#[test]
fn s020_null_topics_are_all_topics_and_an_empty_list_is_none() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "all", 1, &[]);
    let mut talk = Talk::to(node.bootstrap());
    for version in [1, 4, 9, 13] {
        assert!(names(&metadata(&mut talk, version, None)).contains(&&*topic.name), "v{version}");
        let none = metadata(&mut talk, version, Some(&[]));
        assert!(none.topics.is_empty() && !none.brokers.is_empty(), "v{version}");
    }
    assert!(names(&metadata(&mut talk, 0, Some(&[]))).contains(&&*topic.name));
}

#[test]
fn s021_unknown_and_illegal_names_are_answered_with_their_errors() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let answer = metadata(&mut talk, 9, Some(&["s021-never", "not/legal", ".."]));
    let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
    let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidTopicException);
    assert_eq!(codes, [unknown, invalid, invalid]);
}

#[test]
fn s022_a_named_topic_is_created_and_a_request_for_all_creates_none() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let name = fresh_name("auto");
    let ask = |talk: &mut Talk, allow_auto_topic_creation| -> MetadataResponse {
        let topics = vec![MetadataRequestTopic { name: Some(name.clone()), ..Default::default() }];
        talk.call(&MetadataRequest { topics: Some(topics), allow_auto_topic_creation, ..Default::default() }, 9)
    };
    assert_eq!(ask(&mut talk, false).topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    wait_for("the topic is there at the second question at the latest", Duration::from_secs(10), || {
        (ask(&mut talk, true).topics[0].error_code == ErrorCode::None).then_some(())
    });
    assert_eq!(find(&node, &name).leaders.len(), 1);
    // The broker's setting wins over the flag of the request.
    let node = SMALL.node();
    let mut talk = Talk::to(node.bootstrap());
    for _ in 0..2 {
        assert_eq!(ask(&mut talk, true).topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn s023_topics_are_found_by_id_and_an_unknown_id_has_no_name() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "by-id", 1, &[]);
    let mut talk = Talk::to(node.bootstrap());
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let topics = Some(vec![by_id(topic.id), by_id(TopicId([9; 16]))]);
    let answer: MetadataResponse = talk.call(&MetadataRequest { topics, ..Default::default() }, 12);
    assert_eq!(answer.topics[0].name.as_deref(), Some(&*topic.name));
    assert_eq!((answer.topics[1].error_code, &answer.topics[1].name), (ErrorCode::UnknownTopicId, &None));
}

fn delete(talk: &mut Talk, version: i16, topics: Vec<DeleteTopicState>, topic_names: Vec<String>) -> Vec<ErrorCode> {
    let request = DeleteTopicsRequest { topics, topic_names, timeout_ms: 30_000 };
    let answer: DeleteTopicsResponse = talk.call(&request, version);
    answer.responses.iter().map(|response| response.error_code).collect()
}

#[test]
fn s024_a_recreated_topic_has_another_id_and_s035_the_old_one_is_unknown() {
    let node = PLAIN.node();
    let old = bench::topic(&node, "again", 1, &[]);
    old.leader(0).append(&old.name, 0, &["of the old topic"]);
    let mut talk = Talk::to(node.bootstrap());
    assert_eq!(delete(&mut talk, 3, vec![], vec![old.name.clone()]), [ErrorCode::None]);
    let new = create(&node, &old.name, 1, &[]);
    assert_ne!(old.id, new.id);
    assert_eq!(find(&node, &old.name).id, new.id);
    let mut leader = new.leader(0);
    assert_eq!(leader.fetch_one(old.by_id(), 0, 0, 13).code(), ErrorCode::UnknownTopicId);
    let part = leader.fetch_one(new.by_id(), 0, 0, 13);
    assert_eq!((part.code(), part.head.high_watermark, part.records.len()), (ErrorCode::None, 0, 0));
}

#[test]
fn a_topic_of_the_longest_name_is_deleted_and_recreated() {
    let node = PLAIN.node();
    let mut name = fresh_name("long");
    name.push_str(&"x".repeat(249 - name.len()));
    let mut talk = Talk::to(node.bootstrap());
    for _ in 0..3 {
        let topic = create(&node, &name, 2, &[]);
        for partition in 0..2 {
            assert_eq!(topic.leader(partition).append(&name, partition as i32, &["a"]), 0, "it begins anew");
        }
        assert_eq!(delete(&mut talk, 3, vec![], vec![name.clone()]), [ErrorCode::None]);
    }
}

#[test]
fn s027_the_controller_is_a_broker_of_the_answer_and_takes_admin_requests() {
    let node = PLAIN.node();
    let answer = metadata(&mut Talk::to(node.bootstrap()), 9, Some(&[]));
    let controller = answer.brokers.iter().find(|broker| broker.node_id == answer.controller_id).expect("a broker");
    // Every other broker accepts admin requests as well.
    for broker in [controller].into_iter().chain(&answer.brokers) {
        let mut talk = Talk::to(&format!("{}:{}", broker.host, broker.port));
        let name = fresh_name("admin");
        let topics = vec![new_topic(&name, 1, &[])];
        let request = CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false };
        let answer: CreateTopicsResponse = talk.call(&request, 5);
        assert_eq!(answer.topics[0].error_code, ErrorCode::None);
    }
}

#[test]
fn s028_every_broker_returns_the_same_cluster_id() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "cluster-id", 2, &[]);
    let ids = [&topic.leaders[0], &topic.leaders[1]].map(|at| metadata(&mut Talk::to(at), 5, Some(&[])).cluster_id);
    assert!(ids[0].as_ref().is_some_and(|id| !id.is_empty()) && ids[0] == ids[1], "{ids:?}");
}

#[test]
fn s029_authorized_operations_are_int32_min_unless_requested() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "operations", 1, &[]);
    let mut talk = Talk::to(node.bootstrap());
    let answer = metadata(&mut talk, 9, Some(&[&topic.name]));
    assert_eq!(answer.cluster_authorized_operations, OPERATIONS_NOT_ASKED);
    assert_eq!(answer.topics[0].topic_authorized_operations, OPERATIONS_NOT_ASKED);
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic.name.clone()), ..Default::default() }]);
    let asked = MetadataRequest { topics, include_topic_authorized_operations: true, ..Default::default() };
    let answer: MetadataResponse = talk.call(&asked, 9);
    assert!(answer.topics[0].topic_authorized_operations > 0);
}

fn create_all(
    talk: &mut Talk,
    version: i16,
    topics: Vec<tidemill::wire::admin::create_topics::CreatableTopic>,
    validate_only: bool,
) -> CreateTopicsResponse {
    talk.call(&CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only }, version)
}

#[test]
fn s031_minus_one_is_the_default_and_validate_only_changes_nothing() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let name = fresh_name("validated");
    let topic = || {
        let mut topic = new_topic(&name, -1, &[]);
        topic.replication_factor = -1;
        vec![topic]
    };
    let answer = create_all(&mut talk, 7, topic(), true);
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (ErrorCode::None, 1));
    assert_eq!(metadata_of(&mut talk, 9, &name).error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(create_all(&mut talk, 4, topic(), false).topics[0].error_code, ErrorCode::None);
    assert_eq!(create_all(&mut talk, 4, topic(), true).topics[0].error_code, ErrorCode::TopicAlreadyExists);
}

#[test]
fn s032_the_answer_has_the_shape_the_id_and_every_config() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let name = fresh_name("shape");
    let answer = create_all(&mut talk, 7, vec![new_topic(&name, 3, &[("retention.ms", "77")])], false);
    let answered = &answer.topics[0];
    assert_eq!((answered.num_partitions, answered.replication_factor), (3, 1));
    assert_eq!(answered.topic_id, find(&node, &name).id);
    let configs = answered.configs.as_ref().expect("a config list");
    assert!(configs.len() >= 25, "{}", configs.len());
    assert!(configs.iter().any(|config| config.name == "retention.ms" && config.value.as_deref() == Some("77")));
}

#[test]
fn s033_one_node_accepts_replicas_up_to_its_brokers_and_reports_the_difference() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let mut two_replicas = new_topic(&fresh_name("two-replicas"), 2, &[]);
    two_replicas.replication_factor = 2;
    let mut three_replicas = new_topic(&fresh_name("three-replicas"), 2, &[]);
    three_replicas.replication_factor = 3;
    let assigned = |name: &str, brokers: &[&[i32]]| CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: (0..)
            .zip(brokers)
            .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..new_topic(&fresh_name(name), 1, &[])
    };
    let topics = vec![
        two_replicas,
        three_replicas,
        assigned("chosen", &[&[1001], &[1000], &[1001]]),
        assigned("chosen-alike", &[&[1001], &[1001], &[1001]]),
    ];
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let answer = create_all(&mut talk, 5, topics, false);
    let [two, three, chosen, alike] = &answer.topics[..] else { panic!("{answer:?}") };
    assert_eq!((two.error_code, two.replication_factor), (ErrorCode::None, 1));
    assert!(two.error_message.as_deref().unwrap().contains("1 replica in place of 2"), "{two:?}");
    assert_eq!(three.error_code, ErrorCode::InvalidReplicationFactor);
    assert_eq!((chosen.error_code, &chosen.error_message), (ErrorCode::None, &None));
    assert_eq!(alike.error_code, ErrorCode::None);
    assert!(alike.error_message.as_deref().unwrap().contains("partition 1 lies on [1000], not on [1001]"), "{alike:?}");
    let described = metadata(&mut talk, 9, Some(&[&names[0], &names[2], &names[3]]));
    let leaders = |topic: usize| -> Vec<(i32, Vec<i32>)> {
        described.topics[topic].partitions.iter().map(|part| (part.leader_id, part.replica_nodes.clone())).collect()
    };
    assert!(leaders(0).iter().all(|(leader, replicas)| *replicas == [*leader]));
    assert_eq!(leaders(1), [(1001, vec![1001]), (1000, vec![1000]), (1001, vec![1001])]);
    assert_eq!(leaders(2), leaders(1), "partitions of one topic take consecutive brokers");
}

#[test]
fn s033_each_topic_has_its_error_and_the_others_are_created() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let (there, good) = (bench::topic(&node, "there.is", 1, &[]), fresh_name("good"));
    let mut too_many_replicas = new_topic(&fresh_name("replicas"), 1, &[]);
    too_many_replicas.replication_factor = 1001;
    let colliding = there.name.replace('.', "_");
    let twice = fresh_name("twice");
    let topics = vec![
        new_topic(&there.name, 1, &[]),
        new_topic("not/legal", 1, &[]),
        new_topic(&colliding, 1, &[]),
        new_topic(&fresh_name("none"), 0, &[]),
        too_many_replicas,
        new_topic(&fresh_name("config"), 1, &[("retention.ms", "soon")]),
        new_topic(&twice, 1, &[]),
        new_topic(&twice, 1, &[]),
        new_topic(&good, 1, &[]),
    ];
    let asked: Vec<(String, ErrorCode)> = topics
        .iter()
        .map(|topic| topic.name.clone())
        .zip([
            ErrorCode::TopicAlreadyExists,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidPartitions,
            ErrorCode::InvalidReplicationFactor,
            ErrorCode::InvalidConfig,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidRequest,
            ErrorCode::None,
        ])
        .collect();
    let answer = create_all(&mut talk, 5, topics, false);
    for (name, code) in asked {
        let answered =
            answer.topics.iter().find(|answered| answered.name == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(answered.error_code, code, "{name}");
    }
    assert_eq!(find(&node, &good).leaders.len(), 1);
}

#[test]
fn s034_a_created_topic_is_usable_at_once_on_every_core() {
    let node = PLAIN.node();
    for _ in 0..5 {
        let name = fresh_name("usable");
        let mut talk = Talk::to(node.bootstrap());
        assert_eq!(
            create_all(&mut talk, 7, vec![new_topic(&name, 4, &[])], false).topics[0].error_code,
            ErrorCode::None
        );
        for partition in 0..4 {
            assert_eq!(talk.append(&name, partition, &["first"]), 0);
        }
        for broker in metadata(&mut talk, 9, Some(&[])).brokers {
            let mut talk = Talk::to(&format!("{}:{}", broker.host, broker.port));
            assert_eq!(metadata_of(&mut talk, 9, &name).error_code, ErrorCode::None);
        }
    }
}

#[test]
fn s035_topics_are_deleted_by_name_or_by_id_and_unknown_ones_have_errors_of_their_own() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let (one, other) = (bench::topic(&node, "gone", 2, &[]), bench::topic(&node, "gone", 2, &[]));
    let named = |name: &str| DeleteTopicState { name: Some(name.into()), topic_id: TopicId::ZERO };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let topics = vec![named(&one.name), by_id(other.id), named("s035-never"), by_id(TopicId([9; 16]))];
    let codes = delete(&mut talk, 6, topics, vec![]);
    let expected = [ErrorCode::None, ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId];
    assert_eq!(codes, expected);
    for topic in [&one, &other] {
        assert_eq!(metadata_of(&mut talk, 9, &topic.name).error_code, ErrorCode::UnknownTopicOrPartition);
        let answer = talk.produce_one(&topic.name, 0, &crate::support::talk::batch(&["late"]));
        assert_eq!(answer.code, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn s036_every_topic_has_its_result_and_partitions_never_become_fewer() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let (grows, stays) = (bench::topic(&node, "grows", 2, &[]), bench::topic(&node, "stays", 2, &[]));
    let to = |name: &str, count| CreatePartitionsTopic { name: name.into(), count, assignments: None };
    let topics = vec![to(&grows.name, 3), to(&stays.name, 2), to("s036-never", 2)];
    let request = CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false };
    let answer: CreatePartitionsResponse = talk.call(&request, 3);
    let code = |name: &str| {
        let find = |result: &&CreatePartitionsTopicResult| result.name == name;
        answer.results.iter().find(find).expect("each has its result").error_code
    };
    assert_eq!(code(&grows.name), ErrorCode::None);
    assert_eq!(code(&stays.name), ErrorCode::InvalidPartitions);
    assert_eq!(code("s036-never"), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(find(&node, &grows.name).leaders.len(), 3);
    assert_eq!(talk.append(&grows.name, 2, &["into the new one"]), 0);
    assert_eq!(find(&node, &stays.name).leaders.len(), 2);
}

#[test]
fn s037_every_config_of_a_topic_names_its_source_and_s038_null_keys_are_all() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "configs", 1, &[("segment.bytes", "2000000")]);
    let mut talk = Talk::to(node.bootstrap());
    let describe = |talk: &mut Talk, resource_type, resource_name: &str, keys| {
        let resource_name = resource_name.to_string();
        let resources = vec![DescribeConfigsResource { resource_type, resource_name, configuration_keys: keys }];
        let request = DescribeConfigsRequest { resources, include_synonyms: true, include_documentation: false };
        let mut answer: DescribeConfigsResponse = talk.call(&request, 4);
        answer.results.remove(0)
    };
    let all = describe(&mut talk, 2, &topic.name, None);
    assert_eq!(all.error_code, ErrorCode::None);
    assert!(all.configs.len() >= 25);
    let segment = all.configs.iter().find(|config| config.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2000000"), 1));
    assert_eq!(segment.synonyms.iter().map(|synonym| synonym.source).collect::<Vec<_>>(), [1, 5]);
    let cleanup = all.configs.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!((cleanup.value.as_deref(), cleanup.config_source), (Some("delete"), 5));
    let one = describe(&mut talk, 2, &topic.name, Some(vec!["retention.ms".into()]));
    assert_eq!(one.configs.len(), 1);
    let leader = topic.leader_ids[0].to_string();
    let described = describe(&mut talk, 4, &leader, None);
    assert!(described.configs.iter().any(|config| config.name == "journal.bytes" && config.config_source == 4));
    // The dynamic defaults of all brokers: none, and no error.
    assert_eq!(describe(&mut talk, 4, "", None).error_code, ErrorCode::None);
}

#[test]
fn s040_topics_are_described_in_pages_by_name_in_order() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    let (one, other) = (bench::topic(&node, "paged-a", 3, &[]), bench::topic(&node, "paged-b", 2, &[]));
    let mut request = DescribeTopicPartitionsRequest {
        topics: [&*other.name, "s040-never", &*one.name].map(|name| TopicRequest { name: name.into() }).into(),
        response_partition_limit: 2,
        cursor: None,
    };
    let mut seen = Vec::new();
    for _ in 0..10 {
        let answer: DescribeTopicPartitionsResponse = talk.call(&request, 0);
        for topic in &answer.topics {
            let name = topic.name.clone().unwrap();
            match topic.error_code {
                ErrorCode::None => seen.extend(topic.partitions.iter().map(|at| (name.clone(), at.partition_index))),
                code => assert_eq!((&*name, code), ("s040-never", ErrorCode::UnknownTopicOrPartition)),
            }
        }
        request.cursor = answer.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let partitions = |name: &str, count: i32| (0..count).map(|at| (name.to_string(), at)).collect::<Vec<_>>();
    assert_eq!(seen, [partitions(&one.name, 3), partitions(&other.name, 2)].concat());
}
