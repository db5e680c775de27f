//! Latency over time, in bounded memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The length of an interval at the start of a run.
const FIRST: Duration = Duration::from_millis(100);
/// The largest number of intervals. A histogram has 12 KiB, so a timeline has at most 7 MiB.
const INTERVALS_MAX: usize = 600;

/// Latencies by the time at which their requests were due.
///
/// The intervals are short at first: 0.1 s. When a run needs more than [`INTERVALS_MAX`], neighbours are merged, and
/// every interval has twice the length. A run of a minute keeps 0.1 s, and a run of ten minutes 1.6 s.
#[derive(Debug)]
pub struct Timeline {
    interval: Duration,
    /// Latencies in microseconds, with two significant digits.
    intervals: Vec<Histogram<u32>>,
}

/// One interval with at least one request. Latencies are in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The middle of the interval, in seconds from the start of the measurement.
    pub seconds: f64,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Timeline {
    pub fn new() -> Timeline {
        Timeline { interval: FIRST, intervals: Vec::new() }
    }

    /// Adds a request that was due `at` this time after the start of the measurement.
    pub fn record(&mut self, at: Duration, latency: Duration) {
        let index = loop {
            let index = (at.as_nanos() / self.interval.as_nanos()) as usize;
            if index < INTERVALS_MAX {
                break index;
            }
            self.merge_neighbours();
        };
        while self.intervals.len() <= index {
            self.intervals.push(Histogram::new_with_bounds(1, 600_000_000, 2).expect("the bounds are in order"));
        }
        self.intervals[index].saturating_record(latency.as_micros().max(1) as u64);
    }

    fn merge_neighbours(&mut self) {
        self.interval *= 2;
        let mut left = std::mem::take(&mut self.intervals).into_iter();
        while let Some(mut merged) = left.next() {
            if let Some(right) = left.next() {
                merged.add(&right).expect("both have the same bounds");
            }
            self.intervals.push(merged);
        }
    }

    /// The intervals that have requests.
    pub fn points(&self) -> Vec<Point> {
        let seconds = self.interval.as_secs_f64();
        let used = self.intervals.iter().enumerate().filter(|(_, latencies)| !latencies.is_empty());
        let point = |(index, latencies): (usize, &Histogram<u32>)| Point {
            seconds: (index as f64 + 0.5) * seconds,
            per_second: latencies.len() as f64 / seconds,
            p50: latencies.value_at_quantile(0.5) as f64,
            p99: latencies.value_at_quantile(0.99) as f64,
            max: latencies.value_at_quantile(1.0) as f64,
        };
        used.map(point).collect()
    }

    /// The points, and the length of an interval.
    pub fn to_json(&self) -> Value {
        let point = |point: Point| {
            json!({
                "seconds": point.seconds, "requests_per_second": point.per_second,
                "p50_us": point.p50, "p99_us": point.p99, "max_us": point.max,
            })
        };
        let points: Vec<Value> = self.points().into_iter().map(point).collect();
        json!({ "interval_seconds": self.interval.as_secs_f64(), "points": points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_in_the_interval_in_which_its_request_was_due() {
        let mut timeline = Timeline::new();
        let ms = Duration::from_millis;
        for at in (0..1000).step_by(10).filter(|at| !(400..500).contains(at)) {
            timeline.record(ms(at), ms(if (700..800).contains(&at) { 50 } else { 1 }));
        }
        let points = timeline.points();
        assert_eq!(points.len(), 9, "an interval without a request is no point");
        let stalled: Vec<f64> = points.iter().filter(|point| point.p99 > 2000.0).map(|point| point.seconds).collect();
        assert_eq!(stalled, [0.75]);
        assert!(points.iter().all(|point| (point.per_second - 100.0).abs() < 1e-9), "{points:?}");
        assert_eq!(timeline.to_json()["points"].as_array().map(Vec::len), Some(9));
    }

    #[test]
    fn a_long_run_keeps_every_request_in_bounded_memory() {
        let mut timeline = Timeline::new();
        for second in 0..3600 {
            timeline.record(Duration::from_secs(second), Duration::from_micros(second + 1));
        }
        assert!(timeline.intervals.len() <= INTERVALS_MAX);
        assert_eq!(timeline.intervals.iter().map(Histogram::len).sum::<u64>(), 3600);
        let points = timeline.points();
        let last = points.last().expect("a point");
        assert!((3590.0..3606.0).contains(&last.seconds) && last.max > 3500.0, "{last:?}");
    }
}
