//! OffsetCommit, OffsetFetch and OffsetDelete.

use super::classic::{ClassicGroup, ClassicGroupState};
use super::consumer::ConsumerGroup;
use super::offsets::CommittedOffset;
use super::record::{Key, OffsetValue};
use super::{Group, GroupKind, Groups};
use crate::coordinator::{Now, Writes};
use crate::model::{ErrorCode, LeaderEpoch, Offset, TopicId};
use crate::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::group::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::group::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

/// The fields of OffsetCommit and TxnOffsetCommit that identify a member.
#[derive(Clone, Copy, Debug)]
pub struct Committer<'a> {
    /// Empty: none.
    pub member_id: &'a str,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<&'a str>,
    /// Negative: none.
    pub generation: i32,
    /// The request is a TxnOffsetCommit.
    pub is_transactional: bool,
}

impl Committer<'_> {
    /// The member that sent the request.
    pub fn of(request: &OffsetCommitRequest, is_transactional: bool) -> Committer<'_> {
        Committer {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
            is_transactional,
        }
    }
}

impl ClassicGroup {
    /// Checks that the group accepts the commit.
    pub fn check_commit(&self, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        let Committer { member_id, instance_id, generation, is_transactional } = *committer;
        // A consumer with manual assignment, or an administrator.
        if generation < 0 && self.state == ClassicGroupState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !is_transactional && self.state != ClassicGroupState::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !is_transactional && self.state == ClassicGroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}

impl Groups {
    /// Commits offsets, or returns the error of the whole request. `knows_absence`: from version 9 on the client
    /// understands GROUP_ID_NOT_FOUND.
    pub fn commit(
        &mut self,
        request: &OffsetCommitRequest,
        knows_absence: bool,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        let committer = Committer::of(request, false);
        match self.groups.get(request.group_id.as_str()).map(|group| &group.kind) {
            Some(GroupKind::Consumer(group)) => self.check_consumer(group, &committer, request, knows_absence)?,
            Some(GroupKind::Classic(classic)) => {
                classic.check_commit(&committer)?;
                if matches!(classic.state, ClassicGroupState::Stable | ClassicGroupState::PreparingRebalance) {
                    self.classic_step(&request.group_id, now, writes)
                        .expect("matched above")
                        .renew_session(&request.member_id);
                }
            }
            // The commit creates the group.
            None if committer.generation < 0 => {}
            None if knows_absence => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let expire_timestamp_ms = match request.retention_time_ms {
            -1 => -1,
            retention_ms => now.wall_ms.saturating_add(retention_ms),
        };
        Ok(self.put_offsets(request, expire_timestamp_ms, now, writes))
    }

    /// Checks that the consumer group accepts the commit of each partition.
    pub(super) fn check_consumer(
        &self,
        group: &ConsumerGroup,
        committer: &Committer<'_>,
        request: &OffsetCommitRequest,
        knows_absence: bool,
    ) -> Result<(), ErrorCode> {
        let Some(older_epoch) = group.check_commit(committer, knows_absence)? else { return Ok(()) };
        for topic in &request.topics {
            let id = self.id_of(&topic.name, topic.topic_id);
            topic.partitions.iter().try_for_each(|requested| older_epoch.check(id, requested.partition_index))?;
        }
        Ok(())
    }

    /// Writes the offsets, except those whose metadata is too long.
    pub(super) fn put_offsets(
        &self,
        request: &OffsetCommitRequest,
        expire_timestamp_ms: i64,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> OffsetCommitResponse {
        let mut response = OffsetCommitResponse::default();
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                let key = Key::Offset { group: &request.group_id, topic: &topic.name, partition: partition_index };
                let value = OffsetValue {
                    offset: Offset(partition.committed_offset),
                    leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                    metadata: partition.committed_metadata.as_deref().unwrap_or_default(),
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms,
                    topic_id: topic.topic_id,
                };
                let is_too_long = utf16_len(value.metadata) > self.config.offset_metadata_max_bytes as usize;
                if !is_too_long {
                    writes.put(&key.to_bytes(), Some(&value.to_bytes()));
                }
                let error_code = if is_too_long { ErrorCode::OffsetMetadataTooLarge } else { ErrorCode::None };
                partitions.push(OffsetCommitResponsePartition { partition_index, error_code });
            }
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            response.topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
        }
        response
    }

    /// The topic's id, looked up by name if the request has none.
    fn id_of(&self, name: &str, given: TopicId) -> TopicId {
        match self.image.topic(name) {
            Some(topic) if given.is_zero() => topic.id,
            _ => given,
        }
    }

    /// The committed offsets of a group. Null `request.topics` requests all. An unknown group has none.
    pub fn fetch(&self, request: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        let group = self.groups.get(request.group_id.as_str());
        if let Some(Group { kind: GroupKind::Consumer(consumer), .. }) = group
            && let Err(error_code) = consumer.check_fetch(request.member_id.as_deref(), request.member_epoch)
        {
            let group_id = request.group_id.clone();
            return OffsetFetchResponseGroup { group_id, error_code, ..OffsetFetchResponseGroup::default() };
        }
        let topics = match &request.topics {
            Some(topics) => {
                let topics = topics.iter().map(|topic| {
                    let fetched =
                        |index: &i32| fetched_partition(group, &topic.name, topic.topic_id, *index, require_stable);
                    let partitions = topic.partition_indexes.iter().map(fetched).collect();
                    OffsetFetchResponseTopics { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
                });
                topics.collect()
            }
            None => {
                let all = group.into_iter().flat_map(|group| group.offsets.committed.topics());
                let topics = all.map(|(topic, partitions)| {
                    let fetched = |index: &i32| fetched_partition(group, topic, TopicId::ZERO, *index, require_stable);
                    let partitions = partitions.keys().map(fetched).collect();
                    OffsetFetchResponseTopics { name: topic.into(), topic_id: TopicId::ZERO, partitions }
                });
                topics.collect()
            }
        };
        OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, error_code: ErrorCode::None }
    }

    /// Deletes committed offsets, except those of topics that the group subscribes to.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        writes: &mut Writes<Groups>,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        let group = self.groups.get(request.group_id.as_str()).ok_or(ErrorCode::GroupIdNotFound)?;
        if let GroupKind::Classic(classic) = &group.kind
            && !classic.is_empty()
            && !classic.is_consumer()
        {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let is_subscribed = group.kind.is_subscribed_to(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                let error_code = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
                if !is_subscribed && group.offsets.has(&topic.name, partition_index) {
                    let key = Key::Offset { group: &request.group_id, topic: &topic.name, partition: partition_index };
                    writes.put(&key.to_bytes(), None);
                }
                partitions.push(OffsetDeleteResponsePartition { partition_index, error_code });
            }
            response.topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
        Ok(response)
    }
}

/// The length in UTF-16 units (Java's `String.length`), by which Kafka limits the metadata.
fn utf16_len(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

fn fetched_partition(
    group: Option<&Group>,
    topic: &str,
    topic_id: TopicId,
    partition_index: i32,
    require_stable: bool,
) -> OffsetFetchResponsePartitions {
    let offsets = group.map(|group| &group.offsets);
    let mut topics = OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: ErrorCode::None,
    };
    if require_stable && offsets.is_some_and(|offsets| offsets.is_unstable(topic, partition_index)) {
        topics.error_code = ErrorCode::UnstableOffsetCommit;
        return topics;
    }
    // The offset belongs to an earlier topic of the same name.
    let is_other = |committed: &CommittedOffset| {
        !topic_id.is_zero() && !committed.topic_id.is_zero() && committed.topic_id != topic_id
    };
    let committed = offsets.and_then(|offsets| offsets.committed.get(topic, partition_index));
    if let Some(committed) = committed.filter(|committed| !is_other(committed)) {
        topics.committed_offset = committed.offset.0;
        topics.committed_leader_epoch = committed.leader_epoch.0;
        topics.metadata = Some(committed.metadata.to_string());
    }
    topics
}
