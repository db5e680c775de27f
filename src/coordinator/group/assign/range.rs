//! The range assignor: every topic is cut into runs of about the same length, one for each subscriber, in the order of the
//! members. So members that subscribe to the same topics get the same partitions of those that have as many, which is what joins
//! of co-partitioned topics need. What members have now is of no account.

use super::{Partitions, Subscriber, Topic};
use crate::model::PartitionIndex;

pub(super) fn assign(members: &[&Subscriber], topics: &[Topic]) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); members.len()];
    for topic in topics {
        let share = topic.partitions / topic.subscribers.len();
        let remainder = topic.partitions % topic.subscribers.len();
        let mut start = 0;
        for (turn, &member) in topic.subscribers.iter().enumerate() {
            // The first ones take what does not divide evenly.
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
