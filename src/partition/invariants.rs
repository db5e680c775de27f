//! Checks a partition's watermarks.

use super::Partition;
use crate::model::Offset;

impl Partition {
    /// PART-1: `log start <= last stable offset <= high watermark <= log end`; and PART-4 for transactions that end.
    /// Called after every move of a watermark. O(1), except for the transactions whose markers are not committed yet.
    pub(super) fn check(&self) {
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        let (stable, high) = (self.last_stable_offset(), self.high_watermark.get());
        assert!(Offset::ZERO <= start && start <= stable, "PART-1: log start {start} <= last stable offset {stable}");
        assert!(stable <= high, "PART-1: last stable offset {stable} <= high watermark {high}");
        assert!(high <= end, "PART-1: high watermark {high} <= log end {end}");
        if let Some(first) = self.ending.borrow().front() {
            assert!(first.first_offset < first.marker_offset, "PART-4: a marker follows its transaction");
            assert!(high <= first.marker_offset, "PART-4: a transaction ends when its marker is committed");
            assert!(
                stable <= first.first_offset.max(start),
                "PART-4: the last stable offset stays before it until then"
            );
        }
    }
}
