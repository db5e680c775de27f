//! Latency over time, in bounded memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The length of an interval at the start of a run.
const FIRST: Duration = Duration::from_millis(100);
/// The largest number of intervals. A histogram has 12 KiB, so a timeline has at most 7 MiB.
const INTERVALS_MAX: usize = 600;

/// Latencies by the time at which their requests were due, and the number of requests by the time of their responses.
///
/// The intervals are short at first: 0.1 s. When a run needs more than [`INTERVALS_MAX`], neighbours are merged, and
/// every interval has twice the length. A run of a minute keeps 0.1 s, and a run of ten minutes 1.6 s.
#[derive(Debug)]
pub struct Timeline {
    length: Duration,
    intervals: Vec<Interval>,
}

#[derive(Debug)]
struct Interval {
    /// In microseconds, with two significant digits.
    latencies: Histogram<u32>,
    responses: u64,
}

/// One interval. Latencies are in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The middle of the interval, in seconds from the start of the measurement.
    pub seconds: f64,
    /// Responses.
    pub per_second: f64,
    /// `None` if no request was due.
    pub latency: Option<Percentiles>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Timeline {
    pub fn new() -> Timeline {
        Timeline { length: FIRST, intervals: Vec::new() }
    }

    /// Adds a request that was due `at` this time after the start of the measurement.
    pub fn record(&mut self, at: Duration, latency: Duration) {
        // The later time first: it may merge intervals.
        self.interval(at + latency).responses += 1;
        self.interval(at).latencies.saturating_record(latency.as_micros().max(1) as u64);
    }

    fn interval(&mut self, at: Duration) -> &mut Interval {
        let index = loop {
            let index = (at.as_nanos() / self.length.as_nanos()) as usize;
            if index < INTERVALS_MAX {
                break index;
            }
            self.merge_neighbours();
        };
        while self.intervals.len() <= index {
            let latencies = Histogram::new_with_bounds(1, 600_000_000, 2).expect("the bounds are in order");
            self.intervals.push(Interval { latencies, responses: 0 });
        }
        &mut self.intervals[index]
    }

    fn merge_neighbours(&mut self) {
        self.length *= 2;
        let mut left = std::mem::take(&mut self.intervals).into_iter();
        while let Some(mut merged) = left.next() {
            if let Some(right) = left.next() {
                merged.latencies.add(&right.latencies).expect("both have the same bounds");
                merged.responses += right.responses;
            }
            self.intervals.push(merged);
        }
    }

    /// The intervals until the last in which a request was due.
    pub fn points(&self) -> Vec<Point> {
        let seconds = self.length.as_secs_f64();
        let last = self.intervals.iter().rposition(|interval| !interval.latencies.is_empty());
        let used = self.intervals.iter().take(last.map_or(0, |last| last + 1)).enumerate();
        let point = |(index, interval): (usize, &Interval)| {
            let latencies = Some(&interval.latencies).filter(|latencies| !latencies.is_empty());
            Point {
                seconds: (index as f64 + 0.5) * seconds,
                per_second: interval.responses as f64 / seconds,
                latency: latencies.map(|latencies| Percentiles {
                    p50: latencies.value_at_quantile(0.5) as f64,
                    p99: latencies.value_at_quantile(0.99) as f64,
                    max: latencies.value_at_quantile(1.0) as f64,
                }),
            }
        };
        used.map(point).collect()
    }

    /// The points, and the length of an interval.
    pub fn to_json(&self) -> Value {
        let point = |point: Point| {
            let latency = |of: fn(Percentiles) -> f64| point.latency.map(of);
            json!({
                "seconds": point.seconds, "responses_per_second": point.per_second,
                "p50_us": latency(|all| all.p50), "p99_us": latency(|all| all.p99), "max_us": latency(|all| all.max),
            })
        };
        let points: Vec<Value> = self.points().into_iter().map(point).collect();
        json!({ "interval_seconds": self.length.as_secs_f64(), "points": points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_in_the_interval_in_which_its_request_was_due() {
        let mut timeline = Timeline::new();
        let ms = Duration::from_millis;
        // From 0.7 s to 0.8 s the broker stalls, and responds to all requests of that time at 0.85 s.
        for at in (0..1000).step_by(10).filter(|at| !(400..500).contains(at)) {
            timeline.record(ms(at), if (700..800).contains(&at) { ms(850 - at) } else { ms(1) });
        }
        let points = timeline.points();
        assert_eq!(points.len(), 10);
        let slow = |point: &&Point| point.latency.is_some_and(|latency| latency.p50 > 2000.0);
        let stalled: Vec<f64> = points.iter().filter(slow).map(|point| point.seconds).collect();
        assert_eq!(stalled, [0.75]);
        assert_eq!(points[4].latency, None, "no request was due");
        let rates: Vec<u64> = points.iter().map(|point| point.per_second.round() as u64).collect();
        assert_eq!(rates, [100, 100, 100, 100, 0, 100, 100, 0, 200, 100], "responses");
        assert_eq!(timeline.to_json()["points"].as_array().map(Vec::len), Some(10));
    }

    #[test]
    fn a_long_run_keeps_every_request_in_bounded_memory() {
        let mut timeline = Timeline::new();
        for second in 0..3600 {
            timeline.record(Duration::from_secs(second), Duration::from_micros(second + 1));
        }
        assert!(timeline.intervals.len() <= INTERVALS_MAX);
        let count = |of: fn(&Interval) -> u64| timeline.intervals.iter().map(of).sum::<u64>();
        assert_eq!((count(|one| one.latencies.len()), count(|one| one.responses)), (3600, 3600));
        let points = timeline.points();
        let last = points.last().expect("a point");
        assert!((3590.0..3606.0).contains(&last.seconds), "{last:?}");
        assert!(last.latency.is_some_and(|latency| latency.max > 3500.0), "{last:?}");
    }
}
