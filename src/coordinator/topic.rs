//! The internal topics, in the shape that Kafka gives them.

use crate::config::BrokerConfig;
use crate::metadata::Image;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Internal {
    /// Groups: their members and what they have committed.
    ConsumerOffsets,
    /// Transactions.
    TransactionState,
}

impl Internal {
    pub const ALL: [Internal; 2] = [Internal::ConsumerOffsets, Internal::TransactionState];

    pub fn name(self) -> &'static str {
        match self {
            Internal::ConsumerOffsets => "__consumer_offsets",
            Internal::TransactionState => "__transaction_state",
        }
    }

    pub fn partitions(self, config: &BrokerConfig) -> usize {
        let partitions = match self {
            Internal::ConsumerOffsets => config.offsets_topic_num_partitions,
            Internal::TransactionState => config.transaction_state_log_num_partitions,
        };
        partitions as usize
    }

    /// As many as are configured, or as there are nodes: a small cluster works, and Kafka's default of 3 is for a large one.
    pub fn replicas(self, config: &BrokerConfig, image: &Image) -> usize {
        let wanted = match self {
            Internal::ConsumerOffsets => config.offsets_topic_replication_factor,
            Internal::TransactionState => config.transaction_state_log_replication_factor,
        };
        (wanted as usize).min(image.live_nodes().count()).max(1)
    }

    /// The topic's configuration, where it differs from other topics'.
    pub fn overrides(self, config: &BrokerConfig) -> Vec<(String, String)> {
        let pairs: &[(&str, String)] = match self {
            Internal::ConsumerOffsets => &[
                ("cleanup.policy", "compact".into()),
                ("compression.type", "producer".into()),
                ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
            ],
            Internal::TransactionState => &[
                ("cleanup.policy", "compact".into()),
                ("compression.type", "uncompressed".into()),
                ("min.insync.replicas", config.transaction_state_log_min_isr.to_string()),
                ("segment.bytes", config.transaction_state_log_segment_bytes.to_string()),
                ("unclean.leader.election.enable", "false".into()),
            ],
        };
        pairs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()
    }
}
