//! A histogram of durations in fixed buckets, which one thread fills without allocation.

use std::cell::Cell;
use std::time::Duration;

/// The number of finite buckets: two for each power of two from 2^-18 s (4 us) to 2^3 s. An observation lands in the
/// right bucket of a native histogram of Prometheus (schema 1) too.
pub const BUCKETS: usize = 43;

/// The upper bound of each finite bucket in nanoseconds, rounded down. A duration is a whole number of nanoseconds, so
/// rounding moves none into another bucket.
const BOUNDS_NS: [u64; BUCKETS] = bounds_ns();

const fn bounds_ns() -> [u64; BUCKETS] {
    let mut bounds = [0; BUCKETS];
    let mut at = 0;
    while at < BUCKETS {
        // 2^((at - 36) / 2) s. The odd ones have the factor sqrt(2), as 2^62 times 1.414...
        let factor: u128 = if at % 2 == 0 { 1 << 62 } else { 6_521_908_912_666_391_106 };
        bounds[at] = ((1_000_000_000 * factor) >> (62 + 18 - at / 2)) as u64;
        at += 1;
    }
    bounds
}

/// Counts durations. Owned by one thread, and read as a [`Distribution`].
#[derive(Clone)]
pub struct Histogram {
    /// The last one counts the durations above all bounds.
    counts: [Cell<u64>; BUCKETS + 1],
    sum_ns: Cell<u64>,
}

/// The counts of a [`Histogram`] at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Distribution {
    /// By bucket. The last one counts the durations above all bounds.
    pub counts: [u64; BUCKETS + 1],
    /// The sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [const { Cell::new(0) }; BUCKETS + 1], sum_ns: Cell::new(0) }
    }
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: [0; BUCKETS + 1], sum_ns: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_times(duration, 1);
    }

    /// Counts a duration so many times.
    pub fn observe_times(&self, duration: Duration, times: u64) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &self.counts[BOUNDS_NS.partition_point(|bound| *bound < ns)];
        bucket.set(bucket.get() + times);
        self.sum_ns.set(self.sum_ns.get().wrapping_add(ns.wrapping_mul(times)));
    }

    /// The counts so far.
    pub fn read(&self) -> Distribution {
        Distribution { counts: self.counts.each_ref().map(Cell::get), sum_ns: self.sum_ns.get() }
    }
}

impl Distribution {
    /// The upper bounds of the finite buckets in seconds.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (0..BUCKETS).map(|at| 2_f64.powf((at as f64 - 36.0) / 2.0))
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration in seconds that the share `quantile` of all durations does not exceed, as Prometheus estimates it:
    /// linear within a bucket. The highest bound stands for all durations above it; 0 without durations.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = quantile * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, upper) in self.counts.into_iter().zip(Distribution::bounds()) {
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                return lower + (upper - lower) * (rank - below) / count;
            }
            below += count;
            lower = upper;
        }
        if self.count() == 0 { 0.0 } else { lower }
    }

    /// The same, and as many durations of zero that together there are `count`.
    pub fn with_zeros(mut self, count: u64) -> Distribution {
        self.counts[0] += count.saturating_sub(self.count());
        self
    }

    /// Adds the counts of another one.
    pub fn add(&mut self, other: &Distribution) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_belongs_to_its_own_bucket() {
        for (at, (ns, seconds)) in BOUNDS_NS.into_iter().zip(Distribution::bounds()).enumerate() {
            assert_eq!(ns, (seconds * 1e9) as u64, "bucket {at}");
            let histogram = Histogram::default();
            for ns in [ns, ns + 1] {
                histogram.observe(Duration::from_nanos(ns));
            }
            let counts = histogram.read().counts;
            assert_eq!((counts[at], counts[at + 1], counts.iter().sum::<u64>()), (1, 1, 2), "bucket {at}");
        }
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        assert!(Distribution::default().quantile(0.99).abs() < 1e-12);
        let histogram = Histogram::default();
        for _ in 0..99 {
            histogram.observe(Duration::from_micros(900));
        }
        histogram.observe(Duration::from_secs(60));
        let read = histogram.read();
        // 900 us are between 2^-10.5 s and 2^-10 s.
        assert!((690e-6..977e-6).contains(&read.quantile(0.5)), "{}", read.quantile(0.5));
        assert!((970e-6..977e-6).contains(&read.quantile(0.99)), "{}", read.quantile(0.99));
        assert!((read.quantile(0.999) - 8.0).abs() < 1e-9);
    }

    #[test]
    fn sums_and_extremes_are_counted() {
        let histogram = Histogram::default();
        for duration in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3600)] {
            histogram.observe(duration);
        }
        let mut read = histogram.read();
        assert_eq!((read.counts[0], read.counts[36], read.counts[BUCKETS]), (1, 1, 1));
        assert_eq!((read.count(), read.sum_ns), (3, 3_601_000_000_000));
        read.add(&histogram.read());
        assert_eq!((read.count(), read.counts[36]), (6, 2));
        let with_zeros = read.clone().with_zeros(10);
        assert_eq!((with_zeros.count(), with_zeros.counts[0], with_zeros.sum_ns), (10, 6, read.sum_ns));
        assert_eq!(read.clone().with_zeros(3), read);
        histogram.observe_times(Duration::from_secs(1), 3);
        assert_eq!((histogram.read().counts[36], histogram.read().count()), (4, 6));
        histogram.observe_times(Duration::from_secs(1), 0);
        assert_eq!(histogram.read().count(), 6);
    }
}
