//! The journal's work in numbers, for benches and metrics.

use std::cell::Cell;

use super::group::GroupBuilder;
use super::{Journal, JournalState};
use crate::model::Histogram;
use crate::runtime::clock::{self, Mono};

/// The journal's work since it was opened, for benches and metrics.
#[derive(Default)]
pub struct JournalCounters {
    /// Sealed groups, one write each.
    pub groups: Cell<u64>,
    /// Bytes of these groups on disk, with headers and padding.
    pub bytes: Cell<u64>,
    /// Batches in the groups.
    pub batches: Cell<u64>,
    /// The bytes of these batches.
    pub batch_bytes: Cell<u64>,
    /// The bytes that were copied into groups: small batches, and the last block of each range of large ones. Other
    /// bytes are written from the memory of their logs.
    pub copied_bytes: Cell<u64>,
    /// How often a sealed group found no free file and waited for a checkpoint or for growth.
    pub waits_for_space: Cell<u64>,
    /// For each group, from its first batch to the start of its write.
    pub wait: Histogram,
    /// For each group, from the start of its write until the write has completed.
    pub flush: Histogram,
    /// The bytes that are written without a flush.
    pub unflushed: Unflushed,
}

/// The bytes of groups that were written without a flush (`flush.ack=false`) and that no later flush covers. A flushed
/// group covers the groups before it, and a checkpoint that frees the whole journal covers all.
#[derive(Default)]
pub struct Unflushed {
    written: Cell<u64>,
    covered: Cell<u64>,
    /// The start of the oldest write that is not covered, or an earlier time.
    since: Cell<Option<Mono>>,
}

impl Unflushed {
    /// The bytes now, and the time of the oldest of them.
    pub fn read(&self) -> (u64, Option<Mono>) {
        (self.written.get() - self.covered.get(), self.since.get())
    }

    /// All bytes so far, covered or not.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// A write of `bytes` has started.
    pub(super) fn note(&self, bytes: u64, now: Mono) {
        self.since.set(self.since.get().or(Some(now)));
        self.written.set(self.written.get() + bytes);
    }

    /// A flush that started at `since` covers the first `bytes`.
    pub(super) fn cover(&self, bytes: u64, since: Mono) {
        self.covered.set(self.covered.get().max(bytes));
        assert!(self.covered.get() <= self.written.get(), "a flush covers bytes that were written");
        self.since.set((self.covered < self.written).then_some(since));
    }
}

impl JournalState {
    /// The number of files that a replay would read.
    pub(super) fn files_in_use(&self) -> usize {
        self.files.iter().filter(|file| file.last_sequence >= self.needed_from).count()
    }

    /// The open group gets an entry: notes the time of the first one.
    pub(super) fn note_entry(&mut self) {
        if self.open.as_ref().is_some_and(GroupBuilder::is_empty) {
            self.open_since = clock::now();
        }
    }
}

impl Journal {
    /// The number of files so far.
    pub fn files_count(&self) -> u32 {
        self.state.borrow().files.len() as u32
    }

    /// The number of files that the journal grows to.
    pub fn files_max(&self) -> usize {
        self.settings.files_max as usize
    }

    /// The bytes that were appended and are not durable yet, and the time of the oldest of them.
    pub fn pending(&self) -> (u64, Option<Mono>) {
        let state = self.state.borrow();
        let open = state.open.as_ref().filter(|open| !open.is_empty());
        let bytes: u64 = state.in_flight.iter().map(|group| group.bytes).sum();
        let oldest = state.in_flight.front().map(|group| group.since).or(open.map(|_| state.open_since));
        (bytes + open.map_or(0, |open| open.total_bytes() as u64), oldest)
    }

    /// The number of files that a replay would read now.
    pub fn files_in_use(&self) -> usize {
        self.state.borrow().files_in_use()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flush_covers_the_bytes_written_before_it() {
        let (unflushed, begun) = (Unflushed::default(), clock::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(unflushed.read(), (0, None));
        unflushed.note(10, at(1));
        let covers = unflushed.written();
        unflushed.note(5, at(3));
        assert_eq!(unflushed.read(), (15, Some(at(1))));
        unflushed.cover(covers, at(2));
        assert_eq!(unflushed.read(), (5, Some(at(2))));
        unflushed.cover(unflushed.written(), at(4));
        assert_eq!(unflushed.read(), (0, None));
    }
}
