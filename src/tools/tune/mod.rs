//! `tidemill tune`: measures the machine, and checks and changes the settings of its kernel.
//!
//! - Owns: the measurements, their reports, and the profiles that [`serve`](crate::serve) reads.
//! - Inputs: arguments, a directory on the disk in question, `/proc` and `/sys`.
//! - Outputs: `core.toml` and `disk.toml` in a profile directory; a report on standard output.
//! - Does not know: a node. The measurements use the same runtime as a node, on threads that this command starts.
//!
//! ```text
//! machine/   the fingerprint of the machine and of the device, from /proc and /sys
//! disk/      tune disk: durable writes by size and depth, flushes, reads, bandwidth
//! cores/     tune cores: wake-ups, timers, clocks, the loopback interface, CRC and copies
//! host/      tune check, apply, undo: the settings of the host
//! svg        draws histograms                report      prints them as text
//! store      writes a profile whole, or leaves the old one
//! ```

mod cores;
mod disk;
pub mod host;
mod latency;
pub mod machine;
mod progress;
mod provenance;
mod report;
mod store;
pub(in crate::tools) mod svg;

use std::path::PathBuf;

use super::Failure;
use crate::config::profile::Form;
use machine::Roots;

const EXAMPLES: &str = "\
Examples:
  Measure, then start a node that uses the figures:
    tidemill tune disk --dir /srv/tidemill && tidemill tune cores --dir /srv/tidemill
    tidemill serve --data /srv/tidemill
  With the drift of the disk over minutes:
    tidemill tune disk --dir /srv/tidemill --full

Stop other work on the machine first. A profile records the load average during its measurement.";

/// The arguments of `tidemill tune`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Measure the disk of a directory, and write disk.toml
    #[command(after_help = EXAMPLES)]
    Disk(disk::Args),
    /// Measure the cores, and write core.toml
    #[command(after_help = EXAMPLES)]
    Cores(Measure),
    /// Compare the settings of the host with those that a node needs, and change nothing
    Check(host::Host),
    /// Write the settings of the host that differ, and keep those that help
    Apply(host::Apply),
    /// Restore the settings that `apply` has replaced
    Undo(host::Host),
}

/// The arguments of both measurements.
#[derive(clap::Args, Clone, Debug)]
struct Measure {
    /// The data directory: its disk is measured, and the profile is written to DIR/profile
    #[arg(long, value_name = "DIR", default_value = "tidemill-data")]
    dir: PathBuf,
    /// Write the profile to this directory instead
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// Measure for less than 30 seconds; this is the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Measure for minutes, with the drift of the disk
    #[arg(long)]
    full: bool,
    /// Draw the histograms into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the profile as JSON
    #[arg(long)]
    json: bool,
    /// Read /proc and /sys below this directory; for tests
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

impl Measure {
    fn form(&self) -> Form {
        if self.full { Form::Full } else { Form::Quick }
    }

    fn roots(&self) -> Roots {
        Roots::new(self.root.clone())
    }

    /// Draws the histograms, if a file for them is named.
    fn draw(&self, title: &str, panels: &[svg::Panel<'_>], columns: usize) -> Result<(), Failure> {
        let Some(path) = &self.svg else { return Ok(()) };
        let picture = svg::draw(title, panels, columns);
        store::replace_file(path, picture.as_bytes()).map_err(|error| store::cannot_write(path, &error))
    }

    /// The directory of the profile.
    fn target(&self) -> PathBuf {
        self.profile.clone().unwrap_or_else(|| self.dir.join(crate::config::profile::DIRECTORY))
    }
}

/// Runs `tidemill tune`.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.verb {
        Verb::Disk(args) => disk::run(&args),
        Verb::Cores(args) => cores::run(&args),
        Verb::Check(args) => host::check(&args),
        Verb::Apply(args) => host::apply(&args),
        Verb::Undo(args) => host::undo(&args),
    }
}
