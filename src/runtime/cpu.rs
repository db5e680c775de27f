//! Cores, and which one a shard's thread runs on.

use std::io;
use std::time::Duration;

/// The cores this process may use, in order.
pub fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins this thread. What it allocates from now on comes from that core's memory.
pub(super) fn pin(core: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(io::Error::other(format!("core {core} is not among those this process may use: {:?}", cores())))
    }
}

/// Lets timed waits of this thread end on time: the default slack is 50 us.
pub(super) fn tighten_timer_slack() {
    // SAFETY: prctl with integers only. Failure changes nothing that matters.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0, 0, 0) };
}

/// How long the scheduler leaves a shard's thread alone once it runs; see [`ask_for_a_long_slice`].
const SLICE: Duration = Duration::from_millis(5);

/// Asks for a longer time slice than others have, and so for a later deadline: a kernel worker that wakes up on this core
/// runs at once. It is such a worker that finishes a flush, on the core that took the disk's interrupt; a busy thread of
/// equal standing holds it up until the next tick of 4 ms (20,000 durable writes a second beside a spinning thread fell to
/// 290; with the longer slice 2,900 to 14,000 remained).
///
/// Linux 6.12 and later (`sched_setattr(2)`, `sched_runtime` of `SCHED_OTHER`); earlier kernels ignore the number.
pub(super) fn ask_for_a_long_slice() {
    /// `struct sched_attr` of `sched.h`, first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        // What the process was started with stays: asking for a better one is not ours to do.
        // SAFETY: getpriority with integers only; for the calling thread it does not fail.
        nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
        priority: 0,
        runtime: SLICE.as_nanos() as u64,
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attributes` is laid out as the kernel's structure of the size it states, and lives across the call. A
    // refusal leaves the thread as it was, which costs latency only.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// Lets this thread run only while its core has nothing else to do (`SCHED_IDLE`, sched(7)).
pub(super) fn run_when_idle() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` lives across the call. A refusal leaves the thread as it was, which costs latency only.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority) };
}

/// CPU time this thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that lives across the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    assert_eq!(rc, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
