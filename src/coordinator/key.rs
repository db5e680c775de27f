//! Maps a key (a group id, a transactional id) to its partition of the internal topic, as Kafka does. A data directory
//! of Kafka is therefore readable without a conversion.

use crate::model::PartitionIndex;

/// `Utils.abs(key.hashCode()) % partitions`, as Java computes it.
pub fn partition_of(key: &str, partitions: usize) -> PartitionIndex {
    assert!(partitions > 0);
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Not the absolute value: Integer.MIN_VALUE has none.
    (hash & i32::MAX) % partitions as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_maps_to_the_partition_that_kafka_chooses() {
        // The value of String.hashCode for each key, from a JVM.
        for (key, hash) in
            [("", 0), ("a", 97), ("my-group", -1_906_497_762), ("polygenelubricants", i32::MIN), ("ä€😀", 16_603_051)]
        {
            for partitions in [1, 7, 50] {
                assert_eq!(partition_of(key, partitions), (hash & i32::MAX) % partitions as i32, "{key}");
            }
        }
    }
}
