//! Fetches that wait for more records.
//!
//! A waiting fetch leaves one [`Waiter`] with every partition that it reads; the first of them whose high watermark (for a
//! reader of committed records: last stable offset) moves fires it. Kafka calls the place purgatory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Partition;
use crate::runtime::sync::Notify;

/// Which records a reader is to see: Kafka's isolation level.
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
    fired: Cell<bool>,
    notify: Notify,
}

impl Waiter {
    pub fn new(isolation: Isolation) -> Rc<Waiter> {
        Rc::new(Waiter { isolation, fired: Cell::new(false), notify: Notify::new() })
    }

    pub fn fire(&self) {
        self.fired.set(true);
        self.notify.notify_all();
    }

    /// Waits until it has been fired since the last call.
    pub async fn fired(&self) {
        while !self.fired.replace(false) {
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
    /// Wakes the readers whose limit this is.
    pub(super) fn fire(&self, isolation: Isolation) {
        for waiter in self.list.borrow().iter().filter(|waiter| waiter.isolation == isolation) {
            waiter.fire();
        }
    }
}

/// A waiter's places in the partitions it waits for; given up when dropped.
pub struct Registration {
    waiter: Rc<Waiter>,
    partitions: Vec<Rc<Partition>>,
}

impl Registration {
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
            if let Some(at) = list.iter().position(|waiter| Rc::ptr_eq(waiter, &self.waiter)) {
                list.swap_remove(at);
            }
        }
    }
}
