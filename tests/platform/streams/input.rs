//! The application's input, made from a seed, and the output that follows from it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::chance::Chance;

pub const PARTITIONS: u64 = 4;
/// The join window: the largest time between the records of a pair.
pub const WINDOW_MS: i64 = 2_000;
const WORDS: u64 = 300;
const KEYS: u64 = 40;
/// The time between two records, in their timestamps.
const STEP_MS: i64 = 4;

/// Input and expected output of one run.
pub struct Input {
    /// One record per line: topic, partition, timestamp, key, value.
    pub records: String,
    /// The number of occurrences of each word.
    pub counts: BTreeMap<String, u64>,
    /// Keys and values of `joined`, in order.
    pub pairs: Vec<(String, String)>,
}

/// One record of `left` or `right`.
struct Half {
    key: u64,
    timestamp: i64,
    value: String,
}

impl Input {
    /// `count` records: half of them lines, the others for the join.
    ///
    /// All timestamps differ. After a restart a join's window store numbers the records of one key and timestamp from 0
    /// again, and so may lose one of two equal ones (with any broker).
    pub fn new(chance: &mut Chance, count: usize) -> Input {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        // No timestamp is in the future or beyond retention.
        let base = (now - Duration::from_secs(1_800)).as_millis() as i64;
        let mut input = Input { records: String::new(), counts: BTreeMap::new(), pairs: Vec::new() };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for n in 0..count {
            // Out of order by up to 341 records, each timestamp once.
            let timestamp = base + STEP_MS * (n as i64 ^ 0x155);
            match chance.below(4) {
                0 => left.push(input.half("left", 'L', chance.below(KEYS), timestamp, n)),
                1 => right.push(input.half("right", 'R', chance.below(KEYS), timestamp, n)),
                _ => input.line(chance, timestamp, n),
            }
        }
        for l in &left {
            let near = |r: &&Half| r.key == l.key && (r.timestamp - l.timestamp).abs() <= WINDOW_MS;
            let pair = |r: &Half| (format!("k{}", l.key), format!("{}+{}", l.value, r.value));
            input.pairs.extend(right.iter().filter(near).map(pair));
        }
        input.pairs.sort_unstable();
        input
    }

    fn record(&mut self, topic: &str, partition: u64, timestamp: i64, key: &str, value: &str) {
        self.records.push_str(&format!("{topic}\t{partition}\t{timestamp}\t{key}\t{value}\n"));
    }

    fn half(&mut self, topic: &str, side: char, key: u64, timestamp: i64, n: usize) -> Half {
        let value = format!("{side}{n}");
        // Both topics use the same partitioning, which the join needs.
        self.record(topic, key % PARTITIONS, timestamp, &format!("k{key}"), &value);
        Half { key, timestamp, value }
    }

    fn line(&mut self, chance: &mut Chance, timestamp: i64, n: usize) {
        // Some words are frequent, some are not.
        let mut word = || {
            let rare = chance.below(WORDS) + 1;
            format!("w{}", chance.below(rare))
        };
        let words: Vec<String> = (0..n % 6 + 1).map(|_| word()).collect();
        self.record("lines", n as u64 % PARTITIONS, timestamp, &format!("line{n}"), &words.join(" "));
        for word in words {
            *self.counts.entry(word).or_default() += 1;
        }
    }

    /// The number of records in `counts`.
    pub fn count_of_counts(&self) -> u64 {
        self.counts.values().sum()
    }
}
