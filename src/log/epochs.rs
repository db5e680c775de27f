//! The start offset of each leader epoch: KIP-101's `leader-epoch-checkpoint`.
//!
//! The file is Kafka's: a version line (`0`), a count, then `epoch start_offset` lines, both ascending.

use crate::model::{LeaderEpoch, Offset};

/// Why the text of a `leader-epoch-checkpoint` cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochsError {
    /// The file has another version.
    #[error("its first line is {found:?}, not version 0")]
    Version {
        /// The first line.
        found: String,
    },
    /// The count of entries is missing or no number.
    #[error("its second line is {found:?}, not a count")]
    Count {
        /// The second line.
        found: String,
    },
    /// An entry's line is not two numbers.
    #[error("{found:?} is not `epoch offset`")]
    Entry {
        /// The line.
        found: String,
    },
    /// An epoch, or its start offset, is not above the previous one's.
    #[error("its epochs do not ascend: {found:?} follows {previous:?}")]
    NotAscending {
        /// The previous entry.
        previous: (LeaderEpoch, Offset),
        /// The entry.
        found: (LeaderEpoch, Offset),
    },
    /// The file has more or fewer entries than its second line announces.
    #[error("it announces {expected} entries and has {found}")]
    EntryCount {
        /// The announced number.
        expected: usize,
        /// The number of lines with entries.
        found: usize,
    },
}

/// The leader epochs of a log, ascending, each with its start offset.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Epochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    /// # Panics
    /// In debug builds, if the entries do not ascend.
    pub fn new(entries: Vec<(LeaderEpoch, Offset)>) -> Epochs {
        debug_assert!(entries.windows(2).all(|two| ascends(two[0], two[1])), "epochs do not ascend: {entries:?}");
        Epochs { entries }
    }

    /// Each epoch with its start offset, ascending.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// Notes that a batch of this epoch begins at this offset. A known or older epoch changes nothing.
    pub fn note(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if epoch >= LeaderEpoch::ZERO && self.entries.last().is_none_or(|(last, _)| epoch > *last) {
            let previous = self.entries.last().copied();
            assert!(previous.is_none_or(|(_, start)| start <= offset), "epoch {epoch} at {offset} after {previous:?}");
            self.entries.push((epoch, offset));
        }
    }

    /// KIP-101: the largest known epoch at or below `requested`, and its end offset. An epoch ends at the start of the
    /// next one, the newest at the log's end. An epoch below all known ones ends where the first one begins.
    pub fn end_offset_for(&self, requested: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let (newest, _) = *self.entries.last()?;
        if requested == newest {
            return Some((newest, log_end));
        }
        if requested > newest || requested < LeaderEpoch::ZERO {
            return None;
        }
        let next = self.entries.partition_point(|(epoch, _)| *epoch <= requested);
        let end = self.entries[next].1;
        Some((if next == 0 { requested } else { self.entries[next - 1].0 }, end))
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// Drops the epochs that end at or below `start`, where the log begins now. The epoch that holds `start` begins
    /// there.
    pub fn truncate_before(&mut self, start: Offset) {
        let after = self.entries.partition_point(|(_, first)| *first <= start);
        if after > 1 {
            self.entries.drain(..after - 1);
        }
        if let Some(first) = self.entries.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// Drops the epochs that begin at or above `end`, where the log ends now.
    pub fn truncate_from(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    /// Parses the file's text.
    ///
    /// # Errors
    /// If the version, the count or a line is malformed, or the entries do not ascend.
    pub fn parse(text: &str) -> Result<Epochs, EpochsError> {
        let mut lines = text.lines();
        let version = lines.next().unwrap_or_default();
        if version != "0" {
            return Err(EpochsError::Version { found: version.to_owned() });
        }
        let count = lines.next().unwrap_or_default();
        let count: usize = count.parse().map_err(|_| EpochsError::Count { found: count.to_owned() })?;
        let mut entries = Vec::new();
        for line in lines.take(count) {
            let malformed = || EpochsError::Entry { found: line.to_owned() };
            let (epoch, start) = line.split_once(' ').ok_or_else(malformed)?;
            let (Ok(epoch), Ok(start)) = (epoch.parse().map(LeaderEpoch), start.parse().map(Offset)) else {
                return Err(malformed());
            };
            let found = (epoch, start);
            if let Some(previous) = entries.last().copied().filter(|previous| !ascends(*previous, found)) {
                return Err(EpochsError::NotAscending { previous, found });
            }
            entries.push(found);
        }
        if entries.len() != count {
            return Err(EpochsError::EntryCount { expected: count, found: entries.len() });
        }
        Ok(Epochs { entries })
    }
}

/// Whether an epoch can follow another: epochs grow, and their start offsets do not shrink.
fn ascends(previous: (LeaderEpoch, Offset), next: (LeaderEpoch, Offset)) -> bool {
    previous.0 < next.0 && previous.1 <= next.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs =
            Epochs::new(vec![(LeaderEpoch(2), Offset(10)), (LeaderEpoch(4), Offset(30)), (LeaderEpoch(7), Offset(50))]);
        let check = |epoch, expected| assert_eq!(epochs.end_offset_for(epoch, Offset(80)), expected, "epoch {epoch}");
        check(LeaderEpoch(-1), None);
        check(LeaderEpoch(1), Some((LeaderEpoch(1), Offset(10))));
        check(LeaderEpoch(2), Some((LeaderEpoch(2), Offset(30))));
        check(LeaderEpoch(3), Some((LeaderEpoch(2), Offset(30))));
        check(LeaderEpoch(4), Some((LeaderEpoch(4), Offset(50))));
        check(LeaderEpoch(7), Some((LeaderEpoch(7), Offset(80))));
        check(LeaderEpoch(8), None);
        assert_eq!(Epochs::default().end_offset_for(LeaderEpoch(0), Offset(0)), None);
        assert_eq!(
            (epochs.epoch_at(Offset(9)), epochs.epoch_at(Offset(10)), epochs.epoch_at(Offset(49))),
            (None, Some(LeaderEpoch(2)), Some(LeaderEpoch(4)))
        );
    }

    #[test]
    fn parsing_returns_the_rendered_epochs() {
        let epochs = Epochs::new(vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))]);
        assert_eq!(epochs.render(), "0\n2\n0 0\n3 17\n");
        assert_eq!(Epochs::parse(&epochs.render()), Ok(epochs));
        for bad in ["", "1\n0\n", "0\n2\n0 0\n", "0\n1\nx y\n", "0\n2\n3 0\n1 5\n"] {
            assert!(Epochs::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn truncation_keeps_the_epoch_that_holds_the_start() {
        let mut epochs =
            Epochs::new(vec![(LeaderEpoch(2), Offset(10)), (LeaderEpoch(4), Offset(30)), (LeaderEpoch(7), Offset(50))]);
        epochs.truncate_before(Offset(35));
        assert_eq!(epochs.entries(), [(LeaderEpoch(4), Offset(35)), (LeaderEpoch(7), Offset(50))]);
        epochs.truncate_from(Offset(50));
        assert_eq!(epochs.entries(), [(LeaderEpoch(4), Offset(35))]);
    }
}
