//! Requests of other shards: each is answered here, and its reply goes back through the router.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::api::admin::describe_log_dirs;
use crate::api::data::{list_offsets, offset_for_leader_epoch, produce};
use crate::api::server::Server;
use crate::api::table;
use crate::api::txn::{describe_producers, transactions, write_txn_markers};
use crate::disk::journal::Sequence;
use crate::model::{ErrorCode, ShardId, TopicPartition};
use crate::partition::append::{AppendRefusal, AppendRequest, Produced};
use crate::partition::fetch::{Fetched, PartitionFetch};
use crate::partition::purgatory::{Isolation, Registration, Seen, Waiter};
use crate::router::message::{AdminReply, Batches, RecordsLost, RemoteFetched, Reply, ShardRequest, Stretch};
use crate::runtime::{self, Class, TimeSlice};

/// A Produce call of another shard.
struct Append {
    call: u64,
    batches: Batches,
    request: AppendRequest,
    transactional_id: Option<String>,
}

/// A client's connection, as the shard that serves it and its number there.
type Lane = (ShardId, u64);

/// The Produce calls of other shards. Those of one client's connection are appended in the order in which it sent them.
/// Connections do not wait for each other, for example for a transaction coordinator or for memory.
#[derive(Default)]
pub struct Appends {
    /// The calls that wait for an earlier call of their connection. A lane is present while one of its calls is
    /// appended.
    waiting: RefCell<HashMap<Lane, VecDeque<Append>>>,
}

impl Appends {
    fn start(self: &Rc<Self>, server: &Rc<Server>, lane: Lane, append: Append) {
        match self.waiting.borrow_mut().entry(lane) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push_back(append),
            Entry::Vacant(lanes) => {
                lanes.insert(VecDeque::new());
                let run = self.clone().run(server.clone(), lane, append);
                runtime::spawn(Class::Foreground, "remote appends", run);
            }
        }
    }

    /// Appends the calls of one connection until none waits.
    async fn run(self: Rc<Self>, server: Rc<Server>, lane: Lane, mut append: Append) {
        let (from, _) = lane;
        loop {
            let appended = append_all(&server, &append).await;
            let next = {
                let mut lanes = self.waiting.borrow_mut();
                let next = lanes.get_mut(&lane).expect("a lane is present while it runs").pop_front();
                if next.is_none() {
                    lanes.remove(&lane);
                }
                next
            };
            let answer = answer(server.clone(), from, append.call, append.request.acks, appended);
            let Some(next) = next else { return answer.await };
            runtime::spawn(Class::Foreground, "remote produce", answer);
            append = next;
        }
    }
}

/// The result of each batch of a call, and the newest journal group that holds one of them.
type Appended = (Vec<Result<Produced, AppendRefusal>>, Sequence);

async fn append_all(server: &Rc<Server>, append: &Append) -> Appended {
    let Append { batches, request, transactional_id, .. } = append;
    let mut produced = Vec::with_capacity(batches.len());
    // As on a connection, later appends wait behind the coordinator. It verifies each partition of a transaction once.
    let of_transaction = batches.iter().map(|(id, records)| (*id, &**records));
    let verified = produce::verify(server, transactional_id.as_deref(), request, of_transaction).await;
    // Covers the records that the coordinator has written ahead of these batches.
    let mut sequence = if transactional_id.is_some() { server.shard.last_appended() } else { Sequence::ZERO };
    let slice = TimeSlice::begin();
    for ((id, records), verified) in batches.iter().zip(verified) {
        let result = match verified {
            Ok(verification) => server.shard.produce(*id, records, request, verification.as_deref()).await,
            Err(refusal) => Err(refusal),
        };
        if let Ok(appended) = &result {
            sequence = sequence.max(appended.sequence);
        }
        produced.push(result);
        slice.pause().await;
    }
    (produced, sequence)
}

/// Replies when the batches are committed; with `acks` 0 at once.
async fn answer(server: Rc<Server>, from: ShardId, call: u64, acks: i16, appended: Appended) {
    let (mut produced, sequence) = appended;
    if acks != 0
        && let Err(failure) = server.shard.wait_committed(sequence).await
    {
        for result in produced.iter_mut().filter(|result| result.is_ok()) {
            *result = Err(AppendRefusal::new(ErrorCode::KafkaStorageError, failure.to_string()));
        }
    }
    server.router.reply(from, call, Reply::Produced(produced));
}

/// Answers one request of another shard. Does not wait; the reply follows when it is known.
pub fn serve(server: &Rc<Server>, appends: &Rc<Appends>, from: ShardId, call: u64, request: ShardRequest) {
    let request = match request {
        ShardRequest::Produce { connection, batches, request, transactional_id } => {
            let append = Append { call, batches, request, transactional_id };
            return appends.start(server, (from, connection), append);
        }
        other => other,
    };
    let server = server.clone();
    runtime::spawn(Class::Foreground, "remote request", async move {
        let reply = match request {
            ShardRequest::Produce { .. } => unreachable!("queued above"),
            ShardRequest::Fetch { partitions, bytes_max, copy_max } => {
                Reply::Fetched(fetch(&server, partitions, bytes_max, copy_max).await)
            }
            ShardRequest::Read { stretch, bytes_max } => Reply::Read(read(&server, stretch, bytes_max).await),
            ShardRequest::Watch { partitions, isolation, wait_ms } => {
                watch(&server, partitions, isolation, wait_ms).await;
                Reply::Watched
            }
            ShardRequest::ListOffsets(lists) => {
                let mut offsets = Vec::with_capacity(lists.len());
                for list in lists {
                    offsets.push(list_offsets::list_offset(&server, list).await);
                }
                Reply::Offsets(offsets)
            }
            ShardRequest::DeleteRecords(asked) => Reply::RecordsDeleted(server.shard.delete_records(&asked).await),
            ShardRequest::EpochEnds(ends) => {
                Reply::EpochEnds(ends.into_iter().map(|end| offset_for_leader_epoch::epoch_end(&server, end)).collect())
            }
            ShardRequest::EndTransactions { partitions, end } => {
                Reply::Ended(write_txn_markers::end_here(&server, &partitions, &end).await)
            }
            ShardRequest::Transaction(ask) => Reply::Transaction(transactions::answer(&server, *ask).await),
            ShardRequest::ListTransactions => Reply::Transactions(transactions::list(&server).await),
            ShardRequest::ProducerId => Reply::ProducerId(transactions::producer_id(&server).await),
            ShardRequest::ReserveProducerIds(highest) => {
                Reply::ProducerIdsReserved(transactions::reserve_producer_ids(&server, highest).await)
            }
            ShardRequest::LogSizes => Reply::LogSizes(describe_log_dirs::here(&server)),
            ShardRequest::Producers(id) => Reply::Producers(describe_producers::producers(&server, id)),
            ShardRequest::Apply(update) => {
                server.apply_image(&update).await;
                Reply::Applied
            }
            ShardRequest::Offline(partitions) => {
                server.offline.replace(from, partitions);
                Reply::OfflineNoted
            }
            ShardRequest::Coordinate(request) => Reply::Coordinated(table::answer_forwarded(&server, *request).await),
            ShardRequest::Admin(request) => {
                Reply::Admin(Box::new(AdminReply { frame: table::answer_at_controller(&server, *request).await }))
            }
        };
        server.router.reply(from, call, reply);
    });
}

async fn fetch(
    server: &Rc<Server>,
    partitions: Vec<(TopicPartition, PartitionFetch)>,
    bytes_max: usize,
    mut copy_max: usize,
) -> Vec<RemoteFetched> {
    let mut left = bytes_max;
    let mut is_empty = true;
    let mut all = Vec::with_capacity(partitions.len());
    for (id, request) in partitions {
        let request = PartitionFetch {
            bytes_max: request.bytes_max.min(left),
            at_least_one: request.at_least_one && is_empty,
            ..request
        };
        let fetched = match server.shard.partition(id) {
            Some(partition) => {
                let fetched = partition.fetch(&request).await;
                let read = &fetched.read;
                partition.traffic.note_fetch(read.next_offset - request.fetch_offset, read.bytes);
                fetched
            }
            None => Fetched::refused(server.shard.error_without(id)),
        };
        left = left.saturating_sub(fetched.read.bytes);
        is_empty &= fetched.read.bytes == 0;
        let mut records = Vec::with_capacity(fetched.read.extents.len());
        for extent in &fetched.read.extents {
            let (segment, positions) = extent.location();
            let mut slices = Vec::new();
            copy_max -= extent.cached(0, copy_max, &mut slices);
            records.push((Stretch { id, segment, positions }, slices.concat()));
        }
        all.push(RemoteFetched {
            error: fetched.error,
            high_watermark: fetched.high_watermark,
            last_stable_offset: fetched.last_stable_offset,
            log_start_offset: fetched.log_start_offset,
            diverging: fetched.diverging,
            next_offset: fetched.read.next_offset,
            bytes: fetched.read.bytes,
            records,
            aborted: fetched.aborted,
        });
    }
    all
}

async fn read(server: &Rc<Server>, stretch: Stretch, bytes_max: usize) -> Result<Vec<u8>, RecordsLost> {
    let Stretch { id, segment, positions } = stretch;
    let partition = server.shard.partition(id);
    let extent = partition.and_then(|partition| partition.extent(segment, positions));
    let extent = extent.ok_or(RecordsLost::SegmentRemoved { id, segment })?;
    let mut slices = vec![extent.load(bytes_max).await?];
    let first = slices[0].len();
    extent.cached(first, bytes_max - first, &mut slices);
    Ok(slices.concat())
}

async fn watch(server: &Rc<Server>, partitions: Vec<(TopicPartition, Seen)>, isolation: Isolation, wait_ms: u64) {
    let waiter = Waiter::new(isolation);
    let here: Vec<_> = partitions.iter().filter_map(|(id, _)| server.shard.partition(*id)).collect();
    let has_moved = partitions
        .iter()
        .any(|(id, seen)| server.shard.partition(*id).is_none_or(|partition| partition.has_moved(*seen, isolation)));
    let _registration = Registration::new(&waiter, here);
    if !has_moved {
        let _ = runtime::timeout(Duration::from_millis(wait_ms), waiter.woken()).await;
    }
}

#[cfg(test)]
mod tests;
