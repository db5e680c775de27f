//! The counters of one shard's requests. The data path adds to plain numbers; a snapshot copies them.

use std::cell::Cell;
use std::time::Duration;

use crate::api::server::Server;
use crate::coordinator::group::figures::GroupFigures;
use crate::model::{Distribution, Histogram};
use crate::wire::{API_TABLE, ApiKey};

/// Adds to a counter of this thread.
pub(in crate::api) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// The counters of one API on one shard.
#[derive(Default)]
struct ApiCounters {
    requests: Cell<u64>,
    errors: Cell<u64>,
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    time: Histogram,
}

/// The counters of one API on one shard at one moment.
#[derive(Clone, Debug)]
pub struct ApiFigures {
    /// Kafka's name of the API.
    pub api: &'static str,
    /// Requests that were started.
    pub requests: u64,
    /// Produce and Fetch: partitions with an error in a response. All APIs: requests that closed their connection.
    pub errors: u64,
    /// Bytes of the requests, without their length prefix.
    pub request_bytes: u64,
    /// Bytes of the responses, with their length prefix.
    pub response_bytes: u64,
    /// From the last received byte of the request until the response was handed to the socket.
    pub time: Distribution,
}

/// The counters of a shard's requests.
pub struct RequestCounters {
    /// In the order of [`API_TABLE`].
    apis: Box<[ApiCounters]>,
    /// Produce requests by stage.
    pub produce: ProduceStages,
}

/// The time of Produce requests by stage. The journal counts the two stages in between by group.
#[derive(Default)]
pub struct ProduceStages {
    /// From the receive that had the first byte of the request to the receive that had the last byte.
    pub receive: Histogram,
    /// From the last byte until the request's first stage begins: earlier requests of the connection are first.
    pub queue: Histogram,
    /// The first stage: validates the batches and appends them to the log and the open journal group.
    pub append: Histogram,
    /// From the durable journal group until the response was handed to the socket.
    pub answer: Histogram,
}

impl Default for RequestCounters {
    fn default() -> RequestCounters {
        RequestCounters {
            apis: API_TABLE.iter().map(|_| ApiCounters::default()).collect(),
            produce: ProduceStages::default(),
        }
    }
}

impl RequestCounters {
    fn of(&self, key: ApiKey) -> &ApiCounters {
        let at = API_TABLE.iter().position(|api| api.key == key).expect("every key has its row");
        &self.apis[at]
    }

    /// A request of `bytes` has started.
    pub fn started(&self, key: ApiKey, bytes: usize) {
        let api = self.of(key);
        add(&api.requests, 1);
        add(&api.request_bytes, bytes as u64);
    }

    /// A partition of a response has an error, or a request has closed its connection.
    pub fn failed(&self, key: ApiKey) {
        add(&self.of(key).errors, 1);
    }

    /// A response was handed to the socket.
    pub fn answered(&self, key: ApiKey, bytes: usize, time: Duration) {
        let api = self.of(key);
        add(&api.response_bytes, bytes as u64);
        api.time.observe(time);
    }

    /// The counters of every API that had a request.
    pub fn read(&self) -> Vec<ApiFigures> {
        let used = API_TABLE.iter().zip(&self.apis).filter(|(_, counters)| counters.requests.get() > 0);
        used.map(|(api, counters)| ApiFigures {
            api: api.name,
            requests: counters.requests.get(),
            errors: counters.errors.get(),
            request_bytes: counters.request_bytes.get(),
            response_bytes: counters.response_bytes.get(),
            time: counters.time.read(),
        })
        .collect()
    }
}

/// The term of the controller, on the shard that runs it.
pub fn controller_term(server: &Server) -> Option<u64> {
    server.controller.borrow().as_ref().map(|controller| controller.term())
}

/// The groups that this shard coordinates, with at most `offsets_max` committed offsets, and the number of groups that
/// are left out.
pub fn groups(server: &Server, offsets_max: usize) -> (Vec<GroupFigures>, usize) {
    let (mut left, mut found, mut omitted) = (offsets_max, Vec::new(), 0);
    for ledger in server.groups.all() {
        omitted += ledger.peek(|groups| groups.figures(&mut left, &mut found)).unwrap_or_default();
    }
    (found, omitted)
}
