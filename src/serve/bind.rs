//! The addresses of the listeners: resolves them, and checks that each port is free.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use super::node::Bound;
use crate::config::{BrokerConfig, Routing};
use crate::tools::Failure;

/// Resolves every address to listen on, and checks that it is free.
pub(super) fn bind(config: &BrokerConfig, shards: u16) -> Result<Vec<Bound>, Failure> {
    let mut all: Vec<(Bound, RangeInclusive<u16>)> = Vec::new();
    for (listener, advertised) in config.bind().into_iter().zip(config.advertised()) {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let resolved = (host, listener.port).to_socket_addrs().ok().and_then(|mut found| found.next());
        let Some(address) = resolved else {
            return Err(Failure::new(format!("cannot resolve {host} of listener {listener}")));
        };
        let own_ports = match config.routing {
            Routing::Direct => shards,
            Routing::Steer | Routing::Forward => 0,
        };
        if u32::from(listener.port) + u32::from(own_ports) > u32::from(u16::MAX) || listener.port == 0 {
            return Err(Failure::new(format!(
                "port {} leaves no room for the {own_ports} ports of the shards behind it",
                listener.port
            ))
            .hinted("choose a listening port between 1 and 65535 minus the number of shards"));
        }
        let ports = listener.port..=listener.port + own_ports;
        let is_shared =
            |other: &&(Bound, RangeInclusive<u16>)| ports.contains(other.1.start()) || other.1.contains(ports.start());
        if let Some((other, others)) = all.iter().find(is_shared) {
            return Err(Failure::new(format!(
                "listener {} takes the ports {}-{}, one for each shard behind the first, and {} takes {}-{}",
                listener.name,
                ports.start(),
                ports.end(),
                other.name,
                others.start(),
                others.end()
            ))
            .hinted(format!("leave at least {own_ports} ports between two listeners")));
        }
        all.push((Bound { name: listener.name.clone(), address, advertised }, ports));
    }
    // SO_REUSEPORT would share a port with another process of the same user too, so check that it is free.
    for (bound, ports) in &all {
        for port in ports.clone() {
            let candidate = SocketAddr::new(bound.address.ip(), port);
            wait_until_free(candidate).map_err(|error| {
                Failure::new(format!("cannot listen on {candidate}: {error}"))
                    .hinted("another broker may be running there; choose another port with --listen HOST:PORT")
            })?;
        }
    }
    Ok(all.into_iter().map(|(bound, _)| bound).collect())
}

/// Waits up to two seconds for the address. The kernel closes the ring and the sockets of a killed process some time
/// after its end. A restart directly after a crash must not fail because of them.
fn wait_until_free(address: SocketAddr) -> std::io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome.map(drop),
        }
    }
}
