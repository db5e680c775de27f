//! Detects polls that block their shard, and logs the name of the task.

use std::cell::Cell;
use std::time::Duration;

use super::clock::Mono;

/// The minimum time between two log lines. The counter includes the stalls that are not logged.
const LOG_EVERY: Duration = Duration::from_secs(1);

pub(super) struct StallDetector {
    threshold: Duration,
    count: Cell<u64>,
    last: Cell<Option<Stall>>,
    logged: Cell<Option<Mono>>,
    unlogged: Cell<u64>,
}

/// One poll that took longer than the threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// The name of the task.
    pub task: &'static str,
    /// The duration of the poll.
    pub duration: Duration,
}

impl StallDetector {
    pub fn new(threshold: Duration) -> StallDetector {
        StallDetector {
            threshold,
            count: Cell::new(0),
            last: Cell::new(None),
            logged: Cell::new(None),
            unlogged: Cell::new(0),
        }
    }

    /// Checks the duration of one poll.
    pub fn observe(&self, task: &'static str, duration: Duration, now: Mono) {
        if duration < self.threshold {
            return;
        }
        self.count.set(self.count.get() + 1);
        self.last.set(Some(Stall { task, duration }));
        if self.logged.get().is_some_and(|at| now.since(at) < LOG_EVERY) {
            self.unlogged.set(self.unlogged.get() + 1);
            return;
        }
        self.logged.set(Some(now));
        let unlogged = self.unlogged.take();
        tracing::warn!(task, unlogged, "task blocked its shard for {:.1} ms", duration.as_secs_f64() * 1e3);
    }

    /// Checks a poll of the main task, which opens and stops the shard: no client waits for another task meanwhile, so
    /// it is no reason for a warning.
    pub fn observe_main(&self, duration: Duration) {
        if duration >= self.threshold {
            self.count.set(self.count.get() + 1);
            self.last.set(Some(Stall { task: "main", duration }));
            tracing::debug!("the shard's start or stop took {:.1} ms in one step", duration.as_secs_f64() * 1e3);
        }
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn last(&self) -> Option<Stall> {
        self.last.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_of_the_main_task_is_counted_and_not_logged() {
        let detector = StallDetector::new(Duration::from_millis(10));
        detector.observe_main(Duration::from_millis(9));
        detector.observe_main(Duration::from_millis(10));
        assert_eq!((detector.count(), detector.last().map(|stall| stall.task)), (1, Some("main")));
        assert!(detector.logged.get().is_none() && detector.unlogged.get() == 0);
        detector.observe("flush", Duration::from_millis(10), super::super::clock::now());
        assert!(detector.count() == 2 && detector.logged.get().is_some());
    }
}
