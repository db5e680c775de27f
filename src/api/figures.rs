//! The counters of one shard's requests. The data path adds to plain numbers; a snapshot copies them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::api::server::Server;
use crate::coordinator::group::figures::GroupFigures;
use crate::model::{Distribution, ErrorCode, Histogram};
use crate::wire::{API_TABLE, ApiKey};

/// Adds to a counter of this thread.
pub(in crate::api) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// The number of requests that are in one state now.
#[derive(Clone, Default)]
pub struct Level(Rc<Cell<usize>>);

/// One of the requests that a [`Level`] counts, until it is dropped.
pub struct Inside(Rc<Cell<usize>>);

impl Level {
    /// Counts a request.
    pub fn enter(&self) -> Inside {
        self.0.set(self.0.get() + 1);
        Inside(self.0.clone())
    }

    /// The requests that are in the state.
    pub fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The counters of one API on one shard.
#[derive(Default)]
struct ApiCounters {
    requests: Cell<u64>,
    /// An entry for each code that occurred, in the order of the first occurrences.
    errors: RefCell<Vec<(ErrorCode, u64)>>,
    closes: Cell<u64>,
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
    /// The error codes in responses, and how often each occurred: one response has a code for each partition, topic or
    /// group.
    pub errors: Vec<(ErrorCode, u64)>,
    /// Requests that closed their connection: malformed, or a refused batch with acks=0.
    pub closes: u64,
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
    /// Fetch requests by stage.
    pub fetch: FetchStages,
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
    /// From the end of the first stage until the request's batches are durable: the journal's two stages, as one
    /// request sees them.
    pub commit: Histogram,
    /// From the durable journal group until the response was handed to the socket.
    pub answer: Histogram,
    /// From then until the socket has taken the response.
    pub send: Histogram,
    /// Requests whose batches are appended, and whose response waits for the commit.
    pub waiting: Level,
}

/// The time of Fetch requests by stage.
#[derive(Default)]
pub struct FetchStages {
    /// From the receive that had the first byte of the request to the receive that had the last byte.
    pub receive: Histogram,
    /// From the last byte until the request's first stage begins: earlier requests of the connection are first.
    pub queue: Histogram,
    /// The first stage: decodes the request, finds its session and the shards of its partitions.
    pub plan: Histogram,
    /// Finds the records of all partitions, also on other shards, without the wait between two attempts.
    pub read: Histogram,
    /// The wait for records, of those requests that waited.
    pub wait: Histogram,
    /// From the response until the socket has taken it. Records that are not in memory are read meanwhile.
    pub send: Histogram,
    /// Requests that wait for records.
    pub waiting: Level,
}

impl Default for RequestCounters {
    fn default() -> RequestCounters {
        RequestCounters {
            apis: API_TABLE.iter().map(|_| ApiCounters::default()).collect(),
            produce: ProduceStages::default(),
            fetch: FetchStages::default(),
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

    /// A response has this error code, for one of its partitions, topics or groups, or for all.
    pub fn failed(&self, key: ApiKey, error: ErrorCode) {
        let mut errors = self.of(key).errors.borrow_mut();
        match errors.iter_mut().find(|(code, _)| *code == error) {
            Some((_, count)) => *count += 1,
            None => errors.push((error, 1)),
        }
    }

    /// A request has closed its connection.
    pub fn closed(&self, key: ApiKey) {
        add(&self.of(key).closes, 1);
    }

    /// Responses to so many Produce and Fetch requests were taken by the socket, so long after they were handed to it.
    pub fn sent(&self, produced: u64, fetched: u64, time: Duration) {
        self.produce.send.observe_times(time, produced);
        self.fetch.send.observe_times(time, fetched);
    }

    /// A response was handed to the socket.
    pub fn answered(&self, key: ApiKey, bytes: usize, time: Duration) {
        let api = self.of(key);
        add(&api.response_bytes, bytes as u64);
        api.time.observe(time);
    }

    /// The counters of every API that had a request here, or a response: another shard may have received its request.
    pub fn read(&self) -> Vec<ApiFigures> {
        let is_used = |api: &ApiCounters| api.requests.get() > 0 || !api.errors.borrow().is_empty();
        let used = API_TABLE.iter().zip(&self.apis).filter(|(_, counters)| is_used(counters));
        used.map(|(api, counters)| ApiFigures {
            api: api.name,
            requests: counters.requests.get(),
            errors: counters.errors.borrow().clone(),
            closes: counters.closes.get(),
            request_bytes: counters.request_bytes.get(),
            response_bytes: counters.response_bytes.get(),
            time: counters.time.read(),
        })
        .collect()
    }
}

/// The controller at one moment.
pub struct ControllerFigures {
    /// The term of the metadata log.
    pub term: u64,
    /// The times from the plan of a change until it was on stable storage.
    pub commits: Distribution,
}

/// The controller, on the shard that runs it.
pub fn controller(server: &Server) -> Option<ControllerFigures> {
    let controller = server.controller.borrow();
    controller.as_ref().map(|local| ControllerFigures { term: local.term(), commits: local.commits() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_api_and_code() {
        let counters = RequestCounters::default();
        for (key, error) in [
            (ApiKey::Produce, ErrorCode::CorruptMessage),
            (ApiKey::Fetch, ErrorCode::OffsetOutOfRange),
            (ApiKey::Fetch, ErrorCode::UnknownTopicId),
            (ApiKey::Fetch, ErrorCode::OffsetOutOfRange),
        ] {
            counters.failed(key, error);
        }
        counters.closed(ApiKey::Produce);
        let found: Vec<_> = counters.read().into_iter().map(|api| (api.api, api.errors, api.closes)).collect();
        let of_fetch = vec![(ErrorCode::OffsetOutOfRange, 2), (ErrorCode::UnknownTopicId, 1)];
        assert_eq!(found, [("Produce", vec![(ErrorCode::CorruptMessage, 1)], 1), ("Fetch", of_fetch, 0)]);
    }

    #[test]
    fn a_level_counts_until_the_request_leaves() {
        let level = Level::default();
        let (first, second) = (level.enter(), level.enter());
        assert_eq!(level.count(), 2);
        drop((first, second));
        assert_eq!(level.count(), 0);
    }
}
