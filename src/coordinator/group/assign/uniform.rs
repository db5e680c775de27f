//! The uniform assignor: the numbers of partitions of two members differ by at most one, and members keep as many of
//! their own as possible.
//!
//! With equal subscriptions that takes one pass. Otherwise only subscribers of a common topic can be balanced, so the
//! assignor repeats topic by topic until no partition moves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{Partitions, Subscriber, Topic};
use crate::model::{PartitionIndex, TopicId};

/// The limit on rounds over all topics. Chains of overlapping subscriptions can take many rounds, each of which about
/// halves the imbalance. Kafka has the same limit.
const ROUNDS_MAX: usize = 16;

pub(super) fn homogeneous(members: &[&Subscriber], topics: &[Topic]) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); members.len()];
    let total: usize = topics.iter().map(|topic| topic.partitions).sum();
    if total == 0 {
        return assigned;
    }
    let share = total / members.len();
    // This many members have one partition more than the others.
    let mut larger = total % members.len();

    let mut is_held: BTreeMap<TopicId, Vec<bool>> =
        topics.iter().map(|topic| (topic.id, vec![false; topic.partitions])).collect();
    let mut surplus = Vec::new();
    let mut wants = Vec::new();
    for (member, subscriber) in members.iter().enumerate() {
        let mut room = share + usize::from(larger > 0);
        for (topic, partitions) in &subscriber.current {
            let Some(is_held) = is_held.get_mut(topic) else { continue };
            let is_free = |partition: &PartitionIndex| match is_held.get_mut(*partition as usize) {
                Some(is_held) => !std::mem::replace(is_held, true),
                None => false,
            };
            let mut keeps: BTreeSet<PartitionIndex> = partitions.iter().copied().filter(is_free).collect();
            while keeps.len() > room {
                surplus.extend(keeps.pop_last().map(|partition| (*topic, partition)));
            }
            room -= keeps.len();
            if !keeps.is_empty() {
                assigned[member].insert(*topic, keeps);
            }
        }
        if larger > 0 {
            // Leave the larger share to a later member that already has one, unless all remaining members need one.
            let are_others_left = members.len() - member > larger;
            if room > 0 && are_others_left {
                room -= 1;
            } else {
                larger -= 1;
            }
        }
        wants.push(room);
    }

    surplus.sort();
    let unassigned = is_held.iter().flat_map(|(topic, is_held)| {
        let free = is_held.iter().enumerate().filter(|(_, is_held)| !**is_held);
        free.map(|(partition, _)| (*topic, partition as PartitionIndex))
    });
    let mut rest = unassigned.chain(surplus);
    for (assigned, room) in assigned.iter_mut().zip(wants) {
        for (topic, partition) in rest.by_ref().take(room) {
            assigned.entry(topic).or_default().insert(partition);
        }
    }
    assert_eq!(rest.next(), None, "ASSIGN-1: the shares add up to all partitions");
    assigned
}

pub(super) fn heterogeneous(members: &[&Subscriber], topics: &[Topic]) -> Vec<Partitions> {
    let mut target = Draft::kept(members, topics);
    // First the topics with the most partitions per subscriber, then those with the fewest subscribers. The later
    // topics can still compensate.
    let mut order: Vec<usize> = (0..topics.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&topics[a], &topics[b]);
        let weight = |this: &Topic, other: &Topic| this.partitions * other.subscribers.len();
        let by_weight = weight(b, a).cmp(&weight(a, b));
        by_weight.then(a.subscribers.len().cmp(&b.subscribers.len())).then(a.id.cmp(&b.id))
    });
    for &topic in &order {
        target.assign_free(topic);
    }
    let mut unmoved = 0;
    for &topic in order.iter().cycle().take(ROUNDS_MAX * order.len()) {
        unmoved = if target.balance(topic) { 0 } else { unmoved + 1 };
        if unmoved == order.len() {
            break;
        }
    }
    target.into_partitions(members.len())
}

/// An assignment under construction. Topics and members are positions in their lists.
struct Draft<'a> {
    topics: &'a [Topic],
    /// By topic and partition.
    owners: Vec<Vec<Option<usize>>>,
    /// How many partitions each member has.
    loads: Vec<usize>,
}

impl Draft<'_> {
    /// Starts with the partitions that members have and still subscribe to.
    fn kept<'a>(members: &[&Subscriber], topics: &'a [Topic]) -> Draft<'a> {
        let owners = topics.iter().map(|topic| vec![None; topic.partitions]).collect();
        let mut target = Draft { topics, owners, loads: vec![0; members.len()] };
        for (member, subscriber) in members.iter().enumerate() {
            let subscribed = subscriber.current.iter().filter(|(topic, _)| subscriber.topics.contains(topic));
            for (topic, partitions) in subscribed {
                let Ok(topic) = topics.binary_search_by_key(topic, |topic| topic.id) else { continue };
                for &partition in partitions {
                    if let Some(owner @ None) = target.owners[topic].get_mut(partition as usize) {
                        *owner = Some(member);
                        target.loads[member] += 1;
                    }
                }
            }
        }
        target
    }

    /// The topic's subscribers in ascending load. Equal loads keep member order.
    fn ranked(&self, topic: usize) -> Vec<usize> {
        let mut ranked = self.topics[topic].subscribers.to_vec();
        ranked.sort_by_key(|&member| self.loads[member]);
        ranked
    }

    /// Assigns every unowned partition to the least loaded subscriber.
    fn assign_free(&mut self, topic: usize) {
        let is_free = |partition: &usize| self.owners[topic][*partition].is_none();
        let free: Vec<usize> = (0..self.topics[topic].partitions).filter(is_free).collect();
        if free.is_empty() {
            return;
        }
        let ranked = self.ranked(topic);
        let by_rank = ranked.iter().enumerate();
        let mut least: BinaryHeap<_> = by_rank.map(|(rank, &member)| Reverse((self.loads[member], rank))).collect();
        for partition in free {
            let mut top = least.peek_mut().expect("the topic has subscribers");
            let Reverse((load, rank)) = &mut *top;
            *load += 1;
            self.loads[ranked[*rank]] += 1;
            self.owners[topic][partition] = Some(ranked[*rank]);
        }
    }

    /// Moves partitions of the topic from the most to the least loaded subscribers while that reduces the imbalance.
    /// Returns whether any moved.
    fn balance(&mut self, topic: usize) -> bool {
        let loads = || self.topics[topic].subscribers.iter().map(|&member| self.loads[member]);
        if loads().max() <= loads().min().map(|least| least + 1) {
            return false;
        }
        let ranked = self.ranked(topic);
        let rank_of: BTreeMap<usize, usize> = ranked.iter().enumerate().map(|(rank, &member)| (member, rank)).collect();
        // The last partition moves first.
        let mut gives: Vec<Vec<usize>> = vec![Vec::new(); ranked.len()];
        for (partition, owner) in self.owners[topic].iter().enumerate() {
            gives[rank_of[&owner.expect("all partitions are assigned")]].push(partition);
        }
        let by_load = || ranked.iter().enumerate().map(|(rank, &member)| (self.loads[member], rank));
        let mut takers: BTreeSet<(usize, usize)> = by_load().collect();
        let mut givers: BTreeSet<(usize, usize)> = by_load().filter(|(_, rank)| !gives[*rank].is_empty()).collect();
        let mut has_moved = false;
        while let (Some(&giver), Some(&taker)) = (givers.last(), takers.first()) {
            let ((most, from), (least, to)) = (giver, taker);
            if most <= least + 1 {
                break;
            }
            let partition = gives[from].pop().expect("a giver has partitions");
            self.owners[topic][partition] = Some(ranked[to]);
            self.loads[ranked[from]] -= 1;
            self.loads[ranked[to]] += 1;
            has_moved = true;
            takers.remove(&giver);
            takers.insert((most - 1, from));
            takers.remove(&taker);
            takers.insert((least + 1, to));
            givers.remove(&giver);
            if !gives[from].is_empty() {
                givers.insert((most - 1, from));
            }
            if givers.remove(&taker) {
                givers.insert((least + 1, to));
            }
        }
        has_moved
    }

    fn into_partitions(self, members: usize) -> Vec<Partitions> {
        let mut assigned = vec![Partitions::new(); members];
        for (topic, owners) in self.topics.iter().zip(self.owners) {
            for (partition, owner) in owners.into_iter().enumerate() {
                let owner = owner.expect("ASSIGN-1: every partition has an owner");
                assigned[owner].entry(topic.id).or_default().insert(partition as PartitionIndex);
            }
        }
        assigned
    }
}
