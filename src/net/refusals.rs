//! Limits the log lines about refused connections: an address that tries on would fill the log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::runtime::clock::{self, Mono};

/// The pause between two log lines about refused connections of one address.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The most addresses with a time of their own. With more, the times are forgotten at once.
const LOGGED_MAX: usize = 1024;

/// Limits the log lines about refused connections to one per address and minute.
#[derive(Default)]
pub struct RefusalLog {
    logged: RefCell<HashMap<IpAddr, Mono>>,
}

impl RefusalLog {
    /// Whether a refused connection of this address is logged now.
    pub fn is_due(&self, address: IpAddr) -> bool {
        self.is_due_at(address, clock::now())
    }

    fn is_due_at(&self, address: IpAddr, now: Mono) -> bool {
        let mut logged = self.logged.borrow_mut();
        if logged.get(&address).is_some_and(|at| now.since(*at) < LOG_INTERVAL) {
            return false;
        }
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        logged.insert(address, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_refusal_is_logged_once_per_address_and_minute() {
        let log = RefusalLog::default();
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(log.is_due_at(A, now) && !log.is_due_at(A, at(59)));
        assert!(log.is_due_at(B, at(59)) && log.is_due_at(A, at(60)) && !log.is_due_at(A, at(61)));
        for last in 0..=u8::MAX {
            for third in 0..8 {
                log.is_due_at(IpAddr::from([10, 1, third, last]), now);
            }
        }
        assert!(log.logged.borrow().len() <= LOGGED_MAX);
    }
}
