//! Groups: who is in them, and how far they have read.

use super::{Client, ClientError, may_retry};
use crate::coordinator::group::consumer::embedded::{Assignment, PartitionsByName};
use crate::model::ErrorCode;
use crate::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::group::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use crate::wire::group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::group::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::wire::group::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::wire::group::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use crate::wire::{ApiKey, Message};
use std::collections::BTreeMap;

pub use crate::wire::group::list_groups::ListedGroup;

/// A group of either kind, as its coordinator describes it.
#[derive(Debug)]
pub struct Group {
    pub id: String,
    /// `Dead`: there is none.
    pub state: String,
    pub protocol_type: String,
    /// How partitions are assigned: the members' protocol, or the coordinator's assignor.
    pub protocol: String,
    pub members: Vec<Member>,
}

#[derive(Debug)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// What it has, where that can be known.
    pub assigned: Vec<(String, i32)>,
}

/// The protocol type of groups that read topics.
const CONSUMER: &str = "consumer";

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// What a coordinator says that is on its way.
fn is_coming(code: ErrorCode) -> bool {
    use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
}

impl Client {
    /// All groups, by name in order; each broker tells those that it coordinates.
    pub fn groups(&mut self) -> Result<Vec<ListedGroup>, ClientError> {
        self.refresh(None)?;
        let brokers: Vec<i32> = self.cluster.brokers.keys().copied().collect();
        let mut groups = Vec::new();
        for broker in brokers {
            let deadline = self.deadline();
            groups.extend(loop {
                let answer: ListGroupsResponse = self.broker(broker)?.call(&ListGroupsRequest::default())?;
                if is_coming(answer.error_code) && may_retry(deadline) {
                    continue;
                }
                ClientError::check(answer.error_code, None, || "cannot list the groups".into())?;
                break answer.groups;
            });
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    pub fn describe_group(&mut self, group: &str) -> Result<Group, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: false };
        let told = self.ask_coordinator(group, &request, 5, |answer: DescribeGroupsResponse| {
            let told = answer.groups.into_iter().next().unwrap_or_default();
            (told.error_code, told)
        })?;
        ClientError::check(told.error_code, None, || format!("cannot describe group {group:?}"))?;
        if told.group_state == "Dead"
            && let Some(consumers) = self.describe_consumer_group(group)?
        {
            return Ok(consumers);
        }
        let is_consumer = told.protocol_type == CONSUMER;
        let members = told.members.into_iter().map(|member| Member {
            id: member.member_id,
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            // Members of other kinds of groups tell each other things that are not ours to understand.
            assigned: match Assignment::parse(&member.member_assignment.0) {
                Ok(assignment) if is_consumer => by_partition(assignment.assigned),
                _ => Vec::new(),
            },
        });
        Ok(Group {
            id: told.group_id,
            state: told.group_state,
            members: members.collect(),
            protocol_type: told.protocol_type,
            protocol: told.protocol_data,
        })
    }

    /// None: it is none of this kind (KIP-848), or the broker has none.
    fn describe_consumer_group(&mut self, group: &str) -> Result<Option<Group>, ClientError> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![group.into()], include_authorized_operations: false };
        let coordinator = self.coordinator(group)?;
        if self.broker(coordinator)?.version(ApiKey::ConsumerGroupDescribe, 1).is_err() {
            return Ok(None);
        }
        let told = self.ask_coordinator(group, &request, 1, |answer: ConsumerGroupDescribeResponse| {
            let told = answer.groups.into_iter().next().unwrap_or_default();
            (told.error_code, told)
        })?;
        if told.error_code == ErrorCode::GroupIdNotFound {
            return Ok(None);
        }
        ClientError::check(told.error_code, told.error_message, || format!("cannot describe group {group:?}"))?;
        let members = told.members.into_iter().map(|member| {
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
            id: told.group_id,
            state: told.group_state,
            members: members.collect(),
            protocol_type: CONSUMER.into(),
            protocol: told.assignor_name,
        }))
    }

    /// All that a group has committed.
    pub fn committed(&mut self, group: &str) -> Result<Offsets, ClientError> {
        let request = OffsetFetchRequest { group_id: group.into(), ..OffsetFetchRequest::default() };
        let answer =
            self.ask_coordinator(group, &request, 7, |answer: OffsetFetchResponse| (answer.error_code, answer))?;
        let subject = || format!("cannot read what group {group:?} has committed");
        ClientError::check(answer.error_code, None, subject)?;
        let mut offsets = Offsets::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                ClientError::check(partition.error_code, None, subject)?;
                if partition.committed_offset >= 0 {
                    offsets.insert((topic.name.clone(), partition.partition_index), partition.committed_offset);
                }
            }
        }
        Ok(offsets)
    }

    /// Commits for a group that nobody is in.
    pub fn commit(&mut self, group: &str, offsets: &Offsets) -> Result<(), ClientError> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for ((topic, partition_index), committed_offset) in offsets {
            if topics.last().is_none_or(|last| last.name != *topic) {
                topics.push(OffsetCommitRequestTopic { name: topic.clone(), ..OffsetCommitRequestTopic::default() });
            }
            topics.last_mut().expect("just made sure of").partitions.push(OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: *committed_offset,
                committed_metadata: Some(String::new()),
                ..OffsetCommitRequestPartition::default()
            });
        }
        let request = OffsetCommitRequest { group_id: group.into(), topics, ..OffsetCommitRequest::default() };
        let answer = self.ask_coordinator(group, &request, 9, |answer: OffsetCommitResponse| {
            let codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let first = codes.map(|partition| partition.error_code).find(|code| code.is_error());
            (first.unwrap_or(ErrorCode::None), answer)
        })?;
        for topic in answer.topics {
            for partition in topic.partitions {
                let at = partition.partition_index;
                let subject = || format!("group {group:?} cannot commit for {}-{at}", topic.name);
                ClientError::check(partition.error_code, None, subject)?;
            }
        }
        Ok(())
    }

    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
        let code = self.ask_coordinator(group, &request, 2, |answer: DeleteGroupsResponse| {
            let code = answer.results.first().map_or(ErrorCode::UnknownServerError, |result| result.error_code);
            (code, code)
        })?;
        ClientError::check(code, None, || format!("cannot delete group {group:?}"))
    }

    /// Asks a group's coordinator, and again while there is none or it is loading. `read` tells by which code to go.
    fn ask_coordinator<A: Message, T>(
        &mut self,
        group: &str,
        request: &impl Message,
        version_max: i16,
        read: impl Fn(A) -> (ErrorCode, T),
    ) -> Result<T, ClientError> {
        let deadline = self.deadline();
        loop {
            let coordinator = self.coordinator(group)?;
            let (code, answer) = match self.broker(coordinator)?.call_at_most(request, version_max) {
                Ok(answer) => read(answer),
                Err(error) if error.is_connection_lost() && may_retry(deadline) => {
                    self.drop_broker(coordinator);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !is_coming(code) || !may_retry(deadline) {
                return Ok(answer);
            }
        }
    }

    /// The broker that coordinates a group.
    fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let deadline = self.deadline();
        loop {
            let request = FindCoordinatorRequest { key: group.into(), ..FindCoordinatorRequest::default() };
            let answer: FindCoordinatorResponse = self.bootstrap.call_at_most(&request, 3)?;
            if is_coming(answer.error_code) && may_retry(deadline) {
                continue;
            }
            let subject = || format!("group {group:?} has no coordinator");
            ClientError::check(answer.error_code, answer.error_message, subject)?;
            if !self.cluster.brokers.contains_key(&answer.node_id) {
                self.refresh(None)?;
            }
            return Ok(answer.node_id);
        }
    }
}

fn by_partition(topics: PartitionsByName) -> Vec<(String, i32)> {
    let topics = topics.into_iter();
    topics.flat_map(|(topic, partitions)| partitions.into_iter().map(move |at| (topic.clone(), at))).collect()
}
