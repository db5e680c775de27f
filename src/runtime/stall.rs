//! Notices polls that hold the shard up, and says which task it was.

use std::cell::Cell;
use std::time::Duration;

use super::clock::Mono;

/// At most one log line in so long; the counter counts all.
const LOG_EVERY: Duration = Duration::from_secs(1);

pub(super) struct StallDetector {
    threshold: Duration,
    count: Cell<u64>,
    last: Cell<Option<Stall>>,
    logged: Cell<Option<Mono>>,
    unlogged: Cell<u64>,
}

/// One poll that took too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    pub task: &'static str,
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
        tracing::warn!(task, duration_us = duration.as_micros() as u64, unlogged, "a task held its shard up");
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn last(&self) -> Option<Stall> {
        self.last.get()
    }
}
