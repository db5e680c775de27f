//! Routes requests: from a topic and partition to the shard that serves it, and as a message to that shard.
//!
//! Owns: the calls of this shard that wait for a reply. The routing table is the metadata image
//! ([`metadata::owner`](crate::metadata::owner) derives the shard), so it is one immutable value, replaced as a whole
//! and read without a lock. A request to another shard is a message through the mailbox mesh: values and owned bytes,
//! nothing shared. In direct routing clients connect to the owner, and no request crosses.
//!
//! In: requests to other shards. Out: their replies, and the requests of other shards ([`Router::receive`]). It does
//! not know the meaning of a request; `api` executes it. Runs on each shard's thread.

pub(crate) mod broker;
pub(crate) mod message;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::model::ShardId;
use crate::runtime::Endpoint;
use crate::runtime::sync::{Permit, Receiver, Sender, oneshot};
use message::{Message, Reply, ShardRequest};

/// One shard's end of the mesh.
pub struct Router {
    own: ShardId,
    endpoint: Endpoint<Message>,
    calls: RefCell<HashMap<u64, PendingCall>>,
    next_call: Cell<u64>,
}

/// A call without a reply yet. The permit is released on the reply, even if the caller has gone.
struct PendingCall {
    sender: Sender<Reply>,
    _held: Option<Permit>,
}

/// A call that was sent.
pub struct Call {
    receiver: Receiver<Reply>,
}

impl Call {
    /// Waits for the reply. Every request gets one, because the shards of a process start and stop together.
    pub async fn reply(self) -> Reply {
        match self.receiver.await {
            Ok(reply) => reply,
            Err(_) => unreachable!("a shard replies to every call"),
        }
    }
}

impl Router {
    /// `endpoint` is this shard's end of the mesh.
    pub fn new(own: ShardId, endpoint: Endpoint<Message>) -> Rc<Router> {
        Rc::new(Router { own, endpoint, calls: RefCell::new(HashMap::new()), next_call: Cell::new(0) })
    }

    /// This shard.
    pub fn own(&self) -> ShardId {
        self.own
    }

    /// Sends a request. Messages between two shards arrive in the order in which they are sent.
    pub fn call(&self, to: ShardId, request: ShardRequest) -> Call {
        self.call_holding(to, request, None)
    }

    /// As [`call`](Self::call), and holds a permit until the reply arrives.
    pub fn call_holding(&self, to: ShardId, request: ShardRequest, held: Option<Permit>) -> Call {
        let id = self.next_call.get();
        self.next_call.set(id + 1);
        let (sender, receiver) = oneshot();
        self.calls.borrow_mut().insert(id, PendingCall { sender, _held: held });
        self.endpoint.send(to.0.into(), Message::Request { id, request });
        Call { receiver }
    }

    /// Sends a message that needs no reply.
    pub fn send(&self, to: ShardId, message: Message) {
        self.endpoint.send(to.0.into(), message);
    }

    /// Sends the reply to call `id` of another shard.
    pub fn reply(&self, to: ShardId, id: u64, reply: Reply) {
        self.endpoint.send(to.0.into(), Message::Reply { id, reply });
    }

    /// Delivers replies to the calls of this shard, and returns the next other message.
    pub async fn receive(&self) -> (ShardId, Message) {
        loop {
            let (from, message) = self.endpoint.recv().await;
            match message {
                Message::Reply { id, reply } => {
                    // The caller may have ended with its connection.
                    if let Some(waiting) = self.calls.borrow_mut().remove(&id) {
                        let _ = waiting.sender.send(reply);
                    }
                }
                message => return (ShardId(from as u16), message),
            }
        }
    }
}
