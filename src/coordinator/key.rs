//! From a key (a group's id, a transactional id) to its partition of the internal topic. Kafka's way, so that a data directory
//! of Kafka's is read as it was written.

use crate::model::PartitionIndex;

/// `Utils.abs(key.hashCode()) % partitions`, as Java computes it.
pub fn partition_of(key: &str, partitions: usize) -> PartitionIndex {
    assert!(partitions > 0);
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Not the absolute value: of Integer.MIN_VALUE there is none.
    (hash & i32::MAX) % partitions as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_where_kafka_puts_it() {
        // String.hashCode of each, from a JVM.
        for (key, hash) in
            [("", 0), ("a", 97), ("my-group", -1_906_497_762), ("polygenelubricants", i32::MIN), ("ä€😀", 16_603_051)]
        {
            for partitions in [1, 7, 50] {
                assert_eq!(partition_of(key, partitions), (hash & i32::MAX) % partitions as i32, "{key}");
            }
        }
    }
}
