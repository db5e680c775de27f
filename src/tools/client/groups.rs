//! Groups: who is in them, and how far they have read.

use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;
use crate::wire::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::wire::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::wire::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use crate::wire::{Message, Reader};
use std::collections::BTreeMap;

pub use crate::wire::describe_groups::{DescribedGroup, DescribedGroupMember as Member};
pub use crate::wire::list_groups::ListedGroup;

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

    pub fn describe_group(&mut self, group: &str) -> Result<DescribedGroup, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: false };
        let told = self.ask_coordinator(group, &request, 5, |answer: DescribeGroupsResponse| {
            let told = answer.groups.into_iter().next().unwrap_or_default();
            (told.error_code, told)
        })?;
        ClientError::check(told.error_code, None, || format!("cannot describe group {group:?}"))?;
        Ok(told)
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

/// The partitions that a member of a consumer group was assigned; `None` for bytes of another kind.
pub fn assigned(assignment: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut r = Reader::new(assignment);
    r.set_flexible(false);
    r.i16().ok()?;
    let mut assigned = Vec::new();
    for _ in 0..r.array_len(6).ok()? {
        let topic = r.string().ok()?;
        for _ in 0..r.array_len(4).ok()? {
            assigned.push((topic.to_owned(), r.i32().ok()?));
        }
    }
    Some(assigned)
}
