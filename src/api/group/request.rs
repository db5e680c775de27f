//! A request to a group coordinator: found by the group's id, answered on the shard that has the group's state.
//!
//! ```text
//! group id -> partition of __consumer_offsets -> owner
//!   this shard                       -> step the ledger, in the connection's order; respond when the step is durable
//!   another one, direct routing      -> NOT_COORDINATOR: the client sends FindCoordinator and connects to the owner
//!   another one, other routings      -> the frame goes to the owner as a message, and the response comes back
//! ```
//! A request about several groups is split by owner, and the responses are merged.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use crate::api::outcome::{self, Header};
use crate::api::request::ClientRequest;
use crate::api::server::Server;
use crate::config::Routing;
use crate::coordinator::Ledger;
use crate::coordinator::group::Groups;
use crate::model::{ErrorCode, ShardId};
use crate::router;
use crate::router::message::{CloseReason, CoordinateRequest, Reply, ShardRequest};
use crate::wire::frame::{self, RequestHeader};
use crate::wire::{Malformed, Message, Reader};

/// Resolves to the response's frame, or to the reason to close the connection.
pub type Framed = Pin<Box<dyn Future<Output = Result<Vec<u8>, CloseReason>>>>;

/// One request to a group coordinator, without its body.
#[derive(Clone)]
pub(in crate::api) struct GroupRequest {
    pub server: Rc<Server>,
    pub listener: Rc<str>,
    pub peer: IpAddr,
    pub client_id: Rc<str>,
    pub header: Header,
    /// The whole frame without its length.
    frame: Rc<[u8]>,
    /// Another shard forwarded the request, so it concerns this shard's groups only.
    is_forwarded: bool,
    /// Another shard merges the response into its own.
    is_part: bool,
    /// A list has the groups of all shards.
    pub is_for_node: bool,
}

/// The owner of a group's state.
pub(in crate::api) enum GroupOwner {
    Local(Rc<Ledger<Groups>>),
    /// Another shard. This shard forwards the request to it.
    Remote(ShardId),
    /// No shard can serve the request, which fails with this error.
    Unavailable(ErrorCode),
}

impl GroupRequest {
    pub fn from_client(request: &ClientRequest<'_>) -> GroupRequest {
        GroupRequest {
            server: request.server.clone(),
            listener: request.origin.listener.clone(),
            peer: request.origin.peer,
            client_id: request.client_id.into(),
            header: request.header,
            frame: request.frame.into(),
            is_forwarded: false,
            is_for_node: request.origin.is_for_node(request.server.shard.routing),
            is_part: false,
        }
    }

    /// `header` is the decoded header of the request's frame.
    pub fn from_shard(server: &Rc<Server>, request: &CoordinateRequest, header: &RequestHeader<'_>) -> GroupRequest {
        GroupRequest {
            server: server.clone(),
            listener: request.listener.as_str().into(),
            peer: request.peer,
            client_id: header.client_id.as_deref().unwrap_or_default().into(),
            header: Header { version: header.version, correlation_id: header.correlation_id },
            frame: request.frame.as_slice().into(),
            is_forwarded: true,
            is_part: request.is_part,
            is_for_node: false,
        }
    }

    /// Decodes the body that follows the header.
    pub fn decode<M: Message>(&self, body: &mut Reader<'_>) -> Result<M, Malformed> {
        M::decode(body, self.header.version)
    }

    pub fn owner(&self, group: &str) -> GroupOwner {
        let groups = &self.server.groups;
        match groups.owner(group) {
            Err(error) => GroupOwner::Unavailable(error),
            Ok((_, owner)) if owner == self.server.shard.id => match groups.ledger(group) {
                Ok(ledger) => GroupOwner::Local(ledger),
                Err(error) => GroupOwner::Unavailable(error),
            },
            Ok((_, owner)) if self.forwards() => GroupOwner::Remote(owner),
            Ok(_) => GroupOwner::Unavailable(ErrorCode::NotCoordinator),
        }
    }

    /// Returns true if this shard forwards requests about other shards' groups.
    pub fn forwards(&self) -> bool {
        self.server.shard.routing != Routing::Direct && !self.is_forwarded
    }

    /// Sends the whole request to the shard that owns its group.
    pub fn forward(&self, owner: ShardId) -> Framed {
        let call = self.send(owner, self.frame.to_vec(), false);
        Box::pin(async move {
            match call.reply().await {
                Reply::Coordinated(frame) => frame,
                _ => unreachable!("a coordinate call is answered by Coordinated"),
            }
        })
    }

    fn send(&self, owner: ShardId, frame: Vec<u8>, is_part: bool) -> router::Call {
        let request = CoordinateRequest { frame, listener: self.listener.to_string(), peer: self.peer, is_part };
        self.server.router.call(owner, ShardRequest::Coordinate(Box::new(request)))
    }

    /// Sends another shard its part of the request, and decodes the response.
    pub async fn ask<Q: Message, A: Message>(&self, owner: ShardId, part: &Q) -> Result<A, CloseReason> {
        let Header { version, correlation_id } = self.header;
        let frame = frame::encode_request(part, version, correlation_id, Some(&self.client_id));
        let frame = frame.map_err(CloseReason::UnencodableCall)?.split_off(4);
        let answered = match self.send(owner, frame, true).reply().await {
            Reply::Coordinated(frame) => frame?,
            _ => unreachable!("a coordinate call is answered by Coordinated"),
        };
        let mut reader = Reader::new(&answered[4..]);
        let api = A::API.api();
        let read =
            frame::decode_response_header(&mut reader, api, version).and_then(|_| A::decode(&mut reader, version));
        read.map_err(CloseReason::MalformedReply)
    }

    /// Encodes the response. The error codes of a part are counted in the response that it is merged into.
    pub fn respond<M: Message>(&self, message: &M) -> Result<Vec<u8>, CloseReason> {
        let Header { version, correlation_id } = self.header;
        match self.is_part {
            true => frame::encode_response(message, version, correlation_id).map_err(CloseReason::UnencodableResponse),
            false => outcome::encode(&self.server, message, &self.header),
        }
    }

    /// Responds without waiting.
    pub fn respond_now<M: Message>(&self, message: &M) -> Framed {
        let response = self.respond(message);
        Box::pin(async move { response })
    }
}

/// The groups of a request about several groups, by owner.
pub(in crate::api) struct GroupsByOwner<'a> {
    pub local: Vec<(&'a str, Rc<Ledger<Groups>>)>,
    pub remote: Vec<(ShardId, Vec<&'a str>)>,
    pub unavailable: Vec<(&'a str, ErrorCode)>,
}

impl<'a> GroupsByOwner<'a> {
    pub fn new(request: &GroupRequest, groups: impl Iterator<Item = &'a str>) -> GroupsByOwner<'a> {
        let mut by_owner = GroupsByOwner { local: Vec::new(), remote: Vec::new(), unavailable: Vec::new() };
        for group in groups {
            match request.owner(group) {
                GroupOwner::Local(ledger) => by_owner.local.push((group, ledger)),
                GroupOwner::Unavailable(error) => by_owner.unavailable.push((group, error)),
                GroupOwner::Remote(owner) => match by_owner.remote.iter_mut().find(|(shard, _)| *shard == owner) {
                    Some((_, groups)) => groups.push(group),
                    None => by_owner.remote.push((owner, vec![group])),
                },
            }
        }
        by_owner
    }
}

/// Returns the result of a ledger step once the step's records are durable.
pub(in crate::api) async fn durable<A>(ledger: &Ledger<Groups>, stepped: Result<A, ErrorCode>) -> Result<A, ErrorCode> {
    let result = stepped?;
    ledger.wait_durable().await?;
    Ok(result)
}

/// The host of a member: the client's address, as Java's `InetAddress` prints it.
pub(in crate::api) fn host_of(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let segments: Vec<String> = address.segments().iter().map(|segment| format!("{segment:x}")).collect();
            format!("/{}", segments.join(":"))
        }
    }
}
