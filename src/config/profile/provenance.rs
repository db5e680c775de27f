//! How a profile was measured.

use serde::{Deserialize, Serialize};

/// The length of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Under 30 seconds.
    Quick,
    /// Minutes, with the drift of the disk.
    Full,
}

/// The circumstances of a measurement. It is the last table of a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// The release that measured.
    pub tidemill: String,
    /// The end of the measurement, UTC.
    pub date: String,
    /// The same, in milliseconds since 1970.
    pub date_ms: i64,
    /// The length of the measurement.
    pub form: Form,
    /// How long it took.
    pub seconds: f64,
    /// The load average over one minute before the measurement.
    pub load_average_before: f64,
    /// The same, after it.
    pub load_average_after: f64,
    /// The cores that the measurement could use.
    pub cpus: usize,
    /// A node was running in the directory.
    pub beside_a_node: bool,
    /// The last line: a file without it was cut off.
    pub complete: bool,
}

/// A busy machine: more than this share of its cores was in use before the measurement.
const LOAD_MAX: f64 = 0.5;

impl Provenance {
    /// The reason to distrust the figures, if there is one.
    pub fn doubt(&self) -> Option<String> {
        if self.beside_a_node {
            return Some("a node was running in the directory".into());
        }
        let (load, cpus) = (self.load_average_before, self.cpus);
        (load > LOAD_MAX * cpus as f64)
            .then(|| format!("the machine was busy (load average {load:.1} before the measurement, on {cpus} cores)"))
    }

    /// The age of the measurement in days, at the time `now_ms`.
    pub fn age_days(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.date_ms).div_euclid(24 * 3600 * 1000)
    }
}
