//! The shard that a request addresses, in steer routing.
//!
//! All brokers of a node have one port, and a client opens one connection per broker. The first request that only one
//! broker can serve shows which broker the connection is for: its first partition, group or transactional id that
//! exists. ApiVersions v5 shows the broker that the client expects (KIP-1242). Other requests that every broker serves
//! show nothing. Runs at most once per connection for a request that shows a shard, before the request starts.

use crate::api::admin::api_versions::expected_broker;
use crate::api::server::Server;
use crate::api::table::{Scope, row};
use crate::coordinator::{Ledgers, StateMachine};
use crate::model::{BrokerId, PartitionIndex, ShardId};
use crate::wire::data::delete_records::DeleteRecordsRequest;
use crate::wire::data::fetch::FetchRequest;
use crate::wire::data::list_offsets::ListOffsetsRequest;
use crate::wire::data::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::wire::data::produce::ProduceRequest;
use crate::wire::frame::RequestHeader;
use crate::wire::group::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::wire::group::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::wire::group::delete_groups::DeleteGroupsRequest;
use crate::wire::group::describe_groups::DescribeGroupsRequest;
use crate::wire::group::heartbeat::HeartbeatRequest;
use crate::wire::group::join_group::JoinGroupRequest;
use crate::wire::group::leave_group::LeaveGroupRequest;
use crate::wire::group::offset_commit::OffsetCommitRequest;
use crate::wire::group::offset_delete::OffsetDeleteRequest;
use crate::wire::group::offset_fetch::OffsetFetchRequest;
use crate::wire::group::sync_group::SyncGroupRequest;
use crate::wire::group::txn_offset_commit::TxnOffsetCommitRequest;
use crate::wire::txn::add_offsets_to_txn::AddOffsetsToTxnRequest;
use crate::wire::txn::add_partitions_to_txn::AddPartitionsToTxnRequest;
use crate::wire::txn::describe_producers::DescribeProducersRequest;
use crate::wire::txn::describe_transactions::DescribeTransactionsRequest;
use crate::wire::txn::end_txn::EndTxnRequest;
use crate::wire::txn::init_producer_id::InitProducerIdRequest;
use crate::wire::{ApiKey, Message, Reader, Topic};

/// The shard of this node that serves the request in `frame` (without its length). `None`: every shard serves it, or
/// no shard does, or the frame is malformed.
pub fn shard_addressed(server: &Server, frame: &[u8]) -> Option<ShardId> {
    let mut body = Reader::new(frame);
    let header = RequestHeader::decode(&mut body).ok()?;
    let (key, version) = (header.api.key, header.version);
    match row(key).scope {
        _ if key == ApiKey::ApiVersions => {
            let request = decode(&mut body, version)?;
            expected_broker(&request, server.node(), &server.shard.image()).ok()?.map(BrokerId::shard)
        }
        Scope::PartitionLeader => of_partitions(server, key, version, &mut body),
        Scope::GroupCoordinator => owner(&server.groups, groups(key, version, &mut body)?),
        Scope::TransactionCoordinator => owner(&server.transactions, transactions(key, version, &mut body)?),
        Scope::AnyBroker | Scope::ThisBroker | Scope::Controller => None,
    }
}

/// The coordinator of the first id that has one.
fn owner<M: StateMachine>(ledgers: &Ledgers<M>, ids: Vec<String>) -> Option<ShardId> {
    ids.iter().find_map(|id| Some(ledgers.owner(id).ok()?.1))
}

fn of_partitions(server: &Server, key: ApiKey, version: i16, body: &mut Reader<'_>) -> Option<ShardId> {
    let image = server.shard.image();
    let owner = |topic: Topic<'_>, partition: PartitionIndex| {
        let topic = match topic {
            Topic::Name(name) => image.topic(name),
            Topic::Id(id) => image.topic_by_id(id),
        };
        Some(server.locate(&image, topic?, partition).ok()?.1)
    };
    match key {
        ApiKey::Produce => {
            let request = ProduceRequest::decode(body, version).ok()?;
            request.partitions().find_map(|part| owner(part.topic, part.partition))
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(body, version).ok()?;
            request.partitions.iter().find_map(|part| owner(part.topic, part.partition))
        }
        ApiKey::ListOffsets => decode::<ListOffsetsRequest>(body, version)?.topics.iter().find_map(|topic| {
            topic.partitions.iter().find_map(|part| owner(Topic::Name(&topic.name), part.partition_index))
        }),
        ApiKey::OffsetForLeaderEpoch => {
            decode::<OffsetForLeaderEpochRequest>(body, version)?.topics.iter().find_map(|topic| {
                topic.partitions.iter().find_map(|part| owner(Topic::Name(&topic.topic), part.partition))
            })
        }
        ApiKey::DeleteRecords => decode::<DeleteRecordsRequest>(body, version)?.topics.iter().find_map(|topic| {
            topic.partitions.iter().find_map(|part| owner(Topic::Name(&topic.name), part.partition_index))
        }),
        ApiKey::DescribeProducers => decode::<DescribeProducersRequest>(body, version)?
            .topics
            .iter()
            .find_map(|topic| topic.partition_indexes.iter().find_map(|index| owner(Topic::Name(&topic.name), *index))),
        // WriteTxnMarkers comes from coordinators of other nodes, on connections of their own.
        _ => None,
    }
}

/// The groups of a request to a group coordinator.
fn groups(key: ApiKey, version: i16, body: &mut Reader<'_>) -> Option<Vec<String>> {
    let one = match key {
        ApiKey::JoinGroup => decode::<JoinGroupRequest>(body, version)?.group_id,
        ApiKey::SyncGroup => decode::<SyncGroupRequest>(body, version)?.group_id,
        ApiKey::Heartbeat => decode::<HeartbeatRequest>(body, version)?.group_id,
        ApiKey::LeaveGroup => decode::<LeaveGroupRequest>(body, version)?.group_id,
        ApiKey::ConsumerGroupHeartbeat => decode::<ConsumerGroupHeartbeatRequest>(body, version)?.group_id,
        ApiKey::OffsetCommit => decode::<OffsetCommitRequest>(body, version)?.group_id,
        ApiKey::TxnOffsetCommit => decode::<TxnOffsetCommitRequest>(body, version)?.group_id,
        ApiKey::OffsetDelete => decode::<OffsetDeleteRequest>(body, version)?.group_id,
        ApiKey::DescribeGroups => return Some(decode::<DescribeGroupsRequest>(body, version)?.groups),
        ApiKey::ConsumerGroupDescribe => return Some(decode::<ConsumerGroupDescribeRequest>(body, version)?.group_ids),
        ApiKey::DeleteGroups => return Some(decode::<DeleteGroupsRequest>(body, version)?.groups_names),
        ApiKey::OffsetFetch => {
            let request = decode::<OffsetFetchRequest>(body, version)?;
            if version >= 8 {
                return Some(request.groups.into_iter().map(|group| group.group_id).collect());
            }
            request.group_id
        }
        _ => return None,
    };
    Some(vec![one])
}

/// The transactional ids of a request to a transaction coordinator.
fn transactions(key: ApiKey, version: i16, body: &mut Reader<'_>) -> Option<Vec<String>> {
    let one = match key {
        ApiKey::InitProducerId => decode::<InitProducerIdRequest>(body, version)?.transactional_id?,
        ApiKey::AddOffsetsToTxn => decode::<AddOffsetsToTxnRequest>(body, version)?.transactional_id,
        ApiKey::EndTxn => decode::<EndTxnRequest>(body, version)?.transactional_id,
        ApiKey::DescribeTransactions => {
            return Some(decode::<DescribeTransactionsRequest>(body, version)?.transactional_ids);
        }
        ApiKey::AddPartitionsToTxn => {
            let request = decode::<AddPartitionsToTxnRequest>(body, version)?;
            if version >= 4 {
                return Some(
                    request.transactions.into_iter().map(|transaction| transaction.transactional_id).collect(),
                );
            }
            request.transactional_id
        }
        _ => return None,
    };
    Some(vec![one])
}

fn decode<M: Message>(body: &mut Reader<'_>, version: i16) -> Option<M> {
    M::decode(body, version).ok()
}
