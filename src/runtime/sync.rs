//! Waiting inside a shard: for a notification, for permits, for one value. No atomics: nothing here leaves its thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A notification that wakes all waiters. A call of `notified()` does not see earlier notifications.
#[derive(Default)]
pub struct Notify {
    epoch: Cell<u64>,
    next_ticket: Cell<u64>,
    /// The waiters of the current epoch. The storage is reused, so that a warm shard does not allocate to wait.
    waiters: RefCell<Vec<(u64, Waker)>>,
}

impl Notify {
    /// A notification without waiters.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes all tasks that wait now.
    pub fn notify_all(&self) {
        self.epoch.set(self.epoch.get() + 1);
        if self.waiters.borrow().is_empty() {
            return;
        }
        let mut waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        waiters.drain(..).for_each(|(_, waker)| waker.wake());
        let mut current = self.waiters.borrow_mut();
        if current.is_empty() {
            *current = waiters;
        }
    }

    /// Completes at the next `notify_all` after this call, not after the first poll.
    pub fn notified(&self) -> Notified<'_> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        Notified { notify: self, epoch: self.epoch.get(), ticket, is_waiting: false }
    }
}

/// The future of [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    epoch: u64,
    ticket: u64,
    is_waiting: bool,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.notify.epoch.get() != self.epoch {
            return Poll::Ready(());
        }
        let mut waiters = self.notify.waiters.borrow_mut();
        if !self.is_waiting {
            waiters.push((self.ticket, cx.waker().clone()));
            drop(waiters);
            self.is_waiting = true;
        } else if let Some((_, waker)) = waiters.iter_mut().find(|(ticket, _)| *ticket == self.ticket)
            && !waker.will_wake(cx.waker())
        {
            *waker = cx.waker().clone();
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        // `notify_all` removed all waiters of its epoch. Only a waiter that was not notified is still listed.
        if self.is_waiting && self.notify.epoch.get() == self.epoch {
            self.notify.waiters.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
        }
    }
}

/// Waiters for a number that only grows. Each waiter has a goal, and an advance wakes only those that it reaches: a
/// hundred requests that wait for different writes are not woken by each of them.
#[derive(Default)]
pub struct Milestones {
    next_ticket: Cell<u64>,
    /// Ascending by goal; equal goals in order of arrival.
    waiters: RefCell<VecDeque<Goal>>,
}

struct Goal {
    at: u64,
    ticket: u64,
    waker: Waker,
}

impl Milestones {
    /// Milestones without waiters.
    pub fn new() -> Milestones {
        Milestones::default()
    }

    /// Wakes the tasks whose goal is at most `at`.
    pub fn reach(&self, at: u64) {
        loop {
            let next = {
                let mut waiters = self.waiters.borrow_mut();
                if waiters.front().is_none_or(|waiter| waiter.at > at) {
                    return;
                }
                waiters.pop_front()
            };
            next.inspect(|waiter| waiter.waker.wake_by_ref());
        }
    }

    /// Completes at the next [`reach`](Self::reach) of `at` or more after the first poll.
    pub fn reached(&self, at: u64) -> Reached<'_> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        Reached { milestones: self, at, ticket, is_waiting: false }
    }
}

/// The future of [`Milestones::reached`].
pub struct Reached<'a> {
    milestones: &'a Milestones,
    at: u64,
    ticket: u64,
    is_waiting: bool,
}

impl Reached<'_> {
    /// Its place among the waiters: `Err` is where it belongs.
    fn place(&self, waiters: &VecDeque<Goal>) -> Result<usize, usize> {
        waiters.binary_search_by_key(&(self.at, self.ticket), |waiter| (waiter.at, waiter.ticket))
    }
}

impl Future for Reached<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiters = self.milestones.waiters.borrow_mut();
        match self.place(&waiters) {
            Ok(at) => waiters[at].waker.clone_from(cx.waker()),
            Err(_) if self.is_waiting => return Poll::Ready(()),
            Err(at) => {
                waiters.insert(at, Goal { at: self.at, ticket: self.ticket, waker: cx.waker().clone() });
                drop(waiters);
                self.is_waiting = true;
            }
        }
        Poll::Pending
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        if self.is_waiting {
            let mut waiters = self.milestones.waiters.borrow_mut();
            if let Ok(at) = self.place(&waiters) {
                waiters.remove(at);
            }
        }
    }
}

/// A semaphore that serves waiters in order of arrival. A clone shares the permits.
#[derive(Clone)]
pub struct Permits {
    state: Rc<PermitState>,
}

struct PermitState {
    total: u64,
    free: Cell<u64>,
    next_ticket: Cell<u64>,
    /// By ticket, in order of arrival.
    waiters: RefCell<BTreeMap<u64, Waiter>>,
}

struct Waiter {
    count: u64,
    waker: Waker,
}

impl Permits {
    /// A semaphore of `total` free permits.
    pub fn new(total: u64) -> Permits {
        let state =
            PermitState { total, free: Cell::new(total), next_ticket: Cell::new(0), waiters: RefCell::default() };
        Permits { state: Rc::new(state) }
    }

    /// The number of permits, free or held.
    pub fn total(&self) -> u64 {
        self.state.total
    }

    /// The number of free permits.
    pub fn available(&self) -> u64 {
        self.state.free.get()
    }

    /// Whether any task waits for permits.
    pub fn is_contended(&self) -> bool {
        !self.state.waiters.borrow().is_empty()
    }

    /// Waits until `count` permits are free and all earlier callers are served. A `count` above the total is reduced to
    /// the total: the caller then runs alone, instead of waiting for ever.
    pub fn acquire(&self, count: u64) -> Acquire {
        let ticket = self.state.next_ticket.get();
        self.state.next_ticket.set(ticket + 1);
        Acquire { state: self.state.clone(), count: count.min(self.state.total), ticket, done: false }
    }

    /// Takes `count` permits if they are free and no task waits.
    pub fn try_acquire(&self, count: u64) -> Option<Permit> {
        let count = count.min(self.state.total);
        let free = self.state.free.get();
        if count > free || !self.state.waiters.borrow().is_empty() {
            return None;
        }
        self.state.free.set(free - count);
        Some(Permit { state: self.state.clone(), count })
    }
}

impl PermitState {
    /// Wakes the first waiter if enough permits are free.
    fn wake_first(&self) {
        let waiters = self.waiters.borrow();
        if let Some(first) = waiters.values().next()
            && first.count <= self.free.get()
        {
            first.waker.wake_by_ref();
        }
    }
}

/// The future of [`Permits::acquire`].
pub struct Acquire {
    state: Rc<PermitState>,
    count: u64,
    ticket: u64,
    done: bool,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        assert!(!self.done, "polled after completion");
        let state = self.state.clone();
        let free = state.free.get();
        let first = state.waiters.borrow().keys().next().is_none_or(|first| *first >= self.ticket);
        if first && self.count <= free {
            state.waiters.borrow_mut().remove(&self.ticket);
            state.free.set(free - self.count);
            self.done = true;
            state.wake_first();
            return Poll::Ready(Permit { state, count: self.count });
        }
        state.waiters.borrow_mut().insert(self.ticket, Waiter { count: self.count, waker: cx.waker().clone() });
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if !self.done {
            let waiter = self.state.waiters.borrow_mut().remove(&self.ticket);
            if waiter.is_some() {
                self.state.wake_first();
            }
        }
    }
}

/// Permits that are held. Dropping it releases them.
pub struct Permit {
    state: Rc<PermitState>,
    count: u64,
}

impl Permit {
    /// The number of permits held.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Releases all permits but `count`.
    pub fn shrink_to(&mut self, count: u64) {
        assert!(count <= self.count, "a permit of {} cannot grow to {count}", self.count);
        self.release(self.count - count);
        self.count = count;
    }

    /// Splits off a permit of `count`.
    pub fn split(&mut self, count: u64) -> Permit {
        assert!(count <= self.count, "{count} of a permit of {}", self.count);
        self.count -= count;
        Permit { state: self.state.clone(), count }
    }

    /// Adds another permit of the same [`Permits`].
    pub fn merge(&mut self, mut other: Permit) {
        assert!(Rc::ptr_eq(&self.state, &other.state), "permits of different origin");
        self.count += std::mem::take(&mut other.count);
    }

    fn release(&self, count: u64) {
        self.state.free.set(self.state.free.get() + count);
        assert!(self.state.free.get() <= self.state.total, "permits are released once");
        if count > 0 {
            self.state.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(self.count);
    }
}

struct Shot<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    sender_gone: Cell<bool>,
    receiver_gone: Cell<bool>,
}

/// A channel for one value, to one receiver.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shot = Rc::new(Shot {
        value: Cell::new(None),
        waker: Cell::new(None),
        sender_gone: Cell::new(false),
        receiver_gone: Cell::new(false),
    });
    (Sender(shot.clone()), Receiver(shot))
}

/// The sending half of [`oneshot`].
pub struct Sender<T>(Rc<Shot<T>>);

impl<T> Sender<T> {
    /// Sends the value, or returns it if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.0.receiver_gone.get() {
            return Err(value);
        }
        self.0.value.set(Some(value));
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.get()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender_gone.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// The sender was dropped without sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sender is gone")]
pub struct SenderGone;

/// The receiving half of [`oneshot`]: a future of the value.
pub struct Receiver<T>(Rc<Shot<T>>);

impl<T> Future for Receiver<T> {
    type Output = Result<T, SenderGone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(Ok(value));
        }
        if self.0.sender_gone.get() {
            return Poll::Ready(Err(SenderGone));
        }
        self.0.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
    }
}

/// The future that completed first, with its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First<A, B> {
    /// The output of `left`.
    Left(A),
    /// The output of `right`.
    Right(B),
}

/// Runs both futures until one completes, and drops the other. If both are ready, `left` wins.
pub async fn first<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let mut left = std::pin::pin!(left);
    let mut right = std::pin::pin!(right);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = left.as_mut().poll(cx) {
            return Poll::Ready(First::Left(value));
        }
        right.as_mut().poll(cx).map(First::Right)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls without a runtime: nothing here needs it.
    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_notification_reaches_earlier_waiters_only() {
        let notify = Notify::new();
        let (mut early, mut unpolled) = (notify.notified(), notify.notified());
        assert!(poll(&mut early).is_pending());
        notify.notify_all();
        let mut late = notify.notified();
        assert!(poll(&mut early).is_ready());
        assert!(poll(&mut unpolled).is_ready());
        assert!(poll(&mut late).is_pending());
        drop((early, late));
        assert!(notify.waiters.borrow().is_empty(), "a dropped waiter leaves nothing behind");
    }

    #[test]
    fn an_advance_wakes_the_waiters_whose_goal_it_reaches() {
        let milestones = Milestones::new();
        let (mut third, mut first, mut second) = (milestones.reached(3), milestones.reached(1), milestones.reached(2));
        assert!([&mut third, &mut first, &mut second].into_iter().all(|waiter| poll(waiter).is_pending()));
        milestones.reach(0);
        assert!(poll(&mut first).is_pending(), "no goal is reached yet");
        milestones.reach(2);
        assert!(poll(&mut first).is_ready() && poll(&mut second).is_ready() && poll(&mut third).is_pending());
        drop(third);
        assert!(milestones.waiters.borrow().is_empty(), "a dropped waiter leaves nothing behind");
        let mut late = milestones.reached(2);
        assert!(poll(&mut late).is_pending(), "an earlier advance is not seen");
        milestones.reach(u64::MAX);
        assert!(poll(&mut late).is_ready());
    }

    #[test]
    fn permits_are_granted_in_order_even_if_a_waiter_is_dropped() {
        let permits = Permits::new(10);
        let mut held = permits.try_acquire(8).unwrap();
        let (mut big, mut small) = (permits.acquire(6), permits.acquire(1));
        assert!(poll(&mut big).is_pending());
        assert!(poll(&mut small).is_pending(), "a small request does not overtake a big one");
        assert!(permits.try_acquire(1).is_none());
        drop(big);
        let Poll::Ready(small) = poll(&mut small) else { panic!("the next in line is served") };
        held.shrink_to(3);
        assert_eq!(permits.available(), 6);
        held.merge(small);
        let half = held.split(2);
        assert_eq!((held.count(), half.count(), permits.available()), (2, 2, 6));
        drop((held, half));
        assert_eq!(permits.available(), 10);
    }

    #[test]
    fn a_request_above_the_total_waits_for_all_permits() {
        let permits = Permits::new(4);
        let held = permits.try_acquire(1).unwrap();
        let mut all = permits.acquire(1000);
        assert!(poll(&mut all).is_pending());
        drop(held);
        let Poll::Ready(all) = poll(&mut all) else { panic!("all are free") };
        assert_eq!((all.count(), permits.available()), (4, 0));
    }

    #[test]
    fn a_oneshot_delivers_one_value_or_reports_that_the_other_half_is_gone() {
        let (sender, mut receiver) = oneshot();
        assert!(poll(&mut receiver).is_pending());
        sender.send(5).unwrap();
        assert_eq!(poll(&mut receiver), Poll::Ready(Ok(5)));

        let (sender, mut receiver) = oneshot::<u8>();
        drop(sender);
        assert_eq!(poll(&mut receiver), Poll::Ready(Err(SenderGone)));

        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(9), Err(9));
    }
}
