//! The traffic of a partition in numbers, for metrics.

use std::cell::Cell;
use std::ops::AddAssign;

/// The traffic of one partition since its shard opened it. Batches of coordinators count, and markers of transactions
/// do not.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Appended batches.
    pub batches_in: u64,
    /// Records of these batches.
    pub records_in: u64,
    /// Bytes of these batches as they are stored.
    pub bytes_in: u64,
    /// Fetch responses with records of this partition.
    pub fetches: u64,
    /// Offsets that these responses advanced their readers by: the records, unless the log is compacted.
    pub records_out: u64,
    /// Bytes of records in these responses.
    pub bytes_out: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Traffic) {
        self.batches_in += more.batches_in;
        self.records_in += more.records_in;
        self.bytes_in += more.bytes_in;
        self.fetches += more.fetches;
        self.records_out += more.records_out;
        self.bytes_out += more.bytes_out;
    }
}

/// Counts the traffic of one partition.
#[derive(Default, Debug)]
pub struct TrafficCounter(Cell<Traffic>);

impl TrafficCounter {
    /// The counters so far.
    pub fn read(&self) -> Traffic {
        self.0.get()
    }

    pub(super) fn note_append(&self, records: i32, bytes: usize) {
        let mut traffic = self.0.get();
        traffic.batches_in += 1;
        traffic.records_in += records.max(0) as u64;
        traffic.bytes_in += bytes as u64;
        self.0.set(traffic);
    }

    /// Counts a fetch that found `bytes` and advanced its reader by `offsets`. Without records it does not count.
    pub fn note_fetch(&self, offsets: i64, bytes: usize) {
        if bytes > 0 {
            let mut traffic = self.0.get();
            traffic.fetches += 1;
            traffic.records_out += offsets.max(0) as u64;
            traffic.bytes_out += bytes as u64;
            self.0.set(traffic);
        }
    }
}
