//! The next step of a member towards its target. The member first revokes partitions and confirms it. Then it takes the
//! target's epoch. Then it gets the partitions that no other member owns.
//!
//! ```text
//!          target of a newer epoch                       it confirms
//! Stable -----------------------> UnrevokedPartitions ------------------> Stable, if the whole target is free
//!    |                                                        |
//!    +---- nothing to revoke ---------------------------------+---------> UnreleasedPartitions, with the free part
//! ```
//!
//! Pure: the caller provides the owners of partitions and the member's subscription.

use std::collections::BTreeSet;

use super::super::assign::Partitions;
use super::GroupRefusal;
use super::member::{ConsumerMember, MemberState, Owned};
use crate::model::{ErrorCode, PartitionIndex, TopicId};
use crate::wire::group::consumer_group_heartbeat::TopicPartitions;

/// The target of a member, and the partitions that it reports.
pub struct ReconcileGoal<'a> {
    pub epoch: i32,
    pub target: &'a Partitions,
    /// The subscription has changed: revoke partitions of unsubscribed topics at once, even if the target has them.
    pub has_new_subscription: bool,
    /// The partitions that the member reports. `None` if they have not changed since its last report.
    pub reported: Option<&'a [TopicPartitions]>,
}

/// The member after the step. Unchanged if there is nothing to do.
pub fn next_member(
    member: &ConsumerMember,
    goal: &ReconcileGoal<'_>,
    reads: &dyn Fn(TopicId) -> bool,
    is_owned: &dyn Fn(TopicId, PartitionIndex) -> bool,
) -> Result<ConsumerMember, GroupRefusal> {
    let next =
        match member.state {
            MemberState::Stable if member.epoch != goal.epoch => advance(member, member.epoch, goal, reads, is_owned),
            MemberState::Stable if goal.has_new_subscription => drop_unread(member, goal, reads),
            MemberState::Stable => member.clone(),
            MemberState::UnrevokedPartitions if owns_any(goal.reported, &member.revoking) => {
                if goal.has_new_subscription { drop_unread(member, goal, reads) } else { member.clone() }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                advance(member, member.epoch, goal, reads, is_owned)
            }
            MemberState::Unknown if goal.reported.is_none_or(|reported| !reported.is_empty()) => {
                return Err(GroupRefusal::new(
                    ErrorCode::FencedMemberEpoch,
                    "The consumer group member is in a unknown state. The member must abandon all its partitions and \
                 rejoin.",
                ));
            }
            MemberState::Unknown => advance(member, goal.epoch, goal, reads, is_owned),
        };
    Ok(next)
}

/// Whether the member may still have any of these partitions. Without a report it may have all.
fn owns_any(reported: Option<&[TopicPartitions]>, owned: &Owned) -> bool {
    let Some(reported) = reported else { return true };
    reported.iter().any(|topic| {
        owned.get(&topic.topic_id).is_some_and(|owned| topic.partitions.iter().any(|at| owned.contains_key(at)))
    })
}

/// Revokes the partitions of topics that the member no longer reads.
fn drop_unread(member: &ConsumerMember, goal: &ReconcileGoal<'_>, reads: &dyn Fn(TopicId) -> bool) -> ConsumerMember {
    if member.assigned.keys().all(|topic| reads(*topic)) {
        return member.clone();
    }
    let mut next = member.with_epoch(member.epoch);
    for (topic, partitions) in member.assigned.iter().filter(|(topic, _)| !reads(**topic)) {
        next.assigned.remove(topic);
        next.revoking.entry(*topic).or_default().extend(partitions);
    }
    if owns_any(goal.reported, &next.revoking) {
        next.state = MemberState::UnrevokedPartitions;
    } else {
        // The member has already released them.
        next.revoking = member.revoking.clone();
    }
    next
}

fn advance(
    member: &ConsumerMember,
    epoch: i32,
    goal: &ReconcileGoal<'_>,
    reads: &dyn Fn(TopicId) -> bool,
    is_owned: &dyn Fn(TopicId, PartitionIndex) -> bool,
) -> ConsumerMember {
    let (mut kept, mut revoking) = (Owned::new(), Owned::new());
    for (topic, partitions) in &member.assigned {
        let target = goal.target.get(topic).filter(|_| reads(*topic));
        for (partition, since) in partitions {
            let stays = target.is_some_and(|target| target.contains(partition));
            let list = if stays { &mut kept } else { &mut revoking };
            list.entry(*topic).or_default().insert(*partition, *since);
        }
    }
    if owns_any(goal.reported, &revoking) && !revoking.is_empty() {
        // It keeps its epoch until it confirms the revocation.
        let mut next = member.with_epoch(epoch);
        (next.state, next.assigned, next.revoking) = (MemberState::UnrevokedPartitions, kept, revoking);
        return next;
    }
    let mut waits = false;
    for (topic, target) in goal.target.iter().filter(|(topic, _)| reads(**topic)) {
        let has = kept.get(topic).map(|has| has.keys().copied().collect::<BTreeSet<_>>()).unwrap_or_default();
        for partition in target.difference(&has) {
            // A partition that this member still has to revoke is not owned by another.
            let is_own = member.revoking.get(topic).is_some_and(|own| own.contains_key(partition));
            if is_owned(*topic, *partition) && !is_own {
                waits = true;
            } else {
                kept.entry(*topic).or_default().insert(*partition, goal.epoch);
            }
        }
    }
    let mut next = member.clone();
    (next.previous_epoch, next.epoch) = (member.epoch, goal.epoch);
    next.state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
    (next.assigned, next.revoking) = (kept, Owned::new());
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TopicId = TopicId([1; 16]);
    const U: TopicId = TopicId([2; 16]);

    fn owned(partitions: &[(TopicId, i32, i32)]) -> Owned {
        let mut owned = Owned::new();
        for (topic, partition, epoch) in partitions {
            owned.entry(*topic).or_default().insert(*partition, *epoch);
        }
        owned
    }

    fn target(partitions: &[(TopicId, i32)]) -> Partitions {
        let mut target = Partitions::new();
        for (topic, partition) in partitions {
            target.entry(*topic).or_default().insert(*partition);
        }
        target
    }

    fn reports(partitions: &[(TopicId, i32)]) -> Vec<TopicPartitions> {
        let topics = target(partitions).into_iter();
        topics.map(|(topic_id, at)| TopicPartitions { topic_id, partitions: at.into_iter().collect() }).collect()
    }

    fn member(epoch: i32, state: MemberState, assigned: Owned, revoking: Owned) -> ConsumerMember {
        ConsumerMember { epoch, state, assigned, revoking, ..ConsumerMember::new("m".into()) }
    }

    struct Case {
        member: ConsumerMember,
        epoch: i32,
        target: Partitions,
        reported: Option<Vec<TopicPartitions>>,
        /// Partitions that other members own.
        others: Vec<(TopicId, i32)>,
        /// Topics that the member reads.
        reads: Vec<TopicId>,
        has_new_subscription: bool,
    }

    impl Case {
        fn check(&self, epoch: i32, state: MemberState, assigned: Owned, revoking: Owned) {
            let goal = ReconcileGoal {
                epoch: self.epoch,
                target: &self.target,
                has_new_subscription: self.has_new_subscription,
                reported: self.reported.as_deref(),
            };
            let is_owned = |topic, partition| {
                self.others.contains(&(topic, partition)) || self.member.assignment_epoch(topic, partition).is_some()
            };
            let next = next_member(&self.member, &goal, &|topic| self.reads.contains(&topic), &is_owned).unwrap();
            assert_eq!((next.epoch, next.state), (epoch, state));
            assert_eq!((next.assigned, next.revoking), (assigned, revoking));
        }
    }

    fn case(member: ConsumerMember, epoch: i32, target: Partitions) -> Case {
        let (reported, others) = (None, Vec::new());
        Case { member, epoch, target, reported, others, reads: vec![T, U], has_new_subscription: false }
    }

    #[test]
    fn a_free_partition_is_assigned_at_once_in_the_targets_epoch() {
        let joins = member(0, MemberState::Stable, Owned::new(), Owned::new());
        case(joins, 5, target(&[(T, 1), (U, 2)])).check(
            5,
            MemberState::Stable,
            owned(&[(T, 1, 5), (U, 2, 5)]),
            Owned::new(),
        );
    }

    #[test]
    fn an_owned_partition_is_assigned_when_its_owner_releases_it() {
        let joins = member(0, MemberState::Stable, Owned::new(), Owned::new());
        let waits = Case { others: vec![(T, 2)], ..case(joins, 5, target(&[(T, 1), (T, 2)])) };
        waits.check(5, MemberState::UnreleasedPartitions, owned(&[(T, 1, 5)]), Owned::new());
        let owner = member(5, MemberState::UnreleasedPartitions, owned(&[(T, 1, 5)]), Owned::new());
        case(owner, 5, target(&[(T, 1), (T, 2)])).check(
            5,
            MemberState::Stable,
            owned(&[(T, 1, 5), (T, 2, 5)]),
            Owned::new(),
        );
    }

    #[test]
    fn a_member_keeps_its_epoch_until_it_confirms_the_revocation() {
        let owner = member(5, MemberState::Stable, owned(&[(T, 1, 3), (T, 2, 5)]), Owned::new());
        let revoked = owned(&[(T, 2, 5)]);
        case(owner, 6, target(&[(T, 1), (T, 3)])).check(
            5,
            MemberState::UnrevokedPartitions,
            owned(&[(T, 1, 3)]),
            revoked.clone(),
        );
        let revoking = member(5, MemberState::UnrevokedPartitions, owned(&[(T, 1, 3)]), revoked.clone());
        for reported in [None, Some(reports(&[(T, 1), (T, 2)]))] {
            let waits = Case { reported, ..case(revoking.clone(), 6, target(&[(T, 1), (T, 3)])) };
            waits.check(5, MemberState::UnrevokedPartitions, owned(&[(T, 1, 3)]), revoked.clone());
        }
        let given_up = Case { reported: Some(reports(&[(T, 1)])), ..case(revoking, 6, target(&[(T, 1), (T, 3)])) };
        given_up.check(6, MemberState::Stable, owned(&[(T, 1, 3), (T, 3, 6)]), Owned::new());
    }

    #[test]
    fn a_partition_under_revocation_can_be_assigned_again() {
        let revoking = member(5, MemberState::UnrevokedPartitions, Owned::new(), owned(&[(T, 2, 5)]));
        let again = Case { reported: Some(vec![]), ..case(revoking, 7, target(&[(T, 2)])) };
        again.check(7, MemberState::Stable, owned(&[(T, 2, 7)]), Owned::new());
    }

    #[test]
    fn partitions_of_unsubscribed_topics_are_revoked_at_once() {
        let owner = member(5, MemberState::Stable, owned(&[(T, 1, 5), (U, 1, 5)]), Owned::new());
        let changed = Case { reads: vec![T], has_new_subscription: true, ..case(owner, 5, target(&[(T, 1), (U, 1)])) };
        changed.check(5, MemberState::UnrevokedPartitions, owned(&[(T, 1, 5)]), owned(&[(U, 1, 5)]));
        // It released the partition before the coordinator revoked it.
        let given_up = Case { reported: Some(reports(&[(T, 1)])), ..changed };
        given_up.check(5, MemberState::Stable, owned(&[(T, 1, 5)]), Owned::new());
    }

    #[test]
    fn a_member_in_an_unknown_state_must_rejoin() {
        let unknown = member(5, MemberState::Unknown, owned(&[(T, 1, 5)]), Owned::new());
        let case = Case { reported: Some(vec![]), ..case(unknown, 6, target(&[(T, 1)])) };
        case.check(6, MemberState::Stable, owned(&[(T, 1, 5)]), Owned::new());
        let goal = ReconcileGoal { epoch: 6, target: &case.target, has_new_subscription: false, reported: None };
        let refused = next_member(&case.member, &goal, &|_| true, &|_, _| false).unwrap_err();
        assert_eq!(refused.error, ErrorCode::FencedMemberEpoch);
    }
}
