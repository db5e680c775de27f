//! Ids and offsets, as types that cannot be mixed up. Producer ids, producer epochs and partition indexes are aliases
//! of the integers in Kafka's schemas. Wire messages carry plain integers; `api` converts them.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A record's position in a partition: Kafka's offset, counted in records. Negative values are sentinels of the wire
/// format, such as -1 for "unknown".
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of a partition.
    pub const ZERO: Offset = Offset(0);
    /// "Unknown", or "no such offset", as the wire format writes it.
    pub const UNKNOWN: Offset = Offset(-1);
    /// Larger than every offset of a record.
    pub const MAX: Offset = Offset(i64::MAX);

    /// For offsets of batches that are not validated yet: an overflow must not panic.
    pub fn wrapping_add(self, records: i64) -> Offset {
        Offset(self.0.wrapping_add(records))
    }
}

/// The offset `records` records before.
impl Sub<i64> for Offset {
    type Output = Offset;

    fn sub(self, records: i64) -> Offset {
        Offset(self.0 - records)
    }
}

/// A byte in a segment's `.log` file, counted from its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl Position {
    /// The first byte of a segment.
    pub const ZERO: Position = Position(0);
}

/// Counts the leaderships of one partition. Each new leader has a higher epoch (KIP-101). -1 means unknown.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[serde(transparent)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// The epoch of a partition's first leader.
    pub const ZERO: LeaderEpoch = LeaderEpoch(0);
    /// "Unknown", as the wire format writes it.
    pub const UNKNOWN: LeaderEpoch = LeaderEpoch(-1);

    /// The epoch of the next leader.
    pub fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0 + 1)
    }
}

/// A point that moves by a number of `$unit`, which is also the distance between two points.
macro_rules! moves_by {
    ($($ty:ident: $unit:ty),*) => {$(
        impl Add<$unit> for $ty {
            type Output = $ty;

            fn add(self, distance: $unit) -> $ty {
                $ty(self.0 + distance)
            }
        }

        impl AddAssign<$unit> for $ty {
            fn add_assign(&mut self, distance: $unit) {
                self.0 += distance;
            }
        }

        impl Sub<$ty> for $ty {
            type Output = $unit;

            fn sub(self, from: $ty) -> $unit {
                self.0 - from.0
            }
        }
    )*};
}

moves_by!(Offset: i64, Position: u64);

macro_rules! display_as_number {
    ($($ty:ident),*) => {$(
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

display_as_number!(Offset, Position, LeaderEpoch);

/// Identifies an idempotent producer (KIP-98). -1 means none.
pub type ProducerId = i64;
/// Fences older instances of the same producer. -1 means none.
pub type ProducerEpoch = i16;
/// A partition's number within its topic, from 0.
pub type PartitionIndex = i32;

/// One process on one machine: the failure domain. 0..=2_000_000, so that broker ids fit an i32.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct NodeId(pub i32);

/// One core of a node, from 0. Never 1000 or more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u16);

/// The id of a broker as Kafka clients see it. In direct routing: node id x 1000 + shard.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct BrokerId(pub i32);

impl BrokerId {
    /// The most shards of a node, and the stride of broker ids.
    pub const SHARDS_PER_NODE_MAX: u16 = 1000;

    /// The id of a shard in direct routing.
    pub fn new(node: NodeId, shard: ShardId) -> BrokerId {
        assert!(shard.0 < Self::SHARDS_PER_NODE_MAX, "shard {} would have the broker id of another node", shard.0);
        BrokerId(node.0 * i32::from(Self::SHARDS_PER_NODE_MAX) + i32::from(shard.0))
    }

    /// The node of a broker in direct routing.
    pub fn node(self) -> NodeId {
        NodeId(self.0 / i32::from(Self::SHARDS_PER_NODE_MAX))
    }

    /// The shard of a broker in direct routing.
    pub fn shard(self) -> ShardId {
        ShardId((self.0 % i32::from(Self::SHARDS_PER_NODE_MAX)) as u16)
    }
}

/// The id of a topic (KIP-516). A recreated topic gets another one. 16 bytes, big-endian as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// All zero: "no id" on the wire.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// Whether it is [`Self::ZERO`], "no id".
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The 22-character URL-safe base64 that Kafka prints and stores in `partition.metadata`.
    pub fn from_base64(text: &str) -> Option<TopicId> {
        let mut value: u128 = 0;
        if text.len() != 22 {
            return None;
        }
        for (i, c) in text.bytes().enumerate() {
            let digit = u128::from(match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            });
            // 22 digits hold 132 bits; the last digit holds only two bits of the id.
            value = if i < 21 {
                (value << 6) | digit
            } else if digit & 15 == 0 {
                (value << 2) | (digit >> 4)
            } else {
                return None;
            };
        }
        Some(TopicId(value.to_be_bytes()))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = u128::from_be_bytes(self.0);
        for i in 0..21 {
            let shift = 122 - 6 * i;
            write!(f, "{}", DIGITS[((value >> shift) & 63) as usize] as char)?;
        }
        write!(f, "{}", DIGITS[((value & 3) << 4) as usize] as char)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A partition, identified by its topic's id and its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicPartition {
    /// The topic's id, which a topic of the same name that is created again does not have.
    pub topic: TopicId,
    /// The partition's index, from 0.
    pub partition: PartitionIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_prints_as_in_kafka_and_parses_back() {
        // The text of Kafka's Uuid.ONE_UUID.
        assert_eq!(TopicId(1u128.to_be_bytes()).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for value in [0u128, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = TopicId(value.to_be_bytes());
            assert_eq!(TopicId::from_base64(&id.to_string()), Some(id));
        }
        assert_eq!(TopicId::from_base64("AAAAAAAAAAAAAAAAAAAAAR"), None);
        assert_eq!(TopicId::from_base64("short"), None);
    }

    #[test]
    fn broker_id_is_node_times_1000_plus_shard() {
        let broker = BrokerId::new(NodeId(7), ShardId(3));
        assert_eq!(broker, BrokerId(7003));
        assert_eq!((broker.node(), broker.shard()), (NodeId(7), ShardId(3)));
    }
}
