//! What crosses between shards. Everything here is owned and `Send`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

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

/// Batches as they were sent, each with the partition it is for; in the order in which they are to be appended.
pub type Batches = Vec<(TopicPartition, Vec<u8>)>;

pub enum Message {
    Request {
        id: u64,
        request: ShardRequest,
    },
    Reply {
        id: u64,
        reply: Reply,
    },
    /// A connection whose traffic belongs to the receiving shard.
    Adopt(Box<HandOver>),
}

pub enum ShardRequest {
    /// Append, and answer when it may be acknowledged (`acks` 0: when it is appended).
    Produce {
        batches: Batches,
        request: AppendRequest,
        /// Of the transaction that the batches are of, if they are.
        transactional_id: Option<String>,
    },
    /// `copy_max`: how much of what is found may come along.
    Fetch {
        partitions: Vec<(TopicPartition, PartitionFetch)>,
        bytes_max: usize,
        copy_max: usize,
    },
    /// The first bytes of what a fetch found.
    Read {
        stretch: Stretch,
        bytes_max: usize,
    },
    /// Answer when the limit of any of these (see [`Isolation`]) has passed what the asker saw, or when the time is up.
    Watch {
        partitions: Vec<(TopicPartition, Offset)>,
        isolation: Isolation,
        wait_ms: u64,
    },
    ListOffsets(Vec<ListOffset>),
    /// Have each of these logs begin there, or behind all that is committed; answered when that is durable.
    DeleteRecords(Vec<(TopicPartition, Option<Offset>)>),
    EpochEnds(Vec<EpochEnd>),
    /// A producer's transaction ends in these partitions; answered when the markers are durable.
    EndTransactions {
        partitions: Vec<TopicPartition>,
        end: EndTransaction,
    },
    Producers(TopicPartition),
    /// How large the shard's partitions are.
    LogSizes,
    /// To the coordinator of the transactional id.
    Transaction(Box<TransactionRequest>),
    /// The transactional ids that the shard coordinates.
    ListTransactions,
    /// To the controller's shard: a producer id that nobody has.
    ProducerId,
    /// None up to this one is to be given to anybody, for a log of another cluster remembers it. To the controller's shard.
    ReserveProducerIds(ProducerId),
    /// A newer image; answered when its partitions are served.
    Apply(Arc<Image>),
    /// To the shard that coordinates a group or a transaction: what a client asked of this one.
    Coordinate(Box<CoordinateRequest>),
    /// To the controller's shard: what an admin request wants changed.
    Admin(Box<AdminRequest>),
}

pub enum Reply {
    Produced(Vec<Result<Produced, AppendRefusal>>),
    Fetched(Vec<RemoteFetched>),
    Read(Result<Vec<u8>, String>),
    Watched,
    Offsets(Vec<Result<ListedOffset, ErrorCode>>),
    /// Where each begins.
    RecordsDeleted(Vec<Result<Offset, ErrorCode>>),
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), ErrorCode>>),
    Ended(Vec<ErrorCode>),
    Producers(Result<Vec<ProducerSnapshot>, ErrorCode>),
    LogSizes(Vec<LogSize>),
    Transaction(TransactionReply),
    Transactions(Result<Vec<ListedTransaction>, ErrorCode>),
    ProducerId(Result<ProducerId, ErrorCode>),
    ProducerIdsReserved(Result<(), String>),
    Applied(Result<(), String>),
    /// The whole answer frame, or why the connection is to be closed.
    Coordinated(Result<Vec<u8>, String>),
    Admin(Box<AdminReply>),
}

/// Where records are, in terms that cross shards: a partition's segment by its number, and positions in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    pub id: TopicPartition,
    pub segment: u64,
    pub positions: Range<u64>,
}

impl Stretch {
    pub fn bytes(&self) -> usize {
        (self.positions.end - self.positions.start) as usize
    }
}

/// What one partition of another shard answered.
pub struct RemoteFetched {
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Where the reader goes on.
    pub next_offset: Offset,
    pub bytes: usize,
    /// Where the records are, each with a copy of its first bytes; not of all, see [`ShardRequest::Fetch`].
    pub records: Vec<(Stretch, Vec<u8>)>,
    pub aborted: Vec<AbortedTransaction>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListOffset {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub query: OffsetQuery,
    pub isolation: Isolation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSize {
    pub id: TopicPartition,
    pub bytes: u64,
    /// Offsets that are not committed yet.
    pub lag: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
}

/// What is asked of a transactional id's coordinator.
#[derive(Clone, Debug)]
pub struct TransactionRequest {
    pub transactional_id: String,
    pub operation: TransactionOperation,
}

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

#[derive(Clone, Debug)]
pub enum TransactionReply {
    /// To `Init` and `End`: what the producer goes on with.
    Producer(Result<(ProducerId, ProducerEpoch), ErrorCode>),
    /// To `Add` and `Verify`: for each partition.
    Partitions(Vec<ErrorCode>),
    Described(Result<DescribedTransaction, ErrorCode>),
}

#[derive(Clone, Debug)]
pub struct DescribedTransaction {
    pub state: &'static str,
    pub timeout_ms: i32,
    pub start_ms: i64,
    pub producer: (ProducerId, ProducerEpoch),
    pub partitions: Vec<(Box<str>, Vec<PartitionIndex>)>,
}

#[derive(Clone, Debug)]
pub struct ListedTransaction {
    pub transactional_id: Box<str>,
    pub producer_id: ProducerId,
    pub state: &'static str,
    pub start_ms: i64,
}

/// A request to a coordinator as its frame, without the length.
pub struct CoordinateRequest {
    pub frame: Vec<u8>,
    pub listener: String,
    pub peer: IpAddr,
}

/// An admin request as its frame: decoded and planned where the controller is.
pub struct AdminRequest {
    pub frame: Vec<u8>,
    pub listener: String,
}

/// The whole answer frame.
pub struct AdminReply {
    pub frame: Result<Vec<u8>, String>,
}

/// A connection between two requests: its socket, and what was received and not looked at yet.
pub struct HandOver {
    pub socket: OwnedFd,
    pub peer: SocketAddr,
    pub received: Vec<u8>,
    /// The listener's name.
    pub listener: String,
}
