//! Allocation that waits: a task that finds the budget used up sleeps until freed memory has room for its block.
//!
//! ARENA-3: no task sleeps while its block fits into the memory that is neither in use nor granted to a woken task.
//!
//! Waiters are served in order of arrival, but a waiter whose block does not fit does not delay smaller ones behind it.
//! A plain `alloc` does not queue: it may take memory that was granted. The waiter that lost the memory waits again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::arena::{BLOCK_BYTES_MIN, OverBudget, capacity_for, with_waiters};
use crate::runtime::timer::{Sleep, sleep};

/// How often a task tries again when the budget has room but the system has no memory.
const SYSTEM_RETRY: Duration = Duration::from_millis(5);

/// The tasks that wait for a block of one arena.
#[derive(Default)]
pub(super) struct Waiters {
    next_ticket: Cell<u64>,
    /// By ticket, in order of arrival.
    waiting: RefCell<BTreeMap<u64, Waiter>>,
    /// The capacities of all waiters that are `Granted`.
    granted_bytes: Cell<usize>,
}

struct Waiter {
    capacity: usize,
    state: WaiterState,
    waker: Waker,
}

/// ```text
/// Waiting -> Granted               memory was freed
/// Granted -> Waiting               a plain `alloc` took the memory first
/// Granted, Waiting -> Retrying     the budget has room, but the system has no memory
/// Retrying -> Waiting              the budget has no room any more
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WaiterState {
    /// The block does not fit into the budget.
    Waiting,
    /// Woken: the block fits. Its capacity counts as taken until the task polls.
    Granted,
    /// The block fits into the budget, but the system gave no pages. A timer wakes the task.
    Retrying,
}

impl Waiters {
    /// Wakes each waiter that fits into `free` bytes, in order of arrival.
    pub fn wake(&self, free: usize) {
        let mut waiting = self.waiting.borrow_mut();
        let mut free = free.saturating_sub(self.granted_bytes.get());
        for waiter in waiting.values_mut() {
            if free < BLOCK_BYTES_MIN {
                break;
            }
            if waiter.state == WaiterState::Waiting && waiter.capacity <= free {
                waiter.state = WaiterState::Granted;
                free -= waiter.capacity;
                self.granted_bytes.set(self.granted_bytes.get() + waiter.capacity);
                waiter.waker.wake_by_ref();
            }
        }
        debug_assert!(
            waiting.values().all(|waiter| waiter.state != WaiterState::Waiting || waiter.capacity > free),
            "ARENA-3: a waiter sleeps although {free} bytes are free"
        );
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    fn ticket(&self) -> u64 {
        self.next_ticket.replace(self.next_ticket.get() + 1)
    }

    fn insert(&self, ticket: u64, waiter: Waiter) {
        assert!(waiter.state != WaiterState::Granted, "ARENA-3: only freed memory grants a block");
        let earlier = self.waiting.borrow_mut().insert(ticket, waiter);
        assert!(earlier.is_none(), "ARENA-3: a ticket is in the queue once");
    }

    /// Removes a waiter. Returns whether memory had been granted to it.
    fn remove(&self, ticket: u64) -> bool {
        let Some(waiter) = self.waiting.borrow_mut().remove(&ticket) else { return false };
        let was_granted = waiter.state == WaiterState::Granted;
        if was_granted {
            self.granted_bytes.set(self.granted_bytes.get() - waiter.capacity);
        }
        was_granted
    }
}

/// A future of a block, which completes when the budget has room. Dropping it ends the wait.
///
/// It never completes if the block is larger than the whole budget: the caller bounds its requests.
pub struct Allocating<B> {
    bytes: usize,
    alloc: fn(usize) -> Result<B, OverBudget>,
    /// The position in the queue, set by the first poll that finds no room.
    ticket: Option<u64>,
    retry: Option<Sleep>,
}

impl<B> Allocating<B> {
    pub(super) fn new(bytes: usize, alloc: fn(usize) -> Result<B, OverBudget>) -> Allocating<B> {
        Allocating { bytes, alloc, ticket: None, retry: None }
    }

    /// The requested size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The block, if the budget has room now. Does not queue.
    pub fn try_now(&mut self) -> Option<B> {
        let block = (self.alloc)(self.bytes).ok()?;
        self.leave_queue();
        Some(block)
    }

    fn leave_queue(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        with_waiters(|waiters, free| {
            if waiters.remove(ticket) {
                waiters.wake(free);
            }
        });
    }
}

impl<B> Future for Allocating<B> {
    type Output = B;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B> {
        let over = match (self.alloc)(self.bytes) {
            Ok(block) => {
                self.leave_queue();
                return Poll::Ready(block);
            }
            Err(over) => over,
        };
        let capacity = capacity_for(self.bytes);
        let fits = over.used.checked_add(capacity).is_some_and(|used| used <= over.budget);
        let state = if fits { WaiterState::Retrying } else { WaiterState::Waiting };
        self.retry = None;
        if fits {
            let mut retry = sleep(SYSTEM_RETRY);
            if Pin::new(&mut retry).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            self.retry = Some(retry);
        }
        with_waiters(|waiters, free| {
            let was_granted = self.ticket.is_some_and(|ticket| waiters.remove(ticket));
            let ticket = *self.ticket.get_or_insert_with(|| waiters.ticket());
            waiters.insert(ticket, Waiter { capacity, state, waker: cx.waker().clone() });
            if was_granted {
                // This block no longer fits, but a smaller one behind it may.
                waiters.wake(free);
            }
        });
        Poll::Pending
    }
}

impl<B> Drop for Allocating<B> {
    fn drop(&mut self) {
        self.leave_queue();
    }
}
