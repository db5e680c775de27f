//! Verifies that a transaction includes this partition, and ends transactions with markers.
//!
//! A transactional batch is appended only if the log already has a batch of the same transaction, or if the coordinator
//! confirms that the partition is in the transaction (KIP-890). The coordinator may end the transaction before its
//! confirmation arrives. So a [`Verification`] begins before the request to the coordinator, and a marker that ends the
//! transaction meanwhile invalidates it. Otherwise the batch would hang in the log: no marker would ever end it.

use std::cell::Cell;
use std::rc::Rc;

use super::append::{AppendRefusal, Produced};
use super::producers::Membership;
use super::{EndingTransaction, Partition};
use crate::disk::journal::Journal;
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::record::control::Marker;
use crate::record::header::{HEADER_BYTES, TimestampType};

/// A request to the transaction coordinator whose response is pending, or has arrived and is not used yet.
pub struct Verification {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    /// A marker has ended the transaction since the verification began.
    is_invalidated: Cell<bool>,
}

impl Verification {
    /// The proof that a batch is appended with, once the coordinator has confirmed.
    pub fn membership(&self, is_v2: bool) -> Membership {
        if self.is_invalidated.get() { Membership::ByLog } else { Membership::Verified { is_v2 } }
    }
}

/// A coordinator's request to end a producer's transaction in this partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTransaction {
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch in the marker.
    pub producer_epoch: ProducerEpoch,
    /// Commit or abort, and the coordinator's epoch.
    pub marker: Marker,
    /// The transaction follows `transaction.version=2`.
    pub is_v2: bool,
}

impl EndTransaction {
    /// Whether the marker may end the producer's transaction of this epoch. Under version 2 a marker has the epoch
    /// after the transaction's, so a marker of exactly this epoch ended the transaction before.
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

    /// Begins the verification that a transactional batch needs. `None`: the log shows that its transaction is open.
    pub fn begin_verification(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> Option<Rc<Verification>> {
        if self.has_open_transaction(producer_id, epoch) {
            return None;
        }
        let verification = Rc::new(Verification { producer_id, epoch, is_invalidated: Cell::new(false) });
        let mut verifications = self.verifications.borrow_mut();
        verifications.retain(|other| other.strong_count() > 0);
        verifications.push(Rc::downgrade(&verification));
        Some(verification)
    }

    /// Whether the marker may be appended.
    pub fn check_marker(&self, end: &EndTransaction) -> Result<(), AppendRefusal> {
        if self.is_deleted() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let checked = self.producers.borrow().check_marker(end.producer_id, end.producer_epoch, &end.marker, end.is_v2);
        checked.map_err(|refusal| AppendRefusal::new(refusal.error_code(), refusal.to_string()))
    }

    /// Appends the marker that ends a producer's transaction, or refuses it. [`has_room`](Self::has_room) was true for
    /// [`MARKER_BYTES_MAX`] since the last await (PART-3).
    pub fn append_marker(
        &self,
        journal: &Journal,
        end: &EndTransaction,
        now_ms: i64,
    ) -> Result<Produced, AppendRefusal> {
        self.check_marker(end)?;
        let is_log_append_time = self.config().message_timestamp_type == TimestampType::LogAppendTime;
        let (header, records) = end.marker.batch(end.producer_id, end.producer_epoch, now_ms, is_log_append_time);
        assert!(header.total_bytes() <= MARKER_BYTES_MAX, "the caller reserved enough for a marker");
        let (offset, sequence) = self.append_batch(journal, &header, &records, 0, now_ms);
        for verification in self.verifications.borrow().iter().filter_map(|verification| verification.upgrade()) {
            if end.ends(verification.producer_id, verification.epoch) {
                verification.is_invalidated.set(true);
            }
        }
        let ended = self.producers.borrow_mut().record_marker(&header, &end.marker, offset, now_ms);
        if let Some(ended) = ended {
            let mut ending = self.ending.borrow_mut();
            let is_ascending = ending.back().is_none_or(|last| last.marker_offset < offset);
            assert!(is_ascending, "PART-4: markers are in the order of their offsets");
            ending.push_back(EndingTransaction { first_offset: ended.first_offset, marker_offset: offset });
            drop(ending);
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

/// The most bytes that a marker's batch takes.
pub const MARKER_BYTES_MAX: usize = HEADER_BYTES + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::control::Ending;

    #[test]
    fn marker_invalidates_only_the_transaction_that_it_may_end() {
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
