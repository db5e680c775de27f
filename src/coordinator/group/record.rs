//! The records of `__consumer_offsets`, byte for byte Kafka's. Numbers are big-endian; a string is an int16 and that
//! many bytes. [`schema`](super::schema) declares all values but the first.
//!
//! ```text
//! key                                                   value
//! 0, 1  group string, topic string, partition int32     OffsetCommitValue: a committed offset
//! 2     group string                                    GroupMetadataValue: a classic group
//! 3     group string                                    ConsumerGroupMetadataValue
//! 4     group string                                    topics of a group, written by Kafka before 4.1; ignored
//! 5     group string, member string                     ConsumerGroupMemberMetadataValue
//! 6     group string                                    ConsumerGroupTargetAssignmentMetadataValue
//! 7     group string, member string                     ConsumerGroupTargetAssignmentMemberValue
//! 8     group string, member string                     ConsumerGroupCurrentMemberAssignmentValue
//! 16    group string, pattern string                    ConsumerGroupRegularExpressionValue
//! ```
//! A key begins with its version as int16, which is the kind of the record. A value begins with its own version.
//!
//! ```text
//! OffsetCommitValue 0  offset int64, metadata string, commit time int64
//!                   1  ... expiry time int64
//!                   2  as 0
//!                   3  offset int64, leader epoch int32, metadata string, commit time int64
//!                   4  as 3, flexible: metadata compact, then tags, of which 0 is the topic's id
//! ```

use crate::coordinator::Unreadable;
use crate::model::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::wire::{Reader, Writer};

/// The key of a record. Strings are ids of groups and members, names of topics, and patterns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are the columns of the table in the module's documentation")]
pub enum Key<'a> {
    /// 1, or 0 in old logs: a committed offset.
    Offset { group: &'a str, topic: &'a str, partition: PartitionIndex },
    /// 2: a classic group.
    Group { group: &'a str },
    /// 3: a consumer group's epoch.
    ConsumerGroup { group: &'a str },
    /// 4: the topics of a group, written by Kafka before 4.1; ignored.
    SubscriptionMetadata { group: &'a str },
    /// 5: a member's description of itself.
    Member { group: &'a str, member: &'a str },
    /// 6: the epoch of a consumer group's target assignment.
    Target { group: &'a str },
    /// 7: a member's target assignment.
    MemberTarget { group: &'a str, member: &'a str },
    /// 8: a member's current assignment.
    MemberCurrent { group: &'a str, member: &'a str },
    /// 16: the topics that match a pattern.
    Regex { group: &'a str, regex: &'a str },
}

impl<'a> Key<'a> {
    /// Parses the key of a record.
    pub fn parse(bytes: &'a [u8]) -> Result<Key<'a>, Unreadable> {
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        let version = r.i16()?;
        Ok(match version {
            0 | 1 => Key::Offset { group: r.string()?, topic: r.string()?, partition: r.i32()? },
            2 => Key::Group { group: r.string()? },
            3 => Key::ConsumerGroup { group: r.string()? },
            4 => Key::SubscriptionMetadata { group: r.string()? },
            5 => Key::Member { group: r.string()?, member: r.string()? },
            6 => Key::Target { group: r.string()? },
            7 => Key::MemberTarget { group: r.string()?, member: r.string()? },
            8 => Key::MemberCurrent { group: r.string()?, member: r.string()? },
            16 => Key::Regex { group: r.string()?, regex: r.string()? },
            _ => return Err(Unreadable::UnknownKey(version)),
        })
    }

    /// The key as Kafka writes it.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut w = Writer::new(0, false);
        match self {
            Key::Offset { group, topic, partition } => {
                w.i16(1);
                w.string(group);
                w.string(topic);
                w.i32(partition);
            }
            Key::Group { group } => of_group(&mut w, 2, group),
            Key::ConsumerGroup { group } => of_group(&mut w, 3, group),
            Key::SubscriptionMetadata { group } => of_group(&mut w, 4, group),
            Key::Member { group, member } => within_group(&mut w, 5, group, member),
            Key::Target { group } => of_group(&mut w, 6, group),
            Key::MemberTarget { group, member } => within_group(&mut w, 7, group, member),
            Key::MemberCurrent { group, member } => within_group(&mut w, 8, group, member),
            Key::Regex { group, regex } => within_group(&mut w, 16, group, regex),
        }
        w.finish().expect("the request that carried the names has the same length limits")
    }
}

fn of_group(w: &mut Writer, version: i16, group: &str) {
    w.i16(version);
    w.string(group);
}

fn within_group(w: &mut Writer, version: i16, group: &str, name: &str) {
    of_group(w, version, group);
    w.string(name);
}

/// A committed offset of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetValue<'a> {
    /// The next offset that the group reads.
    pub offset: Offset,
    /// -1 if the client sent none.
    pub leader_epoch: LeaderEpoch,
    /// The client's metadata, unchanged.
    pub metadata: &'a str,
    /// The time of the commit.
    pub commit_timestamp_ms: i64,
    /// -1 if the broker's retention applies.
    pub expire_timestamp_ms: i64,
    /// Zero if the client sent the topic's name.
    pub topic_id: TopicId,
}

impl<'a> OffsetValue<'a> {
    /// Parses the value of a record, of any version.
    pub fn parse(bytes: &'a [u8]) -> Result<OffsetValue<'a>, Unreadable> {
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        let version = r.i16()?;
        if !(0..=4).contains(&version) {
            return Err(Unreadable::UnknownOffsetValue(version));
        }
        r.set_flexible(version >= 4);
        let mut value = OffsetValue {
            offset: Offset(r.i64()?),
            leader_epoch: if version >= 3 { LeaderEpoch(r.i32()?) } else { LeaderEpoch::UNKNOWN },
            metadata: r.string()?,
            commit_timestamp_ms: r.i64()?,
            expire_timestamp_ms: if version == 1 { r.i64()? } else { -1 },
            topic_id: TopicId::ZERO,
        };
        if version >= 4 {
            for _ in 0..r.tag_count()? {
                let (tag, mut content) = r.tag()?;
                if tag == 0 {
                    value.topic_id = content.uuid()?;
                }
            }
        }
        Ok(value)
    }

    /// The value in the version that Kafka writes.
    pub fn to_bytes(self) -> Vec<u8> {
        // Only version 1 has the expiry time. It lacks the leader epoch.
        let version = if self.expire_timestamp_ms >= 0 { 1 } else { 4 };
        let mut w = Writer::new(version, false);
        w.i16(version);
        w.set_flexible(version >= 4);
        w.i64(self.offset.0);
        if version >= 3 {
            w.i32(self.leader_epoch.0);
        }
        w.string(self.metadata);
        w.i64(self.commit_timestamp_ms);
        if version == 1 {
            w.i64(self.expire_timestamp_ms);
        } else if self.topic_id.is_zero() {
            w.tag_count(0);
        } else {
            w.tag_count(1);
            w.tag(0, |w| w.uuid(self.topic_id));
        }
        w.finish().expect("the metadata's length was checked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_equal_kafkas_byte_for_byte() {
        let key = Key::Offset { group: "g", topic: "to", partition: 7 };
        assert_eq!(hex(&key.to_bytes()), "0001000167".to_owned() + "0002746f" + "00000007");
        assert_eq!(hex(&Key::Group { group: "g" }.to_bytes()), "0002000167");
        let value = OffsetValue {
            offset: Offset(5),
            leader_epoch: LeaderEpoch(2),
            metadata: "m",
            commit_timestamp_ms: 9,
            expire_timestamp_ms: -1,
            topic_id: TopicId::ZERO,
        };
        assert_eq!(
            hex(&value.to_bytes()),
            "0004".to_owned() + "0000000000000005" + "00000002" + "026d" + "0000000000000009" + "00"
        );
        let by_id = OffsetValue { topic_id: TopicId([3; 16]), ..value };
        assert!(hex(&by_id.to_bytes()).ends_with(&("010010".to_owned() + &"03".repeat(16))));
        let expiring = OffsetValue { expire_timestamp_ms: 11, ..value };
        assert_eq!(
            hex(&expiring.to_bytes()),
            "0001".to_owned() + "0000000000000005" + "00016d" + "0000000000000009" + "000000000000000b"
        );
        for value in [value, by_id] {
            assert_eq!(OffsetValue::parse(&value.to_bytes()), Ok(value));
        }
        assert_eq!(
            OffsetValue::parse(&expiring.to_bytes()),
            Ok(OffsetValue { leader_epoch: LeaderEpoch(-1), ..expiring })
        );
        let (group, member, regex) = ("g", "m", "t.*");
        for key in [
            key,
            Key::Group { group },
            Key::ConsumerGroup { group },
            Key::SubscriptionMetadata { group },
            Key::Member { group, member },
            Key::Target { group },
            Key::MemberTarget { group, member },
            Key::MemberCurrent { group, member },
            Key::Regex { group, regex },
        ] {
            assert_eq!(Key::parse(&key.to_bytes()), Ok(key));
        }
        assert_eq!(hex(&Key::Regex { group, regex }.to_bytes()), "0010000167".to_owned() + "0003742e2a");
    }

    #[test]
    fn older_values_are_readable_and_newer_keys_are_reported() {
        let fields = [&5i64.to_be_bytes()[..], &[0, 1, b'm'], &9i64.to_be_bytes()].concat();
        for version in [0u8, 2] {
            let bytes = [&[0, version], &fields[..]].concat();
            let value = OffsetValue::parse(&bytes).unwrap();
            assert_eq!((value.offset, value.metadata, value.leader_epoch), (Offset(5), "m", LeaderEpoch(-1)));
        }
        assert_eq!(Key::parse(&[0, 9, 0]), Err(Unreadable::UnknownKey(9)));
        assert!(matches!(Key::parse(&[0]), Err(Unreadable::Malformed(_))));
        assert_eq!(OffsetValue::parse(&[0, 5]), Err(Unreadable::UnknownOffsetValue(5)));
    }
}
