//! Decides which records of a batch survive compaction: Kafka's `Cleaner.cleanInto`, with its decisions in its order.
//! Pure.

use std::collections::HashMap;

use super::keys::Keys;
use super::transactions::Transactions;
use crate::log::aborted::AbortedTransaction;
use crate::model::{Offset, ProducerEpoch, ProducerId};
use crate::record::header::{BatchHeader, HEADER_BYTES};
use crate::record::records::Record;
use crate::record::retain;
use crate::record::walk::Batch;
use crate::record::{CodecError, Decompressor, RecordError, Records};

/// The last records of a partition's remembered producers. Their batches keep the producers' sequences and epochs.
pub type LastRecords = HashMap<ProducerId, LastRecord>;

/// The offset of a producer's last record, and the producer's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRecord {
    /// `None` if a marker is the producer's last batch.
    pub offset: Option<Offset>,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
}

/// The decision about a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays unchanged.
    Keep,
    /// These bytes replace it.
    Rewrite(Vec<u8>),
    /// It is left out.
    Drop,
}

/// The inputs that are the same for every batch of a round.
pub struct Rules {
    /// The latest offset of each key.
    pub keys: Keys,
    /// The last records of remembered producers.
    pub producers: LastRecords,
    /// Wall time at the begin of the round.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// The end of the round, exclusive. The last batch before it keeps at least its header, so that the offset at which
    /// the next round starts exists.
    pub end: Offset,
}

/// Why a batch's records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The decompressed bytes are not records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record's offset is not in the range of its batch.
    #[error("a record has offset {0}, outside of its batch")]
    Offset(Offset),
}

/// Judges the batches of a round, in the log's order.
pub struct Filter {
    rules: Rules,
    /// The transactions at the current position.
    pub transactions: Transactions,
    /// Aborted transactions whose markers stay.
    pub aborted: Vec<AbortedTransaction>,
    decompressor: Decompressor,
    /// For each record of the current batch, whether it stays.
    stays: Vec<bool>,
}

impl Filter {
    /// A filter for one round.
    pub fn new(rules: Rules, decompressor: Decompressor) -> Filter {
        Filter { rules, transactions: Transactions::default(), aborted: Vec::new(), decompressor, stays: Vec::new() }
    }

    /// Judges the next batch of the log.
    ///
    /// # Errors
    /// If its records cannot be decompressed or parsed.
    pub fn judge(&mut self, batch: &Batch<'_>) -> Result<Verdict, Unreadable> {
        let verdict = self.decide(batch)?;
        let header = &batch.header;
        match &verdict {
            Verdict::Keep => {}
            Verdict::Rewrite(bytes) => {
                let kept = BatchHeader::decode(bytes).expect("a rewritten batch has a header");
                let (range, before) =
                    ((kept.base_offset, kept.last_offset()), (header.base_offset, header.last_offset()));
                assert_eq!(range, before, "CLEAN-1: the offsets of a batch never change");
                assert!(kept.records_count <= header.records_count, "a batch gains no records");
            }
            Verdict::Drop => {
                assert!(!is_last_of_producer(&self.rules, batch), "CLEAN-3: {header:?} is its producer's last batch");
                assert!(header.next_offset() != self.rules.end, "the round's last batch stays");
            }
        }
        Ok(verdict)
    }

    fn decide(&mut self, batch: &Batch<'_>) -> Result<Verdict, Unreadable> {
        let header = &batch.header;
        let plain = self.decompressor.records(header, batch.stored_records())?;
        let is_obsolete = if header.is_control() {
            let (is_obsolete, aborted) = self.transactions.control(header, plain);
            self.aborted.extend(aborted);
            is_obsolete
        } else {
            self.transactions.batch(header)
        };
        let is_due = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.rules.now_ms);
        let discards = is_obsolete && (!header.is_control() || is_due);
        let keeps_header = is_last_of_producer(&self.rules, batch) || header.next_offset() == self.rules.end;
        if discards && !keeps_header {
            return Ok(Verdict::Drop);
        }
        let (mut is_whole, mut has_tombstone, mut count) = (true, false, 0);
        self.stays.clear();
        for record in Records::new(header, plain) {
            let record = record?;
            let stays = !discards && (header.is_control() || stays(&self.rules, is_due, &record));
            let is_unknown = record.offset > self.rules.keys.latest();
            assert!(
                stays || discards || !is_unknown,
                "CLEAN-1: the map does not cover the record at {}",
                record.offset
            );
            self.stays.push(stays);
            is_whole &= stays;
            has_tombstone |= stays && record.value.is_none();
            count += usize::from(stays);
        }
        if count == 0 {
            return Ok(match keeps_header {
                true if batch.bytes.len() == HEADER_BYTES => Verdict::Keep,
                true => Verdict::Rewrite(retain::empty(header).to_vec()),
                false => Verdict::Drop,
            });
        }
        // KIP-534: a reader from the beginning has delete.retention.ms to see a tombstone. The time counts from the
        // first compaction that leaves no record that the tombstone deletes; its map must cover all keys of the batch.
        // The same holds for the marker of a transaction of which no record is left.
        let is_known = header.last_offset() <= self.rules.keys.latest();
        let wants_horizon = (has_tombstone && is_known) || (is_obsolete && header.is_control());
        let is_new = wants_horizon && header.delete_horizon_ms().is_none();
        if is_whole && !is_new {
            return Ok(Verdict::Keep);
        }
        let horizon = match is_new {
            true => Some(self.rules.now_ms.saturating_add(self.rules.delete_retention_ms)),
            false => header.delete_horizon_ms(),
        };
        let is_early = is_new && horizon.is_some_and(|horizon| horizon < self.rules.now_ms);
        assert!(!is_early, "CLEAN-2: a delete horizon of {horizon:?} at {} ms", self.rules.now_ms);
        let records = Records::new(header, plain).map(|record| record.expect("walked above"));
        let kept = records.zip(&self.stays).filter_map(|(record, stays)| stays.then_some(record));
        Ok(Verdict::Rewrite(retain::with_records(header, kept, horizon)))
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
    // A record without a key was written before the topic was compacted.
    let Some(key) = record.key else { return false };
    let is_latest = rules.keys.offset_of(key).is_none_or(|latest| record.offset >= latest);
    is_latest && (record.value.is_some() || !is_due)
}
