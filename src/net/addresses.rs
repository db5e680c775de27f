//! `max.connections.per.ip` and its overrides: the connections of each client's address, on all shards of a node.
//!
//! The count is the one value that shards share while they serve. Only opening and closing a connection touches it.
//! Connections count without a limit too, because a limit can be set while they are open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::BrokerConfig;

/// The open connections of each address.
pub struct Addresses {
    /// The limits of the hosts in the configuration, by the addresses that they had at the start.
    at_start: HashMap<IpAddr, usize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The limits of one shard's broker.
pub struct Limits {
    max: usize,
    /// The limits that replace `max` for single addresses.
    overrides: HashMap<IpAddr, usize>,
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

impl Limits {
    /// The limits of these settings. Hosts that were set at run time are IP addresses.
    pub fn of(config: &BrokerConfig, addresses: &Addresses) -> Limits {
        let overrides = match config.changed_by("max.connections.per.ip.overrides") {
            None => addresses.at_start.clone(),
            Some(_) => {
                let limits = config.max_connections_per_ip_overrides.iter();
                limits
                    .filter_map(|limit| Some((limit.host.parse::<IpAddr>().ok()?.to_canonical(), limit.max)))
                    .collect()
            }
        };
        Limits { max: config.max_connections_per_ip.max(0) as usize, overrides }
    }

    /// The limit of an address. Dual-stack sockets show IPv4 clients by mapped addresses, which the settings do not.
    pub fn limit(&self, address: IpAddr) -> Limit {
        let address = address.to_canonical();
        let own = self.overrides.get(&address).copied();
        Limit { address, max: own.unwrap_or(self.max), is_override: own.is_some() }
    }
}

impl Addresses {
    /// `at_start` are the limits of `max.connections.per.ip.overrides` in the configuration, by the addresses of its
    /// hosts.
    pub fn new(at_start: HashMap<IpAddr, usize>) -> Arc<Addresses> {
        Arc::new(Addresses { at_start, open: Mutex::default() })
    }

    /// Counts a connection, unless its address has as many as it may have.
    pub fn admit(self: &Arc<Addresses>, limit: Limit) -> Result<Counted, Limit> {
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
    use crate::config::dynamic;
    use std::collections::BTreeMap;
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
        let addresses = Addresses::new(HashMap::new());
        let none = Limits::of(&BrokerConfig::default(), &addresses);
        let limits = Limits::of(&config(2), &addresses);
        let admit = |address| addresses.admit(limits.limit(address));
        // The limit is set while the first connection is open.
        let first = addresses.admit(none.limit(A));
        let second = admit(A);
        assert!(first.is_ok() && second.is_ok() && admit(A).is_err());
        assert!(admit(B).is_ok(), "another address");
        let handed_over = addresses.take_over(A);
        assert!(handed_over.is_some(), "an admitted connection stays");
        drop(first);
        assert!(admit(A).is_err(), "the connection is still open on another shard");
        drop((second, handed_over));
        assert!(addresses.open().is_empty());
    }

    #[test]
    fn an_override_replaces_the_limit_of_its_address_only() {
        let refused = |addresses: &Arc<Addresses>, limit: Limit| match addresses.admit(limit) {
            Ok(_) => panic!("{limit} admits it"),
            Err(limit) => limit.to_string(),
        };
        // A lower limit than the others have, also for the mapped form of the address, and without a general limit.
        for general in [2, i32::MAX] {
            let addresses = Addresses::new(HashMap::from([(A, 1)]));
            let limits = Limits::of(&config(general), &addresses);
            let IpAddr::V4(v4) = A else { panic!("it is IPv4") };
            let first = addresses.admit(limits.limit(IpAddr::V6(v4.to_ipv6_mapped())));
            assert!(first.is_ok());
            assert_eq!(refused(&addresses, limits.limit(A)), "max.connections.per.ip.overrides=10.0.0.1:1");
            let others = [addresses.admit(limits.limit(B)), addresses.admit(limits.limit(B))];
            assert!(others.iter().all(Result::is_ok));
        }
        // A higher limit, where every other address is refused.
        let addresses = Addresses::new(HashMap::from([(A, 1)]));
        let limits = Limits::of(&config(0), &addresses);
        assert!(addresses.admit(limits.limit(A)).is_ok());
        assert_eq!(refused(&addresses, limits.limit(B)), "max.connections.per.ip=0");
        // The list of the configuration is replaced as a whole.
        let changed = BTreeMap::from([("max.connections.per.ip.overrides".to_owned(), "10.0.0.2:3".to_owned())]);
        let changed = dynamic::resolve(&BrokerConfig::default(), Some(&changed), None).config;
        let limits = Limits::of(&changed, &addresses);
        assert_eq!([limits.limit(A).max, limits.limit(B).max], [i32::MAX as usize, 3]);
    }
}
