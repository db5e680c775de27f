//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

use crate::model::Distribution;

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The labels of a sample: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text of a response, family by family.
#[derive(Default)]
pub(super) struct Exposition(String);

/// The samples of one family. Its header precedes the first one; a family without samples leaves no text.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    is_begun: bool,
}

impl Exposition {
    /// Begins a family. `help` is one line.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        debug_assert!(!help.contains(['\n', '\\']), "the help of {name} is one line");
        Family { text: &mut self.0, name, kind, help, is_begun: false }
    }

    /// A counter.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        debug_assert!(name.ends_with("_total"), "a counter is called {name}_total");
        self.family(name, Kind::Counter, help)
    }

    /// A gauge.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        self.family(name, Kind::Gauge, help)
    }

    /// A histogram of durations, in seconds.
    pub fn histogram<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        debug_assert!(name.ends_with("_seconds"), "a histogram is in its base unit: {name}");
        self.family(name, Kind::Histogram, help)
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample. All samples of a family have different labels.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        debug_assert!(self.kind != Kind::Histogram);
        self.line("", labels, None, value);
        self
    }

    /// Adds the buckets, the sum and the count of a histogram.
    pub fn distribution(&mut self, labels: Labels<'_>, distribution: &Distribution) -> &mut Self {
        debug_assert!(self.kind == Kind::Histogram);
        let mut count = 0;
        for (bound, more) in Distribution::bounds().zip(distribution.counts) {
            count += more;
            self.line("_bucket", labels, Some(&bound), count);
        }
        let count = distribution.count();
        self.line("_bucket", labels, Some(&"+Inf"), count);
        self.line("_sum", labels, None, seconds(distribution.sum_ns));
        self.line("_count", labels, None, count);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        if !std::mem::replace(&mut self.is_begun, true) {
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(self.text, "# HELP {0} {1}\n# TYPE {0} {kind}", self.name, self.help);
        }
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut opening = '{';
        for (name, value) in labels {
            self.text.push(opening);
            opening = ',';
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(self.text, value);
            self.text.push('"');
        }
        if let Some(bound) = bound {
            let _ = write!(self.text, "{opening}le=\"{bound}\"");
            opening = ',';
        }
        if opening == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Nanoseconds in seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_family_has_one_header_and_escaped_labels() {
        let mut text = Exposition::default();
        text.gauge("empty", "No sample.");
        text.gauge("a_bytes", "Bytes.").sample(&[], 1).sample(&[("topic", "x\"\\\n"), ("b", "")], 0.5);
        let expected = "# HELP a_bytes Bytes.\n# TYPE a_bytes gauge\na_bytes 1\n\
            a_bytes{topic=\"x\\\"\\\\\\n\",b=\"\"} 0.5\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn buckets_are_cumulative() {
        let histogram = crate::model::Histogram::default();
        for ms in [1, 1, 1000, 100_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut text = Exposition::default();
        text.histogram("t_seconds", "Time.").distribution(&[("shard", "0")], &histogram.read());
        let text = text.into_text();
        for line in [
            "t_seconds_bucket{shard=\"0\",le=\"0.0009765625\"} 0",
            "t_seconds_bucket{shard=\"0\",le=\"1\"} 3",
            "t_seconds_bucket{shard=\"0\",le=\"8\"} 3",
            "t_seconds_bucket{shard=\"0\",le=\"+Inf\"} 4",
            "t_seconds_sum{shard=\"0\"} 101.002",
            "t_seconds_count{shard=\"0\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
