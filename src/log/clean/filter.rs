//! What of a batch survives compaction. Pure: Kafka's `Cleaner.cleanInto`, its decisions in its order.

use std::collections::HashMap;

use super::keys::Keys;
use super::transactions::Transactions;
use crate::log::aborted::AbortedTransaction;
use crate::model::{Offset, ProducerEpoch, ProducerId};
use crate::record::header::HEADER_BYTES;
use crate::record::records::Record;
use crate::record::retain;
use crate::record::walk::Batch;
use crate::record::{CodecError, Decompressor, RecordError, Records};

/// Where the producers that a partition remembers wrote last: the batch there keeps their sequence, or their epoch.
pub type LastRecords = HashMap<ProducerId, LastRecord>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRecord {
    /// `None` after a marker with nothing behind it.
    pub offset: Option<Offset>,
    pub epoch: ProducerEpoch,
}

/// What is to be done with a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays as it is.
    Whole,
    /// These bytes take its place.
    Part(Vec<u8>),
    Gone,
}

/// What is the same for every batch of a round.
pub struct Rules {
    pub keys: Keys,
    pub producers: LastRecords,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// Where the round ends. The last batch before it stays, if only by its header: it says where the next round begins.
    pub end: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("a record says that its offset is {0}")]
    Offset(Offset),
}

pub struct Filter {
    rules: Rules,
    pub transactions: Transactions,
    /// Of aborted transactions whose markers stay.
    pub aborted: Vec<AbortedTransaction>,
    decompressor: Decompressor,
    /// Which records of the batch at hand stay.
    stays: Vec<bool>,
}

impl Filter {
    pub fn new(rules: Rules, decompressor: Decompressor) -> Filter {
        Filter { rules, transactions: Transactions::default(), aborted: Vec::new(), decompressor, stays: Vec::new() }
    }

    /// Judges the next batch of the log.
    pub fn judge(&mut self, batch: &Batch<'_>) -> Result<Verdict, Unreadable> {
        let header = &batch.header;
        let plain = self.decompressor.records(header, batch.stored_records())?;
        let is_of_nothing = if header.is_control() {
            let (is_of_nothing, aborted) = self.transactions.control(header, plain);
            self.aborted.extend(aborted);
            is_of_nothing
        } else {
            self.transactions.batch(header)
        };
        let is_due = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.rules.now_ms);
        let discards = is_of_nothing && (!header.is_control() || is_due);
        let keeps_header = is_last_of_producer(&self.rules, batch) || header.next_offset() == self.rules.end;
        if discards && !keeps_header {
            return Ok(Verdict::Gone);
        }
        let (mut is_whole, mut has_tombstone, mut count) = (true, false, 0);
        self.stays.clear();
        for record in Records::new(header, plain) {
            let record = record?;
            let stays = !discards && (header.is_control() || stays(&self.rules, is_due, &record));
            self.stays.push(stays);
            is_whole &= stays;
            has_tombstone |= stays && record.value.is_none();
            count += usize::from(stays);
        }
        if count == 0 {
            return Ok(match keeps_header {
                true if batch.bytes.len() == HEADER_BYTES => Verdict::Whole,
                true => Verdict::Part(retain::empty(header).to_vec()),
                false => Verdict::Gone,
            });
        }
        // KIP-534: who reads from the beginning has delete.retention.ms to see a tombstone, counted from the first
        // compaction that leaves nothing of what it deletes: none whose map had no room for all of the batch's keys. Likewise
        // the marker of a transaction of which nothing is left.
        let is_known = header.last_offset() <= self.rules.keys.latest();
        let wants_horizon = (has_tombstone && is_known) || (is_of_nothing && header.is_control());
        let is_new = wants_horizon && header.delete_horizon_ms().is_none();
        if is_whole && !is_new {
            return Ok(Verdict::Whole);
        }
        let horizon = match is_new {
            true => Some(self.rules.now_ms.saturating_add(self.rules.delete_retention_ms)),
            false => header.delete_horizon_ms(),
        };
        let records = Records::new(header, plain).map(|record| record.expect("walked above"));
        let kept = records.zip(&self.stays).filter_map(|(record, stays)| stays.then_some(record));
        Ok(Verdict::Part(retain::with_records(header, kept, horizon)))
    }
}

fn is_last_of_producer(rules: &Rules, batch: &Batch<'_>) -> bool {
    let header = &batch.header;
    let last = header.has_producer().then(|| rules.producers.get(&header.producer_id)).flatten();
    last.is_some_and(|last| match last.offset {
        Some(offset) => header.last_offset() == offset,
        None => header.is_control() && header.producer_epoch == last.epoch,
    })
}

fn stays(rules: &Rules, is_due: bool, record: &Record<'_>) -> bool {
    if record.offset > rules.keys.latest() {
        return true;
    }
    // A record without a key is of a time when the topic was not compacted.
    let Some(key) = record.key else { return false };
    let is_latest = rules.keys.offset_of(key).is_none_or(|latest| record.offset >= latest);
    is_latest && (record.value.is_some() || !is_due)
}
