//! One thread, one ring, one executor: the runtime of a shard. All of the project's `unsafe` code is here.
//!
//! ```text
//!   tasks --await--> file, socket, timer, mailbox, sync
//!                      |  submit (op: the slot owns the buffers)
//!                      v
//!                    ring -----------> kernel         one io_uring_enter per round
//!                      |  completion (user data -> slot -> waker)
//!                      v
//!   tasks <--ready-- executor: three classes with shares
//! ```
//!
//! - Owns: the ring, the memory that the kernel reads and writes, the tasks, the timers, the descriptors.
//! - Inputs: futures, bytes, paths, addresses, messages.
//! - Outputs: results of operations, in the order in which they complete.
//! - Invariants, each defined in the file that keeps it: OP-1, OP-2, TASK-1, TASK-2, WAKER-1, TIMER-1, ARENA-1,
//!   ARENA-2, ARENA-3, APPEND-1, SLICE-1, POOL-1, FILE-1, SOCK-1, SOCK-2, MAIL-1, MAIL-2, MAIL-3.
//! - Does not know: Kafka, or the purpose of a file or a connection.
//! - Thread: all types are `!Send` and act on the runtime of their thread. The exceptions document it
//!   ([`mailbox::Endpoint`] before its first use, [`Injector`]).

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
pub mod lease;
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

pub use buf::{AlignedBuf, AppendBuf, OverBudget, Received, Shared, Slice, Slices, arena_bytes_free, arena_bytes_used};
pub use clock::Mono;
pub use file::{Durability, File, Open};
pub use injector::{Injector, InjectorReceiver, injector};
pub use mailbox::{Endpoint, mesh};
pub use random::{random_bytes, random_u64};
pub use reactor::run;
pub use socket::{Listener, Stream};
pub use stall::Stall;
pub use sync::{First, Notify, Permit, Permits, first, oneshot};
#[cfg(test)]
pub(crate) use task::count_pauses;
pub use task::{Class, JoinHandle, TimeSlice, spawn, yield_now};
pub use timer::{Elapsed, Sleep, sleep, sleep_until, timeout};

use reactor::Runtime;

/// The settings of a shard's runtime. The defaults suit a small machine and tests.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of the shard.
    pub shard: u16,
    /// Pins the thread to this core.
    pub core: Option<usize>,
    /// How long an idle shard spins before it parks. It spins only if it expects work within that time.
    pub spin: Duration,
    /// A poll that takes longer is logged with the name of its task.
    pub stall: Duration,
    /// The size of the submission queue.
    pub ring_entries: u32,
    /// The number of buffers in the receive pool: a power of two, at most 32,768.
    pub recv_buffers: u16,
    /// The size of each buffer in the receive pool.
    pub recv_buffer_bytes: u32,
    /// The budget of the thread's arena; see [`buf`].
    pub arena_bytes_max: usize,
    /// The number of 2 MiB chunks that a helper thread touches ahead of use.
    pub chunks_ready: usize,
    /// The devices whose file systems fail direct writes, as [`probe`] found: their files are opened without O_DIRECT.
    pub buffered_devices: Vec<u64>,
    /// The longest wait for operations in flight at the end of a run. After it, their memory is leaked.
    pub drain_max: Duration,
    /// The shares of the shard's time when all classes have work: foreground, replication, background.
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
            // A typical produce request, 16 KiB of records plus headers, mostly fits into one buffer.
            recv_buffers: 128,
            recv_buffer_bytes: 64 << 10,
            arena_bytes_max: buf::ARENA_BYTES_DEFAULT,
            chunks_ready: 0,
            buffered_devices: Vec::new(),
            drain_max: Duration::from_secs(10),
            shares: [1000, 400, 200],
        }
    }
}

/// Counters of a shard since its start.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Polls of tasks.
    pub polls: u64,
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions that the ring delivered.
    pub completions: u64,
    /// Idle waits that started with spinning.
    pub spins: u64,
    /// Idle waits that parked in the kernel.
    pub parks: u64,
    /// Parked shards that this shard woke for a message.
    pub rings: u64,
    /// Polls that took longer than [`Config::stall`].
    pub stalls: u64,
    /// Polls that did not return for a second. The watchdog logs their names while they last.
    pub hung: u64,
    /// Time spent in polls, per class, in nanoseconds.
    pub class_ns: [u64; 3],
    /// Live tasks.
    pub tasks: usize,
    /// Operations in flight.
    pub operations: usize,
}

/// The counters of this shard.
pub fn stats() -> Stats {
    Runtime::with(Runtime::stats)
}

/// The last poll that took longer than [`Config::stall`].
pub fn last_stall() -> Option<Stall> {
    Runtime::with(|rt| rt.stalls.last())
}

/// The number of this thread's shard.
pub fn shard() -> u16 {
    Runtime::with(|rt| rt.shard)
}

/// Installs a plan that makes operations of this shard fail; `None` removes it. Returns the previous plan with its
/// counters. For tests of error handling.
pub fn install_faults(plan: Option<fault::FaultPlan>) -> Option<fault::FaultPlan> {
    Runtime::with(|rt| rt.replace_faults(plan))
}

/// The number of operations that the fault plan holds back.
pub fn held_operations() -> usize {
    Runtime::with(|rt| rt.held_operations())
}

/// Records all changes that this shard makes to the disk until its runtime ends. For tests of power failures.
pub fn record(recorder: record::Recorder) {
    Runtime::with(|rt| rt.set_recorder(recorder));
}
