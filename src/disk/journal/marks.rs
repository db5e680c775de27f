//! The positions in a journal where a replay may start. A checkpoint takes the last one before the first group that a
//! partition needs.

use std::collections::VecDeque;

use super::{ReplayStart, Sequence};

/// The bytes between two marks in a file.
const MARK_BYTES: u64 = 1 << 20;

/// Some of the groups that a replay needs, in order.
#[derive(Default)]
pub(super) struct Marks(VecDeque<ReplayStart>);

impl Marks {
    /// Notes that a group begins here. Keeps the first group of each file, and one per [`MARK_BYTES`].
    pub fn note(&mut self, group: ReplayStart) {
        // A checkpoint starts at this group, and the group did not fit the file where it was expected.
        if self.0.back().is_some_and(|last| last.sequence == group.sequence) {
            self.0.pop_back();
        }
        if let Some(last) = self.0.back() {
            assert!(last.sequence < group.sequence, "groups are marked in order");
            let is_near = last.file == group.file
                && group.position > last.position
                && group.position - last.position < MARK_BYTES;
            if is_near {
                return;
            }
        }
        self.0.push_back(group);
    }

    /// The last mark at or before the group.
    pub fn at_or_before(&self, sequence: Sequence) -> Option<ReplayStart> {
        let after = self.0.partition_point(|mark| mark.sequence <= sequence);
        after.checked_sub(1).map(|at| self.0[at])
    }

    /// Makes `start` the first mark: a checkpoint that starts there is stored.
    pub fn release(&mut self, start: ReplayStart) {
        while self.0.front().is_some_and(|mark| mark.sequence <= start.sequence) {
            self.0.pop_front();
        }
        self.0.push_front(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::BLOCK_BYTES;

    fn group(sequence: u64, file: u32, position: u64) -> ReplayStart {
        ReplayStart { file, position, sequence: Sequence(sequence), ..ReplayStart::BEGINNING }
    }

    #[test]
    fn replay_starts_at_the_last_mark_before_a_group() {
        let first = BLOCK_BYTES as u64;
        let mut marks = Marks::default();
        assert_eq!(marks.at_or_before(Sequence(9)), None);
        let groups = [
            group(1, 0, first),
            group(2, 0, first + MARK_BYTES / 2),
            group(3, 0, first + MARK_BYTES),
            group(4, 1, first),
            group(5, 1, 2 * first),
            group(6, 0, first),
        ];
        groups.into_iter().for_each(|group| marks.note(group));
        for (sequence, mark) in [(1, 1), (2, 1), (3, 3), (4, 4), (5, 4), (6, 6), (7, 6)] {
            assert_eq!(marks.at_or_before(Sequence(sequence)), Some(groups[mark - 1]), "group {sequence}");
        }
        marks.release(groups[4]);
        assert_eq!(marks.at_or_before(Sequence(4)), None);
        assert_eq!(marks.at_or_before(Sequence(5)), Some(groups[4]));
        assert_eq!(marks.at_or_before(Sequence(6)), Some(groups[5]));
    }
}
