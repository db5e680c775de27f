//! The costs of one core.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use crate::runtime::{self, clock};
use crate::tools::tune::latency::Recorder;

/// Nanoseconds of one reading of the monotonic clock.
pub fn clock(length: Duration) -> f64 {
    per_call(length, || {
        black_box(clock::now());
    })
}

/// Nanoseconds of getppid(2), which only enters and leaves the kernel.
pub fn syscall(length: Duration) -> f64 {
    per_call(length, || {
        black_box(std::os::unix::process::parent_id());
    })
}

fn per_call(length: Duration, call: impl Fn()) -> f64 {
    const CALLS: u64 = 1000;
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < length {
        for _ in 0..CALLS {
            call();
        }
        calls += CALLS;
    }
    let ns = begun.elapsed().as_nanos() as f64 / calls.max(1) as f64;
    (ns * 10.0).round() / 10.0
}

/// Gigabytes per second of CRC-32C over 64 KiB in the cache.
pub fn crc(length: Duration) -> f64 {
    let block = vec![7u8; 64 << 10];
    gb_per_second(block.len(), length, || {
        black_box(crc32c::crc32c(black_box(&block)));
    })
}

/// Gigabytes per second of copies of this many bytes.
pub fn copy(bytes: usize, length: Duration) -> f64 {
    let (from, mut to) = (vec![7u8; bytes], vec![1u8; bytes]);
    gb_per_second(bytes, length, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    })
}

fn gb_per_second(bytes: usize, length: Duration, mut step: impl FnMut()) -> f64 {
    let (begun, mut steps) = (Instant::now(), 0u64);
    while begun.elapsed() < length {
        step();
        steps += 1;
    }
    let gb = steps as f64 * bytes as f64 / begun.elapsed().as_secs_f64() / 1e9;
    (gb * 10.0).round() / 10.0
}

/// How late timers of one millisecond fire on a shard that parks.
pub fn timers(length: Duration) -> io::Result<Recorder> {
    const TIMER: Duration = Duration::from_millis(1);
    let settings = runtime::Config { spin: Duration::ZERO, ..runtime::Config::default() };
    runtime::run(settings, move || async move {
        let (mut recorder, begun) = (Recorder::new(), Instant::now());
        while begun.elapsed() < length {
            let at = Instant::now();
            runtime::sleep(TIMER).await;
            recorder.record(at.elapsed().saturating_sub(TIMER));
        }
        recorder
    })
}
