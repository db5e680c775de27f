//! Reads a profile, and refuses a text that is cut off or impossible.

use serde::de::DeserializeOwned;

use super::fingerprint::Fingerprint;
use super::provenance::Provenance;

/// The version of both formats.
pub const VERSION: u32 = 1;

/// The fields that both kinds of profiles have.
pub struct Head<'a> {
    /// The version of the format.
    pub version: u32,
    /// The machine or the device.
    pub fingerprint: &'a Fingerprint,
    /// The circumstances of the measurement.
    pub provenance: &'a Provenance,
}

/// Both kinds of profiles.
pub trait Profile: DeserializeOwned {
    /// The command that measures it.
    const COMMAND: &'static str;
    /// The fields that both have.
    fn head(&self) -> Head<'_>;
    /// Finds an impossible value.
    fn check(&self) -> Result<(), String>;
}

/// Why a file is no profile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// The text ends early: it was copied or written in part.
    #[error("the file is cut off: its last line, `complete = true`, is missing; measure again with `{0}`")]
    CutOff(&'static str),
    /// The text is not TOML, or lacks a field.
    #[error("{reason}; measure again with `{command}`")]
    Malformed {
        /// The message of the parser.
        reason: String,
        /// The command that measures the profile.
        command: &'static str,
    },
    /// Another version of the format.
    #[error("the format is version {found}, and this release reads version {VERSION}; measure again with `{command}`")]
    Version {
        /// The version of the file.
        found: u32,
        /// The command that measures the profile.
        command: &'static str,
    },
    /// A value that no measurement returns.
    #[error("impossible value: {reason}; measure again with `{command}`")]
    Impossible {
        /// The value and its place.
        reason: String,
        /// The command that measures the profile.
        command: &'static str,
    },
}

/// Parses and checks a profile (PROF-1).
pub fn parse<P: Profile>(text: &str) -> Result<P, ProfileError> {
    let command = P::COMMAND;
    let is_whole = text.lines().any(|line| line.trim() == "complete = true");
    let profile: P = match toml::from_str(text) {
        Ok(profile) => profile,
        Err(_) if !is_whole => return Err(ProfileError::CutOff(command)),
        Err(error) => {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let reason = format!("line {line}: {}", error.message().trim());
            return Err(ProfileError::Malformed { reason, command });
        }
    };
    let Head { version, fingerprint, provenance } = profile.head();
    if version != VERSION {
        return Err(ProfileError::Version { found: version, command });
    }
    if !provenance.complete {
        return Err(ProfileError::CutOff(command));
    }
    if fingerprint.0.is_empty() {
        return Err(ProfileError::Impossible { reason: "the fingerprint is empty".into(), command });
    }
    profile.check().map_err(|reason| ProfileError::Impossible { reason, command })?;
    Ok(profile)
}

/// Refuses a number that is negative, above `max`, or none.
pub(super) fn require(name: &str, value: f64, max: f64) -> Result<(), String> {
    match (0.0..=max).contains(&value) {
        true => Ok(()),
        false => Err(format!("{name} = {value} is not in 0..={max}")),
    }
}
