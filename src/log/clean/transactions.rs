//! Decides which transactional batches and markers compaction may drop: Kafka's `CleanedTransactionMetadata`.
//!
//! Records of aborted transactions are dropped at once. A marker is dropped when no batch of its transaction is left,
//! but not before its delete horizon: a reader of one of the batches must read the marker too. The caller passes
//! batches in the log's order, and aborted transactions before their batches.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::log::aborted::AbortedTransaction;
use crate::model::{Offset, ProducerId};
use crate::record::control::{Ending, Marker};
use crate::record::header::BatchHeader;

/// The transactions at the current position of a round.
#[derive(Default)]
pub struct Transactions {
    /// Aborted transactions that begin behind the current position, by first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Open aborted transactions. The value is true once a batch of the transaction was read.
    aborted: HashMap<ProducerId, (AbortedTransaction, bool)>,
    /// Producers with an open transaction that will be committed, of which a batch was read.
    committed: HashSet<ProducerId>,
}

impl Transactions {
    /// Sets the aborted transactions that reach into the next segments, from `base` on. Forgets those that end below:
    /// retention may have removed segments in between, and their markers.
    pub fn expect(&mut self, base: Offset, aborted: &[AbortedTransaction]) {
        self.ahead.retain(|transaction| transaction.last_offset >= base);
        self.aborted.retain(|_, (transaction, _)| transaction.last_offset >= base);
        self.ahead.extend(aborted);
        self.ahead.make_contiguous().sort_by_key(|transaction| transaction.first_offset);
        debug_assert!(
            self.ahead.iter().all(|transaction| transaction.last_offset >= base),
            "they end at or above {base}"
        );
    }

    /// Notes the next batch of records. Returns whether its transaction was aborted.
    pub fn batch(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, is_seen)) => {
                *is_seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Notes the next control batch, with its records. Returns whether no batch of its transaction is left. If one is
    /// left and the transaction was aborted, also returns the transaction, which must stay in the index.
    pub fn control(&mut self, header: &BatchHeader, records: &[u8]) -> (bool, Option<AbortedTransaction>) {
        self.begin_up_to(header.last_offset());
        if header.records_count == 0 {
            // An earlier compaction has dropped its record.
            return (true, None);
        }
        match Marker::parse(header, records).map(|marker| marker.ending) {
            Some(Ending::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((transaction, true)) => (false, Some(transaction)),
                _ => (true, None),
            },
            Some(Ending::Commit) => (!self.committed.remove(&header.producer_id), None),
            None => (false, None),
        }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while self.ahead.front().is_some_and(|transaction| transaction.first_offset <= offset) {
            let transaction = self.ahead.pop_front().expect("checked above");
            // A transaction over several segments is passed with each of them.
            self.aborted.entry(transaction.producer_id).or_insert((transaction, false));
        }
    }
}
