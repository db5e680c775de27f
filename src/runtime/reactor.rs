//! The event loop: run the ready tasks, service mailboxes and timers, enter the ring once, park when no task is ready.
//!
//! One `enter` submits all operations of a round. The thread parks in four steps: its doorbell announces the park, it
//! checks its mailboxes again (MAIL-2), it enters the ring, and it processes the completions.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::buf::{self, Pool};
use super::clock::{self, Mono};
use super::mailbox::{Doorbell, Source};
use super::op::{Slots, USER_DATA_IGNORED};
use super::ring::{self, Built, Completion, Op, Ring, Wait};
use super::stall::StallDetector;
use super::task::{Class, TaskId, Tasks, Turn, Waking, waker};
use super::timer::Wheel;
use super::watchdog::Pulse;
use super::{Config, Stats, cpu};

/// The longest time that ready tasks run before the loop checks the ring.
const SLICE: Duration = Duration::from_micros(250);
/// As [`SLICE`], if completions are waiting.
const SLICE_WITH_COMPLETIONS: Duration = Duration::from_micros(50);
/// The longest park of a shard whose messages wait for room in a mailbox.
const CONGESTED_PARK_MAX: Duration = Duration::from_micros(200);
/// The pause before a failed wake-up is repeated, and between warnings about failed wake-ups.
const WAKE_UP_RETRY: Duration = Duration::from_micros(200);
const WAKE_UP_WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// User data of a message from another ring, which only wakes this shard.
const USER_DATA_WAKE_UP: u64 = u64::MAX - 1;
/// The tag of a file's close; the descriptor is in the low half.
const USER_DATA_CLOSE: u64 = 0xfe << 56;
/// The tag of a message that wakes another shard; the descriptor of its ring is in the low half.
const USER_DATA_WAKING: u64 = 0xfd << 56;

thread_local! {
    static CURRENT: Cell<*const Runtime> = const { Cell::new(std::ptr::null()) };
}

/// One shard's runtime. Code reaches it through its thread.
pub(super) struct Runtime {
    /// Unique among the runtimes of the process. Wakers, operations and timers carry it.
    pub id: u16,
    pub shard: u16,
    // Fields drop in this order: the ring first, then the memory that its operations use.
    ring: RefCell<Ring>,
    pub slots: RefCell<Slots>,
    pub pool: Rc<Pool>,
    pub tasks: Tasks,
    pub wheel: RefCell<Wheel>,
    pub doorbell: Arc<Doorbell>,
    pub sources: RefCell<Vec<Arc<dyn Source>>>,
    /// Whether an endpoint sent a message since the last call of `wake_targets`.
    pub messages_sent: Cell<bool>,
    /// The rings of shards that a wake-up did not reach, and the time of the next attempt.
    unreached: RefCell<Vec<i32>>,
    retry_at: Cell<Mono>,
    wake_up_warned: Cell<Option<Mono>>,
    drain_max: Duration,
    pub stalls: StallDetector,
    pulse: Arc<Pulse>,
    closes_in_flight: Cell<usize>,
    /// See [`Config::buffered_devices`].
    pub buffered_devices: Vec<u64>,
    ending: Cell<bool>,
    spin: Duration,
    /// The expected length of a wait, in nanoseconds; see `idle`.
    wait_expected_ns: Cell<u64>,
    stats: Cell<Stats>,
    completions: RefCell<Vec<Completion>>,
    due: RefCell<Vec<Waker>>,
}

impl Runtime {
    /// The thread's runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn with<R>(f: impl FnOnce(&Runtime) -> R) -> R {
        Runtime::try_with(f).expect("this needs a runtime: call it from inside `runtime::run`")
    }

    pub fn try_with<R>(f: impl FnOnce(&Runtime) -> R) -> Option<R> {
        let current = CURRENT.get();
        // SAFETY: `current` is null or points to the runtime on the stack of `run`, which resets it before the runtime
        // is dropped or moved. The reference does not outlive the call of `f`, which happens inside of `run`.
        unsafe { current.as_ref() }.map(f)
    }

    fn new(config: &Config) -> io::Result<Runtime> {
        static NEXT_ID: AtomicU16 = AtomicU16::new(0);
        let Built { uring, pool } =
            ring::build_largest(config.ring_entries, config.recv_buffers, config.recv_buffer_bytes)?;
        let ring = Ring::new(uring)?;
        buf::set_up_arena(config.arena_bytes_max, config.chunks_ready);
        Ok(Runtime {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            shard: config.shard,
            doorbell: Doorbell::new(ring.fd()),
            ring: RefCell::new(ring),
            slots: RefCell::default(),
            pool,
            tasks: Tasks::new(config.shares),
            wheel: RefCell::new(Wheel::new(clock::now())),
            sources: RefCell::default(),
            messages_sent: Cell::new(false),
            unreached: RefCell::default(),
            retry_at: Cell::new(clock::now()),
            wake_up_warned: Cell::new(None),
            drain_max: config.drain_max,
            stalls: StallDetector::new(config.stall),
            pulse: Pulse::new(config.shard),
            closes_in_flight: Cell::new(0),
            buffered_devices: config.buffered_devices.clone(),
            ending: Cell::new(false),
            spin: config.spin,
            wait_expected_ns: Cell::new(0),
            stats: Cell::default(),
            completions: RefCell::default(),
            due: RefCell::default(),
        })
    }

    pub fn push(&self, op: Op, user_data: u64) {
        self.ring.borrow_mut().push(op, user_data);
    }

    /// Closes the descriptor on the ring's workers. Returns false if the runtime is ending.
    pub fn close_later(&self, fd: i32) -> bool {
        if self.ending.get() {
            return false;
        }
        self.closes_in_flight.set(self.closes_in_flight.get() + 1);
        self.push(Op::Close { fd }, USER_DATA_CLOSE | fd as u64);
        true
    }

    pub fn replace_faults(&self, plan: Option<super::fault::FaultPlan>) -> Option<super::fault::FaultPlan> {
        self.ring.borrow_mut().replace_faults(plan)
    }

    pub fn held_operations(&self) -> usize {
        self.ring.borrow().held.len()
    }

    pub fn set_recorder(&self, recorder: super::record::Recorder) {
        self.ring.borrow_mut().recorder = Some(recorder);
    }

    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.get();
        stats.enters = self.ring.borrow().enters;
        stats.stalls = self.stalls.count();
        stats.hung = self.pulse.hung();
        stats.class_ns = self.tasks.class_ns.get();
        stats.tasks = self.tasks.count();
        stats.operations = self.slots.borrow().in_flight;
        stats
    }

    fn count(&self, f: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        f(&mut stats);
        self.stats.set(stats);
    }

    fn block_on<F: Future>(&self, mut main: Pin<&mut F>) -> F::Output {
        let main_id = self.tasks.insert(Class::Foreground, "main", None);
        loop {
            if let Some(output) = self.run_ready(main_id, main.as_mut()) {
                self.tasks.remove(main_id);
                return output;
            }
            self.service_sources();
            self.fire_timers();
            self.wake_targets();
            if self.tasks.has_ready() {
                self.exchange();
            } else {
                self.idle();
            }
        }
    }

    /// Polls ready tasks for a slice of time. Reads the clock once per poll: the end of a poll is the start of the
    /// next.
    fn run_ready<F: Future>(&self, main_id: TaskId, mut main: Pin<&mut F>) -> Option<F::Output> {
        let begun = clock::now();
        let mut at = begun;
        while let Some(Turn { id, name, name_id, class, body }) = self.tasks.next() {
            self.pulse.begin(name_id, at);
            let waker = waker(self.id, id);
            let mut cx = Context::from_waker(&waker);
            let output = match body {
                Some(mut body) => {
                    match body.as_mut().poll(&mut cx) {
                        Poll::Pending => drop(self.tasks.put_back(id, body)),
                        Poll::Ready(()) => {
                            drop(body);
                            self.tasks.remove(id);
                        }
                    }
                    None
                }
                None => {
                    assert_eq!(id, main_id, "only the main task has no body");
                    match main.as_mut().poll(&mut cx) {
                        Poll::Pending => None,
                        Poll::Ready(output) => Some(output),
                    }
                }
            };
            let now = clock::now();
            let spent = now.since(at);
            at = now;
            self.tasks.charge(class, spent);
            if id == main_id {
                self.stalls.observe_main(spent);
            } else {
                self.stalls.observe(name, spent, now);
            }
            self.count(|s| s.polls += 1);
            if output.is_some() {
                self.pulse.end();
                return output;
            }
            let slice = now.since(begun);
            if slice >= SLICE || (slice >= SLICE_WITH_COMPLETIONS && self.ring.borrow_mut().has_completions()) {
                break;
            }
        }
        self.pulse.end();
        None
    }

    fn service_sources(&self) {
        let mut sources = self.sources.borrow_mut();
        // Removes endpoints that only this list still references.
        sources.retain(|source| Arc::strong_count(source) > 1 || source.is_congested());
        sources.iter().for_each(|source| source.service());
    }

    fn fire_timers(&self) {
        let mut due = std::mem::take(&mut *self.due.borrow_mut());
        self.wheel.borrow_mut().advance(clock::now(), &mut due);
        due.drain(..).for_each(Waker::wake);
        *self.due.borrow_mut() = due;
    }

    fn wake_targets(&self) {
        self.repeat_wake_ups();
        if !self.messages_sent.replace(false) {
            return;
        }
        // MAIL-2: the fence is between the write of the messages and the read of the targets' park flags.
        fence(Ordering::SeqCst);
        let mut ring = self.ring.borrow_mut();
        let mut woken = 0;
        for source in self.sources.borrow().iter() {
            source.wake_targets(&mut |target| {
                woken += 1;
                ring.push(wake_up(target), USER_DATA_WAKING | target as u64);
            });
        }
        self.count(|s| s.rings += woken);
    }

    /// Wakes the shards again that a wake-up did not reach. No other shard wakes the target, because this shard has
    /// claimed its wake-up (MAIL-2).
    fn repeat_wake_ups(&self) {
        if self.unreached.borrow().is_empty() || clock::now() < self.retry_at.get() {
            return;
        }
        let mut ring = self.ring.borrow_mut();
        for target in self.unreached.borrow_mut().drain(..) {
            ring.push(wake_up(target), USER_DATA_WAKING | target as u64);
        }
    }

    /// A wake-up failed. The kernel reports no success.
    fn wake_up_failed(&self, c: Completion) {
        // The target has ended, and its descriptor may be another file now.
        if matches!(-c.result, libc::EBADF | libc::EBADFD | libc::EOWNERDEAD) {
            return;
        }
        let now = clock::now();
        if self.wake_up_warned.get().is_none_or(|at| now.since(at) >= WAKE_UP_WARNING_INTERVAL) {
            self.wake_up_warned.set(Some(now));
            let error = io::Error::from_raw_os_error(-c.result);
            tracing::warn!("shard {} repeats a failed wake-up of another shard: {error}", self.shard);
        }
        self.unreached.borrow_mut().push(c.user_data as u32 as i32);
        self.retry_at.set(now + WAKE_UP_RETRY);
    }

    fn enter(&self, wait: Wait) {
        let entered = self.ring.borrow_mut().enter(wait);
        if let Err(error) = entered {
            panic!("io_uring_enter failed: {error}");
        }
    }

    /// Submits the queued operations and processes the completions, without waiting.
    fn exchange(&self) {
        if self.ring.borrow_mut().needs_enter() {
            self.enter(Wait::No);
        }
        self.reap();
    }

    fn reap(&self) {
        let mut completions = std::mem::take(&mut *self.completions.borrow_mut());
        self.ring.borrow_mut().reap(&mut completions);
        for c in completions.drain(..) {
            self.count(|s| s.completions += 1);
            match c.user_data {
                USER_DATA_IGNORED | USER_DATA_WAKE_UP => {}
                close if close >> 56 == USER_DATA_CLOSE >> 56 => self.closed(c),
                waking if waking >> 56 == USER_DATA_WAKING >> 56 => self.wake_up_failed(c),
                _ => self.complete(c),
            }
        }
        *self.completions.borrow_mut() = completions;
    }

    fn closed(&self, c: Completion) {
        self.closes_in_flight.set(self.closes_in_flight.get() - 1);
        if c.result == -libc::ECANCELED {
            // SAFETY: the close was cancelled, so the descriptor is still open, and no other code owns it.
            unsafe { libc::close(c.user_data as u32 as i32) };
        }
    }

    /// Whether an event has arrived that `idle` waits for.
    fn has_work(&self) -> bool {
        self.ring.borrow_mut().has_completions() || self.sources.borrow().iter().any(|source| source.has_work())
    }

    /// Waits for an event when no task is ready. Spins for its budget if the expected wait is shorter, then parks.
    /// Parking submits and waits in one system call.
    ///
    /// The expected wait is a moving average of past waits, capped at four budgets. A few short waits make the shard
    /// spin; a few long waits make it park at once, so that an idle shard uses no CPU.
    fn idle(&self) {
        let begun = clock::now();
        let timer = self.wheel.borrow().next_deadline();
        let spin_ns = self.spin.as_nanos() as u64;
        let expected = self.wait_expected_ns.get();
        if spin_ns > 0 && expected <= spin_ns {
            self.exchange();
            if self.tasks.has_ready() {
                return;
            }
            self.count(|s| s.spins += 1);
            let end = begun + self.spin;
            loop {
                let has_work = (0..16).any(|_| {
                    std::hint::spin_loop();
                    self.has_work()
                });
                let now = clock::now();
                if has_work || timer.is_some_and(|t| t <= now) {
                    self.expect_wait(expected, now.since(begun), Duration::ZERO);
                    return;
                }
                if now >= end {
                    break;
                }
            }
        }
        self.park(timer);
        let waited = begun.elapsed();
        // An operation that completes during its submission is not a wait.
        if waited >= PARK_MIN {
            // The wake-up time of a parked thread is not part of the wait: a spinning thread does not have it.
            self.expect_wait(expected, waited, PARK_COST);
        }
    }

    fn expect_wait(&self, expected: u64, waited: Duration, cost: Duration) {
        let cut = (waited.saturating_sub(cost).as_nanos() as u64).min(self.spin.as_nanos() as u64 * 4);
        self.wait_expected_ns.set((expected * 3 + cut) / 4);
    }

    fn park(&self, timer: Option<Mono>) {
        let congested =
            !self.unreached.borrow().is_empty() || self.sources.borrow().iter().any(|source| source.is_congested());
        self.doorbell.park();
        // MAIL-2: messages that were sent before the announcement.
        if self.sources.borrow().iter().any(|source| source.has_work()) {
            self.doorbell.unpark();
            return;
        }
        let wait = timer.map(|t| t.since(clock::now()));
        let wait = if congested { Some(wait.unwrap_or(CONGESTED_PARK_MAX).min(CONGESTED_PARK_MAX)) } else { wait };
        self.count(|s| s.parks += 1);
        self.enter(match wait {
            None => Wait::Forever,
            Some(wait) => Wait::For(wait),
        });
        self.doorbell.unpark();
        self.reap();
    }

    /// Drops all tasks and waits for all operations, so that the kernel no longer accesses their memory.
    fn end(&self) {
        self.doorbell.end();
        self.ending.set(true);
        while let Some(body) = self.tasks.take_any() {
            drop(body);
        }
        let deadline = clock::now() + self.drain_max;
        self.wake_targets();
        self.push(Op::CancelAll, USER_DATA_IGNORED);
        loop {
            self.enter(Wait::No);
            self.reap();
            if self.slots.borrow().in_flight == 0 && self.closes_in_flight.get() == 0 {
                break;
            }
            if clock::now() >= deadline {
                let left = self.slots.borrow().in_flight;
                tracing::warn!(left, "operations did not complete; their memory is leaked");
                std::mem::forget(std::mem::take(&mut *self.slots.borrow_mut()));
                // The kernel may still write to a buffer that a receive has picked.
                std::mem::forget(self.pool.clone());
                break;
            }
            self.enter(Wait::For(Duration::from_millis(10)));
            self.reap();
        }
        self.sources.borrow_mut().clear();
    }
}

fn wake_up(ring: i32) -> Op {
    Op::MsgRing { ring, user_data: USER_DATA_WAKE_UP }
}

/// A park takes at least this long: the thread leaves its core and returns to it.
const PARK_MIN: Duration = Duration::from_micros(5);

/// The approximate wake-up time of a parked thread, mainly on virtual machines.
const PARK_COST: Duration = Duration::from_micros(50);

/// Makes this thread a shard until `main` completes. Drops the tasks that have not completed by then.
///
/// # Errors
/// If the ring cannot be built (see `probe`), or the process may not use the core.
pub fn run<T, F: Future<Output = T>>(config: Config, main: impl FnOnce() -> F) -> io::Result<T> {
    /// Ends the runtime on every exit from `run`.
    struct Current<'a>(&'a Runtime);
    impl Drop for Current<'_> {
        fn drop(&mut self) {
            self.0.end();
            CURRENT.set(std::ptr::null());
        }
    }

    assert!(CURRENT.get().is_null(), "a thread is one shard at a time");
    if let Some(core) = config.core {
        cpu::pin(core)?;
    }
    cpu::tighten_timer_slack();
    cpu::request_long_slice();
    let runtime = Runtime::new(&config)?;
    let _waking = Waking::begin(runtime.id);
    CURRENT.set(&raw const runtime);
    let _current = Current(&runtime);
    let main = std::pin::pin!(main());
    Ok(runtime.block_on(main))
}
