//! `tidemill doctor`: the conditions of this host that do not hold, and the remedy for each.
//!
//! - Inputs: `/proc` and `/sys`, the profiles, and optionally a running node.
//! - Outputs: CONDITION, REQUIRED, CURRENT and SEVERITY, or JSON. Exit code 0 if no condition is worse than a note,
//!   else 1.
//! - Changes nothing on this host. On the node it creates a topic, and deletes it.

mod live;
mod profiles;

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use super::connect::Connect;
use crate::config::profile;
use crate::model::counted;
use crate::tools::tune::host::{Condition, Severity, conditions, print_conditions};
use crate::tools::tune::machine::Roots;

const EXAMPLES: &str = "\
Examples:
  Is this host fit for a node?
    tidemill doctor --dir /srv/tidemill
  Is the node as fast as its disk allows?
    tidemill doctor --dir /srv/tidemill --bootstrap 127.0.0.1:9092

Exit code: 0 if no condition is a warning or fatal, else 1.";

/// The arguments of `tidemill doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "tidemill-data")]
    dir: PathBuf,
    /// The directory of the profiles [default: profile, in the data directory]
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// A running node: its latency is compared with the prediction of the disk profile
    #[arg(long, short, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Print one JSON object for each condition
    #[arg(long)]
    json: bool,
    /// Read /proc and /sys below this directory; for tests
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

/// Runs `tidemill doctor`.
pub fn run(args: Args) -> Result<(), Failure> {
    let roots = Roots::new(args.root.clone());
    let mut found = conditions(&roots, &args.dir);
    let directory = args.profile.clone().unwrap_or_else(|| args.dir.join(profile::DIRECTORY));
    let (of_profiles, profiles) = profiles::check(&roots, &args.dir, &directory);
    found.extend(of_profiles);
    if let Some(bootstrap) = &args.bootstrap {
        let connect = Connect { bootstrap: bootstrap.clone(), timeout: 30, json: args.json };
        found.extend(live::compare(&connect, &profiles)?);
    }
    found.sort_by_key(|condition| std::cmp::Reverse(condition.severity));
    let mut out = std::io::stdout().lock();
    if args.json {
        for condition in &found {
            writeln!(out, "{}", condition.to_json())?;
        }
    } else {
        print_conditions(found.iter(), &mut out)?;
        for condition in found.iter().filter(|condition| condition.severity != Severity::Fine) {
            writeln!(out, "\n{}: {}", condition.name, condition.reason)?;
        }
    }
    verdict(&found)
}

/// The exit code: an error if a condition is a warning or fatal.
fn verdict(found: &[Condition]) -> Result<(), Failure> {
    let count = |severity| found.iter().filter(|condition| condition.severity == severity).count();
    let (fatal, warnings) = (count(Severity::Fatal), count(Severity::Warning));
    if fatal + warnings == 0 {
        return Ok(());
    }
    let failure = Failure::new(format!("{} fatal, {}", fatal, counted(warnings, "warning")));
    let is_writable = found.iter().any(|condition| condition.change.is_some());
    Err(if is_writable {
        failure.hinted("`tidemill tune check` lists the settings that can be written")
    } else {
        failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_no_failure_and_a_warning_is() {
        let condition = |severity| Condition::new("x", "1", "2", false).or(severity);
        assert!(verdict(&[Condition::new("x", "1", "1", true), condition(Severity::Note)]).is_ok());
        let all = [condition(Severity::Warning), condition(Severity::Fatal), condition(Severity::Warning)];
        assert_eq!(verdict(&all).expect_err("a warning").message, "1 fatal, 2 warnings");
    }
}
