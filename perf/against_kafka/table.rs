//! The figures as a table in Markdown, each beside its goal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::floors::Floors;
use super::life::Life;
use super::{Figures, Metric, Side};

/// What is wanted of Tidemill's figure, as a multiple of another side's.
pub struct Goal {
    metric: Metric,
    against: Side,
    factor: f64,
    is_minimum: bool,
}

impl Goal {
    pub const fn at_least(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against, factor, is_minimum: true }
    }

    pub const fn at_most(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against, factor, is_minimum: false }
    }

    /// "3.4x the MB/s of ... (goal: >= 3x)"; marked when it is missed.
    fn verdict(&self, figures: &Figures) -> Option<String> {
        let of = |side: Side| figures.get(&side)?.get(&self.metric).copied();
        let ratio = of(Side::Tidemill)? / of(self.against)?;
        let is_met = if self.is_minimum { ratio >= self.factor } else { ratio <= self.factor };
        let (sign, mark) = (if self.is_minimum { ">=" } else { "<=" }, if is_met { "" } else { " **missed**" });
        let (metric, against) = (name(self.metric), self.against.title());
        Some(format!("{ratio:.2}x {metric} of {against} (goal {sign} {:.2}x){mark}", self.factor))
    }
}

pub struct Row {
    pub title: &'static str,
    pub shown: &'static [Metric],
    pub goals: &'static [Goal],
    pub figures: Figures,
}

fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::MegabytesPerSecond => "MB/s",
        Metric::RequestsPerSecond => "requests/s",
        Metric::P50 => "p50",
        Metric::P90 => "p90",
        Metric::P99 => "p99",
        Metric::P999 => "p99.9",
        Metric::CpuPerGigabyte => "CPU s/GB",
        Metric::CpuPerRequest => "CPU us/request",
        Metric::Resident => "resident",
    }
}

/// A figure with its unit, in as many digits as mean something.
pub fn figure(metric: Metric, figures: &BTreeMap<Metric, f64>) -> String {
    let Some(value) = figures.get(&metric).copied() else { return format!("no {}", name(metric)) };
    match metric {
        Metric::P50 | Metric::P90 | Metric::P99 | Metric::P999 if value < 1000.0 => {
            format!("{} {value:.0} us", name(metric))
        }
        Metric::P50 | Metric::P90 | Metric::P99 | Metric::P999 => format!("{} {:.1} ms", name(metric), value / 1000.0),
        Metric::MegabytesPerSecond => format!("{value:.0} MB/s"),
        Metric::RequestsPerSecond => format!("{value:.0} requests/s"),
        Metric::CpuPerGigabyte => format!("{value:.2} CPU s/GB"),
        Metric::CpuPerRequest => format!("{value:.1} CPU us/request"),
        Metric::Resident => format!("{:.0} MB", value / 1e6),
    }
}

pub fn render(rows: &[Row], floors: &Floors, lives: &BTreeMap<Side, Life>, rounds: usize, seconds: &str) -> String {
    let mut text = String::new();
    let mut line = |s: std::fmt::Arguments<'_>| writeln!(text, "{s}").expect("a string takes it");
    line(format_args!(
        "Medians of {rounds} alternating rounds of {seconds} s each. CPU is the broker's, all threads.\n"
    ));
    let sides: BTreeSet<Side> = rows.iter().flat_map(|row| row.figures.keys().copied()).collect();
    let titles: Vec<&str> = sides.iter().map(|side| side.title()).collect();
    line(format_args!("| work | {} | Tidemill against them |", titles.join(" | ")));
    line(format_args!("|---|{}---|", "---|".repeat(sides.len())));
    for row in rows {
        let cell = |side: &Side| match row.figures.get(side) {
            Some(figures) => {
                // Bare writes have no broker whose CPU could be told.
                let known = row.shown.iter().filter(|metric| *side != Side::Disk || figures.contains_key(metric));
                known.map(|metric| figure(*metric, figures)).collect::<Vec<_>>().join(", ")
            }
            None => "-".to_string(),
        };
        let cells: Vec<String> = sides.iter().map(cell).collect();
        let verdicts: Vec<String> = row.goals.iter().filter_map(|goal| goal.verdict(&row.figures)).collect();
        line(format_args!("| {} | {} | {} |", row.title, cells.join(" | "), verdicts.join("; ")));
    }
    let (write, trip) = (floors.durable_write.as_secs_f64() * 1e6, floors.round_trip.as_secs_f64() * 1e6);
    line(format_args!(
        "\nFloors of this run: a bare `RWF_DSYNC` write of 4 KiB {write:.0} us, a loopback round trip {trip:.0} us."
    ));
    let alone = rows.iter().find(|row| row.title.starts_with("one request in flight"));
    if let Some(p50) = alone.and_then(|row| row.figures.get(&Side::Tidemill)?.get(&Metric::P50).copied()) {
        let ratio = p50 / floors.sum_us();
        let mark = if ratio <= 1.5 { "" } else { " **missed**" };
        line(format_args!("One request in flight takes {ratio:.2}x their sum (goal <= 1.50x){mark}."));
    }
    let p = |partitions: &str, metric| {
        let row = rows.iter().find(|row| row.title.ends_with(partitions))?;
        row.figures.get(&Side::Tidemill)?.get(&metric).copied()
    };
    for metric in [Metric::P50, Metric::P99] {
        if let (Some(one), Some(many)) = (p(", 1 partition", metric), p("1,000 partitions", metric)) {
            let ratio = many / one;
            let mark = if ratio <= 1.2 { "" } else { " **missed**" };
            line(format_args!(
                "{} over 1,000 partitions is {ratio:.2}x that of one (goal <= 1.20x){mark}.",
                name(metric)
            ));
        }
    }
    line(format_args!(
        "\n| life | start to first record | idle CPU | memory at start, after load | back after kill -9 |"
    ));
    line(format_args!("|---|---|---|---|---|"));
    for (side, life) in lives {
        let (at_start, after) = (life.resident_at_start >> 20, life.resident_after_load >> 20);
        let (start, restart) = (life.start.as_secs_f64(), life.restart.as_secs_f64());
        let data = life.data_bytes as f64 / 1e9;
        let idle = life.idle_percent;
        line(format_args!(
            "| {} | {start:.2} s | {idle:.1}% of a core | {at_start} MiB, {after} MiB | {restart:.2} s with {data:.1} GB |",
            side.title()
        ));
    }
    text
}

const END: &str = "<!-- end -->";

/// Puts the table between its marks, the ones of the same options.
pub fn write(path: &Path, table: &str, options: &str) {
    let begin = format!("<!-- made by `cargo bench --bench against_kafka --{options} --write` -->");
    let text = std::fs::read_to_string(path).expect("perf/README.md is there");
    let (before, rest) = text.split_once(&begin).expect("perf/README.md has the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("perf/README.md has the mark where the table ends");
    std::fs::write(path, format!("{before}{begin}\n{table}{END}{after}")).expect("perf/README.md can be written");
}
