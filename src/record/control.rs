//! Transaction markers: the control batches with which a coordinator ends a transaction in a partition (KIP-98).
//!
//! A marker is a batch of one record, transactional, never compressed, with the producer's id and epoch and no
//! sequence:
//!
//! | | bytes | field | |
//! |---|---:|---|---|
//! | key | 2 | version | 0 |
//! | | 2 | type | 0 abort, 1 commit; a partition ignores others |
//! | value | 2 | version | 0 |
//! | | 4 | coordinator epoch | markers of an older coordinator are rejected |

use crate::model::{ProducerEpoch, ProducerId};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::header::BatchHeader;
use crate::record::records::Records;

/// The end of a transaction: commit or abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The transaction's records are never visible to read-committed consumers.
    Abort,
    /// The transaction's records become visible.
    Commit,
}

/// The content of a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Commit or abort.
    pub ending: Ending,
    /// The epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// The marker in a control batch. `None` if the batch is of another type, or if compaction removed its record.
    /// `stored` are the bytes after the header.
    pub fn parse(header: &BatchHeader, stored: &[u8]) -> Option<Marker> {
        if !header.is_control() {
            return None;
        }
        let record = Records::new(header, stored).next()?.ok()?;
        let (key, value) = (record.key?, record.value?);
        let i16_at = |bytes: &[u8], at: usize| Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        if i16_at(key, 0)? < 0 || i16_at(value, 0)? < 0 {
            return None;
        }
        let ending = match i16_at(key, 2)? {
            0 => Ending::Abort,
            1 => Ending::Commit,
            _ => return None,
        };
        Some(Marker { ending, coordinator_epoch: i32::from_be_bytes(value.get(2..6)?.try_into().ok()?) })
    }

    /// The batch of the marker: header and stored records. `is_log_append_time`: the topic uses LogAppendTime.
    pub fn batch(
        &self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        now_ms: i64,
        is_log_append_time: bool,
    ) -> (BatchHeader, Vec<u8>) {
        let mut builder = BatchBuilder::new(BatchOptions {
            is_transactional: true,
            is_control: true,
            producer_id,
            producer_epoch,
            log_append_time_ms: is_log_append_time.then_some(now_ms),
            ..BatchOptions::default()
        });
        let key = [0, 0, 0, (self.ending == Ending::Commit).into()];
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        builder.append(now_ms, Some(&key), Some(&value), []);
        builder.finish_apart()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_72_a_marker_equals_kafkas_control_batch() {
        let marker = Marker { ending: Ending::Commit, coordinator_epoch: 0x0102_0304 };
        let (header, records) = marker.batch(7, 3, 1000, false);
        assert_eq!((header.attributes, header.records_count, header.base_sequence), (0x30, 1, -1));
        assert_eq!((header.producer_id, header.producer_epoch, header.max_timestamp), (7, 3, 1000));
        // Length 16; attributes, deltas; the key's 4 bytes, the value's 6; no headers.
        let expected = [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 1, 2, 3, 4, 0];
        assert_eq!(records, expected);
        assert_eq!(Marker::parse(&header, &records), Some(marker));
        let abort = Marker { ending: Ending::Abort, coordinator_epoch: -1 };
        let (header, records) = abort.batch(7, 3, 1000, true);
        assert_eq!((header.attributes, Marker::parse(&header, &records)), (0x38, Some(abort)));
    }

    #[test]
    fn a_batch_without_a_marker_parses_to_none() {
        let (header, records) = Marker { ending: Ending::Commit, coordinator_epoch: 1 }.batch(7, 3, 1000, false);
        let data = BatchHeader { attributes: 0x10, ..header };
        assert_eq!(Marker::parse(&data, &records), None, "not a control batch");
        for cut in 0..records.len() {
            assert_eq!(Marker::parse(&header, &records[..cut]), None, "cut at {cut}");
        }
        let mut other_type = records.clone();
        other_type[8] = 2;
        assert_eq!(Marker::parse(&header, &other_type), None, "a leader change");
        let emptied = BatchHeader { records_count: 0, ..header };
        assert_eq!(Marker::parse(&emptied, &[]), None, "compaction removed the record");
    }
}
