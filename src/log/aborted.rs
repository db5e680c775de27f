//! A segment's aborted transactions, byte for byte Kafka's `.txnindex`.
//!
//! ```text
//! 34 bytes an entry, big-endian: i16 version (0), i64 producer id, i64 first offset, i64 last offset, i64 last stable offset
//! ```
//! The entry of a transaction lies in the segment of its marker, whose offset is the last one. The last stable offset is
//! what the partition's became by it: what lies below cannot overlap any transaction that is aborted later. A segment
//! without aborted transactions has no file. Unlike the other indexes, this one is flushed before a checkpoint counts on
//! it; what does not check out is rebuilt from the `.log`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Offset, ProducerId};
use crate::record::BatchHeader;
use crate::record::control::{Ending, Marker};

pub const ENTRY_BYTES: usize = 34;

const _: () = assert!(ENTRY_BYTES == 2 + 8 + 8 + 8 + 8);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// The marker's.
    pub last_offset: Offset,
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    /// Whether a reader of `from..to` meets records of it.
    pub fn overlaps(&self, from: Offset, to: Offset) -> bool {
        self.last_offset >= from && self.first_offset < to
    }
}

/// The bytes of these entries.
pub fn render(entries: &[AbortedTransaction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&0i16.to_be_bytes());
        for field in [entry.producer_id, entry.first_offset, entry.last_offset, entry.last_stable_offset] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
    }
    bytes
}

/// Reads a file's bytes; says what is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, String> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err("its length is not a whole number of entries".into());
    }
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        if version != 0 {
            return Err(format!("an entry is of version {version}"));
        }
        let i64_at = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
        let entry = AbortedTransaction {
            producer_id: i64_at(2),
            first_offset: i64_at(10),
            last_offset: i64_at(18),
            last_stable_offset: i64_at(26),
        };
        if entry.first_offset < 0 || entry.last_offset < entry.first_offset {
            return Err(format!("an entry reaches from {} to {}", entry.first_offset, entry.last_offset));
        }
        if entries.last().is_some_and(|last| entry.last_offset <= last.last_offset) {
            return Err("its markers do not ascend".into());
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Which transactions are open in a log, and where each began: what its batches, in order, tell.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OpenTransactions {
    by_producer: BTreeMap<ProducerId, Offset>,
    firsts: BTreeSet<Offset>,
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub first_offset: Offset,
    /// The marker's.
    pub last_offset: Offset,
    /// The entry for the index, if it was aborted.
    pub aborted: Option<AbortedTransaction>,
}

impl OpenTransactions {
    pub fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// Where the earliest began.
    pub fn first_offset(&self) -> Option<Offset> {
        self.firsts.first().copied()
    }

    /// Where the producer's began, if it has one open.
    pub fn of(&self, producer_id: ProducerId) -> Option<Offset> {
        self.by_producer.get(&producer_id).copied()
    }

    /// A transactional batch of the producer lies at `offset`: the first of a transaction begins it.
    pub fn note(&mut self, producer_id: ProducerId, offset: Offset) {
        if self.by_producer.contains_key(&producer_id) {
            return;
        }
        self.by_producer.insert(producer_id, offset);
        self.firsts.insert(offset);
    }

    /// A marker of the producer lies at `offset`. `None` when it ended nothing (statement 77: no trace of it remains).
    pub fn end(&mut self, producer_id: ProducerId, ending: Ending, offset: Offset) -> Option<Ended> {
        let first_offset = self.by_producer.remove(&producer_id)?;
        self.firsts.remove(&first_offset);
        let aborted = (ending == Ending::Abort).then(|| AbortedTransaction {
            producer_id,
            first_offset,
            last_offset: offset,
            last_stable_offset: self.first_offset().unwrap_or(offset + 1),
        });
        Some(Ended { first_offset, last_offset: offset, aborted })
    }

    /// Any batch of the log, with what is in it if it is a marker.
    pub fn apply(&mut self, header: &BatchHeader, marker: Option<Marker>) -> Option<Ended> {
        if !header.has_producer() {
            return None;
        }
        match marker {
            Some(marker) => self.end(header.producer_id, marker.ending, header.base_offset),
            None if header.is_transactional() && !header.is_control() => {
                self.note(header.producer_id, header.base_offset);
                None
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_kafkas_bytes() {
        let entry =
            AbortedTransaction { producer_id: 1, first_offset: 2, last_offset: 0x0304, last_stable_offset: 0x0305 };
        let bytes = render(&[entry]);
        let mut expected = vec![0; 34];
        (expected[9], expected[17], expected[24], expected[25]) = (1, 2, 3, 4);
        (expected[32], expected[33]) = (3, 5);
        assert_eq!(bytes, expected);
        assert_eq!(parse(&bytes), Ok(vec![entry]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let entry = |first, last| AbortedTransaction {
            producer_id: 1,
            first_offset: first,
            last_offset: last,
            last_stable_offset: last + 1,
        };
        assert!(parse(&render(&[entry(0, 5), entry(3, 9)])).is_ok());
        assert!(parse(&render(&[entry(6, 5)])).is_err());
        assert!(parse(&render(&[entry(-1, 5)])).is_err());
        assert!(parse(&render(&[entry(0, 5), entry(0, 5)])).is_err());
        assert!(parse(&render(&[entry(0, 5)])[1..]).is_err());
        let mut version = render(&[entry(0, 5)]);
        version[1] = 1;
        assert!(parse(&version).is_err());
    }

    #[test]
    fn the_last_stable_offset_is_the_first_of_the_earliest_that_is_still_open() {
        let mut open = OpenTransactions::default();
        open.note(1, 10);
        open.note(2, 12);
        open.note(1, 14);
        assert_eq!((open.first_offset(), open.of(1), open.of(2), open.of(3)), (Some(10), Some(10), Some(12), None));
        let ended = open.end(1, Ending::Abort, 15).expect("it was open");
        let aborted = AbortedTransaction { producer_id: 1, first_offset: 10, last_offset: 15, last_stable_offset: 12 };
        assert_eq!(ended, Ended { first_offset: 10, last_offset: 15, aborted: Some(aborted) });
        assert_eq!(open.end(1, Ending::Abort, 16), None, "statement 77: an empty transaction leaves no trace");
        let ended = open.end(2, Ending::Commit, 17).expect("it was open");
        assert_eq!((ended.first_offset, ended.aborted), (12, None));
        assert!(open.is_empty());
        open.note(3, 20);
        assert_eq!(
            open.end(3, Ending::Abort, 22).and_then(|ended| ended.aborted).map(|a| a.last_stable_offset),
            Some(23)
        );
    }
}
