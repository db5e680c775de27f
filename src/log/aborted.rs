//! A segment's aborted transactions, byte for byte Kafka's `.txnindex`.
//!
//! ```text
//! 34 bytes an entry, big-endian: i16 version (0), i64 producer id, i64 first offset, i64 last offset,
//!                                i64 last stable offset
//! ```
//! The entry of a transaction is in the segment of its marker; the marker's offset is the entry's last offset. The last
//! stable offset is the partition's after the marker: a transaction that is aborted later begins at or above it.
//!
//! A segment without aborted transactions has no file. Unlike the other indexes, this one is flushed before a
//! checkpoint counts on it. An index that fails its check is rebuilt from the `.log`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Offset, ProducerId};
use crate::record::BatchHeader;
use crate::record::control::{Ending, Marker};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 34;

const _: () = assert!(ENTRY_BYTES == 2 + 8 + 8 + 8 + 8);

/// Why the bytes of a `.txnindex` cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AbortedIndexError {
    /// The file ends inside an entry.
    #[error("its length of {found} bytes is not a whole number of {ENTRY_BYTES}-byte entries")]
    TornEntry {
        /// The file's length.
        found: usize,
    },
    /// Another version wrote the entry.
    #[error("an entry is of version {found}, not {expected}")]
    Version {
        /// The version that this build reads.
        expected: i16,
        /// The version in the file.
        found: i16,
    },
    /// The transaction's first offset is behind its marker.
    #[error("an entry reaches from {first_offset} to {last_offset}")]
    Range {
        /// The first offset.
        first_offset: Offset,
        /// The marker's offset.
        last_offset: Offset,
    },
    /// The entries are not in the order of the log.
    #[error("its markers do not ascend: {found} follows {previous}")]
    MarkersNotAscending {
        /// The marker's offset in the previous entry.
        previous: Offset,
        /// The marker's offset in the entry.
        found: Offset,
    },
}

/// The version of an entry, Kafka's only one.
const VERSION: i16 = 0;

/// A transaction that a marker aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// The producer of the transaction.
    pub producer_id: ProducerId,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The marker's offset.
    pub last_offset: Offset,
    /// The partition's last stable offset after the marker.
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    /// Whether the offsets `from..to` can hold records of the transaction.
    pub fn overlaps(&self, from: Offset, to: Offset) -> bool {
        self.last_offset >= from && self.first_offset < to
    }
}

/// The contents of a file with these entries.
pub fn render(entries: &[AbortedTransaction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        for field in [entry.producer_id, entry.first_offset.0, entry.last_offset.0, entry.last_stable_offset.0] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
    }
    assert_eq!(bytes.len(), entries.len() * ENTRY_BYTES);
    bytes
}

/// Parses a file's bytes.
///
/// # Errors
/// If an entry is torn, of another version, without a range, or not behind the entry before it.
pub fn parse(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, AbortedIndexError> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err(AbortedIndexError::TornEntry { found: bytes.len() });
    }
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        if version != VERSION {
            return Err(AbortedIndexError::Version { expected: VERSION, found: version });
        }
        let i64_at = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
        let entry = AbortedTransaction {
            producer_id: i64_at(2),
            first_offset: Offset(i64_at(10)),
            last_offset: Offset(i64_at(18)),
            last_stable_offset: Offset(i64_at(26)),
        };
        if entry.first_offset < Offset::ZERO || entry.last_offset < entry.first_offset {
            let AbortedTransaction { first_offset, last_offset, .. } = entry;
            return Err(AbortedIndexError::Range { first_offset, last_offset });
        }
        if let Some(last) = entries.last().filter(|last| entry.last_offset <= last.last_offset) {
            let previous = last.last_offset;
            return Err(AbortedIndexError::MarkersNotAscending { previous, found: entry.last_offset });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The open transactions of a log and their first offsets, derived from the log's batches in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OpenTransactions {
    by_producer: BTreeMap<ProducerId, Offset>,
    firsts: BTreeSet<Offset>,
}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The marker's offset.
    pub last_offset: Offset,
    /// The entry for the index, if it was aborted.
    pub aborted: Option<AbortedTransaction>,
}

impl OpenTransactions {
    /// Whether no transaction is open.
    pub fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// The first offset of the earliest open transaction.
    pub fn first_offset(&self) -> Option<Offset> {
        self.firsts.first().copied()
    }

    /// The first offset of the producer's open transaction, if it has one.
    pub fn of(&self, producer_id: ProducerId) -> Option<Offset> {
        self.by_producer.get(&producer_id).copied()
    }

    /// Notes a transactional batch of the producer at `offset`. The first batch of a transaction opens it.
    pub fn note(&mut self, producer_id: ProducerId, offset: Offset) {
        if self.by_producer.contains_key(&producer_id) {
            return;
        }
        self.by_producer.insert(producer_id, offset);
        self.firsts.insert(offset);
    }

    /// Ends the producer's transaction by a marker at `offset`. `None` when no transaction was open (statement 77: no
    /// trace of an empty transaction remains).
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

    /// Applies the log's next batch; `marker` is its content if it is a marker.
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
        let entry = AbortedTransaction {
            producer_id: 1,
            first_offset: Offset(2),
            last_offset: Offset(0x0304),
            last_stable_offset: Offset(0x0305),
        };
        let bytes = render(&[entry]);
        let mut expected = vec![0; 34];
        (expected[9], expected[17], expected[24], expected[25]) = (1, 2, 3, 4);
        (expected[32], expected[33]) = (3, 5);
        assert_eq!(bytes, expected);
        assert_eq!(parse(&bytes), Ok(vec![entry]));
    }

    #[test]
    fn malformed_entries_are_refused() {
        let entry = |first, last| AbortedTransaction {
            producer_id: 1,
            first_offset: first,
            last_offset: last,
            last_stable_offset: last + 1,
        };
        assert!(parse(&render(&[entry(Offset(0), Offset(5)), entry(Offset(3), Offset(9))])).is_ok());
        assert!(parse(&render(&[entry(Offset(6), Offset(5))])).is_err());
        assert!(parse(&render(&[entry(Offset(-1), Offset(5))])).is_err());
        assert!(parse(&render(&[entry(Offset(0), Offset(5)), entry(Offset(0), Offset(5))])).is_err());
        assert!(parse(&render(&[entry(Offset(0), Offset(5))])[1..]).is_err());
        let mut version = render(&[entry(Offset(0), Offset(5))]);
        version[1] = 1;
        assert!(parse(&version).is_err());
    }

    #[test]
    fn last_stable_offset_is_the_first_offset_of_the_earliest_open_transaction() {
        let mut open = OpenTransactions::default();
        open.note(1, Offset(10));
        open.note(2, Offset(12));
        open.note(1, Offset(14));
        assert_eq!(
            (open.first_offset(), open.of(1), open.of(2), open.of(3)),
            (Some(Offset(10)), Some(Offset(10)), Some(Offset(12)), None)
        );
        let ended = open.end(1, Ending::Abort, Offset(15)).expect("it was open");
        let aborted = AbortedTransaction {
            producer_id: 1,
            first_offset: Offset(10),
            last_offset: Offset(15),
            last_stable_offset: Offset(12),
        };
        assert_eq!(ended, Ended { first_offset: Offset(10), last_offset: Offset(15), aborted: Some(aborted) });
        assert_eq!(open.end(1, Ending::Abort, Offset(16)), None, "statement 77: an empty transaction leaves no trace");
        let ended = open.end(2, Ending::Commit, Offset(17)).expect("it was open");
        assert_eq!((ended.first_offset, ended.aborted), (Offset(12), None));
        assert!(open.is_empty());
        open.note(3, Offset(20));
        assert_eq!(
            open.end(3, Ending::Abort, Offset(22)).and_then(|ended| ended.aborted).map(|a| a.last_stable_offset),
            Some(Offset(23))
        );
    }
}
