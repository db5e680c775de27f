//! Finds the end offset of a leader epoch, for Kafka's OffsetForLeaderEpoch.

use super::Partition;
use crate::model::{LeaderEpoch, Offset};

impl Partition {
    /// The largest epoch up to `epoch` that has records, and its end offset; `None` when no such epoch is known.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (epochs, log_end, current) = (self.log.epochs(), self.log.end_offset(), self.leader_epoch());
        // KIP-101: epochs without an append since the last record end at the log's end. These are the leader's own
        // epoch, and earlier ones, for which the last epoch that has records is returned.
        epochs.end_offset_for(epoch, log_end).or_else(|| {
            let written = epochs.entries().last().map(|(epoch, _)| *epoch).filter(|_| epoch < current);
            (LeaderEpoch::ZERO..=current).contains(&epoch).then(|| (written.unwrap_or(epoch), log_end))
        })
    }
}
