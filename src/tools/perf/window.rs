//! The measured time window, and the CPU and memory of the broker's and this process in it.

use crate::runtime::cpu;
use crate::tools::Failure;
use crate::tools::tune::machine::{CpuTicks, Roots, cpu_ticks};
use std::time::{Duration, Instant};

/// The counters of one or more processes at one moment.
#[derive(Clone, Copy, Default, Debug)]
struct ProcessCounters {
    /// CPU time in clock ticks.
    ticks: u64,
    resident_bytes: u64,
}

/// The CPU time and memory of the broker's processes and of this one within the window, and the cores of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// `None` without `--pid`.
    pub broker_seconds: Option<f64>,
    /// At the end of the window; `None` without `--pid`.
    pub broker_resident_bytes: Option<u64>,
    pub own_seconds: f64,
    /// The share of the time of all cores in which they worked; `None` if `/proc/stat` cannot be read.
    pub busy_share: Option<f64>,
    /// The share that the hypervisor took.
    pub steal_share: Option<f64>,
}

/// All counters at one moment.
#[derive(Clone, Copy, Default, Debug)]
struct Counters {
    broker: ProcessCounters,
    own: Duration,
    cores: Option<CpuTicks>,
}

/// The measured time window. It starts after the warm-up.
pub struct Window {
    pub begins: Instant,
    /// `None`: the window ends with the work.
    pub ends: Option<Instant>,
    pids: Vec<u32>,
    /// The counters at the start.
    at_begin: Option<Counters>,
}

impl Window {
    /// `warmup` and `seconds` are in seconds. Fails if there is no process with one of the `pids`.
    pub fn new(warmup: f64, seconds: Option<f64>, pids: &[u32]) -> Result<Window, Failure> {
        check_processes(pids)?;
        let begins = Instant::now() + Duration::from_secs_f64(warmup);
        let ends = seconds.map(|seconds| begins + Duration::from_secs_f64(seconds));
        Ok(Window { begins, ends, pids: pids.to_vec(), at_begin: None })
    }

    /// Opens the window when its time has come. Each iteration of the loop must call it.
    pub fn turn(&mut self, now: Instant) {
        if now >= self.begins && self.at_begin.is_none() {
            // The last iteration of the warm-up may have overrun the planned start.
            self.begins = now;
            self.at_begin = Some(self.counters());
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
        let now = self.counters();
        let before = self.at_begin.unwrap_or(now);
        let has_broker = !self.pids.is_empty();
        let ticks = now.broker.ticks.saturating_sub(before.broker.ticks);
        let share = |part: fn(&CpuTicks) -> u64| {
            let (now, before) = (now.cores?, before.cores?);
            let all = now.all.saturating_sub(before.all);
            (all > 0).then(|| part(&now).saturating_sub(part(&before)) as f64 / all as f64)
        };
        Usage {
            broker_seconds: has_broker.then(|| ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            broker_resident_bytes: has_broker.then_some(now.broker.resident_bytes),
            own_seconds: now.own.saturating_sub(before.own).as_secs_f64(),
            busy_share: share(|ticks| ticks.idle).map(|idle| 1.0 - idle),
            steal_share: share(|ticks| ticks.steal),
        }
    }

    fn counters(&self) -> Counters {
        Counters { broker: self.broker(), own: cpu::process_cpu_time(), cores: cpu_ticks(&Roots::new(None)) }
    }

    fn broker(&self) -> ProcessCounters {
        let all = self.pids.iter().filter_map(|&pid| read_counters(pid));
        all.fold(ProcessCounters::default(), |sum, one| ProcessCounters {
            ticks: sum.ticks + one.ticks,
            resident_bytes: sum.resident_bytes + one.resident_bytes,
        })
    }
}

/// Fails if one of the processes does not exist.
pub fn check_processes(pids: &[u32]) -> Result<(), Failure> {
    match pids.iter().find(|pid| read_counters(**pid).is_none()) {
        Some(pid) => Err(Failure::new(format!("process {pid} does not exist"))),
        None => Ok(()),
    }
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
