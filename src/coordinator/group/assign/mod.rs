//! Server-side assignment of partitions to the members of a consumer group (KIP-848). Input: each member's subscription
//! and current target, and the partition count of each topic. Output: each member's new target.
//!
//! The results equal those of Kafka 4.4's assignors, with one exception. Kafka follows the order of its hash tables in
//! some places. There this code orders members and topics by id, so that the same group always gets the same
//! assignment. An assignment stays as it is while its inputs do not change.
//!
//! Invariants:
//! - ASSIGN-1: every partition of a subscribed topic has one owner, and the owner subscribes to the topic.
//!
//! Pure functions, which know neither groups nor epochs. Run on the thread of the calling coordinator.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::model::{PartitionIndex, TopicId};

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// A member, as the assignors see it.
pub struct Subscriber {
    /// The member id.
    pub id: Rc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Rc<str>>,
    /// The topics that it subscribes to.
    pub topics: Rc<BTreeSet<TopicId>>,
    /// Its current target.
    pub current: Partitions,
}

/// The server-side assignors of Kafka.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Members get equal numbers of partitions and keep as many of their own as possible.
    Uniform,
    /// Each member gets a range of each topic, and equal ranges of topics with equal partition counts.
    Range,
}

impl Assignor {
    /// In the order of Kafka's `group.consumer.assignors`: the first is the default.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// The name that clients and `group.consumer.assignors` use.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor with this name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Returns the targets in the order of the subscribers. `partitions_of`: the partition count of a topic; 0 if it
    /// does not exist.
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

    /// The sort key of the members. Ranges follow this order, which must not change when a static member returns under
    /// another id. Static members therefore come first, by instance id.
    fn order_key(self, subscriber: &Subscriber) -> (bool, Rc<str>) {
        match (self, &subscriber.instance_id) {
            (Assignor::Range, Some(instance_id)) => (false, instance_id.clone()),
            _ => (true, subscriber.id.clone()),
        }
    }
}

/// A topic that has subscribers and partitions.
struct Topic {
    id: TopicId,
    partitions: usize,
    /// Positions in the list of members, ascending.
    subscribers: Rc<[usize]>,
}

/// The subscribed topics, by id.
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
