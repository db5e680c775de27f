//! The messages between shards. Every value is owned and `Send`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::disk::StorageError;
use crate::log::aborted::AbortedTransaction;
use crate::metadata::Image;
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use crate::partition::append::{AppendRefusal, AppendRequest, Produced};
use crate::partition::fetch::PartitionFetch;
use crate::partition::list_offsets::{ListedOffset, OffsetQuery};
use crate::partition::producers::ProducerSnapshot;
use crate::partition::purgatory::Isolation;
use crate::partition::transactions::EndTransaction;
use crate::record::control::Ending;
use crate::wire::frame::Refused;
use crate::wire::{Malformed, Unencodable};

/// Batches as the client sent them, each with its partition, in the order in which to append them.
pub type Batches = Vec<(TopicPartition, Vec<u8>)>;

/// The reason to close a client's connection instead of sending a response.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("malformed request: {0}")]
    MalformedRequest(Malformed),
    #[error("the response cannot be encoded: {0}")]
    UnencodableResponse(Unencodable),
    /// A producer with acks=0 gets no response. The closed connection makes it refresh its metadata.
    #[error("a batch of an acks=0 request was refused: {0}")]
    RefusedBatch(ErrorCode),
    #[error("a request to another shard cannot be encoded: {0}")]
    UnencodableCall(Unencodable),
    #[error("another shard's response cannot be decoded: {0}")]
    MalformedReply(Malformed),
}

/// Records that a fetch found can no longer be read. Their response cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum RecordsLost {
    #[error("the segment was removed while it was read")]
    SegmentRemoved { id: TopicPartition, segment: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The controller could not reserve producer ids.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("producer ids up to {highest} are not reserved: {why}")]
pub struct ProducerIdsNotReserved {
    pub highest: ProducerId,
    pub why: String,
}

/// A message from one shard to another.
pub enum Message {
    Request {
        id: u64,
        request: ShardRequest,
    },
    Reply {
        id: u64,
        reply: Reply,
    },
    /// The receiving shard owns the partitions of this connection's requests and serves it from now on.
    Adopt(Box<HandOver>),
}

/// A call to another shard, which answers it with a [`Reply`].
pub enum ShardRequest {
    /// Appends the batches. The reply is sent when they may be acknowledged; with `acks` 0, when they are appended.
    Produce {
        batches: Batches,
        request: AppendRequest,
        /// The transaction of the batches, if they belong to one.
        transactional_id: Option<String>,
    },
    /// Reads from the partitions. `copy_max` limits the record bytes that the reply carries.
    Fetch {
        partitions: Vec<(TopicPartition, PartitionFetch)>,
        bytes_max: usize,
        copy_max: usize,
    },
    /// Reads the first bytes of records that a fetch found.
    Read {
        stretch: Stretch,
        bytes_max: usize,
    },
    /// The reply is sent when the read limit (see [`Isolation`]) of any partition has passed the given offset, or after
    /// `wait_ms`.
    Watch {
        partitions: Vec<(TopicPartition, Offset)>,
        isolation: Isolation,
        wait_ms: u64,
    },
    ListOffsets(Vec<ListOffset>),
    /// Advances the log start of each partition to the offset, or to the high watermark for `None`. The reply is sent
    /// when that is durable.
    DeleteRecords(Vec<(TopicPartition, Option<Offset>)>),
    EpochEnds(Vec<EpochEnd>),
    /// Ends a producer's transaction in these partitions. The reply is sent when the markers are durable.
    EndTransactions {
        partitions: Vec<TopicPartition>,
        end: EndTransaction,
    },
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
    Apply(Arc<Image>),
    /// To the shard that coordinates a group or a transaction: a client's request.
    Coordinate(Box<CoordinateRequest>),
    /// To the controller's shard: a client's admin request.
    Admin(Box<AdminRequest>),
}

/// The reply to the [`ShardRequest`] of the same kind.
pub enum Reply {
    Produced(Vec<Result<Produced, AppendRefusal>>),
    Fetched(Vec<RemoteFetched>),
    Read(Result<Vec<u8>, RecordsLost>),
    Watched,
    Offsets(Vec<Result<ListedOffset, ErrorCode>>),
    /// The new log start of each partition.
    RecordsDeleted(Vec<Result<Offset, ErrorCode>>),
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), ErrorCode>>),
    Ended(Vec<ErrorCode>),
    Producers(Result<Vec<ProducerSnapshot>, ErrorCode>),
    LogSizes(Vec<LogSize>),
    Transaction(TransactionReply),
    Transactions(Result<Vec<ListedTransaction>, ErrorCode>),
    ProducerId(Result<ProducerId, ErrorCode>),
    ProducerIdsReserved(Result<(), ProducerIdsNotReserved>),
    Applied(Result<(), StorageError>),
    /// The whole response frame, or the reason to close the connection.
    Coordinated(Result<Vec<u8>, CloseReason>),
    Admin(Box<AdminReply>),
}

/// The position of records, in a form that crosses shards: the number of a segment, and a byte range in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    pub id: TopicPartition,
    pub segment: u64,
    pub positions: Range<u64>,
}

impl Stretch {
    /// The number of record bytes.
    pub fn bytes(&self) -> usize {
        (self.positions.end - self.positions.start) as usize
    }
}

/// The result of a fetch from one partition of another shard.
pub struct RemoteFetched {
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The offset at which the reader continues.
    pub next_offset: Offset,
    pub bytes: usize,
    /// The positions of the records, each with a copy of its first bytes, up to `copy_max` of [`ShardRequest::Fetch`].
    pub records: Vec<(Stretch, Vec<u8>)>,
    pub aborted: Vec<AbortedTransaction>,
}

/// A lookup of one partition's offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListOffset {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub query: OffsetQuery,
    pub isolation: Isolation,
}

/// The size of one partition's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSize {
    pub id: TopicPartition,
    pub bytes: u64,
    /// The log end offset minus the high watermark.
    pub lag: i64,
}

/// A lookup of the end offset of one partition's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
}

/// A request to the coordinator of a transactional id.
#[derive(Clone, Debug)]
pub struct TransactionRequest {
    pub transactional_id: String,
    pub operation: TransactionOperation,
}

/// The operation of a [`TransactionRequest`].
#[derive(Clone, Debug)]
pub enum TransactionOperation {
    Init {
        timeout_ms: i32,
        expected: Option<(ProducerId, ProducerEpoch)>,
    },
    /// `version`: the producer's `transaction.version`.
    Add {
        producer: (ProducerId, ProducerEpoch),
        partitions: Vec<(String, PartitionIndex)>,
        version: i16,
    },
    Verify {
        producer: (ProducerId, ProducerEpoch),
        partitions: Vec<(String, PartitionIndex)>,
    },
    End {
        producer: (ProducerId, ProducerEpoch),
        ending: Ending,
        version: i16,
    },
    Describe,
}

/// The coordinator's reply to a [`TransactionRequest`].
#[derive(Clone, Debug)]
pub enum TransactionReply {
    /// To `Init` and `End`: the id and epoch with which the producer continues.
    Producer(Result<(ProducerId, ProducerEpoch), ErrorCode>),
    /// To `Add` and `Verify`: the error of each partition.
    Partitions(Vec<ErrorCode>),
    Described(Result<DescribedTransaction, ErrorCode>),
}

/// A transaction as DescribeTransactions reports it.
#[derive(Clone, Debug)]
pub struct DescribedTransaction {
    pub state: &'static str,
    pub timeout_ms: i32,
    pub start_ms: i64,
    pub producer: (ProducerId, ProducerEpoch),
    pub partitions: Vec<(Box<str>, Vec<PartitionIndex>)>,
}

/// A transaction as ListTransactions reports it.
#[derive(Clone, Debug)]
pub struct ListedTransaction {
    pub transactional_id: Box<str>,
    pub producer_id: ProducerId,
    pub state: &'static str,
    pub start_ms: i64,
}

/// A client's request to a coordinator, as its frame without the length prefix.
pub struct CoordinateRequest {
    pub frame: Vec<u8>,
    pub listener: String,
    pub peer: IpAddr,
}

/// A client's admin request as its frame. The controller's shard decodes and plans it.
pub struct AdminRequest {
    pub frame: Vec<u8>,
    pub listener: String,
}

/// The whole response frame, or the reason to close the connection.
pub struct AdminReply {
    pub frame: Result<Vec<u8>, CloseReason>,
}

/// A connection without unanswered requests: its socket, and the received bytes that are not processed.
pub struct HandOver {
    pub socket: OwnedFd,
    pub peer: SocketAddr,
    pub received: Vec<u8>,
    /// The name of its listener.
    pub listener: String,
}
