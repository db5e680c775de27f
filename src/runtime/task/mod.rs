//! The executor: a table of tasks, three ready queues, and the turn-taking between them.
//!
//! Owns: the futures of spawned tasks. In: futures, wake-ups. Out: which task to poll next. Invariants: TASK-1: a task is in a
//! ready queue at most once. TASK-2: a waker names a task by slot and generation, so that a late wake-up finds nothing. Does not
//! know why a task waits. Thread: its shard's.

mod join;
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
pub(super) use waker::{Waking, waker};

/// Who goes first when all have work: each class gets its share of the shard's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    Foreground = 0,
    Replication = 1,
    Background = 2,
}

pub const CLASSES: usize = 3;

/// A poll is charged so much at most. One that stalled (or whose thread the system put aside) has made everybody wait; making
/// its class wait as long in turn would only spread the harm.
const CHARGE_NS_MAX: u64 = 1_000_000;

/// A task's place in the table, with the generation that tells its tenants apart.
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
    /// Absent while it is polled, and always for the main task, which the loop itself holds.
    body: Option<Body>,
}

#[derive(Default)]
struct Table {
    tasks: Vec<Task>,
    free: Vec<u32>,
    ready: [VecDeque<TaskId>; CLASSES],
    /// Each class's virtual run time: real time divided by its share.
    virtual_ns: [u64; CLASSES],
    /// The virtual time of the class that ran last: where a class that had nothing to do joins in again.
    floor: u64,
}

pub(super) struct Tasks {
    table: RefCell<Table>,
    shares: [u32; CLASSES],
    pub class_ns: Cell<[u64; CLASSES]>,
}

/// What [`Tasks::next`] hands out to be polled.
pub(super) struct Turn {
    pub id: TaskId,
    pub name: &'static str,
    pub name_id: NameId,
    pub class: Class,
    /// Absent for the main task.
    pub body: Option<Body>,
}

/// Generations are 24 bits, because a waker has room for no more; see `waker.rs`.
const GENERATION_MASK: u32 = 0x00ff_ffff;
pub(super) const TASKS_MAX: usize = 1 << 24;

impl Tasks {
    pub fn new(shares: [u32; CLASSES]) -> Tasks {
        Tasks { table: RefCell::default(), shares: shares.map(|s| s.max(1)), class_ns: Cell::default() }
    }

    /// Enters a task, ready to be polled.
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
        assert!(!task.occupied && !task.queued);
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

    /// The task whose turn it is.
    pub fn next(&self) -> Option<Turn> {
        let table = &mut *self.table.borrow_mut();
        loop {
            let class = (0..CLASSES).filter(|&c| !table.ready[c].is_empty()).min_by_key(|&c| table.virtual_ns[c])?;
            table.floor = table.floor.max(table.virtual_ns[class]);
            let id = table.ready[class].pop_front().expect("the class has a ready task");
            let task = &mut table.tasks[id.index as usize];
            if task.generation != id.generation || !task.occupied {
                continue; // Aborted after it was woken.
            }
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

    /// Books the time a poll took.
    pub fn charge(&self, class: Class, spent: Duration) {
        let nanos = spent.as_nanos() as u64;
        let c = class as usize;
        let charged = nanos.min(CHARGE_NS_MAX);
        self.table.borrow_mut().virtual_ns[c] += charged * 1024 / u64::from(self.shares[c]);
        let mut class_ns = self.class_ns.get();
        class_ns[c] += nanos;
        self.class_ns.set(class_ns);
    }

    /// The task is still waiting. Gives the body back when it was aborted meanwhile.
    pub fn put_back(&self, id: TaskId, body: Body) -> Option<Body> {
        let table = &mut *self.table.borrow_mut();
        let task = &mut table.tasks[id.index as usize];
        if task.generation != id.generation || !task.occupied {
            return Some(body);
        }
        task.body = Some(body);
        None
    }

    /// Forgets the task; its body, if it is not being polled right now, is the caller's to drop.
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

    /// Any task that is left, with its body; for the end.
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
            // Time not used is not saved up: a class that was idle starts level with the others.
            self.virtual_ns[class] = self.virtual_ns[class].max(self.floor);
        }
        self.ready[class].push_back(id);
    }
}
