//! What crosses between shards. Everything here is owned and `Send`.

use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::metadata::Image;
use crate::model::{ErrorCode, LeaderEpoch, Offset, TopicPartition};
use crate::partition::append::{self, Produced, Refusal};
use crate::partition::fetch;

/// Batches as they were sent, each with the partition it is for; in the order in which they are to be appended.
pub type Batches = Vec<(TopicPartition, Vec<u8>)>;

pub enum Message {
    Request {
        id: u64,
        request: Request,
    },
    Reply {
        id: u64,
        reply: Reply,
    },
    /// A connection whose traffic belongs to the receiving shard.
    Adopt(Box<HandOver>),
}

pub enum Request {
    /// Append, and answer when it may be acknowledged (`acks` 0: when it is appended).
    Produce {
        batches: Batches,
        request: append::Request,
    },
    /// `copy_max`: how much of what is found may come along.
    Fetch {
        partitions: Vec<(TopicPartition, fetch::Request)>,
        bytes_max: usize,
        copy_max: usize,
    },
    /// The first bytes of what a fetch found.
    Read {
        stretch: Stretch,
        bytes_max: usize,
    },
    /// Answer when the high watermark of any of these has passed what the asker saw, or when the time is up.
    Watch {
        partitions: Vec<(TopicPartition, Offset)>,
        wait_ms: u64,
    },
    ListOffsets(Vec<ListOffset>),
    EpochEnds(Vec<EpochEnd>),
    /// A newer image; answered when its partitions are served.
    Apply(Arc<Image>),
    /// To the controller's shard: what an admin request wants changed.
    Admin(Box<AdminRequest>),
}

pub enum Reply {
    Produced(Vec<Result<Produced, Refusal>>),
    Fetched(Vec<RemoteFetched>),
    Read(Result<Vec<u8>, String>),
    Watched,
    Offsets(Vec<Result<ListedOffset, ErrorCode>>),
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), ErrorCode>>),
    Applied(Result<(), String>),
    Admin(Box<AdminReply>),
}

/// Where records are, in terms that cross shards: a partition's segment by its base offset, and positions in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    pub id: TopicPartition,
    pub segment: Offset,
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
    /// Where the records are, each with a copy of its first bytes; not of all, see [`Request::Fetch`].
    pub records: Vec<(Stretch, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListOffset {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub timestamp: i64,
    pub is_read_committed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    pub offset: Offset,
    pub timestamp: i64,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    pub id: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
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
