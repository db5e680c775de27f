//! A valid frame of every API at every version, as the start of random changes.

use tidemill::record::Codec;
use tidemill::wire::admin::alter_configs::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
use tidemill::wire::admin::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use tidemill::wire::admin::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use tidemill::wire::admin::api_versions::ApiVersionsRequest;
use tidemill::wire::admin::create_acls::{AclCreation, CreateAclsRequest};
use tidemill::wire::admin::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use tidemill::wire::admin::create_topics::CreateTopicsRequest;
use tidemill::wire::admin::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use tidemill::wire::admin::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use tidemill::wire::admin::describe_acls::DescribeAclsRequest;
use tidemill::wire::admin::describe_cluster::DescribeClusterRequest;
use tidemill::wire::admin::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use tidemill::wire::admin::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use tidemill::wire::admin::describe_quorum::{DescribeQuorumRequest, METADATA_TOPIC, QuorumPartition, QuorumTopic};
use tidemill::wire::admin::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use tidemill::wire::admin::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use tidemill::wire::admin::find_coordinator::FindCoordinatorRequest;
use tidemill::wire::admin::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig,
};
use tidemill::wire::admin::list_config_resources::ListConfigResourcesRequest;
use tidemill::wire::admin::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic};
use tidemill::wire::admin::unregister_broker::UnregisterBrokerRequest;
use tidemill::wire::admin::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use tidemill::wire::data::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use tidemill::wire::data::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter};
use tidemill::wire::group::consumer_group_describe::ConsumerGroupDescribeRequest;
use tidemill::wire::group::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use tidemill::wire::group::delete_groups::DeleteGroupsRequest;
use tidemill::wire::group::describe_groups::DescribeGroupsRequest;
use tidemill::wire::group::heartbeat::HeartbeatRequest;
use tidemill::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use tidemill::wire::group::leave_group::{LeaveGroupRequest, MemberIdentity};
use tidemill::wire::group::list_groups::ListGroupsRequest;
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidemill::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use tidemill::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use tidemill::wire::group::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use tidemill::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use tidemill::wire::txn::add_offsets_to_txn::AddOffsetsToTxnRequest;
use tidemill::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use tidemill::wire::txn::describe_producers::{DescribeProducersRequest, DescribeProducersTopic};
use tidemill::wire::txn::describe_transactions::DescribeTransactionsRequest;
use tidemill::wire::txn::end_txn::EndTxnRequest;
use tidemill::wire::txn::init_producer_id::InitProducerIdRequest;
use tidemill::wire::txn::list_transactions::ListTransactionsRequest;
use tidemill::wire::txn::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest};
use tidemill::wire::{API_TABLE, ApiKey, Bytes, Message, frame};

use crate::support::bench::{self, Topic};
use crate::support::talk::{from, from_id, packed, sequenced};

/// API, version and frame.
type Frames = Vec<(ApiKey, i16, Vec<u8>)>;

/// Adds a request at every version of its API.
fn each<M: Message>(frames: &mut Frames, request: impl Fn(i16) -> M) {
    let api = M::API.api();
    for version in api.served_from..=api.max {
        let frame = frame::encode_request(&request(version), version, 7, Some("mutant")).expect("encodable");
        frames.push((M::API, version, frame));
    }
}

/// A valid, harmless frame of every API at every version.
pub fn good_frames(topic: &Topic) -> Frames {
    let mut frames = Vec::new();
    let name = || topic.name.clone();
    each(&mut frames, |_| ApiVersionsRequest {
        client_software_name: "bad".into(),
        client_software_version: "1".into(),
        ..Default::default()
    });
    each(&mut frames, |version| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name()), ..Default::default() }]),
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    });
    each(&mut frames, |version| FindCoordinatorRequest {
        key: if version < 4 { "group".into() } else { String::new() },
        key_type: 0,
        coordinator_keys: if version < 4 { vec![] } else { vec!["group".into(), "other".into()] },
    });
    let group = || "mutant-group".to_string();
    each(&mut frames, |version| JoinGroupRequest {
        group_id: group(),
        session_timeout_ms: 6000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 6000 },
        member_id: "nobody".into(),
        group_instance_id: (version >= 5).then(|| "instance".into()),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes(vec![0; 20]) }],
        reason: None,
    });
    each(&mut frames, |version| SyncGroupRequest {
        group_id: group(),
        generation_id: 1,
        member_id: "nobody".into(),
        group_instance_id: (version >= 3).then(|| "instance".into()),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment { member_id: "nobody".into(), assignment: Bytes(vec![0; 20]) }],
    });
    each(&mut frames, |version| HeartbeatRequest {
        group_id: group(),
        generation_id: 1,
        member_id: "nobody".into(),
        group_instance_id: (version >= 3).then(|| "instance".into()),
    });
    each(&mut frames, |version| LeaveGroupRequest {
        group_id: group(),
        member_id: if version < 3 { "nobody".into() } else { String::new() },
        members: match version {
            3.. => vec![MemberIdentity { member_id: "nobody".into(), ..Default::default() }],
            _ => vec![],
        },
    });
    each(&mut frames, |version| OffsetCommitRequest {
        group_id: group(),
        topics: vec![OffsetCommitRequestTopic {
            name: name(),
            topic_id: if version >= 10 { topic.id } else { tidemill::model::TopicId::ZERO },
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 5,
                committed_metadata: Some("metadata".into()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    });
    each(&mut frames, |version| {
        let mut request = OffsetFetchRequest { topics: None, ..Default::default() };
        if version < 8 {
            request.group_id = group();
            request.topics = Some(vec![OffsetFetchRequestTopic { name: name(), partition_indexes: vec![0, 1] }]);
        } else {
            let topic_id = if version >= 10 { topic.id } else { tidemill::model::TopicId::ZERO };
            let topics = vec![OffsetFetchRequestTopics { name: name(), topic_id, partition_indexes: vec![0, 1] }];
            request.groups =
                vec![OffsetFetchRequestGroup { group_id: group(), topics: Some(topics), ..Default::default() }];
        }
        request
    });
    each(&mut frames, |_| DescribeGroupsRequest { groups: vec![group()], include_authorized_operations: false });
    each(&mut frames, |version| ListGroupsRequest {
        states_filter: if version >= 4 { vec!["Stable".into()] } else { vec![] },
        types_filter: if version >= 5 { vec!["classic".into()] } else { vec![] },
    });
    each(&mut frames, |version| ConsumerGroupHeartbeatRequest {
        group_id: format!("{}-848", group()),
        member_id: "member".into(),
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec![name()]),
        subscribed_topic_regex: if version >= 1 { Some("m.*".into()) } else { None },
        topic_partitions: Some(vec![]),
        ..Default::default()
    });
    each(&mut frames, |_| ConsumerGroupDescribeRequest {
        group_ids: vec![group(), format!("{}-848", group())],
        include_authorized_operations: true,
    });
    each(&mut frames, |_| DeleteGroupsRequest { groups_names: vec![group(), "no-such-group".into()] });
    each(&mut frames, |_| OffsetDeleteRequest {
        group_id: group(),
        topics: vec![OffsetDeleteRequestTopic {
            name: name(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    });
    each(&mut frames, |_| CreateTopicsRequest {
        topics: vec![bench::new_topic("never-made", 2, &[("retention.ms", "1000")])],
        timeout_ms: 1000,
        validate_only: true,
    });
    each(&mut frames, |version| DeleteTopicsRequest {
        topics: match version {
            6.. => vec![DeleteTopicState { name: Some("never-made".into()), topic_id: tidemill::model::TopicId::ZERO }],
            _ => vec![],
        },
        topic_names: if version < 6 { vec!["never-made".into()] } else { vec![] },
        timeout_ms: 1000,
    });
    each(&mut frames, |_| DescribeAclsRequest {
        resource_type_filter: 2,
        resource_name_filter: Some(name()),
        operation: 1,
        permission_type: 1,
        ..Default::default()
    });
    each(&mut frames, |_| CreateAclsRequest {
        creations: vec![AclCreation {
            resource_type: 2,
            resource_name: name(),
            principal: "User:mutant".into(),
            host: "*".into(),
            operation: 3,
            permission_type: 3,
            ..Default::default()
        }],
    });
    each(&mut frames, |_| DeleteAclsRequest {
        filters: vec![DeleteAclsFilter {
            resource_type_filter: 2,
            resource_name_filter: Some(name()),
            operation: 1,
            permission_type: 1,
            ..Default::default()
        }],
    });
    each(&mut frames, |_| AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: "/data".into(),
            topics: vec![AlterReplicaLogDirTopic { name: name(), partitions: vec![0, 1] }],
        }],
    });
    each(&mut frames, |_| DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic { topic: name(), partitions: vec![0, 1] }]),
    });
    each(&mut frames, |version| ListConfigResourcesRequest {
        resource_types: if version >= 1 { vec![2, 4] } else { vec![] },
    });
    each(&mut frames, |_| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: name(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }],
        }],
        timeout_ms: 1000,
    });
    each(&mut frames, |_| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: name(), count: 3, assignments: None }],
        timeout_ms: 1000,
        validate_only: true,
    });
    each(&mut frames, |_| AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: name(),
            configs: vec![AlterableConfig { name: "retention.ms".into(), value: Some("900000000".into()) }],
        }],
        validate_only: true,
    });
    each(&mut frames, |_| IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsResource {
            resource_type: 2,
            resource_name: name(),
            configs: vec![IncrementalAlterableConfig {
                name: "leader.replication.throttled.replicas".into(),
                config_operation: 2,
                value: Some("0:1".into()),
            }],
        }],
        validate_only: true,
    });
    each(&mut frames, |_| InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() });
    let transactional_id = || "mutant-transaction".to_string();
    each(&mut frames, |version| {
        let topics = vec![AddPartitionsToTxnTopic { name: name(), partitions: vec![0, 1] }];
        let mut request = AddPartitionsToTxnRequest::default();
        if version < 4 {
            request.transactional_id = transactional_id();
            request.topics = topics;
        } else {
            let transaction = AddPartitionsToTxnTransaction {
                transactional_id: transactional_id(),
                verify_only: true,
                topics,
                ..Default::default()
            };
            request.transactions = vec![transaction];
        }
        request
    });
    each(&mut frames, |_| AddOffsetsToTxnRequest {
        transactional_id: transactional_id(),
        group_id: group(),
        ..Default::default()
    });
    each(&mut frames, |_| EndTxnRequest { transactional_id: transactional_id(), ..Default::default() });
    each(&mut frames, |_| TxnOffsetCommitRequest {
        transactional_id: transactional_id(),
        group_id: group(),
        topics: vec![TxnOffsetCommitRequestTopic {
            name: name(),
            partitions: vec![TxnOffsetCommitRequestPartition { committed_offset: 5, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    });
    each(&mut frames, |_| DescribeTransactionsRequest { transactional_ids: vec![transactional_id()] });
    each(&mut frames, |version| ListTransactionsRequest {
        state_filters: vec!["Ongoing".into()],
        producer_id_filters: vec![1],
        transactional_id_pattern: (version >= 2).then(|| "mutant.*".into()),
        ..Default::default()
    });
    each(&mut frames, |_| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            topics: vec![WritableTxnMarkerTopic { name: "never-made".into(), partition_indexes: vec![0] }],
            ..Default::default()
        }],
    });
    each(&mut frames, |_| DescribeProducersRequest {
        topics: vec![DescribeProducersTopic { name: name(), partition_indexes: vec![0, 1] }],
    });
    each(&mut frames, |_| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: name(),
            configuration_keys: Some(vec!["retention.ms".into()]),
        }],
        ..Default::default()
    });
    each(&mut frames, |_| DescribeClusterRequest::default());
    add_reassignments_and_quorum(&mut frames, &topic.name);
    each(&mut frames, |_| DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: name() }],
        ..Default::default()
    });
    each(&mut frames, |_| ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: name(),
            partitions: vec![ListOffsetsPartition { partition_index: 1, current_leader_epoch: -1, timestamp: -1 }],
        }],
        ..Default::default()
    });
    each(&mut frames, |_| OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: name(),
            partitions: vec![OffsetForLeaderPartition { partition: 1, current_leader_epoch: -1, leader_epoch: 0 }],
        }],
        ..Default::default()
    });
    for version in 4..=18 {
        let part = |at| if version >= 13 { from_id(topic.id, at, 0) } else { from(&topic.name, at, 0) };
        let request = FetchRequest { partitions: vec![part(0), part(1)], ..Default::default() };
        frames.push((ApiKey::Fetch, version, request.encode_frame(version, 7, Some("mutant")).expect("encodable")));
    }
    for version in 3..=13 {
        let head = ProduceHead { transactional_id: None, acks: 1, timeout_ms: 1000 };
        let mut writer = ProduceRequestWriter::new(version, 7, Some("mutant"), head, 1);
        writer.topic(if version >= 13 { topic.by_id() } else { topic.by_name() }, 2);
        writer.partition(0, packed(Codec::Lz4, &["a", "b"]));
        writer.partition(1, sequenced(1000 + i64::from(version), 0, 0, &["c"]));
        frames.push((ApiKey::Produce, version, writer.finish().expect("encodable").to_vec()));
    }
    assert_eq!(frames.len(), API_TABLE.iter().map(|api| (api.max - api.served_from + 1) as usize).sum::<usize>());
    frames
}

fn add_reassignments_and_quorum(frames: &mut Frames, topic: &str) {
    each(frames, |_| ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions { topic: topic.into(), partitions: vec![0, 1] }]),
        ..Default::default()
    });
    each(frames, |_| AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: topic.into(),
            partitions: vec![ReassignablePartition { partition_index: 0, replicas: Some(vec![1, 2]) }],
        }],
        ..Default::default()
    });
    each(frames, |_| ListPartitionReassignmentsRequest {
        topics: Some(vec![ListPartitionReassignmentsTopics { name: topic.into(), partition_indexes: vec![0, 1] }]),
        ..Default::default()
    });
    each(frames, |_| DescribeQuorumRequest {
        topics: vec![QuorumTopic {
            topic_name: METADATA_TOPIC.into(),
            partitions: vec![QuorumPartition { partition_index: 0 }],
        }],
    });
    each(frames, |_| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "group.version".into(),
            max_version_level: 1,
            ..Default::default()
        }],
        ..Default::default()
    });
    each(frames, |_| UnregisterBrokerRequest { broker_id: 77 });
}
