//! A group's offsets by topic and partition: committed ones, and those of open transactions (KIP-447).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::record::OffsetValue;
use crate::model::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};

/// One committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The next offset that the group reads.
    pub offset: Offset,
    /// -1 if the client sent none.
    pub leader_epoch: LeaderEpoch,
    /// The client's metadata, unchanged.
    pub metadata: Box<str>,
    /// The time of the commit.
    pub commit_timestamp_ms: i64,
    /// -1 if the broker's retention applies.
    pub expire_timestamp_ms: i64,
    /// Zero if the client sent the topic's name.
    pub topic_id: TopicId,
    /// The offset of its record. The later record of two commits wins, even if its transaction ends first.
    pub record_offset: Offset,
}

impl CommittedOffset {
    /// The offset of a record, which lies at `record_offset`.
    pub fn new(value: &OffsetValue<'_>, record_offset: Offset) -> CommittedOffset {
        CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_timestamp_ms: value.commit_timestamp_ms,
            expire_timestamp_ms: value.expire_timestamp_ms,
            topic_id: value.topic_id,
            record_offset,
        }
    }
}

/// The offsets of one topic.
pub type ByPartition = HashMap<PartitionIndex, CommittedOffset, BuildHasherDefault<PartitionHasher>>;

/// Hashes a partition index with one multiplication: a restart with a million offsets hashes each. Clients cannot
/// choose colliding indexes, because a topic's partitions are numbered from 0 without gaps.
#[derive(Clone, Default)]
pub struct PartitionHasher(u64);

impl Hasher for PartitionHasher {
    fn write_i32(&mut self, index: i32) {
        self.0 = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only partition indexes are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Offsets by topic and partition. It has no topics without offsets.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OffsetTable {
    topics: HashMap<Box<str>, ByPartition>,
}

impl OffsetTable {
    /// The offset of a partition.
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Whether it has no offsets.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Adds an offset, or replaces the partition's earlier one.
    pub fn insert(&mut self, topic: &str, partition: PartitionIndex, committed: CommittedOffset) {
        match self.topics.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, committed)),
            None => drop(self.topics.insert(topic.into(), ByPartition::from_iter([(partition, committed)]))),
        }
    }

    /// Removes the offset of a partition.
    pub fn remove(&mut self, topic: &str, partition: PartitionIndex) {
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Topics and their offsets, unordered.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &ByPartition)> {
        self.topics.iter().map(|(topic, partitions)| (&**topic, partitions))
    }

    /// The partitions of a topic that have an offset.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = PartitionIndex> {
        self.topics.get(topic).into_iter().flat_map(|partitions| partitions.keys().copied())
    }

    /// All offsets, unordered.
    pub fn all(&self) -> impl Iterator<Item = (&str, PartitionIndex, &CommittedOffset)> {
        self.topics()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |(at, committed)| (topic, *at, committed)))
    }
}

/// All offsets of a group: committed, and pending in open transactions.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// Offsets that a fetch returns.
    pub committed: OffsetTable,
    /// By producer. A fetch does not return them before the transaction commits.
    pub pending: HashMap<ProducerId, OffsetTable>,
}

impl Offsets {
    /// Whether there are neither committed nor pending offsets.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// Whether an open transaction has an offset for this partition (`require_stable`).
    pub fn is_unstable(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.pending.values().any(|table| table.get(topic, partition).is_some())
    }

    /// Whether a tombstone for this offset would have an effect.
    pub fn has(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.committed.get(topic, partition).is_some() || self.is_unstable(topic, partition)
    }

    /// Removes the offsets of a partition, committed and pending.
    pub fn remove(&mut self, topic: &str, partition: PartitionIndex) {
        self.committed.remove(topic, partition);
        self.pending.retain(|_, table| {
            table.remove(topic, partition);
            !table.is_empty()
        });
    }

    /// Each partition that needs a tombstone to remove all offsets, once.
    pub fn all(&self) -> Vec<(Box<str>, PartitionIndex)> {
        let pending = self.pending.values().flat_map(OffsetTable::all);
        let only_pending = pending.filter(|(topic, at, _)| self.committed.get(topic, *at).is_none());
        let mut all: Vec<_> =
            self.committed.all().chain(only_pending).map(|(topic, at, _)| (Box::from(topic), at)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A producer's transaction has ended.
    pub fn end_transaction(&mut self, producer: ProducerId, is_committed: bool) {
        let Some(table) = self.pending.remove(&producer) else { return };
        if !is_committed {
            return;
        }
        for (topic, partitions) in table.topics {
            for (partition, committed) in partitions {
                let current = self.committed.get(&topic, partition);
                if current.is_none_or(|current| committed.record_offset > current.record_offset) {
                    self.committed.insert(&topic, partition, committed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(offset: i64, record_offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(-1),
            metadata: "".into(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: -1,
            topic_id: TopicId::ZERO,
            record_offset: Offset(record_offset),
        }
    }

    #[test]
    fn the_later_record_of_a_plain_and_a_transactional_commit_wins() {
        for (plain_at, pending_at, is_committed, expected) in
            [(1, 2, true, 20), (2, 1, true, 10), (1, 2, false, 10), (2, 1, false, 10)]
        {
            let mut offsets = Offsets::default();
            offsets.committed.insert("t", 0, committed(10, plain_at));
            offsets.pending.entry(7).or_default().insert("t", 0, committed(20, pending_at));
            assert!(offsets.is_unstable("t", 0) && !offsets.is_unstable("t", 1));
            offsets.end_transaction(7, is_committed);
            assert_eq!(offsets.committed.get("t", 0).unwrap().offset, Offset(expected));
            assert!(!offsets.is_unstable("t", 0));
        }
    }

    #[test]
    fn a_removed_offset_is_removed_from_open_transactions_too() {
        let mut offsets = Offsets::default();
        offsets.pending.entry(7).or_default().insert("t", 0, committed(20, 1));
        offsets.committed.insert("t", 0, committed(1, 0));
        offsets.committed.insert("u", 3, committed(1, 2));
        assert_eq!(offsets.all(), [("t".into(), 0), ("u".into(), 3)]);
        offsets.remove("t", 0);
        assert!(!offsets.has("t", 0));
        assert!(offsets.pending.is_empty(), "nothing of the transaction is left");
        offsets.end_transaction(7, true);
        assert_eq!(offsets.all(), [("u".into(), 3)]);
    }
}
