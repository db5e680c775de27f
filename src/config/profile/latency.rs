//! The distribution of a latency, as a profile stores it.

use serde::{Deserialize, Serialize};

/// The upper bounds of the buckets of a histogram, in microseconds. One more bucket takes the larger values.
pub const BOUNDS_US: [u64; 18] = [
    5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    10_000_000,
];

/// The largest latency that a measurement can report: an hour.
const US_MAX: f64 = 3.6e9;

/// Percentiles in microseconds, and a histogram over [`BOUNDS_US`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The number of measured operations.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// The 90th percentile.
    pub p90_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The 99.9th percentile.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Operations in each bucket.
    pub histogram: Vec<u64>,
}

impl Latency {
    /// The reason why the values are impossible, if they are.
    pub(super) fn problem(&self) -> Option<String> {
        let values = [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us];
        if self.count == 0 {
            return Some("count is 0".into());
        }
        if let Some(value) = values.iter().find(|value| !(0.0..=US_MAX).contains(*value)) {
            return Some(format!("{value} us is not a latency"));
        }
        if !values.is_sorted() {
            return Some(format!("the percentiles {values:?} are not in order"));
        }
        let sum = self.histogram.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
        if self.histogram.len() != BOUNDS_US.len() + 1 || sum != Some(self.count) {
            return Some(format!("the histogram has not {} operations in {} buckets", self.count, BOUNDS_US.len() + 1));
        }
        None
    }
}
