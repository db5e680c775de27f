//! A segment's two sparse indexes, byte for byte Kafka's.
//!
//! ```text
//! .index      8 bytes an entry, big-endian: i32 offset - base offset, i32 position of that batch in the .log
//! .timeindex 12 bytes an entry, big-endian: i64 timestamp, i32 offset - base offset
//! ```
//! An offset entry names the *last* offset of the batch at the position. Both are held in memory while a segment is
//! written and read back (and checked) when a sealed one is first asked; what does not check out is rebuilt from
//! the `.log`, which is the truth.

use crate::model::Offset;

pub const OFFSET_ENTRY_BYTES: usize = 8;
pub const TIME_ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

/// The indexes of one segment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Indexes {
    pub offsets: Vec<OffsetEntry>,
    pub times: Vec<TimeEntry>,
    /// `.log` bytes since the last offset entry.
    bytes_since_entry: u64,
}

impl Indexes {
    /// Just these entries.
    pub fn of(offsets: &[OffsetEntry], times: &[TimeEntry]) -> Indexes {
        Indexes { offsets: offsets.to_vec(), times: times.to_vec(), bytes_since_entry: 0 }
    }

    /// Notes an appended batch, after Kafka's `LogSegment.append`: an entry every `interval` bytes.
    /// `max_timestamp` and its offset are the segment's so far, this batch included.
    #[expect(clippy::too_many_arguments, reason = "each is one fact about the batch, and there are three callers")]
    pub fn note(
        &mut self,
        base: Offset,
        last_offset: Offset,
        position: u64,
        bytes: u64,
        interval: u64,
        max_timestamp: i64,
        offset_of_max: Offset,
    ) {
        if self.bytes_since_entry > interval {
            self.offsets.push(OffsetEntry { relative_offset: (last_offset - base) as u32, position: position as u32 });
            self.note_time(base, max_timestamp, offset_of_max);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += bytes;
    }

    /// Adds a time entry if it moves time forward; also called once when a segment is sealed, so that the last
    /// entry always tells the segment's largest timestamp.
    pub fn note_time(&mut self, base: Offset, max_timestamp: i64, offset_of_max: Offset) {
        if max_timestamp < 0 || offset_of_max < base {
            return;
        }
        if self.times.last().is_none_or(|last| max_timestamp > last.timestamp) {
            self.times.push(TimeEntry { timestamp: max_timestamp, relative_offset: (offset_of_max - base) as u32 });
        }
    }

    /// A position at or before the batch that holds `offset`.
    pub fn position_before(&self, base: Offset, offset: Offset) -> u64 {
        let relative = (offset - base).max(0) as u64;
        let after = self.offsets.partition_point(|entry| u64::from(entry.relative_offset) <= relative);
        if after == 0 { 0 } else { u64::from(self.offsets[after - 1].position) }
    }

    /// An offset such that every record with a timestamp of at least `timestamp` lies at or behind it.
    pub fn offset_before(&self, base: Offset, timestamp: i64) -> Offset {
        let after = self.times.partition_point(|entry| entry.timestamp < timestamp);
        if after == 0 { base } else { base + Offset::from(self.times[after - 1].relative_offset) }
    }

    pub fn offsets_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_BYTES);
        for entry in &self.offsets {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    pub fn times_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_BYTES);
        for entry in &self.times {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// Reads both files' bytes; says what is wrong with them. `log_bytes` bounds the positions. Zeroed entries at
    /// the end are how Kafka preallocates an active segment's indexes, and are passed over.
    pub fn parse(offsets: &[u8], times: &[u8], log_bytes: u64) -> Result<Indexes, &'static str> {
        if !offsets.len().is_multiple_of(OFFSET_ENTRY_BYTES) || !times.len().is_multiple_of(TIME_ENTRY_BYTES) {
            return Err("its length is not a whole number of entries");
        }
        let mut indexes = Indexes::default();
        for entry in offsets.chunks_exact(OFFSET_ENTRY_BYTES) {
            let relative_offset = u32::from_be_bytes(entry[..4].try_into().expect("4 bytes"));
            let position = u32::from_be_bytes(entry[4..].try_into().expect("4 bytes"));
            if (relative_offset, position) == (0, 0) {
                continue;
            }
            if relative_offset > i32::MAX as u32 || u64::from(position) >= log_bytes {
                return Err("an entry points behind the segment's end");
            }
            if indexes
                .offsets
                .last()
                .is_some_and(|last| relative_offset <= last.relative_offset || position <= last.position)
            {
                return Err("its offsets do not ascend");
            }
            indexes.offsets.push(OffsetEntry { relative_offset, position });
        }
        for entry in times.chunks_exact(TIME_ENTRY_BYTES) {
            let timestamp = i64::from_be_bytes(entry[..8].try_into().expect("8 bytes"));
            let relative_offset = u32::from_be_bytes(entry[8..].try_into().expect("4 bytes"));
            if (timestamp, relative_offset) == (0, 0) {
                continue;
            }
            if relative_offset > i32::MAX as u32 {
                return Err("a time entry's offset is negative");
            }
            if indexes
                .times
                .last()
                .is_some_and(|last| timestamp <= last.timestamp || relative_offset < last.relative_offset)
            {
                return Err("its timestamps do not ascend");
            }
            indexes.times.push(TimeEntry { timestamp, relative_offset });
        }
        Ok(indexes)
    }

    /// Forgets what lies at or behind `position` (recovery cut the segment there).
    pub fn cut(&mut self, base: Offset, position: u64, end_offset: Offset) {
        self.offsets.retain(|entry| u64::from(entry.position) < position);
        self.times.retain(|entry| base + Offset::from(entry.relative_offset) < end_offset);
        let last = self.offsets.last().map_or(0, |entry| u64::from(entry.position));
        self.bytes_since_entry = position - last.min(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_after_each_interval_as_kafka_does() {
        let mut indexes = Indexes::default();
        // Batches of 1000 bytes, interval 2500: the fourth batch finds 3000 bytes since the last entry.
        for n in 0..10 {
            indexes.note(100, 100 + n, n as u64 * 1000, 1000, 2500, 5000 + n, 100 + n);
        }
        let found: Vec<_> = indexes.offsets.iter().map(|entry| (entry.relative_offset, entry.position)).collect();
        assert_eq!(found, [(3, 3000), (6, 6000), (9, 9000)]);
        assert_eq!(indexes.position_before(100, 100), 0);
        assert_eq!(indexes.position_before(100, 103), 3000);
        assert_eq!(indexes.position_before(100, 108), 6000);
        assert_eq!(indexes.offset_before(100, 5000), 100);
        assert_eq!(indexes.offset_before(100, 5007), 106);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut indexes = Indexes::default();
        for n in 0..50 {
            indexes.note(0, n, n as u64 * 5000, 5000, 4096, 7 + n, n);
        }
        let parsed = Indexes::parse(&indexes.offsets_bytes(), &indexes.times_bytes(), 250_000).unwrap();
        assert_eq!((&parsed.offsets, &parsed.times), (&indexes.offsets, &indexes.times));
        assert!(Indexes::parse(&indexes.offsets_bytes(), &indexes.times_bytes(), 5).is_err());
        assert!(Indexes::parse(&indexes.offsets_bytes()[1..], &[], 250_000).is_err());
        let mut swapped = indexes.offsets_bytes();
        swapped.rotate_left(8);
        assert!(Indexes::parse(&swapped, &[], 250_000).is_err());
    }
}
