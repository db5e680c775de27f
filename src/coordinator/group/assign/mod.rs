//! Which member of a consumer group reads which partitions, as the server decides it (KIP-848): pure functions of who subscribes
//! to what, how many partitions there are, and what everybody has now. They know neither groups nor epochs.
//!
//! The results are those of Kafka 4.3's assignors, but for one thing: where Kafka follows the order of its hash tables, members
//! and topics are taken in the order of their ids here, so that the same group always gets the same answer.
//!
//! Invariants:
//! - ASSIGN-1: every partition of a topic with subscribers has one owner, and the owner subscribes to the topic.
//! - ASSIGN-2: what is assigned once stays so as long as nothing changes.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::model::{PartitionIndex, TopicId};

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// A member, as an assignor sees it.
pub struct Subscriber {
    pub id: Rc<str>,
    pub instance_id: Option<Rc<str>>,
    pub topics: Rc<BTreeSet<TopicId>>,
    /// Its present target.
    pub current: Partitions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Everybody has the same number of partitions, and keeps those it has.
    Uniform,
    /// Everybody has a run of each topic's partitions, and the same run of topics that are alike.
    Range,
}

impl Assignor {
    /// In the order of Kafka's `group.consumer.assignors`: the first is for groups that do not ask for one.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    pub fn from_name(name: &str) -> Option<Assignor> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// In the order of the subscribers. `partitions_of`: how many partitions a topic has (0: it is not there).
    pub fn assign(self, subscribers: &[Subscriber], partitions_of: &dyn Fn(&TopicId) -> usize) -> Vec<Partitions> {
        let mut order: Vec<usize> = (0..subscribers.len()).collect();
        order.sort_by_key(|&index| self.order_key(&subscribers[index]));
        let members: Vec<&Subscriber> = order.iter().map(|&index| &subscribers[index]).collect();
        let topics = topics(&members, partitions_of);
        let in_order = match self {
            Assignor::Uniform if is_homogeneous(&members) => uniform::homogeneous(&members, &topics),
            Assignor::Uniform => uniform::heterogeneous(&members, &topics),
            Assignor::Range => range::assign(&members, &topics),
        };
        let mut assigned = vec![Partitions::new(); subscribers.len()];
        for (index, partitions) in order.into_iter().zip(in_order) {
            assigned[index] = partitions;
        }
        assigned
    }

    /// What decides who is served first. Ranges are handed out in this order, so it must not change when a static member comes
    /// back under another id: static members come first, by their instance's id.
    fn order_key(self, subscriber: &Subscriber) -> (bool, Rc<str>) {
        match (self, &subscriber.instance_id) {
            (Assignor::Range, Some(instance_id)) => (false, instance_id.clone()),
            _ => (true, subscriber.id.clone()),
        }
    }
}

/// A topic that somebody subscribes to, and that has partitions.
struct Topic {
    id: TopicId,
    partitions: usize,
    /// Positions in the list of members, ascending.
    subscribers: Rc<[usize]>,
}

/// By id.
fn topics(members: &[&Subscriber], partitions_of: &dyn Fn(&TopicId) -> usize) -> Vec<Topic> {
    let topic = |id: TopicId, subscribers| Topic { id, partitions: partitions_of(&id), subscribers };
    let mut topics: Vec<Topic> = if is_homogeneous(members) {
        let all: Rc<[usize]> = (0..members.len()).collect();
        let ids = members.first().map(|member| member.topics.iter());
        ids.into_iter().flatten().map(|id| topic(*id, all.clone())).collect()
    } else {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (member, subscriber) in members.iter().enumerate() {
            for id in subscriber.topics.iter() {
                subscribers.entry(*id).or_default().push(member);
            }
        }
        subscribers.into_iter().map(|(id, subscribers)| topic(id, subscribers.into())).collect()
    };
    topics.retain(|topic| topic.partitions > 0);
    topics
}

/// Whether all members subscribe to the same topics.
fn is_homogeneous(members: &[&Subscriber]) -> bool {
    members.windows(2).all(|pair| Rc::ptr_eq(&pair[0].topics, &pair[1].topics) || pair[0].topics == pair[1].topics)
}
