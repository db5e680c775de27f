//! The output of the bench: the tables of figures, the floors of the machine, the lifecycle of the brokers, and the
//! paragraph at the top of `perf/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::{self, Metric, Row, Side, name};
use super::floors::Floors;
use super::lifecycle::Lifecycle;

/// Renders the output as Markdown. The rounds and their seconds are the options of the run.
pub fn render(
    rows: &[Row],
    floors: &Floors,
    lifecycles: &BTreeMap<Side, Lifecycle>,
    (rounds, seconds): (usize, &str),
    circumstances: &str,
) -> String {
    let mut text = String::new();
    let mut line = |s: std::fmt::Arguments<'_>| writeln!(text, "{s}").expect("writing to a string succeeds");
    line(format_args!("Medians of {rounds} alternating rounds of {seconds} s each. CPU is the broker's, all threads."));
    line(format_args!("{}", figures::render(rows, circumstances).trim_end()));
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
        "\n{circumstances}\n\n| life | start to first record | idle CPU | memory at start | after load | back after \
         kill -9 | with data of |"
    ));
    line(format_args!("|---|---:|---:|---:|---:|---:|---:|"));
    for (side, lifecycle) in lifecycles {
        let (at_start, after) = (lifecycle.resident_at_start >> 20, lifecycle.resident_after_load >> 20);
        let (start, restart) = (lifecycle.start.as_secs_f64(), lifecycle.restart.as_secs_f64());
        let data = lifecycle.data_bytes as f64 / 1e9;
        let idle = lifecycle.idle_percent;
        line(format_args!(
            "| {} | {start:.2} s | {idle:.1}% of a core | {at_start} MiB | {after} MiB | {restart:.2} s | {data:.1} \
             GB |",
            side.title()
        ));
    }
    text
}

/// The paragraph at the top: the ratios of this run, the bad ones too.
pub fn summary(rows: &[Row], circumstances: &str) -> String {
    let of = |row: &Row, side: Side, metric: Metric| row.figures.get(&side)?.get(&metric).copied();
    // The least and the most over the works that are limited by throughput.
    let ratios = |metrics: &[Metric], other: Side| {
        let ratio = |row: &Row| {
            let metric = row.shown.first().filter(|metric| metrics.contains(metric))?;
            Some(of(row, Side::Tidemill, *metric)? / of(row, other, *metric)?)
        };
        let all: Vec<f64> = rows.iter().filter_map(ratio).collect();
        let (least, most) = all.iter().fold((f64::MAX, 0f64), |(least, most), one| (least.min(*one), most.max(*one)));
        (!all.is_empty()).then(|| format!("{least:.1} to {most:.1}"))
    };
    let rates = [Metric::MegabytesPerSecond, Metric::RequestsPerSecond];
    let mut text = String::from("Tidemill flushes every record before it acknowledges it. ");
    if let Some(range) = ratios(&rates, Side::Kafka) {
        text.push_str(&format!("It reached {range} times the throughput of Apache Kafka 4.4, which does not flush"));
        if let Some(range) = ratios(&rates, Side::KafkaFlushed) {
            text.push_str(&format!(", and {range} times that of Kafka with a flush for each message"));
        }
        text.push_str(". ");
    }
    let paced =
        rows.iter().find(|row| row.title.starts_with("2,000 requests/s") && row.title.ends_with(", 1 partition"));
    let p99 = |side| paced.and_then(|row| of(row, side, Metric::P99)).map(|us| us / 1e3);
    if let (Some(own), Some(kafka), Some(disk)) = (p99(Side::Tidemill), p99(Side::Kafka), p99(Side::Disk)) {
        text.push_str(&format!(
            "At 2,000 requests/s its p99 was {own:.2} ms; Kafka's, not flushed, {kafka:.2} ms; that of bare durable \
             writes {disk:.2} ms. "
        ));
    }
    let missed = figures::missed(rows);
    text.push_str(&format!("It missed {} of its {} goals (below). {circumstances}\n", missed.0, missed.1));
    wrapped(&text)
}

/// The text in lines of at most 120 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("a line");
        if line.len() + 1 + word.len() > 120 {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}
