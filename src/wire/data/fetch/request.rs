//! The request of a consumer or a follower.
//!
//! ```text
//! replica_id (to v14) | max_wait_ms | min_bytes | max_bytes | isolation | session_id, session_epoch (v7)
//! | [topic | [partition | current_leader_epoch (v9) | fetch_offset | last_fetched_epoch (v12) | log_start_offset (v5)
//!             | partition_max_bytes | tag 0: directory id (v17), tag 1: high watermark (v18)]]
//! | forgotten [topic | [partition]] (v7) | rack_id (v11) | tag 0: cluster id, tag 1: replica id and epoch (v15)
//! ```

use super::BY_ID_FROM;
use crate::model::{PartitionIndex, TopicId};
use crate::wire::{ApiKey, Malformed, Reader, Topic, Unencodable, Writer, frame};

/// A request for records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest<'a> {
    /// The follower's broker id; -1 from a consumer. From v15 on, a tagged field together with the epoch (KIP-903).
    pub replica_id: i32,
    /// v15: the broker epoch of the follower; -1 if unset.
    pub replica_epoch: i64,
    /// How long the leader may wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// The leader waits until this many bytes of records are available.
    pub min_bytes: i32,
    /// The limit for the records of all partitions. The first batch is returned even if it is larger (KIP-74).
    pub max_bytes: i32,
    /// 0 is read_uncommitted, 1 is read_committed.
    pub isolation_level: i8,
    /// v7; 0: no session yet.
    pub session_id: i32,
    /// v7; 0 requests a new session, -1 none.
    pub session_epoch: i32,
    /// In the order of the request, which is the order in which to read; grouped by topic.
    pub partitions: Vec<FetchPartition<'a>>,
    /// v7: the partitions to remove from the session.
    pub forgotten: Vec<(Topic<'a>, PartitionIndex)>,
    /// v11: the consumer's rack (KIP-392); empty if unset.
    pub rack_id: &'a str,
    /// v12, tag 0: the cluster that the reader expects; null if unset.
    pub cluster_id: Option<&'a str>,
}

/// One partition of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPartition<'a> {
    /// By name up to v12, by id from v13 on.
    pub topic: Topic<'a>,
    /// The index of the partition.
    pub partition: PartitionIndex,
    /// v9: the leader epoch that the reader knows (KIP-320); -1 disables the check.
    pub current_leader_epoch: i32,
    /// The offset to read from.
    pub fetch_offset: i64,
    /// v12: the epoch of the reader's last record; -1 if unset.
    pub last_fetched_epoch: i32,
    /// v5: the follower's own log start; -1 from a consumer.
    pub log_start_offset: i64,
    /// The limit for this partition's records. The first batch of a response may exceed it (KIP-74).
    pub partition_max_bytes: i32,
    /// v17, tag 0: the directory of the follower's replica.
    pub replica_directory_id: TopicId,
    /// v18, tag 1: the high watermark that the follower knows; `i64::MAX` if unset (KIP-1166).
    pub high_watermark: i64,
}

impl Default for FetchRequest<'_> {
    /// A consumer's full fetch without partitions and without a session.
    fn default() -> Self {
        FetchRequest {
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            partitions: Vec::new(),
            forgotten: Vec::new(),
            rack_id: "",
            cluster_id: None,
        }
    }
}

impl<'a> FetchPartition<'a> {
    /// A consumer's fetch without epoch checks.
    pub fn new(topic: Topic<'a>, partition: PartitionIndex, fetch_offset: i64) -> FetchPartition<'a> {
        FetchPartition {
            topic,
            partition,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: i32::MAX,
            replica_directory_id: TopicId::ZERO,
            high_watermark: i64::MAX,
        }
    }

    fn decode(r: &mut Reader<'a>, topic: Topic<'a>, version: i16) -> Result<FetchPartition<'a>, Malformed> {
        let mut fetch = FetchPartition::new(topic, r.i32()?, 0);
        if version >= 9 {
            fetch.current_leader_epoch = r.i32()?;
        }
        fetch.fetch_offset = r.i64()?;
        if version >= 12 {
            fetch.last_fetched_epoch = r.i32()?;
        }
        if version >= 5 {
            fetch.log_start_offset = r.i64()?;
        }
        fetch.partition_max_bytes = r.i32()?;
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            match tag {
                0 if version >= 17 => fetch.replica_directory_id = field.uuid()?,
                1 if version >= 18 => fetch.high_watermark = field.i64()?,
                _ => continue,
            }
            field.end()?;
        }
        Ok(fetch)
    }

    fn encode(&self, w: &mut Writer, version: i16) {
        w.i32(self.partition);
        if version >= 9 {
            w.i32(self.current_leader_epoch);
        }
        w.i64(self.fetch_offset);
        if version >= 12 {
            w.i32(self.last_fetched_epoch);
        } else if self.last_fetched_epoch != -1 {
            w.refuse("FetchPartition.last_fetched_epoch");
        }
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        w.i32(self.partition_max_bytes);
        let has_directory = version >= 17 && !self.replica_directory_id.is_zero();
        let has_watermark = version >= 18 && self.high_watermark != i64::MAX;
        w.tag_count(usize::from(has_directory) + usize::from(has_watermark));
        if has_directory {
            w.tag(0, |w| w.uuid(self.replica_directory_id));
        }
        if has_watermark {
            w.tag(1, |w| w.i64(self.high_watermark));
        }
    }

    /// The fewest bytes of an encoded partition: index, offset and limit, and from v12 on the epochs and the log start.
    fn bytes_min(version: i16) -> usize {
        if version >= 12 { 4 + 4 + 8 + 4 + 8 + 4 + 1 } else { 4 + 8 + 4 }
    }
}

impl<'a> FetchRequest<'a> {
    /// Decodes from a reader at the body.
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<FetchRequest<'a>, Malformed> {
        r.set_flexible(ApiKey::Fetch.api().is_flexible(version));
        let by_id = version >= BY_ID_FROM;
        let mut fetch = FetchRequest::default();
        if version <= 14 {
            fetch.replica_id = r.i32()?;
        }
        fetch.max_wait_ms = r.i32()?;
        fetch.min_bytes = r.i32()?;
        fetch.max_bytes = r.i32()?;
        fetch.isolation_level = r.i8()?;
        if version >= 7 {
            fetch.session_id = r.i32()?;
            fetch.session_epoch = r.i32()?;
        }
        for _ in 0..r.array_len(Topic::BYTES_MIN + 1)? {
            let topic = Topic::decode(r, by_id)?;
            let count = r.array_len(FetchPartition::bytes_min(version))?;
            fetch.partitions.reserve(count);
            for _ in 0..count {
                fetch.partitions.push(FetchPartition::decode(r, topic, version)?);
            }
            r.skip_tags()?;
        }
        if version >= 7 {
            for _ in 0..r.array_len(Topic::BYTES_MIN + 1)? {
                let topic = Topic::decode(r, by_id)?;
                for _ in 0..r.array_len(4)? {
                    fetch.forgotten.push((topic, r.i32()?));
                }
                r.skip_tags()?;
            }
        }
        if version >= 11 {
            fetch.rack_id = r.string()?;
        }
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            match tag {
                0 => fetch.cluster_id = field.nullable_string()?,
                1 if version >= 15 => {
                    fetch.replica_id = field.i32()?;
                    fetch.replica_epoch = field.i64()?;
                    field.skip_tags()?;
                }
                _ => continue,
            }
            field.end()?;
        }
        Ok(fetch)
    }

    /// Encodes to a writer at the body. The partitions must be grouped by topic.
    pub fn encode(&self, w: &mut Writer, version: i16) {
        w.set_flexible(ApiKey::Fetch.api().is_flexible(version));
        let by_id = version >= BY_ID_FROM;
        if version <= 14 {
            w.i32(self.replica_id);
        }
        w.i32(self.max_wait_ms);
        w.i32(self.min_bytes);
        w.i32(self.max_bytes);
        w.i8(self.isolation_level);
        if version >= 7 {
            w.i32(self.session_id);
            w.i32(self.session_epoch);
        } else if self.session_id != 0 || !self.forgotten.is_empty() {
            w.refuse("FetchRequest.session_id");
        }
        let topics = || self.partitions.chunk_by(|a, b| a.topic == b.topic);
        w.array_len(topics().count());
        for partitions in topics() {
            partitions[0].topic.encode(w, by_id);
            w.array_len(partitions.len());
            for partition in partitions {
                partition.encode(w, version);
            }
            w.tag_count(0);
        }
        if version >= 7 {
            let topics = || self.forgotten.chunk_by(|a, b| a.0 == b.0);
            w.array_len(topics().count());
            for partitions in topics() {
                partitions[0].0.encode(w, by_id);
                w.array_len(partitions.len());
                for (_, partition) in partitions {
                    w.i32(*partition);
                }
                w.tag_count(0);
            }
        }
        if version >= 11 {
            w.string(self.rack_id);
        }
        let has_replica = version >= 15 && (self.replica_id, self.replica_epoch) != (-1, -1);
        w.tag_count(usize::from(self.cluster_id.is_some()) + usize::from(has_replica));
        if w.is_flexible() && self.cluster_id.is_some() {
            w.tag(0, |w| w.nullable_string(self.cluster_id));
        }
        if has_replica {
            w.tag(1, |w| {
                w.i32(self.replica_id);
                w.i64(self.replica_epoch);
                w.tag_count(0);
            });
        }
    }

    /// Encodes a whole frame, including the length prefix.
    pub fn encode_frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Vec<u8>, Unencodable> {
        let mut w = frame::request(ApiKey::Fetch.api(), version, correlation_id, client_id);
        self.encode(&mut w, version);
        w.finish()
    }
}
