//! The brokers of one side: where a request is sent, and the broker ids in requests and responses.
//!
//! Kafka and a node in forward routing are broker 1. In direct and in steer routing a node is one broker per shard,
//! numbered from 1000 on, each with its address. Requests name broker 1 as broker 1000, and go to the broker that a
//! client would choose: groups and transactions to their coordinators, everything else to broker 1000. Responses are
//! mapped back to broker 1, and brokers that are broker 1 too are left out.
//!
//! In steer routing the addresses differ in the spelling of the host only, and a connection's first requests decide its
//! shard. A connection to broker 1000 names it in ApiVersions, as clients of Kafka 4.4 do (KIP-1242). A request to a
//! coordinator gets a connection of its own, so that each such request decides a shard, at each of its versions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tidemill::api::table::{Scope, row};
use tidemill::config::Routing;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::alter_configs::AlterConfigsRequest;
use tidemill::wire::admin::alter_partition_reassignments::AlterPartitionReassignmentsRequest;
use tidemill::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidemill::wire::admin::create_partitions::CreatePartitionsRequest;
use tidemill::wire::admin::create_topics::CreateTopicsRequest;
use tidemill::wire::admin::describe_configs::DescribeConfigsRequest;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP, TRANSACTION};
use tidemill::wire::admin::incremental_alter_configs::IncrementalAlterConfigsRequest;
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataResponse};
use tidemill::wire::frame::{self, RequestHeader};
use tidemill::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use tidemill::wire::txn::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use tidemill::wire::{ApiKey, Message, Reader, Wire};

use crate::support::talk::Talk;
use crate::support::wait_for;

/// The first broker of a node in direct or steer routing.
const FIRST: i32 = 1000;
/// Fields that have a broker's id.
const ID_FIELDS: [&str; 5] = ["node_id", "broker_id", "leader_id", "controller_id", "replica_id"];
/// Fields that have a list of broker ids.
const LIST_FIELDS: [&str; 3] = ["replica_nodes", "isr_nodes", "offline_replicas"];
/// Fields whose elements are brokers.
const BROKER_FIELDS: [&str; 3] = ["brokers", "node_endpoints", "config_resources"];

pub struct Brokers {
    bootstrap: String,
    routing: Routing,
    /// The coordinators' addresses by key type. The internal topics have one partition, so each type has one.
    coordinators: RefCell<HashMap<i8, String>>,
}

impl Brokers {
    /// The brokers of a node with this routing. Kafka is like a node in forward routing.
    pub fn new(bootstrap: &str, routing: Routing) -> Brokers {
        Brokers { bootstrap: bootstrap.into(), routing, coordinators: RefCell::default() }
    }

    fn has_one(&self) -> bool {
        self.routing == Routing::Forward
    }

    /// The address to which a client sends a request of this API.
    pub fn address(&self, api: ApiKey) -> String {
        match (self.routing, coordinator_of(api)) {
            (Routing::Direct | Routing::Steer, Some(key_type)) => self.coordinator(key_type),
            (Routing::Direct, None) => {
                let (host, port) = self.bootstrap.rsplit_once(':').expect("host:port");
                format!("{host}:{}", port.parse::<u16>().expect("a port") + 1)
            }
            (Routing::Steer | Routing::Forward, _) => self.bootstrap.clone(),
        }
    }

    /// Opens a connection for requests of this API.
    pub fn connect(&self, api: ApiKey) -> Talk {
        let mut talk = Talk::to(&self.address(api));
        if self.routing == Routing::Steer && coordinator_of(api).is_none() {
            let request = ApiVersionsRequest {
                client_software_name: "oracle".into(),
                client_software_version: "1".into(),
                cluster_id: Some(self.cluster_id()),
                node_id: FIRST,
            };
            let answer: ApiVersionsResponse = talk.call(&request, 5);
            assert_eq!(answer.error_code, ErrorCode::None, "broker {FIRST} is at this address");
        }
        talk
    }

    /// The connection that a request of this API shares with others: one per address. `None`: it gets its own.
    pub fn connection(&self, api: ApiKey) -> Option<String> {
        let is_kept = self.routing != Routing::Steer || coordinator_of(api).is_none();
        is_kept.then(|| self.address(api))
    }

    pub fn cluster_id(&self) -> String {
        let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
        let answer: MetadataResponse = Talk::to(&self.address(ApiKey::Metadata)).call(&request, 12);
        answer.cluster_id.expect("a cluster has an id")
    }

    fn coordinator(&self, key_type: i8) -> String {
        let known = self.coordinators.borrow().get(&key_type).cloned();
        known.unwrap_or_else(|| {
            let request =
                FindCoordinatorRequest { key_type, coordinator_keys: vec!["any".into()], ..Default::default() };
            let answer: FindCoordinatorResponse = Talk::to(&self.bootstrap).call(&request, 4);
            let found = &answer.coordinators[0];
            assert_eq!(found.error_code, ErrorCode::None, "the first answer names the coordinator");
            let address = format!("{}:{}", found.host, found.port);
            wait_for("the coordinator has loaded", Duration::from_secs(20), || {
                let mut talk = Talk::to(&address);
                let error_code = match key_type {
                    GROUP => talk.call::<ListGroupsResponse>(&ListGroupsRequest::default(), 4).error_code,
                    _ => talk.call::<ListTransactionsResponse>(&ListTransactionsRequest::default(), 0).error_code,
                };
                (error_code == ErrorCode::None).then_some(())
            });
            self.coordinators.borrow_mut().insert(key_type, address.clone());
            address
        })
    }

    /// The frame with this side's broker ids. A frame that cannot be decoded stays as it is.
    pub fn in_request(&self, api: ApiKey, frame: &[u8]) -> Vec<u8> {
        let renamed = match api {
            _ if self.has_one() => None,
            ApiKey::ApiVersions => renamed(frame, |request: &mut ApiVersionsRequest| {
                rename(std::slice::from_mut(&mut request.node_id));
            }),
            ApiKey::CreateTopics => renamed(frame, |request: &mut CreateTopicsRequest| {
                let assignments = request.topics.iter_mut().flat_map(|topic| &mut topic.assignments);
                assignments.for_each(|assignment| rename(&mut assignment.broker_ids));
            }),
            ApiKey::CreatePartitions => renamed(frame, |request: &mut CreatePartitionsRequest| {
                let assignments = request.topics.iter_mut().filter_map(|topic| topic.assignments.as_mut()).flatten();
                assignments.for_each(|assignment| rename(&mut assignment.broker_ids));
            }),
            ApiKey::AlterPartitionReassignments => {
                renamed(frame, |request: &mut AlterPartitionReassignmentsRequest| {
                    let partitions = request.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    partitions
                        .filter_map(|partition| partition.replicas.as_mut())
                        .for_each(|replicas| rename(replicas));
                })
            }
            ApiKey::DescribeConfigs => renamed(frame, |request: &mut DescribeConfigsRequest| {
                request.resources.iter_mut().for_each(|at| rename_resource(at.resource_type, &mut at.resource_name));
            }),
            ApiKey::AlterConfigs => renamed(frame, |request: &mut AlterConfigsRequest| {
                request.resources.iter_mut().for_each(|at| rename_resource(at.resource_type, &mut at.resource_name));
            }),
            ApiKey::IncrementalAlterConfigs => renamed(frame, |request: &mut IncrementalAlterConfigsRequest| {
                request.resources.iter_mut().for_each(|at| rename_resource(at.resource_type, &mut at.resource_name));
            }),
            _ => None,
        };
        renamed.unwrap_or_else(|| frame.to_vec())
    }

    /// Maps the broker ids of a response to broker 1.
    pub fn in_answer(&self, answer: &mut Value) {
        if !self.has_one() {
            to_one(answer);
        }
    }
}

/// The key type of the coordinator to which a client sends requests of this API.
fn coordinator_of(api: ApiKey) -> Option<i8> {
    match (api, row(api).scope) {
        (ApiKey::ListGroups, _) | (_, Scope::GroupCoordinator) => Some(GROUP),
        (ApiKey::ListTransactions, _) | (_, Scope::TransactionCoordinator) => Some(TRANSACTION),
        _ => None,
    }
}

fn renamed<M: Message + Wire>(frame: &[u8], rename: impl FnOnce(&mut M)) -> Option<Vec<u8>> {
    let mut body = Reader::new(frame.get(4..)?);
    let header = RequestHeader::decode(&mut body).ok()?;
    let mut message = <M as Wire>::decode(&mut body, header.version).ok()?;
    rename(&mut message);
    frame::encode_request(&message, header.version, header.correlation_id, header.client_id.as_deref()).ok()
}

fn rename(brokers: &mut [i32]) {
    brokers.iter_mut().filter(|id| **id == 1).for_each(|id| *id = FIRST);
}

fn rename_resource(resource_type: i8, name: &mut String) {
    // 4: a broker, 8: a broker's loggers.
    if matches!(resource_type, 4 | 8) && name == "1" {
        *name = FIRST.to_string();
    }
}

fn is_shard(id: &Value) -> bool {
    let text = id.as_str().and_then(|text| text.parse().ok());
    id.as_i64().or(text).is_some_and(|id| (1000..1100).contains(&id))
}

fn to_one(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(to_one),
        Value::Object(fields) => {
            let is_of_broker = fields.get("resource_type").is_some_and(|of| matches!(of.as_i64(), Some(4 | 8)));
            for (name, field) in fields.iter_mut() {
                match (name.as_str(), &mut *field) {
                    (name, id) if ID_FIELDS.contains(&name) && is_shard(id) => *id = Value::from(1),
                    ("resource_name", id) if is_of_broker && is_shard(id) => *id = Value::from("1"),
                    (name, Value::Array(ids)) if LIST_FIELDS.contains(&name) => {
                        ids.iter_mut().filter(|id| is_shard(id)).for_each(|id| *id = Value::from(1));
                    }
                    (name, Value::Array(brokers)) if BROKER_FIELDS.contains(&name) => {
                        brokers.iter_mut().for_each(to_one);
                        leave_out_others(brokers);
                    }
                    (_, field) => to_one(field),
                }
            }
        }
        _ => {}
    }
}

/// Leaves out the brokers that became broker 1 behind the first one.
fn leave_out_others(brokers: &mut Vec<Value>) {
    let mut names: Vec<Value> = Vec::new();
    brokers.retain(|broker| {
        let fields = ["node_id", "broker_id", "resource_name", "resource_type"].map(|name| broker[name].clone());
        let name = Value::from(fields.to_vec());
        let is_new = !names.contains(&name);
        names.push(name);
        is_new
    });
}
