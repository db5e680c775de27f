//! A segment's two sparse indexes, byte for byte Kafka's.
//!
//! ```text
//! .index      8 bytes an entry, big-endian: i32 offset - base offset, i32 position of that batch in the .log
//! .timeindex 12 bytes an entry, big-endian: i64 timestamp, i32 offset - base offset
//! ```
//! An offset entry names the *last* offset of the batch at the position. Both indexes are in memory while a segment is
//! written. Those of a sealed segment are read from their files and checked at the first use. An index that fails the
//! check is rebuilt from the `.log`, which is the truth.

use crate::model::{Offset, Position};

/// Bytes of an entry in `.index`.
pub const OFFSET_ENTRY_BYTES: usize = 8;
/// Bytes of an entry in `.timeindex`.
pub const TIME_ENTRY_BYTES: usize = 12;

const _: () = assert!(OFFSET_ENTRY_BYTES == 4 + 4 && TIME_ENTRY_BYTES == 8 + 4);

/// Why the bytes of an index cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IndexError {
    /// The file ends inside an entry.
    #[error("its length of {found} bytes is not a whole number of {entry_bytes}-byte entries")]
    TornEntry {
        /// The size of an entry: 8 in a `.index`, 12 in a `.timeindex`.
        entry_bytes: usize,
        /// The file's length.
        found: usize,
    },
    /// An entry points behind the `.log` file.
    #[error("an entry points to byte {found}, at or behind the segment's end at {log_bytes}")]
    BehindEnd {
        /// The length of the `.log` file.
        log_bytes: u64,
        /// The entry's position.
        found: u64,
    },
    /// Offsets in an index are relative to the segment's base offset.
    #[error("an entry's relative offset is negative ({found})")]
    NegativeOffset {
        /// The relative offset.
        found: i32,
    },
    /// An offset is not above the previous one.
    #[error("its offsets do not ascend: {found} follows {previous}")]
    OffsetsNotAscending {
        /// The previous entry's relative offset.
        previous: u32,
        /// The entry's relative offset.
        found: u32,
    },
    /// A timestamp is not above the previous one.
    #[error("its timestamps do not ascend: {found} follows {previous}")]
    TimestampsNotAscending {
        /// The previous entry's timestamp, in ms since 1970.
        previous: i64,
        /// The entry's timestamp, in ms since 1970.
        found: i64,
    },
    /// The file is longer than any index.
    #[error("its length of {found} bytes is more than {bytes_max}")]
    TooLong {
        /// The largest legal length.
        bytes_max: u64,
        /// The file's length.
        found: u64,
    },
    /// A time index holds at least one entry.
    #[error("the time index is empty")]
    NoTimes,
}

/// The batch at `position` ends at this offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetEntry {
    /// The offset, relative to the segment's base.
    pub relative_offset: u32,
    /// The batch's position in the `.log`.
    pub position: u32,
}

/// Up to this offset no record has a later timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeEntry {
    /// The largest timestamp so far.
    pub timestamp: i64,
    /// The offset, relative to the segment's base.
    pub relative_offset: u32,
}

/// The indexes of one segment. Not `Clone`: an append must not have to copy them.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Indexes {
    /// Entries of the `.index`.
    pub offsets: Vec<OffsetEntry>,
    /// Entries of the `.timeindex`.
    pub times: Vec<TimeEntry>,
    /// `.log` bytes since the last offset entry.
    bytes_since_entry: u64,
}

impl Indexes {
    /// Indexes of these entries.
    pub fn of(offsets: &[OffsetEntry], times: &[TimeEntry]) -> Indexes {
        Indexes { offsets: offsets.to_vec(), times: times.to_vec(), bytes_since_entry: 0 }
    }

    /// The bytes of all entries in memory.
    pub fn bytes_in_memory(&self) -> usize {
        size_of_val(&*self.offsets) + size_of_val(&*self.times)
    }

    /// Notes an appended batch, as Kafka's `LogSegment.append` does: one entry per `interval` bytes. `max_timestamp`
    /// and its offset are the segment's so far, this batch included.
    #[expect(clippy::too_many_arguments, reason = "each is one fact about the batch, and there are three callers")]
    pub fn note(
        &mut self,
        base: Offset,
        last_offset: Offset,
        position: Position,
        bytes: u64,
        interval: u64,
        max_timestamp: i64,
        offset_of_max: Offset,
    ) {
        if self.bytes_since_entry > interval {
            let last = self.offsets.last();
            debug_assert!(last.is_none_or(|last| u64::from(last.position) < position.0), "{last:?}, then {position}");
            self.offsets
                .push(OffsetEntry { relative_offset: (last_offset - base) as u32, position: position.0 as u32 });
            self.note_time(base, max_timestamp, offset_of_max);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += bytes;
    }

    /// Adds a time entry if its timestamp is later than the last one. Also called once when a segment is sealed, so
    /// that the last entry has the segment's largest timestamp.
    pub fn note_time(&mut self, base: Offset, max_timestamp: i64, offset_of_max: Offset) {
        if max_timestamp < 0 || offset_of_max < base {
            return;
        }
        if self.times.last().is_none_or(|last| max_timestamp > last.timestamp) {
            self.times.push(TimeEntry { timestamp: max_timestamp, relative_offset: (offset_of_max - base) as u32 });
        }
    }

    /// A position at or before the batch that holds `offset`.
    pub fn position_before(&self, base: Offset, offset: Offset) -> Position {
        let relative = (offset - base).max(0) as u64;
        let after = self.offsets.partition_point(|entry| u64::from(entry.relative_offset) <= relative);
        if after == 0 { Position::ZERO } else { Position(u64::from(self.offsets[after - 1].position)) }
    }

    /// An offset at or below that of every record with a timestamp of at least `timestamp`.
    pub fn offset_before(&self, base: Offset, timestamp: i64) -> Offset {
        let after = self.times.partition_point(|entry| entry.timestamp < timestamp);
        if after == 0 { base } else { base + i64::from(self.times[after - 1].relative_offset) }
    }

    /// The `.index` file's bytes from entry number `from` on.
    pub fn offsets_bytes(&self, from: usize) -> Vec<u8> {
        let entries = &self.offsets[from..];
        let mut bytes = Vec::with_capacity(entries.len() * OFFSET_ENTRY_BYTES);
        for entry in entries {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// The `.timeindex` file's bytes from entry number `from` on.
    pub fn times_bytes(&self, from: usize) -> Vec<u8> {
        let entries = &self.times[from..];
        let mut bytes = Vec::with_capacity(entries.len() * TIME_ENTRY_BYTES);
        for entry in entries {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// Parses both files' bytes. `log_bytes` bounds the positions. Skips zeroed entries: Kafka preallocates an active
    /// segment's indexes with them.
    ///
    /// # Errors
    /// If an entry is torn, points behind the segment's end, or does not ascend.
    pub fn parse(offsets: &[u8], times: &[u8], log_bytes: u64) -> Result<Indexes, IndexError> {
        for (bytes, entry_bytes) in [(offsets, OFFSET_ENTRY_BYTES), (times, TIME_ENTRY_BYTES)] {
            if !bytes.len().is_multiple_of(entry_bytes) {
                return Err(IndexError::TornEntry { entry_bytes, found: bytes.len() });
            }
        }
        let mut indexes = Indexes::default();
        for entry in offsets.chunks_exact(OFFSET_ENTRY_BYTES) {
            let relative_offset = u32::from_be_bytes(entry[..4].try_into().expect("4 bytes"));
            let position = u32::from_be_bytes(entry[4..].try_into().expect("4 bytes"));
            if (relative_offset, position) == (0, 0) {
                continue;
            }
            check_relative_offset(relative_offset)?;
            if u64::from(position) >= log_bytes {
                return Err(IndexError::BehindEnd { log_bytes, found: u64::from(position) });
            }
            if let Some(last) = indexes.offsets.last() {
                if relative_offset <= last.relative_offset {
                    let previous = last.relative_offset;
                    return Err(IndexError::OffsetsNotAscending { previous, found: relative_offset });
                }
                if position <= last.position {
                    return Err(IndexError::OffsetsNotAscending { previous: last.position, found: position });
                }
            }
            indexes.offsets.push(OffsetEntry { relative_offset, position });
        }
        for entry in times.chunks_exact(TIME_ENTRY_BYTES) {
            let timestamp = i64::from_be_bytes(entry[..8].try_into().expect("8 bytes"));
            let relative_offset = u32::from_be_bytes(entry[8..].try_into().expect("4 bytes"));
            if (timestamp, relative_offset) == (0, 0) {
                continue;
            }
            check_relative_offset(relative_offset)?;
            if let Some(last) = indexes.times.last() {
                if timestamp <= last.timestamp {
                    return Err(IndexError::TimestampsNotAscending { previous: last.timestamp, found: timestamp });
                }
                if relative_offset < last.relative_offset {
                    let previous = last.relative_offset;
                    return Err(IndexError::OffsetsNotAscending { previous, found: relative_offset });
                }
            }
            indexes.times.push(TimeEntry { timestamp, relative_offset });
        }
        Ok(indexes)
    }

    /// Removes the entries at or behind `position` and `end_offset`, where recovery has cut the segment.
    pub fn truncate(&mut self, base: Offset, position: Position, end_offset: Offset) {
        self.offsets.retain(|entry| u64::from(entry.position) < position.0);
        self.times.retain(|entry| base + i64::from(entry.relative_offset) < end_offset);
        let last = self.offsets.last().map_or(0, |entry| u64::from(entry.position));
        self.bytes_since_entry = position.0 - last.min(position.0);
    }
}

fn check_relative_offset(relative_offset: u32) -> Result<(), IndexError> {
    match relative_offset.cast_signed() {
        found @ ..0 => Err(IndexError::NegativeOffset { found }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_of_bytes_gets_an_entry_as_in_kafka() {
        let mut indexes = Indexes::default();
        // Batches of 1000 bytes, interval 2500: the fourth batch finds 3000 bytes since the last entry.
        for n in 0..10 {
            indexes.note(
                Offset(100),
                Offset(100 + n),
                Position(n as u64 * 1000),
                1000,
                2500,
                5000 + n,
                Offset(100 + n),
            );
        }
        let found: Vec<_> = indexes.offsets.iter().map(|entry| (entry.relative_offset, entry.position)).collect();
        assert_eq!(found, [(3, 3000), (6, 6000), (9, 9000)]);
        assert_eq!(indexes.position_before(Offset(100), Offset(100)), Position(0));
        assert_eq!(indexes.position_before(Offset(100), Offset(103)), Position(3000));
        assert_eq!(indexes.position_before(Offset(100), Offset(108)), Position(6000));
        assert_eq!(indexes.offset_before(Offset(100), 5000), Offset(100));
        assert_eq!(indexes.offset_before(Offset(100), 5007), Offset(106));
    }

    #[test]
    fn parsing_returns_the_written_entries() {
        let mut indexes = Indexes::default();
        for n in 0..50 {
            indexes.note(Offset(0), Offset(n), Position(n as u64 * 5000), 5000, 4096, 7 + n, Offset(n));
        }
        let parsed = Indexes::parse(&indexes.offsets_bytes(0), &indexes.times_bytes(0), 250_000).unwrap();
        assert_eq!((&parsed.offsets, &parsed.times), (&indexes.offsets, &indexes.times));
        assert!(Indexes::parse(&indexes.offsets_bytes(0), &indexes.times_bytes(0), 5).is_err());
        assert!(Indexes::parse(&indexes.offsets_bytes(0)[1..], &[], 250_000).is_err());
        let mut swapped = indexes.offsets_bytes(0);
        swapped.rotate_left(8);
        assert!(Indexes::parse(&swapped, &[], 250_000).is_err());
    }
}
