//! Fetch (key 1): reads, and waits for what is not there yet.
//!
//! ```text
//! start:  request, and the session it names -> a plan: partitions, where they are, limits
//! run:    read every partition once -> enough, or an error, or late? answer : wait until one of them moves, and again
//! answer: heads, and where the records are between them; of a session only what is news
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::answer::{Answer, COPY_BYTES, Piece, Remote};
use super::fetch_session::{
    Asked, Asker, FINAL_EPOCH, INITIAL_EPOCH, Key, NO_SESSION, News, Place, Session, Slot, Told,
};
use super::leader_hint::LeaderHints;
use crate::api::outcome::{Header, Outcome};
use crate::api::pending::Pending;
use crate::api::request::ClientRequest;
use crate::api::server::Server;
use crate::log::aborted::AbortedTransaction;
use crate::metadata::{Image, Topic as ImageTopic};
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId, TopicPartition};
use crate::partition::Partition;
use crate::partition::fetch::{Fetched, Request};
use crate::partition::purgatory::{Isolation, Registration, Waiter};
use crate::router::message::{self, RemoteFetched, Reply};
use crate::runtime::buf::Slice;
use crate::runtime::clock::Mono;
use crate::runtime::{self, Permit, clock};
use crate::wire::data::fetch::{
    self, EpochEndOffset, FetchHead, FetchPartition, FetchRequest, FetchResponseWriter, PartitionHead,
};
use crate::wire::{Malformed, NodeEndpoint, Topic};

/// The version of Fetch from which on a reader is known to understand ZSTD (KIP-110).
const ZSTD_FROM: i16 = 10;
/// Nobody waits longer than this, whatever he asks for: who is gone is found out when he is answered.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// One partition that is asked for, and where it is.
struct Wanted {
    topic: Key,
    partition: PartitionIndex,
    /// Its place in the session, if there is one.
    slot: Option<Slot>,
    place: Place,
    request: Request,
}

/// The session that an answer belongs to.
struct InSession {
    session: Rc<RefCell<Session>>,
    /// Only news is told.
    is_incremental: bool,
}

/// The shards that will say when one of their partitions moves.
type Watched = Rc<RefCell<Vec<ShardId>>>;

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

/// What one partition answers, wherever it is.
struct Found {
    error: ErrorCode,
    high_watermark: Offset,
    last_stable_offset: Offset,
    log_start_offset: Offset,
    diverging: Option<(LeaderEpoch, Offset)>,
    records: Vec<Piece>,
    bytes: usize,
    /// Where the reader goes on.
    next_offset: Offset,
    aborted: Vec<AbortedTransaction>,
}

impl Found {
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

    fn news(&self) -> News {
        let told = Told {
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            log_start_offset: self.log_start_offset,
        };
        News { told, has_records: !self.records.is_empty(), is_exceptional: self.is_exceptional() }
    }

    /// There is more than the limits let through.
    fn is_cut(&self, isolation: Isolation) -> bool {
        !self.is_exceptional() && self.next_offset < self.limit(isolation)
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
        // KIP-227: an error of the session is one of the whole answer, which then names no partitions.
        Err(error_code) => return Ok(Pending::Now(refuse(header, error_code))),
    };
    let isolation = isolation_of(request.isolation_level);
    let knows_zstd = header.version >= ZSTD_FROM;
    let wanted = match &session {
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
    for (_, owner) in wanted.iter().filter_map(|wanted: &Wanted| wanted.place.ok()) {
        origin.traffic.note(owner);
    }
    let bytes_max = (request.max_bytes.max(0) as usize).min(server.shard.config.fetch_max_bytes as usize);
    let plan = Plan {
        header,
        listener: origin.listener.clone(),
        session,
        wanted,
        bytes_max,
        // More than fits will never be there.
        bytes_min: (request.min_bytes.max(0) as usize).min(bytes_max),
        wait: Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX),
        isolation,
    };
    let server = server.clone();
    Ok(Pending::Fetch(Box::pin(async move { plan.run(&server).await })))
}

/// What the request has to do with a session: opens, closes, or goes on with one.
fn open_session(
    server: &Server,
    image: &Image,
    request: &FetchRequest<'_>,
    version: i16,
) -> Result<Option<InSession>, ErrorCode> {
    let asker = Asker {
        is_by_id: version >= 13,
        is_follower: request.replica_id >= 0,
        now_ms: clock::now().as_nanos() / 1_000_000,
    };
    let asked = request.partitions.iter().map(|part| (part.topic, part.partition, asked(part)));
    let mut locate = |key: &Key, known_as: &mut Option<Rc<str>>, partition| {
        let topic = look_up(image, key.topic(), known_as.as_deref())?;
        if matches!(key, Key::Id(_)) && known_as.is_none() {
            *known_as = Some(topic.name.as_str().into());
        }
        server.locate(image, topic, partition)
    };
    let mut sessions = server.fetch_sessions.borrow_mut();
    match request.session_epoch {
        INITIAL_EPOCH | FINAL_EPOCH => {
            if request.session_id != NO_SESSION {
                sessions.remove(request.session_id);
            }
            if request.session_epoch == FINAL_EPOCH {
                return Ok(None);
            }
            let session = sessions.create(asker, runtime::random_u64, asked, image.index, &mut locate);
            Ok(session.map(|session| InSession { session, is_incremental: false }))
        }
        epoch => {
            let at = (request.session_id, epoch);
            let session = sessions.advance(at, asker, asked, &request.forgotten, &mut locate)?;
            Ok(session.map(|session| {
                session.borrow_mut().renew(image.index, &mut locate);
                InSession { session, is_incremental: true }
            }))
        }
    }
}

/// A full fetch's partitions, outside of any session.
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

/// `known_as` is the name that a topic asked for by id had before.
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

fn asked(part: &FetchPartition<'_>) -> Asked {
    Asked {
        current_leader_epoch: part.current_leader_epoch,
        fetch_offset: part.fetch_offset,
        last_fetched_epoch: part.last_fetched_epoch,
        bytes_max: part.partition_max_bytes,
    }
}

/// On the wire, 0 and 1.
pub(in crate::api) fn isolation_of(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

fn read_request(asked: &Asked, isolation: Isolation, knows_zstd: bool) -> Request {
    Request {
        fetch_offset: asked.fetch_offset,
        bytes_max: asked.bytes_max.max(0) as usize,
        current_leader_epoch: asked.current_leader_epoch,
        last_fetched_epoch: asked.last_fetched_epoch,
        isolation,
        at_least_one: false,
        knows_zstd,
    }
}

impl Plan {
    async fn run(self, server: &Rc<Server>) -> Outcome {
        let deadline = clock::now() + self.wait;
        let waiter = Waiter::new(self.isolation);
        let mut registration = None;
        let watched = Watched::default();
        loop {
            let (found, copies) = self.read(server).await;
            if self.is_enough(&found) || clock::now() >= deadline {
                return self.answer(server, found, copies);
            }
            drop(copies);
            // Only who has to wait stands in line.
            registration.get_or_insert_with(|| Registration::new(waiter.clone(), self.local_partitions(server)));
            // What moved between the reading and the standing in line would not be told.
            if !self.has_moved(server, &found) {
                self.watch_others(server, &found, &watched, deadline, &waiter);
                let _ = runtime::timeout(deadline.since(clock::now()), waiter.fired()).await;
            }
        }
    }

    fn is_enough(&self, found: &[Found]) -> bool {
        let bytes: usize = found.iter().map(|found| found.bytes).sum();
        bytes >= self.bytes_min
            || self.wanted.is_empty()
            || found.iter().any(|found| found.is_exceptional() || bytes > 0 && found.is_cut(self.isolation))
    }

    fn local_partitions(&self, server: &Server) -> Vec<Rc<Partition>> {
        let own = server.shard.id;
        let here = self.wanted.iter().filter_map(|wanted| wanted.place.ok()).filter(|(_, owner)| *owner == own);
        here.filter_map(|(id, _)| server.shard.partition(id)).collect()
    }

    fn has_moved(&self, server: &Server, found: &[Found]) -> bool {
        self.wanted.iter().zip(found).any(|(wanted, found)| match wanted.place {
            Ok((id, owner)) if owner == server.shard.id => server.shard.partition(id).is_none_or(|partition| {
                partition.is_deleted() || partition.limit(self.isolation) != found.limit(self.isolation)
            }),
            _ => false,
        })
    }

    /// One call to each other shard for all its partitions, unless one is under way: it will be answered when one of them
    /// passes what was seen first.
    fn watch_others(&self, server: &Server, found: &[Found], watched: &Watched, deadline: Mono, waiter: &Rc<Waiter>) {
        let mut calls: Vec<(ShardId, Vec<(TopicPartition, Offset)>)> = Vec::new();
        for (wanted, found) in self.wanted.iter().zip(found) {
            let Ok((id, owner)) = wanted.place else { continue };
            if owner == server.shard.id || watched.borrow().contains(&owner) {
                continue;
            }
            match calls.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, partitions)) => partitions.push((id, found.limit(self.isolation))),
                None => calls.push((owner, vec![(id, found.limit(self.isolation))])),
            }
        }
        for (shard, partitions) in calls {
            let wait_ms = (deadline.since(clock::now())).as_millis() as u64 + 1;
            let call =
                server.router.call(shard, message::Request::Watch { partitions, isolation: self.isolation, wait_ms });
            watched.borrow_mut().push(shard);
            let (waiter, watched) = (waiter.clone(), watched.clone());
            runtime::spawn(runtime::Class::Foreground, "fetch watch", async move {
                call.reply().await;
                watched.borrow_mut().retain(|other| *other != shard);
                waiter.fire();
            });
        }
    }

    /// Reads every partition once: this shard's from where they are, others' by message; then with the permit for what
    /// is copied.
    async fn read(&self, server: &Rc<Server>) -> (Vec<Found>, Option<Permit>) {
        let refused = |wanted: &Wanted| Found::refused(wanted.place.err().unwrap_or(ErrorCode::NotLeaderOrFollower));
        let mut found: Vec<Found> = self.wanted.iter().map(refused).collect();
        let own = server.shard.id;
        let mut left = self.bytes_max;
        let mut is_empty = true;
        if self.wanted.iter().all(|wanted| wanted.place.is_ok_and(|(_, owner)| owner == own)) {
            self.read_here(server, &mut found, &mut left, &mut is_empty).await;
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
                self.read_here(server, &mut found, &mut left, &mut is_empty).await;
            } else {
                self.read_there(server, shard, &mut found, &mut left, &mut is_empty).await;
            }
        }
        (found, Some(copies))
    }

    async fn read_here(&self, server: &Server, found: &mut [Found], left: &mut usize, is_empty: &mut bool) {
        for (wanted, found) in self.wanted.iter().zip(found) {
            let Ok((id, owner)) = wanted.place else { continue };
            if owner != server.shard.id {
                continue;
            }
            let bytes_max = wanted.request.bytes_max.min(*left);
            let request = Request { bytes_max, at_least_one: *is_empty, ..wanted.request };
            if let Some(partition) = server.shard.partition(id) {
                *found = partition.fetch(&request).await.into();
            }
            *left = left.saturating_sub(found.bytes);
            *is_empty &= found.bytes == 0;
        }
    }

    async fn read_there(
        &self,
        server: &Server,
        shard: ShardId,
        found: &mut [Found],
        left: &mut usize,
        is_empty: &mut bool,
    ) {
        let is_there = |wanted: &Wanted| wanted.place.is_ok_and(|(_, owner)| owner == shard);
        let there = self.wanted.iter().filter(|wanted| is_there(wanted));
        let partitions: Vec<_> = there
            .map(|wanted| {
                let (id, _) = wanted.place.expect("filtered");
                (id, Request { at_least_one: *is_empty, ..wanted.request })
            })
            .collect();
        if partitions.is_empty() {
            return;
        }
        let copy_max = COPY_BYTES / usize::from(server.shard.shards - 1);
        let request = message::Request::Fetch { partitions, bytes_max: *left, copy_max };
        let Reply::Fetched(fetched) = server.router.call(shard, request).reply().await else {
            unreachable!("a fetch call is answered by Fetched")
        };
        let places = self.wanted.iter().zip(found).filter(|(wanted, _)| is_there(wanted));
        for ((_, found), fetched) in places.zip(fetched) {
            *found = Found::of_remote(shard, fetched);
            *left = left.saturating_sub(found.bytes);
            *is_empty &= found.bytes == 0;
        }
    }

    fn answer(self, server: &Rc<Server>, mut found: Vec<Found>, copies: Option<Permit>) -> Outcome {
        let told: Vec<usize> = match &self.session {
            Some(InSession { session, is_incremental }) => {
                let mut session = session.borrow_mut();
                let is_told = |at: &usize| {
                    let wanted = &self.wanted[*at];
                    let slot = wanted.slot.expect("partitions of a session have one");
                    session.tell(slot, &wanted.topic, wanted.partition, found[*at].news()) || !is_incremental
                };
                let told = (0..found.len()).filter(is_told).collect();
                session.end_turn();
                told
            }
            None => (0..found.len()).collect(),
        };
        let session_id = self.session.as_ref().map_or(NO_SESSION, |in_session| in_session.session.borrow().id);
        let head = FetchHead { throttle_time_ms: 0, error_code: ErrorCode::None, session_id };
        let topics = told.chunk_by(|a, b| self.wanted[*a].topic == self.wanted[*b].topic);
        let Header { version, correlation_id } = self.header;
        let mut writer = FetchResponseWriter::new(version, correlation_id, head, topics.clone().count());
        let image = server.shard.image();
        let mut hints = LeaderHints::new(&image, &self.listener);
        let is_read_committed = self.isolation == Isolation::ReadCommitted;
        for partitions in topics {
            writer.topic(self.wanted[partitions[0]].topic.topic(), partitions.len());
            for at in partitions {
                let (wanted, found) = (&self.wanted[*at], &mut found[*at]);
                let mut head = PartitionHead {
                    high_watermark: found.high_watermark,
                    last_stable_offset: found.last_stable_offset,
                    log_start_offset: found.log_start_offset,
                    // Of a partition that is not here Kafka says that there are none; null is "not asked for", and goes with
                    // other errors.
                    aborted_transactions: (is_read_committed && !found.error.is_error() || wanted.place.is_err())
                        .then(|| found.aborted.drain(..).map(on_the_wire).collect()),
                    ..PartitionHead::refused(wanted.partition, found.error)
                };
                if let Some((epoch, end_offset)) = found.diverging {
                    head.diverging_epoch = EpochEndOffset { epoch, end_offset };
                }
                // KIP-951: so that the reader need not ask for metadata first.
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

fn on_the_wire(aborted: AbortedTransaction) -> fetch::AbortedTransaction {
    fetch::AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset }
}

/// What is wrong with the session, and no partitions.
fn refuse(header: Header, error_code: ErrorCode) -> Outcome {
    let head = FetchHead { throttle_time_ms: 0, error_code, session_id: NO_SESSION };
    send(FetchResponseWriter::new(header.version, header.correlation_id, head, 0), &[], None)
}

fn send(writer: FetchResponseWriter<Piece>, endpoints: &[NodeEndpoint<'_>], copies: Option<Permit>) -> Outcome {
    match writer.finish(endpoints) {
        Ok(pieces) => {
            let pieces = pieces.into_iovec(Slice::from, |head: &Slice, range| Piece::Bytes(head.slice(range)));
            Outcome::Send(Answer::new(pieces, copies))
        }
        Err(error) => Outcome::Close(format!("the response cannot be encoded: {error}")),
    }
}
