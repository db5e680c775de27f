//! One thread, one ring, one executor: what a shard runs on. All of the project's `unsafe` lives here.
//!
//! ```text
//!   tasks --await--> file, socket, timer, mailbox, sync
//!                      |  submit (op: the slot owns the buffers)
//!                      v
//!                    ring -----------> kernel         one enter a round
//!                      |  completion (user data -> slot -> waker)
//!                      v
//!   tasks <--ready-- executor: three classes with shares
//! ```
//!
//! Owns: the ring, the memory that the kernel reads and writes, the tasks, the timers, the descriptors. In: futures, bytes, paths,
//! addresses, messages. Out: results of operations, in the order they complete. Invariants: RING-1, OP-1, OP-2, TASK-1, TASK-2,
//! WAKER-1, TIMER-1, ARENA-1 to ARENA-3, APPEND-1, SLICE-1, POOL-1, FILE-1, SOCK-1, SOCK-2, MAIL-1 to MAIL-3, LOOP-1, LOOP-2; each
//! stated where it is kept. Does not know Kafka, nor what a file or a connection is for. Thread: everything here is `!Send` and
//! acts on the thread's runtime, except what says otherwise ([`mailbox::Endpoint`] before its first use, [`Injector`]).

#![allow(unsafe_code, reason = "the ring, the memory that the kernel writes to, and wakers")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clocks, randomness, threads, files and sockets are reached through this module"
)]

pub mod buf;
pub mod clock;
pub mod cpu;
pub mod dir;
pub mod fault;
pub mod file;
mod injector;
pub mod mailbox;
mod op;
pub mod probe;
mod random;
mod reactor;
pub mod record;
mod ring;
pub mod socket;
mod stall;
pub mod sync;
mod task;
#[cfg(test)]
mod tests;
mod timer;
mod watchdog;

use std::time::Duration;

pub use buf::{AlignedBuf, AppendBuf, OverBudget, Received, Shared, Slice, Slices, arena_bytes_used};
pub use clock::Mono;
pub use file::{Durability, File, Open};
pub use injector::{Injector, InjectorReceiver, injector};
pub use mailbox::{Endpoint, mesh};
pub use random::{random_bytes, random_u64};
pub use reactor::run;
pub use socket::{Listener, Stream};
pub use stall::Stall;
pub use sync::{First, Notify, Permit, Permits, first, oneshot};
pub use task::{Class, JoinHandle, spawn, yield_now};
pub use timer::{Elapsed, Sleep, sleep, sleep_until, timeout};

use reactor::Runtime;

/// How a shard runs. The defaults suit a small machine and tests.
#[derive(Clone, Debug)]
pub struct Config {
    pub shard: u16,
    /// Pins the thread.
    pub core: Option<usize>,
    /// How long to look for work before parking, when it is expected to come within that time.
    pub spin: Duration,
    /// A poll that takes longer is reported, with its task's name.
    pub stall: Duration,
    pub ring_entries: u32,
    /// The pool that receives choose from: this many buffers (a power of two, at most 32,768) of this size.
    pub recv_buffers: u16,
    pub recv_buffer_bytes: u32,
    /// The budget of the thread's arena; see [`buf`].
    pub arena_bytes_max: usize,
    /// Chunks of 2 MiB of it that are made ready ahead of use, by a thread beside the shard.
    pub chunks_ready: usize,
    /// Shares of the shard's time when all classes have work: foreground, replication, background.
    pub shares: [u32; 3],
}

impl Default for Config {
    fn default() -> Config {
        Config {
            shard: 0,
            core: None,
            spin: Duration::from_micros(50),
            stall: Duration::from_millis(10),
            ring_entries: 1024,
            // A producer's usual request, 16 KiB of records and a little more, mostly lies whole in one.
            recv_buffers: 128,
            recv_buffer_bytes: 64 << 10,
            arena_bytes_max: buf::ARENA_BYTES_DEFAULT,
            chunks_ready: 0,
            shares: [1000, 400, 200],
        }
    }
}

/// What a shard has done so far.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    pub polls: u64,
    /// System calls into the ring.
    pub enters: u64,
    pub completions: u64,
    /// Waits that began by spinning.
    pub spins: u64,
    /// Waits that ended up in the kernel.
    pub parks: u64,
    /// Parked shards woken for a message.
    pub rings: u64,
    /// Polls that took too long.
    pub stalls: u64,
    /// Polls that did not return for a second; the watchdog names them while they last.
    pub hung: u64,
    /// Time spent in polls, per class, in nanoseconds.
    pub class_ns: [u64; 3],
    /// Tasks alive.
    pub tasks: usize,
    /// Operations in flight.
    pub operations: usize,
}

/// This shard's counters.
pub fn stats() -> Stats {
    Runtime::with(Runtime::stats)
}

/// The last poll that took too long, if any did.
pub fn last_stall() -> Option<Stall> {
    Runtime::with(|rt| rt.stalls.last())
}

/// The number of the shard this thread is.
pub fn shard() -> u16 {
    Runtime::with(|rt| rt.shard)
}

/// Makes operations of this shard fail as planned from now on; `None` ends that. Answers the plan that was in force before,
/// which knows what it did. For tests of what must survive it.
pub fn install_faults(plan: Option<fault::FaultPlan>) -> Option<fault::FaultPlan> {
    Runtime::with(|rt| rt.replace_faults(plan))
}

/// Records what this shard does to the disk, from now until its runtime ends. For tests of what a power failure leaves.
pub fn record(recorder: record::Recorder) {
    Runtime::with(|rt| rt.set_recorder(recorder));
}
