//! The response. It is encoded as pieces around the records, and decoded into a flat list whose records stay in the
//! frame.
//!
//! ```text
//! throttle_time_ms | error, session_id (v7)
//! | [topic | [partition | error | high watermark | last stable | log start (v5) | aborted [producer, first offset]?
//!             | preferred read replica (v11) | records
//!             | tag 0: diverging epoch, 1: current leader, 2: snapshot (v12)]]
//! | tag 0: node endpoints (v16)
//! ```

use std::ops::Range;

use super::BY_ID_FROM;
use crate::model::{ErrorCode, PartitionIndex, ProducerId};
use crate::wire::pieces::{Announced, Payload, PieceWriter};
use crate::wire::{ApiKey, CurrentLeader, Malformed, NodeEndpoint, Pieces, Reader, Topic, Unencodable, Writer, frame};

/// The fields of a response before its topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchHead {
    /// How long a quota delays the client.
    pub throttle_time_ms: i32,
    /// v7: an error of the session; the response then has no topics.
    pub error_code: ErrorCode,
    /// v7; 0: no session.
    pub session_id: i32,
}

/// The fields of a partition except its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionHead {
    /// The index of the partition.
    pub partition: PartitionIndex,
    /// `None` if the partition could be read.
    pub error_code: ErrorCode,
    /// The end of the committed records; -1 with an error.
    pub high_watermark: i64,
    /// The end of the records whose transactions have ended (KIP-98); -1 with an error.
    pub last_stable_offset: i64,
    /// v5; -1 with an error.
    pub log_start_offset: i64,
    /// `None` for read_uncommitted; for read_committed all that overlap the records, in any order.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// v11: the replica that the consumer should read from (KIP-392); -1: none.
    pub preferred_read_replica: i32,
    /// v12, tag 0: the epoch and offset at which the reader's log diverges from this one.
    pub diverging_epoch: EpochEndOffset,
    /// v12, tag 1: set if another broker leads the partition.
    pub current_leader: CurrentLeader,
    /// v12, tag 2: the snapshot to load instead of records. Only a Raft log has one; this broker never sends it.
    pub snapshot_id: EpochEndOffset,
}

/// An aborted transaction whose records a read_committed consumer skips.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// The producer of the transaction.
    pub producer_id: ProducerId,
    /// The offset of the transaction's first record in this partition.
    pub first_offset: i64,
}

/// An epoch and its end offset. The default, -1 and -1, means "unset" and is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEndOffset {
    /// The leader epoch; -1: unset.
    pub epoch: i32,
    /// The offset after the epoch's last record; -1: unset.
    pub end_offset: i64,
}

impl Default for EpochEndOffset {
    fn default() -> EpochEndOffset {
        EpochEndOffset { epoch: -1, end_offset: -1 }
    }
}

impl PartitionHead {
    /// A partition without offsets, with the error.
    pub fn refused(partition: PartitionIndex, error_code: ErrorCode) -> PartitionHead {
        PartitionHead {
            partition,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: CurrentLeader::default(),
            snapshot_id: EpochEndOffset::default(),
        }
    }

    fn encode_before_records(&self, w: &mut Writer, version: i16) {
        w.i32(self.partition);
        w.i16(self.error_code.code());
        w.i64(self.high_watermark);
        w.i64(self.last_stable_offset);
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        w.nullable_length(self.aborted_transactions.as_ref().map(Vec::len));
        for aborted in self.aborted_transactions.iter().flatten() {
            w.i64(aborted.producer_id);
            w.i64(aborted.first_offset);
            w.tag_count(0);
        }
        if version >= 11 {
            w.i32(self.preferred_read_replica);
        } else if self.preferred_read_replica != -1 {
            // Without this field, the reader would see an empty partition for ever.
            w.refuse("PartitionHead.preferred_read_replica");
        }
    }

    fn encode_after_records(&self, w: &mut Writer) {
        let (none, no_leader) = (EpochEndOffset::default(), CurrentLeader::default());
        let tags = [self.diverging_epoch != none, self.current_leader != no_leader, self.snapshot_id != none];
        w.tag_count(tags.iter().filter(|&&has| has).count());
        if !w.is_flexible() {
            return;
        }
        if tags[0] {
            w.tag(0, |w| {
                w.i32(self.diverging_epoch.epoch);
                w.i64(self.diverging_epoch.end_offset);
                w.tag_count(0);
            });
        }
        if tags[1] {
            w.tag(1, |w| self.current_leader.encode(w));
        }
        if tags[2] {
            w.tag(2, |w| {
                w.i64(self.snapshot_id.end_offset);
                w.i32(self.snapshot_id.epoch);
                w.tag_count(0);
            });
        }
    }

    /// Also returns the records and their position, because they stand between the fields.
    fn decode<'a>(r: &mut Reader<'a>, version: i16) -> Result<(PartitionHead, &'a [u8], usize), Malformed> {
        let mut head = PartitionHead::refused(r.i32()?, ErrorCode::None);
        head.error_code = ErrorCode::from_code(r.i16()?).unwrap_or(ErrorCode::UnknownServerError);
        head.high_watermark = r.i64()?;
        head.last_stable_offset = r.i64()?;
        if version >= 5 {
            head.log_start_offset = r.i64()?;
        }
        if let Some(count) = r.nullable_array_len(8 + 8)? {
            let mut aborted = Vec::with_capacity(count);
            for _ in 0..count {
                aborted.push(AbortedTransaction { producer_id: r.i64()?, first_offset: r.i64()? });
                r.skip_tags()?;
            }
            head.aborted_transactions = Some(aborted);
        }
        if version >= 11 {
            head.preferred_read_replica = r.i32()?;
        }
        let records = r.nullable_bytes()?.unwrap_or_default();
        let records_at = r.at() - records.len();
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            match tag {
                0 => {
                    head.diverging_epoch = EpochEndOffset { epoch: field.i32()?, end_offset: field.i64()? };
                    field.skip_tags()?;
                }
                1 => head.current_leader = CurrentLeader::decode(&mut field)?,
                2 => {
                    let (end_offset, epoch) = (field.i64()?, field.i32()?);
                    head.snapshot_id = EpochEndOffset { epoch, end_offset };
                    field.skip_tags()?;
                }
                _ => continue,
            }
            field.end()?;
        }
        Ok((head, records, records_at))
    }
}

/// Builds a response around records that are not copied.
#[derive(Debug)]
pub struct FetchResponseWriter<P> {
    out: PieceWriter<P>,
    announced: Announced,
    version: i16,
}

impl<P: Payload> FetchResponseWriter<P> {
    /// Writes the header and `head`. The caller must call [`topic`](Self::topic) `topics` times.
    pub fn new(version: i16, correlation_id: i32, head: FetchHead, topics: usize) -> FetchResponseWriter<P> {
        let mut w = frame::response(ApiKey::Fetch.api(), version, correlation_id);
        w.i32(head.throttle_time_ms);
        if version >= 7 {
            w.i16(head.error_code.code());
            w.i32(head.session_id);
        }
        w.array_len(topics);
        FetchResponseWriter { out: PieceWriter::new(w), announced: Announced { topics, partitions: 0 }, version }
    }

    /// Writes one topic. The caller must call [`partition`](Self::partition) `partitions` times, at least once.
    pub fn topic(&mut self, topic: Topic<'_>, partitions: usize) {
        assert!(partitions > 0, "a topic of a response has at least one partition");
        self.announced.topic(partitions);
        topic.encode(&mut self.out.w, self.version >= BY_ID_FROM);
        self.out.w.array_len(partitions);
    }

    /// Writes one partition. `records` are the parts, in order, of its record bytes: batches may come from the tail and
    /// from segments.
    pub fn partition(&mut self, head: &PartitionHead, records: impl IntoIterator<Item = P>) {
        let is_last = self.announced.partition();
        head.encode_before_records(&mut self.out.w, self.version);
        self.out.records(records);
        head.encode_after_records(&mut self.out.w);
        if is_last {
            self.out.w.tag_count(0);
        }
    }

    /// Returns the whole frame, or the first value that the version cannot represent. `node_endpoints` (v16) has the
    /// addresses of the current leaders.
    pub fn finish(mut self, node_endpoints: &[NodeEndpoint<'_>]) -> Result<Pieces<P>, Unencodable> {
        self.announced.finish();
        let w = &mut self.out.w;
        if self.version >= 16 && !node_endpoints.is_empty() {
            w.tag_count(1);
            w.tag(0, |w| NodeEndpoint::encode_all(node_endpoints, w));
        } else {
            w.tag_count(0);
        }
        self.out.finish()
    }
}

/// A response as a client or a follower reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse<'a> {
    /// The fields before the topics.
    pub head: FetchHead,
    /// All partitions in the order of the response, grouped by topic.
    pub partitions: Vec<FetchedPartition<'a>>,
    /// v16, tag 0: the addresses of the current leaders (KIP-951).
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// One partition of a decoded response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedPartition<'a> {
    /// By name up to v12, by id from v13 on.
    pub topic: Topic<'a>,
    /// All fields except the records.
    pub head: PartitionHead,
    /// Whole batches, possibly followed by the beginning of one more.
    pub records: &'a [u8],
    /// The position of `records` in the frame.
    pub records_at: usize,
}

impl FetchedPartition<'_> {
    /// The range of `records` in the frame.
    pub fn records_range(&self) -> Range<usize> {
        self.records_at..self.records_at + self.records.len()
    }
}

impl<'a> FetchResponse<'a> {
    /// Decodes from a reader at the body.
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<FetchResponse<'a>, Malformed> {
        r.set_flexible(ApiKey::Fetch.api().is_flexible(version));
        let mut head = FetchHead { throttle_time_ms: r.i32()?, error_code: ErrorCode::None, session_id: 0 };
        if version >= 7 {
            head.error_code = ErrorCode::from_code(r.i16()?).unwrap_or(ErrorCode::UnknownServerError);
            head.session_id = r.i32()?;
        }
        let mut partitions = Vec::new();
        for _ in 0..r.array_len(Topic::BYTES_MIN + 1)? {
            let topic = Topic::decode(r, version >= BY_ID_FROM)?;
            for _ in 0..r.array_len(4 + 2 + 8 + 8 + 1 + 1)? {
                let (head, records, records_at) = PartitionHead::decode(r, version)?;
                partitions.push(FetchedPartition { topic, head, records, records_at });
            }
            r.skip_tags()?;
        }
        let mut node_endpoints = Vec::new();
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            if tag == 0 && version >= 16 {
                node_endpoints = NodeEndpoint::decode_all(&mut field)?;
                field.end()?;
            }
        }
        Ok(FetchResponse { head, partitions, node_endpoints })
    }
}
