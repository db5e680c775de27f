//! Messages between shards: one single-producer single-consumer ring per ordered pair of shards, and a doorbell per
//! shard.
//!
//! A message is visible to the target when `send` returns; a target that spins takes it at once. Only a parked target
//! needs a wake-up, which the sender's loop sends once per round for all messages of the round. Messages that do not
//! fit into a ring wait in the sender, and follow in order.
//!
//! MAIL-1: messages of one pair arrive in the order in which they were sent.
//! MAIL-2: a shard that parks has seen every earlier message, or the sender sees that the shard is parked.
//! MAIL-3: only one thread uses an endpoint: the first thread that calls it.
//!
//! For MAIL-2, both sides put a sequentially consistent fence between their write and their read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::reactor::Runtime;

/// The capacity of one pair's ring. Further messages wait in the sender.
pub const RING_MESSAGES: usize = 256;

/// The wake-up of a parked shard.
pub(super) struct Doorbell {
    parked: CachePadded<AtomicBool>,
    /// Negative after the shard has ended.
    ring_fd: AtomicI32,
}

impl Doorbell {
    pub fn new(ring_fd: i32) -> Arc<Doorbell> {
        Arc::new(Doorbell { parked: CachePadded::new(AtomicBool::new(false)), ring_fd: AtomicI32::new(ring_fd) })
    }

    /// Announces that this shard is about to park. The caller must check its mailboxes again before it waits.
    pub fn park(&self) {
        assert!(!self.parked.load(Ordering::Relaxed), "MAIL-2: a shard announces a park once");
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// The ring of a parked shard that no other shard wakes. The caller issues a fence first (MAIL-2).
    pub fn claim_wake_up(&self) -> Option<i32> {
        if !self.parked.load(Ordering::Relaxed) || !self.parked.swap(false, Ordering::AcqRel) {
            return None;
        }
        Some(self.ring_fd.load(Ordering::Relaxed)).filter(|fd| *fd >= 0)
    }

    pub fn end(&self) {
        self.ring_fd.store(-1, Ordering::Relaxed);
    }
}

/// The event loop's view of an endpoint.
pub(super) trait Source {
    /// Whether messages arrived, or waiting messages have room.
    fn has_work(&self) -> bool;
    /// Whether messages wait for room in a ring. No wake-up announces room, so the shard must not park for long.
    fn is_congested(&self) -> bool;
    /// Wakes the receiver if messages arrived, and moves waiting messages into the rings.
    fn service(&self);
    /// Calls `wake` with the rings of parked shards that got messages since the last call. The caller issues a fence
    /// first (MAIL-2).
    fn wake_targets(&self, wake: &mut dyn FnMut(i32));
}

/// One shard's end of a mesh: sends to and receives from every shard of the mesh, including itself.
pub struct Endpoint<T: Send + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// The token of the thread that uses the endpoint; 0 before the first use.
    owner: AtomicU64,
    /// The doorbell of each shard, set at the first use of its endpoint.
    doorbells: Arc<[OnceLock<Arc<Doorbell>>]>,
    own: usize,
    /// Only the owner accesses it (MAIL-3).
    local: Local<T>,
}

struct Local<T> {
    incoming: Vec<RefCell<Consumer<T>>>,
    outgoing: Vec<RefCell<Producer<T>>>,
    waiting: Vec<RefCell<VecDeque<T>>>,
    /// Whether any queue of `waiting` has messages.
    congested: Cell<bool>,
    /// The shards that got messages since the last call of `wake_targets`.
    has_sent: Vec<Cell<bool>>,
    /// The sender that the next receive checks first. It rotates, for fairness.
    turn: Cell<usize>,
    receiver: RefCell<Option<Waker>>,
}

// SAFETY: `Inner::local` admits only the owning thread to `local` (MAIL-3). The drop of the last reference may run on
// another thread, with exclusive access: `T` is `Send`, and so is the receiver's `Waker`. The other fields are `Sync`.
unsafe impl<T: Send> Send for Inner<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inner<T> {}

/// Makes the endpoints of `n` shards. Move each to its shard before its first use.
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
                has_sent: vec![Cell::new(false); n],
                turn: Cell::new(0),
                receiver: RefCell::default(),
            };
            let inner = Inner { owner: AtomicU64::new(0), doorbells: doorbells.clone(), own, local };
            Endpoint { inner: Arc::new(inner) }
        })
        .collect()
}

impl<T: Send + 'static> Endpoint<T> {
    /// The index of this endpoint in the mesh.
    pub fn own(&self) -> usize {
        self.inner.own
    }

    /// The number of endpoints in the mesh.
    pub fn peers(&self) -> usize {
        self.inner.doorbells.len()
    }

    /// Sends a message. Never waits. Messages to a shard that has ended are dropped.
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
            assert!(local.congested.get(), "MAIL-1: messages wait, but the loop does not move them into the ring");
            waiting.push_back(message);
        }
        if to == self.inner.own {
            if let Some(waker) = local.receiver.take() {
                waker.wake();
            }
        } else {
            local.has_sent[to].set(true);
            Runtime::with(|rt| rt.messages_sent.set(true));
        }
    }

    /// The number of messages to `to` that wait for room in the ring.
    pub fn waiting(&self, to: usize) -> usize {
        self.local().waiting[to].borrow().len()
    }

    /// The next message and its sender, if one has arrived.
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

    /// Waits for the next message; returns its sender and the message. Only one task at a time may call it.
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

/// A number that is unique to this thread.
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
    fn has_work(&self) -> bool {
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

    fn wake_targets(&self, wake: &mut dyn FnMut(i32)) {
        for (to, has_sent) in self.local().has_sent.iter().enumerate() {
            // A shard without a doorbell has not started. It checks its mailboxes before it first parks.
            if has_sent.replace(false)
                && let Some(fd) = self.doorbells[to].get().and_then(|bell| bell.claim_wake_up())
            {
                wake(fd);
            }
        }
    }

    fn service(&self) {
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
                    local.has_sent[to].set(true);
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
