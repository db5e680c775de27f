//! Serves requests: one file per Kafka API, and one table of all APIs.
//!
//! Owns: the handlers, the state that they share on one shard ([`Server`]), and the queue of images that the
//! controller's shard publishes. Input: a frame and its [`Origin`]. Output: a [`Pending`] request.
//!
//! A request has two stages. The first, [`start`], runs in the order of the connection's requests and does everything
//! whose order matters: it appends, or sends the append to another shard. The second, [`Pending::finish`], waits for
//! durability, for records to read or for the controller, and encodes the response.
//!
//! ```text
//! frame -> request   header, origin                     -> table   which handler, on which shard
//!   data/            produce, fetch, offsets of partitions, and the parts of a fetch response (answer)
//!   group/           requests to group coordinators; request finds the group's owner
//!   txn/             requests to transaction coordinators; transactions writes markers of decided ones
//!   admin/           metadata, topics, configurations; change runs a change on the controller's shard
//! steer              the shard that a connection's first requests address, in steer routing
//! remote             requests of other shards           outcome   response, nothing, or a closed connection
//! offline            partitions that could not be created, on any shard
//! figures            counters of requests, for the metrics
//! ```
//!
//! Invariants:
//! - API-1: images are published to the shards in the order in which the controller committed them.
//! - API-2: a shard forwards only group requests to a group's owner, and only controller requests to the controller.
//!
//! Does not know: sockets, files. No layer below `api` sees an API version. Runs on the shard's thread.

mod admin;
mod controller;
mod data;
pub mod figures;
mod gather;
mod group;
mod offline;
pub mod operation;
mod outcome;
mod pending;
pub(crate) mod remote;
mod request;
mod server;
mod steer;
pub mod table;
#[cfg(test)]
mod testing;
mod traffic;
mod txn;

use std::rc::Rc;

pub use data::answer::Answer;
pub use data::fetch::{adopt_session as adopt_fetch_session, take_session as take_fetch_session};
pub use outcome::Outcome;
pub use pending::Pending;
pub use request::Origin;
pub use server::Server;
pub use steer::shard_addressed;
pub use txn::transactions::reserve_producer_ids;

use crate::model::ErrorCode;
use crate::router::Router;
use crate::shard::Shard;
use crate::wire::frame::{Refused, RequestHeader};
use crate::wire::{self, ApiKey, Reader};
use outcome::Header;
use request::ClientRequest;

/// Starts a shard's server and its tasks.
pub fn serve(shard: Rc<Shard>, router: Rc<Router>) -> Rc<Server> {
    let server = Rc::new(Server::new(shard, router));
    txn::transactions::start(&server);
    offline::start(&server);
    server
}

/// The API of the request in `frame` (without its length), if it is served.
pub fn key_of(frame: &[u8]) -> Option<ApiKey> {
    frame.first_chunk().and_then(|key| ApiKey::from_code(i16::from_be_bytes(*key)))
}

/// The first stage of the request in `frame` (without its length). Waits only when memory or the journal is short.
pub async fn start(server: &Rc<Server>, origin: &Origin, frame: &[u8]) -> Pending {
    let mut body = Reader::new(frame);
    let header = match RequestHeader::decode(&mut body) {
        Ok(header) => header,
        Err(Refused::UnknownApiVersions { correlation_id, .. }) => {
            server.requests.failed(ApiKey::ApiVersions, ErrorCode::UnsupportedVersion);
            // KIP-511: this response can be decoded by clients of every version.
            return Pending::Now(Outcome::frame(wire::admin::api_versions::unsupported_version(correlation_id)));
        }
        Err(refused) => return Pending::Now(Outcome::Close(refused.into())),
    };
    let (key, version) = (header.api.key, header.version);
    let client_id = header.client_id.unwrap_or_default();
    let header = Header { version, correlation_id: header.correlation_id };
    let request = ClientRequest { server, origin, key, header, client_id: &client_id, frame, body };
    let _counted = server.starting.enter();
    table::start(request).await.unwrap_or_else(Pending::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, TopicPartition};
    use crate::record::codec::Codec;
    use crate::runtime;

    fn never<T>() -> T {
        unreachable!("the function is not called")
    }

    fn output_bytes<T>(_: &impl FnOnce() -> T) -> usize {
        size_of::<T>()
    }

    /// Every connection's task has room for the first stage of a request, also while the connection is idle.
    #[test]
    fn first_stage_takes_little_memory_of_a_connection() {
        let first_stage =
            || start(never::<&'static Rc<Server>>(), never::<&'static Origin>(), never::<&'static [u8]>());
        let bytes = output_bytes(&first_stage);
        assert!(bytes <= 2304, "{bytes} bytes: box the waits that are rare");
    }

    /// A Produce request of version 3 with one batch for each of these partitions of `topic`.
    fn produce_frame(partitions: &[i32], batch: &[u8]) -> Vec<u8> {
        let mut frame = [0i16, 3].map(i16::to_be_bytes).concat();
        // Correlation id, client id, transactional id, acks, timeout, one topic.
        frame.extend_from_slice(&[0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        frame.extend_from_slice(b"\x00\x05topic");
        frame.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
        for partition in partitions {
            frame.extend_from_slice(&partition.to_be_bytes());
            frame.extend_from_slice(&(batch.len() as i32).to_be_bytes());
            frame.extend_from_slice(batch);
        }
        frame
    }

    #[test]
    fn a_produce_request_pauses_between_its_batches() {
        testing::run("produce-pauses", 1, |server, _| async move {
            let ids = testing::ids(&server.shard);
            let partitions: Vec<i32> = ids.iter().map(|id| id.partition).collect();
            let frame = produce_frame(&partitions, &testing::batch(Codec::None, 10));
            let origin = Origin::new("A");
            let (pending, pauses) = runtime::count_pauses(start(&server, &origin, &frame)).await;
            assert!(pauses + 1 >= partitions.len(), "{pauses} pauses for {} batches", partitions.len());
            assert!(matches!(pending.finish().await, Outcome::Send(_)));
            let served = |id: &TopicPartition| server.shard.partition(*id).expect("served").log_end();
            assert!(ids.len() > 1 && ids.iter().all(|id| served(id) == Offset(1)));
        });
    }
}
