//! The executor: a table of tasks, three ready queues, and the scheduling between them.
//!
//! - Owns: the futures of spawned tasks.
//! - Inputs: futures, wake-ups.
//! - Outputs: the task to poll next.
//! - Invariants:
//!   - TASK-1: a task is in the ready queues at most once.
//!   - TASK-2: a slot holds at most one task, and a wake-up for an earlier task of the slot has no effect.
//!   - WAKER-1, in `waker.rs`.
//! - Does not know: the reason why a task waits.
//! - Thread: its shard's.

mod join;
mod slice;
#[cfg(test)]
mod tests;
mod waker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::watchdog::NameId;
pub use join::{JoinHandle, spawn, yield_now};
pub use slice::TimeSlice;
#[cfg(test)]
pub use slice::count_pauses;
pub(super) use waker::{Waking, waker};

/// The scheduling class of a task. Each class gets its share of the shard's time when all have work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// Work that a client waits for.
    Foreground = 0,
    /// Replication between nodes.
    Replication = 1,
    /// Write-back, compaction, retention and other maintenance.
    Background = 2,
}

/// The number of classes.
pub const CLASSES: usize = 3;

/// The maximum time that a poll is charged. A stalled poll (or a preempted thread) has delayed all classes; charging
/// the whole time would delay its own class by as much again.
const CHARGE_NS_MAX: u64 = 1_000_000;

/// A task's slot in the table, with the generation that distinguishes the successive tasks of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskId {
    pub index: u32,
    pub generation: u32,
}

pub(super) type Body = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    generation: u32,
    class: Class,
    name: &'static str,
    name_id: NameId,
    occupied: bool,
    queued: bool,
    /// `None` during a poll, and always for the main task: the event loop holds its future.
    body: Option<Body>,
}

#[derive(Default)]
struct Table {
    tasks: Vec<Task>,
    free: Vec<u32>,
    ready: [VecDeque<TaskId>; CLASSES],
    /// The virtual run time of each class: real time divided by its share.
    virtual_ns: [u64; CLASSES],
    /// The virtual time of the class that ran last. A class that was idle continues from here.
    floor: u64,
}

pub(super) struct Tasks {
    table: RefCell<Table>,
    shares: [u32; CLASSES],
    pub class_ns: Cell<[u64; CLASSES]>,
}

/// The task that [`Tasks::next`] selects for a poll.
pub(super) struct Turn {
    pub id: TaskId,
    pub name: &'static str,
    pub name_id: NameId,
    pub class: Class,
    /// `None` for the main task.
    pub body: Option<Body>,
}

/// Generations have 24 bits, because a waker has no room for more; see `waker.rs`.
const GENERATION_MASK: u32 = 0x00ff_ffff;
pub(super) const TASKS_MAX: usize = 1 << 24;

impl Tasks {
    pub fn new(shares: [u32; CLASSES]) -> Tasks {
        Tasks { table: RefCell::default(), shares: shares.map(|s| s.max(1)), class_ns: Cell::default() }
    }

    /// Adds a task, ready for its first poll.
    pub fn insert(&self, class: Class, name: &'static str, body: Option<Body>) -> TaskId {
        let name_id = NameId::of(name);
        let table = &mut *self.table.borrow_mut();
        let index = match table.free.pop() {
            Some(index) => index,
            None => {
                assert!(table.tasks.len() < TASKS_MAX, "more than {TASKS_MAX} tasks on one shard");
                table.tasks.push(Task {
                    generation: 0,
                    class,
                    name,
                    name_id,
                    occupied: false,
                    queued: false,
                    body: None,
                });
                (table.tasks.len() - 1) as u32
            }
        };
        let task = &mut table.tasks[index as usize];
        assert!(!task.occupied && !task.queued, "TASK-2: a free slot has no task");
        *task = Task { generation: task.generation, class, name, name_id, occupied: true, queued: false, body };
        let id = TaskId { index, generation: task.generation };
        table.enqueue(id);
        id
    }

    pub fn wake(&self, id: TaskId) {
        self.table.borrow_mut().enqueue(id);
    }

    pub fn has_ready(&self) -> bool {
        self.table.borrow().ready.iter().any(|queue| !queue.is_empty())
    }

    /// The next task to poll: the first of the class with the least virtual time.
    pub fn next(&self) -> Option<Turn> {
        let table = &mut *self.table.borrow_mut();
        loop {
            let class = (0..CLASSES).filter(|&c| !table.ready[c].is_empty()).min_by_key(|&c| table.virtual_ns[c])?;
            table.floor = table.floor.max(table.virtual_ns[class]);
            let id = table.ready[class].pop_front().expect("the class has a ready task");
            let task = &mut table.tasks[id.index as usize];
            if task.generation != id.generation || !task.occupied {
                continue; // The task was aborted after its wake-up.
            }
            assert!(task.queued, "TASK-1: a task is in the ready queues once");
            task.queued = false;
            return Some(Turn {
                id,
                name: task.name,
                name_id: task.name_id,
                class: task.class,
                body: task.body.take(),
            });
        }
    }

    /// Charges the time of a poll to its class.
    pub fn charge(&self, class: Class, spent: Duration) {
        let nanos = spent.as_nanos() as u64;
        let c = class as usize;
        let charged = nanos.min(CHARGE_NS_MAX);
        self.table.borrow_mut().virtual_ns[c] += charged * 1024 / u64::from(self.shares[c]);
        let mut class_ns = self.class_ns.get();
        class_ns[c] += nanos;
        self.class_ns.set(class_ns);
    }

    /// Stores the body of a task that still waits. Returns the body if the task was aborted during its poll.
    pub fn put_back(&self, id: TaskId, body: Body) -> Option<Body> {
        let table = &mut *self.table.borrow_mut();
        let task = &mut table.tasks[id.index as usize];
        if task.generation != id.generation || !task.occupied {
            return Some(body);
        }
        task.body = Some(body);
        None
    }

    /// Removes the task. Returns its body for the caller to drop, unless the task is in a poll.
    pub fn remove(&self, id: TaskId) -> Option<Body> {
        let table = &mut *self.table.borrow_mut();
        let task = &mut table.tasks[id.index as usize];
        if task.generation != id.generation || !task.occupied {
            return None;
        }
        task.occupied = false;
        task.queued = false;
        task.generation = (task.generation + 1) & GENERATION_MASK;
        table.free.push(id.index);
        task.body.take()
    }

    /// Removes any remaining task and returns its body; for the end of the runtime.
    pub fn take_any(&self) -> Option<Body> {
        let next = {
            let table = self.table.borrow();
            let index = table.tasks.iter().position(|t| t.occupied && t.body.is_some())?;
            TaskId { index: index as u32, generation: table.tasks[index].generation }
        };
        self.remove(next)
    }

    pub fn count(&self) -> usize {
        let table = self.table.borrow();
        table.tasks.len() - table.free.len()
    }
}

impl Table {
    fn enqueue(&mut self, id: TaskId) {
        let task = &mut self.tasks[id.index as usize];
        if task.generation != id.generation || !task.occupied || task.queued {
            return;
        }
        task.queued = true;
        let class = task.class as usize;
        if self.ready[class].is_empty() {
            // An idle class does not save up time: it continues level with the others.
            self.virtual_ns[class] = self.virtual_ns[class].max(self.floor);
        }
        self.ready[class].push_back(id);
    }
}
