//! The progress bar of a run.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on a terminal. Without a terminal it prints nothing.
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// The last update of the bar.
    shown: Instant,
    /// The number of requests at the last update.
    requests: u64,
}

impl Progress {
    /// A bar for a run of this length.
    pub fn new(seconds: f64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
            ProgressBar::new((seconds * 1000.0) as u64).with_style(style.expect("the template is constant"))
        });
        Progress { bar, began: Instant::now(), shown: Instant::now(), requests: 0 }
    }

    /// Updates the bar at most every 200 ms. `requests` is the total so far.
    pub fn update(&mut self, requests: u64) {
        let Some(bar) = &self.bar else { return };
        let since = self.shown.elapsed();
        if since >= Duration::from_millis(200) {
            bar.set_position(self.began.elapsed().as_millis() as u64);
            bar.set_message(format!("{:.0} requests/s", (requests - self.requests) as f64 / since.as_secs_f64()));
            (self.shown, self.requests) = (Instant::now(), requests);
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
