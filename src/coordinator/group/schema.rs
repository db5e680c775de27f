//! The values of `__consumer_offsets`, as Kafka writes them. Each begins with its version. Committed offsets, which are
//! frequent, and keys are read and written by hand in [`record`](super::record).

use crate::model::TopicId;
use crate::wire::group::join_group::JoinGroupRequestProtocol;
use crate::wire::{Bytes, Malformed, Reader, Wire, Writer, message};

message! {
    /// A whole classic group.
    part GroupMetadataValue {
        /// `consumer` or `connect`; empty in a group that only commits offsets.
        protocol_type: String, 0+;
        /// Increases with each rebalance.
        generation: i32, 0+;
        /// The selected assignor; null without members.
        protocol: Option<String>, 0+;
        /// The member id of the leader; null without members.
        leader: Option<String>, 0+;
        /// Wall time of the last change of state in ms since 1970; -1 if unknown.
        current_state_timestamp: i64, 2+, default = -1, ignorable = true;
        /// The members with their assignments in this generation.
        members: Vec<MemberMetadata>, 0+;
    }

    /// A member of a classic group.
    part MemberMetadata {
        /// The id that the coordinator assigned (KIP-394).
        member_id: String, 0+;
        /// `group.instance.id` of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<String>, 3+, ignorable = true;
        /// The client id in the header of the member's JoinGroup.
        client_id: String, 0+;
        /// The address of the member, such as `/127.0.0.1`.
        client_host: String, 0+;
        /// In ms: how long a rebalance waits for the member; -1: the session timeout applies.
        rebalance_timeout: i32, 1+, default = -1, ignorable = true;
        /// In ms: the member is removed after so long without a heartbeat.
        session_timeout: i32, 0+;
        /// The member's metadata for the selected protocol, opaque to the coordinator.
        subscription: Bytes, 0+;
        /// The leader's assignment for the member, opaque to the coordinator.
        assignment: Bytes, 0+;
    }

    /// A consumer group's epoch, and a hash of the topics that it reads.
    part ConsumerGroupMetadataValue {
        /// Increases with each change of members, subscriptions or topics (KIP-848).
        epoch: i32, 0+;
        /// A hash of the subscribed topics' ids, names and sizes; 0 if it is not computed yet.
        metadata_hash: i64, 0+, tag = 0;
    }

    /// The member's description of itself.
    part ConsumerGroupMemberMetadataValue {
        /// `group.instance.id` of a static member (KIP-345); null for a dynamic one.
        instance_id: Option<String>, 0+;
        /// `client.rack`, or null.
        rack_id: Option<String>, 0+;
        /// The client id in the header of the member's heartbeat.
        client_id: String, 0+;
        /// The address of the member, such as `/127.0.0.1`.
        client_host: String, 0+;
        /// The subscribed topics by name.
        subscribed_topic_names: Vec<String>, 0+;
        /// The subscription's pattern in RE2 syntax; null or empty without one.
        subscribed_topic_regex: Option<String>, 0+;
        /// How long the member may take to revoke partitions.
        rebalance_timeout_ms: i32, 0+, default = -1;
        /// The assignor that the member prefers; null: no preference.
        server_assignor: Option<String>, 0+;
        /// Set while the member uses the classic protocol during a migration.
        classic: OptionalClassicMetadata, 0+, tag = 0;
    }

    /// The description of a member that uses the classic protocol.
    part ClassicMemberMetadata {
        /// The member is removed after so long without a heartbeat.
        session_timeout_ms: i32, 0+;
        /// The assignors of its JoinGroup, in the order of its preference.
        supported_protocols: Vec<JoinGroupRequestProtocol>, 0+;
    }

    /// The group epoch of the target assignment.
    part ConsumerGroupTargetAssignmentMetadataValue {
        /// The group epoch for which the assignment was computed.
        assignment_epoch: i32, 0+;
        /// Wall time of that computation in ms since 1970; 0 in records of earlier releases.
        assignment_timestamp: i64, 0+, tag = 0;
    }

    /// A member's target assignment.
    part ConsumerGroupTargetAssignmentMemberValue {
        /// The partitions that the member will hold.
        topic_partitions: Vec<TargetPartitions>, 0+;
    }

    /// Partitions of one topic in a target assignment.
    part TargetPartitions {
        /// The topic's id.
        topic_id: TopicId, 0+;
        /// Partition indexes.
        partitions: Vec<i32>, 0+;
    }

    /// A member's current assignment and its state of reconciliation.
    part ConsumerGroupCurrentMemberAssignmentValue {
        /// The group epoch that the member has reached; -2: a static member that has left temporarily.
        member_epoch: i32, 0+;
        /// The epoch before that one: a heartbeat that was sent again carries it.
        previous_member_epoch: i32, 0+;
        /// 0 stable, 1 unrevoked partitions, 2 unreleased partitions, 127 unknown.
        state: i8, 0+;
        /// The partitions that the member holds.
        assigned_partitions: Vec<CurrentPartitions>, 0+;
        /// The partitions that the member has to give up first.
        partitions_pending_revocation: Vec<CurrentPartitions>, 0+;
    }

    /// Partitions of one topic in a current assignment.
    part CurrentPartitions {
        /// The topic's id.
        topic_id: TopicId, 0+;
        /// Partition indexes.
        partitions: Vec<i32>, 0+;
        /// The epoch in which the member got each partition (KIP-1251). Null: the member's epoch.
        assignment_epochs: Option<Vec<i32>>, 0+, tag = 0;
    }

    /// The topics that match a pattern, the metadata version that was searched, and the time of the search.
    part ConsumerGroupRegularExpressionValue {
        /// The names of the matching topics.
        topics: Vec<String>, 0+;
        /// The version of the metadata that was searched.
        version: i64, 0+;
        /// Wall time of the search in ms since 1970.
        timestamp: i64, 0+;
    }
}

/// The description of a classic member; `None` for a member of the consumer protocol.
///
/// A struct in a tagged field has an unsigned varint as its null marker, elsewhere a signed byte. Kafka 4.3 reads an
/// absent field as an empty struct, not as null, so null is always written.
#[derive(Clone, PartialEq, Debug)]
pub struct OptionalClassicMetadata(pub Option<ClassicMemberMetadata>);

impl Wire for OptionalClassicMetadata {
    fn bytes_min(_: i16, _: bool) -> usize {
        1
    }

    fn unset() -> OptionalClassicMetadata {
        OptionalClassicMetadata(Some(ClassicMemberMetadata::default()))
    }

    fn decode(r: &mut Reader<'_>, version: i16) -> Result<OptionalClassicMetadata, Malformed> {
        match r.unsigned_varint()? {
            0 => Ok(OptionalClassicMetadata(None)),
            _ => Ok(OptionalClassicMetadata(Some(Wire::decode(r, version)?))),
        }
    }

    fn encode(&self, w: &mut Writer, version: i16) {
        w.unsigned_varint(u32::from(self.0.is_some()));
        if let Some(metadata) = &self.0 {
            Wire::encode(metadata, w, version);
        }
    }
}

#[cfg(test)]
impl crate::wire::tests::Sample for OptionalClassicMetadata {
    fn sample(dice: &mut crate::wire::tests::Dice, version: i16) -> OptionalClassicMetadata {
        OptionalClassicMetadata((dice.below(2) == 1).then(|| crate::wire::tests::Sample::sample(dice, version)))
    }
}

/// `written` is the version that Kafka 4.4 writes.
macro_rules! value {
    ($($name:ident: written $written:literal, flexible from $flexible:literal, known up to $max:literal;)*) => {$(
        impl $name {
            /// Parses a value with its version.
            pub fn parse(bytes: &[u8]) -> Result<$name, Malformed> {
                let mut r = Reader::new(bytes);
                r.set_flexible(false);
                let version = r.i16()?;
                if !(0..=$max).contains(&version) {
                    return Err(r.malformed(concat!("an unknown version of ", stringify!($name))));
                }
                r.set_flexible(version >= $flexible);
                let value = <$name as Wire>::decode(&mut r, version)?;
                r.end()?;
                Ok(value)
            }

            /// The value with its version, as Kafka writes it.
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut w = Writer::new($written, false);
                w.i16($written);
                w.set_flexible($written >= $flexible);
                Wire::encode(self, &mut w, $written);
                w.finish().expect("every field is in the version")
            }
        }
    )*};
}

value! {
    GroupMetadataValue: written 3, flexible from 4, known up to 4;
    ConsumerGroupMetadataValue: written 0, flexible from 0, known up to 0;
    ConsumerGroupMemberMetadataValue: written 0, flexible from 0, known up to 0;
    ConsumerGroupTargetAssignmentMetadataValue: written 0, flexible from 0, known up to 0;
    ConsumerGroupTargetAssignmentMemberValue: written 0, flexible from 0, known up to 0;
    ConsumerGroupCurrentMemberAssignmentValue: written 0, flexible from 0, known up to 0;
    ConsumerGroupRegularExpressionValue: written 0, flexible from 0, known up to 0;
}
