//! Notices polls that never return, which the stall detector, waiting for their end, cannot: one thread for all shards looks
//! what each of them is at, twice a second, and names the task that has not let go for a second.
//!
//! A shard pays one store per poll.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::clock::{self, Mono};

const HUNG_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a shard shows of itself.
pub(super) struct Pulse {
    shard: u16,
    /// The poll under way: the number of its task's name in the upper 16 bits, when it began in the lower 48 (`ticks`); or 0.
    poll: AtomicU64,
    /// Polls that were found hung.
    hung: AtomicU64,
}

impl Pulse {
    /// Of a shard that is watched from now on, as long as this lives.
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

    /// The task that is being polled, and for how long, if that is too long.
    fn hanging(&self, now: Mono) -> Option<(u64, &'static str, Duration)> {
        let poll = self.poll.load(Ordering::Relaxed);
        let began = poll & ((1 << 48) - 1);
        let lasts = Duration::from_nanos(ticks(now).saturating_sub(began) << 20);
        (poll != 0 && lasts >= HUNG_AFTER).then(|| (poll, NameId((poll >> 48) as u16).name(), lasts))
    }
}

/// Time in units of 2^20 ns, about a millisecond; 48 bits of them last for millennia.
fn ticks(at: Mono) -> u64 {
    (at.as_nanos() >> 20).max(1)
}

/// A task's name as a number, so that another thread can be told in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NameId(u16);

static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl NameId {
    pub fn of(name: &'static str) -> NameId {
        thread_local!(static KNOWN: RefCell<Vec<(&'static str, NameId)>> = const { RefCell::new(Vec::new()) });
        KNOWN.with_borrow_mut(|known| {
            // By address first: the names are literals in the code, a few dozens of them.
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
        // Without the thread nothing is watched, and nothing else is amiss.
        let spawned = std::thread::Builder::new().name("watchdog".into()).spawn(look);
        watched.has_thread = spawned.is_ok();
    }
}

/// The watchdog's thread; ends when there is no shard left.
fn look() {
    // Polls that were reported: (poll, when it is reported again).
    let mut reported: Vec<(u64, Duration)> = Vec::new();
    loop {
        std::thread::sleep(LOOK_EVERY);
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
                tracing::error!(shard = shard.shard, task, seconds, "a task does not let go of its shard");
            }
            // Again when it has lasted twice as long.
            hanging.push((poll, if due { lasts * 2 } else { again.unwrap_or(lasts * 2) }));
        }
        reported = hanging;
    }
}
