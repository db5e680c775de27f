//! ConsumerGroupDescribe.

use super::super::assign::Partitions;
use super::super::{GroupKind, Groups};
use super::heartbeat::not_a_consumer_group;
use super::member::{ConsumerMember, Owned};
use super::{ConsumerStep, GroupRefusal};
use crate::coordinator::{Now, Writes};
use crate::metadata::Image;
use crate::model::{ErrorCode, PartitionIndex, TopicId};
use crate::wire::group::consumer_group_describe::{
    DescribedAssignment, DescribedConsumer, DescribedConsumerGroup, DescribedPartitions,
};

impl Groups {
    /// Describes a consumer group.
    pub fn describe_consumer_group(&self, group_id: &str, now: Now) -> Result<DescribedConsumerGroup, GroupRefusal> {
        match self.groups.get(group_id).map(|group| &group.kind) {
            None => return Err(GroupRefusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} not found."))),
            Some(GroupKind::Classic(_)) => return Err(not_a_consumer_group(group_id)),
            Some(GroupKind::Consumer(_)) => {}
        }
        // This step writes nothing.
        let mut writes = Writes::new(now);
        let step = self.consumer_step(group_id, now, &mut writes).expect("matched above");
        Ok(step.described())
    }
}

impl ConsumerStep<'_> {
    fn described(&self) -> DescribedConsumerGroup {
        let group = self.group;
        let members = group.members.values().map(|member| describe(member, &group.target(&member.id), self.image));
        DescribedConsumerGroup {
            group_id: (*self.id).into(),
            group_state: group.state().name().into(),
            group_epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor_name: self.assignor(group.members.values().map(|member| &**member)).name().into(),
            members: members.collect(),
            ..DescribedConsumerGroup::default()
        }
    }
}

fn describe(member: &ConsumerMember, target: &Partitions, image: &Image) -> DescribedConsumer {
    // The member still owns the partitions that it has to revoke.
    let mut has = Owned::clone(&member.assigned);
    for (topic, partitions) in &member.revoking {
        has.entry(*topic).or_default().extend(partitions);
    }
    let has = has.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()));
    let is_to_have = target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()));
    DescribedConsumer {
        member_id: (*member.id).into(),
        instance_id: member.instance_id.as_deref().map(str::to_owned),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topics.iter().cloned().collect(),
        subscribed_topic_regex: member.regex.clone(),
        assignment: named(has, image),
        target_assignment: named(is_to_have, image),
        member_type: if member.classic.is_some() { 0 } else { 1 },
    }
}

/// Names the topics. Deleted topics are left out.
fn named(partitions: impl Iterator<Item = (TopicId, Vec<PartitionIndex>)>, image: &Image) -> DescribedAssignment {
    let topic_partitions = partitions.filter_map(|(topic_id, partitions)| {
        let topic_name = image.topic_by_id(topic_id)?.name.as_str().to_owned();
        Some(DescribedPartitions { topic_id, topic_name, partitions })
    });
    DescribedAssignment { topic_partitions: topic_partitions.collect() }
}
