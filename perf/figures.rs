//! Figures of two brokers beside each other: of whom, of what, against which goal, and the table of them in Markdown.

#![allow(dead_code, reason = "every bench uses its own part of this file")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    Kafka,
    KafkaFlushed,
    Tidemill,
    TidemillForward,
    /// No broker: a bare durable write in place of each request.
    Disk,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Kafka, Side::KafkaFlushed, Side::Tidemill];
    /// For loads of a given rate.
    pub const PACED: [Side; 4] = [Side::Kafka, Side::KafkaFlushed, Side::Tidemill, Side::Disk];
    pub const BROKERS: [Side; 2] = [Side::Kafka, Side::Tidemill];
    pub const ROUTINGS: [Side; 2] = [Side::TidemillForward, Side::Tidemill];

    pub fn title(self) -> &'static str {
        match self {
            Side::Kafka => "Kafka 4.3, not flushed",
            Side::KafkaFlushed => "Kafka 4.3, flushed",
            Side::Tidemill => "Tidemill, flushed",
            Side::TidemillForward => "Tidemill, flushed, forward routing",
            Side::Disk => "bare `RWF_DSYNC` writes",
        }
    }
}

/// What a figure is of. Times are in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    MegabytesPerSecond,
    RequestsPerSecond,
    P50,
    P90,
    P99,
    P999,
    CpuPerGigabyte,
    CpuPerRequest,
    Resident,
    CommitsPerSecond,
    TransactionsPerSecond,
    RecordsPerSecond,
    /// p99 of the same load while a log is compacted.
    P99Compacting,
    /// Until all members of a group have what they shall have: after all have joined, one has left, one has come.
    AllJoined,
    OneLeft,
    OneCame,
    /// From a process's start until every coordinator answers, after a clean stop; and after kill -9.
    AnsweringAfterStop,
    AnsweringAfterKill,
    /// The part of both that is not the broker's own start.
    LoadedAfterStop,
    LoadedAfterKill,
}

/// By side, the medians of the rounds.
pub type Figures = BTreeMap<Side, BTreeMap<Metric, f64>>;

/// What is wanted of Tidemill's figure: a multiple of another, or so much.
pub struct Goal {
    metric: Metric,
    against: Against,
    factor: f64,
    is_minimum: bool,
}

enum Against {
    Side(Side),
    /// Another figure of Tidemill's own.
    Metric(Metric),
    Nothing,
}

impl Goal {
    pub const fn at_least(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against: Against::Side(against), factor, is_minimum: true }
    }

    pub const fn at_most(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against: Against::Side(against), factor, is_minimum: false }
    }

    pub const fn at_most_of_own(metric: Metric, own: Metric, factor: f64) -> Goal {
        Goal { metric, against: Against::Metric(own), factor, is_minimum: false }
    }

    /// In the metric's own unit.
    pub const fn below(metric: Metric, most: f64) -> Goal {
        Goal { metric, against: Against::Nothing, factor: most, is_minimum: false }
    }

    /// "3.4x the MB/s of ... (goal: >= 3x)"; marked when it is missed.
    fn verdict(&self, figures: &Figures) -> Option<String> {
        let of = |side: Side, metric: Metric| figures.get(&side)?.get(&metric).copied();
        let own = of(Side::Tidemill, self.metric)?;
        let value = match self.against {
            Against::Side(side) => own / of(side, self.metric)?,
            Against::Metric(metric) => own / of(Side::Tidemill, metric)?,
            Against::Nothing => own,
        };
        let is_met = if self.is_minimum { value >= self.factor } else { value <= self.factor };
        let (sign, mark) = (if self.is_minimum { ">=" } else { "<=" }, if is_met { "" } else { " **missed**" });
        let (metric, factor) = (name(self.metric), self.factor);
        Some(match self.against {
            Against::Side(side) => {
                format!("{value:.2}x {metric} of {} (goal {sign} {factor:.2}x){mark}", side.title())
            }
            Against::Metric(other) => format!("{metric} {value:.2}x {} (goal {sign} {factor:.2}x){mark}", name(other)),
            Against::Nothing => format!("{metric} {} (goal {sign} {}){mark}", time(value), time(factor)),
        })
    }
}

pub struct Row {
    pub title: &'static str,
    pub shown: &'static [Metric],
    pub goals: &'static [Goal],
    pub figures: Figures,
}

pub fn name(metric: Metric) -> &'static str {
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
        Metric::CommitsPerSecond => "OffsetCommit/s",
        Metric::TransactionsPerSecond => "transactions/s",
        Metric::RecordsPerSecond => "records/s",
        Metric::P99Compacting => "p99 while compacting",
        Metric::AllJoined => "all joined",
        Metric::OneLeft => "one left",
        Metric::OneCame => "one came",
        Metric::AnsweringAfterStop => "after a stop",
        Metric::AnsweringAfterKill => "after kill -9",
        Metric::LoadedAfterStop => "of that loading",
        Metric::LoadedAfterKill => "of that loading",
    }
}

/// A figure with its unit, in as many digits as mean something.
pub fn figure(metric: Metric, figures: &BTreeMap<Metric, f64>) -> String {
    let Some(value) = figures.get(&metric).copied() else { return format!("no {}", name(metric)) };
    match metric {
        Metric::P50
        | Metric::P90
        | Metric::P99
        | Metric::P999
        | Metric::P99Compacting
        | Metric::AllJoined
        | Metric::OneLeft
        | Metric::OneCame
        | Metric::AnsweringAfterStop
        | Metric::AnsweringAfterKill
        | Metric::LoadedAfterStop
        | Metric::LoadedAfterKill => format!("{} {}", name(metric), time(value)),
        Metric::MegabytesPerSecond => format!("{value:.0} MB/s"),
        Metric::RequestsPerSecond
        | Metric::CommitsPerSecond
        | Metric::TransactionsPerSecond
        | Metric::RecordsPerSecond => format!("{value:.0} {}", name(metric)),
        Metric::CpuPerGigabyte => format!("{value:.2} CPU s/GB"),
        Metric::CpuPerRequest => format!("{value:.1} CPU us/request"),
        Metric::Resident => format!("{:.0} MB", value / 1e6),
    }
}

fn time(us: f64) -> String {
    match us {
        _ if us < 1e3 => format!("{us:.0} us"),
        _ if us < 1e6 => format!("{:.1} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A line for each row, a column for each side, and last what Tidemill's figures are beside the others'.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |s: std::fmt::Arguments<'_>| writeln!(text, "{s}").expect("a string takes it");
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
    text
}

const END: &str = "<!-- end -->";

/// Puts the table between its marks, the ones of the same options.
pub fn write(path: &Path, table: &str, bench: &str, options: &str) {
    let begin = format!("<!-- made by `cargo bench --bench {bench} --{options} --write` -->");
    let text = std::fs::read_to_string(path).expect("perf/README.md is there");
    let (before, rest) = text.split_once(&begin).expect("perf/README.md has the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("perf/README.md has the mark where the table ends");
    std::fs::write(path, format!("{before}{begin}\n{table}{END}{after}")).expect("perf/README.md can be written");
}
