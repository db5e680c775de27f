//! The range assignor: splits every topic into ranges of nearly equal length, one for each subscriber in member order.
//! Members with equal subscriptions get the same partitions of all topics with equal partition counts, which joins of
//! co-partitioned topics need. Current targets have no influence.

use super::{Partitions, Subscriber, Topic};
use crate::model::PartitionIndex;

pub(super) fn assign(members: &[&Subscriber], topics: &[Topic]) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); members.len()];
    for topic in topics {
        let share = topic.partitions / topic.subscribers.len();
        let remainder = topic.partitions % topic.subscribers.len();
        let mut start = 0;
        for (turn, &member) in topic.subscribers.iter().enumerate() {
            // The first members take the remainder.
            let end = start + share + usize::from(turn < remainder);
            if start == end {
                break;
            }
            let run = (start..end).map(|partition| partition as PartitionIndex).collect();
            assigned[member].insert(topic.id, run);
            start = end;
        }
        assert_eq!(start, topic.partitions, "ASSIGN-1: the runs are the topic");
    }
    assigned
}
