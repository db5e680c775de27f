//! The clocks. Only this file reads them, so that a simulated node can have another clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A time of the monotonic clock, in nanoseconds. Only differences are meaningful.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(u64);

impl Mono {
    /// The time `nanos` after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Mono {
        Mono(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time since `self`.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;

    fn sub(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The time of the monotonic clock.
pub fn now() -> Mono {
    let t = read(libc::CLOCK_MONOTONIC);
    Mono(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Milliseconds since 1970, the unit of Kafka's timestamps. The clock may jump: never measure durations with it.
pub fn wall_ms() -> i64 {
    let t = read(libc::CLOCK_REALTIME);
    t.tv_sec * 1_000 + t.tv_nsec / 1_000_000
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that outlives the call; the kernel only writes to it.
    let rc = unsafe { libc::clock_gettime(clock, &mut t) };
    assert_eq!(rc, 0, "clock_gettime({clock}) failed: {}", std::io::Error::last_os_error());
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let mut last = now();
        for _ in 0..10_000 {
            let t = now();
            assert!(t >= last);
            last = t;
        }
    }

    #[test]
    fn time_arithmetic_saturates() {
        let (early, late) = (Mono::from_nanos(5), Mono::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early - Duration::from_secs(1), Mono::from_nanos(0));
        assert_eq!(late + Duration::MAX, Mono::from_nanos(u64::MAX));
    }
}
