//! The figures of a comparison between brokers: sides, metrics, goals, and their tables in Markdown.

#![allow(dead_code, reason = "every bench uses its own part of this file")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use tidemill::config::profile::Fingerprint;
use tidemill::tools::tune::machine::{Roots, core_fingerprint, disk_fingerprint};

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

    /// `None` if a figure is missing.
    fn verdict(&self, figures: &Figures) -> Option<Verdict> {
        let of = |side: Side, metric: Metric| figures.get(&side)?.get(&metric).copied();
        let own = of(Side::Tidemill, self.metric)?;
        let value = match self.against {
            Against::Side(side) => own / of(side, self.metric)?,
            Against::Metric(metric) => own / of(Side::Tidemill, metric)?,
            Against::Nothing => own,
        };
        let is_met = if self.is_minimum { value >= self.factor } else { value <= self.factor };
        let (sign, metric) = (if self.is_minimum { ">=" } else { "<=" }, name(self.metric));
        let figure = match self.against {
            Against::Side(side) => format!("{metric} against {}", side.title()),
            Against::Metric(other) => format!("{metric} against {}", name(other)),
            Against::Nothing => metric.to_owned(),
        };
        let (value, factor) = match self.against {
            Against::Nothing => (time(value), time(self.factor)),
            _ => (format!("{value:.2}x"), format!("{:.2}x", self.factor)),
        };
        Some(Verdict { figure, value, goal: format!("{sign} {factor}"), is_met })
    }
}

/// A goal beside the figure.
struct Verdict {
    figure: String,
    value: String,
    goal: String,
    is_met: bool,
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
        Metric::LoadedAfterStop => "loading after a stop",
        Metric::LoadedAfterKill => "loading after kill -9",
    }
}

/// A figure with its name, for the progress of a bench.
pub fn figure(metric: Metric, figures: &BTreeMap<Metric, f64>) -> String {
    let name = name(metric);
    figures.get(&metric).map_or(format!("no {name}"), |value| format!("{name} {}", quantity(metric, *value)))
}

/// A value in the unit of its column, rounded to its significant digits.
fn quantity(metric: Metric, value: f64) -> String {
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
        | Metric::LoadedAfterKill => time(value),
        Metric::MegabytesPerSecond
        | Metric::RequestsPerSecond
        | Metric::CommitsPerSecond
        | Metric::TransactionsPerSecond
        | Metric::RecordsPerSecond => format!("{value:.0}"),
        Metric::CpuPerGigabyte => format!("{value:.2}"),
        Metric::CpuPerRequest => format!("{value:.1}"),
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

/// The tables: one for all works that show the same metrics, with a line for each work and side and a column for each
/// metric; then the goals. `circumstances` precedes each table, so that each can be quoted alone.
pub fn render(rows: &[Row], circumstances: &str) -> String {
    let mut text = String::new();
    let mut sets: Vec<&[Metric]> = Vec::new();
    for row in rows {
        if !sets.contains(&row.shown) {
            sets.push(row.shown);
        }
    }
    for shown in sets {
        let alike: Vec<&Row> = rows.iter().filter(|row| row.shown == shown).collect();
        let _ = writeln!(text, "\n{circumstances}\n\n{}", table(&alike, shown).trim_end());
    }
    text.push_str(&goals(rows));
    text
}

/// One table: the first line of a work names it.
fn table(rows: &[&Row], shown: &[Metric]) -> String {
    let names: Vec<&str> = shown.iter().map(|metric| name(*metric)).collect();
    let mut text = format!("| work | side | {} |\n|---|---|{}\n", names.join(" | "), "---:|".repeat(shown.len()));
    for row in rows {
        let mut title = row.title;
        for (side, figures) in &row.figures {
            let known = |metric: &Metric| figures.get(metric).map_or("-".into(), |value| quantity(*metric, *value));
            let cells: Vec<String> = shown.iter().map(known).collect();
            let _ = writeln!(text, "| {title} | {} | {} |", side.title(), cells.join(" | "));
            title = "";
        }
    }
    text
}

/// The goals of all works: a line for each.
fn goals(rows: &[Row]) -> String {
    let mut lines = String::new();
    for row in rows {
        let mut title = row.title;
        for verdict in row.goals.iter().filter_map(|goal| goal.verdict(&row.figures)) {
            let Verdict { figure, value, goal, is_met } = verdict;
            let mark = if is_met { "met" } else { "**missed**" };
            let _ = writeln!(lines, "| {title} | {figure} | {value} | {goal} | {mark} |");
            title = "";
        }
    }
    if lines.is_empty() {
        return lines;
    }
    format!("\nGoals of Tidemill:\n\n| work | figure | value | goal | |\n|---|---|---:|---:|---|\n{lines}")
}

/// The number of goals that are missed, and of all.
pub fn missed(rows: &[Row]) -> (usize, usize) {
    let verdicts = rows.iter().flat_map(|row| row.goals.iter().filter_map(|goal| goal.verdict(&row.figures)));
    verdicts.fold((0, 0), |(missed, all), verdict| (missed + usize::from(!verdict.is_met), all + 1))
}

/// The machine, the disk below `directory`, and the commit, in two lines.
pub fn circumstances(directory: &Path) -> String {
    let roots = Roots::new(None);
    let cores = core_fingerprint(&roots);
    let disk = disk_fingerprint(&roots, directory).unwrap_or_default();
    let of = |found: &Fingerprint, name: &str| found.get(name).unwrap_or("unknown").to_owned();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or("unknown".into());
    format!(
        "Machine: {}, {} cores, hypervisor {}, Linux {}.\nDisk: {}, {}, write cache: {}. Commit: {commit}{}.",
        of(&cores, "cpu_model"),
        of(&cores, "cpus"),
        of(&cores, "hypervisor"),
        of(&cores, "kernel"),
        of(&disk, "device_transport"),
        of(&disk, "file_system"),
        of(&disk, "write_cache"),
        if changed { " with changes" } else { "" },
    )
}

const END: &str = "<!-- end -->";

/// Replaces the text between its marks in `path`. The marks contain the bench and its options.
pub fn write(path: &Path, made: &str, bench: &str, options: &str) {
    let begin = format!("<!-- made by `cargo bench --bench {bench} --{options} --write` -->");
    replace(path, &begin, made);
}

/// Replaces the text between `begin` and the next end mark.
pub fn replace(path: &Path, begin: &str, made: &str) {
    let text = std::fs::read_to_string(path).expect("perf/README.md exists");
    let (before, rest) = text.split_once(begin).expect("perf/README.md has the mark at the start");
    let (_, after) = rest.split_once(END).expect("perf/README.md has the mark at the end");
    std::fs::write(path, format!("{before}{begin}\n{made}{END}{after}")).expect("perf/README.md is writable");
}
