//! What the machine lacks, found out once at start: before anything is opened, with what to do about it.
//!
//! Owns: nothing. In: the data directory. Out: findings to print, or one [`Refusal`]: what was found, why it stops Tidemill, what to
//! change. Nothing is guessed from version numbers that can be tried instead. Does not know what is stored or served. Thread: any.

mod disk;
mod limits;
mod memory;
mod uring;

use std::fmt;
use std::path::Path;

/// How a finding is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Something is missing and made up for: slower, not less safe.
    Degraded,
    /// Something that was promised cannot be kept here.
    Unsafe,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub level: Level,
    /// What was looked at: `io_uring`, `file descriptors`, `data directory`.
    pub name: &'static str,
    pub found: String,
    /// What Tidemill does instead, and what to change; empty when fine.
    pub instead: String,
}

impl Finding {
    fn fine(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { level: Level::Fine, name, found: found.into(), instead: String::new() }
    }

    fn degraded(name: &'static str, found: impl Into<String>, instead: impl Into<String>) -> Finding {
        Finding { level: Level::Degraded, name, found: found.into(), instead: instead.into() }
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
        if !self.instead.is_empty() {
            write!(f, "; {}", self.instead)?;
        }
        Ok(())
    }
}

/// Everything that was looked at, on a machine that Tidemill runs on.
#[derive(Clone, Debug)]
pub struct Probe {
    pub findings: Vec<Finding>,
    /// False when the data directory is memory: acknowledged bytes survive the process, not the machine.
    pub stable_storage: bool,
    /// False when the file system has no O_DIRECT: the page cache is in between, flushes are as durable.
    pub direct_io: bool,
    /// The ring entries that every shard can have.
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

/// Why Tidemill does not start here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {found}\n  why it matters: {why}\n  what to do: {remedy}")]
pub struct Refusal {
    pub name: &'static str,
    pub found: String,
    pub why: String,
    pub remedy: String,
}

/// Looks at the kernel, the limits, the memory and the data directory (which is made if it is missing). Raises the soft limit
/// of open files to the hard one.
pub fn probe(data_dir: &Path) -> Result<Probe, Refusal> {
    let mut findings = Vec::new();
    findings.push(limits::open_files());
    let ring_entries = uring::probe(&mut findings)?;
    findings.push(memory::huge_pages());
    let disk = disk::probe(data_dir, &mut findings)?;
    Ok(Probe { findings, stable_storage: disk.stable, direct_io: disk.direct, ring_entries })
}

/// Whether files of this directory (which must exist) can be read and written O_DIRECT.
pub fn is_direct_io_supported(dir: &Path) -> Result<bool, Refusal> {
    disk::probe(dir, &mut Vec::new()).map(|disk| disk.direct)
}
