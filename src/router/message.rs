//! The messages between shards. Every value is owned and `Send`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::disk::StorageError;
use crate::log::aborted::AbortedTransaction;
use crate::metadata::ImageUpdate;
use crate::model::{
    ErrorCode, LeaderEpoch, Offset, PartitionIndex, Position, ProducerEpoch, ProducerId, TopicId, TopicPartition,
};
use crate::partition::append::{AppendRefusal, AppendRequest, Produced};
use crate::partition::fetch::PartitionFetch;
use crate::partition::list_offsets::{ListedOffset, OffsetQuery};
use crate::partition::producers::ProducerSnapshot;
use crate::partition::purgatory::{Isolation, Seen};
use crate::partition::transactions::EndTransaction;
use crate::record::control::Ending;
use crate::shard::offline::OfflinePartitions;
use crate::wire::frame::Refused;
use crate::wire::{Malformed, Topic, Unencodable};

/// Batches as the client sent them, each with its partition, in the order in which to append them.
pub type Batches = Vec<(TopicPartition, Vec<u8>)>;

/// The reason to close a client's connection instead of sending a response.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The header was refused: the API or its version is unknown, or the bytes are malformed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The body does not follow the API's schema at the request's version.
    #[error("malformed request: {0}")]
    MalformedRequest(Malformed),
    /// The response has a field that the request's version cannot carry.
    #[error("the response cannot be encoded: {0}")]
    UnencodableResponse(Unencodable),
    /// A producer with acks=0 gets no response. The closed connection makes it refresh its metadata.
    #[error("a batch of an acks=0 request was refused: {0}")]
    RefusedBatch(ErrorCode),
    /// The call's frame has a field that its version cannot carry.
    #[error("a request to another shard cannot be encoded: {0}")]
    UnencodableCall(Unencodable),
    /// The reply's frame does not follow its schema.
    #[error("another shard's response cannot be decoded: {0}")]
    MalformedReply(Malformed),
}

/// Records that a fetch found can no longer be read. Their response cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum RecordsLost {
    /// Retention, DeleteRecords or a truncation removed the segment.
    #[error("the segment was removed while it was read")]
    SegmentRemoved {
        /// The partition of the segment.
        id: TopicPartition,
        /// The segment's number, as in [`Stretch::segment`].
        segment: u64,
    },
    /// The disk failed during the read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The controller could not reserve producer ids.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("producer ids up to {highest} are not reserved: {why}")]
pub struct ProducerIdsNotReserved {
    /// The highest id of the request.
    pub highest: ProducerId,
    /// The controller's error.
    pub why: String,
}

/// A message from one shard to another.
pub enum Message {
    /// A call, which the receiving shard answers with a `Reply`.
    Request {
        /// The call's number, unique on the calling shard.
        id: u64,
        /// The operation and its arguments.
        request: ShardRequest,
    },
    /// The answer to a call of the receiving shard.
    Reply {
        /// The number of the call.
        id: u64,
        /// The result, of the same kind as the request.
        reply: Reply,
    },
    /// The receiving shard owns the partitions of this connection's requests and serves it from now on.
    Adopt(Box<HandOver>),
}

/// A call to another shard, which answers it with a [`Reply`].
pub enum ShardRequest {
    /// Appends the batches. The reply is sent when they may be acknowledged; with `acks` 0, when they are appended.
    Produce {
        /// The number of the client's connection on the calling shard. Calls of one connection are appended in order.
        connection: u64,
        /// The batches, in the order in which to append them.
        batches: Batches,
        /// The acks, the capabilities of the API version, and the time of the request.
        request: AppendRequest,
        /// The transaction of the batches, if they belong to one.
        transactional_id: Option<String>,
    },
    /// Reads from the partitions. `copy_max` limits the record bytes that the reply carries.
    Fetch {
        /// The partitions in the order of the request, which is their priority (KIP-74).
        partitions: Vec<(TopicPartition, PartitionFetch)>,
        /// Record bytes of all partitions together.
        bytes_max: usize,
        /// Record bytes that the reply carries; the caller reads the rest with [`ShardRequest::Read`].
        copy_max: usize,
    },
    /// Reads the first bytes of records that a fetch found.
    Read {
        /// The position of the records.
        stretch: Stretch,
        /// The most bytes to read.
        bytes_max: usize,
    },
    /// The reply is sent when any partition has moved (see [`Seen`]), or after `wait_ms`.
    Watch {
        /// Each partition with its state when the fetch read it.
        partitions: Vec<(TopicPartition, Seen)>,
        /// The read limit: the high watermark, or the last stable offset.
        isolation: Isolation,
        /// Milliseconds until the reply is sent in any case.
        wait_ms: u64,
    },
    /// Looks up offsets by timestamp or by position, one per item.
    ListOffsets(Vec<ListOffset>),
    /// Advances the log start of each partition to the offset, or to the high watermark for `None`. The reply is sent
    /// when that is durable.
    DeleteRecords(Vec<(TopicPartition, Option<Offset>)>),
    /// Looks up the end offsets of leader epochs, one per item (KIP-101).
    EpochEnds(Vec<EpochEnd>),
    /// Ends a producer's transaction in these partitions. The reply is sent when the markers are durable.
    EndTransactions {
        /// The partitions on the receiving shard.
        partitions: Vec<TopicPartition>,
        /// The producer, its epoch, and the marker to append.
        end: EndTransaction,
    },
    /// The producers of a partition, for DescribeProducers (KIP-664).
    Producers(TopicPartition),
    /// The sizes of the shard's partitions.
    LogSizes,
    /// To the shard that coordinates the transactional id.
    Transaction(Box<TransactionRequest>),
    /// The transactional ids that the shard coordinates.
    ListTransactions,
    /// To the controller's shard: allocates a producer id.
    ProducerId,
    /// To the controller's shard: allocate no producer id up to this one, because the log of another cluster contains
    /// it.
    ReserveProducerIds(ProducerId),
    /// A newer image. The reply is sent when the shard serves its partitions.
    Apply(ImageUpdate),
    /// The offline partitions of the calling shard: all of them, or none.
    Offline(OfflinePartitions),
    /// To the shard that coordinates a group or a transaction: a client's request.
    Coordinate(Box<CoordinateRequest>),
    /// To the controller's shard: a client's admin request.
    Admin(Box<AdminRequest>),
}

/// The reply to the [`ShardRequest`] of the same kind.
pub enum Reply {
    /// One result for each batch, in the order of the batches.
    Produced(Vec<Result<Produced, AppendRefusal>>),
    /// One result for each partition, in the order of the request.
    Fetched(Vec<RemoteFetched>),
    /// The bytes from the start of the stretch, at most `bytes_max`.
    Read(Result<Vec<u8>, RecordsLost>),
    /// A partition has moved, or `wait_ms` elapsed.
    Watched,
    /// One result for each lookup, in the order of the request.
    Offsets(Vec<Result<ListedOffset, ErrorCode>>),
    /// The new log start of each partition.
    RecordsDeleted(Vec<Result<Offset, ErrorCode>>),
    /// For each lookup, the largest known epoch up to the requested one, and its end offset; (-1, -1) if it is
    /// unknown.
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), ErrorCode>>),
    /// The error of each partition, in the order of the request.
    Ended(Vec<ErrorCode>),
    /// The state of the partition's producers, ascending by id.
    Producers(Result<Vec<ProducerSnapshot>, ErrorCode>),
    /// One size for each partition of the shard.
    LogSizes(Vec<LogSize>),
    /// The coordinator's reply.
    Transaction(TransactionReply),
    /// The transactional ids of the shard, or why they cannot be listed yet.
    Transactions(Result<Vec<ListedTransaction>, ErrorCode>),
    /// A producer id that no producer had before.
    ProducerId(Result<ProducerId, ErrorCode>),
    /// Success is durable: no later id is at or below the requested one.
    ProducerIdsReserved(Result<(), ProducerIdsNotReserved>),
    /// The shard serves the image's partitions, except those that it has announced as offline.
    Applied,
    /// Metadata responses of the shard show these partitions as offline.
    OfflineNoted,
    /// The whole response frame, or the reason to close the connection.
    Coordinated(Result<Vec<u8>, CloseReason>),
    /// The controller's response.
    Admin(Box<AdminReply>),
}

/// The position of records, in a form that crosses shards: the number of a segment, and a byte range in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The partition of the records.
    pub id: TopicPartition,
    /// The segment's number, unique on its shard until the next start.
    pub segment: u64,
    /// The byte range in the segment's `.log` file.
    pub positions: Range<Position>,
}

impl Stretch {
    /// The number of record bytes.
    pub fn bytes(&self) -> usize {
        (self.positions.end - self.positions.start) as usize
    }
}

/// The result of a fetch from one partition of another shard.
pub struct RemoteFetched {
    /// [`ErrorCode::None`] if the fetch succeeded.
    pub error: ErrorCode,
    /// Consumers may read below this offset.
    pub high_watermark: Offset,
    /// Read-committed consumers may read below this offset.
    pub last_stable_offset: Offset,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// The reader's log diverges: its last epoch ended at this offset, before its fetch offset (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The offset at which the reader continues.
    pub next_offset: Offset,
    /// Record bytes that the fetch found, copied or not.
    pub bytes: usize,
    /// The positions of the records, each with a copy of its first bytes, up to `copy_max` of [`ShardRequest::Fetch`].
    pub records: Vec<(Stretch, Vec<u8>)>,
    /// The aborted transactions whose records are in the range, for read-committed consumers (KIP-98).
    pub aborted: Vec<AbortedTransaction>,
}

/// A lookup of one partition's offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListOffset {
    /// The partition.
    pub id: TopicPartition,
    /// The client's leader epoch; -1: not checked (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The offset to look up: by timestamp or by position.
    pub query: OffsetQuery,
    /// The read limit of the client, which bounds the latest offset.
    pub isolation: Isolation,
}

/// The size of one partition's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSize {
    /// The partition.
    pub id: TopicPartition,
    /// The bytes of its segments, in memory or in files.
    pub bytes: u64,
    /// The log end offset minus the high watermark.
    pub lag: i64,
}

/// A lookup of the end offset of one partition's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The partition.
    pub id: TopicPartition,
    /// The client's leader epoch; -1: not checked (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch whose end offset is wanted.
    pub leader_epoch: LeaderEpoch,
}

/// A request to the coordinator of a transactional id.
#[derive(Clone, Debug)]
pub struct TransactionRequest {
    /// The id. The receiving shard coordinates it.
    pub transactional_id: String,
    /// The operation on it.
    pub operation: TransactionOperation,
}

/// The operation of a [`TransactionRequest`].
#[derive(Clone, Debug)]
pub enum TransactionOperation {
    /// InitProducerId: fences earlier producers of the id and aborts their transaction.
    Init {
        /// `transaction.timeout.ms` of the producer.
        timeout_ms: i32,
        /// The id and epoch that the producer has; `None` at its first start (KIP-360).
        expected: Option<(ProducerId, ProducerEpoch)>,
    },
    /// `version`: the producer's `transaction.version`.
    Add {
        /// The producer's id and epoch.
        producer: (ProducerId, ProducerEpoch),
        /// Topic name and partition index.
        partitions: Vec<(String, PartitionIndex)>,
        /// The producer's `transaction.version`: 2 adds partitions by producing (KIP-890).
        version: i16,
    },
    /// Checks that the partitions are in the open transaction, and adds none (KIP-890).
    Verify {
        /// The producer's id and epoch.
        producer: (ProducerId, ProducerEpoch),
        /// Topic name and partition index.
        partitions: Vec<(String, PartitionIndex)>,
    },
    /// EndTxn: decides the transaction. The reply is sent when the decision is durable.
    End {
        /// The producer's id and epoch.
        producer: (ProducerId, ProducerEpoch),
        /// Commit or abort.
        ending: Ending,
        /// The producer's `transaction.version`: 2 raises the epoch with each transaction (KIP-890).
        version: i16,
    },
    /// Reads the state of the transaction, for DescribeTransactions.
    Describe,
}

/// The coordinator's reply to a [`TransactionRequest`].
#[derive(Clone, Debug)]
pub enum TransactionReply {
    /// To `Init` and `End`: the id and epoch with which the producer continues.
    Producer(Result<(ProducerId, ProducerEpoch), ErrorCode>),
    /// To `Add` and `Verify`: the error of each partition.
    Partitions(Vec<ErrorCode>),
    /// To `Describe`: the state, or why it is unknown.
    Described(Result<DescribedTransaction, ErrorCode>),
}

/// A transaction as DescribeTransactions reports it.
#[derive(Clone, Debug)]
pub struct DescribedTransaction {
    /// Kafka's name of the state, such as `Ongoing`.
    pub state: &'static str,
    /// The producer's `transaction.timeout.ms`.
    pub timeout_ms: i32,
    /// The time of the transaction's first partition, in ms since 1970; -1 if none is open.
    pub start_ms: i64,
    /// The producer's id and epoch.
    pub producer: (ProducerId, ProducerEpoch),
    /// Each topic's name with its partitions in the transaction.
    pub partitions: Vec<(Box<str>, Vec<PartitionIndex>)>,
}

/// A transaction as ListTransactions reports it.
#[derive(Clone, Debug)]
pub struct ListedTransaction {
    /// The transactional id.
    pub transactional_id: Box<str>,
    /// The id of its current producer.
    pub producer_id: ProducerId,
    /// Kafka's name of the state, such as `Ongoing`.
    pub state: &'static str,
    /// The start of the open transaction, in ms since 1970; -1 if none is open.
    pub start_ms: i64,
}

/// A client's request to a coordinator, as its frame without the length prefix.
pub struct CoordinateRequest {
    /// Header and body, without the length prefix.
    pub frame: Vec<u8>,
    /// The name of the listener that received the request.
    pub listener: String,
    /// The client's address, which group descriptions show.
    pub peer: IpAddr,
    /// A part of a client's request. The calling shard merges the responses to all parts.
    pub is_part: bool,
}

/// A client's admin request as its frame. The controller's shard decodes and plans it.
pub struct AdminRequest {
    /// Header and body, without the length prefix.
    pub frame: Vec<u8>,
    /// The name of the listener that received the request.
    pub listener: String,
}

/// The whole response frame, or the reason to close the connection.
pub struct AdminReply {
    /// Response header and body, without the length prefix.
    pub frame: Result<Vec<u8>, CloseReason>,
}

/// A connection without unanswered requests: its socket, and the received bytes that are not processed.
pub struct HandOver {
    /// The connected socket.
    pub socket: OwnedFd,
    /// The client's address and port.
    pub peer: SocketAddr,
    /// Received bytes from the first frame that is not processed.
    pub received: Vec<u8>,
    /// The fetch session that the connection used last.
    pub session: Option<MovedSession>,
    /// The name of its listener.
    pub listener: String,
}

/// An incremental fetch session (KIP-227) that moves with its connection.
pub struct MovedSession {
    /// Its id, which does not change.
    pub id: i32,
    /// The epoch that the next request must carry.
    pub epoch: i32,
    /// Topics are given by id, not by name.
    pub is_by_id: bool,
    /// Its reader is a follower.
    pub is_follower: bool,
    /// The monotonic time of its creation in ms.
    pub created_ms: u64,
    /// In reading order.
    pub partitions: Vec<MovedPartition>,
}

/// The topic of a [`MovedPartition`].
pub enum MovedTopic {
    /// A topic by name.
    Name(String),
    /// A topic by id.
    Id {
        /// The id.
        id: TopicId,
        /// The last known name.
        known_as: Option<String>,
    },
}

impl MovedTopic {
    /// The topic as a request gives it.
    pub fn topic(&self) -> Topic<'_> {
        match self {
            MovedTopic::Name(name) => Topic::Name(name),
            MovedTopic::Id { id, .. } => Topic::Id(*id),
        }
    }
}

/// One partition of a [`MovedSession`]: the reader's parameters, and the offsets of the last response.
pub struct MovedPartition {
    /// Its topic.
    pub topic: MovedTopic,
    /// Its index.
    pub partition: PartitionIndex,
    /// The reader's leader epoch; -1: not checked.
    pub current_leader_epoch: LeaderEpoch,
    /// The offset to read from.
    pub fetch_offset: Offset,
    /// The epoch of the reader's last record; -1: unknown.
    pub last_fetched_epoch: LeaderEpoch,
    /// The most record bytes.
    pub bytes_max: i32,
    /// The high watermark in the last response.
    pub high_watermark: Offset,
    /// The last stable offset in the last response.
    pub last_stable_offset: Offset,
    /// The log start in the last response.
    pub log_start_offset: Offset,
}
