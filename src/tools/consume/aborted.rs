//! Skips the records of aborted transactions in the result of one fetch (KIP-98).

use crate::model::ProducerId;
use crate::record::BatchHeader;
use crate::record::control::{Ending, Marker};
use crate::wire::data::fetch::AbortedTransaction;
use std::collections::BTreeSet;

/// The aborted transactions of one partition in one fetch. Batches must come in the order of their offsets.
pub struct Aborted {
    /// Transactions that begin behind the batches so far; the next one is the last element.
    later: Vec<AbortedTransaction>,
    /// The producers whose transactions are open at the current batch and will be aborted.
    open: BTreeSet<ProducerId>,
}

impl Aborted {
    /// `listed` is empty for a fetch that is not `read_committed`.
    pub fn new(listed: &[AbortedTransaction]) -> Aborted {
        let mut later = listed.to_vec();
        later.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Aborted { later, open: BTreeSet::new() }
    }

    /// Whether the batch has no records to print: it is a marker, or its transaction is aborted.
    pub fn skips(&mut self, header: &BatchHeader, stored: &[u8]) -> bool {
        while let Some(next) = self.later.pop_if(|next| next.first_offset <= header.last_offset().0) {
            self.open.insert(next.producer_id);
        }
        if header.is_control() {
            if Marker::parse(header, stored).is_some_and(|marker| marker.ending == Ending::Abort) {
                self.open.remove(&header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.open.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Offset;

    /// A batch of one record, or a marker.
    fn batch(offset: i64, producer_id: ProducerId, ending: Option<Ending>) -> (BatchHeader, Vec<u8>) {
        let marker = Marker { ending: ending.unwrap_or(Ending::Commit), coordinator_epoch: 0 };
        let (mut header, stored) = marker.batch(producer_id, 0, 1000, false);
        header.base_offset = Offset(offset);
        if ending.is_none() {
            header.attributes = crate::record::header::attributes(
                crate::record::Codec::None,
                crate::record::TimestampType::CreateTime,
                true,
                false,
            );
        }
        (header, stored)
    }

    #[test]
    fn records_between_the_start_and_the_marker_of_an_aborted_transaction_are_skipped() {
        let listed = [
            AbortedTransaction { producer_id: 7, first_offset: 5 },
            AbortedTransaction { producer_id: 7, first_offset: 1 },
        ];
        let mut aborted = Aborted::new(&listed);
        for (offset, producer_id, ending, is_skipped) in [
            (0, 7, None, false),
            (1, 7, None, true),
            (2, 8, None, false),
            (3, 7, Some(Ending::Abort), true),
            (4, 7, None, false),
            (5, 7, None, true),
            (6, 8, Some(Ending::Commit), true),
            (7, 7, None, true),
            (8, 7, Some(Ending::Abort), true),
            (9, 7, None, false),
        ] {
            let (header, stored) = batch(offset, producer_id, ending);
            assert_eq!(aborted.skips(&header, &stored), is_skipped, "{offset}");
        }
    }
}
