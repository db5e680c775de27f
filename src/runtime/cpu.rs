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

/// CPU time this thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that lives across the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    assert_eq!(rc, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
