//! Produce (key 0), versions 3 to 13. Written by hand, because every partition of a request pays its cost.
//!
//! ```text
//! request:  transactional_id? | acks | timeout_ms | [topic | [partition | records]]
//! response: [topic | [partition | error | base offset | append time | log start (v5) | record errors, message (v8)
//!                     | tag 0: current leader (v10)]] | throttle_time_ms | tag 0: node endpoints (v10)
//! ```
//! Compact and tagged from v9; topics by id from v13 (KIP-516).

use std::borrow::Cow;
use std::ops::{Deref, Range};

use crate::model::{ErrorCode, PartitionIndex};
use crate::wire::pieces::{Announced, PieceWriter};
use crate::wire::{ApiKey, CurrentLeader, Malformed, NodeEndpoint, Pieces, Reader, Topic, Unencodable, Writer, frame};

const BY_ID_FROM: i16 = 13;

/// A request whose bytes were validated once by [`decode`](Self::decode), so that iterating over it cannot fail.
#[derive(Clone, Debug)]
pub struct ProduceRequest<'a> {
    /// Null from a producer without transactions (KIP-98).
    pub transactional_id: Option<&'a str>,
    /// As sent; only -1, 0 and 1 are valid.
    pub acks: i16,
    /// How long the leader may wait for the replicas, with acks -1.
    pub timeout_ms: i32,
    /// The number of partitions that [`partitions`](Self::partitions) yields.
    pub partition_count: usize,
    walk: ProducePartitions<'a>,
}

/// The records of one partition, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducePartition<'a> {
    /// By name up to v12, by id from v13 on.
    pub topic: Topic<'a>,
    /// The index of the partition.
    pub partition: PartitionIndex,
    /// Empty also if null on the wire: both hold no batch, and are rejected alike.
    pub records: &'a [u8],
    /// The position of `records` in the frame, to take them out of the buffer that owns the frame.
    pub records_at: usize,
}

impl ProducePartition<'_> {
    /// The range of `records` in the frame.
    pub fn records_range(&self) -> Range<usize> {
        self.records_at..self.records_at + self.records.len()
    }
}

impl<'a> ProduceRequest<'a> {
    /// Decodes from a reader at the body. Allocates nothing.
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<ProduceRequest<'a>, Malformed> {
        r.set_flexible(ApiKey::Produce.api().is_flexible(version));
        let transactional_id = r.nullable_string()?;
        let acks = r.i16()?;
        let timeout_ms = r.i32()?;
        let walk = ProducePartitions::begin(r, version)?;

        let mut checked = walk.clone();
        let mut partition_count = 0;
        while checked.step()?.is_some() {
            partition_count += 1;
        }
        *r = checked.r;
        r.skip_tags()?;
        Ok(ProduceRequest { transactional_id, acks, timeout_ms, partition_count, walk })
    }

    /// All partitions in the order of the request, grouped by topic. A topic without partitions is skipped.
    pub fn partitions(&self) -> ProducePartitions<'a> {
        self.walk.clone()
    }
}

/// An iterator over the topics and partitions of a request.
#[derive(Clone, Debug)]
pub struct ProducePartitions<'a> {
    r: Reader<'a>,
    by_id: bool,
    topics_left: usize,
    partitions_left: usize,
    /// The topic of the current partitions.
    topic: Option<Topic<'a>>,
}

impl<'a> ProducePartitions<'a> {
    fn begin(r: &mut Reader<'a>, version: i16) -> Result<ProducePartitions<'a>, Malformed> {
        let topics_left = r.array_len(Topic::BYTES_MIN + 1)?;
        let by_id = version >= BY_ID_FROM;
        Ok(ProducePartitions { r: r.clone(), by_id, topics_left, partitions_left: 0, topic: None })
    }

    #[inline]
    fn step(&mut self) -> Result<Option<ProducePartition<'a>>, Malformed> {
        let r = &mut self.r;
        while self.partitions_left == 0 {
            if self.topic.take().is_some() {
                r.skip_tags()?;
            }
            if self.topics_left == 0 {
                return Ok(None);
            }
            self.topics_left -= 1;
            self.topic = Some(Topic::decode(r, self.by_id)?);
            self.partitions_left = r.array_len(4 + 1)?;
        }
        self.partitions_left -= 1;
        let partition = r.i32()?;
        let records = r.nullable_bytes()?.unwrap_or_default();
        let records_at = r.at() - records.len();
        r.skip_tags()?;
        Ok(self.topic.map(|topic| ProducePartition { topic, partition, records, records_at }))
    }
}

impl<'a> Iterator for ProducePartitions<'a> {
    type Item = ProducePartition<'a>;

    #[inline]
    fn next(&mut self) -> Option<ProducePartition<'a>> {
        self.step().expect("decode has walked the same bytes")
    }
}

/// Encodes a request without copying its records.
#[derive(Debug)]
pub struct ProduceRequestWriter<P> {
    out: PieceWriter<P>,
    announced: Announced,
    by_id: bool,
}

/// The fields of a request before its topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceHead<'a> {
    /// Null from a producer without transactions (KIP-98).
    pub transactional_id: Option<&'a str>,
    /// -1: all in-sync replicas. 1: the leader. 0: no response.
    pub acks: i16,
    /// How long the leader may wait for the replicas, with acks -1.
    pub timeout_ms: i32,
}

impl<P: Deref<Target = [u8]>> ProduceRequestWriter<P> {
    /// Writes the header and `head`. The caller must call [`topic`](Self::topic) `topics` times.
    pub fn new(
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
        head: ProduceHead<'_>,
        topics: usize,
    ) -> ProduceRequestWriter<P> {
        let mut w = frame::request(ApiKey::Produce.api(), version, correlation_id, client_id);
        w.nullable_string(head.transactional_id);
        w.i16(head.acks);
        w.i32(head.timeout_ms);
        w.array_len(topics);
        ProduceRequestWriter {
            out: PieceWriter::new(w),
            announced: Announced { topics, partitions: 0 },
            by_id: version >= BY_ID_FROM,
        }
    }

    /// Writes one topic. The caller must call [`partition`](Self::partition) `partitions` times, at least once.
    pub fn topic(&mut self, topic: Topic<'_>, partitions: usize) {
        assert!(partitions > 0, "a topic of a request has at least one partition");
        self.announced.topic(partitions);
        topic.encode(&mut self.out.w, self.by_id);
        self.out.w.array_len(partitions);
    }

    /// Writes one partition and its records.
    pub fn partition(&mut self, partition: PartitionIndex, records: P) {
        let is_last = self.announced.partition();
        self.out.w.i32(partition);
        self.out.records([records]);
        self.out.w.tag_count(0);
        if is_last {
            self.out.w.tag_count(0);
        }
    }

    /// Returns the whole frame, or the first value that the version cannot represent.
    pub fn finish(mut self) -> Result<Pieces<P>, Unencodable> {
        self.announced.finish();
        self.out.w.tag_count(0);
        self.out.finish()
    }
}

/// The response. Its partitions must be grouped by topic, as those of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceResponse<'a> {
    /// The results, grouped by topic.
    pub partitions: Vec<ProducedPartition<'a>>,
    /// How long a quota delays the client.
    pub throttle_time_ms: i32,
    /// v10, tag 0: the addresses of the current leaders.
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// The result of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducedPartition<'a> {
    /// By name up to v12, by id from v13 on.
    pub topic: Topic<'a>,
    /// The index of the partition.
    pub partition: PartitionIndex,
    /// `None` if the records were appended.
    pub error_code: ErrorCode,
    /// The offset of the first record; -1 with an error.
    pub base_offset: i64,
    /// -1 unless the topic has `message.timestamp.type=LogAppendTime`.
    pub log_append_time_ms: i64,
    /// v5; -1 with an error.
    pub log_start_offset: i64,
    /// v8: the rejected records of the batch.
    pub record_errors: Vec<RecordError<'a>>,
    /// v8: a text for the producer's log; null if unset.
    pub error_message: Option<Cow<'a, str>>,
    /// v10, tag 0: set if another broker leads the partition (KIP-951).
    pub current_leader: CurrentLeader,
}

/// One rejected record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError<'a> {
    /// The index of the record in its batch.
    pub batch_index: i32,
    /// The reason; null if unset.
    pub message: Option<Cow<'a, str>>,
}

impl<'a> ProducedPartition<'a> {
    /// A partition to which nothing was appended, with the error.
    pub fn refused(topic: Topic<'a>, partition: PartitionIndex, error_code: ErrorCode) -> ProducedPartition<'a> {
        ProducedPartition {
            topic,
            partition,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: CurrentLeader::default(),
        }
    }

    fn decode(r: &mut Reader<'a>, topic: Topic<'a>, version: i16) -> Result<ProducedPartition<'a>, Malformed> {
        let partition = r.i32()?;
        let code = r.i16()?;
        let mut produced = ProducedPartition::refused(topic, partition, ErrorCode::None);
        produced.error_code = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        produced.base_offset = r.i64()?;
        produced.log_append_time_ms = r.i64()?;
        if version >= 5 {
            produced.log_start_offset = r.i64()?;
        }
        if version >= 8 {
            for _ in 0..r.array_len(4 + 1)? {
                let (batch_index, message) = (r.i32()?, r.nullable_string()?.map(Cow::Borrowed));
                r.skip_tags()?;
                produced.record_errors.push(RecordError { batch_index, message });
            }
            produced.error_message = r.nullable_string()?.map(Cow::Borrowed);
        }
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            if tag == 0 && version >= 10 {
                produced.current_leader = CurrentLeader::decode(&mut field)?;
                field.end()?;
            }
        }
        Ok(produced)
    }

    fn encode(&self, w: &mut Writer, version: i16) {
        w.i32(self.partition);
        w.i16(self.error_code.code());
        w.i64(self.base_offset);
        w.i64(self.log_append_time_ms);
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        if version >= 8 {
            w.array_len(self.record_errors.len());
            for error in &self.record_errors {
                w.i32(error.batch_index);
                w.error_message(error.message.as_deref());
                w.tag_count(0);
            }
            w.error_message(self.error_message.as_deref());
        }
        if version >= 10 && self.current_leader != CurrentLeader::default() {
            w.tag_count(1);
            w.tag(0, |w| self.current_leader.encode(w));
        } else {
            w.tag_count(0);
        }
    }
}

impl<'a> ProduceResponse<'a> {
    /// Encodes to a writer at the body. Fields that the version lacks are omitted; all versions have base offset and
    /// error.
    pub fn encode(&self, w: &mut Writer, version: i16) {
        w.set_flexible(ApiKey::Produce.api().is_flexible(version));
        let topics = || self.partitions.chunk_by(|a, b| a.topic == b.topic);
        w.array_len(topics().count());
        for partitions in topics() {
            partitions[0].topic.encode(w, version >= BY_ID_FROM);
            w.array_len(partitions.len());
            for partition in partitions {
                partition.encode(w, version);
            }
            w.tag_count(0);
        }
        w.i32(self.throttle_time_ms);
        if version >= 10 && !self.node_endpoints.is_empty() {
            w.tag_count(1);
            w.tag(0, |w| NodeEndpoint::encode_all(&self.node_endpoints, w));
        } else {
            w.tag_count(0);
        }
    }

    /// Encodes a whole frame, including the length prefix.
    pub fn encode_frame(&self, version: i16, correlation_id: i32) -> Result<Vec<u8>, Unencodable> {
        let mut w = frame::response(ApiKey::Produce.api(), version, correlation_id);
        self.encode(&mut w, version);
        w.finish()
    }

    /// Decodes from a reader at the body.
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<ProduceResponse<'a>, Malformed> {
        r.set_flexible(ApiKey::Produce.api().is_flexible(version));
        let mut response = ProduceResponse::default();
        for _ in 0..r.array_len(Topic::BYTES_MIN + 1)? {
            let topic = Topic::decode(r, version >= BY_ID_FROM)?;
            for _ in 0..r.array_len(4 + 2 + 8 + 8)? {
                response.partitions.push(ProducedPartition::decode(r, topic, version)?);
            }
            r.skip_tags()?;
        }
        response.throttle_time_ms = r.i32()?;
        for _ in 0..r.tag_count()? {
            let (tag, mut field) = r.tag()?;
            if tag == 0 && version >= 10 {
                response.node_endpoints = NodeEndpoint::decode_all(&mut field)?;
                field.end()?;
            }
        }
        Ok(response)
    }
}
