//! How fast compaction goes: in short turns, and no faster than `log.cleaner.io.max.bytes.per.second`.
//!
//! The core is the foreground's. What is read and written counts once each, as in Kafka.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::clock::{self, Mono};
use crate::runtime::{sleep_until, yield_now};

/// A turn on the core: a foreground task that has become ready waits so long at the most.
const TURN: Duration = Duration::from_micros(150);

pub struct Pace {
    bytes_per_second: f64,
    /// When what was read and written so far may have been.
    due: Cell<Mono>,
    turn_began: Cell<Mono>,
}

impl Pace {
    pub fn new(bytes_per_second: f64) -> Pace {
        let now = clock::now();
        Pace { bytes_per_second, due: Cell::new(now), turn_began: Cell::new(now) }
    }

    /// Between two batches: lets others run when the turn is over.
    pub async fn step(&self) {
        if self.turn_began.get().elapsed() >= TURN {
            yield_now().await;
            self.turn_began.set(clock::now());
        }
    }

    /// So many bytes were read or written: waits until they may have been.
    pub async fn moved(&self, bytes: usize) {
        let now = clock::now();
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(Duration::MAX);
        // What was not used up before is not saved up.
        let due = self.due.get().max(now) + cost;
        self.due.set(due);
        if due > now {
            sleep_until(due).await;
        }
        self.turn_began.set(clock::now());
    }
}
