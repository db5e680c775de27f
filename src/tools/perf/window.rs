//! The measured time window, and the CPU and memory of the broker's and this process in it.

use crate::tools::Failure;
use std::time::{Duration, Instant};

/// The counters of one or more processes at one moment.
#[derive(Clone, Copy, Default, Debug)]
struct ProcessCounters {
    /// CPU time in clock ticks.
    ticks: u64,
    resident_bytes: u64,
}

/// The CPU time and memory of the broker's processes and of this one within the window.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// `None` without `--pid`.
    pub broker_seconds: Option<f64>,
    /// At the end of the window; `None` without `--pid`.
    pub broker_resident_bytes: Option<u64>,
    pub own_seconds: f64,
}

/// The measured time window. It starts after the warm-up.
pub struct Window {
    pub begins: Instant,
    /// `None`: the window ends with the work.
    pub ends: Option<Instant>,
    pids: Vec<u32>,
    /// The counters of the broker and of this process at the start.
    at_begin: Option<(ProcessCounters, ProcessCounters)>,
}

impl Window {
    /// `warmup` and `seconds` are in seconds. Fails if there is no process with one of the `pids`.
    pub fn new(warmup: f64, seconds: Option<f64>, pids: &[u32]) -> Result<Window, Failure> {
        for &pid in pids {
            read_counters(pid).ok_or_else(|| Failure::new(format!("process {pid} does not exist")))?;
        }
        let begins = Instant::now() + Duration::from_secs_f64(warmup);
        let ends = seconds.map(|seconds| begins + Duration::from_secs_f64(seconds));
        Ok(Window { begins, ends, pids: pids.to_vec(), at_begin: None })
    }

    /// Opens the window when its time has come. Each iteration of the loop must call it.
    pub fn turn(&mut self, now: Instant) {
        if now >= self.begins && self.at_begin.is_none() {
            // The last iteration of the warm-up may have overrun the planned start.
            self.begins = now;
            self.at_begin = Some((self.broker(), own_counters()));
        }
    }

    /// Whether `now` is within the window.
    pub fn is_measured(&self, now: Instant) -> bool {
        self.at_begin.is_some() && self.ends.is_none_or(|ends| now < ends)
    }

    /// Whether `now` is after the window.
    pub fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }

    /// The usage from the start of the window until now.
    pub fn close(&self) -> Usage {
        let (broker, own) = self.at_begin.unwrap_or_default();
        let seconds = |after: ProcessCounters, before: ProcessCounters| {
            after.ticks.saturating_sub(before.ticks) as f64 / rustix::param::clock_ticks_per_second() as f64
        };
        let has_broker = !self.pids.is_empty();
        let broker_now = self.broker();
        Usage {
            broker_seconds: has_broker.then(|| seconds(broker_now, broker)),
            broker_resident_bytes: has_broker.then_some(broker_now.resident_bytes),
            own_seconds: seconds(own_counters(), own),
        }
    }

    fn broker(&self) -> ProcessCounters {
        let all = self.pids.iter().filter_map(|&pid| read_counters(pid));
        all.fold(ProcessCounters::default(), |sum, one| ProcessCounters {
            ticks: sum.ticks + one.ticks,
            resident_bytes: sum.resident_bytes + one.resident_bytes,
        })
    }
}

fn own_counters() -> ProcessCounters {
    read_counters(std::process::id()).unwrap_or_default()
}

/// Reads `/proc/PID/stat` (proc(5)): user and system time of all threads, and resident pages.
fn read_counters(pid: u32) -> Option<ProcessCounters> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses, and may itself contain spaces and parentheses.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let resident_bytes = field(24)? * rustix::param::page_size() as u64;
    Some(ProcessCounters { ticks: field(14)? + field(15)?, resident_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_while_the_process_computes() {
        let before = read_counters(std::process::id()).unwrap();
        let began = Instant::now();
        while read_counters(std::process::id()).unwrap().ticks < before.ticks + 3 {
            assert!(began.elapsed() < Duration::from_secs(30), "30 ms of CPU take less than 30 s");
        }
        assert!(before.resident_bytes > 0);
        assert!(read_counters(u32::MAX).is_none());
    }
}
