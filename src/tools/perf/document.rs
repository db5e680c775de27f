//! The report of a run: `report.html`, a page without any other file, and `report.json`, its numbers.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::chart::{Axis, Chart, Line};
use super::environment::Environment;
use super::report::{Latencies, QUANTILES, Report, at_us, histogram};
use super::sweep::Sweep;
use super::timeline::Percentiles;
use crate::tools::Failure;
use crate::tools::tune::svg::escaped;

/// The names of the two files.
pub const HTML: &str = "report.html";
const JSON: &str = "report.json";

/// The result of a command.
pub enum Outcome {
    Run(Box<Report>),
    Sweep(Sweep),
}

impl Outcome {
    /// Writes the result as tables, or as one line of JSON.
    pub fn print(&self, json: bool, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Outcome::Run(report) => report.print(json, out),
            Outcome::Sweep(sweep) => sweep.print(json, out),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Outcome::Run(report) => report.to_json(),
            Outcome::Sweep(sweep) => sweep.to_json(),
        }
    }

    /// The run that the charts of a single run show: of a sweep, that at the knee.
    fn shown(&self) -> Option<&Report> {
        match self {
            Outcome::Run(report) => Some(report),
            Outcome::Sweep(sweep) => Some(&sweep.steps.get(sweep.knee.unwrap_or(0))?.1),
        }
    }

    fn limits(&self) -> Vec<String> {
        match self {
            Outcome::Run(report) => report.limits(),
            Outcome::Sweep(sweep) => sweep.limits(),
        }
    }
}

/// A report.
pub struct Document<'a> {
    /// The command that repeats the run.
    pub command: &'a str,
    pub environment: &'a Environment,
    pub outcome: &'a Outcome,
}

/// The command that repeats the run, for a shell: with the bootstrap address, which an environment variable may hold.
pub fn command(arguments: impl Iterator<Item = String>, bootstrap: &str) -> String {
    let mut words: Vec<String> = arguments.skip(1).collect();
    if !words.iter().any(|word| word.starts_with("--bootstrap") || word.starts_with("-b")) {
        words.extend(["--bootstrap".into(), bootstrap.into()]);
    }
    let is_plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=./:,@+".contains(c));
    let quoted = |word: String| if is_plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    format!("tidemill {}", words.join(" "))
}

/// Creates the directory of a report, and checks before the run that files can be written to it.
pub fn prepare(directory: &Path) -> Result<(), Failure> {
    let probe = directory.join(format!(".{JSON}.{}", std::process::id()));
    let written =
        fs::create_dir_all(directory).and_then(|()| fs::write(&probe, b"")).and_then(|()| fs::remove_file(&probe));
    written.map_err(|error| cannot_write(directory, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot write the report to {}: {error}", path.display());
    Failure::with_hint(message, "name another directory with --report")
}

impl Document<'_> {
    /// Writes both files.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        for (name, text) in [(HTML, self.to_html()), (JSON, format!("{:#}\n", self.to_json()))] {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
        }
        Ok(())
    }

    pub fn to_json(&self) -> Value {
        json!({
            "command": self.command,
            "environment": self.environment.to_json(),
            "result": self.outcome.to_json(),
        })
    }

    /// The page. Its charts are inline, and it loads nothing.
    pub fn to_html(&self) -> String {
        let mut body = String::new();
        let _ = writeln!(body, "<h1>{}</h1>", escaped(&self.title()));
        if let Some(report) = self.outcome.shown() {
            let _ = writeln!(body, "<p class=\"setting\">{}</p>", escaped(&report.setting));
        }
        if let Outcome::Sweep(sweep) = self.outcome {
            let _ = writeln!(body, "<p class=\"result\">{}</p>", escaped(&sweep.sentence()));
        }
        let class = self.environment.get("durability", "class").unwrap_or("unknown");
        let _ = writeln!(body, "<p class=\"result\">Durability: {}.</p>", escaped(class));
        for limit in self.outcome.limits() {
            let _ = writeln!(body, "<p class=\"note\"><b>Note:</b> {}</p>", escaped(&limit));
        }
        match self.outcome {
            Outcome::Sweep(sweep) => {
                body.push_str(&sweep_part(sweep));
                body.push_str(&self.run_part(if sweep.knee.is_some() {
                    " at the knee"
                } else {
                    " at the lowest rate"
                }));
            }
            Outcome::Run(_) => body.push_str(&self.run_part("")),
        }
        body.push_str("<h2>Circumstances</h2>\n<div class=\"sections\">\n");
        for section in &self.environment.sections {
            let _ = writeln!(body, "<section><h3>{}</h3><table class=\"facts\">", escaped(section.name));
            for (name, value) in &section.facts {
                let _ = writeln!(body, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
            }
            body.push_str("</table></section>\n");
        }
        let _ = writeln!(body, "</div>\n<h2>Repeat it</h2>\n<pre>{}</pre>", escaped(self.command));
        let _ = writeln!(body, "<p>{METHOD} The numbers are in <code>{JSON}</code>.</p>");
        let title = escaped(&self.title());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
        )
    }

    fn title(&self) -> String {
        let verb = match self.outcome {
            Outcome::Run(report) => report.verb,
            Outcome::Sweep(_) => "sweep",
        };
        let software = self.environment.get("broker", "software").unwrap_or("a broker");
        format!("tidemill perf {verb}: {software}")
    }

    /// The figures and the charts of one run.
    fn run_part(&self, of: &str) -> String {
        let mut part = String::new();
        let Some(report) = self.outcome.shown() else { return part };
        let _ = writeln!(part, "<h2>Figures{of}</h2>\n{}", figures(report));
        if let Some((name, latencies)) = report.latencies.last() {
            let _ = writeln!(part, "<h2>Latency over time{of} ({name})</h2>\n{}", over_time(report).draw());
            let _ = writeln!(part, "<h2>Responses over time{of}</h2>\n{}", rate_over_time(report).draw());
            let _ = writeln!(part, "<h2>Latency by percentile{of}</h2>\n{}", by_percentile(report).draw());
            let _ = writeln!(part, "<h2>Histogram{of} ({name})</h2>\n{}", bars(latencies).draw());
        }
        part
    }
}

/// A table with one column for each name.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cell = |tag: &str, text: &str| format!("<{tag}>{}</{tag}>", escaped(text));
    let row = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|text| cell(tag, &text)).collect();
        format!("<tr>{}</tr>\n", cells.join(""))
    };
    let head = row("th", &mut header.iter().map(|name| name.to_string()));
    let body: String = rows.into_iter().map(|cells| row("td", &mut cells.into_iter())).collect();
    format!("<div class=\"wide\"><table class=\"numbers\">\n{head}{body}</table></div>\n")
}

/// The tables of one run: throughput, latencies, errors.
fn figures(report: &Report) -> String {
    let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let consumed = report.consumed.map(|consumed| report.per_second(consumed.bytes) / 1e6);
    let mut part = table(
        &[
            "MB/s",
            "requests/s",
            "records/s",
            "consumed MB/s",
            "errors",
            "client cores",
            "broker cores",
            "broker CPU s/GB",
        ],
        [vec![
            format!("{:.1}", report.per_second(report.bytes) / 1e6),
            format!("{:.0}", report.requests_per_second()),
            format!("{:.0}", report.per_second(report.records)),
            consumed.map_or("-".to_owned(), |value| format!("{value:.1}")),
            report.errors.values().sum::<u64>().to_string(),
            format!("{:.2}", report.client_cores()),
            optional(report.broker_cores()),
            optional(report.cpu_seconds_per_gb()),
        ]],
    );
    let mut header = vec!["latency", "requests"];
    header.extend(QUANTILES.iter().map(|(name, _)| *name));
    let rows = report.latencies.iter().map(|(name, latencies)| {
        let mut row = vec![name.to_string(), latencies.len().to_string()];
        row.extend(QUANTILES.iter().map(|&(_, quantile)| latency(at_us(latencies, quantile))));
        row
    });
    part.push_str(&table(&header, rows));
    if !report.errors.is_empty() {
        let rows = report.errors.iter().map(|(error, count)| vec![error.clone(), count.to_string()]);
        part.push_str(&table(&["error", "count"], rows));
    }
    part
}

const LATENCY: Axis = Axis { name: "latency", is_logarithmic: true, format: latency };

fn over_time(report: &Report) -> Chart {
    let points = report.timeline.points();
    let line = |name: &str, of: fn(Percentiles) -> f64| Line {
        name: name.to_owned(),
        points: points.iter().filter_map(|point| Some((point.seconds, of(point.latency?)))).collect(),
    };
    Chart {
        title: "Latency over time, by the time at which requests were due",
        x: Axis { name: "seconds", is_logarithmic: false, format: short },
        y: LATENCY,
        lines: vec![line("p50", |all| all.p50), line("p99", |all| all.p99), line("max", |all| all.max)],
        bars: Vec::new(),
        mark: None,
    }
}

fn rate_over_time(report: &Report) -> Chart {
    let points = report.timeline.points();
    Chart {
        title: "Responses over time",
        x: Axis { name: "seconds", is_logarithmic: false, format: short },
        y: Axis { name: "per second", is_logarithmic: false, format: short },
        lines: vec![Line {
            name: "responses".into(),
            points: points.iter().map(|point| (point.seconds, point.per_second)).collect(),
        }],
        bars: Vec::new(),
        mark: None,
    }
}

/// The percentile axis is logarithmic in 1 / (1 - quantile), so that p99 and p99.9 have as much room as p90.
fn by_percentile(report: &Report) -> Chart {
    let quantiles = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999];
    let line = |(name, latencies): &(&'static str, Latencies)| {
        let known = quantiles.iter().filter(|quantile| 1.0 / (1.0 - **quantile) <= latencies.len() as f64);
        Line {
            name: name.to_string(),
            points: known.map(|&quantile| (1.0 / (1.0 - quantile), at_us(latencies, quantile))).collect(),
        }
    };
    Chart {
        title: "Latency by percentile",
        x: Axis { name: "percentile", is_logarithmic: true, format: percentile },
        y: LATENCY,
        lines: report.latencies.iter().map(line).collect(),
        bars: Vec::new(),
        mark: None,
    }
}

fn bars(latencies: &Latencies) -> Chart {
    Chart {
        title: "Requests by latency",
        x: Axis { name: "latency", is_logarithmic: true, format: latency },
        y: Axis { name: "requests", is_logarithmic: false, format: short },
        lines: Vec::new(),
        bars: histogram(latencies)
            .into_iter()
            .map(|bucket| (bucket.from_us, bucket.to_us, bucket.count as f64))
            .collect(),
        mark: None,
    }
}

/// The charts and the table of a sweep.
fn sweep_part(sweep: &Sweep) -> String {
    let line = |name: &str, quantile: f64| Line { name: name.to_owned(), points: sweep.points(quantile).collect() };
    let x = || Axis { name: "offered requests/s", is_logarithmic: true, format: short };
    let mark = sweep.knee.map(|knee| (sweep.steps[knee].0.offered, "knee"));
    let by_rate = Chart {
        title: "Latency by offered rate",
        x: x(),
        y: LATENCY,
        lines: vec![line("p50", 0.5), line("p99", 0.99), line("p99.9", 0.999)],
        bars: Vec::new(),
        mark,
    };
    let mut header = vec!["offered/s", "achieved/s", "MB/s", "client cores"];
    header.extend(QUANTILES.iter().map(|(name, _)| *name));
    header.push("");
    let rows = sweep.steps.iter().enumerate().map(|(index, (step, report))| {
        let mut row = vec![
            format!("{:.0}", step.offered),
            format!("{:.0}", step.achieved),
            format!("{:.1}", report.per_second(report.bytes) / 1e6),
            format!("{:.2}", report.client_cores()),
        ];
        let at = |quantile| report.latencies.last().map_or("-".into(), |(_, all)| latency(at_us(all, quantile)));
        row.extend(QUANTILES.iter().map(|&(_, quantile)| at(quantile)));
        row.push(sweep.mark(index).into());
        row
    });
    format!("<h2>Latency by offered rate</h2>\n{}{}", by_rate.draw(), table(&header, rows))
}

/// A latency with three digits.
fn latency(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "us"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let scale = match value {
        value if value < 10.0 => 100.0,
        value if value < 100.0 => 10.0,
        _ => 1.0,
    };
    format!("{} {unit}", (value * scale).round() / scale)
}

/// A number with few digits.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e4 => format!("{} k", value / 1e3),
        // At most two decimals, without trailing zeros.
        value => format!("{}", (value * 100.0).round() / 100.0),
    }
}

/// The percentile of 1 / (1 - quantile).
fn percentile(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 1.0 / nines);
    format!("p{}", (percent * 1e4).round() / 1e4)
}

const METHOD: &str = "Open loop: with a rate, the latency of a request counts from the time at which it was due, so \
    that a stall is part of every request that it delays. The client has one thread; its cores are measured over the \
    same window. A figure of one run is no comparison: alternate the brokers, and compare medians.";

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #ffffff; --rule: #dfe4ea; --note: #fff3d6;
  --c0: #1767b5; --c1: #c2620a; --c2: #8639b4; --c3: #2c7d3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa6b5; --paper: #14181e; --rule: #2c343f;
  --note: #40340f; --c0: #5aa9f2; --c1: #f0994a; --c2: #c48bea; --c3: #6cc47c; } }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 0 0 .3rem; }
.setting { color: var(--soft); } .result { font-weight: 600; }
.note { background: var(--note); padding: .5rem .8rem; border-radius: 4px; }
pre { border: 1px solid var(--rule); border-radius: 4px; padding: .6rem .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
table { border-collapse: collapse; } .wide { overflow-x: auto; margin-bottom: 1rem; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--rule); }
.numbers th, .numbers td { text-align: right; padding: .2rem .5rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.numbers th { color: var(--soft); font-weight: 600; }
.facts th { text-align: left; color: var(--soft); font-weight: 400; white-space: nowrap; vertical-align: top; }
.facts td { overflow-wrap: anywhere; }
.sections { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); } svg .axis { fill: var(--ink); }
.grid { stroke: var(--rule); fill: none; } .mark { stroke: var(--ink); stroke-dasharray: 4 3; fill: none; }
.line { fill: none; stroke-width: 1.6; } .bar { fill: var(--c0); }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); }
.line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); }
.dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); }
";

#[cfg(test)]
mod tests;
