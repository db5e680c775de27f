//! One connection: a reading task that starts requests in order, and a writing task that answers them in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::addresses::Counted;
use super::frames::{self, Budget, Found, FrameError, Partial};
use crate::api::{self, Answer, Origin, Outcome, Pending, Server};
use crate::config::Routing;
use crate::model::ShardId;
use crate::router::message::{HandOver, Message, RecordsLost};
use crate::runtime::clock::{self, Mono};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class, First, Received, Stream};
use crate::wire::ApiKey;

/// The limit of requests of one connection that are started and not answered (NET-3). Clients send up to a few dozen.
pub const IN_FLIGHT_MAX: usize = 256;
/// The writer gathers responses into one send up to this size.
const SEND_BYTES: usize = 1 << 20;

/// The reason why a response could not be sent as a whole. It closes the connection.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Records(#[from] RecordsLost),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Received bytes: in a buffer of the shard's pool, or copied out of it.
enum ReceivedBytes {
    Pool(Received),
    /// The bytes from a position on.
    Own(Vec<u8>, usize),
}

impl ReceivedBytes {
    /// The bytes after the first `used`.
    fn after(mut self, used: usize) -> ReceivedBytes {
        match &mut self {
            ReceivedBytes::Pool(received) => received.advance(used),
            ReceivedBytes::Own(_, from) => *from += used,
        }
        self
    }
}

impl Deref for ReceivedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ReceivedBytes::Pool(received) => received,
            ReceivedBytes::Own(bytes, from) => &bytes[*from..],
        }
    }
}

/// The life of a connection.
///
/// ```text
/// Open -> Draining -> Closed      the reading task has ended; started requests are still answered
/// Open -> Closed                  closed at once
/// Open -> HandedOver              another shard serves the socket now
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ConnectionState {
    Open,
    Draining,
    HandedOver,
    Closed,
}

impl ConnectionState {
    fn may_become(self, next: ConnectionState) -> bool {
        use ConnectionState::*;
        matches!((self, next), (Open, Draining | HandedOver | Closed) | (Draining, Closed))
    }
}

/// The part of a request that its response needs.
#[derive(Clone, Copy)]
struct RequestId {
    /// The number of the request on its connection, from 0.
    number: u64,
    /// `None`: no such API is served.
    key: Option<ApiKey>,
    /// The time of the receive that had its last byte.
    received: Mono,
    /// The end of its first stage.
    started: Mono,
}

/// The responses of one send.
#[derive(Default)]
struct Outgoing {
    answer: Answer,
    /// The Produce and Fetch requests that they answer.
    produced: u64,
    fetched: u64,
}

/// A client's connection on the shard that serves it.
pub struct Connection {
    server: Rc<Server>,
    receiving: Rc<Budget>,
    stream: Stream,
    origin: Origin,
    /// Requests that are started and not answered.
    pipeline: RefCell<VecDeque<(RequestId, Pending)>>,
    requests_started: Cell<u64>,
    requests_answered: Cell<u64>,
    /// A request was added to the pipeline, or the state has changed.
    started: Notify,
    /// Responses were sent, or the state has changed.
    finished: Notify,
    /// The connection is no longer open.
    ended: Notify,
    state: Cell<ConnectionState>,
    is_writing: Cell<bool>,
    last_active: Cell<Mono>,
    /// The time of the latest receive.
    received_at: Cell<Mono>,
    /// The time of the receive that had the first byte of the incomplete request.
    partial_since: Cell<Mono>,
    /// The end of the latest first stage.
    started_at: Cell<Mono>,
    /// A large request is being received, and memory is reserved for it.
    is_receiving: Cell<bool>,
    /// Counts the connection for its address while it is open.
    _counted: Option<Counted>,
}

impl Connection {
    /// `receiving` is the memory for large requests of all connections of the shard.
    pub fn new(
        server: Rc<Server>,
        receiving: Rc<Budget>,
        stream: Stream,
        origin: Origin,
        counted: Option<Counted>,
    ) -> Rc<Connection> {
        let now = clock::now();
        Rc::new(Connection {
            server,
            receiving,
            stream,
            origin,
            pipeline: RefCell::new(VecDeque::new()),
            requests_started: Cell::new(0),
            requests_answered: Cell::new(0),
            started: Notify::new(),
            finished: Notify::new(),
            ended: Notify::new(),
            state: Cell::new(ConnectionState::Open),
            is_writing: Cell::new(false),
            last_active: Cell::new(now),
            received_at: Cell::new(now),
            partial_since: Cell::new(now),
            started_at: Cell::new(now),
            is_receiving: Cell::new(false),
            _counted: counted,
        })
    }

    /// Serves the connection until it ends. `received` are bytes that the previous shard read and did not start.
    pub async fn run(self: Rc<Self>, received: Vec<u8>) {
        let writer = runtime::spawn(Class::Foreground, "connection write", self.clone().write());
        if let Err(error) = self.read(received).await {
            tracing::debug!("{}: {error}", self.stream.peer_addr());
            if !matches!(error, FrameError::Io(_)) {
                self.close();
            }
        }
        if self.is_open() {
            self.enter(ConnectionState::Draining);
        }
        writer.await;
        self.close();
    }

    /// The time since bytes were last received or sent.
    pub fn idle_for(&self) -> Duration {
        self.last_active.get().elapsed()
    }

    /// The name of its listener.
    pub fn listener(&self) -> &Rc<str> {
        &self.origin.listener
    }

    /// Whether a large request is being received.
    pub fn is_receiving(&self) -> bool {
        self.is_receiving.get()
    }

    /// Closes the connection at once, unless another shard serves it.
    pub fn close(&self) {
        if !self.is_over() {
            self.stream.shutdown();
            self.enter(ConnectionState::Closed);
        }
    }

    fn enter(&self, next: ConnectionState) {
        let state = self.state.replace(next);
        assert!(state.may_become(next), "a connection goes from {state:?} to {next:?}");
        self.started.notify_all();
        self.finished.notify_all();
        self.ended.notify_all();
    }

    fn is_open(&self) -> bool {
        self.state.get() == ConnectionState::Open
    }

    /// Whether this shard no longer uses the socket.
    fn is_over(&self) -> bool {
        matches!(self.state.get(), ConnectionState::Closed | ConnectionState::HandedOver)
    }

    // ---- reading ------------------------------------------------------------------------------------------------

    async fn read(&self, received: Vec<u8>) -> Result<(), FrameError> {
        let bytes_max = self.server.shard.config().request_bytes_max();
        let mut partial = Partial::default();
        self.take(ReceivedBytes::Own(received, 0), &mut partial, bytes_max).await?;
        while !self.is_over() {
            if let Some(shard) = self.other_owner()
                && self.hand_over(shard, &partial).await?
            {
                return Ok(());
            }
            if partial.is_large(bytes_max)? {
                let on_progress = || {
                    self.is_receiving.set(true);
                    self.note_receive();
                };
                let large = partial.receive(&self.stream, bytes_max, &self.receiving, on_progress).await?;
                self.is_receiving.set(false);
                // A large request is served here, and the connection moves after it: its memory is this shard's.
                self.is_for_another_shard(large.frame());
                self.start(large.frame(), self.partial_since.get()).await;
                continue;
            }
            let received = self.stream.recv().await?;
            if received.is_empty() {
                return if partial.is_empty() { Ok(()) } else { Err(FrameError::Torn) };
            }
            self.note_receive();
            self.take(ReceivedBytes::Pool(received), &mut partial, bytes_max).await?;
        }
        Ok(())
    }

    /// The shard that owns the partitions of this connection's requests, if it is another one. In direct routing the
    /// client has chosen the shard by its port, and the connection stays.
    fn other_owner(&self) -> Option<ShardId> {
        let shard = &self.server.shard;
        let moves = shard.routing != Routing::Direct;
        self.origin.traffic.belongs_to().filter(|owner| moves && *owner != shard.id)
    }

    /// In steer routing: whether the frame is the first request that needs one shard, and needs another shard than
    /// this. The connection then moves before the request starts.
    fn is_for_another_shard(&self, frame: &[u8]) -> bool {
        let shard = &self.server.shard;
        if shard.routing != Routing::Steer || self.origin.is_steered() {
            return false;
        }
        let Some(owner) = api::shard_addressed(&self.server, frame) else { return false };
        self.origin.steer(owner, shard.id);
        owner != shard.id
    }

    /// Moves the connection to another shard, with the bytes that were received and not started. All started requests
    /// are answered first (NET-1). Returns false if the connection has closed meanwhile.
    async fn hand_over(&self, shard: ShardId, partial: &Partial) -> Result<bool, FrameError> {
        while !self.is_drained() && !self.is_over() {
            self.finished.notified().await;
        }
        if self.is_over() {
            return Ok(false);
        }
        // The tasks of this shard stop using the socket before its descriptor moves, and do not shut it down.
        self.enter(ConnectionState::HandedOver);
        let peer = self.stream.peer_addr();
        let (socket, rest) = self.stream.clone().into_fd().await?;
        let received = [partial.bytes(), &rest].concat();
        let listener = self.origin.listener.to_string();
        let session = api::take_fetch_session(&self.server, &self.origin);
        let hand_over = HandOver { socket, peer, received, session, listener };
        self.server.router.send(shard, Message::Adopt(Box::new(hand_over)));
        Ok(true)
    }

    /// Whether all responses of started requests are sent.
    fn is_drained(&self) -> bool {
        self.pipeline.borrow().is_empty() && !self.is_writing.get()
    }

    /// Starts every whole frame, and keeps the rest in `partial`: an incomplete frame, or the bytes for the shard that
    /// the connection moves to.
    async fn take(&self, mut bytes: ReceivedBytes, partial: &mut Partial, bytes_max: usize) -> Result<(), FrameError> {
        if !partial.is_empty() {
            let (rest, is_whole) = partial.extend(&bytes, bytes_max)?;
            let used = bytes.len() - rest.len();
            if !is_whole {
                return Ok(());
            }
            if self.is_for_another_shard(partial.whole()) {
                partial.append(&bytes.after(used));
                return Ok(());
            }
            bytes = self.without_pool(bytes.after(used));
            self.start(partial.whole(), self.partial_since.get()).await;
            partial.clear();
        }
        while !bytes.is_empty() {
            bytes = self.without_pool(bytes);
            let Found::Frame(frame, rest) = frames::first(&bytes, bytes_max)? else { break };
            let used = bytes.len() - rest.len();
            if self.is_for_another_shard(frame) {
                break;
            }
            self.start(frame, self.received_at.get()).await;
            bytes = bytes.after(used);
        }
        if !bytes.is_empty() {
            partial.start(&bytes);
            self.partial_since.set(self.received_at.get());
        }
        Ok(())
    }

    /// Copies bytes that may have to wait out of the pool, whose buffers all connections share.
    fn without_pool(&self, bytes: ReceivedBytes) -> ReceivedBytes {
        match bytes {
            ReceivedBytes::Pool(received)
                if self.server.is_pressed() || self.pipeline.borrow().len() >= IN_FLIGHT_MAX =>
            {
                ReceivedBytes::Own(received.to_vec(), 0)
            }
            bytes => bytes,
        }
    }

    fn note_receive(&self) {
        let now = clock::now();
        self.last_active.set(now);
        self.received_at.set(now);
    }

    /// Runs the first stage of a request, whose first byte arrived at `since`.
    async fn start(&self, frame: &[u8], since: Mono) {
        let mut begun = self.received_at.get().max(self.started_at.get());
        while self.pipeline.borrow().len() >= IN_FLIGHT_MAX && !self.is_over() {
            self.finished.notified().await;
            begun = clock::now();
        }
        if self.is_over() {
            return;
        }
        let (key, received) = (api::key_of(frame), self.received_at.get());
        let pending = api::start(&self.server, &self.origin, frame).await;
        let started = clock::now();
        self.started_at.set(started);
        let requests = &self.server.requests;
        if let Some(key) = key {
            requests.started(key, frame.len());
        }
        let (produce, fetch) = (&requests.produce, &requests.fetch);
        let stages = match key {
            Some(ApiKey::Produce) => Some([&produce.receive, &produce.queue, &produce.append]),
            Some(ApiKey::Fetch) => Some([&fetch.receive, &fetch.queue, &fetch.plan]),
            _ => None,
        };
        if let Some([receive, queue, first]) = stages {
            receive.observe(received.since(since));
            queue.observe(begun.since(received));
            first.observe(started.since(begun));
        }
        let number = self.requests_started.get();
        self.requests_started.set(number + 1);
        self.pipeline.borrow_mut().push_back((RequestId { number, key, received, started }, pending));
        assert!(
            self.pipeline.borrow().len() <= IN_FLIGHT_MAX,
            "NET-3: a connection starts at most {IN_FLIGHT_MAX} requests ahead of its responses"
        );
        self.started.notify_all();
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    async fn write(self: Rc<Self>) {
        loop {
            let next = self.pipeline.borrow_mut().pop_front();
            let Some((request, pending)) = next else {
                if !self.is_open() {
                    return;
                }
                self.started.notified().await;
                continue;
            };
            self.is_writing.set(true);
            let mut outgoing = Outgoing::default();
            let finished = self.finish(pending).await;
            // One reading for all responses of this send.
            let ready = clock::now();
            let mut closes = match finished {
                Some(outcome) => self.put(request, outcome, ready, &mut outgoing),
                None => return self.close(),
            };
            // Responses that are ready leave in the same system call.
            while !closes && outgoing.answer.bytes() < SEND_BYTES {
                let next = self.pipeline.borrow_mut().pop_front();
                let Some((request, mut next)) = next else { break };
                match next.finish_now().await {
                    Some(outcome) => closes = self.put(request, outcome, ready, &mut outgoing),
                    None => {
                        self.pipeline.borrow_mut().push_front((request, next));
                        break;
                    }
                }
            }
            let Outgoing { answer, produced, fetched } = outgoing;
            let is_sent = self.send(answer).await;
            let now = clock::now();
            match is_sent {
                Ok(()) => self.server.requests.sent(produced, fetched, now.since(ready)),
                Err(error) => {
                    tracing::debug!("{}: closing: {error}", self.stream.peer_addr());
                    closes = true;
                }
            }
            self.is_writing.set(false);
            self.finished.notify_all();
            self.last_active.set(now);
            if closes || self.is_over() {
                self.close();
                return;
            }
        }
    }

    /// Waits for the outcome of a request. Returns `None` for a fetch that waits for records after its client has gone.
    async fn finish(&self, pending: Pending) -> Option<Outcome> {
        let Pending::Fetch(fetch) = pending else { return Some(pending.finish().await) };
        let client_gone = async {
            while self.is_open() {
                self.ended.notified().await;
            }
        };
        match runtime::first(fetch, client_gone).await {
            First::Left(outcome) => Some(outcome),
            First::Right(()) => None,
        }
    }

    /// Sends responses as fast as the client reads. While the socket has no room, they hold no memory of the shard.
    async fn send(&self, mut answer: Answer) -> Result<(), SendError> {
        while answer.bytes() > 0 {
            let (window, bytes) = answer.window(&self.server).await?;
            let sent = self.stream.send_some(window).await?;
            answer.advance(sent);
            if sent > 0 {
                self.last_active.set(clock::now());
            }
            if sent < bytes {
                answer.release_copies();
                self.stream.writable().await?;
            }
        }
        Ok(())
    }

    /// Adds the response of a request to the next send. Returns true if the connection must close after it.
    fn put(&self, request: RequestId, outcome: Outcome, ready: Mono, outgoing: &mut Outgoing) -> bool {
        let RequestId { number, key, received, started } = request;
        assert_eq!(number, self.requests_answered.get(), "NET-1: responses leave in the order of the requests");
        self.requests_answered.set(number + 1);
        let requests = &self.server.requests;
        match (key, &outcome) {
            (None, _) => {}
            (Some(key), Outcome::Send(more)) => {
                requests.answered(key, more.bytes(), ready.since(received));
                outgoing.produced += u64::from(key == ApiKey::Produce);
                outgoing.fetched += u64::from(key == ApiKey::Fetch);
                if key == ApiKey::Produce {
                    // A request whose batches were all refused waited for no commit.
                    let committed = self.server.shard.committed_at().max(received);
                    requests.produce.commit.observe(committed.since(started));
                    requests.produce.answer.observe(ready.since(committed));
                }
            }
            (Some(key), Outcome::Nothing) => requests.answered(key, 0, ready.since(received)),
            (Some(key), Outcome::Close(_)) => requests.closed(key),
        }
        match outcome {
            Outcome::Send(more) => {
                outgoing.answer.append(more);
                false
            }
            Outcome::Nothing => false,
            Outcome::Close(reason) => {
                tracing::debug!("{}: closing: {reason}", self.stream.peer_addr());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionState::{self, *};

    #[test]
    fn only_an_open_connection_is_handed_over_or_drained() {
        let check = |from: ConnectionState, legal: &[ConnectionState]| {
            for next in [Open, Draining, HandedOver, Closed] {
                assert_eq!(from.may_become(next), legal.contains(&next), "{from:?} to {next:?}");
            }
        };
        check(Open, &[Draining, HandedOver, Closed]);
        check(Draining, &[Closed]);
        check(HandedOver, &[]);
        check(Closed, &[]);
    }
}
