//! Fetch (key 1): reads records, and waits up to `max_wait_ms` until there are `min_bytes` of them.
//!
//! ```text
//! start:   request, and the session that it names -> a plan: partitions, their owners, limits
//! run:     read each partition once -> enough bytes, an error, or the deadline: respond
//! wait:                             -> otherwise wait until a partition's high watermark moves, and count the batches
//!                                      behind those counted before; when there are enough, read once more and respond
//! respond: partition headers, with positions of records between them; in a session, only partitions that changed
//! ```

mod wait;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wait::Counted;

use super::answer::{Answer, COPY_BYTES, Piece, Remote};
use super::fetch_session::{
    AskedPartition, FINAL_EPOCH, INITIAL_EPOCH, Key, Location, NO_SESSION, PartitionNews, Requester, SentOffsets,
    Session, Slot,
};
use super::leader_hint::LeaderHints;
use crate::api::outcome::{Header, Outcome};
use crate::api::pending::Pending;
use crate::api::request::{ClientRequest, Origin};
use crate::api::server::Server;
use crate::log::aborted::AbortedTransaction;
use crate::metadata::{Image, Topic as ImageTopic};
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId};
use crate::partition::fetch::{Fetched, PartitionFetch};
use crate::partition::purgatory::Isolation;
use crate::router::message::{self, CloseReason, MovedSession, RemoteFetched, Reply};
use crate::runtime::buf::Slice;
use crate::runtime::{self, Permit, clock};
use crate::wire::data::fetch::{
    self, EpochEndOffset, FetchHead, FetchPartition, FetchRequest, FetchResponseWriter, PartitionHead,
};
use crate::wire::{ApiKey, Malformed, NodeEndpoint, Topic};

/// The first version of Fetch whose readers understand ZSTD (KIP-110).
const ZSTD_FROM: i16 = 10;
/// The longest wait, even if the request asks for more. The broker detects a disconnected client only when it sends a
/// response.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// One partition of the request, and its owner.
struct Wanted {
    topic: Key,
    partition: PartitionIndex,
    /// The slot of the partition in the session, if there is a session.
    slot: Option<Slot>,
    place: Location,
    request: PartitionFetch,
}

/// The session that a response belongs to.
struct InSession {
    session: Rc<RefCell<Session>>,
    /// The response leaves out partitions that did not change.
    is_incremental: bool,
}

struct Plan {
    header: Header,
    listener: Rc<str>,
    session: Option<InSession>,
    wanted: Vec<Wanted>,
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
    isolation: Isolation,
}

/// The result of reading one partition, on this shard or another.
struct Found {
    error: ErrorCode,
    high_watermark: Offset,
    last_stable_offset: Offset,
    log_start_offset: Offset,
    diverging: Option<(LeaderEpoch, Offset)>,
    records: Vec<Piece>,
    bytes: usize,
    /// The offset behind the last record.
    next_offset: Offset,
    aborted: Vec<AbortedTransaction>,
}

impl Found {
    fn counted(&self, isolation: Isolation) -> Counted {
        Counted {
            bytes: self.bytes,
            next_offset: self.next_offset,
            limit: self.limit(isolation),
            is_exceptional: self.is_exceptional(),
        }
    }

    fn refused(error: ErrorCode) -> Found {
        Fetched::refused(error).into()
    }

    fn limit(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }

    fn is_exceptional(&self) -> bool {
        self.error.is_error() || self.diverging.is_some()
    }

    fn news(&self) -> PartitionNews {
        let offsets = SentOffsets {
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            log_start_offset: self.log_start_offset,
        };
        PartitionNews { offsets, has_records: !self.records.is_empty(), is_exceptional: self.is_exceptional() }
    }
}

impl From<Fetched> for Found {
    fn from(fetched: Fetched) -> Found {
        Found {
            error: fetched.error,
            high_watermark: fetched.high_watermark,
            last_stable_offset: fetched.last_stable_offset,
            log_start_offset: fetched.log_start_offset,
            diverging: fetched.diverging,
            bytes: fetched.read.bytes,
            records: fetched.read.extents.into_iter().map(Piece::Log).collect(),
            next_offset: fetched.read.next_offset,
            aborted: fetched.aborted,
        }
    }
}

impl Found {
    fn of_remote(shard: ShardId, fetched: RemoteFetched) -> Found {
        let records = fetched.records.into_iter();
        Found {
            error: fetched.error,
            high_watermark: fetched.high_watermark,
            last_stable_offset: fetched.last_stable_offset,
            log_start_offset: fetched.log_start_offset,
            diverging: fetched.diverging,
            bytes: fetched.bytes,
            records: records
                .map(|(stretch, copied)| Piece::Remote(Remote { shard, stretch, copied: Slice::from(copied) }))
                .collect(),
            next_offset: fetched.next_offset,
            aborted: fetched.aborted,
        }
    }
}

pub(in crate::api) fn start(client: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let ClientRequest { server, origin, header, mut body, .. } = client;
    let request = FetchRequest::decode(&mut body, header.version)?;
    let image = server.shard.image();
    let session = match open_session(server, &image, &request, header.version) {
        Ok(session) => session,
        // KIP-227: a session error applies to the whole response, which then names no partitions.
        Err(error_code) => return Ok(Pending::Now(refuse(server, header, error_code))),
    };
    origin.session.set(session.as_ref().map_or(NO_SESSION, |in_session| in_session.session.borrow().id));
    let isolation = isolation_of(request.isolation_level);
    let knows_zstd = header.version >= ZSTD_FROM;
    let mut wanted: Vec<Wanted> = match &session {
        None => all_asked(server, &image, &request, knows_zstd),
        Some(InSession { session, .. }) => {
            let session = session.borrow();
            let wanted = session.partitions().map(|(slot, key, partition, asked, place)| Wanted {
                topic: key.clone(),
                partition,
                slot: Some(slot),
                place: *place,
                request: read_request(asked, isolation, knows_zstd),
            });
            wanted.collect()
        }
    };
    for (_, owner) in wanted.iter().filter_map(|wanted| wanted.place.ok()) {
        origin.traffic.note(owner);
    }
    // Kafka's limit for the partitions behind the first one is never negative.
    if request.max_bytes < 0
        && let Some(first) = wanted.iter_mut().find(|wanted| wanted.place.is_ok())
    {
        first.request.has_negative_limit = true;
    }
    let bytes_max = (request.max_bytes.max(0) as usize).min(server.shard.config().fetch_max_bytes as usize);
    let plan = Plan {
        header,
        listener: origin.listener.clone(),
        session,
        wanted,
        bytes_max,
        // A response never holds more than `bytes_max`.
        bytes_min: (request.min_bytes.max(0) as usize).min(bytes_max),
        wait: Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX),
        isolation,
    };
    let server = server.clone();
    Ok(Pending::Fetch(Box::pin(async move { plan.run(&server).await })))
}

/// Opens, closes or advances the session that the request names.
fn open_session(
    server: &Server,
    image: &Image,
    request: &FetchRequest<'_>,
    version: i16,
) -> Result<Option<InSession>, ErrorCode> {
    let requester = Requester {
        is_by_id: version >= 13,
        is_follower: request.replica_id >= 0,
        now_ms: clock::now().as_nanos() / 1_000_000,
    };
    let asked = request.partitions.iter().map(|part| (part.topic, part.partition, asked(part)));
    let mut locate = locate_in(server, image);
    let mut sessions = server.fetch_sessions.borrow_mut();
    match request.session_epoch {
        INITIAL_EPOCH | FINAL_EPOCH => {
            if request.session_id != NO_SESSION {
                sessions.remove(request.session_id);
            }
            if request.session_epoch == FINAL_EPOCH {
                return Ok(None);
            }
            let session = sessions.create(requester, runtime::random_u64, asked, image.index, &mut locate);
            Ok(session.map(|session| InSession { session, is_incremental: false }))
        }
        epoch => {
            let at = (request.session_id, epoch);
            let session = sessions.advance(at, requester, asked, &request.forgotten, &mut locate)?;
            Ok(session.map(|session| {
                session.borrow_mut().renew(image.index, &mut locate);
                InSession { session, is_incremental: true }
            }))
        }
    }
}

/// Locates the partitions of a session.
fn locate_in<'a>(
    server: &'a Server,
    image: &'a Image,
) -> impl FnMut(&Key, &mut Option<Rc<str>>, PartitionIndex) -> Location + 'a {
    |key, known_as, partition| {
        let topic = look_up(image, key.topic(), known_as.as_deref())?;
        if matches!(key, Key::Id(_)) && known_as.is_none() {
            *known_as = Some(topic.name.as_str().into());
        }
        server.locate(image, topic, partition)
    }
}

/// Takes the session of a connection that moves to another shard. All its requests are answered.
pub fn take_session(server: &Server, origin: &Origin) -> Option<MovedSession> {
    server.fetch_sessions.borrow_mut().take(origin.session.get())
}

/// Adopts the session of a connection that came from another shard.
pub fn adopt_session(server: &Server, origin: &Origin, moved: MovedSession) {
    origin.session.set(moved.id);
    let image = server.shard.image();
    let now_ms = clock::now().as_nanos() / 1_000_000;
    server.fetch_sessions.borrow_mut().adopt(moved, now_ms, image.index, &mut locate_in(server, &image));
}

/// The partitions of a full fetch without a session.
fn all_asked(server: &Server, image: &Image, request: &FetchRequest<'_>, knows_zstd: bool) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(request.partitions.len());
    let mut last = None;
    for part in &request.partitions {
        let (topic, key) = match last {
            Some((same, topic, key)) if same == part.topic => (topic, key),
            _ => (look_up(image, part.topic, None), Key::from(part.topic)),
        };
        wanted.push(Wanted {
            topic: key.clone(),
            partition: part.partition,
            slot: None,
            place: topic.and_then(|topic| server.locate(image, topic, part.partition)),
            request: read_request(&asked(part), isolation_of(request.isolation_level), knows_zstd),
        });
        last = Some((part.topic, topic, key));
    }
    wanted
}

/// `known_as`: the name that the topic had, if the request gives its id.
fn look_up<'a>(image: &'a Image, topic: Topic<'_>, known_as: Option<&str>) -> Result<&'a ImageTopic, ErrorCode> {
    let found = match topic {
        Topic::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        Topic::Id(id) => image.topic_by_id(id).ok_or_else(|| match known_as.and_then(|name| image.topic(name)) {
            Some(_) => ErrorCode::InconsistentTopicId,
            None => ErrorCode::UnknownTopicId,
        }),
    };
    found.map(|topic| &**topic)
}

fn asked(part: &FetchPartition<'_>) -> AskedPartition {
    AskedPartition {
        current_leader_epoch: LeaderEpoch(part.current_leader_epoch),
        fetch_offset: Offset(part.fetch_offset),
        last_fetched_epoch: LeaderEpoch(part.last_fetched_epoch),
        bytes_max: part.partition_max_bytes,
    }
}

/// On the wire: 0 is READ_UNCOMMITTED, 1 is READ_COMMITTED.
pub(in crate::api) fn isolation_of(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

fn read_request(asked: &AskedPartition, isolation: Isolation, knows_zstd: bool) -> PartitionFetch {
    PartitionFetch {
        fetch_offset: asked.fetch_offset,
        bytes_max: asked.bytes_max.max(0) as usize,
        has_negative_limit: asked.bytes_max < 0,
        current_leader_epoch: asked.current_leader_epoch,
        last_fetched_epoch: asked.last_fetched_epoch,
        isolation,
        at_least_one: false,
        knows_zstd,
    }
}

impl Plan {
    async fn run(self, server: &Rc<Server>) -> Outcome {
        let stages = &server.requests.fetch;
        let begun = clock::now();
        let (deadline, mut waited) = (begun + self.wait, Duration::ZERO);
        loop {
            let (found, copies) = self.read(server).await;
            let counted = found.iter().map(|found| found.counted(self.isolation));
            let now = clock::now();
            if self.is_enough(counted.clone()) || now >= deadline {
                stages.read.observe(now.since(begun).saturating_sub(waited));
                if !waited.is_zero() {
                    stages.wait.observe(waited);
                }
                return self.respond(server, found, copies);
            }
            let counted = counted.collect();
            // A fetch that waits holds no records, and no copies of other shards' records.
            drop((found, copies));
            let waiting = stages.waiting.enter();
            self.wait_for_enough(server, counted, deadline).await;
            drop(waiting);
            waited += now.elapsed();
        }
    }

    /// Reads each partition once: this shard's partitions in place, other shards' by message. Returns the permit for
    /// the bytes copied from other shards.
    async fn read(&self, server: &Rc<Server>) -> (Vec<Found>, Option<Permit>) {
        let refused = |wanted: &Wanted| Found::refused(wanted.place.err().unwrap_or(ErrorCode::NotLeaderOrFollower));
        let mut found: Vec<Found> = self.wanted.iter().map(refused).collect();
        let own = server.shard.id;
        let mut left = self.bytes_max;
        let mut is_empty = true;
        if self.wanted.iter().all(|wanted| wanted.place.is_ok_and(|(_, owner)| owner == own)) {
            self.read_local(server, &mut found, &mut left, &mut is_empty).await;
            return (found, None);
        }
        let copies = server.copies.acquire(COPY_BYTES as u64).await;
        // Shards take turns in reading first; within a shard, partitions are read in the request's order.
        let shards = usize::from(server.shard.shards);
        let first = server.rotation.get();
        server.rotation.set((first + 1) % shards);
        for turn in 0..shards {
            let shard = ShardId(((first + turn) % shards) as u16);
            if shard == own {
                self.read_local(server, &mut found, &mut left, &mut is_empty).await;
            } else {
                self.read_remote(server, shard, &mut found, &mut left, &mut is_empty).await;
            }
        }
        (found, Some(copies))
    }

    async fn read_local(&self, server: &Server, found: &mut [Found], left: &mut usize, is_empty: &mut bool) {
        for (wanted, found) in self.wanted.iter().zip(found) {
            let Ok((id, owner)) = wanted.place else { continue };
            if owner != server.shard.id {
                continue;
            }
            let bytes_max = wanted.request.bytes_max.min(*left);
            let request = PartitionFetch { bytes_max, at_least_one: *is_empty, ..wanted.request };
            *found = match server.shard.partition(id) {
                Some(partition) => partition.fetch(&request).await.into(),
                None => Found::refused(server.shard.error_without(id)),
            };
            *left = left.saturating_sub(found.bytes);
            *is_empty &= found.bytes == 0;
        }
    }

    async fn read_remote(
        &self,
        server: &Server,
        shard: ShardId,
        found: &mut [Found],
        left: &mut usize,
        is_empty: &mut bool,
    ) {
        let is_owned = |wanted: &Wanted| wanted.place.is_ok_and(|(_, owner)| owner == shard);
        let owned = self.wanted.iter().filter(|wanted| is_owned(wanted));
        let partitions: Vec<_> = owned
            .map(|wanted| {
                let (id, _) = wanted.place.expect("filtered");
                (id, PartitionFetch { at_least_one: *is_empty, ..wanted.request })
            })
            .collect();
        if partitions.is_empty() {
            return;
        }
        let copy_max = COPY_BYTES / usize::from(server.shard.shards - 1);
        let request = message::ShardRequest::Fetch { partitions, bytes_max: *left, copy_max };
        let Reply::Fetched(fetched) = server.router.call(shard, request).reply().await else {
            unreachable!("a fetch call is answered by Fetched")
        };
        let places = self.wanted.iter().zip(found).filter(|(wanted, _)| is_owned(wanted));
        for ((_, found), fetched) in places.zip(fetched) {
            *found = Found::of_remote(shard, fetched);
            *left = left.saturating_sub(found.bytes);
            *is_empty &= found.bytes == 0;
        }
    }

    fn respond(self, server: &Rc<Server>, mut found: Vec<Found>, copies: Option<Permit>) -> Outcome {
        let named: Vec<usize> = match &self.session {
            Some(InSession { session, is_incremental }) => {
                let mut session = session.borrow_mut();
                let is_named = |at: &usize| {
                    let wanted = &self.wanted[*at];
                    let slot = wanted.slot.expect("partitions of a session have one");
                    session.record_sent(slot, &wanted.topic, wanted.partition, found[*at].news()) || !is_incremental
                };
                let named = (0..found.len()).filter(is_named).collect();
                session.end_response();
                named
            }
            None => (0..found.len()).collect(),
        };
        let session_id = self.session.as_ref().map_or(NO_SESSION, |in_session| in_session.session.borrow().id);
        let head = FetchHead { throttle_time_ms: 0, error_code: ErrorCode::None, session_id };
        let topics = named.chunk_by(|a, b| self.wanted[*a].topic == self.wanted[*b].topic);
        let Header { version, correlation_id } = self.header;
        let mut writer = FetchResponseWriter::new(version, correlation_id, head, topics.clone().count());
        let image = server.shard.image();
        let mut hints = LeaderHints::new(&image, &self.listener);
        let is_read_committed = self.isolation == Isolation::ReadCommitted;
        for partitions in topics {
            writer.topic(self.wanted[partitions[0]].topic.topic(), partitions.len());
            for at in partitions {
                let (wanted, found) = (&self.wanted[*at], &mut found[*at]);
                note(server, wanted, found);
                let mut head = PartitionHead {
                    high_watermark: found.high_watermark.0,
                    last_stable_offset: found.last_stable_offset.0,
                    log_start_offset: found.log_start_offset.0,
                    // As in Kafka: an empty list for a partition that is not on this broker; null for other errors and
                    // for READ_UNCOMMITTED.
                    aborted_transactions: (is_read_committed && !found.error.is_error() || wanted.place.is_err())
                        .then(|| found.aborted.drain(..).map(on_the_wire).collect()),
                    ..PartitionHead::refused(wanted.partition, found.error)
                };
                if let Some((epoch, end_offset)) = found.diverging {
                    head.diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: end_offset.0 };
                }
                // KIP-951: saves the client a Metadata request.
                if version >= 16 && matches!(found.error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
                {
                    head.current_leader = hints.leader(wanted.topic.topic(), wanted.partition);
                }
                writer.partition(&head, std::mem::take(&mut found.records));
            }
        }
        send(writer, hints.endpoints(), copies)
    }
}

/// Counts a partition of a response. The records of another shard's partition were counted there.
fn note(server: &Server, wanted: &Wanted, found: &Found) {
    if found.error.is_error() {
        server.requests.failed(ApiKey::Fetch, found.error);
    }
    if found.bytes > 0
        && let Ok((id, owner)) = wanted.place
        && owner == server.shard.id
        && let Some(partition) = server.shard.partition(id)
    {
        partition.traffic.note_fetch(found.next_offset - wanted.request.fetch_offset, found.bytes);
    }
}

fn on_the_wire(aborted: AbortedTransaction) -> fetch::AbortedTransaction {
    fetch::AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset.0 }
}

/// A response with a session error and no partitions.
fn refuse(server: &Server, header: Header, error_code: ErrorCode) -> Outcome {
    server.requests.failed(ApiKey::Fetch, error_code);
    let head = FetchHead { throttle_time_ms: 0, error_code, session_id: NO_SESSION };
    send(FetchResponseWriter::new(header.version, header.correlation_id, head, 0), &[], None)
}

fn send(writer: FetchResponseWriter<Piece>, endpoints: &[NodeEndpoint<'_>], copies: Option<Permit>) -> Outcome {
    match writer.finish(endpoints) {
        Ok(pieces) => {
            let pieces = pieces.into_iovec(Slice::from, |head: &Slice, range| Piece::Bytes(head.slice(range)));
            Outcome::Send(Answer::new(pieces, copies))
        }
        Err(error) => Outcome::Close(CloseReason::UnencodableResponse(error)),
    }
}
