//! Requests to the coordinators of a real shard.

use std::rc::Rc;

use crate::api::request::Origin;
use crate::api::server::Server;
use crate::api::testing::{APPEND, batch, ids, run_with};
use crate::api::{self, Outcome};
use crate::coordinator::topic::InternalTopic;
use crate::model::ErrorCode;
use crate::record::codec::Codec;
use crate::runtime;
use crate::wire::group::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use crate::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::wire::group::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::group::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::wire::group::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::wire::group::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use crate::wire::group::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::txn::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use crate::wire::txn::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use crate::wire::txn::end_txn::{EndTxnRequest, EndTxnResponse};
use crate::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use crate::wire::{Message, Reader, frame};

/// The response to a request on a new connection.
async fn call<A: Message>(server: &Rc<Server>, request: &impl Message, version: i16) -> A {
    let frame = frame::encode_request(request, version, 7, None).expect("encodable");
    let pending = api::start(server, &Origin::new("PLAINTEXT"), &frame[4..]).await;
    let Outcome::Send(mut answer) = pending.finish().await else { panic!("{:?} has a response", A::API) };
    let (slices, _) = answer.window(server).await.expect("it has no records");
    let bytes = slices.iter().map(|slice| slice.to_vec()).collect::<Vec<_>>().concat();
    let mut reader = Reader::new(&bytes[4..]);
    frame::decode_response_header(&mut reader, A::API.api(), version).expect("a header");
    A::decode(&mut reader, version).expect("a response")
}

/// Runs `test` with a function that opens a server whose coordinators are loading: their logs have a record, and the
/// load begins when the caller first waits.
fn run_loading<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Box<dyn Fn() -> Rc<Server>>) -> F) {
    let [groups, transactions] = InternalTopic::ALL.map(InternalTopic::name);
    run_with(name, 1, &[("topic", 1), (groups, 1), (transactions, 1)], |server, router| async move {
        for id in ids(&server.shard) {
            let appended = server.shard.produce(id, &batch(Codec::None, 10), &APPEND, None).await;
            server.shard.wait_committed(appended.expect("the batch is good").sequence).await.expect("storage works");
        }
        test(Box::new(move || Rc::new(Server::new(server.shard.clone(), router.clone())))).await;
    });
}

const LOADING: ErrorCode = ErrorCode::CoordinatorLoadInProgress;

fn group() -> String {
    "g".into()
}

#[test]
fn statement_103_members_of_a_loading_group_try_again() {
    run_loading("loading-members", |loading| async move {
        let protocols = vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }];
        let request = JoinGroupRequest {
            group_id: group(),
            session_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols,
            ..Default::default()
        };
        assert_eq!(call::<JoinGroupResponse>(&loading(), &request, 3).await.error_code, LOADING);
        // The member joins again, and does not look for another coordinator.
        let request = SyncGroupRequest { group_id: group(), ..Default::default() };
        let synced: SyncGroupResponse = call(&loading(), &request, 3).await;
        assert_eq!(synced.error_code, ErrorCode::RebalanceInProgress);
        // No member is removed while the group is unknown.
        let request = HeartbeatRequest { group_id: group(), ..Default::default() };
        assert_eq!(call::<HeartbeatResponse>(&loading(), &request, 3).await.error_code, ErrorCode::None);
        let members = vec![MemberIdentity { member_id: "m".into(), ..Default::default() }];
        let request = LeaveGroupRequest { group_id: group(), members, ..Default::default() };
        assert_eq!(call::<LeaveGroupResponse>(&loading(), &request, 4).await.error_code, LOADING);
        let request = ConsumerGroupHeartbeatRequest {
            group_id: group(),
            member_id: "m".into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["topic".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        assert_eq!(call::<ConsumerGroupHeartbeatResponse>(&loading(), &request, 1).await.error_code, LOADING);

        let request = OffsetCommitRequest {
            group_id: group(),
            topics: vec![OffsetCommitRequestTopic {
                name: "topic".into(),
                partitions: vec![OffsetCommitRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let committed: OffsetCommitResponse = call(&loading(), &request, 8).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, LOADING);
        let groups = vec![OffsetFetchRequestGroup { group_id: group(), ..Default::default() }];
        let request = OffsetFetchRequest { groups, ..Default::default() };
        assert_eq!(call::<OffsetFetchResponse>(&loading(), &request, 8).await.groups[0].error_code, LOADING);
    });
}

#[test]
fn statement_103_groups_that_are_loading_are_not_reported_as_absent() {
    run_loading("loading-groups", |loading| async move {
        let request = DescribeGroupsRequest { groups: vec![group()], ..Default::default() };
        assert_eq!(call::<DescribeGroupsResponse>(&loading(), &request, 5).await.groups[0].error_code, LOADING);
        let request = ConsumerGroupDescribeRequest { group_ids: vec![group()], ..Default::default() };
        assert_eq!(call::<ConsumerGroupDescribeResponse>(&loading(), &request, 1).await.groups[0].error_code, LOADING);
        let request = DeleteGroupsRequest { groups_names: vec![group()] };
        assert_eq!(call::<DeleteGroupsResponse>(&loading(), &request, 2).await.results[0].error_code, LOADING);
        let request = OffsetDeleteRequest { group_id: group(), ..Default::default() };
        assert_eq!(call::<OffsetDeleteResponse>(&loading(), &request, 0).await.error_code, LOADING);
        let server = loading();
        let mut listed: ListGroupsResponse = call(&server, &ListGroupsRequest::default(), 5).await;
        assert_eq!(listed.error_code, LOADING);
        while listed.error_code == LOADING {
            runtime::yield_now().await;
            listed = call(&server, &ListGroupsRequest::default(), 5).await;
        }
        assert_eq!((listed.error_code, listed.groups.len()), (ErrorCode::None, 0), "after the load");
    });
}

#[test]
fn statement_103_producers_of_a_loading_coordinator_try_again() {
    run_loading("loading-transactions", |loading| async move {
        let id = || "t".to_owned();
        let request = InitProducerIdRequest {
            transactional_id: Some(id()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        assert_eq!(call::<InitProducerIdResponse>(&loading(), &request, 4).await.error_code, LOADING);
        let topics = vec![AddPartitionsToTxnTopic { name: "topic".into(), partitions: vec![0] }];
        let request = AddPartitionsToTxnRequest { transactional_id: id(), topics, ..Default::default() };
        let added: AddPartitionsToTxnResponse = call(&loading(), &request, 3).await;
        assert_eq!(added.results_by_topic[0].results_by_partition[0].partition_error_code, LOADING);
        let request = EndTxnRequest { transactional_id: id(), ..Default::default() };
        assert_eq!(call::<EndTxnResponse>(&loading(), &request, 3).await.error_code, LOADING);
        let listed: ListTransactionsResponse = call(&loading(), &ListTransactionsRequest::default(), 1).await;
        assert_eq!(listed.error_code, LOADING);
        let server = loading();
        let request = DescribeTransactionsRequest { transactional_ids: vec![id()] };
        let mut described: DescribeTransactionsResponse = call(&server, &request, 0).await;
        assert_eq!(described.transaction_states[0].error_code, LOADING);
        while described.transaction_states[0].error_code == LOADING {
            runtime::yield_now().await;
            described = call(&server, &request, 0).await;
        }
        assert_eq!(described.transaction_states[0].error_code, ErrorCode::TransactionalIdNotFound, "after the load");
    });
}
