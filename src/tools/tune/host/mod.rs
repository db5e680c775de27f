//! `tidemill tune check`, `apply` and `undo`: the settings of the host that matter to a node.
//!
//! - Owns: the conditions, and the record of changed values.
//! - Inputs: `/proc` and `/sys` below [`Roots`]. Outputs: a table, and written settings.
//!
//! Invariants
//! - TUNE-1: the old value of a setting is on stable storage before the setting is written.
//!
//! `queue/write_cache` is read, and never written: with `write through` the kernel sends no flushes, so on a device
//! with a volatile cache each acknowledgement would be a lie.
//!
//! ```text
//! conditions   each setting with its required value, its reason and its effect
//! device       those of the disk            network   those of network interfaces and of interrupts
//! apply        record, write, measure, keep or restore            trial   the measurement before and after
//! record       the old values, in /var/lib/tidemill/tune          undo    restores them
//! ```

mod apply;
mod conditions;
mod device;
mod network;
mod record;
#[cfg(test)]
mod tests;
mod trial;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::machine::Roots;
use crate::tools::Failure;
use crate::tools::output::table;
pub use conditions::{Change, Condition, Effect, Severity, conditions};
use record::Record;
use trial::OnThisMachine;

/// The arguments of `check`, `apply` and `undo`.
#[derive(clap::Args, Clone, Debug)]
pub struct Host {
    /// The data directory: the settings of its disk are checked
    #[arg(long, value_name = "DIR", default_value = "tidemill-data")]
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Read and write /proc and /sys below this directory; for tests
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

/// The arguments of `apply`.
#[derive(clap::Args, Clone, Debug)]
pub struct Apply {
    #[command(flatten)]
    host: Host,
    /// Keep every setting, and do not measure before and after
    #[arg(long)]
    without_measuring: bool,
    /// Write also where the host looks like a container, such as in a virtual machine made of an image
    #[arg(long)]
    in_container: bool,
    /// Print the commands as a shell script, and change nothing
    #[arg(long)]
    script: bool,
}

/// Prints the settings that differ, and changes nothing.
pub fn check(args: &Host) -> Result<(), Failure> {
    let roots = Roots::new(args.root.clone());
    let found = conditions(&roots, &args.dir);
    let mut out = std::io::stdout().lock();
    if args.json {
        for condition in &found {
            writeln!(out, "{}", condition.to_json())?;
        }
        return Ok(());
    }
    print_conditions(found.iter(), &mut out)?;
    let changes = found.iter().filter(|condition| condition.change.is_some()).count();
    for condition in found.iter().filter(|condition| condition.severity != Severity::Fine) {
        writeln!(out, "\n{}: {}", condition.name, condition.reason)?;
    }
    let next = match changes {
        0 => "No setting needs a change.".to_owned(),
        _ => format!(
            "Nothing was changed. `tidemill tune apply` writes {}, measures before and after, and keeps what helped.",
            crate::model::counted(changes, "setting")
        ),
    };
    writeln!(out, "\n{next}")?;
    Ok(())
}

/// A table of conditions.
pub fn print_conditions<'a>(
    conditions: impl Iterator<Item = &'a Condition>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut table = table(&["CONDITION", "REQUIRED", "CURRENT", "SEVERITY"]);
    for Condition { name, required, current, severity, .. } in conditions {
        table.add_row([name.as_str(), required, current, severity.name()]);
    }
    writeln!(out, "{table}")
}

/// Writes the settings that differ, and keeps those that help.
pub fn apply(args: &Apply) -> Result<(), Failure> {
    let roots = Roots::new(args.host.root.clone());
    let found = conditions(&roots, &args.host.dir);
    let mut out = std::io::stdout().lock();
    if args.script {
        writeln!(out, "#!/bin/sh")?;
        for change in found.iter().filter_map(|condition| condition.change.as_ref()) {
            for (path, value) in &change.writes {
                writeln!(out, "echo {value} > {path}")?;
            }
        }
        return Ok(());
    }
    if let Some(container) = container(&roots).filter(|_| !args.in_container) {
        return Err(Failure::with_hint(
            format!("this is a container ({container}): these settings belong to its host"),
            "run `tidemill tune apply` on the host; nothing was changed. In a virtual machine made of an image, add \
             --in-container",
        ));
    }
    let mut measure = OnThisMachine { directory: args.host.dir.clone() };
    let trial: Option<&mut dyn trial::Trial> = if args.without_measuring { None } else { Some(&mut measure) };
    let outcomes = apply::apply(&roots, &found, trial, &mut |line| {
        if !args.host.json {
            println!("{line}");
        }
    })?;
    if args.host.json {
        for outcome in &outcomes {
            writeln!(out, "{}", outcome.to_json())?;
        }
    } else if outcomes.is_empty() {
        writeln!(out, "No setting needs a change.")?;
    } else {
        writeln!(out, "`tidemill tune undo` restores the old values. A restart of the machine restores them too.")?;
    }
    Ok(())
}

/// Restores the values that `apply` has replaced.
pub fn undo(args: &Host) -> Result<(), Failure> {
    let roots = Roots::new(args.root.clone());
    let restored = if Record::exists(&roots) { Record::open(&roots)?.undo(&roots)? } else { Vec::new() };
    let mut out = std::io::stdout().lock();
    for (path, value) in &restored {
        match args.json {
            true => writeln!(out, "{}", json!({ "restored": path, "value": value }))?,
            false => writeln!(out, "restored {path} = {value}")?,
        }
    }
    if restored.is_empty() && !args.json {
        writeln!(out, "Nothing to restore.")?;
    }
    Ok(())
}

/// The warning about a disk that loses acknowledged records at a power failure, because the kernel sends no flushes.
pub fn flushes_are_lost(roots: &Roots, directory: &Path) -> Option<String> {
    let found = device::conditions(roots, directory);
    let fatal = found.into_iter().find(|condition| condition.severity == Severity::Fatal)?;
    Some(format!("{} is `{}`: {}", fatal.name, fatal.current, fatal.reason))
}

/// The mark of a container, if the process is in one.
fn container(roots: &Roots) -> Option<&'static str> {
    ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"].into_iter().find(|path| roots.exists(path))
}
