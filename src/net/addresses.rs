//! `max.connections.per.ip`: the connections of each client's address, on all shards of a node.
//!
//! It is the one value that shards share while they serve. Only opening and closing a connection touches it, and only
//! if the limit is set.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::BrokerConfig;

/// The open connections of each address.
pub struct Addresses {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted connection. Dropping it ends the count.
pub struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// `None`: the number is not limited.
    pub fn new(config: &BrokerConfig) -> Option<Arc<Addresses>> {
        let max = config.max_connections_per_ip;
        let limit = |max| Arc::new(Addresses { max, open: Mutex::default() });
        (max < i32::MAX).then(|| limit(max.max(0) as usize))
    }

    /// The limit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Counts a connection, unless its address has as many as it may have.
    pub fn admit(self: &Arc<Addresses>, address: IpAddr) -> Option<Counted> {
        self.count(address, self.max)
    }

    /// Counts a connection that another shard has admitted and still counts.
    pub fn take_over(self: &Arc<Addresses>, address: IpAddr) -> Option<Counted> {
        self.count(address, usize::MAX)
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

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn each_address_has_its_own_limit_and_a_closed_connection_makes_room() {
        let mut config = BrokerConfig::default();
        assert!(Addresses::new(&config).is_none(), "the default is no limit");
        config.max_connections_per_ip = 2;
        let addresses = Addresses::new(&config).expect("a limit");
        let first = addresses.admit(A);
        let second = addresses.admit(A);
        assert!(first.is_some() && second.is_some() && addresses.admit(A).is_none());
        assert!(addresses.admit(B).is_some(), "another address");
        let handed_over = addresses.take_over(A);
        assert!(handed_over.is_some(), "an admitted connection stays");
        drop(first);
        assert!(addresses.admit(A).is_none(), "the connection is still open on another shard");
        drop((second, handed_over));
        assert!(addresses.open().is_empty());
    }
}
