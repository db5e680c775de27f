//! Cores, and the scheduling of a shard's thread.

use std::io;
use std::time::Duration;

/// The cores that this process may use, in order.
pub fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins this thread to `core`. Its later allocations come from the memory node of that core.
pub(super) fn pin(core: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(io::Error::other(format!("core {core} is not among the cores that this process may use: {:?}", cores())))
    }
}

/// Reduces the delay of this thread's timed waits: the default slack is 50 us.
pub(super) fn tighten_timer_slack() {
    // SAFETY: prctl with integers only. A failure only leaves the default slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0, 0, 0) };
}

/// The time slice of a shard's thread; see [`request_long_slice`].
const SLICE: Duration = Duration::from_millis(5);

/// Requests a longer time slice than other threads have, and so a later deadline: a kernel worker that wakes up on this
/// core runs at once.
///
/// Such a worker completes a flush, on the core that took the disk's interrupt. A busy thread with an equal slice
/// delays it until the next tick of 4 ms: beside a spinning thread, 20,000 durable writes per second fell to 290. With
/// the longer slice, 2,900 to 14,000 remained.
///
/// Linux 6.12 and later (`sched_setattr(2)`, `sched_runtime` of `SCHED_OTHER`); earlier kernels ignore the value.
pub(super) fn request_long_slice() {
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
        // Keeps the nice value that the process was started with.
        // SAFETY: getpriority with integers only; for the calling thread it does not fail.
        nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
        priority: 0,
        runtime: SLICE.as_nanos() as u64,
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attributes` has the layout of the kernel's structure and its size, and outlives the call. A failure
    // leaves the default slice, which costs latency only.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// Gives this thread a tenth of the weight of a shard's thread (nice 10), and keeps it from preempting one when it
/// wakes up (`SCHED_BATCH`, sched(7)).
pub fn yield_to_shards() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` outlives the call. A failure leaves the default policy, which costs latency only.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &priority) };
    // SAFETY: setpriority with integers only; 0 is the calling thread. A failure leaves the default weight.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}

/// Lets this thread run only while its core has nothing else to do (`SCHED_IDLE`, sched(7)).
pub(super) fn run_when_idle() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` outlives the call. A failure leaves the default policy, which costs latency only.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority) };
}

/// Lets this thread, and the threads that it starts later, run on these cores only.
pub fn restrict_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a set of cores is an array of integers, for which all zeros is a value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `core` is below the size of the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` outlives the call, and the size is that of `set`.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The CPU time of this thread.
pub fn thread_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The CPU time of all threads of this process.
pub fn process_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_time(clock: libc::clockid_t) -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that outlives the call.
    let rc = unsafe { libc::clock_gettime(clock, &mut t) };
    assert_eq!(rc, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
