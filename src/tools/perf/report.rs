//! The result of a run, as tables or as JSON.

use super::timeline::Timeline;
use super::window::Usage;
use crate::tools::output::table_of_numbers;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A histogram of latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// An empty histogram from 1 ns to 10 minutes, with three significant digits.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are in order")
}

/// The result of a run. The counts are those within the measured window.
pub struct Report {
    /// The name of the subcommand.
    pub verb: &'static str,
    /// The parameters of the run in one line.
    pub setting: String,
    /// The length of the window.
    pub seconds: f64,
    pub bytes: u64,
    pub requests: u64,
    pub records: u64,
    /// Each histogram with its name: `produce`, `end_to_end` or `fetch`.
    pub latencies: Vec<(&'static str, Latencies)>,
    /// The last of these latencies over time.
    pub timeline: Timeline,
    /// The bytes and records that waiting consumers received; `None` without consumers.
    pub consumed: Option<Consumed>,
    /// The number of rejected batches by error code, and of other errors by description.
    pub errors: BTreeMap<String, u64>,
    pub usage: Usage,
    /// The client polls without sleeping, so that its CPU share is no sign of a limit.
    pub spins: bool,
}

/// The data that waiting consumers received within the window.
#[derive(Clone, Copy, Default, Debug)]
pub struct Consumed {
    /// Bytes of stored batches.
    pub bytes: u64,
    pub records: u64,
}

impl Report {
    /// Writes the report as tables, or as one line of JSON.
    pub fn print(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if json { writeln!(out, "{}", self.to_json()) } else { self.print_table(out) }
    }

    pub fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.seconds.max(1e-9)
    }

    pub fn requests_per_second(&self) -> f64 {
        self.per_second(self.requests)
    }

    /// The cores that this client kept busy.
    pub fn client_cores(&self) -> f64 {
        self.usage.own_seconds / self.seconds.max(1e-9)
    }

    /// The reasons for which the figures may be those of the client or of the machine, and not of the broker.
    pub fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        if !self.spins && self.client_cores() >= CLIENT_SHARE {
            let percent = 100.0 * self.client_cores();
            limits.push(format!(
                "the client was the limit: its thread used {percent:.0} % of a core; run more clients at \
                 the same time, or send larger batches"
            ));
        }
        if self.usage.busy_share.is_some_and(|share| share >= BUSY_SHARE) {
            limits.push(
                "the cores of this machine were busy all the time: the client, the broker and other processes \
                 waited for each other"
                    .into(),
            );
        }
        if let Some(share) = self.usage.steal_share.filter(|share| *share >= STEAL_SHARE) {
            limits.push(format!("the hypervisor took {:.1} % of the time of the cores (steal)", 100.0 * share));
        }
        limits
    }

    /// The cores that the broker kept busy.
    pub fn broker_cores(&self) -> Option<f64> {
        self.usage.broker_seconds.map(|seconds| seconds / self.seconds.max(1e-9))
    }

    pub fn cpu_seconds_per_gb(&self) -> Option<f64> {
        self.usage.broker_seconds.filter(|_| self.bytes > 0).map(|seconds| seconds / (self.bytes as f64 / 1e9))
    }

    fn cpu_us_per_request(&self) -> Option<f64> {
        self.usage.broker_seconds.filter(|_| self.requests > 0).map(|seconds| seconds * 1e6 / self.requests as f64)
    }

    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "verb": self.verb,
            "setting": self.setting,
            "seconds": self.seconds,
            "mb_per_second": self.per_second(self.bytes) / 1e6,
            "requests_per_second": self.per_second(self.requests),
            "records_per_second": self.per_second(self.records),
            "errors": self.errors,
            "broker_cpu_seconds_per_gb": self.cpu_seconds_per_gb(),
            "broker_cpu_us_per_request": self.cpu_us_per_request(),
            "broker_cpu_cores": self.broker_cores(),
            "broker_resident_bytes": self.usage.broker_resident_bytes,
            "client_cpu_cores": self.client_cores(),
            "machine_busy_share": self.usage.busy_share,
            "machine_steal_share": self.usage.steal_share,
            "limits": self.limits(),
            "timeline": self.timeline.to_json(),
        });
        if let Some(consumed) = &self.consumed {
            all["consumed_mb_per_second"] = json!(self.per_second(consumed.bytes) / 1e6);
            all["consumed_records_per_second"] = json!(self.per_second(consumed.records));
        }
        for (name, latencies) in &self.latencies {
            let values =
                QUANTILES.iter().map(|&(name, quantile)| (name.to_string(), json!(at_us(latencies, quantile))));
            let mut values: Map<String, Value> = values.collect();
            values.insert("count".into(), json!(latencies.len()));
            values.insert("histogram".into(), histogram(latencies).into_iter().map(Bucket::to_json).collect());
            all[format!("{name}_us")] = Value::Object(values);
        }
        all
    }

    fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.setting)?;
        let mut table = table_of_numbers(&["MB/s", "requests/s", "records/s", "errors", "client cores"], 0);
        table.add_row([
            format!("{:.1}", self.per_second(self.bytes) / 1e6),
            format!("{:.0}", self.per_second(self.requests)),
            format!("{:.0}", self.per_second(self.records)),
            self.errors.values().sum::<u64>().to_string(),
            format!("{:.2}", self.client_cores()),
        ]);
        writeln!(out, "{table}")?;
        if let Some(consumed) = &self.consumed {
            let mut table = table_of_numbers(&["consumed MB/s", "consumed records/s"], 0);
            let (bytes, records) = (self.per_second(consumed.bytes), self.per_second(consumed.records));
            table.add_row([format!("{:.1}", bytes / 1e6), format!("{records:.0}")]);
            writeln!(out, "{table}")?;
        }
        if !self.latencies.is_empty() {
            let mut header = vec!["latency (us)"];
            header.extend(QUANTILES.iter().map(|(name, _)| *name));
            let mut table = table_of_numbers(&header, 0);
            for (name, latencies) in &self.latencies {
                let mut row = vec![name.to_string()];
                row.extend(QUANTILES.iter().map(|&(_, quantile)| format!("{:.0}", at_us(latencies, quantile))));
                table.add_row(row);
            }
            writeln!(out, "{table}")?;
        }
        if let (Some(seconds), Some(resident)) = (self.usage.broker_seconds, self.usage.broker_resident_bytes) {
            let mut table = table_of_numbers(&["broker cores", "CPU s/GB", "CPU us/request", "resident MB"], 0);
            table.add_row([
                format!("{:.2}", seconds / self.seconds),
                self.cpu_seconds_per_gb().map_or("-".into(), |value| format!("{value:.3}")),
                self.cpu_us_per_request().map_or("-".into(), |value| format!("{value:.1}")),
                format!("{:.0}", resident as f64 / 1e6),
            ]);
            writeln!(out, "{table}")?;
        }
        for (error, count) in &self.errors {
            writeln!(out, "error: {error}: {count}")?;
        }
        for limit in self.limits() {
            writeln!(out, "note: {limit}")?;
        }
        Ok(())
    }
}

/// A client that uses this share of a core is near its limit, for it has one thread.
const CLIENT_SHARE: f64 = 0.85;
/// The share of all cores above which they have no time left.
const BUSY_SHARE: f64 = 0.97;
/// The share that a hypervisor may take without a note.
const STEAL_SHARE: f64 = 0.01;

/// The percentiles of every table.
pub const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The requests whose latency is between two bounds, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    pub from_us: f64,
    pub to_us: f64,
    pub count: u64,
}

impl Bucket {
    fn to_json(self) -> Value {
        json!({ "from_us": self.from_us, "to_us": self.to_us, "count": self.count })
    }
}

/// The histogram with ten buckets for each decade, from the first to the last that is not empty.
pub fn histogram(latencies: &Latencies) -> Vec<Bucket> {
    let bound = |index: i32| 10f64.powf(f64::from(index) / 10.0);
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for value in latencies.iter_recorded() {
        let us = value.value_iterated_to() as f64 / 1e3;
        *counts.entry((us.log10() * 10.0).floor() as i32).or_default() += value.count_since_last_iteration();
    }
    let (Some(first), Some(last)) = (counts.keys().next().copied(), counts.keys().next_back().copied()) else {
        return Vec::new();
    };
    let bucket = |index: i32| Bucket {
        from_us: bound(index),
        to_us: bound(index + 1),
        count: counts.get(&index).copied().unwrap_or(0),
    };
    (first..=last).map(bucket).collect()
}

/// A percentile in microseconds.
pub fn at_us(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_cpu_per_gigabyte_and_per_request() {
        let mut produce = latencies();
        produce.record(2_000_000).unwrap();
        let report = Report {
            verb: "produce",
            setting: "one".into(),
            seconds: 2.0,
            bytes: 500_000_000,
            requests: 1000,
            records: 16000,
            latencies: vec![("produce", produce)],
            timeline: Timeline::new(),
            consumed: Some(Consumed { bytes: 50_000_000, records: 40 }),
            errors: BTreeMap::from([("NOT_LEADER_OR_FOLLOWER".into(), 3)]),
            usage: Usage {
                broker_seconds: Some(0.25),
                broker_resident_bytes: Some(42_000_000),
                own_seconds: 1.8,
                busy_share: Some(0.99),
                steal_share: Some(0.025),
            },
            spins: false,
        };
        let json = report.to_json();
        assert_eq!(json["mb_per_second"], 250.0);
        assert_eq!(json["broker_cpu_seconds_per_gb"], 0.5);
        assert_eq!(json["broker_cpu_us_per_request"], 250.0);
        assert!((json["produce_us"]["p50"].as_f64().unwrap() - 2000.0).abs() < 2.0);
        assert_eq!(
            (&json["consumed_mb_per_second"], &json["consumed_records_per_second"]),
            (&json!(25.0), &json!(20.0))
        );
        let mut text = Vec::new();
        report.print(false, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("250.0") && text.contains("NOT_LEADER_OR_FOLLOWER: 3"), "{text}");
        for limit in ["its thread used 90 % of a core", "were busy all the time", "took 2.5 % of the time"] {
            assert!(text.contains(limit), "{limit}: {text}");
        }
        let idle = Report { usage: Usage { own_seconds: 1.0, ..Usage::default() }, ..report };
        assert_eq!(idle.limits(), Vec::<String>::new());
    }

    #[test]
    fn a_histogram_has_every_request_once() {
        let mut all = latencies();
        for us in [11, 15, 15, 9_999] {
            all.record(us * 1000).unwrap();
        }
        let buckets = histogram(&all);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 4);
        assert_eq!((buckets[0].count, buckets[1].count), (1, 2), "{buckets:?}");
        assert!(buckets.windows(2).all(|two| (two[0].to_us - two[1].from_us).abs() < 1e-9), "without gaps");
        assert_eq!(histogram(&latencies()), []);
    }
}
