//! Requests to coordinators: found by their key, answered where its state is.
//!
//! ```text
//! key -> partition of the internal topic -> owner
//!   this shard                       -> step the ledger, in the connection's order; answer when it is durable
//!   another one, direct routing      -> NOT_COORDINATOR: the client asks FindCoordinator and connects to it
//!   another one, forward routing     -> the frame goes there as a message, and its answer comes back
//! ```
//! A request about several groups is split by owner, and the answers are put together again.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use super::{
    consumer_group_describe, consumer_group_heartbeat, delete_groups, describe_groups, heartbeat, join_group,
    leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group, txn_offset_commit,
};
use crate::api::{Header, Origin, Server};
use crate::config::Routing;
use crate::coordinator::Ledger;
use crate::coordinator::group::Groups;
use crate::model::{ErrorCode, ShardId};
use crate::router::message::{CoordinateRequest, Reply, Request};
use crate::wire::frame::{self, RequestHeader};
use crate::wire::{ApiKey, Malformed, Message, Reader};

/// The answer's frame, or why the connection is to be closed.
pub type Framed = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>>>>;

/// One request to a coordinator.
#[derive(Clone)]
pub(in crate::api) struct Call {
    pub server: Rc<Server>,
    pub listener: Rc<str>,
    pub peer: IpAddr,
    pub client_id: Rc<str>,
    pub header: Header,
    /// Without its length.
    frame: Rc<[u8]>,
    /// It comes from another shard, and is about what this shard has.
    is_forwarded: bool,
}

/// Who answers for a group.
pub(in crate::api) enum Place {
    Here(Rc<Ledger<Groups>>),
    There(ShardId),
    Nowhere(ErrorCode),
}

impl Call {
    pub fn place(&self, group: &str) -> Place {
        let groups = &self.server.groups;
        match groups.owner(group) {
            Err(error) => Place::Nowhere(error),
            Ok((_, owner)) if owner == self.server.shard.id => match groups.ledger(group) {
                Ok(ledger) => Place::Here(ledger),
                Err(error) => Place::Nowhere(error),
            },
            Ok((_, owner)) if self.forwards() => Place::There(owner),
            Ok(_) => Place::Nowhere(ErrorCode::NotCoordinator),
        }
    }

    /// Whether what other shards have is asked of them.
    pub fn forwards(&self) -> bool {
        self.server.shard.config.routing == Routing::Forward && !self.is_forwarded
    }

    pub fn others(&self) -> impl Iterator<Item = ShardId> {
        let own = self.server.shard.id;
        (0..self.server.shard.shards).map(ShardId).filter(move |shard| *shard != own)
    }

    /// Sends the whole request to the shard that it is for.
    pub fn forward(&self, owner: ShardId) -> Framed {
        let call = self.send(owner, self.frame.to_vec());
        Box::pin(async move {
            match call.reply().await {
                Reply::Coordinated(frame) => frame,
                _ => unreachable!("a coordinate call is answered by Coordinated"),
            }
        })
    }

    fn send(&self, owner: ShardId, frame: Vec<u8>) -> crate::router::Call {
        let (listener, peer) = (self.listener.to_string(), self.peer);
        self.server.router.call(owner, Request::Coordinate(Box::new(CoordinateRequest { frame, listener, peer })))
    }

    /// Asks another shard for its part.
    pub async fn ask<Q: Message, A: Message>(&self, owner: ShardId, part: &Q) -> Result<A, String> {
        let Header { version, correlation_id } = self.header;
        let frame = frame::encode_request(part, version, correlation_id, Some(&self.client_id));
        let frame = frame.map_err(|error| error.to_string())?.split_off(4);
        let answered = match self.send(owner, frame).reply().await {
            Reply::Coordinated(frame) => frame?,
            _ => unreachable!("a coordinate call is answered by Coordinated"),
        };
        let mut reader = Reader::new(&answered[4..]);
        let api = A::API.api();
        let read =
            frame::decode_response_header(&mut reader, api, version).and_then(|_| A::decode(&mut reader, version));
        read.map_err(|error| format!("another shard's answer cannot be read: {error}"))
    }

    pub fn answer<M: Message>(&self, message: &M) -> Result<Vec<u8>, String> {
        frame::encode_response(message, self.header.version, self.header.correlation_id)
            .map_err(|error| format!("the answer cannot be encoded: {error}"))
    }

    /// An answer that is known already.
    pub fn now<M: Message>(&self, message: &M) -> Framed {
        let answer = self.answer(message);
        Box::pin(async move { answer })
    }
}

/// The first stage: whatever changes a group does so before this returns, in the connection's order.
pub(in crate::api) async fn start(
    server: &Rc<Server>,
    origin: &Origin,
    key: ApiKey,
    frame: &[u8],
    client_id: &str,
    reader: &mut Reader<'_>,
    header: Header,
) -> Result<Framed, Malformed> {
    let call = Call {
        server: server.clone(),
        listener: origin.listener.clone(),
        peer: origin.peer,
        client_id: client_id.into(),
        header,
        frame: frame.into(),
        is_forwarded: false,
    };
    dispatch(call, key, reader).await
}

/// Answers for this shard what a client asked of another one.
pub async fn answer_forwarded(server: &Rc<Server>, request: CoordinateRequest) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(&request.frame);
    let header = RequestHeader::decode(&mut reader).map_err(|refused| refused.to_string())?;
    let call = Call {
        server: server.clone(),
        listener: request.listener.as_str().into(),
        peer: request.peer,
        client_id: header.client_id.as_deref().unwrap_or_default().into(),
        header: Header { version: header.version, correlation_id: header.correlation_id },
        frame: request.frame.as_slice().into(),
        is_forwarded: true,
    };
    let key = header.api.key;
    let started = dispatch(call, key, &mut reader).await;
    started.map_err(|malformed| format!("malformed request: {malformed}"))?.await
}

async fn dispatch(call: Call, key: ApiKey, reader: &mut Reader<'_>) -> Result<Framed, Malformed> {
    match key {
        ApiKey::JoinGroup => join_group::start(call, reader).await,
        ApiKey::SyncGroup => sync_group::start(call, reader).await,
        ApiKey::Heartbeat => heartbeat::start(call, reader).await,
        ApiKey::LeaveGroup => leave_group::start(call, reader).await,
        ApiKey::TxnOffsetCommit => txn_offset_commit::start(call, reader).await,
        ApiKey::OffsetCommit => offset_commit::start(call, reader).await,
        ApiKey::OffsetFetch => offset_fetch::start(call, reader),
        ApiKey::OffsetDelete => offset_delete::start(call, reader).await,
        ApiKey::DescribeGroups => describe_groups::start(call, reader),
        ApiKey::ListGroups => list_groups::start(call, reader),
        ApiKey::DeleteGroups => delete_groups::start(call, reader),
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat::start(call, reader).await,
        ApiKey::ConsumerGroupDescribe => consumer_group_describe::start(call, reader),
        _ => unreachable!("no request to a coordinator"),
    }
}

/// Requests about several groups: the groups of this shard, those of others by owner, and those of nobody.
pub(in crate::api) struct Split<'a> {
    pub here: Vec<(&'a str, Rc<Ledger<Groups>>)>,
    pub there: Vec<(ShardId, Vec<&'a str>)>,
    pub nowhere: Vec<(&'a str, ErrorCode)>,
}

impl<'a> Split<'a> {
    pub fn new(call: &Call, groups: impl Iterator<Item = &'a str>) -> Split<'a> {
        let mut split = Split { here: Vec::new(), there: Vec::new(), nowhere: Vec::new() };
        for group in groups {
            match call.place(group) {
                Place::Here(ledger) => split.here.push((group, ledger)),
                Place::Nowhere(error) => split.nowhere.push((group, error)),
                Place::There(owner) => match split.there.iter_mut().find(|(shard, _)| *shard == owner) {
                    Some((_, groups)) => groups.push(group),
                    None => split.there.push((owner, vec![group])),
                },
            }
        }
        split
    }
}

/// Waits until the answer may be told; else why it may not.
pub(in crate::api) async fn settled<A>(ledger: &Ledger<Groups>, stepped: Result<A, ErrorCode>) -> Result<A, ErrorCode> {
    let answer = stepped?;
    ledger.wait_durable().await?;
    Ok(answer)
}

/// What a client is called that is not told who it talks to: as Java prints its address.
pub(in crate::api) fn host_of(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let segments: Vec<String> = address.segments().iter().map(|segment| format!("{segment:x}")).collect();
            format!("/{}", segments.join(":"))
        }
    }
}
