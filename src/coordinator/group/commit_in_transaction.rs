//! TxnOffsetCommit: commits offsets that take effect when the transaction commits.

use super::commit::Committer;
use super::{GroupKind, Groups};
use crate::coordinator::{Now, Writes};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::wire::group::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};

impl Groups {
    /// Commits within the producer's open transaction, or returns the error of the whole request (statement 80).
    /// `knows_members`: from version 6 on the client understands GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH (KIP-1319).
    /// Clients of earlier versions know only a generation, and read a stale epoch as an illegal generation.
    pub fn commit_in_transaction(
        &mut self,
        request: &OffsetCommitRequest,
        producer: (ProducerId, ProducerEpoch),
        knows_members: bool,
        now: Now,
        writes: &mut Writes<Groups>,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        let committer = Committer::of(request, true);
        match self.groups.get(request.group_id.as_str()).map(|group| &group.kind) {
            Some(GroupKind::Classic(classic)) => classic.check_commit(&committer)?,
            Some(GroupKind::Consumer(group)) => {
                self.check_consumer(group, &committer, request, true).map_err(|error| match error {
                    ErrorCode::StaleMemberEpoch if !knows_members => ErrorCode::IllegalGeneration,
                    other => other,
                })?;
            }
            // The commit creates the group.
            None if committer.generation < 0 => {}
            None if knows_members => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let response = self.put_offsets(request, -1, now, writes);
        writes.in_transaction(producer.0, producer.1);
        Ok(response)
    }
}
