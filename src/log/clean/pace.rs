//! The pace of compaction: short turns on the core, and at most `log.cleaner.io.max.bytes.per.second`.
//!
//! The core belongs to foreground tasks. Read bytes and written bytes count once each, as in Kafka.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::clock::{self, Mono};
use crate::runtime::{sleep_until, yield_now};

/// A turn on the core: a ready foreground task waits at most this long.
const TURN: Duration = Duration::from_micros(150);

/// Limits a compaction's share of the core and its bytes per second.
pub struct Pace {
    bytes_per_second: f64,
    /// The earliest time that the rate allows for the bytes so far.
    due: Cell<Mono>,
    turn_began: Cell<Mono>,
}

impl Pace {
    /// A pace of at most `bytes_per_second`.
    pub fn new(bytes_per_second: f64) -> Pace {
        assert!(bytes_per_second > 0.0, "{bytes_per_second} bytes a second");
        let now = clock::now();
        Pace { bytes_per_second, due: Cell::new(now), turn_began: Cell::new(now) }
    }

    /// Yields if the turn is over. Called between two batches.
    pub async fn step(&self) {
        if self.turn_began.get().elapsed() >= TURN {
            yield_now().await;
            self.turn_began.set(clock::now());
        }
    }

    /// Notes that `bytes` were read or written, and waits until the rate allows them.
    pub async fn moved(&self, bytes: usize) {
        let now = clock::now();
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(Duration::MAX);
        // Unused bandwidth is not saved up.
        let due = self.due.get().max(now) + cost;
        self.due.set(due);
        if due > now {
            sleep_until(due).await;
        }
        self.turn_began.set(clock::now());
    }
}
