//! How long ago the first record that a group has not read was committed, from the high watermarks of earlier
//! snapshots. No read of the log and no clock on the data path; the resolution is the interval between scrapes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::{Offset, TopicPartition};

/// The most samples of one partition. Beyond it, every second one of the older half is dropped.
const SAMPLES_MAX: usize = 128;

/// A high watermark, and when snapshots first and last found it.
#[derive(Clone, Copy)]
struct Sample {
    high_watermark: Offset,
    first_seen: Instant,
    last_seen: Instant,
}

/// The high watermarks of the partitions that groups read.
#[derive(Default)]
pub(super) struct History {
    /// Oldest first.
    partitions: HashMap<TopicPartition, VecDeque<Sample>>,
}

impl History {
    /// Takes the high watermarks of a snapshot. Partitions that it lacks are forgotten.
    pub fn note(&mut self, now: Instant, found: &HashMap<TopicPartition, Offset>) {
        self.partitions.retain(|id, _| found.contains_key(id));
        for (id, high_watermark) in found {
            let samples = self.partitions.entry(*id).or_default();
            match samples.back_mut().filter(|last| last.high_watermark == *high_watermark) {
                Some(last) => last.last_seen = now,
                None => {
                    samples.push_back(Sample { high_watermark: *high_watermark, first_seen: now, last_seen: now });
                }
            }
            if samples.len() > SAMPLES_MAX {
                let mut at = 0;
                samples.retain(|_| {
                    at += 1;
                    at % 2 == 1 || at > SAMPLES_MAX / 2
                });
            }
        }
    }

    /// The age of the record at `committed`: at most the returned time, or at least that time if the record is older
    /// than the first sample. Zero if there is no such record.
    pub fn age(&self, id: TopicPartition, committed: Offset, now: Instant) -> Duration {
        let Some(samples) = self.partitions.get(&id) else { return Duration::ZERO };
        if samples.back().is_none_or(|last| last.high_watermark <= committed) {
            return Duration::ZERO;
        }
        let before = samples.iter().rev().find(|sample| sample.high_watermark <= committed);
        let since = before.map(|sample| sample.last_seen).or(samples.front().map(|oldest| oldest.first_seen));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicId;

    const ID: TopicPartition = TopicPartition { topic: TopicId([1; 16]), partition: 0 };

    #[test]
    fn lag_is_the_time_since_the_record_was_not_there() {
        let (mut history, begun) = (History::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (seconds, offset) in [(0, 5), (10, 5), (20, 8), (30, 9)] {
            history.note(at(seconds), &HashMap::from([(ID, Offset(offset))]));
        }
        for (committed, expected) in [(9, 0), (8, 20), (6, 30), (5, 30), (4, 40), (0, 40)] {
            assert_eq!(history.age(ID, Offset(committed), at(40)), Duration::from_secs(expected), "{committed}");
        }
        let other = TopicPartition { partition: 1, ..ID };
        assert_eq!(history.age(other, Offset(0), at(40)), Duration::ZERO);
        history.note(at(50), &HashMap::new());
        assert!(history.partitions.is_empty(), "a partition that no group reads is forgotten");
    }

    #[test]
    fn the_history_of_a_busy_partition_is_bounded() {
        let (mut history, begun) = (History::default(), Instant::now());
        for second in 0..100_000 {
            let found = HashMap::from([(ID, Offset(second as i64))]);
            history.note(begun + Duration::from_secs(second), &found);
            assert!(history.partitions[&ID].len() <= SAMPLES_MAX);
        }
        let now = begun + Duration::from_secs(99_999);
        assert_eq!(history.age(ID, Offset(99_990), now), Duration::from_secs(9), "the newest samples are kept");
        assert_eq!(history.age(ID, Offset(0), now), Duration::from_secs(99_999), "and the oldest one");
    }
}
