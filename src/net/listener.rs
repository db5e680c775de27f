//! Accepts connections. The shard that accepts a connection serves it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::addresses::{Addresses, Counted};
use super::connection::Connection;
use super::frames::Budget;
use super::refusals::RefusalLog;
use crate::api::{Origin, Server};
use crate::runtime::{self, Class, Listener, Stream};

/// The time in which a connection must receive the next MiB of a large request while other requests wait for memory.
const STALLED_MAX: Duration = Duration::from_secs(10);

/// The connections of one shard.
pub struct Connections {
    server: Rc<Server>,
    receiving: Rc<Budget>,
    open: RefCell<Vec<Weak<Connection>>>,
    /// The number of connections so far, which numbers the next one.
    accepted: Cell<u64>,
    max: usize,
    /// `None`: the connections of an address are not limited.
    addresses: Option<Arc<Addresses>>,
    refusals: RefusalLog,
    refused: Cell<u64>,
    idle_max: Duration,
}

impl Connections {
    /// Starts without connections, and starts the task that closes idle ones. `addresses` counts for all shards.
    pub fn new(server: Rc<Server>, addresses: Option<Arc<Addresses>>) -> Rc<Connections> {
        let config = &server.shard.config;
        let idle_ms = u64::try_from(config.connections_max_idle_ms).unwrap_or(u64::MAX);
        // `max.connections` is the limit of the node, whose connections spread over its shards.
        let max = (config.max_connections as usize).div_ceil(usize::from(server.shard.shards));
        let idle_max = Duration::from_millis(idle_ms);
        let receiving = Rc::new(Budget::new(config.shared_memory()));
        let connections = Rc::new(Connections {
            server,
            receiving,
            open: RefCell::new(Vec::new()),
            accepted: Cell::new(0),
            max,
            addresses,
            refusals: RefusalLog::default(),
            refused: Cell::new(0),
            idle_max,
        });
        runtime::spawn(Class::Background, "idle connections", connections.clone().sweep());
        connections
    }

    /// The number of open connections of each listener that has one.
    pub fn open(&self) -> Vec<(String, usize)> {
        let mut found: Vec<(Rc<str>, usize)> = Vec::new();
        for connection in self.open.borrow().iter().filter_map(Weak::upgrade) {
            match found.iter_mut().find(|(listener, _)| listener == connection.listener()) {
                Some((_, count)) => *count += 1,
                None => found.push((connection.listener().clone(), 1)),
            }
        }
        found.into_iter().map(|(listener, count)| ((*listener).to_owned(), count)).collect()
    }

    /// The number of connections so far, with those that other shards handed over.
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// The number of connections that a limit refused.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Serves an accepted socket, unless its address has as many connections as it may have.
    fn admit(self: &Rc<Self>, stream: Stream, origin: Origin) {
        let Some(addresses) = &self.addresses else { return self.serve(stream, origin, Vec::new(), None) };
        match addresses.admit(stream.peer_addr().ip()) {
            Ok(counted) => self.serve(stream, origin, Vec::new(), Some(counted)),
            Err(limit) => self.refuse(&stream, limit),
        }
    }

    /// Serves a socket that another shard has handed over, with the bytes that it received and did not start.
    pub fn adopt(self: &Rc<Self>, stream: Stream, origin: Origin, received: Vec<u8>) {
        let addresses = self.addresses.as_ref();
        let counted = addresses.and_then(|addresses| addresses.take_over(stream.peer_addr().ip()));
        self.serve(stream, origin, received, counted);
    }

    fn refuse(&self, stream: &Stream, limit: impl fmt::Display) {
        self.refused.set(self.refused.get() + 1);
        let peer = stream.peer_addr();
        if self.refusals.is_due(peer.ip()) {
            tracing::warn!(
                "{peer}: refused a connection, {limit} is reached; more refusals are not logged for a minute"
            );
        }
        stream.shutdown();
    }

    fn serve(self: &Rc<Self>, stream: Stream, origin: Origin, received: Vec<u8>, counted: Option<Counted>) {
        {
            let mut open = self.open.borrow_mut();
            if open.len() >= self.max {
                open.retain(|connection| connection.strong_count() > 0);
            }
            if open.len() >= self.max {
                let max = self.server.shard.config.max_connections;
                return self.refuse(&stream, format_args!("max.connections={max}"));
            }
        }
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        let origin = origin.of(stream.peer_addr().ip(), number);
        let connection = Connection::new(self.server.clone(), self.receiving.clone(), stream, origin, counted);
        self.open.borrow_mut().push(Rc::downgrade(&connection));
        runtime::spawn(Class::Foreground, "connection read", connection.run(received));
    }

    /// Accepts until the node stops.
    pub async fn accept(self: Rc<Self>, listener: Listener, origin: Origin) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream, origin.clone()),
                Err(error) => {
                    // Most likely no file descriptor is free. Retry after a pause: connections that end free some.
                    tracing::warn!("cannot accept a connection: {error}");
                    runtime::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Closes every connection.
    pub fn close_all(&self) {
        for connection in self.open.borrow().iter().filter_map(Weak::upgrade) {
            connection.close();
        }
    }

    /// Closes connections that are idle for `connections.max.idle.ms`, and those that stall a large request while other
    /// requests wait for its memory.
    async fn sweep(self: Rc<Self>) {
        let interval = (self.idle_max / 4).clamp(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            runtime::sleep(interval).await;
            self.open.borrow_mut().retain(|connection| connection.strong_count() > 0);
            let open: Vec<_> = self.open.borrow().iter().filter_map(Weak::upgrade).collect();
            let is_short = self.receiving.is_contended();
            for connection in open {
                let is_in_the_way = is_short && connection.is_receiving();
                if connection.idle_for() > if is_in_the_way { STALLED_MAX } else { self.idle_max } {
                    connection.close();
                }
            }
        }
    }
}
