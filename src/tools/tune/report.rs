//! The parts that both reports have: histograms as text, and the circumstances.

use std::io::{self, Write};

use crate::config::profile::{BOUNDS_US, Derived, Fingerprint, Latency, Provenance};

/// The width of the longest bar.
const BAR: usize = 40;

/// A latency in the unit that a person reads.
pub fn duration(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} us"),
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.1} ms", us / 1e3).replace(".0 ", " "),
        us if us < 10_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

/// A histogram: one line for each bucket between the first and the last that is not empty.
pub fn histogram(latency: &Latency, out: &mut impl Write) -> io::Result<()> {
    let used = |count: &u64| *count > 0;
    let (Some(first), Some(last)) = (latency.histogram.iter().position(used), latency.histogram.iter().rposition(used))
    else {
        return Ok(());
    };
    let largest = latency.histogram.iter().max().copied().unwrap_or(1).max(1);
    for (bucket, count) in latency.histogram.iter().enumerate().take(last + 1).skip(first) {
        let bound = match BOUNDS_US.get(bucket) {
            Some(bound) => format!("<= {}", duration(*bound as f64)),
            None => format!("> {}", duration(BOUNDS_US[BOUNDS_US.len() - 1] as f64)),
        };
        let share = 100.0 * *count as f64 / latency.count.max(1) as f64;
        // A bucket that is not empty has a mark, however small its share is.
        let bar = "#".repeat(((BAR as u64 * count).div_ceil(largest)) as usize);
        writeln!(out, "  {bound:>10}  {share:>5.1} %  {bar}")?;
    }
    Ok(())
}

/// The properties that a reader compares first.
pub fn machine(fingerprint: &Fingerprint, names: &[&str], out: &mut impl Write) -> io::Result<()> {
    for name in names {
        if let Some(value) = fingerprint.get(name) {
            writeln!(out, "  {:<18} {value}", name.replace('_', " "))?;
        }
    }
    Ok(())
}

/// The settings that a node derives, and the circumstances.
pub fn end(derived: &[Derived], provenance: &Provenance, out: &mut impl Write) -> io::Result<()> {
    if !derived.is_empty() {
        writeln!(out, "\nA node that reads this profile sets, unless they are given:")?;
    }
    for Derived { setting, value, reason } in derived {
        writeln!(out, "  {setting}={value}\n      {reason}")?;
    }
    let Provenance { seconds, date, load_average_before, .. } = provenance;
    writeln!(out, "\nMeasured in {seconds:.0} s, {date}, load average before: {load_average_before:.1}.")?;
    if let Some(doubt) = provenance.doubt() {
        writeln!(out, "A node will not use these figures, because {doubt}. Measure again on an idle machine.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::latency::Recorder;

    #[test]
    fn a_histogram_shows_the_used_range_with_shares() {
        let mut recorder = Recorder::new();
        for us in [60, 70, 80, 3_000] {
            recorder.record(std::time::Duration::from_micros(us));
        }
        let mut out = Vec::new();
        histogram(&recorder.latency(), &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].contains("<= 100 us   75.0 %  ####"), "{text}");
        assert!(lines[5].contains("<= 5 ms   25.0 %  ####"), "{text}");
        assert!(lines[2].ends_with("0.0 %  "), "{text}");
    }
}
