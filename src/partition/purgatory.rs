//! Fetches that wait for more records.
//!
//! A waiting fetch registers one [`Waiter`] with every partition that it reads. A partition wakes it when its high
//! watermark (for read_committed: its last stable offset) advances. Kafka calls the collection of waiting requests a
//! purgatory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Partition;
use crate::model::Offset;
use crate::runtime::sync::Notify;

/// Kafka's isolation level: the records that a reader gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// All below the high watermark.
    ReadUncommitted,
    /// All below the last stable offset.
    ReadCommitted,
}

/// A partition as a waiting fetch has read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The offset of the fetch. It is out of range once the log starts behind it.
    pub fetch_offset: Offset,
    /// The read limit: the high watermark, or the last stable offset.
    pub limit: Offset,
}

impl Partition {
    /// Whether a fetch that has read the partition must read it again. A waiter that is registered later than the
    /// read is not woken by a change in between.
    pub fn has_moved(&self, seen: Seen, isolation: Isolation) -> bool {
        self.is_deleted() || self.read_limit(isolation) != seen.limit || self.log_start() > seen.fetch_offset
    }
}

/// One waiting fetch.
pub struct Waiter {
    isolation: Isolation,
    is_woken: Cell<bool>,
    notify: Notify,
}

impl Waiter {
    /// A waiter for the limit of this isolation level.
    pub fn new(isolation: Isolation) -> Rc<Waiter> {
        Rc::new(Waiter { isolation, is_woken: Cell::new(false), notify: Notify::new() })
    }

    /// Wakes the fetch. A wake before the fetch waits is kept until it does.
    pub fn wake(&self) {
        self.is_woken.set(true);
        self.notify.notify_all();
    }

    /// Waits for a wake since the last call.
    pub async fn woken(&self) {
        while !self.is_woken.replace(false) {
            self.notify.notified().await;
        }
    }
}

/// The waiters of one partition. Adding and removing one takes the same time however many there are: a commit wakes all
/// of them, and each is removed when it has its records.
#[derive(Default)]
pub(super) struct Waiters {
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    /// The last one is not empty.
    waiters: Vec<Option<Rc<Waiter>>>,
    /// Contains every empty slot, and may contain others.
    free: Vec<usize>,
    /// The slots that were looked at.
    #[cfg(test)]
    visits: Cell<usize>,
}

impl Slots {
    fn count_visit(&self) {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
    }
}

impl Waiters {
    /// Wakes the readers of this isolation level.
    pub(super) fn wake(&self, isolation: Isolation) {
        let slots = self.slots.borrow();
        for waiter in &slots.waiters {
            slots.count_visit();
            if let Some(waiter) = waiter.as_ref().filter(|waiter| waiter.isolation == isolation) {
                waiter.wake();
            }
        }
    }

    /// Returns the waiter's slot.
    fn add(&self, waiter: Rc<Waiter>) -> usize {
        let slots = &mut *self.slots.borrow_mut();
        while let Some(at) = slots.free.pop() {
            slots.count_visit();
            if let Some(slot @ None) = slots.waiters.get_mut(at) {
                *slot = Some(waiter);
                return at;
            }
        }
        slots.waiters.push(Some(waiter));
        slots.waiters.len() - 1
    }

    fn remove(&self, at: usize) {
        let slots = &mut *self.slots.borrow_mut();
        let removed = slots.waiters[at].take();
        assert!(removed.is_some(), "a registered waiter is in its slot until its registration drops");
        slots.free.push(at);
        while let Some(None) = slots.waiters.last() {
            slots.count_visit();
            slots.waiters.pop();
        }
        if slots.waiters.is_empty() {
            slots.free.clear();
        }
    }
}

/// A waiter's registration with the partitions that it waits for. Dropping it removes the waiter from them.
pub struct Registration {
    /// Each with the waiter's slot there.
    partitions: Vec<(Rc<Partition>, usize)>,
}

impl Registration {
    /// Registers the waiter with each of the partitions.
    pub fn new(waiter: &Rc<Waiter>, partitions: Vec<Rc<Partition>>) -> Registration {
        let add = |partition: Rc<Partition>| {
            let slot = partition.waiters.add(waiter.clone());
            (partition, slot)
        };
        Registration { partitions: partitions.into_iter().map(add).collect() }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for (partition, slot) in &self.partitions {
            partition.waiters.remove(*slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(count: usize) -> impl Iterator<Item = Rc<Waiter>> {
        (0..count).map(|_| Waiter::new(Isolation::ReadUncommitted))
    }

    #[test]
    fn a_commit_for_n_readers_takes_n_steps() {
        const READERS: usize = 2_000;
        const COMMITS: usize = 5;
        let waiters = Waiters::default();
        for _ in 0..COMMITS {
            let slots: Vec<_> = readers(READERS).map(|waiter| waiters.add(waiter)).collect();
            waiters.wake(Isolation::ReadUncommitted);
            slots.into_iter().for_each(|slot| waiters.remove(slot));
        }
        let slots = waiters.slots.borrow();
        assert!(slots.waiters.is_empty() && slots.free.is_empty());
        let visits = slots.visits.get();
        assert!(visits <= 3 * READERS * COMMITS, "{visits} slots were looked at for {COMMITS} x {READERS} readers");
    }

    #[test]
    fn a_free_slot_is_used_again_and_an_occupied_one_is_not() {
        let waiters = Waiters::default();
        let all: Vec<_> = readers(4).collect();
        let add = |at: usize| waiters.add(all[at].clone());
        assert_eq!([add(0), add(1), add(2)], [0, 1, 2]);
        // Slot 2 is cut off, so its entry among the free ones is stale.
        waiters.remove(2);
        waiters.remove(0);
        assert_eq!([add(2), add(3), add(0)], [0, 2, 3]);
        waiters.wake(Isolation::ReadCommitted);
        assert!(!all.iter().any(|waiter| waiter.is_woken.get()));
        waiters.wake(Isolation::ReadUncommitted);
        assert!(all.iter().all(|waiter| waiter.is_woken.get()), "each waiter has a slot");
    }
}
