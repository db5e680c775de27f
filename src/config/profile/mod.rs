//! The profiles of a machine: `core.toml` and `disk.toml`, which `tidemill tune` measures and `serve` reads.
//!
//! Owns: the fields of both files, their check, the comparison of fingerprints, and the settings that follow.
//! Inputs: the text of a file, and the fingerprint of this machine. Outputs: a profile with legal values or a
//! [`ProfileError`]; [`Difference`]s; [`Derived`] settings, each with its reason.
//!
//! Invariants
//! - PROF-1: a profile that was parsed is whole, and its values are possible.
//!
//! A file holds measurements only. The settings are derived when a node starts, so a newer release derives better ones
//! from an old file. It does not know files, or how the measurements were taken.

mod core;
mod derive;
mod disk;
mod fingerprint;
mod latency;
mod parse;
mod provenance;
#[cfg(test)]
pub(crate) mod tests;

pub use core::{CoreProfile, MeasuredCores, Shard, Wake};
pub use derive::{Derived, Prediction, derive, predict};
pub use disk::{Bandwidth, DiskProfile, Drift, Flush, MeasuredDisk, WriteCell};
pub use fingerprint::{Difference, Fingerprint};
pub use latency::{BOUNDS_US, Latency};
pub use parse::{Head, Profile, ProfileError, VERSION, parse};
pub use provenance::{Form, Provenance};

/// The name of the core profile in a profile directory.
pub const CORE_FILE: &str = "core.toml";
/// The name of the disk profile in a profile directory.
pub const DISK_FILE: &str = "disk.toml";
/// The name of the profile directory in a data directory.
pub const DIRECTORY: &str = "profile";
