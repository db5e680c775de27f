//! The report of `tune cores`.

use std::io::{self, Write};
use std::path::Path;

use crate::config::profile::{CoreProfile, Latency, MeasuredCores, derive};
use crate::tools::output::table_of_numbers;
use crate::tools::tune::report::{self, duration};

/// Prints the profile for a reader, or as JSON.
pub fn print(profile: &CoreProfile, path: &Path, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", serde_json::to_string(profile)?);
    }
    writeln!(out, "The cores")?;
    let names = ["cpu_model", "cpus", "smt", "numa_nodes", "hypervisor", "clocksource", "governor", "kernel"];
    report::machine(&profile.fingerprint, &names, out)?;
    let measured = &profile.measured;
    let mut table = table_of_numbers(&["Latency", "p50", "p99", "p99.9", "max"], 1);
    for (name, latency) in latencies(measured) {
        let quantiles = [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us];
        table.add_row(std::iter::once(name.to_owned()).chain(quantiles.map(duration)));
    }
    writeln!(out, "\n{table}")?;
    if let Some(wake) = &measured.wake {
        writeln!(out, "\nA message to a parked core")?;
        report::histogram(&wake.parked, out)?;
    }
    writeln!(out, "\nCosts")?;
    for (name, value) in [
        ("clock reading", format!("{:.0} ns", measured.clock_ns)),
        ("system call", format!("{:.0} ns", measured.syscall_ns)),
        ("CRC-32C, in the cache", format!("{:.1} GB/s", measured.crc_gb_per_second)),
        ("copy, in the cache", format!("{:.1} GB/s", measured.copy_cached_gb_per_second)),
        ("copy, from memory", format!("{:.1} GB/s", measured.copy_memory_gb_per_second)),
        ("time that the hypervisor took", format!("{:.2} %", measured.steal_percent)),
    ] {
        writeln!(out, "  {name:<30} {value}")?;
    }
    report::end(&derive(Some(profile), None), &profile.provenance, out)?;
    writeln!(out, "Written to {}", path.display())
}

/// The measured latencies and their names.
pub fn latencies(measured: &MeasuredCores) -> Vec<(&'static str, &Latency)> {
    let wake = measured.wake.iter();
    let wake =
        wake.flat_map(|wake| [("message to a parked core", &wake.parked), ("to a spinning core", &wake.spinning)]);
    let others = [("loopback round trip", &measured.loopback), ("timer of 1 ms, late by", &measured.timer_late)];
    wake.chain(others).collect()
}
