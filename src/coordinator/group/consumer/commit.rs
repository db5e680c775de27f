//! Authorization of commits and fetches in a consumer group. A member proves by its epoch that it is not a zombie. A
//! member whose latest response is still in flight may commit for partitions that it already had (KIP-1251).

use std::rc::Rc;

use super::ConsumerGroup;
use super::member::ConsumerMember;
use crate::coordinator::group::Committer;
use crate::model::{ErrorCode, PartitionIndex, TopicId};

/// A commit in an older epoch than the member's. Each partition must have been assigned in that epoch or before.
pub struct OlderEpochCommit {
    member: Rc<ConsumerMember>,
    epoch: i32,
}

impl OlderEpochCommit {
    /// Checks that the member had the partition in the epoch of the commit.
    pub fn check(&self, topic: TopicId, partition: PartitionIndex) -> Result<(), ErrorCode> {
        match self.member.assignment_epoch(topic, partition) {
            Some(given_in) if given_in <= self.epoch => Ok(()),
            _ => Err(self.member.stale_epoch_error()),
        }
    }
}

impl ConsumerMember {
    /// The error for an epoch that is not the member's, in its protocol.
    fn stale_epoch_error(&self) -> ErrorCode {
        if self.classic.is_some() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
    }
}

impl ConsumerGroup {
    /// Checks that the group accepts the commit. Returns a check for each partition if the epoch is older.
    /// `knows_epochs`: the request has a version that members of the consumer protocol must use.
    pub fn check_commit(
        &self,
        committer: &Committer<'_>,
        knows_epochs: bool,
    ) -> Result<Option<OlderEpochCommit>, ErrorCode> {
        let Committer { member_id, instance_id, generation, is_transactional } = *committer;
        // A consumer with manual assignment, or an administrator.
        if generation < 0 && self.members.is_empty() {
            return Ok(None);
        }
        if is_transactional && generation == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(None);
        }
        let member = self.member(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !is_transactional && member.classic.is_none() && !knows_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match generation.cmp(&member.epoch) {
            std::cmp::Ordering::Equal => Ok(None),
            std::cmp::Ordering::Greater => Err(member.stale_epoch_error()),
            std::cmp::Ordering::Less => Ok(Some(OlderEpochCommit { member: member.clone(), epoch: generation })),
        }
    }

    /// Checks that this client may fetch the group's offsets.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.member(member_id.unwrap_or_default()).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(member.stale_epoch_error()) }
    }
}
