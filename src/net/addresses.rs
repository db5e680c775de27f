//! `max.connections.per.ip` and its overrides: the connections of each client's address, on all shards of a node.
//!
//! It is the one value that shards share while they serve. Only opening and closing a connection touches it, and only
//! if a limit is set.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::BrokerConfig;

/// The open connections of each address.
pub struct Addresses {
    max: usize,
    /// The limits that replace `max` for single addresses.
    overrides: HashMap<IpAddr, usize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted connection. Dropping it ends the count.
pub struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// The limit of one address. Prints as the setting that gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    address: IpAddr,
    max: usize,
    is_override: bool,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_override {
            true => write!(f, "max.connections.per.ip.overrides={}:{}", self.address, self.max),
            false => write!(f, "max.connections.per.ip={}", self.max),
        }
    }
}

impl Addresses {
    /// `overrides` are the limits of `max.connections.per.ip.overrides`, by the addresses of its hosts. `None`: no
    /// address has a limit.
    pub fn new(config: &BrokerConfig, overrides: HashMap<IpAddr, usize>) -> Option<Arc<Addresses>> {
        let max = config.max_connections_per_ip;
        let is_limited = max < i32::MAX || !overrides.is_empty();
        let limits = || Addresses { max: max.max(0) as usize, overrides, open: Mutex::default() };
        is_limited.then(|| Arc::new(limits()))
    }

    /// The limit of an address. Dual-stack sockets show IPv4 clients by mapped addresses, which the settings do not.
    pub fn limit(&self, address: IpAddr) -> Limit {
        let address = address.to_canonical();
        let own = self.overrides.get(&address).copied();
        Limit { address, max: own.unwrap_or(self.max), is_override: own.is_some() }
    }

    /// Counts a connection, unless its address has as many as it may have.
    pub fn admit(self: &Arc<Addresses>, address: IpAddr) -> Result<Counted, Limit> {
        let limit = self.limit(address);
        self.count(limit.address, limit.max).ok_or(limit)
    }

    /// Counts a connection that another shard has admitted and still counts.
    pub fn take_over(self: &Arc<Addresses>, address: IpAddr) -> Option<Counted> {
        self.count(address.to_canonical(), usize::MAX)
    }

    fn count(self: &Arc<Addresses>, address: IpAddr, max: usize) -> Option<Counted> {
        let mut open = self.open();
        let before = open.get(&address).copied().unwrap_or(0);
        if before >= max {
            return None;
        }
        open.insert(address, before + 1);
        Some(Counted { addresses: self.clone(), address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().expect("no holder of the lock panics")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.addresses.open().entry(self.address) {
            match *open.get() {
                ..=1 => drop(open.remove()),
                count => drop(open.insert(count - 1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn config(max: i32) -> BrokerConfig {
        let mut config = BrokerConfig::default();
        config.max_connections_per_ip = max;
        config
    }

    #[test]
    fn each_address_has_its_own_limit_and_a_closed_connection_makes_room() {
        let none = HashMap::new;
        assert!(Addresses::new(&BrokerConfig::default(), none()).is_none(), "the default is no limit");
        let addresses = Addresses::new(&config(2), none()).expect("a limit");
        let first = addresses.admit(A);
        let second = addresses.admit(A);
        assert!(first.is_ok() && second.is_ok() && addresses.admit(A).is_err());
        assert!(addresses.admit(B).is_ok(), "another address");
        let handed_over = addresses.take_over(A);
        assert!(handed_over.is_some(), "an admitted connection stays");
        drop(first);
        assert!(addresses.admit(A).is_err(), "the connection is still open on another shard");
        drop((second, handed_over));
        assert!(addresses.open().is_empty());
    }

    #[test]
    fn an_override_replaces_the_limit_of_its_address_only() {
        let refused = |addresses: &Arc<Addresses>, address| match addresses.admit(address) {
            Ok(_) => panic!("{address} is admitted"),
            Err(limit) => limit.to_string(),
        };
        // A lower limit than the others have, also for the mapped form of the address, and without a general limit.
        for general in [2, i32::MAX] {
            let addresses = Addresses::new(&config(general), HashMap::from([(A, 1)])).expect("a limit");
            let IpAddr::V4(v4) = A else { panic!("it is IPv4") };
            let first = addresses.admit(IpAddr::V6(v4.to_ipv6_mapped()));
            assert!(first.is_ok());
            assert_eq!(refused(&addresses, A), "max.connections.per.ip.overrides=10.0.0.1:1");
            let others = [addresses.admit(B), addresses.admit(B)];
            assert!(others.iter().all(Result::is_ok));
        }
        // A higher limit, where every other address is refused.
        let addresses = Addresses::new(&config(0), HashMap::from([(A, 1)])).expect("a limit");
        assert!(addresses.admit(A).is_ok());
        assert_eq!(refused(&addresses, B), "max.connections.per.ip=0");
    }
}
