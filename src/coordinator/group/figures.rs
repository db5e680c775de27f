//! The groups of a partition in numbers, for metrics.

use super::{GroupKind, Groups};
use crate::model::{Offset, PartitionIndex};

/// One group at one moment.
pub struct GroupFigures {
    /// `group.id`
    pub id: String,
    /// Kafka's name of the state, such as `Stable`.
    pub state: &'static str,
    /// The number of members.
    pub members: usize,
    /// The committed offsets: topic, partition, and the next offset that the group reads.
    pub offsets: Vec<(Box<str>, PartitionIndex, Offset)>,
}

impl Groups {
    /// Each group with its offsets, as long as `offsets_left` lasts; returns the number of groups that are left out.
    pub fn figures(&self, offsets_left: &mut usize, found: &mut Vec<GroupFigures>) -> usize {
        let mut omitted = 0;
        for group in self.groups.values() {
            // A group without offsets counts too.
            let offsets: usize = group.offsets.committed.topics().map(|(_, partitions)| partitions.len()).sum();
            let offsets = offsets.max(1);
            if offsets > *offsets_left {
                omitted += 1;
                continue;
            }
            *offsets_left -= offsets;
            let (state, members) = match &group.kind {
                GroupKind::Classic(classic) => (classic.state.name(), classic.members.len()),
                GroupKind::Consumer(consumer) => (consumer.state().name(), consumer.members.len()),
            };
            let offsets = group.offsets.committed.all();
            found.push(GroupFigures {
                id: (*group.id).into(),
                state,
                members,
                offsets: offsets
                    .map(|(topic, partition, committed)| (topic.into(), partition, committed.offset))
                    .collect(),
            });
        }
        omitted
    }
}
