//! The figures of a comparison between brokers: sides, metrics, goals, and their table in Markdown.

#![allow(dead_code, reason = "every bench uses its own part of this file")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::statistics::median;

/// A broker and its configuration. Each is a column of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    Kafka,
    KafkaFlushed,
    Tidemill,
    TidemillForward,
    /// No broker: a loop that receives, checks, copies, writes durably and responds.
    BareLoop,
    /// No broker: a bare durable write instead of each request.
    Disk,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Kafka, Side::KafkaFlushed, Side::Tidemill];
    /// For loads of producers alone.
    pub const PRODUCED: [Side; 4] = [Side::Kafka, Side::KafkaFlushed, Side::Tidemill, Side::BareLoop];
    /// The same with a fixed rate.
    pub const PACED: [Side; 5] = [Side::Kafka, Side::KafkaFlushed, Side::Tidemill, Side::BareLoop, Side::Disk];
    pub const BROKERS: [Side; 2] = [Side::Kafka, Side::Tidemill];
    pub const ROUTINGS: [Side; 2] = [Side::TidemillForward, Side::Tidemill];

    pub fn title(self) -> &'static str {
        match self {
            Side::Kafka => "Kafka 4.4, not flushed",
            Side::KafkaFlushed => "Kafka 4.4, flushed",
            Side::Tidemill => "Tidemill, flushed",
            Side::TidemillForward => "Tidemill, flushed, forward routing",
            Side::BareLoop => "bare loop, flushed",
            Side::Disk => "bare `RWF_DSYNC` writes",
        }
    }
}

/// The quantity that a figure measures. Times are in microseconds.
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
    /// The p99 of the same load while a log is compacted.
    P99Compacting,
    /// The time until a group has its target assignment after all members have joined; after one has left; and after
    /// one has joined.
    AllJoined,
    OneLeft,
    OneCame,
    /// The time from the start of the process until every coordinator responds, after a clean stop and after kill -9.
    AnsweringAfterStop,
    AnsweringAfterKill,
    /// The part of it after the broker reported that it is ready.
    LoadedAfterStop,
    LoadedAfterKill,
}

/// The figures of one round.
pub type Round = BTreeMap<Metric, f64>;

/// The medians of the rounds, by side.
pub type Figures = BTreeMap<Side, Round>;

/// The median of each metric over the rounds of each side.
pub fn medians(rounds: BTreeMap<Side, Vec<Round>>) -> Figures {
    let medians = |rounds: Vec<Round>| {
        let metrics = rounds[0].keys().copied();
        let of = |metric: Metric| median(rounds.iter().filter_map(|round| round.get(&metric).copied()).collect());
        metrics.map(|metric| (metric, of(metric))).collect()
    };
    rounds.into_iter().map(|(side, rounds)| (side, medians(rounds))).collect()
}

/// Prints one round while the bench runs.
pub fn print_round(round: usize, side: Side, shown: &[Metric], figures: &Round) {
    let shown: Vec<String> = shown.iter().map(|metric| figure(*metric, figures)).collect();
    println!("  round {} {:<24} {}", round + 1, side.title(), shown.join(", "));
}

/// A limit for a figure of Tidemill: a multiple of another figure, or an absolute value.
pub struct Goal {
    metric: Metric,
    against: Against,
    factor: f64,
    is_minimum: bool,
}

enum Against {
    /// The same metric of another side.
    Side(Side),
    /// Another metric of Tidemill.
    Metric(Metric),
    Nothing,
}

impl Goal {
    /// At least `factor` times the figure of `against`.
    pub const fn at_least(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against: Against::Side(against), factor, is_minimum: true }
    }

    /// At most `factor` times the figure of `against`.
    pub const fn at_most(metric: Metric, against: Side, factor: f64) -> Goal {
        Goal { metric, against: Against::Side(against), factor, is_minimum: false }
    }

    /// At most `factor` times another metric of Tidemill.
    pub const fn at_most_of_own(metric: Metric, own: Metric, factor: f64) -> Goal {
        Goal { metric, against: Against::Metric(own), factor, is_minimum: false }
    }

    /// At most `most`, in the unit of the metric.
    pub const fn below(metric: Metric, most: f64) -> Goal {
        Goal { metric, against: Against::Nothing, factor: most, is_minimum: false }
    }

    /// "3.40x MB/s of ... (goal >= 3.00x)", with a mark if the goal is missed. `None` if a figure is missing.
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

/// One work, as a row of the table.
pub struct Row {
    pub title: &'static str,
    pub shown: &'static [Metric],
    pub goals: &'static [Goal],
    pub figures: Figures,
}

/// The name of a metric in the table.
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

/// A figure with its unit, rounded to its significant digits.
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

/// The table: a line for each row, a column for each side, and a last column with the goals.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |s: std::fmt::Arguments<'_>| writeln!(text, "{s}").expect("writing to a string succeeds");
    let sides: BTreeSet<Side> = rows.iter().flat_map(|row| row.figures.keys().copied()).collect();
    let titles: Vec<&str> = sides.iter().map(|side| side.title()).collect();
    line(format_args!("| work | {} | Tidemill against them |", titles.join(" | ")));
    line(format_args!("|---|{}---|", "---|".repeat(sides.len())));
    for row in rows {
        let cell = |side: &Side| match row.figures.get(side) {
            Some(figures) => {
                // Bare writes have no broker, so they have no CPU figure.
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

/// Replaces the table between its marks in `path`. The marks contain the bench and its options.
pub fn write(path: &Path, table: &str, bench: &str, options: &str) {
    let begin = format!("<!-- made by `cargo bench --bench {bench} --{options} --write` -->");
    let text = std::fs::read_to_string(path).expect("perf/README.md exists");
    let (before, rest) = text.split_once(&begin).expect("perf/README.md has the mark at the start of the table");
    let (_, after) = rest.split_once(END).expect("perf/README.md has the mark at the end of the table");
    std::fs::write(path, format!("{before}{begin}\n{table}{END}{after}")).expect("perf/README.md is writable");
}
