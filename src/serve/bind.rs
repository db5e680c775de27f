//! The addresses of the listeners: resolves them, and checks that each port is free.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use super::node::Bound;
use crate::config::{BrokerConfig, HostLimit, Routing};
use crate::model::counted;
use crate::tools::Failure;

/// Resolves every address to listen on, and checks that it is free.
pub(super) fn bind(config: &BrokerConfig, shards: u16) -> Result<Vec<Bound>, Failure> {
    let mut all: Vec<(Bound, RangeInclusive<u16>)> = Vec::new();
    for (listener, advertised) in config.bind().into_iter().zip(config.advertised()) {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let resolved = (host, listener.port).to_socket_addrs().ok().and_then(|mut found| found.next());
        let Some(address) = resolved else {
            return Err(Failure::new(format!("cannot resolve {host} of listener {listener}"))
                .hinted("check the name, or write an IP address of this machine"));
        };
        let own_ports = match config.routing {
            Routing::Direct => shards,
            Routing::Steer | Routing::Forward => 0,
        };
        let ports = ports(listener.port, own_ports)?;
        let is_shared =
            |other: &&(Bound, RangeInclusive<u16>)| ports.contains(other.1.start()) || other.1.contains(ports.start());
        if let Some((other, others)) = all.iter().find(is_shared) {
            return Err(Failure::new(format!(
                "listener {} takes the ports {}, one for each shard behind the first, and {} takes {}",
                listener.name,
                range(&ports),
                other.name,
                range(others)
            ))
            .hinted(format!("leave at least {} between two listeners", counted(own_ports.into(), "port"))));
        }
        all.push((Bound { name: listener.name.clone(), address, advertised }, ports));
    }
    // SO_REUSEPORT would share a port with another process of the same user too, so check that it is free.
    for (bound, ports) in &all {
        for port in ports.clone() {
            let candidate = SocketAddr::new(bound.address.ip(), port);
            wait_until_free(candidate).map_err(|error| cannot_listen(candidate, &error))?;
        }
    }
    Ok(all.into_iter().map(|(bound, _)| bound).collect())
}

/// The limits of `max.connections.per.ip.overrides`, by the addresses that each host has now. As in Kafka, the last
/// limit of an address holds.
pub(super) fn limited_addresses(config: &BrokerConfig) -> Result<HashMap<IpAddr, usize>, Failure> {
    let mut limits = HashMap::new();
    for HostLimit { host, max } in &config.max_connections_per_ip_overrides {
        let found = (host.as_str(), 0).to_socket_addrs().map_err(|error| {
            Failure::new(format!("cannot resolve {host} of max.connections.per.ip.overrides: {error}"))
                .hinted("check the name, or write the IP address of the client")
        })?;
        limits.extend(found.map(|address| (address.ip().to_canonical(), *max)));
    }
    Ok(limits)
}

/// The listener's port, and the ports of the shards behind it.
fn ports(first: u16, own_ports: u16) -> Result<RangeInclusive<u16>, Failure> {
    if first == 0 {
        return Err(Failure::new("port 0, which stands for any free port, is not supported")
            .hinted("choose the listening port, so that clients know it and the ports of the shards behind it"));
    }
    let last = first.checked_add(own_ports).ok_or_else(|| {
        Failure::new(format!(
            "port {first} leaves no room for {} of the shards behind it",
            counted(own_ports.into(), "port")
        ))
        .hinted(format!("choose a listening port of at most {}", u16::MAX - own_ports))
    })?;
    Ok(first..=last)
}

/// `9093`, `9093-9094`.
pub(super) fn range(ports: &RangeInclusive<u16>) -> String {
    match ports.start() == ports.end() {
        true => ports.start().to_string(),
        false => format!("{}-{}", ports.start(), ports.end()),
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine; `ip address` lists them", address.ip())
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 require CAP_NET_BIND_SERVICE; choose another port with --listen HOST:PORT".into()
        }
        _ => "another broker may be running there; choose another port with --listen HOST:PORT".into(),
    };
    Failure::new(format!("cannot listen on {address}: {error}")).hinted(hint)
}

/// Waits up to two seconds for the address. The kernel closes the ring and the sockets of a killed process some time
/// after its end. A restart directly after a crash must not fail because of them.
fn wait_until_free(address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_cause() {
        let address = "192.0.2.1:80".parse().expect("an address");
        for (kind, expected) in [
            (io::ErrorKind::AddrInUse, "another broker may be running there"),
            (io::ErrorKind::AddrNotAvailable, "192.0.2.1 is not an address of this machine"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
        ] {
            let hint = cannot_listen(address, &kind.into()).hint.expect("a hint");
            assert!(hint.contains(expected), "{kind:?}: {hint}");
        }
    }

    #[test]
    fn each_address_of_a_limited_host_has_its_limit() {
        let limits = |text: &str| {
            let set = format!("max.connections.per.ip.overrides={text}");
            limited_addresses(&crate::config::load(None, &[set]).expect("legal"))
        };
        let found = limits("10.0.0.1:1,[::1]:2,10.0.0.1:3").unwrap();
        assert_eq!(found, HashMap::from([([10, 0, 0, 1].into(), 3), ("::1".parse().unwrap(), 2)]));
        let refused = limits("no.host.invalid:1").unwrap_err();
        assert!(refused.message.contains("cannot resolve no.host.invalid of max.connections"), "{}", refused.message);
    }

    #[test]
    fn ports_are_counted_and_bounded() {
        assert_eq!(range(&ports(9092, 1).unwrap()), "9092-9093");
        assert_eq!(range(&ports(9092, 0).unwrap()), "9092");
        assert!(ports(0, 1).unwrap_err().message.contains("any free port"));
        assert!(ports(65535, 1).unwrap_err().message.contains("no room for 1 port of the shards"));
    }
}
