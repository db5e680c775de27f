//! A member's next step towards its target: first it gives up what it is not to have, and says so; then the target's epoch is
//! its own; then it is given what nobody else has (any more).
//!
//! ```text
//!          target of a newer epoch                       it has said so
//! Stable -----------------------> UnrevokedPartitions ------------------> Stable, if all of the target is free
//!    |                                                        |
//!    +---- nothing to give up --------------------------------+---------> UnreleasedPartitions, if not: given what is
//! ```
//!
//! Pure. Who owns what, and which topics the member reads, is asked of the group.

use std::collections::BTreeSet;

use super::super::assign::Partitions;
use super::GroupRefusal;
use super::member::{ConsumerMember, MemberState, Owned};
use crate::model::{ErrorCode, PartitionIndex, TopicId};
use crate::wire::group::consumer_group_heartbeat::TopicPartitions;

/// What a member is brought to, and what it says.
pub struct ReconcileGoal<'a> {
    pub epoch: i32,
    pub target: &'a Partitions,
    /// Its subscription has changed: what it does not read any more goes at once, whatever the target says.
    pub has_new_subscription: bool,
    /// What the member says that it has; None: no change since it last said so.
    pub reported: Option<&'a [TopicPartitions]>,
}

/// The member after the step; itself where nothing is to be done.
pub fn next_member(
    member: &ConsumerMember,
    goal: &ReconcileGoal<'_>,
    reads: &dyn Fn(TopicId) -> bool,
    is_owned: &dyn Fn(TopicId, PartitionIndex) -> bool,
) -> Result<ConsumerMember, GroupRefusal> {
    let next = match member.state {
        MemberState::Stable if member.epoch != goal.epoch => advance(member, member.epoch, goal, reads, is_owned),
        MemberState::Stable if goal.has_new_subscription => drop_unread(member, goal, reads),
        MemberState::Stable => member.clone(),
        MemberState::UnrevokedPartitions if owns_any(goal.reported, &member.revoking) => {
            if goal.has_new_subscription {
                drop_unread(member, goal, reads)
            } else {
                member.clone()
            }
        }
        MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
            advance(member, member.epoch, goal, reads, is_owned)
        }
        MemberState::Unknown if goal.reported.is_none_or(|reported| !reported.is_empty()) => {
            return Err(GroupRefusal::new(
                ErrorCode::FencedMemberEpoch,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
            ));
        }
        MemberState::Unknown => advance(member, goal.epoch, goal, reads, is_owned),
    };
    Ok(next)
}

/// Whether the member may still have any of these. One that does not say what it has may have all.
fn owns_any(reported: Option<&[TopicPartitions]>, owned: &Owned) -> bool {
    let Some(reported) = reported else { return true };
    reported.iter().any(|topic| {
        owned.get(&topic.topic_id).is_some_and(|owned| topic.partitions.iter().any(|at| owned.contains_key(at)))
    })
}

/// Takes the partitions of topics that it does not read out of what it has.
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
        // It has given them up already.
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
        // In its old epoch, until it says that it has given them up.
        let mut next = member.with_epoch(epoch);
        (next.state, next.assigned, next.revoking) = (MemberState::UnrevokedPartitions, kept, revoking);
        return next;
    }
    let mut waits = false;
    for (topic, target) in goal.target.iter().filter(|(topic, _)| reads(**topic)) {
        let has = kept.get(topic).map(|has| has.keys().copied().collect::<BTreeSet<_>>()).unwrap_or_default();
        for partition in target.difference(&has) {
            // What it has yet to give up itself is nobody else's.
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
        /// What somebody else has.
        others: Vec<(TopicId, i32)>,
        /// Topics that it reads.
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
    fn what_is_free_is_given_at_once_and_in_the_targets_epoch() {
        let joins = member(0, MemberState::Stable, Owned::new(), Owned::new());
        case(joins, 5, target(&[(T, 1), (U, 2)])).check(
            5,
            MemberState::Stable,
            owned(&[(T, 1, 5), (U, 2, 5)]),
            Owned::new(),
        );
    }

    #[test]
    fn what_another_has_is_waited_for_and_given_when_it_is_free() {
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
    fn it_stays_in_its_epoch_until_it_has_said_that_it_has_given_up() {
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
    fn what_it_has_yet_to_give_up_it_may_be_given_again() {
        let revoking = member(5, MemberState::UnrevokedPartitions, Owned::new(), owned(&[(T, 2, 5)]));
        let again = Case { reported: Some(vec![]), ..case(revoking, 7, target(&[(T, 2)])) };
        again.check(7, MemberState::Stable, owned(&[(T, 2, 7)]), Owned::new());
    }

    #[test]
    fn what_it_does_not_read_any_more_goes_at_once() {
        let owner = member(5, MemberState::Stable, owned(&[(T, 1, 5), (U, 1, 5)]), Owned::new());
        let changed = Case { reads: vec![T], has_new_subscription: true, ..case(owner, 5, target(&[(T, 1), (U, 1)])) };
        changed.check(5, MemberState::UnrevokedPartitions, owned(&[(T, 1, 5)]), owned(&[(U, 1, 5)]));
        // It has given it up before anybody asked.
        let given_up = Case { reported: Some(reports(&[(T, 1)])), ..changed };
        given_up.check(5, MemberState::Stable, owned(&[(T, 1, 5)]), Owned::new());
    }

    #[test]
    fn a_member_in_an_unknown_state_has_to_begin_anew() {
        let unknown = member(5, MemberState::Unknown, owned(&[(T, 1, 5)]), Owned::new());
        let case = Case { reported: Some(vec![]), ..case(unknown, 6, target(&[(T, 1)])) };
        case.check(6, MemberState::Stable, owned(&[(T, 1, 5)]), Owned::new());
        let goal = ReconcileGoal { epoch: 6, target: &case.target, has_new_subscription: false, reported: None };
        let refused = next_member(&case.member, &goal, &|_| true, &|_, _| false).unwrap_err();
        assert_eq!(refused.error, ErrorCode::FencedMemberEpoch);
    }
}
