//! Declared messages against the referee: ours written, read and written again by it, must be the same bytes; and must
//! be read by us as what we began with. So both sides agree on both directions, for random values of every field.

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Dice, Sample, body, parse};
use crate::wire::*;

const ROUNDS: u64 = 60;

/// `their_max` is where the referee's knowledge ends, if that is before ours; `last` where its bytes do.
fn check<M: Message + Sample + PartialEq + std::fmt::Debug, T: Encodable + Decodable>(their_max: i16, last: i16) {
    let api = M::API.api();
    for version in api.served_from..=api.max.min(last) {
        for seed in 0..ROUNDS {
            let context = format!("{} v{version}, seed {seed}", api.name);
            let message = M::sample(&mut Dice(seed * 1000 + version as u64), version);
            let ours = body(&message, version);
            assert_eq!(parse::<M>(&ours, version).as_ref(), Ok(&message), "{context}");

            let their_version = version.min(their_max);
            let mut rest = ours.as_slice();
            let read = T::decode(&mut rest, their_version).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(rest.len(), 0, "{context}: bytes the referee does not know");
            let mut written = Vec::new();
            read.encode(&mut written, their_version).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(written, ours, "{context}");
        }
    }
}

macro_rules! agrees {
    ($($test:ident: $room:ident::$module:ident::$request:ident, $response:ident $(up to $max:literal)? $(only to $last:literal)?;)*) => {$(
        #[test]
        fn $test() {
            let max = message_or!($($max)? ; i16::MAX);
            let last = message_or!($($last)? ; i16::MAX);
            check::<$room::$module::$request, theirs::$request>(max, last);
            check::<$room::$module::$response, theirs::$response>(max, last);
        }
    )*};
}

agrees! {
    api_versions_agrees_with_the_referee: admin::api_versions::ApiVersionsRequest, ApiVersionsResponse;
    metadata_agrees_with_the_referee: admin::metadata::MetadataRequest, MetadataResponse;
    offset_commit_agrees_with_the_referee: group::offset_commit::OffsetCommitRequest, OffsetCommitResponse only to 9;
    offset_fetch_agrees_with_the_referee: group::offset_fetch::OffsetFetchRequest, OffsetFetchResponse only to 9;
    join_group_agrees_with_the_referee: group::join_group::JoinGroupRequest, JoinGroupResponse;
    heartbeat_agrees_with_the_referee: group::heartbeat::HeartbeatRequest, HeartbeatResponse;
    leave_group_agrees_with_the_referee: group::leave_group::LeaveGroupRequest, LeaveGroupResponse;
    sync_group_agrees_with_the_referee: group::sync_group::SyncGroupRequest, SyncGroupResponse;
    describe_groups_agrees_with_the_referee: group::describe_groups::DescribeGroupsRequest, DescribeGroupsResponse;
    list_groups_agrees_with_the_referee: group::list_groups::ListGroupsRequest, ListGroupsResponse;
    delete_groups_agrees_with_the_referee: group::delete_groups::DeleteGroupsRequest, DeleteGroupsResponse;
    consumer_group_heartbeat_agrees_with_the_referee: group::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    consumer_group_describe_agrees_with_the_referee: group::consumer_group_describe::ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
    offset_delete_agrees_with_the_referee: group::offset_delete::OffsetDeleteRequest, OffsetDeleteResponse;
    find_coordinator_agrees_with_the_referee: admin::find_coordinator::FindCoordinatorRequest, FindCoordinatorResponse;
    // Version 11 has the fields of version 10.
    list_offsets_agrees_with_the_referee: data::list_offsets::ListOffsetsRequest, ListOffsetsResponse up to 10;
    create_topics_agrees_with_the_referee: admin::create_topics::CreateTopicsRequest, CreateTopicsResponse;
    delete_topics_agrees_with_the_referee: admin::delete_topics::DeleteTopicsRequest, DeleteTopicsResponse;
    delete_records_agrees_with_the_referee: data::delete_records::DeleteRecordsRequest, DeleteRecordsResponse;
    describe_acls_agrees_with_the_referee: admin::describe_acls::DescribeAclsRequest, DescribeAclsResponse;
    create_acls_agrees_with_the_referee: admin::create_acls::CreateAclsRequest, CreateAclsResponse;
    delete_acls_agrees_with_the_referee: admin::delete_acls::DeleteAclsRequest, DeleteAclsResponse;
    // Version 5 has a field that the referee does not know.
    describe_log_dirs_agrees_with_the_referee: admin::describe_log_dirs::DescribeLogDirsRequest, DescribeLogDirsResponse only to 4;
    list_config_resources_agrees_with_the_referee: admin::list_config_resources::ListConfigResourcesRequest, ListConfigResourcesResponse;
    init_producer_id_agrees_with_the_referee: txn::init_producer_id::InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch_agrees_with_the_referee:
        data::offset_for_leader_epoch::OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    describe_configs_agrees_with_the_referee: admin::describe_configs::DescribeConfigsRequest, DescribeConfigsResponse;
    alter_configs_agrees_with_the_referee: admin::alter_configs::AlterConfigsRequest, AlterConfigsResponse;
    incremental_alter_configs_agrees_with_the_referee:
        admin::incremental_alter_configs::IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    // Version 2 has a field that the referee does not know.
    write_txn_markers_agrees_with_the_referee:
        txn::write_txn_markers::WriteTxnMarkersRequest, WriteTxnMarkersResponse only to 1;
    add_partitions_to_txn_agrees_with_the_referee: txn::add_partitions_to_txn::AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    add_offsets_to_txn_agrees_with_the_referee: txn::add_offsets_to_txn::AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    end_txn_agrees_with_the_referee: txn::end_txn::EndTxnRequest, EndTxnResponse;
    describe_transactions_agrees_with_the_referee: txn::describe_transactions::DescribeTransactionsRequest, DescribeTransactionsResponse;
    list_transactions_agrees_with_the_referee: txn::list_transactions::ListTransactionsRequest, ListTransactionsResponse;
    txn_offset_commit_agrees_with_the_referee:
        group::txn_offset_commit::TxnOffsetCommitRequest, TxnOffsetCommitResponse;
    describe_producers_agrees_with_the_referee:
        txn::describe_producers::DescribeProducersRequest, DescribeProducersResponse;
    create_partitions_agrees_with_the_referee: admin::create_partitions::CreatePartitionsRequest, CreatePartitionsResponse;
    describe_cluster_agrees_with_the_referee: admin::describe_cluster::DescribeClusterRequest, DescribeClusterResponse;
    describe_topic_partitions_agrees_with_the_referee:
        admin::describe_topic_partitions::DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
}

/// A tagged field missing in our declaration would be skipped without a word, so those are asked for by name.
#[test]
fn tagged_fields_that_the_referee_writes_are_understood() {
    use theirs::api_versions_response::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};
    let written = ApiVersionsResponse::default()
        .with_supported_features(vec![SupportedFeatureKey::default().with_name("a".into()).with_max_version(2)])
        .with_finalized_features_epoch(7)
        .with_finalized_features(vec![FinalizedFeatureKey::default().with_name("b".into()).with_max_version_level(3)])
        .with_zk_migration_ready(true);
    let mut bytes = Vec::new();
    written.encode(&mut bytes, 4).unwrap();
    let read: admin::api_versions::ApiVersionsResponse = parse(&bytes, 4).unwrap();
    assert_eq!((read.supported_features[0].name.as_str(), read.supported_features[0].max_version), ("a", 2));
    assert_eq!((read.finalized_features[0].name.as_str(), read.finalized_features[0].max_version_level), ("b", 3));
    assert_eq!((read.finalized_features_epoch, read.zk_migration_ready), (7, true));

    use theirs::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
    let topic = CreatableTopicResult::default().with_topic_config_error_code(29);
    let mut bytes = Vec::new();
    CreateTopicsResponse::default().with_topics(vec![topic]).encode(&mut bytes, 7).unwrap();
    let read: admin::create_topics::CreateTopicsResponse = parse(&bytes, 7).unwrap();
    assert_eq!(read.topics[0].topic_config_error_code.code(), 29);
}

#[test]
fn a_field_that_the_version_lacks_is_refused_unless_ignorable() {
    let encode = |request: &admin::describe_cluster::DescribeClusterRequest, version| {
        frame::encode_request(request, version, 1, None)
    };
    let mut request = admin::describe_cluster::DescribeClusterRequest::default();
    assert!(encode(&request, 0).is_ok());
    request.include_fenced_brokers = true;
    assert!(encode(&request, 2).is_ok());
    let field = "DescribeClusterRequest.include_fenced_brokers";
    assert_eq!(encode(&request, 1), Err(Unencodable { field, version: 1 }));

    let topics = admin::metadata::MetadataRequest::default();
    assert!(frame::encode_request(&topics, 1, 1, None).is_ok());
    let null = "null MetadataRequest.topics";
    assert_eq!(frame::encode_request(&topics, 0, 1, None), Err(Unencodable { field: null, version: 0 }));

    // The cluster id is ignorable: a version 1 client never asked for it.
    let answer = admin::metadata::MetadataResponse { cluster_id: Some("x".into()), ..Default::default() };
    assert!(frame::encode_response(&answer, 1, 1).is_ok());
}
