//! Timers: a hierarchical wheel with six levels of 64 slots and ticks of 65.5 us (Varghese and Lauck, 1987).
//!
//! Setting and cancelling a timer is O(1). A timer never fires early; the wheel adds a delay of at most one tick.
//!
//! TIMER-1: a timer is in at most one list, and its state names the level and the slot of that list.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::clock::{self, Mono};
use super::reactor::Runtime;

const TICK_SHIFT: u32 = 16;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// The farthest tick ahead: 52 days. A later deadline waits in the farthest slot and is inserted again from there.
const REACH: u64 = (1 << (LEVEL_BITS as u64 * LEVELS as u64)) - 1;
const NIL: u32 = u32::MAX;

struct Timer {
    generation: u32,
    /// A tick.
    deadline: u64,
    state: TimerState,
    prev: u32,
    next: u32,
    waker: Option<Waker>,
}

/// ```text
/// Unlisted <-> Listed          set; cancelled, or moved to a lower level
/// Unlisted -> Fired            the deadline has passed
/// Fired -> Unlisted            the `Sleep` has seen it
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TimerState {
    Unlisted,
    Listed { level: u8, slot: u8 },
    Fired,
}

impl Timer {
    fn advance(&mut self, to: TimerState) {
        use TimerState::{Fired, Listed, Unlisted};
        let is_legal =
            matches!((self.state, to), (Unlisted, Listed { .. } | Fired) | (Listed { .. } | Fired, Unlisted));
        assert!(is_legal, "TIMER-1: a timer goes from {:?} to {to:?}", self.state);
        self.state = to;
    }
}

pub(super) struct Wheel {
    /// All timers up to this tick have fired.
    tick: u64,
    origin: Mono,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    timers: Vec<Timer>,
    free: Vec<u32>,
    listed: usize,
}

#[derive(Clone, Copy)]
struct Key {
    index: u32,
    generation: u32,
}

impl Wheel {
    pub fn new(now: Mono) -> Wheel {
        Wheel {
            tick: 0,
            origin: now,
            heads: [[NIL; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            timers: Vec::new(),
            free: Vec::new(),
            listed: 0,
        }
    }

    fn insert(&mut self, deadline: Mono, waker: Waker) -> Key {
        let nanos = deadline.since(self.origin).as_nanos() as u64;
        let tick = nanos.div_ceil(1 << TICK_SHIFT).max(self.tick + 1);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.timers.push(Timer {
                    generation: 0,
                    deadline: 0,
                    state: TimerState::Unlisted,
                    prev: NIL,
                    next: NIL,
                    waker: None,
                });
                (self.timers.len() - 1) as u32
            }
        };
        let timer = &mut self.timers[index as usize];
        timer.deadline = tick;
        timer.waker = Some(waker);
        self.link(index);
        Key { index, generation: self.timers[index as usize].generation }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.timers[index as usize].deadline.min(self.tick + REACH);
        // The highest bit in which the deadline differs from the current tick selects the level.
        let differing = (deadline ^ self.tick) | 1;
        let level = ((63 - differing.leading_zeros()) / LEVEL_BITS).min(LEVELS as u32 - 1) as usize;
        let slot = (deadline >> (LEVEL_BITS * level as u32)) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[level][slot], index);
        if head != NIL {
            self.timers[head as usize].prev = index;
        }
        let timer = &mut self.timers[index as usize];
        (timer.prev, timer.next) = (NIL, head);
        timer.advance(TimerState::Listed { level: level as u8, slot: slot as u8 });
        self.occupied[level] |= 1 << slot;
        self.listed += 1;
    }

    fn unlink(&mut self, index: u32) {
        let timer = &mut self.timers[index as usize];
        let (prev, next) = (timer.prev, timer.next);
        let TimerState::Listed { level, slot } = timer.state else {
            unreachable!("TIMER-1: only listed timers are unlinked")
        };
        timer.advance(TimerState::Unlisted);
        let (level, slot) = (usize::from(level), usize::from(slot));
        match prev {
            NIL => self.heads[level][slot] = next,
            _ => self.timers[prev as usize].next = next,
        }
        if next != NIL {
            self.timers[next as usize].prev = prev;
        }
        if self.heads[level][slot] == NIL {
            self.occupied[level] &= !(1 << slot);
        }
        self.listed -= 1;
    }

    fn remove(&mut self, key: Key) -> Option<Waker> {
        let timer = &mut self.timers[key.index as usize];
        assert_eq!(timer.generation, key.generation, "TIMER-1: a timer is removed once");
        match timer.state {
            TimerState::Listed { .. } => self.unlink(key.index),
            TimerState::Fired => timer.advance(TimerState::Unlisted),
            TimerState::Unlisted => unreachable!("TIMER-1: a timer that is set is listed or has fired"),
        }
        let timer = &mut self.timers[key.index as usize];
        timer.generation = timer.generation.wrapping_add(1);
        self.free.push(key.index);
        timer.waker.take()
    }

    /// The level, the slot and the tick of the next occupied slot.
    fn next(&self) -> Option<(usize, usize, u64)> {
        let mut best: Option<(usize, usize, u64)> = None;
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = LEVEL_BITS * level as u32;
            let here = (self.tick >> shift) as usize % SLOTS;
            let ahead = self.occupied[level].rotate_right(here as u32).trailing_zeros() as usize;
            let slot = (here + ahead) % SLOTS;
            let level_base = self.tick >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
            let mut tick = level_base + ((slot as u64) << shift);
            if tick < self.tick || (tick == self.tick && level == 0) {
                tick += 1 << (shift + LEVEL_BITS);
            }
            if best.is_none_or(|(_, _, t)| tick < t) {
                best = Some((level, slot, tick));
            }
        }
        best
    }

    /// The time when [`advance`](Self::advance) next has work.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.next().map(|(_, _, tick)| self.origin + Duration::from_nanos(tick << TICK_SHIFT))
    }

    /// Fires all timers that are due at `now`, and adds their wakers to `due`.
    pub fn advance(&mut self, now: Mono, due: &mut Vec<Waker>) {
        let target = now.since(self.origin).as_nanos() as u64 >> TICK_SHIFT;
        if self.listed == 0 {
            self.tick = self.tick.max(target);
            return;
        }
        while let Some((level, slot, tick)) = self.next() {
            if tick > target {
                break;
            }
            self.tick = tick;
            let mut index = self.heads[level][slot];
            while index != NIL {
                let next = self.timers[index as usize].next;
                self.unlink(index);
                let timer = &mut self.timers[index as usize];
                if timer.deadline <= tick {
                    timer.advance(TimerState::Fired);
                    due.extend(timer.waker.take());
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        self.tick = self.tick.max(target);
    }

    #[cfg(test)]
    fn listed(&self) -> usize {
        self.listed
    }
}

/// A future that completes at its deadline. Dropping it cancels the timer.
pub struct Sleep {
    deadline: Mono,
    key: Option<(Key, u16)>,
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(clock::now() + duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Mono) -> Sleep {
    Sleep { deadline, key: None }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Runtime::with(|rt| {
            let wheel = &mut *rt.wheel.borrow_mut();
            let Some((key, runtime)) = self.key else {
                if clock::now() >= self.deadline {
                    return Poll::Ready(());
                }
                self.key = Some((wheel.insert(self.deadline, cx.waker().clone()), rt.id));
                return Poll::Pending;
            };
            assert_eq!(runtime, rt.id, "a timer is awaited on the shard that set it");
            let timer = &mut wheel.timers[key.index as usize];
            if timer.state == TimerState::Fired {
                drop(wheel.remove(key));
                self.key = None;
                return Poll::Ready(());
            }
            if !timer.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                timer.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((key, runtime)) = self.key.take() {
            Runtime::try_with(|rt| {
                if rt.id == runtime {
                    let waker = rt.wheel.borrow_mut().remove(key);
                    drop(waker);
                }
            });
        }
    }
}

/// The timeout expired before the future completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Drops `future` if it does not complete within `duration`. The function that made the future documents the effect of
/// a drop.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut sleep = std::pin::pin!(sleep(duration));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn at_us(us: u64) -> Mono {
        Mono::from_nanos(us * 1000)
    }

    #[test]
    fn a_timer_fires_once_after_its_deadline_and_within_a_tick() {
        // Deadlines and steps in us, which cross every level.
        for step in [70, 999, 100_003, 77_000_000] {
            let mut wheel = Wheel::new(at_us(0));
            let mut waiting = std::collections::BTreeMap::new();
            for i in 0..500_u64 {
                let deadline = (i * i * i * 31) % 4_000_000_000 + i;
                let key = wheel.insert(at_us(deadline), Waker::noop().clone());
                waiting.insert(key.index, (deadline, key));
            }
            let (mut now, mut due) = (0, Vec::new());
            while !waiting.is_empty() {
                let before = now;
                // Like the event loop: to the next deadline, or by a step.
                let next = wheel.next_deadline().expect("timers are waiting").as_nanos().div_ceil(1000);
                now = (now + step).max(next);
                wheel.advance(at_us(now), &mut due);
                waiting.retain(|_, (deadline, key)| {
                    let fired = wheel.timers[key.index as usize].state == TimerState::Fired;
                    if fired {
                        assert!(*deadline <= now, "fired early: {deadline} at {now}");
                        assert!(*deadline + 66 >= before || before == 0, "fired late: {deadline}, already {before}");
                        wheel.remove(*key);
                    } else {
                        assert!(*deadline + 66 > now, "did not fire: {deadline} at {now}");
                    }
                    !fired
                });
                due.clear();
            }
            assert_eq!(wheel.listed(), 0);
            assert_eq!(wheel.next_deadline(), None);
        }
    }

    // TIMER-1
    #[test]
    fn a_cancelled_timer_does_not_fire_and_leaves_its_list() {
        let mut wheel = Wheel::new(at_us(0));
        let keys: Vec<_> = (0..1000).map(|i| wheel.insert(at_us(i * 977), Waker::noop().clone())).collect();
        for key in keys {
            wheel.remove(key);
        }
        let mut due = Vec::new();
        wheel.advance(at_us(10_000_000), &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.occupied, [0; LEVELS]);
    }

    #[test]
    fn ten_thousand_sleepers_wake_in_order_of_deadline() {
        let config = super::super::Config::default();
        super::super::run(config, || async {
            let order = Rc::new(RefCell::new(Vec::new()));
            let start = clock::now();
            let tasks: Vec<_> = (0..10_000_u64)
                .map(|i| {
                    let order = order.clone();
                    super::super::spawn(super::super::Class::Foreground, "sleeper", async move {
                        let deadline = start + Duration::from_micros((i * 7919) % 300_000);
                        sleep_until(deadline).await;
                        assert!(clock::now() >= deadline);
                        order.borrow_mut().push(deadline);
                    })
                })
                .collect();
            super::super::yield_now().await;
            // A task whose deadline passed before its first poll did not sleep.
            let (asleep_since, without_sleep) = (clock::now(), order.borrow().len());
            for task in tasks {
                task.await;
            }
            assert_eq!(order.borrow().len(), 10_000);
            let order = &order.borrow()[without_sleep..];
            assert!(order.len() > 1000, "the machine is too slow for this test: {:?}", asleep_since.since(start));
            // The order is not kept within one tick and one batch of due timers.
            let tick = Duration::from_nanos(1 << TICK_SHIFT);
            let late = order.windows(2).filter(|w| w[0].since(w[1]) > tick * 2).count();
            assert!(late < 100, "{late} of 10,000 out of order by more than a tick");
        })
        .unwrap();
    }

    #[test]
    fn a_timeout_drops_a_slow_future_and_returns_the_output_of_a_fast_one() {
        super::super::run(super::super::Config::default(), || async {
            assert_eq!(timeout(Duration::from_secs(5), async { 7 }).await, Ok(7));
            let start = clock::now();
            assert_eq!(timeout(Duration::from_millis(5), sleep(Duration::from_secs(5))).await, Err(Elapsed));
            assert!(start.elapsed() >= Duration::from_millis(5) && start.elapsed() < Duration::from_secs(2));
        })
        .unwrap();
    }
}
