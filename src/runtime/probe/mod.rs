//! Checks the machine once at start-up, before any file is opened, and names the remedy for each deficiency.
//!
//! - Owns: nothing.
//! - Inputs: the data directory.
//! - Outputs: findings to print, or one [`ProbeRefusal`]: the cause, why it stops Tidemill, the remedy. Each check
//!   tries the feature instead of a comparison of version numbers.
//! - Does not know: the data that is stored or served.
//! - Thread: any.

mod disk;
mod limits;
mod memory;
mod uring;

use std::fmt;
use std::path::Path;

pub use limits::raise_open_files;
pub use memory::Memory;

/// The severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// No deficiency.
    Fine,
    /// A feature is missing and replaced: slower, but as safe.
    Degraded,
    /// A guarantee cannot be kept on this machine.
    Unsafe,
}

/// The result of one check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// The subject: `io_uring`, `open files`, `data directory`.
    pub name: &'static str,
    /// The state of the machine.
    pub found: String,
    /// The consequence for Tidemill, and the remedy. Empty if fine.
    pub consequence: String,
}

impl Finding {
    fn fine(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { level: Level::Fine, name, found: found.into(), consequence: String::new() }
    }

    fn degraded(name: &'static str, found: impl Into<String>, consequence: impl Into<String>) -> Finding {
        Finding { level: Level::Degraded, name, found: found.into(), consequence: consequence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Fine => "ok  ",
            Level::Degraded => "note",
            Level::Unsafe => "WARN",
        };
        write!(f, "{mark} {}: {}", self.name, self.found)?;
        if !self.consequence.is_empty() {
            write!(f, "; {}", self.consequence)?;
        }
        Ok(())
    }
}

/// The results of all checks, on a machine where Tidemill can run.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The results in the order of the checks.
    pub findings: Vec<Finding>,
    /// False if the data directory is in memory: acknowledged bytes survive a crash of the process, not of the machine.
    pub stable_storage: bool,
    /// False if the file system has no O_DIRECT: I/O uses the page cache, and flushes are as durable.
    pub direct_io: bool,
    /// The device of the data directory (stat(2)).
    pub device: u64,
    /// The number of ring entries that is available to each shard.
    pub ring_entries: u32,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// The reason why Tidemill does not start on this machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {found}\n  why it matters: {why}\n  what to do: {remedy}")]
pub struct ProbeRefusal {
    /// The subject of the check.
    pub name: &'static str,
    /// The deficiency.
    pub found: String,
    /// The reason why Tidemill needs the feature.
    pub why: String,
    /// The change that allows Tidemill to start.
    pub remedy: String,
}

/// Checks the kernel, the limits, the memory and the data directory. Creates the directory if it is missing, and raises
/// the soft limit of open files to the hard limit.
pub fn probe(data_dir: &Path) -> Result<Probe, ProbeRefusal> {
    let mut findings = Vec::new();
    findings.push(limits::open_files());
    let ring_entries = uring::probe(&mut findings)?;
    findings.push(memory::huge_pages());
    let disk = disk::probe(data_dir, &mut findings)?;
    Ok(Probe { findings, stable_storage: disk.stable, direct_io: disk.direct, device: disk.device, ring_entries })
}

/// The share of the last ten seconds in which some task of the machine waited for memory, in percent (PSI).
pub fn memory_pressure() -> Option<f64> {
    memory::pressure()
}

/// Whether files in this directory (which must exist) can be read and written with O_DIRECT.
pub fn is_direct_io_supported(dir: &Path) -> Result<bool, ProbeRefusal> {
    disk::probe(dir, &mut Vec::new()).map(|disk| disk.direct)
}
