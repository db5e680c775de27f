//! Records latencies, and turns them into the form of a profile.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::config::profile::{BOUNDS_US, Latency};

/// Latencies in nanoseconds, up to ten minutes.
pub struct Recorder(Histogram<u64>);

impl Recorder {
    pub fn new() -> Recorder {
        Recorder(Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are in order"))
    }

    /// Adds one operation.
    pub fn record(&mut self, duration: Duration) {
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds one operation of this many nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// The number of operations.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Percentiles in tenths of a microsecond, and the histogram.
    pub fn latency(&self) -> Latency {
        let at = |quantile| (self.0.value_at_quantile(quantile) as f64 / 100.0).round() / 10.0;
        let mut histogram = vec![0; BOUNDS_US.len() + 1];
        for value in self.0.iter_recorded() {
            let us = value.value_iterated_to().div_ceil(1000);
            histogram[BOUNDS_US.partition_point(|bound| *bound < us)] += value.count_since_last_iteration();
        }
        Latency {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            histogram,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_in_the_bucket_of_its_latency() {
        let mut recorder = Recorder::new();
        for us in [3, 5, 6, 999_000] {
            recorder.record(Duration::from_micros(us));
        }
        recorder.record(Duration::from_secs(11));
        let latency = recorder.latency();
        assert_eq!((latency.count, latency.histogram.iter().sum::<u64>()), (5, 5));
        assert_eq!(latency.histogram[0] + latency.histogram[1], 3);
        assert_eq!((latency.histogram[16], latency.histogram[18]), (1, 1));
        assert!((5.0..7.0).contains(&latency.p50_us), "{latency:?}");
    }
}
