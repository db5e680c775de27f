//! Messages between shards: one single-producer single-consumer ring per ordered pair, and a doorbell per shard.
//!
//! A message is in the target's sight when `send` returns; a target that spins takes it from there. Only a parked target has
//! to be rung, and that is done once per loop round for all messages of the round. What does not fit into a ring waits in
//! the sender and follows in order.
//!
//! MAIL-1: messages of one pair arrive in the order they were sent. MAIL-2: a target that parks has seen every message sent
//! before, or the sender sees it parked: both sides put a sequentially consistent fence between their write and their read.
//! MAIL-3: an endpoint is used by one thread, the first that uses it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::reactor::Runtime;

/// Messages that one pair's ring holds before they wait in the sender.
pub const RING_MESSAGES: usize = 256;

/// How a shard is woken.
pub(super) struct Doorbell {
    parked: CachePadded<AtomicBool>,
    /// Negative once the shard has ended.
    ring_fd: AtomicI32,
}

impl Doorbell {
    pub fn new(ring_fd: i32) -> Arc<Doorbell> {
        Arc::new(Doorbell { parked: CachePadded::new(AtomicBool::new(false)), ring_fd: AtomicI32::new(ring_fd) })
    }

    /// Announces that this shard is about to wait. The caller looks at its mailboxes once more before it does.
    pub fn park(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// The ring to send a message to, if the shard is parked and nobody else rings. A fence comes before (MAIL-2).
    pub fn answer(&self) -> Option<i32> {
        if !self.parked.load(Ordering::Relaxed) || !self.parked.swap(false, Ordering::AcqRel) {
            return None;
        }
        Some(self.ring_fd.load(Ordering::Relaxed)).filter(|fd| *fd >= 0)
    }

    pub fn end(&self) {
        self.ring_fd.store(-1, Ordering::Relaxed);
    }
}

/// What the loop sees of an endpoint.
pub(super) trait Source {
    /// Messages are there, or room for those that wait.
    fn is_stirring(&self) -> bool;
    /// Messages wait for room, which nobody announces: do not sleep long.
    fn is_congested(&self) -> bool;
    /// Wakes the receiver if there is something to receive; moves what waits into the rings.
    fn tend(&self);
    /// The rings of parked shards that messages were sent to since the last call. A fence comes before (MAIL-2).
    fn doorbells(&self, ring: &mut dyn FnMut(i32));
}

/// One shard's end of a mesh: sends to and receives from every shard in it, itself included.
pub struct Endpoint<T: Send + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// The thread that uses the endpoint; 0 = none yet.
    owner: AtomicU64,
    /// Every shard's doorbell, known once its endpoint is in use.
    doorbells: Arc<[OnceLock<Arc<Doorbell>>]>,
    own: usize,
    /// Touched by the owner only (MAIL-3).
    local: Local<T>,
}

struct Local<T> {
    incoming: Vec<RefCell<Consumer<T>>>,
    outgoing: Vec<RefCell<Producer<T>>>,
    waiting: Vec<RefCell<VecDeque<T>>>,
    /// Whether any of `waiting` is not empty.
    congested: Cell<bool>,
    /// Shards that were sent messages since the bells were last rung.
    touched: Vec<Cell<bool>>,
    /// Where the next receive starts looking, so that no sender is heard first always.
    turn: Cell<usize>,
    receiver: RefCell<Option<Waker>>,
}

// SAFETY: `local` is reached through `Inner::local`, which admits the owning thread only (MAIL-3), or by the last reference in
// `drop`, when nobody else can reach it; there `T: Send` makes dropping on another thread sound, and the receiver's waker is a
// plain number (task/waker.rs) or a `Waker`, which is `Send`. The other fields are `Sync`.
unsafe impl<T: Send> Send for Inner<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inner<T> {}

/// Endpoints of `n` shards, each to be moved to its shard before it is used.
pub fn mesh<T: Send + 'static>(n: usize) -> Vec<Endpoint<T>> {
    mesh_of(n, RING_MESSAGES)
}

fn mesh_of<T: Send + 'static>(n: usize, ring_messages: usize) -> Vec<Endpoint<T>> {
    let doorbells: Arc<[_]> = (0..n).map(|_| OnceLock::new()).collect();
    let mut incoming: Vec<Vec<RefCell<Consumer<T>>>> = (0..n).map(|_| Vec::with_capacity(n)).collect();
    let mut outgoing: Vec<Vec<RefCell<Producer<T>>>> = (0..n).map(|_| Vec::with_capacity(n)).collect();
    for outgoing in &mut outgoing {
        for incoming in &mut incoming {
            let (producer, consumer) = RingBuffer::new(ring_messages);
            outgoing.push(RefCell::new(producer));
            incoming.push(RefCell::new(consumer));
        }
    }
    incoming
        .into_iter()
        .zip(outgoing)
        .enumerate()
        .map(|(own, (incoming, outgoing))| {
            let local = Local {
                incoming,
                outgoing,
                waiting: (0..n).map(|_| RefCell::default()).collect(),
                congested: Cell::new(false),
                touched: vec![Cell::new(false); n],
                turn: Cell::new(0),
                receiver: RefCell::default(),
            };
            let inner = Inner { owner: AtomicU64::new(0), doorbells: doorbells.clone(), own, local };
            Endpoint { inner: Arc::new(inner) }
        })
        .collect()
}

impl<T: Send + 'static> Endpoint<T> {
    /// Which of the mesh this one is.
    pub fn own(&self) -> usize {
        self.inner.own
    }

    /// How many there are.
    pub fn peers(&self) -> usize {
        self.inner.doorbells.len()
    }

    /// Never waits. Messages to a shard that has ended are dropped.
    pub fn send(&self, to: usize, message: T) {
        let local = self.local();
        let waiting = &mut *local.waiting[to].borrow_mut();
        if waiting.is_empty() {
            match local.outgoing[to].borrow_mut().push(message) {
                Ok(()) => {}
                Err(PushError::Full(message)) => {
                    waiting.push_back(message);
                    local.congested.set(true);
                }
            }
        } else {
            waiting.push_back(message);
        }
        if to == self.inner.own {
            if let Some(waker) = local.receiver.take() {
                waker.wake();
            }
        } else {
            local.touched[to].set(true);
            Runtime::with(|rt| rt.messages_sent.set(true));
        }
    }

    /// Messages that did not fit into the ring to `to` and wait here.
    pub fn waiting(&self, to: usize) -> usize {
        self.local().waiting[to].borrow().len()
    }

    pub fn try_recv(&self) -> Option<(usize, T)> {
        let local = self.local();
        let n = local.incoming.len();
        let start = local.turn.get();
        for i in 0..n {
            let from = (start + i) % n;
            if let Ok(message) = local.incoming[from].borrow_mut().pop() {
                local.turn.set((from + 1) % n);
                return Some((from, message));
            }
        }
        None
    }

    /// The next message and who sent it. For one task at a time.
    pub async fn recv(&self) -> (usize, T) {
        std::future::poll_fn(|cx| match self.try_recv() {
            Some(received) => Poll::Ready(received),
            None => {
                *self.local().receiver.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    fn local(&self) -> &Local<T> {
        if self.inner.owner.load(Ordering::Relaxed) == 0 {
            self.bind();
        }
        self.inner.local()
    }

    fn bind(&self) {
        Runtime::with(|rt| {
            let first = self.inner.owner.compare_exchange(0, thread_token(), Ordering::AcqRel, Ordering::Acquire);
            if first.is_ok() {
                let set = self.inner.doorbells[self.inner.own].set(rt.doorbell.clone());
                assert!(set.is_ok(), "MAIL-3: an endpoint belongs to one shard");
                rt.sources.borrow_mut().push(self.inner.clone());
            }
        });
    }
}

/// A number no other living thread has.
fn thread_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static TOKEN: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    TOKEN.with(|token| *token)
}

impl<T> Inner<T> {
    fn local(&self) -> &Local<T> {
        assert_eq!(self.owner.load(Ordering::Relaxed), thread_token(), "MAIL-3: an endpoint belongs to one thread");
        &self.local
    }
}

impl<T: Send + 'static> Source for Inner<T> {
    fn is_stirring(&self) -> bool {
        let local = self.local();
        local.receiver.borrow().is_some() && local.incoming.iter().any(|ring| !ring.borrow().is_empty())
            || local.congested.get()
                && local.waiting.iter().zip(&local.outgoing).any(|(waiting, ring)| {
                    let (waiting, ring) = (waiting.borrow(), ring.borrow());
                    !waiting.is_empty() && (!ring.is_full() || ring.is_abandoned())
                })
    }

    fn is_congested(&self) -> bool {
        self.local().congested.get()
    }

    fn doorbells(&self, ring: &mut dyn FnMut(i32)) {
        for (to, touched) in self.local().touched.iter().enumerate() {
            // A shard that is not there yet looks at its mailboxes before it first parks.
            if touched.replace(false)
                && let Some(fd) = self.doorbells[to].get().and_then(|bell| bell.answer())
            {
                ring(fd);
            }
        }
    }

    fn tend(&self) {
        let local = self.local();
        if local.congested.get() {
            let mut congested = false;
            for (to, (waiting, ring)) in local.waiting.iter().zip(&local.outgoing).enumerate() {
                let (mut waiting, mut ring) = (waiting.borrow_mut(), ring.borrow_mut());
                if ring.is_abandoned() {
                    waiting.clear();
                }
                let mut moved = false;
                while !ring.is_full()
                    && let Some(message) = waiting.pop_front()
                {
                    ring.push(message).unwrap_or_else(|_| unreachable!("the ring has room"));
                    moved = true;
                }
                congested |= !waiting.is_empty();
                if moved && to != self.own {
                    local.touched[to].set(true);
                    Runtime::with(|rt| rt.messages_sent.set(true));
                }
            }
            local.congested.set(congested);
        }
        if local.receiver.borrow().is_some() && local.incoming.iter().any(|ring| !ring.borrow().is_empty()) {
            let waker = local.receiver.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}
