//! A request between its two stages.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::api::data::produced;
use crate::api::outcome::Outcome;
use crate::router::message::CloseReason;
use crate::wire::Malformed;

/// A request after its first stage. The connection finishes its requests in the order in which it received them.
pub enum Pending {
    /// The first stage has finished the request.
    Now(Outcome),
    /// A Produce request: its first stage has appended, and the response waits for the commit.
    Produce(produced::Pending),
    /// A fetch. It may wait for a long time and changes nothing, so it is dropped when the client disconnects.
    Fetch(Pin<Box<dyn Future<Output = Outcome>>>),
    /// A request that runs to its end, even when the client disconnects.
    Later(Pin<Box<dyn Future<Output = Outcome>>>),
}

impl Pending {
    pub(in crate::api) fn later(future: impl Future<Output = Outcome> + 'static) -> Pending {
        Pending::Later(Box::pin(future))
    }

    /// Finishes the request if it need not wait. Otherwise returns `None`; the same task then calls
    /// [`finish`](Self::finish).
    pub async fn finish_now(&mut self) -> Option<Outcome> {
        match self {
            Pending::Produce(produce) if produce.is_ready() => {}
            Pending::Now(_) => {}
            // A fetch reads the log when it runs, so it must not run before its turn.
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

    /// The second stage: waits for durability, for records to read, or for other shards, and encodes the response.
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
        Pending::Now(Outcome::Close(CloseReason::MalformedRequest(malformed)))
    }
}
