//! What a request means: one file per Kafka API, and the one place that picks the file.
//!
//! In: a frame, and who it came from. Out: a [`Pending`] answer. Handling has two stages. The first, [`start`], runs in
//! the order of the connection's requests and does what order matters for: it appends, or sends the append across. The
//! second, [`Pending::finish`], waits for what must be waited for (durability, records to read, the controller) and
//! encodes; the connection finishes its answers in order.
//!
//! It does not know sockets and files. Versions end here: nothing below sees one.

pub mod admin;
pub mod controller;
pub mod data;
mod gather;
pub mod group;
pub mod remote;
pub mod txn;

use admin::{acls, api_versions, describe_log_dirs};
use data::{delete_records, fetch, fetch_session, list_offsets, offset_for_leader_epoch, produce};
use group::coordinate;
use txn::{
    add_offsets_to_txn, add_partitions_to_txn, describe_producers, describe_transactions, end_txn, init_producer_id,
    list_transactions, transactions, write_txn_markers,
};

pub use admin::context::Context;
pub use data::answer::Answer;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use crate::controller::Controller;
use crate::coordinator::Ledgers;
use crate::coordinator::group::Groups;
use crate::disk::StorageError;
use crate::metadata::{Image, Topic};
use crate::model::{ErrorCode, NodeId, PartitionIndex, ProducerId, ShardId, TopicPartition};
use crate::router::Router;
use crate::runtime::{self, Permits};
use crate::shard::Shard;
use crate::wire::frame::{Refused, RequestHeader};
use crate::wire::{self, ApiKey, Malformed, Message, Reader};

/// What one shard's connections need to answer requests.
pub struct Server {
    pub shard: Rc<Shard>,
    pub router: Rc<Router>,
    /// On the controller's shard: the controller.
    seat: RefCell<Option<Rc<controller::Seat>>>,
    /// Bytes of other shards' records in answers that are not sent yet.
    copies: Permits,
    /// Bytes of batches on their way to other shards.
    crossing: Permits,
    /// Which shard's partitions a multi-shard fetch reads first; moves on so that none starves.
    rotation: Cell<usize>,
    fetch_sessions: RefCell<fetch_session::Cache>,
    transactions: transactions::Coordinator,
    /// The groups that this shard coordinates.
    groups: Ledgers<Groups>,
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name: answers name brokers by their addresses on it.
    pub listener: Rc<str>,
    /// Whose partitions the connection's requests are for.
    pub traffic: Traffic,
    /// The client's address.
    pub peer: IpAddr,
}

impl Origin {
    pub fn new(listener: &str) -> Origin {
        Origin { listener: listener.into(), traffic: Traffic::default(), peer: Ipv4Addr::UNSPECIFIED.into() }
    }

    /// The same for one client.
    pub fn of(&self, peer: IpAddr) -> Origin {
        Origin { peer, ..self.clone() }
    }
}

/// Which shard a connection talks to, as far as its last requests tell.
#[derive(Clone, Default, Debug)]
pub struct Traffic {
    owner: Cell<u16>,
    streak: Cell<u32>,
}

impl Traffic {
    /// So many partitions in a row of one other shard, and the connection belongs there. One request across costs two
    /// messages and a copy; a hand-over costs about ten of those.
    const STREAK: u32 = 64;

    fn note(&self, owner: ShardId) {
        let streak = if self.owner.replace(owner.0) == owner.0 { self.streak.get() + 1 } else { 1 };
        self.streak.set(streak);
    }

    /// The shard that the connection should move to.
    pub fn belongs_to(&self) -> Option<ShardId> {
        (self.streak.get() >= Traffic::STREAK).then(|| ShardId(self.owner.get()))
    }
}

/// What is to be done about a request, once it is known.
pub enum Outcome {
    /// Send this: a whole frame.
    Send(Answer),
    /// A request that wants no answer (Produce with acks=0).
    Nothing,
    /// Close the connection: there is no way to answer, and why.
    Close(String),
}

impl Outcome {
    fn frame(bytes: Vec<u8>) -> Outcome {
        Outcome::Send(bytes.into())
    }

    fn of<M: Message>(message: &M, header: &Header) -> Outcome {
        match wire::frame::encode_response(message, header.version, header.correlation_id) {
            Ok(frame) => Outcome::frame(frame),
            Err(error) => Outcome::Close(format!("the answer cannot be encoded: {error}")),
        }
    }
}

/// A request's header, without the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub version: i16,
    pub correlation_id: i32,
}

/// An answer that may have to be waited for.
pub enum Pending {
    Now(Outcome),
    Produce(produce::Pending),
    /// A fetch that may wait long, and changes nothing: nobody need finish it for a reader who has gone.
    Fetch(Pin<Box<dyn Future<Output = Outcome>>>),
    Later(Pin<Box<dyn Future<Output = Outcome>>>),
}

impl Pending {
    fn later(future: impl Future<Output = Outcome> + 'static) -> Pending {
        Pending::Later(Box::pin(future))
    }

    /// What [`finish`](Self::finish) comes to, if it need not wait. If not, this is still to be finished, by the same task.
    pub async fn finish_now(&mut self) -> Option<Outcome> {
        match self {
            Pending::Produce(produce) if produce.is_ready() => {}
            Pending::Now(_) => {}
            // What a fetch finds depends on when it looks: not before its turn.
            Pending::Produce(_) | Pending::Fetch(_) => return None,
            Pending::Later(future) => {
                let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
                return match polled {
                    Poll::Ready(outcome) => Some(outcome),
                    Poll::Pending => None,
                };
            }
        }
        Some(std::mem::replace(self, Pending::Now(Outcome::Nothing)).finish().await)
    }

    pub async fn finish(self) -> Outcome {
        match self {
            Pending::Now(outcome) => outcome,
            Pending::Produce(produce) => produce.finish().await,
            Pending::Fetch(future) | Pending::Later(future) => future.await,
        }
    }
}

impl From<Malformed> for Pending {
    fn from(malformed: Malformed) -> Pending {
        Pending::Now(Outcome::Close(format!("malformed request: {malformed}")))
    }
}

impl Server {
    pub fn new(shard: Rc<Shard>, router: Rc<Router>) -> Rc<Server> {
        let slots = shard.config.fetch_session_slots as usize;
        let copies = Permits::new(shard.config.memory_bytes / 16);
        let crossing = Permits::new(shard.config.memory_bytes / 16);
        let fetch_sessions = RefCell::new(fetch_session::Cache::new(shard.id, shard.shards, slots));
        let transactions = transactions::Coordinator::new(&shard);
        let config = shard.config.clone();
        let groups = Ledgers::new(&shard, move || Groups::new(config.clone(), runtime::random_u64));
        let server = Rc::new(Server {
            shard,
            router,
            seat: RefCell::new(None),
            copies,
            crossing,
            rotation: Cell::new(0),
            fetch_sessions,
            transactions,
            groups,
        });
        transactions::Coordinator::start(&server);
        server
    }

    /// Makes this shard the controller's.
    pub fn seat(self: &Rc<Self>, controller: Controller) {
        let seat = controller::Seat::take(self, controller);
        *self.seat.borrow_mut() = Some(seat);
    }

    /// Takes a newer image: when it returns, its partitions are served here, and those that it lacks are gone.
    pub async fn apply_image(&self, image: Arc<Image>) -> Result<(), StorageError> {
        let applied = self.shard.apply_image(image).await;
        self.transactions.ledgers.apply_image();
        self.groups.apply_image();
        applied
    }

    /// Whether a request might have to wait for memory or the journal before it is started.
    pub fn is_pressed(&self) -> bool {
        self.shard.is_pressed() || self.crossing.is_contended()
    }

    /// Sees to it that no producer id up to `highest` is given to anybody: a log that another cluster has begun remembers it,
    /// and would take a new producer's first batch for one that it has.
    pub async fn reserve_producer_ids(self: &Rc<Self>, highest: ProducerId) -> Result<(), String> {
        transactions::reserve_producer_ids(self, highest).await
    }

    /// A graceful stop of the shard.
    pub async fn stop(&self) -> Result<(), String> {
        self.shard.stop().await
    }

    fn node(&self) -> NodeId {
        self.shard.node
    }

    /// The shard of this node that serves a partition, if this node leads it.
    fn locate(
        &self,
        image: &Image,
        topic: &Topic,
        partition: PartitionIndex,
    ) -> Result<(TopicPartition, ShardId), ErrorCode> {
        let Some(state) = topic.partition(partition) else { return Err(ErrorCode::UnknownTopicOrPartition) };
        debug_assert!(image.topic_by_id(topic.id).is_some());
        if state.leader != Some(self.node()) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let id = TopicPartition { topic: topic.id, partition };
        Ok((id, self.shard.owner(id)))
    }
}

/// The first stage: decodes one frame (without its length) and does what must happen in order. Waits only when memory
/// or the journal is short.
pub async fn start(server: &Rc<Server>, origin: &Origin, frame: &[u8]) -> Pending {
    let mut reader = Reader::new(frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(Refused::UnknownApiVersions { correlation_id, .. }) => {
            // KIP-511: answered so that every client can read it, whatever version it asked with.
            return Pending::Now(Outcome::frame(wire::admin::api_versions::unsupported_version(correlation_id)));
        }
        Err(refused) => return Pending::Now(Outcome::Close(refused.to_string())),
    };
    let (key, version, client_id) = (header.api.key, header.version, header.client_id.unwrap_or_default());
    let header = Header { version, correlation_id: header.correlation_id };
    let started = match key {
        ApiKey::Produce => produce::start(server, origin, &client_id, &mut reader, header).await,
        ApiKey::Fetch => fetch::start(server, origin, &mut reader, header),
        ApiKey::ListOffsets => list_offsets::start(server, &mut reader, header),
        ApiKey::DescribeAcls => acls::describe(&mut reader, header),
        ApiKey::CreateAcls => acls::create(&mut reader, header),
        ApiKey::DeleteAcls => acls::delete(&mut reader, header),
        ApiKey::DescribeLogDirs => describe_log_dirs::start(server, &mut reader, header),
        ApiKey::DeleteRecords => delete_records::start(server, &mut reader, header),
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::start(server, &mut reader, header),
        ApiKey::ApiVersions => api_versions::start(server, &mut reader, header),
        ApiKey::InitProducerId => init_producer_id::start(server, &mut reader, header),
        ApiKey::AddPartitionsToTxn => add_partitions_to_txn::start(server, &mut reader, header),
        ApiKey::AddOffsetsToTxn => add_offsets_to_txn::start(server, &mut reader, header),
        ApiKey::EndTxn => end_txn::start(server, &mut reader, header),
        ApiKey::DescribeTransactions => describe_transactions::start(server, &mut reader, header),
        ApiKey::ListTransactions => list_transactions::start(server, &mut reader, header),
        ApiKey::WriteTxnMarkers => write_txn_markers::start(server, &mut reader, header),
        ApiKey::DescribeProducers => describe_producers::start(server, &mut reader, header),
        ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::OffsetCommit
        | ApiKey::TxnOffsetCommit
        | ApiKey::OffsetFetch
        | ApiKey::OffsetDelete
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteGroups
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::ConsumerGroupDescribe => {
            let framed = coordinate::start(server, origin, key, frame, &client_id, &mut reader, header).await;
            framed.map(|framed| {
                Pending::later(async move {
                    match framed.await {
                        Ok(frame) => Outcome::frame(frame),
                        Err(why) => Outcome::Close(why),
                    }
                })
            })
        }
        _ => remote::start_admin(server, origin, key, frame, &mut reader, header),
    };
    started.unwrap_or_else(Pending::from)
}
