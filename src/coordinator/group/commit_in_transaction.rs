//! TxnOffsetCommit: commits offsets that take effect when the transaction commits.

use super::commit::Committer;
use super::consumer::ConsumerGroup;
use super::record::{Key, OffsetValue};
use super::{GroupKind, Groups};
use crate::coordinator::{Now, Writes};
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::wire::group::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

impl Groups {
    /// Commits within the producer's open transaction, or returns the error of the whole request (statement 80).
    /// `knows_members`: from version 6 on the client understands GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH (KIP-1319).
    pub fn commit_in_transaction(
        &mut self,
        request: &TxnOffsetCommitRequest,
        knows_members: bool,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<TxnOffsetCommitResponse, ErrorCode> {
        let committer = Committer {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
            is_transactional: true,
        };
        match self.groups.get(request.group_id.as_str()).map(|group| &group.kind) {
            Some(GroupKind::Classic(classic)) => classic.check_commit(&committer)?,
            Some(GroupKind::Consumer(group)) => self.check_consumer(group, &committer, request, knows_members)?,
            // The commit creates the group.
            None if request.generation_id_or_member_epoch < 0 => {}
            None if knows_members => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let mut response = TxnOffsetCommitResponse::default();
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
                    expire_timestamp_ms: -1,
                    topic_id: topic.topic_id,
                };
                let error_code = self.put_offset(key, value, writes);
                partitions.push(TxnOffsetCommitResponsePartition { partition_index, error_code });
            }
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            response.topics.push(TxnOffsetCommitResponseTopic { name, topic_id, partitions });
        }
        writes.in_transaction(request.producer_id, request.producer_epoch);
        Ok(response)
    }

    /// Clients of versions below 6 know only a generation, and read a stale epoch as an illegal generation.
    fn check_consumer(
        &self,
        group: &ConsumerGroup,
        committer: &Committer<'_>,
        request: &TxnOffsetCommitRequest,
        knows_members: bool,
    ) -> Result<(), ErrorCode> {
        let check = || {
            if let Some(older_epoch) = group.check_commit(committer, true)? {
                for topic in &request.topics {
                    let id = self.id_of(&topic.name, topic.topic_id);
                    topic
                        .partitions
                        .iter()
                        .try_for_each(|requested| older_epoch.check(id, requested.partition_index))?;
                }
            }
            Ok(())
        };
        check().map_err(|error| match error {
            ErrorCode::StaleMemberEpoch if !knows_members => ErrorCode::IllegalGeneration,
            other => other,
        })
    }
}
