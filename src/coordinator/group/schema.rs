//! The values of `__consumer_offsets`, as Kafka writes them. Each begins with its version. Committed offsets, which are
//! frequent, and keys are read and written by hand in [`record`](super::record).

use crate::model::TopicId;
use crate::wire::group::join_group::JoinGroupRequestProtocol;
use crate::wire::{Bytes, Malformed, Reader, Wire, Writer, message};

message! {
    /// A whole classic group.
    part GroupMetadataValue {
        protocol_type: String, 0+;
        generation: i32, 0+;
        protocol: Option<String>, 0+;
        leader: Option<String>, 0+;
        /// -1 if unknown.
        current_state_timestamp: i64, 2+, default = -1, ignorable = true;
        members: Vec<MemberMetadata>, 0+;
    }

    part MemberMetadata {
        member_id: String, 0+;
        group_instance_id: Option<String>, 3+, ignorable = true;
        client_id: String, 0+;
        client_host: String, 0+;
        /// -1: the session timeout applies.
        rebalance_timeout: i32, 1+, default = -1, ignorable = true;
        session_timeout: i32, 0+;
        subscription: Bytes, 0+;
        assignment: Bytes, 0+;
    }

    /// A consumer group's epoch, and a hash of the topics that it reads.
    part ConsumerGroupMetadataValue {
        epoch: i32, 0+;
        metadata_hash: i64, 0+, tag = 0;
    }

    /// The member's description of itself.
    part ConsumerGroupMemberMetadataValue {
        instance_id: Option<String>, 0+;
        rack_id: Option<String>, 0+;
        client_id: String, 0+;
        client_host: String, 0+;
        subscribed_topic_names: Vec<String>, 0+;
        subscribed_topic_regex: Option<String>, 0+;
        rebalance_timeout_ms: i32, 0+, default = -1;
        server_assignor: Option<String>, 0+;
        classic: OptionalClassicMetadata, 0+, tag = 0;
    }

    /// The description of a member that uses the classic protocol.
    part ClassicMemberMetadata {
        session_timeout_ms: i32, 0+;
        supported_protocols: Vec<JoinGroupRequestProtocol>, 0+;
    }

    /// The group epoch of the target assignment.
    part ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: i32, 0+;
        assignment_timestamp: i64, 0+, tag = 0;
    }

    /// A member's target assignment.
    part ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: Vec<TargetPartitions>, 0+;
    }

    part TargetPartitions {
        topic_id: TopicId, 0+;
        partitions: Vec<i32>, 0+;
    }

    /// A member's current assignment and its state of reconciliation.
    part ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: i32, 0+;
        previous_member_epoch: i32, 0+;
        state: i8, 0+;
        assigned_partitions: Vec<CurrentPartitions>, 0+;
        partitions_pending_revocation: Vec<CurrentPartitions>, 0+;
    }

    part CurrentPartitions {
        topic_id: TopicId, 0+;
        partitions: Vec<i32>, 0+;
        /// The epoch in which the member got each partition (KIP-1251). Null: the member's epoch.
        assignment_epochs: Option<Vec<i32>>, 0+, tag = 0;
    }

    /// The topics that match a pattern, the metadata version that was searched, and the time of the search.
    part ConsumerGroupRegularExpressionValue {
        topics: Vec<String>, 0+;
        version: i64, 0+;
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

/// `written` is the version that Kafka 4.3 writes.
macro_rules! value {
    ($($name:ident: written $written:literal, flexible from $flexible:literal, known up to $max:literal;)*) => {$(
        impl $name {
            /// Parses a value with its version.
            pub fn parse(bytes: &[u8]) -> Result<$name, Malformed> {
                let mut r = Reader::new(bytes);
                r.set_flexible(false);
                let version = r.i16()?;
                if !(0..=$max).contains(&version) {
                    return Err(r.malformed(concat!("a version of ", stringify!($name), " that is not known")));
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
