//! Reads the profiles of `tidemill tune`, and derives settings from them.
//!
//! A derived setting replaces a default only: a setting that the file, the environment or an argument gives stays. A
//! profile in the data directory that does not fit gives a warning, and the node starts with its defaults. A profile
//! that `--profile` names must be readable.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use super::args::{self, Args};
use super::machine::existing_ancestor;
use crate::config::profile::{
    self, CORE_FILE, CoreProfile, DISK_FILE, Derived, Difference, DiskProfile, Fingerprint, Profile, derive, predict,
};
use crate::config::{Argument, Loaded};
use crate::tools::Failure;
use crate::tools::tune::host::flushes_are_lost;
use crate::tools::tune::machine::{Roots, core_fingerprint, disk_fingerprint};

/// A profile that is older may not fit the device any more.
const AGE_DAYS_MAX: i64 = 90;

/// A line about the profiles, for the start of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A profile that is used.
    Used {
        path: String,
        date: String,
    },
    /// A setting that follows, with its reason. `kept`: the value that was given, which stays.
    Setting {
        derived: Derived,
        kept: Option<String>,
    },
    /// The latency that a client should see.
    Prediction(String),
    Warning(String),
}

/// The settings with those of the profiles, and the lines to print.
pub fn apply(
    args: &Args,
    environment: &[(String, String)],
    loaded: Loaded,
    roots: &Roots,
    now_ms: i64,
) -> Result<(Loaded, Vec<Line>), Failure> {
    let data = PathBuf::from(&loaded.config.data_dirs);
    let directory = args.profile.clone().unwrap_or_else(|| data.join(profile::DIRECTORY));
    if args.profile.is_some() && !directory.is_dir() {
        return Err(Failure::with_hint(
            format!("--profile {}: no such directory", directory.display()),
            "write one with `tidemill tune disk --profile DIR` and `tidemill tune cores --profile DIR`",
        ));
    }
    let mut reader = Reader { directory, is_named: args.profile.is_some(), now_ms, lines: Vec::new() };
    let journal = loaded.config.journal_dir.as_ref().map_or(data, PathBuf::from);
    let core = reader.read::<CoreProfile>(CORE_FILE, || Ok(core_fingerprint(roots)))?;
    let disk = reader.read::<DiskProfile>(DISK_FILE, || disk_fingerprint(roots, &existing_ancestor(&journal)))?;
    let mut lines = reader.lines;
    lines.extend(flushes_are_lost(roots, &existing_ancestor(&journal)).map(Line::Warning));
    let derived = derive(core.as_ref(), disk.as_ref());
    let loaded = set_derived(args, environment, loaded, &derived)?;
    lines.extend(derived.into_iter().map(|derived| {
        let value = loaded.config.value(derived.setting).map(|value| value.to_string());
        Line::Setting { kept: value.filter(|value| *value != derived.value), derived }
    }));
    if let Some(prediction) = disk.as_ref().and_then(|disk| predict(core.as_ref(), disk)) {
        let profile::Prediction { p50_us, p99_us, reason } = prediction;
        lines.push(Line::Prediction(format!(
            "one record at a time should take {p50_us:.0} us, p99 {p99_us:.0}: {reason}"
        )));
    }
    Ok((loaded, lines))
}

/// Loads the settings again, with the derived ones that are not given.
fn set_derived(
    args: &Args,
    environment: &[(String, String)],
    loaded: Loaded,
    derived: &[Derived],
) -> Result<Loaded, Failure> {
    let free = derived.iter().filter(|derived| !loaded.config.is_given(derived.setting));
    let arguments: Vec<Argument> = free
        .map(|Derived { setting, value, .. }| Argument {
            place: "profile".to_owned(),
            assignment: format!("{setting}={value}"),
        })
        .collect();
    if arguments.is_empty() { Ok(loaded) } else { args::load_with(args, environment, arguments) }
}

struct Reader {
    directory: PathBuf,
    /// The command line names the directory.
    is_named: bool,
    now_ms: i64,
    lines: Vec<Line>,
}

impl Reader {
    /// The profile, if it exists, is whole, and is of this machine.
    fn read<P: Profile>(
        &mut self,
        name: &str,
        fingerprint: impl FnOnce() -> io::Result<Fingerprint>,
    ) -> Result<Option<P>, Failure> {
        let path = self.directory.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return self.refuse(&path, &error),
        };
        let parsed: P = match profile::parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(&path, &error),
        };
        let now = match fingerprint() {
            Ok(now) => now,
            Err(error) => return self.refuse(&path, &error),
        };
        let differences = parsed.head().fingerprint.differences(&now);
        let named = |is_identity: bool| {
            let of_kind = differences.iter().filter(|difference| difference.is_identity == is_identity);
            of_kind.map(Difference::to_string).collect::<Vec<_>>().join(", ")
        };
        let shown = path.display();
        if differences.iter().any(|difference| difference.is_identity) {
            let others = named(true);
            self.warn(format!(
                "{shown} was measured on another machine or disk ({others}): it has no effect; measure this one with \
                 `{}`",
                P::COMMAND
            ));
            return Ok(None);
        }
        if !differences.is_empty() {
            let changed = named(false);
            self.warn(format!("{shown} may be out of date ({changed}): measure again with `{}`", P::COMMAND));
        }
        let provenance = parsed.head().provenance;
        let age = provenance.age_days(self.now_ms);
        if age > AGE_DAYS_MAX {
            self.warn(format!("{shown} is {age} days old: measure again with `{}`", P::COMMAND));
        }
        if let Some(doubt) = provenance.doubt() {
            self.warn(format!("{shown} has no effect, because {doubt}: measure again with `{}`", P::COMMAND));
            return Ok(None);
        }
        self.lines.push(Line::Used { path: shown.to_string(), date: provenance.date.clone() });
        Ok(Some(parsed))
    }

    fn warn(&mut self, warning: String) {
        self.lines.push(Line::Warning(warning));
    }

    /// A profile that cannot be used: an error if the command line names it.
    fn refuse<P>(&mut self, path: &Path, error: &dyn Display) -> Result<Option<P>, Failure> {
        let message = format!("{}: {error}", path.display());
        if self.is_named {
            return Err(Failure::with_hint(message, "or start without --profile"));
        }
        self.warn(format!("{message}. The node starts with its default settings"));
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
