//! The features that a cluster finalizes (KIP-584), with the levels that this version supports.

/// One feature. Its finalized level is `highest`, because no cluster has older brokers.
pub(in crate::api) struct Feature {
    pub name: &'static str,
    pub lowest: i16,
    pub highest: i16,
}

pub(in crate::api) const FEATURES: &[Feature] = &[
    // Level 1 is KIP-848: the coordinator assigns partitions.
    Feature { name: "group.version", lowest: 0, highest: 1 },
    // The level of Kafka's metadata records, 3.3-IV3 to 4.4-IV2. Consoles derive Kafka's version from it.
    Feature { name: "metadata.version", lowest: 7, highest: 33 },
    // Level 2 is KIP-890: the end of a transaction bumps the epoch, and a Produce request adds its partitions.
    Feature { name: "transaction.version", lowest: 0, highest: 2 },
];
