//! Groups: their members, their assignments, and their committed offsets.

use super::{Client, ClientError, may_retry};
use crate::coordinator::group::consumer::embedded::{Assignment, PartitionsByName};
use crate::model::ErrorCode;
use crate::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::group::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use crate::wire::group::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use crate::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use crate::wire::{ApiKey, Message};
use std::collections::BTreeMap;

pub use crate::wire::group::list_groups::ListedGroup;

/// A group of either kind, as its coordinator describes it.
#[derive(Debug)]
pub struct Group {
    /// The group id.
    pub id: String,
    /// Kafka's name of the state. `Dead` means that the group does not exist.
    pub state: String,
    /// `consumer` for groups that read topics.
    pub protocol_type: String,
    /// The assignment strategy: the members' protocol, or the coordinator's assignor.
    pub protocol: String,
    /// In the order of the coordinator's response.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    /// The member id.
    pub id: String,
    /// The setting `group.instance.id`. `None` for a dynamic member.
    pub instance_id: Option<String>,
    /// The client id of the member's requests.
    pub client_id: String,
    /// The address of the member, as the coordinator sees it.
    pub client_host: String,
    /// The assigned partitions. Empty if the group is not a consumer group.
    pub assigned: Vec<(String, i32)>,
}

/// The protocol type of groups that read topics.
const CONSUMER: &str = "consumer";

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// The coordinator is loading or moving, so that a retry may succeed.
fn is_coordinator_unready(code: ErrorCode) -> bool {
    use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
}

impl Client {
    /// All groups, sorted by id. Each broker lists the groups that it coordinates.
    pub fn groups(&mut self) -> Result<Vec<ListedGroup>, ClientError> {
        self.refresh(None)?;
        let brokers: Vec<i32> = self.cluster.brokers.keys().copied().collect();
        let mut groups = Vec::new();
        for broker in brokers {
            let deadline = self.deadline();
            groups.extend(loop {
                let response: ListGroupsResponse = self.broker(broker)?.call(&ListGroupsRequest::default())?;
                if is_coordinator_unready(response.error_code) && may_retry(deadline) {
                    continue;
                }
                ClientError::check(response.error_code, None, || "cannot list the groups".into())?;
                break response.groups;
            });
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Describes a group of either protocol. A group that does not exist has the state `Dead`.
    pub fn describe_group(&mut self, group: &str) -> Result<Group, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: false };
        let described = self.call_coordinator(group, &request, 5, |response: DescribeGroupsResponse| {
            let described = response.groups.into_iter().next().unwrap_or_default();
            (described.error_code, described)
        })?;
        ClientError::check(described.error_code, None, || format!("cannot describe group {group:?}"))?;
        if described.group_state == "Dead"
            && let Some(consumers) = self.describe_consumer_group(group)?
        {
            return Ok(consumers);
        }
        let is_consumer = described.protocol_type == CONSUMER;
        let members = described.members.into_iter().map(|member| Member {
            id: member.member_id,
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            // Other protocol types have assignments in formats of their own.
            assigned: match Assignment::parse(&member.member_assignment.0) {
                Ok(assignment) if is_consumer => by_partition(assignment.assigned),
                _ => Vec::new(),
            },
        });
        Ok(Group {
            id: described.group_id,
            state: described.group_state,
            members: members.collect(),
            protocol_type: described.protocol_type,
            protocol: described.protocol_data,
        })
    }

    /// Describes a consumer group (KIP-848). `None` if it is not one, or if the broker does not support the protocol.
    fn describe_consumer_group(&mut self, group: &str) -> Result<Option<Group>, ClientError> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![group.into()], include_authorized_operations: false };
        let coordinator = self.coordinator(group)?;
        if self.broker(coordinator)?.version(ApiKey::ConsumerGroupDescribe, 1).is_err() {
            return Ok(None);
        }
        let described = self.call_coordinator(group, &request, 1, |response: ConsumerGroupDescribeResponse| {
            let described = response.groups.into_iter().next().unwrap_or_default();
            (described.error_code, described)
        })?;
        if described.error_code == ErrorCode::GroupIdNotFound {
            return Ok(None);
        }
        let subject = || format!("cannot describe group {group:?}");
        ClientError::check(described.error_code, described.error_message, subject)?;
        let members = described.members.into_iter().map(|member| {
            let topics = member.assignment.topic_partitions.into_iter();
            Member {
                id: member.member_id,
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                assigned: by_partition(topics.map(|topic| (topic.topic_name, topic.partitions)).collect()),
            }
        });
        Ok(Some(Group {
            id: described.group_id,
            state: described.group_state,
            members: members.collect(),
            protocol_type: CONSUMER.into(),
            protocol: described.assignor_name,
        }))
    }

    /// All committed offsets of a group.
    pub fn committed(&mut self, group: &str) -> Result<Offsets, ClientError> {
        let request = OffsetFetchRequest { group_id: group.into(), ..OffsetFetchRequest::default() };
        let response =
            self.call_coordinator(group, &request, 7, |response: OffsetFetchResponse| (response.error_code, response))?;
        let subject = || format!("cannot read the committed offsets of group {group:?}");
        ClientError::check(response.error_code, None, subject)?;
        let mut offsets = Offsets::new();
        for topic in response.topics {
            for partition in topic.partitions {
                ClientError::check(partition.error_code, None, subject)?;
                if partition.committed_offset >= 0 {
                    offsets.insert((topic.name.clone(), partition.partition_index), partition.committed_offset);
                }
            }
        }
        Ok(offsets)
    }

    /// Sends a heartbeat of a consumer group's member.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ClientError> {
        let group = &request.group_id;
        let response = self.call_coordinator(group, request, 1, |response: ConsumerGroupHeartbeatResponse| {
            (response.error_code, response)
        })?;
        let subject = || format!("group {group:?} rejects the member");
        ClientError::check(response.error_code, response.error_message.clone(), subject)?;
        Ok(response)
    }

    /// Commits offsets for a group without members.
    pub fn commit(&mut self, group: &str, offsets: &Offsets) -> Result<(), ClientError> {
        self.commit_as(group, "", -1, offsets)
    }

    /// Commits offsets as a member of the group, in its epoch.
    pub fn commit_as(
        &mut self,
        group: &str,
        member_id: &str,
        epoch: i32,
        offsets: &Offsets,
    ) -> Result<(), ClientError> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for ((topic, partition_index), committed_offset) in offsets {
            if topics.last().is_none_or(|last| last.name != *topic) {
                topics.push(OffsetCommitRequestTopic { name: topic.clone(), ..OffsetCommitRequestTopic::default() });
            }
            topics.last_mut().expect("the loop has just pushed it").partitions.push(OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: *committed_offset,
                committed_metadata: Some(String::new()),
                ..OffsetCommitRequestPartition::default()
            });
        }
        let request = OffsetCommitRequest {
            group_id: group.into(),
            member_id: member_id.into(),
            generation_id_or_member_epoch: epoch,
            topics,
            ..OffsetCommitRequest::default()
        };
        let response = self.call_coordinator(group, &request, 9, |response: OffsetCommitResponse| {
            let codes = response.topics.iter().flat_map(|topic| &topic.partitions);
            let first = codes.map(|partition| partition.error_code).find(|code| code.is_error());
            (first.unwrap_or(ErrorCode::None), response)
        })?;
        for topic in response.topics {
            for partition in topic.partitions {
                let index = partition.partition_index;
                let subject = || format!("group {group:?} cannot commit for {}-{index}", topic.name);
                ClientError::check(partition.error_code, None, subject)?;
            }
        }
        Ok(())
    }

    /// Deletes the committed offsets of partitions, in the order of their topics.
    pub fn delete_offsets(&mut self, group: &str, partitions: &[(String, i32)]) -> Result<(), ClientError> {
        let topics = partitions.chunk_by(|a, b| a.0 == b.0).map(|of_topic| OffsetDeleteRequestTopic {
            name: of_topic[0].0.clone(),
            partitions: of_topic
                .iter()
                .map(|(_, partition_index)| OffsetDeleteRequestPartition { partition_index: *partition_index })
                .collect(),
        });
        let request = OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
        let response = self
            .call_coordinator(group, &request, 0, |response: OffsetDeleteResponse| (response.error_code, response))?;
        ClientError::check(response.error_code, None, || format!("cannot delete offsets of group {group:?}"))?;
        for topic in response.topics {
            for partition in topic.partitions {
                let index = partition.partition_index;
                let subject = || format!("group {group:?} keeps its offset of {}-{index}", topic.name);
                ClientError::check(partition.error_code, None, subject)?;
            }
        }
        Ok(())
    }

    /// Deletes a group without members, and its committed offsets.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
        let code = self.call_coordinator(group, &request, 2, |response: DeleteGroupsResponse| {
            let code = response.results.first().map_or(ErrorCode::UnknownServerError, |result| result.error_code);
            (code, code)
        })?;
        ClientError::check(code, None, || format!("cannot delete group {group:?}"))
    }

    /// Calls a group's coordinator. Retries until the deadline while the coordinator is loading, moving or unreachable.
    /// `read` splits a response into the error code that decides about a retry, and the result.
    fn call_coordinator<R: Message, T>(
        &mut self,
        group: &str,
        request: &impl Message,
        version_max: i16,
        read: impl Fn(R) -> (ErrorCode, T),
    ) -> Result<T, ClientError> {
        let deadline = self.deadline();
        loop {
            let coordinator = self.coordinator(group)?;
            let (code, result) = match self.broker(coordinator)?.call_at_most(request, version_max) {
                Ok(response) => read(response),
                Err(error) if error.is_connection_lost() && may_retry(deadline) => {
                    self.drop_broker(coordinator);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !is_coordinator_unready(code) || !may_retry(deadline) {
                return Ok(result);
            }
        }
    }

    /// The id of the broker that coordinates a group. Waits while the coordinator is loading.
    fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let deadline = self.deadline();
        loop {
            let request = FindCoordinatorRequest { key: group.into(), ..FindCoordinatorRequest::default() };
            let response: FindCoordinatorResponse = self.bootstrap.call_at_most(&request, 3)?;
            if is_coordinator_unready(response.error_code) && may_retry(deadline) {
                continue;
            }
            let subject = || format!("group {group:?} has no coordinator");
            ClientError::check(response.error_code, response.error_message, subject)?;
            if !self.cluster.brokers.contains_key(&response.node_id) {
                self.refresh(None)?;
            }
            return Ok(response.node_id);
        }
    }
}

fn by_partition(topics: PartitionsByName) -> Vec<(String, i32)> {
    let topics = topics.into_iter();
    topics.flat_map(|(topic, partitions)| partitions.into_iter().map(move |index| (topic.clone(), index))).collect()
}
