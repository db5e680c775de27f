//! Which transactional batches and markers compaction may take: Kafka's `CleanedTransactionMetadata`.
//!
//! Records of aborted transactions go at once. A marker goes when no batch of its transaction is left, and then no
//! earlier than its delete horizon, so that who read one of the batches reads the marker too. Batches are told of in the
//! log's order, aborted transactions before the batches that they may be of.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::log::aborted::AbortedTransaction;
use crate::model::{Offset, ProducerId};
use crate::record::control::{Ending, Marker};
use crate::record::header::BatchHeader;

#[derive(Default)]
pub struct Transactions {
    /// Not begun yet, by first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Each with whether a batch of it was seen.
    aborted: HashMap<ProducerId, (AbortedTransaction, bool)>,
    /// Of which a batch was seen.
    committed: HashSet<ProducerId>,
}

impl Transactions {
    /// The aborted transactions that reach into the stretch which comes now, from `base` on. Of what lies between it and the
    /// stretch before, segments may have gone meanwhile, and markers with them.
    pub fn expect(&mut self, base: Offset, aborted: &[AbortedTransaction]) {
        self.ahead.retain(|transaction| transaction.last_offset >= base);
        self.aborted.retain(|_, (transaction, _)| transaction.last_offset >= base);
        self.ahead.extend(aborted);
        self.ahead.make_contiguous().sort_by_key(|transaction| transaction.first_offset);
    }

    /// A batch of records comes; whether it is of an aborted transaction.
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

    /// A control batch comes, with these records. Whether nothing of its transaction is left, and the aborted transaction
    /// that it ends when something is: it must stay in the index.
    pub fn control(&mut self, header: &BatchHeader, records: &[u8]) -> (bool, Option<AbortedTransaction>) {
        self.begin_up_to(header.last_offset());
        if header.records_count == 0 {
            // An earlier compaction has emptied it.
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
            let transaction = self.ahead.pop_front().expect("looked at just now");
            // A transaction over several segments is told of by each.
            self.aborted.entry(transaction.producer_id).or_insert((transaction, false));
        }
    }
}
