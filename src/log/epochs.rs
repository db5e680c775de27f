//! Which leader epoch begins at which offset: KIP-101's `leader-epoch-checkpoint`.
//!
//! The file is Kafka's: a version line (`0`), a count, then `epoch start_offset` lines, both ascending.

use crate::model::{LeaderEpoch, Offset};

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Epochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    pub fn new(entries: Vec<(LeaderEpoch, Offset)>) -> Epochs {
        Epochs { entries }
    }

    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// A batch of this epoch begins at this offset. Older and equal epochs change nothing.
    pub fn note(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if epoch >= 0 && self.entries.last().is_none_or(|(last, _)| epoch > *last) {
            self.entries.push((epoch, offset));
        }
    }

    /// KIP-101: the largest epoch at or below the asked one, and where it ends: the start of the next, or the log's
    /// end for the newest. An epoch below all that are known ends where the first one begins.
    pub fn end_offset_for(&self, asked: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let (newest, _) = *self.entries.last()?;
        if asked == newest {
            return Some((newest, log_end));
        }
        if asked > newest || asked < 0 {
            return None;
        }
        let next = self.entries.partition_point(|(epoch, _)| *epoch <= asked);
        let end = self.entries[next].1;
        Some((if next == 0 { asked } else { self.entries[next - 1].0 }, end))
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// Records below `start` are gone: only the epoch in which `start` lies is kept of those before it.
    pub fn cut_before(&mut self, start: Offset) {
        let after = self.entries.partition_point(|(_, first)| *first <= start);
        if after > 1 {
            self.entries.drain(..after - 1);
        }
        if let Some(first) = self.entries.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// Records at and above `end` are gone.
    pub fn cut_from(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }

    pub fn render(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    pub fn parse(text: &str) -> Result<Epochs, String> {
        let mut lines = text.lines();
        if lines.next() != Some("0") {
            return Err("its first line is not version 0".into());
        }
        let count: usize = lines.next().and_then(|line| line.parse().ok()).ok_or("its second line is not a count")?;
        let mut entries = Vec::new();
        for line in lines.take(count) {
            let (epoch, start) = line.split_once(' ').ok_or_else(|| format!("{line:?} is not `epoch offset`"))?;
            let entry = (epoch.parse(), start.parse());
            let (Ok(epoch), Ok(start)) = entry else { return Err(format!("{line:?} is not `epoch offset`")) };
            if entries.last().is_some_and(|(last, from): &(LeaderEpoch, Offset)| epoch <= *last || start < *from) {
                return Err("its epochs do not ascend".into());
            }
            entries.push((epoch, start));
        }
        if entries.len() != count {
            return Err(format!("it announces {count} entries and has {}", entries.len()));
        }
        Ok(Epochs { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = Epochs::new(vec![(2, 10), (4, 30), (7, 50)]);
        let check = |asked, expected| assert_eq!(epochs.end_offset_for(asked, 80), expected, "epoch {asked}");
        check(-1, None);
        check(1, Some((1, 10)));
        check(2, Some((2, 30)));
        check(3, Some((2, 30)));
        check(4, Some((4, 50)));
        check(7, Some((7, 80)));
        check(8, None);
        assert_eq!(Epochs::default().end_offset_for(0, 0), None);
        assert_eq!((epochs.epoch_at(9), epochs.epoch_at(10), epochs.epoch_at(49)), (None, Some(2), Some(4)));
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let epochs = Epochs::new(vec![(0, 0), (3, 17)]);
        assert_eq!(epochs.render(), "0\n2\n0 0\n3 17\n");
        assert_eq!(Epochs::parse(&epochs.render()), Ok(epochs));
        for bad in ["", "1\n0\n", "0\n2\n0 0\n", "0\n1\nx y\n", "0\n2\n3 0\n1 5\n"] {
            assert!(Epochs::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cutting_keeps_the_epoch_that_the_start_lies_in() {
        let mut epochs = Epochs::new(vec![(2, 10), (4, 30), (7, 50)]);
        epochs.cut_before(35);
        assert_eq!(epochs.entries(), [(4, 35), (7, 50)]);
        epochs.cut_from(50);
        assert_eq!(epochs.entries(), [(4, 35)]);
    }
}
