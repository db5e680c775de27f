//! One connection: a reading side that starts requests in order, and a writing side that finishes them in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::frames::{self, Budget, Found, FrameError, Partial};
use crate::api::{self, Answer, Origin, Outcome, Pending, Server};
use crate::config::Routing;
use crate::model::ShardId;
use crate::router::message::{HandOver, Message};
use crate::runtime::clock::{self, Mono};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class, First, Received, Stream};

/// Requests of one connection that may be started and not answered. Clients send up to a few dozen.
pub const IN_FLIGHT_MAX: usize = 256;
/// Answers are gathered into one send up to this size.
const SEND_BYTES: usize = 1 << 20;

/// Bytes that were received, in the shard's pool or not any more.
enum Bytes {
    Pool(Received),
    /// From so many on.
    Own(Vec<u8>, usize),
}

impl Bytes {
    /// Without the first `used`.
    fn after(mut self, used: usize) -> Bytes {
        match &mut self {
            Bytes::Pool(received) => received.advance(used),
            Bytes::Own(_, from) => *from += used,
        }
        self
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Pool(received) => received,
            Bytes::Own(bytes, from) => &bytes[*from..],
        }
    }
}

pub struct Connection {
    server: Rc<Server>,
    receiving: Rc<Budget>,
    stream: Stream,
    origin: Origin,
    pipeline: RefCell<VecDeque<Pending>>,
    started: Notify,
    finished: Notify,
    /// The reading side has ended, or the connection was closed.
    ended: Notify,
    /// The reading side has ended: when the pipeline is empty, the connection is done.
    is_read: Cell<bool>,
    is_closed: Cell<bool>,
    is_writing: Cell<bool>,
    last_active: Cell<Mono>,
    /// A large request is on its way, and memory is set aside for it.
    is_receiving: Cell<bool>,
}

impl Connection {
    pub fn new(server: Rc<Server>, receiving: Rc<Budget>, stream: Stream, origin: Origin) -> Rc<Connection> {
        Rc::new(Connection {
            server,
            receiving,
            stream,
            origin,
            pipeline: RefCell::new(VecDeque::new()),
            started: Notify::new(),
            finished: Notify::new(),
            ended: Notify::new(),
            is_read: Cell::new(false),
            is_closed: Cell::new(false),
            is_writing: Cell::new(false),
            last_active: Cell::new(clock::now()),
            is_receiving: Cell::new(false),
        })
    }

    /// Serves the connection to its end.
    pub async fn run(self: Rc<Self>, received: Vec<u8>) {
        let writer = runtime::spawn(Class::Foreground, "connection write", self.clone().write());
        if let Err(error) = self.read(received).await {
            tracing::debug!("{}: {error}", self.stream.peer_addr());
            if !matches!(error, FrameError::Io(_)) {
                self.close();
            }
        }
        self.is_read.set(true);
        self.started.notify_all();
        self.ended.notify_all();
        writer.await;
        self.close();
    }

    /// Nothing has come or gone for this long.
    pub fn idle_for(&self) -> Duration {
        self.last_active.get().elapsed()
    }

    /// Whether it is in the middle of a large request.
    pub fn is_receiving(&self) -> bool {
        self.is_receiving.get()
    }

    /// Ends the connection now.
    pub fn close(&self) {
        if !self.is_closed.replace(true) {
            self.stream.shutdown();
            self.started.notify_all();
            self.finished.notify_all();
            self.ended.notify_all();
        }
    }

    // ---- reading ------------------------------------------------------------------------------------------------

    async fn read(&self, received: Vec<u8>) -> Result<(), FrameError> {
        let bytes_max = self.server.shard.config.request_bytes_max();
        let mut partial = Partial::default();
        self.take(Bytes::Own(received, 0), &mut partial, bytes_max).await?;
        while !self.is_closed.get() {
            if let Some(shard) = self.belongs_elsewhere()
                && self.hand_over(shard, &partial).await?
            {
                return Ok(());
            }
            if partial.is_large(bytes_max)? {
                let sign = || {
                    self.is_receiving.set(true);
                    self.last_active.set(clock::now());
                };
                let large = partial.receive(&self.stream, bytes_max, &self.receiving, sign).await?;
                self.is_receiving.set(false);
                self.start(large.frame()).await;
                continue;
            }
            let received = self.stream.recv().await?;
            if received.is_empty() {
                return if partial.is_empty() { Ok(()) } else { Err(FrameError::Torn) };
            }
            self.last_active.set(clock::now());
            self.take(Bytes::Pool(received), &mut partial, bytes_max).await?;
        }
        Ok(())
    }

    /// In forward routing: the other shard that owns what this connection asks for.
    fn belongs_elsewhere(&self) -> Option<ShardId> {
        let shard = &self.server.shard;
        let forwards = shard.config.routing == Routing::Forward;
        self.origin.traffic.belongs_to().filter(|owner| forwards && *owner != shard.id)
    }

    /// Moves the connection to another shard, with what was received and not started. NET-1 holds: everything started
    /// here is answered first. False: the connection has ended meanwhile.
    async fn hand_over(&self, shard: ShardId, partial: &Partial) -> Result<bool, FrameError> {
        while !self.is_settled() && !self.is_closed.get() {
            self.finished.notified().await;
        }
        if self.is_closed.get() {
            return Ok(false);
        }
        // From here on nobody uses this end of the connection, and its end does not shut the socket.
        self.is_closed.set(true);
        let peer = self.stream.peer_addr();
        let (socket, rest) = self.stream.clone().into_fd().await?;
        let received = [partial.bytes(), &rest].concat();
        let listener = self.origin.listener.to_string();
        let hand_over = HandOver { socket, peer, received, listener };
        self.server.router.send(shard, Message::Adopt(Box::new(hand_over)));
        self.started.notify_all();
        Ok(true)
    }

    /// Everything that was started has been sent.
    fn is_settled(&self) -> bool {
        self.pipeline.borrow().is_empty() && !self.is_writing.get()
    }

    /// Starts every whole frame; keeps the rest for later.
    async fn take(&self, mut bytes: Bytes, partial: &mut Partial, bytes_max: usize) -> Result<(), FrameError> {
        if !partial.is_empty() {
            let (rest, is_whole) = partial.extend(&bytes, bytes_max)?;
            let used = bytes.len() - rest.len();
            if !is_whole {
                return Ok(());
            }
            bytes = self.without_pool(bytes.after(used));
            self.start(partial.whole()).await;
            partial.clear();
        }
        while !bytes.is_empty() {
            bytes = self.without_pool(bytes);
            let Found::Frame(frame, rest) = frames::first(&bytes, bytes_max)? else { break };
            let used = bytes.len() - rest.len();
            self.start(frame).await;
            bytes = bytes.after(used);
        }
        if !bytes.is_empty() {
            partial.start(&bytes);
        }
        Ok(())
    }

    /// Pool buffers are for everybody: bytes that may have to wait for a while are copied out.
    fn without_pool(&self, bytes: Bytes) -> Bytes {
        match bytes {
            Bytes::Pool(received) if self.server.is_pressed() || self.pipeline.borrow().len() >= IN_FLIGHT_MAX => {
                Bytes::Own(received.to_vec(), 0)
            }
            bytes => bytes,
        }
    }

    async fn start(&self, frame: &[u8]) {
        // NET-3
        while self.pipeline.borrow().len() >= IN_FLIGHT_MAX && !self.is_closed.get() {
            self.finished.notified().await;
        }
        if self.is_closed.get() {
            return;
        }
        let pending = api::start(&self.server, &self.origin, frame).await;
        self.pipeline.borrow_mut().push_back(pending);
        self.started.notify_all();
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    async fn write(self: Rc<Self>) {
        loop {
            let next = self.pipeline.borrow_mut().pop_front();
            let Some(next) = next else {
                if self.is_read.get() || self.is_closed.get() {
                    return;
                }
                self.started.notified().await;
                continue;
            };
            self.is_writing.set(true);
            let mut answer = Answer::default();
            let mut closes = match self.finish(next).await {
                Some(outcome) => self.put(outcome, &mut answer),
                None => return self.close(),
            };
            // What is ready behind it leaves in the same system call.
            while !closes && answer.bytes() < SEND_BYTES {
                let next = self.pipeline.borrow_mut().pop_front();
                let Some(mut next) = next else { break };
                match next.finish_now().await {
                    Some(outcome) => closes = self.put(outcome, &mut answer),
                    None => {
                        self.pipeline.borrow_mut().push_front(next);
                        break;
                    }
                }
            }
            if let Err(why) = self.send(answer).await {
                tracing::debug!("{}: closing: {why}", self.stream.peer_addr());
                closes = true;
            }
            self.is_writing.set(false);
            self.finished.notify_all();
            self.last_active.set(clock::now());
            if closes || self.is_closed.get() {
                self.close();
                return;
            }
        }
    }

    /// Waits for what is to be done about a request. `None`: it is a fetch that waits for records, and its reader has gone.
    async fn finish(&self, pending: Pending) -> Option<Outcome> {
        let Pending::Fetch(fetch) = pending else { return Some(pending.finish().await) };
        let gone = async {
            while !self.is_read.get() && !self.is_closed.get() {
                self.ended.notified().await;
            }
        };
        match runtime::first(fetch, gone).await {
            First::Left(outcome) => Some(outcome),
            First::Right(()) => None,
        }
    }

    /// Sends an answer at the reader's pace. While the socket has no room, the answer holds no memory of the shard.
    async fn send(&self, mut answer: Answer) -> Result<(), String> {
        while answer.bytes() > 0 {
            let (window, bytes) = answer.window(&self.server).await?;
            let sent = self.stream.send_some(window).await.map_err(|error| error.to_string())?;
            answer.advance(sent);
            if sent > 0 {
                self.last_active.set(clock::now());
            }
            if sent < bytes {
                answer.let_go();
                self.stream.writable().await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Adds to what is sent next; true when the connection is to be closed behind it.
    fn put(&self, outcome: Outcome, answer: &mut Answer) -> bool {
        match outcome {
            Outcome::Send(more) => {
                answer.append(more);
                false
            }
            Outcome::Nothing => false,
            Outcome::Close(why) => {
                tracing::debug!("{}: closing: {why}", self.stream.peer_addr());
                true
            }
        }
    }
}
