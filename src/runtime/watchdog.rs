//! Detects polls that do not return. The stall detector cannot: it measures a poll at its end.
//!
//! One thread for all shards checks each shard twice a second. It logs the name of a task whose poll takes longer than
//! a second. A shard pays one store per poll.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::clock::{self, Mono};

const HUNG_AFTER: Duration = Duration::from_secs(1);
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The state that a shard publishes for the watchdog.
pub(super) struct Pulse {
    shard: u16,
    /// The current poll: the id of the task's name in the upper 16 bits, the start time in the lower 48 (`ticks`). 0 =
    /// none.
    poll: AtomicU64,
    /// The number of hung polls.
    hung: AtomicU64,
}

impl Pulse {
    /// Starts watching a shard, until the value is dropped.
    pub fn new(shard: u16) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { shard, poll: AtomicU64::new(0), hung: AtomicU64::new(0) });
        watch(Arc::downgrade(&pulse));
        pulse
    }

    pub fn begin(&self, name: NameId, now: Mono) {
        self.poll.store(u64::from(name.0) << 48 | ticks(now), Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.poll.store(0, Ordering::Relaxed);
    }

    pub fn hung(&self) -> u64 {
        self.hung.load(Ordering::Relaxed)
    }

    /// The current poll, its task and its duration, if it takes longer than [`HUNG_AFTER`].
    fn hanging(&self, now: Mono) -> Option<(u64, &'static str, Duration)> {
        let poll = self.poll.load(Ordering::Relaxed);
        let began = poll & ((1 << 48) - 1);
        let lasts = Duration::from_nanos(ticks(now).saturating_sub(began) << 20);
        (poll != 0 && lasts >= HUNG_AFTER).then(|| (poll, NameId((poll >> 48) as u16).name(), lasts))
    }
}

/// Time in units of 2^20 ns, about a millisecond. 48 bits last for millennia.
fn ticks(at: Mono) -> u64 {
    (at.as_nanos() >> 20).max(1)
}

/// A task's name as a number, so that one word publishes it to another thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NameId(u16);

static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl NameId {
    pub fn of(name: &'static str) -> NameId {
        thread_local!(static KNOWN: RefCell<Vec<(&'static str, NameId)>> = const { RefCell::new(Vec::new()) });
        KNOWN.with_borrow_mut(|known| {
            // By address first: the names are a few dozen literals.
            if let Some((_, id)) = known.iter().find(|(n, _)| std::ptr::eq(*n, name)) {
                return *id;
            }
            let names = &mut *NAMES.lock().unwrap_or_else(PoisonError::into_inner);
            let index = names.iter().position(|n| *n == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let id = NameId(u16::try_from(index).expect("fewer than 65,536 kinds of tasks"));
            known.push((name, id));
            id
        })
    }

    fn name(self) -> &'static str {
        NAMES.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(self.0)]
    }
}

#[derive(Default)]
struct Watched {
    shards: Vec<Weak<Pulse>>,
    has_thread: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { shards: Vec::new(), has_thread: false });

fn watch(shard: Weak<Pulse>) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.shards.push(shard);
    if !watched.has_thread {
        // A failed spawn only leaves the shards without a watchdog.
        let spawned = std::thread::Builder::new().name("watchdog".into()).spawn(watch_all);
        watched.has_thread = spawned.is_ok();
    }
}

/// The watchdog's thread. Ends when no shard is left.
fn watch_all() {
    // The logged polls: (poll, the duration at which it is logged again).
    let mut reported: Vec<(u64, Duration)> = Vec::new();
    loop {
        std::thread::sleep(CHECK_INTERVAL);
        let shards: Vec<Arc<Pulse>> = {
            let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
            watched.shards.retain(|shard| shard.strong_count() > 0);
            if watched.shards.is_empty() {
                watched.has_thread = false;
                return;
            }
            watched.shards.iter().filter_map(Weak::upgrade).collect()
        };
        let now = clock::now();
        let mut hanging = Vec::new();
        for shard in shards {
            let Some((poll, task, lasts)) = shard.hanging(now) else { continue };
            let again = reported.iter().find(|(p, _)| *p == poll).map(|(_, again)| *again);
            if again.is_none() {
                shard.hung.fetch_add(1, Ordering::Relaxed);
            }
            let due = again.is_none_or(|again| lasts >= again);
            if due {
                let seconds = lasts.as_secs();
                tracing::error!(shard = shard.shard, task, seconds, "task blocks its shard");
            }
            // Logs it again when it has taken twice as long.
            hanging.push((poll, if due { lasts * 2 } else { again.unwrap_or(lasts * 2) }));
        }
        reported = hanging;
    }
}
