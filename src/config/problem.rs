//! The problems of a configuration, each with its place.

use std::fmt;

use super::consistency::Contradiction;
use super::kafka::roles::RoleProblem;
use super::properties::BadEscape;
use super::setting::InvalidValue;

/// Every problem of a configuration, not only the first. Prints one line each.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub struct LoadError {
    /// In the order of the sources, then of the checks between settings.
    pub problems: Vec<LocatedProblem>,
}

/// A problem and its place in the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct LocatedProblem {
    /// `tidemill.toml:12`, `TIDEMILL_NUM_PARTITIONS`, `--set num.partitions=0`, or `default`.
    pub place: String,
    /// The problem.
    pub problem: Problem,
}

/// One fault of a configuration.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Problem {
    /// The text is not TOML.
    #[error(
        "not TOML: {reason}{}",
        if *names_overlap { OVERLAP_HINT } else if *is_like_properties { PROPERTIES_HINT } else { "" }
    )]
    NotToml {
        /// The message of the parser.
        reason: String,
        /// The text gives one name to a value and to a table, as in `max.connections` and `max.connections.per.ip`.
        names_overlap: bool,
        /// The text looks like Kafka's `server.properties`.
        is_like_properties: bool,
    },
    /// The text is not in Java's properties format.
    #[error(transparent)]
    NotProperties(#[from] BadEscape),
    /// A file sets a name twice.
    #[error("{name} was set before, at {earlier}")]
    SetTwice {
        /// The setting.
        name: String,
        /// The place of the first assignment.
        earlier: String,
    },
    /// The word after `--set` has no `=`.
    #[error("expected key=value")]
    NotAnAssignment,
    /// Neither Tidemill nor Kafka has a setting of the name.
    #[error("unknown setting {name}{hint}")]
    UnknownSetting {
        /// The name.
        name: String,
        /// A suggestion.
        hint: Hint,
    },
    /// No setting belongs to a variable of the environment.
    #[error("no setting belongs to this variable{hint}")]
    UnknownVariable {
        /// A suggestion.
        hint: Hint,
    },
    /// The value is not legal for its setting.
    #[error("{invalid}{}", plain.map(|plain| format!("; units are not read: write {plain}")).unwrap_or_default())]
    InvalidValue {
        /// The value and the reason.
        invalid: InvalidValue,
        /// The value without its unit, such as 1073741824 for `1GiB`.
        plain: Option<i64>,
    },
    /// The TOML value has no text form.
    #[error("{name}: {error}")]
    NotPlain {
        /// The setting.
        name: String,
        /// The reason.
        error: NotPlain,
    },
    /// A setting of Kafka's that Tidemill lacks and that is unsafe to ignore.
    #[error("{name}: {reason}")]
    Unsafe {
        /// The setting.
        name: String,
        /// The reason, and the remedy.
        reason: &'static str,
    },
    /// The node has other roles than a node of Tidemill.
    #[error(transparent)]
    Role(#[from] RoleProblem),
    /// The value is legal, but not together with another setting.
    #[error("{}: {_0}", _0.setting())]
    Contradiction(Contradiction),
}

/// Why a TOML value has no counterpart in a `--set`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPlain {
    /// A number beyond TOML's 64 bits.
    #[error("{number} is too large")]
    TooLarge {
        /// The number as written.
        number: String,
    },
    /// A list in a list, or a table in a list.
    #[error("expected a list of plain values")]
    NestedList,
    /// A table or a date in place of a value.
    #[error("expected a plain value")]
    Table,
}

/// The settings that an unknown name most likely meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// No name is near.
    Nothing,
    /// The name is this one with a typing error.
    Nearest(String),
    /// The name is the first part of these.
    PrefixOf(Vec<&'static str>),
}

const OVERLAP_HINT: &str = "; write such names in quotes: \"max.connections.per.ip\" = 1";
const PROPERTIES_HINT: &str = "; name the file *.properties if it is in the format of Kafka's server.properties";

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Nothing => f.write_str("; `tidemill config list` prints every setting"),
            Hint::Nearest(name) => write!(f, "; did you mean {name}?"),
            Hint::PrefixOf(names) => write!(f, "; did you mean one of {}?", names.join(", ")),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, LocatedProblem { place, problem }) in self.problems.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{place}: {problem}")?;
        }
        Ok(())
    }
}
