//! The number of a journal group.

use std::fmt;

/// The number of a group. The first is 1, and each next one is one more, for the life of the journal. 0 comes before
/// the first group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first group.
    pub const ZERO: Sequence = Sequence(0);

    /// The number of the next group.
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }

    /// The number of the previous group.
    pub fn previous(self) -> Sequence {
        Sequence(self.0 - 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
