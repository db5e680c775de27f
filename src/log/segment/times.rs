//! The times of a segment's records, for retention, rolling and searches by time.

use crate::model::Offset;

/// The times of a segment's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// The largest timestamp; -1 without one.
    pub max_timestamp: i64,
    /// The offset to look the largest timestamp up by; -1 without one.
    pub offset_of_max: Offset,
    /// Wall time of the first append, for rolling by time; -1 when unknown.
    pub first_append_ms: i64,
}

impl Times {
    /// The times of a segment without records.
    pub const NONE: Times = Times { max_timestamp: -1, offset_of_max: Offset::UNKNOWN, first_append_ms: -1 };

    /// Notes the largest timestamp of a batch, and the offset to look it up by.
    pub fn note(&mut self, max_timestamp: i64, offset_of_max: Offset) {
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.offset_of_max = offset_of_max;
        }
    }
}
