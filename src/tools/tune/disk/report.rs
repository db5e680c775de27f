//! The report of `tune disk`.

use std::io::{self, Write};
use std::path::Path;

use super::{DEPTHS, SIZES};
use crate::config::profile::{DiskProfile, Latency, MeasuredDisk, derive, predict};
use crate::tools::output::table_of_numbers;
use crate::tools::tune::report::{self, duration};

/// Prints the profile for a reader, or as JSON.
pub fn print(profile: &DiskProfile, path: &Path, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", serde_json::to_string(profile)?);
    }
    writeln!(out, "The disk")?;
    let names = ["device", "device_model", "device_transport", "file_system", "scheduler", "write_cache", "own_cache"];
    report::machine(&profile.fingerprint, &names, out)?;
    let measured = &profile.measured;
    let direct = if measured.direct_io { "O_DIRECT and RWF_DSYNC" } else { "no O_DIRECT, RWF_DSYNC" };
    writeln!(out, "\nDurable writes ({direct}, into a prewritten file), p50 / p99")?;
    print_cells(measured, out)?;
    for (bytes, depth) in [(4 << 10, 1), (64 << 10, 2)] {
        if let Some(cell) = measured.cell(bytes, depth) {
            writeln!(out, "\nDurable writes of {} KiB, {depth} in flight", bytes >> 10)?;
            report::histogram(&cell.latency, out)?;
        }
    }
    print_others(measured, out)?;
    if !measured.drift.is_empty() {
        writeln!(out, "\nDurable writes of 64 KiB, two in flight, over time")?;
        let mut table = table_of_numbers(&["second", "MB/s", "p50", "p99"], 0);
        for interval in &measured.drift {
            let (mb, p50, p99) = (interval.mb_per_second, duration(interval.p50_us), duration(interval.p99_us));
            table.add_row([interval.second.to_string(), format!("{mb:.0}"), p50, p99]);
        }
        writeln!(out, "{table}")?;
    }
    if let Some(prediction) = predict(None, profile) {
        let (p50, p99) = (duration(prediction.p50_us), duration(prediction.p99_us));
        writeln!(out, "\nA produce request with one record should take {p50} and a round trip, p99 {p99}.")?;
    }
    report::end(&derive(None, Some(profile)), &profile.provenance, out)?;
    writeln!(out, "Written to {}", path.display())
}

/// Sizes in rows, depths in columns.
fn print_cells(measured: &MeasuredDisk, out: &mut impl Write) -> io::Result<()> {
    let mut header = vec!["KiB".to_owned()];
    header.extend(DEPTHS.iter().map(|depth| format!("{depth} in flight")));
    header.push("MB/s, 1 and 8".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table_of_numbers(&header, 0);
    for bytes in SIZES {
        let mut row = vec![(bytes >> 10).to_string()];
        let cells: Vec<_> = DEPTHS.iter().filter_map(|depth| measured.cell(bytes, *depth)).collect();
        row.extend(cells.iter().map(|cell| percentiles(&cell.latency)));
        if let (Some(first), Some(last)) = (cells.first(), cells.last()) {
            row.push(format!("{:.0} {:.0}", first.mb_per_second, last.mb_per_second));
        }
        table.add_row(row);
    }
    writeln!(out, "{table}")
}

fn percentiles(latency: &Latency) -> String {
    format!("{} / {}", duration(latency.p50_us), duration(latency.p99_us))
}

fn print_others(measured: &MeasuredDisk, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nOther operations, p50 / p99")?;
    for (name, latency) in [
        ("write of 4 KiB, no flush", &measured.flush.write),
        ("flush after it", &measured.flush.flush),
        ("read of 16 KiB, idle", &measured.read_idle),
        ("read beside writes", &measured.read_beside_writes),
    ] {
        writeln!(out, "  {name:<26} {}", percentiles(latency))?;
    }
    let bandwidth = &measured.bandwidth;
    writeln!(out, "\nBandwidth")?;
    writeln!(out, "  {:<26} {:.0} MB/s", "sequential writes, no flush", bandwidth.write_mb_per_second)?;
    writeln!(out, "  {:<26} {:.0} MB/s", "sequential reads", bandwidth.read_mb_per_second)?;
    writeln!(out, "  {:<26} {:.0} /s", "durable random writes", bandwidth.random_writes_per_second)?;
    writeln!(out, "  {:<26} {:.0} /s", "random reads", bandwidth.random_reads_per_second)
}
