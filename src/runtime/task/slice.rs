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
        if self.is_over() {
            yield_now().await;
            self.begun.set(clock::now());
        }
    }

    fn is_over(&self) -> bool {
        #[cfg(test)]
        if count_pause() {
            return true;
        }
        self.begun.get().elapsed() >= TIME_SLICE
    }
}

#[cfg(test)]
thread_local! {
    static PAUSES: Cell<Option<usize>> = const { Cell::new(None) };
}

#[cfg(test)]
fn count_pause() -> bool {
    let pauses = PAUSES.get();
    PAUSES.set(pauses.map(|pauses| pauses + 1));
    pauses.is_some()
}

/// The output of a future, and the number of pauses of all tasks meanwhile. Each of them yields, however short the work
/// is.
#[cfg(test)]
pub async fn count_pauses<T>(future: impl Future<Output = T>) -> (T, usize) {
    PAUSES.set(Some(0));
    let output = future.await;
    (output, PAUSES.take().expect("one count at a time"))
}
