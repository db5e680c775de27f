//! From a topic and partition to the shard that serves it, and across to it when that is another one.
//!
//! The routing table is the metadata image itself ([`metadata::owner`](crate::metadata::owner) derives the shard), so it is
//! one immutable value, swapped whole and read without a lock. What crosses to another shard goes as a message through the mailbox mesh: values and
//! owned bytes, nothing shared. In direct routing clients connect to the owner and nothing crosses.
//!
//! In: calls with a request; out: their replies, and what other shards ask of this one ([`Router::receive`]). It does
//! not know what requests mean: `api` answers them. Runs on each shard's thread.

pub mod broker;
pub mod message;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::model::ShardId;
use crate::runtime::Endpoint;
use crate::runtime::sync::{Permit, Receiver, Sender, oneshot};
use message::{Message, Reply, ShardRequest};

pub struct Router {
    own: ShardId,
    endpoint: Endpoint<Message>,
    calls: RefCell<HashMap<u64, Waiting>>,
    next_call: Cell<u64>,
}

/// Who waits for a reply, and what goes back when it is there, whether he still waits or not.
struct Waiting {
    sender: Sender<Reply>,
    _held: Option<Permit>,
}

/// A call on its way.
pub struct Call {
    receiver: Receiver<Reply>,
}

impl Call {
    /// The reply. Every request is answered: shards of one process live and die together.
    pub async fn reply(self) -> Reply {
        match self.receiver.await {
            Ok(reply) => reply,
            Err(_) => unreachable!("a shard answers every call"),
        }
    }
}

impl Router {
    pub fn new(own: ShardId, endpoint: Endpoint<Message>) -> Rc<Router> {
        Rc::new(Router { own, endpoint, calls: RefCell::new(HashMap::new()), next_call: Cell::new(0) })
    }

    pub fn own(&self) -> ShardId {
        self.own
    }

    /// Sends a request at once, before anything that is sent later (FIFO per pair of shards).
    pub fn call(&self, to: ShardId, request: ShardRequest) -> Call {
        self.call_holding(to, request, None)
    }

    /// As [`call`](Self::call), with a permit that is held until the reply.
    pub fn call_holding(&self, to: ShardId, request: ShardRequest, held: Option<Permit>) -> Call {
        let id = self.next_call.get();
        self.next_call.set(id + 1);
        let (sender, receiver) = oneshot();
        self.calls.borrow_mut().insert(id, Waiting { sender, _held: held });
        self.endpoint.send(to.0.into(), Message::Request { id, request });
        Call { receiver }
    }

    /// Hands something over that needs no answer.
    pub fn send(&self, to: ShardId, message: Message) {
        self.endpoint.send(to.0.into(), message);
    }

    pub fn reply(&self, to: ShardId, id: u64, reply: Reply) {
        self.endpoint.send(to.0.into(), Message::Reply { id, reply });
    }

    /// The next message that is not a reply to a call of this shard's.
    pub async fn receive(&self) -> (ShardId, Message) {
        loop {
            let (from, message) = self.endpoint.recv().await;
            match message {
                Message::Reply { id, reply } => {
                    // The caller may have gone, with its connection.
                    if let Some(waiting) = self.calls.borrow_mut().remove(&id) {
                        let _ = waiting.sender.send(reply);
                    }
                }
                message => return (ShardId(from as u16), message),
            }
        }
    }
}
