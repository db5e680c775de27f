//! The measured time window. Each client runs on its own thread and starts before the window; only latencies that end
//! within the window count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::figures::Metric;
use super::support::node::Node;
use super::support::usage::cpu_ticks;

const WARMUP: Duration = Duration::from_millis(500);

/// The start and the end of the measurement.
#[derive(Clone, Copy)]
pub struct Window {
    pub begins: Instant,
    pub ends: Instant,
}

impl Window {
    /// Records the time from `begun` until now if now is within the window.
    pub fn record(&self, begun: Instant, latencies: &mut Histogram<u64>) {
        let now = Instant::now();
        if (self.begins..self.ends).contains(&now) {
            latencies.saturating_record((now - begun).as_nanos() as u64);
        }
    }

    /// Whether the window has not ended.
    pub fn is_open(&self) -> bool {
        Instant::now() < self.ends
    }
}

/// An empty histogram of nanoseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
}

/// The result of a measurement.
pub struct Measured {
    pub latencies: Histogram<u64>,
    seconds: f64,
    /// The CPU time of the broker, in hundredths of a second.
    ticks: u64,
}

impl Measured {
    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// CPU time of the broker per request.
    pub fn cpu_us_per_request(&self) -> f64 {
        self.ticks as f64 * 10_000.0 / self.latencies.len().max(1) as f64
    }

    /// The rate, as the metric `rate`, and the p50 and p99 latencies.
    pub fn figures(&self, rate: Metric) -> BTreeMap<Metric, f64> {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        BTreeMap::from([(rate, self.per_second()), (Metric::P50, at(0.5)), (Metric::P99, at(0.99))])
    }
}

/// Runs `client` on a thread for each of `shares`, and measures for `lasts`.
pub fn measure<S: Send>(
    node: &Node,
    lasts: Duration,
    shares: Vec<S>,
    client: impl Fn(S, &Window) -> Histogram<u64> + Sync,
) -> Measured {
    let begins = Instant::now() + WARMUP;
    let window = Window { begins, ends: begins + lasts };
    std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || client(share, &window))).collect();
        std::thread::sleep(window.begins.saturating_duration_since(Instant::now()));
        let ticks = cpu_ticks(node.pid());
        std::thread::sleep(window.ends.saturating_duration_since(Instant::now()));
        let ticks = cpu_ticks(node.pid()) - ticks;
        let mut all = latencies();
        for client in clients {
            all.add(client.join().expect("the client does not panic")).expect("the same bounds");
        }
        Measured { latencies: all, seconds: lasts.as_secs_f64(), ticks }
    })
}
