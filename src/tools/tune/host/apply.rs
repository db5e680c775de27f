//! Writes settings, and keeps those that help.

use std::fs::OpenOptions;
use std::io;

use serde_json::{Value, json};

use super::conditions::{Change, Condition, Effect};
use super::record::{Record, current};
use super::trial::{ROUNDS, Rounds, Trial};
use crate::tools::Failure;
use crate::tools::tune::machine::Roots;

/// The result of one change.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The name of the condition.
    pub name: String,
    /// The value before.
    pub old: String,
    /// The value that was written.
    pub new: String,
    /// Whether the new value stays.
    pub is_kept: bool,
    /// The latencies before and after, in microseconds.
    pub measured_us: Option<(f64, f64)>,
}

impl Outcome {
    /// One object.
    pub fn to_json(&self) -> Value {
        let (before, after) = self.measured_us.unzip();
        json!({
            "condition": self.name, "old": self.old, "new": self.new, "kept": self.is_kept, "before_us": before,
            "after_us": after,
        })
    }
}

/// Applies the changes of the conditions that do not hold. `trial`: measures; without it every change is kept.
pub fn apply(
    roots: &Roots,
    conditions: &[Condition],
    mut trial: Option<&mut dyn Trial>,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<Outcome>, Failure> {
    let changes: Vec<(&Condition, &Change)> =
        conditions.iter().filter_map(|condition| Some((condition, condition.change.as_ref()?))).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    require_right(roots, &changes)?;
    let mut record = Record::open(roots)?;
    for (condition, change) in &changes {
        for (path, value) in &change.writes {
            report(&format!("{}: {path}: {} -> {value}", condition.name, current(roots, path)?));
        }
    }
    let mut outcomes = Vec::new();
    for (condition, change) in changes {
        let effect = change.effect;
        let trial: Option<&mut dyn Trial> = match &mut trial {
            Some(trial) if effect != Effect::Protection => Some(&mut **trial),
            _ => None,
        };
        let result = try_change(roots, &mut record, change, trial);
        if result.is_err() {
            // The old value returns before the failure is reported.
            restore(roots, &mut record, change)?;
        }
        let (is_kept, measured_us) = result?;
        let outcome = Outcome {
            name: condition.name.clone(),
            old: condition.current.clone(),
            new: change.writes[0].1.clone(),
            is_kept,
            measured_us,
        };
        report(&describe(&outcome));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Writes one change, and restores it if it does not help.
fn try_change(
    roots: &Roots,
    record: &mut Record,
    change: &Change,
    mut trial: Option<&mut dyn Trial>,
) -> Result<(bool, Option<(f64, f64)>), Failure> {
    let Some(trial) = &mut trial else {
        write(roots, record, change)?;
        return Ok((true, None));
    };
    // Rounds of both states alternate: other load, which comes and goes, meets both.
    let (mut before, mut after) = (Rounds::default(), Rounds::default());
    for round in 0..ROUNDS {
        if round > 0 {
            restore(roots, record, change)?;
        }
        before.add(trial.round(change.effect)?);
        write(roots, record, change)?;
        after.add(trial.round(change.effect)?);
    }
    let is_kept = before.gain(&after).is_some();
    if !is_kept {
        restore(roots, record, change)?;
    }
    Ok((is_kept, Some((before.median(), after.median()))))
}

fn write(roots: &Roots, record: &mut Record, change: &Change) -> Result<(), Failure> {
    for (path, value) in &change.writes {
        record.write(roots, path, value)?;
        let now = current(roots, path)?;
        if now != *value {
            return Err(Failure::new(format!("{path} is {now} after {value} was written: the kernel ignored it")));
        }
    }
    Ok(())
}

fn restore(roots: &Roots, record: &mut Record, change: &Change) -> Result<(), Failure> {
    change.writes.iter().rev().try_for_each(|(path, _)| record.restore(roots, path))
}

fn describe(outcome: &Outcome) -> String {
    let Outcome { name, old, new, is_kept, measured_us } = outcome;
    match (is_kept, measured_us) {
        (true, None) => format!("{name}: set to {new}, not measured"),
        (true, Some((before, after))) => {
            let percent = 100.0 * (1.0 - after / before.max(1e-9));
            format!("{name}: kept {new}, {before:.1} us -> {after:.1} us ({percent:.0}% less)")
        }
        (false, measured) => {
            let (before, after) = measured.unwrap_or_default();
            format!("{name}: restored {old}, without a clear gain in all rounds: {before:.1} us, {after:.1} us")
        }
    }
}

/// Opens each setting for writing, before any is written.
fn require_right(roots: &Roots, changes: &[(&Condition, &Change)]) -> Result<(), Failure> {
    for (path, _) in changes.iter().flat_map(|(_, change)| &change.writes) {
        let Err(error) = OpenOptions::new().write(true).open(roots.path(path)) else { continue };
        let hint = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "in a container, run the command on the host; nothing was changed",
            _ => "run the command with sudo; nothing was changed",
        };
        return Err(Failure::with_hint(format!("cannot write {path}: {error}"), hint));
    }
    Ok(())
}
