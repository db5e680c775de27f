//! Tests that load the whole machine take turns: tests of one name may run together, tests of different names may not.
//!
//! libtest runs the tests of a binary in parallel and in the order of their names. So the tests of a module are
//! neighbours, and a turn changes hands once per module.

use std::sync::{Condvar, Mutex, PoisonError};

struct Running {
    name: &'static str,
    tests: usize,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { name: "", tests: 0 });
static ENDED: Condvar = Condvar::new();

/// Held by a running test. Dropping it ends the turn when no other test of the same name runs.
pub struct Turn(());

/// Waits until no test of another name runs. A test calls this first and holds the result to its end.
#[must_use = "dropping it ends the turn"]
pub fn of(name: &'static str) -> Turn {
    // A failed test poisons nothing that the next one needs.
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = ENDED
        .wait_while(running, |running| running.tests > 0 && running.name != name)
        .unwrap_or_else(PoisonError::into_inner);
    running.name = name;
    running.tests += 1;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.tests -= 1;
        if running.tests == 0 {
            ENDED.notify_all();
        }
    }
}
