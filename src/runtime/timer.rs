//! Timers: a hierarchical wheel, six levels of 64 slots, 65.5 us a tick (Varghese and Lauck, 1987).
//!
//! Setting and cancelling are O(1), however many timers there are. A timer never fires early, and at most a tick late on the
//! wheel's account. TIMER-1: an entry in a list has its level and slot recorded; leaving the list clears them.

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
/// Deadlines beyond the wheel's reach (52 days) wait in its farthest slot and are sorted in again from there.
const REACH: u64 = (1 << (LEVEL_BITS as u64 * LEVELS as u64)) - 1;
const NIL: u32 = u32::MAX;

struct Entry {
    generation: u32,
    deadline: u64,
    place: Place,
    prev: u32,
    next: u32,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Free,
    Listed { level: u8, slot: u8 },
    Fired,
}

pub(super) struct Wheel {
    /// The tick up to which everything has fired.
    tick: u64,
    origin: Mono,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    entries: Vec<Entry>,
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
            entries: Vec::new(),
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
                self.entries.push(Entry {
                    generation: 0,
                    deadline: 0,
                    place: Place::Free,
                    prev: NIL,
                    next: NIL,
                    waker: None,
                });
                (self.entries.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[index as usize];
        entry.deadline = tick;
        entry.waker = Some(waker);
        self.link(index);
        Key { index, generation: self.entries[index as usize].generation }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline.min(self.tick + REACH);
        // The highest bit in which deadline and now differ names the level: below it, the slots are ahead of us.
        let differing = (deadline ^ self.tick) | 1;
        let level = ((63 - differing.leading_zeros()) / LEVEL_BITS).min(LEVELS as u32 - 1) as usize;
        let slot = (deadline >> (LEVEL_BITS * level as u32)) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[level][slot], index);
        if head != NIL {
            self.entries[head as usize].prev = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.prev, entry.next) = (NIL, head);
        entry.place = Place::Listed { level: level as u8, slot: slot as u8 };
        self.occupied[level] |= 1 << slot;
        self.listed += 1;
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (prev, next) = (entry.prev, entry.next);
        let Place::Listed { level, slot } = entry.place else {
            unreachable!("TIMER-1: only listed entries are unlinked")
        };
        let (level, slot) = (usize::from(level), usize::from(slot));
        match prev {
            NIL => self.heads[level][slot] = next,
            _ => self.entries[prev as usize].next = next,
        }
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if self.heads[level][slot] == NIL {
            self.occupied[level] &= !(1 << slot);
        }
        self.listed -= 1;
    }

    fn remove(&mut self, key: Key) -> Option<Waker> {
        assert_eq!(self.entries[key.index as usize].generation, key.generation, "TIMER-1: a timer is removed once");
        if matches!(self.entries[key.index as usize].place, Place::Listed { .. }) {
            self.unlink(key.index);
        }
        let entry = &mut self.entries[key.index as usize];
        entry.place = Place::Free;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        entry.waker.take()
    }

    /// The level, slot and tick of what comes next.
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

    /// When [`advance`](Self::advance) has something to do again.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.next().map(|(_, _, tick)| self.origin + Duration::from_nanos(tick << TICK_SHIFT))
    }

    /// Fires everything due at `now`; the wakers go to `due`.
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
                let next = self.entries[index as usize].next;
                self.unlink(index);
                let entry = &mut self.entries[index as usize];
                if entry.deadline <= tick {
                    entry.place = Place::Fired;
                    due.extend(entry.waker.take());
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

/// Completes at its deadline. Dropping it cancels the timer.
pub struct Sleep {
    deadline: Mono,
    key: Option<(Key, u16)>,
}

pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(clock::now() + duration)
}

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
            let entry = &mut wheel.entries[key.index as usize];
            if entry.place == Place::Fired {
                drop(wheel.remove(key));
                self.key = None;
                return Poll::Ready(());
            }
            if !entry.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                entry.waker = Some(cx.waker().clone());
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

/// The time was up before the future was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Drops `future` if it is not done in time. What a dropped future means is said where it was made.
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
    fn every_timer_fires_once_after_its_deadline_and_within_a_tick() {
        // (deadlines in us; steps in us) - near, far, crossing every level.
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
                // As the loop does it: to the next deadline, or by a step.
                let next = wheel.next_deadline().expect("timers are waiting").as_nanos().div_ceil(1000);
                now = (now + step).max(next);
                wheel.advance(at_us(now), &mut due);
                waiting.retain(|_, (deadline, key)| {
                    let fired = wheel.entries[key.index as usize].place == Place::Fired;
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

    #[test]
    fn a_removed_timer_does_not_fire_and_leaves_nothing() {
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
            // All have been polled by now; those whose time had come before did not sleep.
            let (asleep_since, slept_not) = (clock::now(), order.borrow().len());
            for task in tasks {
                task.await;
            }
            assert_eq!(order.borrow().len(), 10_000);
            let order = &order.borrow()[slept_not..];
            assert!(order.len() > 1000, "too slow a machine to say anything: {:?}", asleep_since.since(start));
            // Within one tick, and one batch of due timers, the order is not kept.
            let tick = Duration::from_nanos(1 << TICK_SHIFT);
            let late = order.windows(2).filter(|w| w[0].since(w[1]) > tick * 2).count();
            assert!(late < 100, "{late} of 10,000 out of order by more than a tick");
        })
        .unwrap();
    }

    #[test]
    fn a_timeout_drops_the_slow_future_and_keeps_the_fast_ones_answer() {
        super::super::run(super::super::Config::default(), || async {
            assert_eq!(timeout(Duration::from_secs(5), async { 7 }).await, Ok(7));
            let start = clock::now();
            assert_eq!(timeout(Duration::from_millis(5), sleep(Duration::from_secs(5))).await, Err(Elapsed));
            assert!(start.elapsed() >= Duration::from_millis(5) && start.elapsed() < Duration::from_secs(2));
        })
        .unwrap();
    }
}
