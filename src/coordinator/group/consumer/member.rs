//! A member of a consumer group: its description, its current assignment, and its state of reconciliation.
//!
//! An immutable value. A step makes the next version and writes it; the group replaces the old version in replay.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::coordinator::group::schema::OptionalClassicMetadata;
use crate::coordinator::group::schema::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    CurrentPartitions,
};
use crate::model::{PartitionIndex, TopicId};

/// The epoch of a static member that has left temporarily.
pub const STATIC_LEAVE_EPOCH: i32 = -2;

/// Partitions by topic, each with the epoch in which the member got it (KIP-1251).
pub type Owned = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// The progress of a member towards its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It has all partitions of its target, as of its epoch.
    Stable,
    /// It has not confirmed yet that it has revoked partitions.
    UnrevokedPartitions,
    /// Other members have not released all partitions of its target yet.
    UnreleasedPartitions,
    /// A state of a newer release: the member must rejoin.
    Unknown,
}

impl MemberState {
    fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }

    fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// A member of a consumer group.
#[derive(Clone, PartialEq, Debug)]
pub struct ConsumerMember {
    /// The member id, which the client draws (KIP-1082) or the coordinator assigned.
    pub id: Rc<str>,
    /// The group epoch that the member has reached; [`STATIC_LEAVE_EPOCH`] after a temporary leave.
    pub epoch: i32,
    /// The epoch before the present one. The response with the present one may have been lost.
    pub previous_epoch: i32,
    /// The progress towards the target.
    pub state: MemberState,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<Rc<str>>,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// The client id in the header of the member's heartbeat.
    pub client_id: String,
    /// The address of the member, such as `/127.0.0.1`.
    pub client_host: String,
    /// How long the member may take to revoke partitions.
    pub rebalance_timeout_ms: i32,
    /// The topics that it subscribes to by name.
    pub topics: Rc<BTreeSet<String>>,
    /// The pattern that it subscribes to. An empty one matches no topic.
    pub regex: Option<String>,
    /// The assignor that the member prefers.
    pub assignor: Option<String>,
    /// The description of a classic member. `None` for a member of the consumer protocol.
    pub classic: Option<ClassicMemberMetadata>,
    /// The partitions that the member holds.
    pub assigned: Owned,
    /// The partitions that the member has to give up before it gets others.
    pub revoking: Owned,
}

impl ConsumerMember {
    /// A new member, as Kafka writes one.
    pub fn new(id: Rc<str>) -> ConsumerMember {
        ConsumerMember {
            id,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: -1,
            topics: Rc::default(),
            // Kafka writes the same for a member that sent no pattern.
            regex: Some(String::new()),
            assignor: None,
            classic: None,
            assigned: Owned::new(),
            revoking: Owned::new(),
        }
    }

    /// Whether the member has reached the target of this epoch.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// The pattern that it subscribes to, unless empty.
    pub fn regex(&self) -> Option<&str> {
        self.regex.as_deref().filter(|regex| !regex.is_empty())
    }

    /// The protocol name in responses to a classic member: its preferred one.
    pub fn protocol_name(&self) -> &str {
        let protocols = self.classic.as_ref().map(|classic| classic.supported_protocols.as_slice());
        protocols.and_then(<[_]>::first).map_or("", |protocol| &protocol.name)
    }

    /// The partitions that the member owns.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        self.assigned.iter().flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }

    /// The epoch in which the member got a partition that it owns or still has to revoke.
    pub fn assignment_epoch(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        let of = |owned: &Owned| owned.get(&topic).and_then(|partitions| partitions.get(&partition)).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }

    /// The next version of the member, in this epoch.
    pub fn with_epoch(&self, epoch: i32) -> ConsumerMember {
        ConsumerMember { previous_epoch: self.epoch, epoch, ..self.clone() }
    }

    // ---- records ----------------------------------------------------------------------------------------------------

    /// The record of its description.
    pub fn metadata(&self) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.as_deref().map(str::to_owned),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.iter().cloned().collect(),
            subscribed_topic_regex: self.regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.assignor.clone(),
            classic: OptionalClassicMetadata(self.classic.clone()),
        }
    }

    /// Replays the record of its description.
    pub fn set_metadata(&mut self, value: ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id.map(Rc::from);
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.topics = Rc::new(value.subscribed_topic_names.into_iter().collect());
        self.regex = value.subscribed_topic_regex;
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.server_assignor;
        self.classic = value.classic.0;
    }

    /// The record of its current assignment.
    pub fn current(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: logged(&self.assigned),
            partitions_pending_revocation: logged(&self.revoking),
        }
    }

    /// Replays the record of its current assignment.
    pub fn set_current(&mut self, value: ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = owned(value.assigned_partitions, value.member_epoch);
        self.revoking = owned(value.partitions_pending_revocation, value.member_epoch);
    }
}

fn logged(owned: &Owned) -> Vec<CurrentPartitions> {
    let logged = owned.iter().map(|(topic, partitions)| CurrentPartitions {
        topic_id: *topic,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
    });
    logged.collect()
}

/// Before KIP-1251 Kafka wrote no epochs. The member's own epoch is their upper bound.
fn owned(logged: Vec<CurrentPartitions>, member_epoch: i32) -> Owned {
    let mut owned = Owned::new();
    for topic in logged {
        let epochs = topic.assignment_epochs.filter(|epochs| epochs.len() == topic.partitions.len());
        let epochs = epochs.unwrap_or_else(|| vec![member_epoch; topic.partitions.len()]);
        owned.entry(topic.topic_id).or_default().extend(topic.partitions.into_iter().zip(epochs));
    }
    owned
}
