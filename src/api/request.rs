//! A client's request, decoded as far as its header, and the connection that it came on.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use crate::api::outcome::Header;
use crate::api::server::Server;
use crate::api::traffic::Traffic;
use crate::config::Routing;
use crate::model::{BrokerId, ShardId};
use crate::wire::{ApiKey, Malformed, Message, Reader};

/// A request at the start of its first stage.
pub(in crate::api) struct ClientRequest<'a> {
    pub server: &'a Rc<Server>,
    pub origin: &'a Origin,
    pub key: ApiKey,
    pub header: Header,
    /// Empty if the client sent none.
    pub client_id: &'a str,
    /// The whole frame without its length, as it is forwarded to another shard.
    pub frame: &'a [u8],
    /// The bytes behind the header.
    pub body: Reader<'a>,
}

impl ClientRequest<'_> {
    /// Decodes the body.
    pub fn decode<M: Message>(&mut self) -> Result<M, Malformed> {
        M::decode(&mut self.body, self.header.version)
    }
}

/// The connection that a request came on.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name. Responses give brokers' addresses on this listener.
    pub listener: Rc<str>,
    /// The shards that own the partitions of the connection's requests.
    pub traffic: Traffic,
    /// The broker of the shard's own port in direct routing. `None` on a port that all brokers of the node share.
    pub broker: Option<BrokerId>,
    /// The client's address.
    pub peer: IpAddr,
    /// In steer routing: the connection is on the shard whose broker the client addresses.
    is_steered: Cell<bool>,
    /// The connection's number, unique on its shard.
    pub connection: u64,
    /// The fetch session of its last Fetch request; 0 without one.
    pub(in crate::api) session: Cell<i32>,
}

impl Origin {
    /// The origin of a new connection, on the listener with this name. [`of`](Self::of) sets the rest.
    pub fn new(listener: &str) -> Origin {
        Origin {
            listener: listener.into(),
            traffic: Traffic::default(),
            broker: None,
            peer: Ipv4Addr::UNSPECIFIED.into(),
            is_steered: Cell::new(false),
            connection: 0,
            session: Cell::new(0),
        }
    }

    /// The origin of a connection that another shard handed over.
    pub fn handed_over(listener: &str) -> Origin {
        let origin = Origin::new(listener);
        origin.is_steered.set(true);
        origin
    }

    /// The same listener, on the port of one broker.
    pub fn at_broker(&self, broker: BrokerId) -> Origin {
        Origin { broker: Some(broker), ..self.clone() }
    }

    /// The same listener, for one client's connection.
    pub fn of(&self, peer: IpAddr, connection: u64) -> Origin {
        Origin { peer, connection, ..self.clone() }
    }

    /// Whether a request has shown the shard that the connection is for.
    pub fn is_steered(&self) -> bool {
        self.is_steered.get()
    }

    /// The client addresses the broker of `shard`. The connection moves there unless `own` is that shard.
    pub fn steer(&self, shard: ShardId, own: ShardId) {
        if shard == own {
            self.is_steered.set(true);
        } else {
            self.traffic.move_to(shard);
        }
    }

    /// Whether this connection stands for all shards of the node, so that a list has the entries of all of them. In
    /// steer routing a connection does until its first request for a shard.
    pub(in crate::api) fn is_for_node(&self, routing: Routing) -> bool {
        match routing {
            Routing::Direct => false,
            Routing::Forward => true,
            Routing::Steer => !self.is_steered(),
        }
    }
}
