//! Fetches that wait for more records.
//!
//! A waiting fetch registers one [`Waiter`] with every partition that it reads. A partition wakes it when its high
//! watermark (for read_committed: its last stable offset) advances. Kafka calls the collection of waiting requests a
//! purgatory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Partition;
use crate::runtime::sync::Notify;

/// Kafka's isolation level: the records that a reader gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// All below the high watermark.
    ReadUncommitted,
    /// All below the last stable offset.
    ReadCommitted,
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

/// The waiters of one partition.
#[derive(Default)]
pub(super) struct Waiters {
    list: RefCell<Vec<Rc<Waiter>>>,
}

impl Waiters {
    /// Wakes the readers of this isolation level.
    pub(super) fn wake(&self, isolation: Isolation) {
        for waiter in self.list.borrow().iter().filter(|waiter| waiter.isolation == isolation) {
            waiter.wake();
        }
    }
}

/// A waiter's registration with the partitions that it waits for. Dropping it removes the waiter from them.
pub struct Registration {
    waiter: Rc<Waiter>,
    partitions: Vec<Rc<Partition>>,
}

impl Registration {
    /// Registers the waiter with each of the partitions.
    pub fn new(waiter: Rc<Waiter>, partitions: Vec<Rc<Partition>>) -> Registration {
        for partition in &partitions {
            partition.waiters.list.borrow_mut().push(waiter.clone());
        }
        Registration { waiter, partitions }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for partition in &self.partitions {
            let mut list = partition.waiters.list.borrow_mut();
            let at = list.iter().position(|waiter| Rc::ptr_eq(waiter, &self.waiter));
            list.swap_remove(at.expect("a registered waiter is in the list until its registration drops"));
        }
    }
}
