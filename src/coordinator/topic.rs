//! The internal topics and their settings, as Kafka creates them.

use crate::config::BrokerConfig;
use crate::metadata::Image;

/// An internal topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InternalTopic {
    /// Groups: their members and their committed offsets.
    ConsumerOffsets,
    /// Transactional ids: their producers and their transactions.
    TransactionState,
}

impl InternalTopic {
    /// All internal topics.
    pub const ALL: [InternalTopic; 2] = [InternalTopic::ConsumerOffsets, InternalTopic::TransactionState];

    /// The topic's name.
    pub fn name(self) -> &'static str {
        match self {
            InternalTopic::ConsumerOffsets => "__consumer_offsets",
            InternalTopic::TransactionState => "__transaction_state",
        }
    }

    /// The configured number of partitions.
    pub fn partitions(self, config: &BrokerConfig) -> usize {
        let partitions = match self {
            InternalTopic::ConsumerOffsets => config.offsets_topic_num_partitions,
            InternalTopic::TransactionState => config.transaction_state_log_num_partitions,
        };
        partitions as usize
    }

    /// The configured replication factor, at most the number of live nodes: Kafka's default of 3 must not break a small
    /// cluster.
    pub fn replicas(self, config: &BrokerConfig, image: &Image) -> usize {
        let wanted = match self {
            InternalTopic::ConsumerOffsets => config.offsets_topic_replication_factor,
            InternalTopic::TransactionState => config.transaction_state_log_replication_factor,
        };
        (wanted as usize).min(image.live_nodes().count()).max(1)
    }

    /// The topic's settings that differ from the defaults.
    pub fn overrides(self, config: &BrokerConfig) -> Vec<(String, String)> {
        let pairs: &[(&str, String)] = match self {
            InternalTopic::ConsumerOffsets => &[
                ("cleanup.policy", "compact".into()),
                ("compression.type", "producer".into()),
                ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
            ],
            InternalTopic::TransactionState => &[
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
