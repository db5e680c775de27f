//! Accepts connections. The shard that accepts a connection serves it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::addresses::{Addresses, Counted, Limits};
use super::connection::Connection;
use super::frames::Budget;
use super::refusals::RefusalLog;
use crate::api::{Origin, Server};
use crate::config::{BrokerConfig, ChangedBy, Routing};
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
    addresses: Arc<Addresses>,
    /// The limits of addresses, and the settings from which they were made.
    limits: RefCell<(Rc<BrokerConfig>, Rc<Limits>)>,
    refusals: RefusalLog,
    refused: Cell<u64>,
    idle_max: Duration,
}

impl Connections {
    /// Starts without connections, and starts the task that closes idle ones. `addresses` counts for all shards.
    pub fn new(server: Rc<Server>, addresses: Arc<Addresses>) -> Rc<Connections> {
        let config = server.shard.config();
        let idle_ms = u64::try_from(config.connections_max_idle_ms).unwrap_or(u64::MAX);
        let idle_max = Duration::from_millis(idle_ms);
        let receiving = Rc::new(Budget::new(config.shared_memory()));
        let limits = Rc::new(Limits::of(&config, &addresses));
        let connections = Rc::new(Connections {
            server,
            receiving,
            open: RefCell::new(Vec::new()),
            accepted: Cell::new(0),
            addresses,
            limits: RefCell::new((config, limits)),
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
        match self.addresses.admit(self.limits().limit(stream.peer_addr().ip())) {
            Ok(counted) => self.serve(stream, origin, Vec::new(), Some(counted)),
            Err(limit) => self.refuse(&stream, limit),
        }
    }

    /// Serves a socket that another shard has handed over, with the bytes that it received and did not start.
    pub fn adopt(self: &Rc<Self>, stream: Stream, origin: Origin, received: Vec<u8>) {
        let counted = self.addresses.take_over(stream.peer_addr().ip());
        self.serve(stream, origin, received, counted);
    }

    /// The current limits of addresses.
    fn limits(&self) -> Rc<Limits> {
        let (config, mut limits) = (self.server.shard.config(), self.limits.borrow_mut());
        if !Rc::ptr_eq(&limits.0, &config) {
            let changed = Rc::new(Limits::of(&config, &self.addresses));
            *limits = (config, changed);
        }
        limits.1.clone()
    }

    /// The most connections of this shard. `max.connections` is the limit of the node, whose connections spread over
    /// its shards. A value of one broker is that of its shard, in a routing where each shard is a broker.
    fn max(&self) -> usize {
        let (shard, config) = (&self.server.shard, self.server.shard.config());
        let max = config.max_connections as usize;
        match (config.changed_by("max.connections"), shard.routing) {
            (Some(ChangedBy::One), Routing::Direct | Routing::Steer) => max,
            _ => max.div_ceil(usize::from(shard.shards)),
        }
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
            let (mut open, max) = (self.open.borrow_mut(), self.max());
            if open.len() >= max {
                open.retain(|connection| connection.strong_count() > 0);
            }
            if open.len() >= max {
                let max = self.server.shard.config().max_connections;
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
