//! The progress of a measurement: a bar on a terminal, and nothing without one.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The steps of one measurement, each with the time that it is expected to take.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar for a measurement of this length.
    pub fn new(length: Duration) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
            let bar = ProgressBar::new(length.as_millis() as u64);
            bar.set_style(style.expect("the template is constant"));
            bar
        });
        Progress { bar }
    }

    /// Shows the step that begins.
    pub fn step(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    /// Advances by a step of this length.
    pub fn advance(&self, length: Duration) {
        if let Some(bar) = &self.bar {
            bar.inc(length.as_millis() as u64);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
