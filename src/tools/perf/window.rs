//! The stretch of time that is measured, and what the broker's and our own processes used in it.

use crate::tools::Failure;
use std::time::{Duration, Instant};

/// What processes have used so far.
#[derive(Clone, Copy, Default, Debug)]
struct Used {
    ticks: u64,
    resident_bytes: u64,
}

/// What the broker's processes and this one used within the window.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// None when no process was named.
    pub broker_seconds: Option<f64>,
    pub broker_resident_bytes: Option<u64>,
    pub own_seconds: f64,
}

pub struct Window {
    pub begins: Instant,
    /// None: when the work is done.
    pub ends: Option<Instant>,
    pids: Vec<u32>,
    at_begin: Option<(Used, Used)>,
}

impl Window {
    pub fn new(warmup: f64, seconds: Option<f64>, pids: &[u32]) -> Result<Window, Failure> {
        for &pid in pids {
            used(pid).ok_or_else(|| Failure::new(format!("there is no process {pid}")))?;
        }
        let begins = Instant::now() + Duration::from_secs_f64(warmup);
        let ends = seconds.map(|seconds| begins + Duration::from_secs_f64(seconds));
        Ok(Window { begins, ends, pids: pids.to_vec(), at_begin: None })
    }

    /// To be called whenever the loop turns: takes the first look at the processes when the window begins.
    pub fn turn(&mut self, now: Instant) {
        if now >= self.begins && self.at_begin.is_none() {
            // The warm-up's last turn may have been a long one.
            self.begins = now;
            self.at_begin = Some((self.broker(), used(std::process::id()).unwrap_or_default()));
        }
    }

    pub fn is_measured(&self, now: Instant) -> bool {
        self.at_begin.is_some() && self.ends.is_none_or(|ends| now < ends)
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }

    /// The last look.
    pub fn close(&self) -> Usage {
        let (broker, own) = self.at_begin.unwrap_or_default();
        let seconds = |after: Used, before: Used| {
            after.ticks.saturating_sub(before.ticks) as f64 / rustix::param::clock_ticks_per_second() as f64
        };
        let has_broker = !self.pids.is_empty();
        let broker_now = self.broker();
        Usage {
            broker_seconds: has_broker.then(|| seconds(broker_now, broker)),
            broker_resident_bytes: has_broker.then_some(broker_now.resident_bytes),
            own_seconds: seconds(used(std::process::id()).unwrap_or_default(), own),
        }
    }

    fn broker(&self) -> Used {
        let all = self.pids.iter().filter_map(|&pid| used(pid));
        all.fold(Used::default(), |sum, one| Used {
            ticks: sum.ticks + one.ticks,
            resident_bytes: sum.resident_bytes + one.resident_bytes,
        })
    }
}

/// proc(5): user and system time of all threads, and resident pages.
fn used(pid: u32) -> Option<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may have spaces and parentheses itself.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Used { ticks: field(14)? + field(15)?, resident_bytes: field(24)? * rustix::param::page_size() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_computes_is_seen_computing() {
        let before = used(std::process::id()).unwrap();
        let began = Instant::now();
        while used(std::process::id()).unwrap().ticks < before.ticks + 3 {
            assert!(began.elapsed() < Duration::from_secs(30), "30 ms of CPU take less than 30 s");
        }
        assert!(before.resident_bytes > 0);
        assert!(used(u32::MAX).is_none());
    }
}
