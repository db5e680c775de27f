//! The table of APIs: one row per API key with its scope, the ACL operation that it needs, and its handler.
//!
//! The versions of a row are in [`wire::API_TABLE`](crate::wire::API_TABLE), because `wire` decodes headers with them.
//! The rows expand to matches over [`ApiKey`] without a wildcard: an API key without a row does not compile.

use std::rc::Rc;

use crate::api::admin::change::Change;
use crate::api::admin::context::Context;
use crate::api::admin::{
    acls, alter_configs, alter_partition_reassignments, alter_replica_log_dirs, api_versions, create_partitions,
    create_topics, delete_topics, describe_cluster, describe_configs, describe_log_dirs, describe_quorum,
    describe_topic_partitions, elect_leaders, find_coordinator, incremental_alter_configs, list_config_resources,
    list_partition_reassignments, metadata, unregister_broker, update_features,
};
use crate::api::controller::CONTROLLER;
use crate::api::data::{delete_records, fetch, list_offsets, offset_for_leader_epoch, produce};
use crate::api::group::request::{Framed, GroupRequest};
use crate::api::group::{
    consumer_group_describe, consumer_group_heartbeat, delete_groups, describe_groups, heartbeat, join_group,
    leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group, txn_offset_commit,
};
use crate::api::operation::{Operation, Resource};
use crate::api::outcome::{Header, Outcome, encode};
use crate::api::pending::Pending;
use crate::api::request::ClientRequest;
use crate::api::server::Server;
use crate::api::txn::{
    add_offsets_to_txn, add_partitions_to_txn, describe_producers, describe_transactions, end_txn, init_producer_id,
    list_transactions, write_txn_markers,
};
use crate::router::message::{AdminRequest, CloseReason, CoordinateRequest, Reply, ShardRequest};
use crate::wire::frame::RequestHeader;
use crate::wire::{Api, ApiKey, Malformed, Message, Reader};

/// The brokers that a client may send a request to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every broker answers alike.
    AnyBroker,
    /// Each broker answers for the partitions, groups or transactional ids that it has.
    ThisBroker,
    /// The leader of the partition; other brokers answer NOT_LEADER_OR_FOLLOWER.
    PartitionLeader,
    /// The shard that coordinates the group; other brokers answer NOT_COORDINATOR.
    GroupCoordinator,
    /// The shard that coordinates the transactional id; other brokers answer NOT_COORDINATOR.
    TransactionCoordinator,
    /// The controller makes the change. Every broker accepts the request and forwards it.
    Controller,
}

/// One row: how an API is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Key, name and versions.
    pub api: &'static Api,
    /// The brokers that can answer.
    pub scope: Scope,
    /// The operation that an authorizer has to allow, on the kind of resource that the request names. ApiVersions
    /// needs none.
    pub acl: Option<(Operation, Resource)>,
}

/// Each row: API key, scope, ACL operation and resource, handler.
///
/// A handler is one of:
/// - `local(f)`: `f` is the first stage. It responds or returns a [`Pending`], and never waits.
/// - `ordered(f)`: the same, but `f` waits for memory or the journal, in the connection's order.
/// - `later(f)`: `f(server, request, version)` runs on this shard and may ask other shards.
/// - `list(f)`: as `later`, and `f(server, request, all)` lists the entries of all shards if `all` is true.
/// - `image(f)`: `f(request, context)` answers from this shard's image.
/// - `controller(f)`: `f(change, request)` runs on the controller's shard.
/// - `image_or_controller(f, g)`: `image(f)`, and `controller(g)` if `f` returns `None`.
/// - `group(f)`: `f` is the first stage on the shard that coordinates the group.
macro_rules! table {
    ($($key:ident $scope:ident $acl:tt $kind:ident $handler:tt;)*) => {
        /// The row of an API.
        pub fn row(key: ApiKey) -> Row {
            let (scope, acl) = match key {
                $(ApiKey::$key => (Scope::$scope, acl!($acl)),)*
            };
            Row { api: key.api(), scope, acl }
        }

        /// The first stage, on the connection's shard.
        pub(in crate::api) async fn start(request: ClientRequest<'_>) -> Result<Pending, Malformed> {
            match request.key {
                $(ApiKey::$key => first_stage!($kind $handler request),)*
            }
        }

        /// The first stage of a request to a group coordinator, on the shard that owns the group.
        async fn start_group(key: ApiKey, call: GroupRequest, body: &mut Reader<'_>) -> Result<Framed, Malformed> {
            match key {
                $(ApiKey::$key => group_stage!($kind $handler call body),)*
            }
        }

        /// A request to the controller, on its shard. The error is a reason to close the connection.
        async fn change(
            key: ApiKey,
            change: Change,
            body: &mut Reader<'_>,
            header: Header,
        ) -> Result<Vec<u8>, CloseReason> {
            match key {
                $(ApiKey::$key => controller_stage!($kind $handler key change body header),)*
            }
        }

        #[cfg(test)]
        fn handler_kind(key: ApiKey) -> &'static str {
            match key {
                $(ApiKey::$key => stringify!($kind),)*
            }
        }
    };
}

macro_rules! acl {
    (none) => {
        None
    };
    (($operation:ident $resource:ident)) => {
        Some((Operation::$operation, Resource::$resource))
    };
}

macro_rules! first_stage {
    (local($f:path) $request:ident) => {
        $f($request)
    };
    (ordered($f:path) $request:ident) => {
        $f($request).await
    };
    (later($f:path) $request:ident) => {
        later($request, $f)
    };
    (list($f:path) $request:ident) => {{
        let all = $request.origin.is_for_node($request.server.shard.routing);
        later($request, async move |server: &Rc<Server>, message, _| $f(server, message, all).await)
    }};
    (image($f:path) $request:ident) => {{
        let mut request = $request;
        let outcome = from_image(&mut request, |message, context| Some($f(message, context)))?;
        Ok(Pending::Now(outcome.expect("the handler always answers")))
    }};
    (image_or_controller($f:path, $g:path) $request:ident) => {{
        let mut request = $request;
        match from_image(&mut request, $f)? {
            Some(outcome) => Ok(Pending::Now(outcome)),
            None => Ok(to_controller(request)),
        }
    }};
    (controller($f:path) $request:ident) => {
        Ok(to_controller($request))
    };
    (group($f:path) $request:ident) => {{
        let mut request = $request;
        let framed = $f(GroupRequest::from_client(&request), &mut request.body).await?;
        Ok(Pending::later(async move { framed.await.into() }))
    }};
}

macro_rules! group_stage {
    (group($f:path) $call:ident $body:ident) => {
        $f($call, $body).await
    };
    ($kind:ident $handler:tt $call:ident $body:ident) => {
        unreachable!("API-2: shards forward only group requests to the shard that owns a group")
    };
}

macro_rules! controller_stage {
    (controller($f:path) $key:ident $change:ident $body:ident $header:ident) => {
        change_with($change, $body, &$header, $f).await
    };
    (image_or_controller($g:path, $f:path) $key:ident $change:ident $body:ident $header:ident) => {
        change_with($change, $body, &$header, $f).await
    };
    ($kind:ident $handler:tt $key:ident $change:ident $body:ident $header:ident) => {
        unreachable!("API-2: {:?} is not a request for the controller", $key)
    };
}

table! {
    Produce                 PartitionLeader        (Write Topic)               ordered(produce::start);
    Fetch                   PartitionLeader        (Read Topic)                local(fetch::start);
    ListOffsets             PartitionLeader        (Describe Topic)            later(list_offsets::answer);
    OffsetForLeaderEpoch    PartitionLeader        (Describe Topic)            later(offset_for_leader_epoch::answer);
    DeleteRecords           PartitionLeader        (Delete Topic)              later(delete_records::answer);

    JoinGroup               GroupCoordinator       (Read Group)                group(join_group::start);
    SyncGroup               GroupCoordinator       (Read Group)                group(sync_group::start);
    Heartbeat               GroupCoordinator       (Read Group)                group(heartbeat::start);
    LeaveGroup              GroupCoordinator       (Read Group)                group(leave_group::start);
    ConsumerGroupHeartbeat  GroupCoordinator       (Read Group)                group(consumer_group_heartbeat::start);
    OffsetCommit            GroupCoordinator       (Read Group)                group(offset_commit::start);
    TxnOffsetCommit         GroupCoordinator       (Write TransactionalId)     group(txn_offset_commit::start);
    OffsetFetch             GroupCoordinator       (Describe Group)            group(offset_fetch::start);
    OffsetDelete            GroupCoordinator       (Delete Group)              group(offset_delete::start);
    DescribeGroups          GroupCoordinator       (Describe Group)            group(describe_groups::start);
    ConsumerGroupDescribe   GroupCoordinator       (Describe Group)            group(consumer_group_describe::start);
    DeleteGroups            GroupCoordinator       (Delete Group)              group(delete_groups::start);
    ListGroups              ThisBroker             (Describe Cluster)          group(list_groups::start);

    InitProducerId          TransactionCoordinator (Write TransactionalId)     later(init_producer_id::answer);
    AddPartitionsToTxn      TransactionCoordinator (Write TransactionalId)     later(add_partitions_to_txn::answer);
    AddOffsetsToTxn         TransactionCoordinator (Write TransactionalId)     later(add_offsets_to_txn::answer);
    EndTxn                  TransactionCoordinator (Write TransactionalId)     later(end_txn::answer);
    DescribeTransactions    TransactionCoordinator (Describe TransactionalId)  later(describe_transactions::answer);
    ListTransactions        ThisBroker             (Describe TransactionalId)  list(list_transactions::answer);
    DescribeProducers       PartitionLeader        (Read Topic)                later(describe_producers::answer);
    WriteTxnMarkers         PartitionLeader        (ClusterAction Cluster)     later(write_txn_markers::answer);

    ApiVersions             AnyBroker              none                        local(api_versions::start);
    Metadata                AnyBroker              (Describe Topic)
        image_or_controller(metadata::answer_known, metadata::create_missing);
    FindCoordinator         AnyBroker              (Describe Group)
        image_or_controller(find_coordinator::answer_known, find_coordinator::create_missing);
    DescribeCluster         AnyBroker              (Describe Cluster)          image(describe_cluster::answer);
    DescribeTopicPartitions AnyBroker              (Describe Topic)            image(describe_topic_partitions::answer);
    DescribeConfigs         AnyBroker              (DescribeConfigs Topic)     image(describe_configs::answer);
    ListConfigResources     AnyBroker              (DescribeConfigs Cluster)   image(list_config_resources::answer);
    DescribeLogDirs         ThisBroker             (Describe Cluster)          list(describe_log_dirs::answer);
    AlterReplicaLogDirs     ThisBroker             (Alter Cluster)             image(alter_replica_log_dirs::answer);
    DescribeAcls            AnyBroker              (Describe Cluster)          local(acls::describe);
    CreateAcls              AnyBroker              (Alter Cluster)             local(acls::create);
    DeleteAcls              AnyBroker              (Alter Cluster)             local(acls::delete);
    CreateTopics            Controller             (Create Cluster)            controller(create_topics::create);
    DeleteTopics            Controller             (Delete Topic)              controller(delete_topics::delete);
    CreatePartitions        Controller             (Alter Topic)               controller(create_partitions::create);
    AlterConfigs            Controller             (AlterConfigs Topic)        controller(alter_configs::alter);
    IncrementalAlterConfigs Controller             (AlterConfigs Topic)
        controller(incremental_alter_configs::alter);
    DescribeQuorum          Controller             (Describe Cluster)          controller(describe_quorum::describe);
    ElectLeaders            AnyBroker              (Alter Cluster)             image(elect_leaders::answer);
    AlterPartitionReassignments AnyBroker          (Alter Cluster)
        image(alter_partition_reassignments::answer);
    ListPartitionReassignments AnyBroker           (Describe Cluster)
        image(list_partition_reassignments::answer);
    UpdateFeatures          AnyBroker              (Alter Cluster)             image(update_features::answer);
    UnregisterBroker        AnyBroker              (Alter Cluster)             image(unregister_broker::answer);
}

/// Runs a handler on this shard after the first stage.
fn later<Q: Message + 'static, A: Message>(
    mut request: ClientRequest<'_>,
    answer: impl AsyncFnOnce(&Rc<Server>, Q, i16) -> A + 'static,
) -> Result<Pending, Malformed> {
    let (message, header, server) = (request.decode()?, request.header, request.server.clone());
    Ok(Pending::later(async move { Outcome::of(&server, &answer(&server, message, header.version).await, &header) }))
}

/// Answers from this shard's image. `None`: only the controller can answer.
fn from_image<Q: Message, A: Message>(
    request: &mut ClientRequest<'_>,
    answer: impl FnOnce(&Q, &Context<'_>) -> Option<A>,
) -> Result<Option<Outcome>, Malformed> {
    let message = request.decode()?;
    let shard = &request.server.shard;
    let (image, config) = (shard.image(), shard.config());
    let context = Context {
        image: &image,
        config: &config,
        node: shard.node,
        shard: shard.id,
        listener: &request.origin.listener,
        version: request.header.version,
        offline: &request.server.offline,
    };
    Ok(answer(&message, &context).map(|response| Outcome::of(request.server, &response, &request.header)))
}

/// Sends a request to the controller's shard.
fn to_controller(request: ClientRequest<'_>) -> Pending {
    let forwarded = AdminRequest { frame: request.frame.to_vec(), listener: request.origin.listener.to_string() };
    let server = request.server.clone();
    Pending::later(async move {
        if server.shard.id == CONTROLLER {
            return answer_at_controller(&server, forwarded).await.into();
        }
        match server.router.call(CONTROLLER, ShardRequest::Admin(Box::new(forwarded))).reply().await {
            Reply::Admin(reply) => reply.frame.into(),
            _ => unreachable!("an admin call is answered by Admin"),
        }
    })
}

/// Answers a request that this or another shard sent to the controller. The error is a reason to close the connection.
pub(in crate::api) async fn answer_at_controller(
    server: &Rc<Server>,
    request: AdminRequest,
) -> Result<Vec<u8>, CloseReason> {
    let mut body = Reader::new(&request.frame);
    let header = RequestHeader::decode(&mut body)?;
    let (key, version) = (header.api.key, header.version);
    let header = Header { version, correlation_id: header.correlation_id };
    change(key, Change { server: server.clone(), listener: request.listener, version }, &mut body, header).await
}

async fn change_with<Q: Message, A: Message>(
    change: Change,
    body: &mut Reader<'_>,
    header: &Header,
    answer: impl AsyncFnOnce(Change, Q) -> A,
) -> Result<Vec<u8>, CloseReason> {
    let request = Q::decode(body, header.version).map_err(CloseReason::MalformedRequest)?;
    let server = change.server.clone();
    encode(&server, &answer(change, request).await, header)
}

/// Answers a group request that another shard forwarded. The error is a reason to close the connection.
pub(in crate::api) async fn answer_forwarded(
    server: &Rc<Server>,
    request: CoordinateRequest,
) -> Result<Vec<u8>, CloseReason> {
    let mut body = Reader::new(&request.frame);
    let header = RequestHeader::decode(&mut body)?;
    let call = GroupRequest::from_shard(server, &request, &header);
    let key = header.api.key;
    let started = start_group(key, call, &mut body).await;
    started.map_err(CloseReason::MalformedRequest)?.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::API_TABLE;

    #[test]
    fn only_api_versions_needs_no_operation() {
        for api in API_TABLE {
            assert_eq!(row(api.key).acl.is_none(), api.key == ApiKey::ApiVersions, "{}", api.name);
        }
    }

    #[test]
    fn api_2_only_rows_of_groups_and_of_the_controller_are_forwarded() {
        for api in API_TABLE {
            let kind = handler_kind(api.key);
            let is_of_groups = row(api.key).scope == Scope::GroupCoordinator || api.key == ApiKey::ListGroups;
            assert_eq!(kind == "group", is_of_groups, "{}", api.name);
            let may_change = matches!(api.key, ApiKey::Metadata | ApiKey::FindCoordinator);
            assert_eq!(kind == "image_or_controller", may_change, "{}", api.name);
            assert_eq!(kind == "controller", row(api.key).scope == Scope::Controller, "{}", api.name);
        }
    }

    #[test]
    fn each_row_names_an_operation_that_its_resource_supports() {
        for api in API_TABLE {
            let Some((operation, resource)) = row(api.key).acl else { continue };
            assert!(resource.operations().contains(&operation), "{}: {operation:?} on {resource:?}", api.name);
        }
    }
}
