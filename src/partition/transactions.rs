//! The end of a transaction in this partition, and the proof that it has begun.
//!
//! A transactional batch is appended only when the log has one of the same transaction already, or when the transaction
//! coordinator has said that the partition is in it (KIP-890). Asking takes time, in which the coordinator may end that
//! transaction: a [`Verification`] is begun before it is asked, and a marker that ends the transaction meanwhile crosses it.
//! What it said then is worth nothing, or the batch would hang in the log with nobody left to end it.

use std::cell::Cell;
use std::rc::Rc;

use super::Partition;
use super::append::{AppendRefusal, Produced};
use super::producers::Membership;
use crate::disk::journal::Journal;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::record::control::Marker;
use crate::record::header::{HEADER_BYTES, TimestampType};

/// A question to the transaction coordinator that is under way, or answered and not used yet.
pub struct Verification {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    is_crossed: Cell<bool>,
}

impl Verification {
    /// What a batch may be appended with, now that the coordinator has said yes.
    pub fn membership(&self, is_v2: bool) -> Membership {
        if self.is_crossed.get() { Membership::ByLog } else { Membership::Verified { is_v2 } }
    }
}

/// The end of a producer's transaction, as its coordinator wants it in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub marker: Marker,
    /// Under `transaction.version=2`.
    pub is_v2: bool,
}

impl EndTransaction {
    /// Whether it may be the end of the producer's transaction with this epoch. Under version 2 the marker has the epoch
    /// behind it, so one with this very epoch belongs to the transaction before.
    fn ends(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        let first = if self.is_v2 { epoch.saturating_add(1) } else { epoch };
        self.producer_id == producer_id && self.producer_epoch >= first
    }
}

impl Partition {
    /// Whether the producer has, at exactly this epoch, an open transaction in this partition.
    pub fn has_open_transaction(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.producers.borrow().has_open(producer_id, epoch)
    }

    /// What a transactional batch needs before it is appended: `None` when the log shows that its transaction is open.
    pub fn begin_verification(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> Option<Rc<Verification>> {
        if self.has_open_transaction(producer_id, epoch) {
            return None;
        }
        let verification = Rc::new(Verification { producer_id, epoch, is_crossed: Cell::new(false) });
        let mut verifying = self.verifying.borrow_mut();
        verifying.retain(|other| other.strong_count() > 0);
        verifying.push(Rc::downgrade(&verification));
        Some(verification)
    }

    /// The batch of a marker, without its offset, and whether it may be appended.
    pub fn check_marker(&self, end: &EndTransaction) -> Result<(), AppendRefusal> {
        if self.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let judged = self.producers.borrow().check_marker(end.producer_id, end.producer_epoch, &end.marker, end.is_v2);
        judged.map_err(|refusal| AppendRefusal::new(refusal.error_code(), refusal.to_string()))
    }

    /// Appends the marker that ends a producer's transaction, or refuses it. There was room for it since the last await
    /// (PART-3).
    pub fn append_marker(
        &self,
        journal: &Journal,
        end: &EndTransaction,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        self.check_marker(end)?;
        let is_log_append_time = self.config().message_timestamp_type == TimestampType::LogAppendTime;
        let (header, records) = end.marker.batch(end.producer_id, end.producer_epoch, now_ms, is_log_append_time);
        let (offset, sequence) = self.put(journal, &header, &records, 0, now_ms);
        for verification in self.verifying.borrow().iter().filter_map(|verification| verification.upgrade()) {
            if end.ends(verification.producer_id, verification.epoch) {
                verification.is_crossed.set(true);
            }
        }
        let ended = self.producers.borrow_mut().ended(&header, &end.marker, offset, now_ms);
        if let Some(ended) = ended {
            self.ending.borrow_mut().push_back((ended.first_offset, offset));
            if let Some(aborted) = ended.aborted {
                self.log.note_aborted(aborted);
            }
        }
        Ok(Produced {
            base_offset: offset,
            last_offset: offset,
            log_append_time_ms: if is_log_append_time { now_ms } else { -1 },
            log_start_offset: self.log.start_offset(),
            sequence,
        })
    }
}

/// A marker's batch is no larger; what room is to be made for.
pub const MARKER_BYTES_MAX: usize = HEADER_BYTES + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::control::Ending;

    #[test]
    fn a_marker_crosses_the_transaction_that_it_may_end_and_not_the_one_behind_it() {
        let marker = Marker { ending: Ending::Abort, coordinator_epoch: 0 };
        for (marker_epoch, is_v2, is_end) in
            [(4, false, false), (5, false, true), (6, false, true), (4, true, false), (5, true, false), (6, true, true)]
        {
            let end = EndTransaction { producer_id: 7, producer_epoch: marker_epoch, marker, is_v2 };
            assert_eq!(end.ends(7, 5), is_end, "epoch {marker_epoch}, v2: {is_v2}");
            assert!(!end.ends(8, 5));
        }
    }
}
