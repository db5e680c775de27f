//! Records the circumstances of a measurement.

use std::time::Instant;

use super::machine::Roots;
use crate::config::profile::{Form, Provenance};
use crate::runtime::cpu;
use crate::tools::time;

/// A measurement that has begun.
pub struct Begun {
    at: Instant,
    load_average: f64,
}

impl Begun {
    /// Reads the load average before the measurement adds its own load.
    pub fn now(roots: &Roots) -> Begun {
        Begun { at: Instant::now(), load_average: load_average(roots) }
    }

    /// The circumstances, at the end of the measurement.
    pub fn end(&self, roots: &Roots, form: Form, beside_a_node: bool) -> Provenance {
        let date_ms = time::now_ms();
        Provenance {
            tidemill: env!("CARGO_PKG_VERSION").to_owned(),
            date: time::format_utc(date_ms),
            date_ms,
            form,
            seconds: (self.at.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            load_average_before: self.load_average,
            load_average_after: load_average(roots),
            cpus: cpu::cores().len(),
            beside_a_node,
            complete: true,
        }
    }
}

/// The load average over one minute.
fn load_average(roots: &Roots) -> f64 {
    let text = roots.read("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
