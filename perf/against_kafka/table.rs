//! The output of the bench: the table of figures, the floors of the machine, and the lifecycle of the brokers.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::{self, Metric, Row, Side, name};
use super::floors::Floors;
use super::lifecycle::Lifecycle;

/// Renders the output as Markdown. `rounds` and `seconds` are the options of the run.
pub fn render(
    rows: &[Row],
    floors: &Floors,
    lifecycles: &BTreeMap<Side, Lifecycle>,
    rounds: usize,
    seconds: &str,
) -> String {
    let mut text = String::new();
    let mut line = |s: std::fmt::Arguments<'_>| writeln!(text, "{s}").expect("writing to a string succeeds");
    line(format_args!(
        "Medians of {rounds} alternating rounds of {seconds} s each. CPU is the broker's, all threads.\n"
    ));
    line(format_args!("{}", figures::render(rows).trim_end()));
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
    for (side, lifecycle) in lifecycles {
        let (at_start, after) = (lifecycle.resident_at_start >> 20, lifecycle.resident_after_load >> 20);
        let (start, restart) = (lifecycle.start.as_secs_f64(), lifecycle.restart.as_secs_f64());
        let data = lifecycle.data_bytes as f64 / 1e9;
        let idle = lifecycle.idle_percent;
        line(format_args!(
            "| {} | {start:.2} s | {idle:.1}% of a core | {at_start} MiB, {after} MiB | {restart:.2} s with \
             {data:.1} GB |",
            side.title()
        ));
    }
    text
}
