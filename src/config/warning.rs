//! The warnings of a configuration, each with its place.

use std::fmt;

/// A setting that is accepted and has another effect than its name promises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocatedWarning {
    /// The place in the configuration, as in `LocatedProblem`.
    pub place: String,
    /// The warning.
    pub warning: Warning,
}

/// Why an accepted setting has another effect than its name promises.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Warning {
    /// The setting has no effect.
    #[error("{name} has no effect here: {reason}")]
    NoEffect {
        /// The setting.
        name: String,
        /// The reason.
        reason: &'static str,
    },
    /// An old or a second name of a setting, which is obeyed.
    #[error("{name} is read as {instead}; use {instead}")]
    Renamed {
        /// The name as given.
        name: String,
        /// The setting that takes the value.
        instead: &'static str,
    },
    /// A second name of a setting that is also given under its own name.
    #[error("{name} has no effect here: {instead} is given too; remove {name}")]
    Overridden {
        /// The name as given.
        name: String,
        /// The setting that counts.
        instead: &'static str,
    },
    /// A properties file sets a name twice. As in Java, the last value counts.
    #[error("{name} is set again; the value at {earlier} has no effect")]
    SetAgain {
        /// The setting.
        name: String,
        /// The place of the first assignment.
        earlier: String,
    },
}

impl fmt::Display for LocatedWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.warning)
    }
}
