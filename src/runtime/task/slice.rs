//! Long pieces of work that let other tasks run.

use std::cell::Cell;
use std::time::Duration;

use super::super::clock::{self, Mono};
use super::yield_now;

/// The time that a foreground task takes before it pauses.
const TIME_SLICE: Duration = Duration::from_micros(500);

/// Bounds the time for which a long piece of work keeps other tasks waiting.
pub struct TimeSlice {
    begun: Cell<Mono>,
}

impl TimeSlice {
    /// A slice that begins now.
    pub fn begin() -> TimeSlice {
        TimeSlice { begun: Cell::new(clock::now()) }
    }

    /// Yields if the slice is over, and begins the next one.
    pub async fn pause(&self) {
        if self.begun.get().elapsed() >= TIME_SLICE {
            yield_now().await;
            self.begun.set(clock::now());
        }
    }
}
