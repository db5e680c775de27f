//! Derives the shard of a node that owns a partition. No record stores the owner: every shard and every node derives
//! the same one.

use crate::model::{PartitionIndex, ShardId, TopicId};

/// The shard, out of `shards`, that owns a partition on any node that has a replica of it. A topic's id selects the
/// shard of partition 0, and the next partitions go to the next shards, so that a few partitions already use many
/// cores.
pub fn shard_of(topic: TopicId, partition: PartitionIndex, shards: u16) -> ShardId {
    assert!(shards > 0 && partition >= 0);
    let start = spread(u128::from_be_bytes(topic.0)) % u64::from(shards);
    ShardId(((start + partition as u64) % u64::from(shards)) as u16)
}

/// The shard of partition 0 in a topic whose partition `index` is on `shard`.
pub fn shard_before(shard: ShardId, index: usize, shards: u16) -> ShardId {
    assert!(shard.0 < shards);
    let back = index % usize::from(shards);
    ShardId(((usize::from(shard.0) + usize::from(shards) - back) % usize::from(shards)) as u16)
}

/// Mixes all bits of an id into all bits of the result (the finalizer of SplitMix64): the low bits of ids that other
/// software generated need not be random.
fn spread(id: u128) -> u64 {
    let mut mixed = (id as u64) ^ ((id >> 64) as u64).rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_take_consecutive_shards() {
        for shards in [1, 2, 3, 7, 64, 1000] {
            let topic = TopicId([7; 16]);
            let first = shard_of(topic, 0, shards).0;
            for partition in 0..3000 {
                let expected = (u32::from(first) + partition as u32) % u32::from(shards);
                let shard = shard_of(topic, partition, shards);
                assert_eq!(u32::from(shard.0), expected);
                assert_eq!(shard_before(shard, partition as usize, shards).0, first);
            }
        }
    }

    #[test]
    fn topics_of_one_partition_spread_over_the_shards() {
        // Consecutive ids spread too.
        let mut owned = [0u32; 8];
        for id in 0..8000u128 {
            owned[usize::from(shard_of(TopicId(id.to_be_bytes()), 0, 8).0)] += 1;
        }
        assert!(owned.iter().all(|count| (800..1200).contains(count)), "{owned:?}");
    }

    #[test]
    fn the_owner_never_changes_between_releases() {
        // The owner's checkpoint and journal cover the partition: another result would look for them in the wrong
        // shard.
        let id = TopicId(0x0123_4567_89ab_cdef_0011_2233_4455_6677u128.to_be_bytes());
        assert_eq!([0, 1, 2].map(|partition| shard_of(id, partition, 5).0), [4, 0, 1]);
    }
}
