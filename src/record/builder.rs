//! Builds one v2 batch from records: for the client tools, the load generator and recompression.

use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::codec::{self, Codec};
use crate::record::header::{BatchHeader, HEADER_BYTES, MAGIC, PREFIX_BYTES, TimestampType, attributes};
use crate::record::records::Record;
use crate::record::varint;

/// The header fields of a batch that its records do not determine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchOptions {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The leader epoch; -1 in a produced batch.
    pub leader_epoch: LeaderEpoch,
    /// The compression of the records.
    pub codec: Codec,
    /// On the codec's own scale. `None` is Kafka's default.
    pub level: Option<i32>,
    /// `Some(now)`: a LogAppendTime batch, whose records all have that time.
    pub log_append_time_ms: Option<i64>,
    /// The batch belongs to a transaction (KIP-98).
    pub is_transactional: bool,
    /// The batch holds a marker, which consumers do not get.
    pub is_control: bool,
    /// -1 without idempotence.
    pub producer_id: ProducerId,
    /// -1 without idempotence.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; -1 without idempotence.
    pub base_sequence: i32,
}

impl Default for BatchOptions {
    /// The batch of a plain producer: uncompressed, CreateTime, not idempotent, offset 0.
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
            codec: Codec::None,
            level: None,
            log_append_time_ms: None,
            is_transactional: false,
            is_control: false,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// Collects records into a batch. They get consecutive offsets.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Space for the header, then the uncompressed records.
    bytes: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A builder without records.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder { options, bytes: vec![0; HEADER_BYTES], count: 0, base_timestamp: -1, max_timestamp: -1 }
    }

    /// Appends a record. `headers` are key-value pairs in their order.
    pub fn append<'a>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>), IntoIter: Clone>,
    ) {
        let headers = headers.into_iter();
        let pairs = headers.clone().map(|(key, value)| field_bytes(Some(key)) + field_bytes(value)).sum();
        self.start_record(timestamp, key, value, headers.clone().count(), pairs);
        for (key, value) in headers {
            write_field(Some(key), &mut self.bytes);
            write_field(value, &mut self.bytes);
        }
    }

    /// Appends the key, value and headers of `record` with this timestamp and the next offset.
    pub fn append_record(&mut self, timestamp: i64, record: &Record<'_>) {
        let headers = record.headers.stored_bytes();
        self.start_record(timestamp, record.key, record.value, record.headers.len(), headers.len());
        self.bytes.extend_from_slice(headers);
    }

    /// Writes a record up to its headers.
    fn start_record(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: usize,
        header_bytes: usize,
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        write_start(timestamp_delta, self.count, key, value, header_count, header_bytes, &mut self.bytes);
        self.count += 1;
    }

    /// Sets the producer. Its sequence may depend on the final number of records.
    pub fn set_producer(&mut self, producer_id: ProducerId, producer_epoch: ProducerEpoch, base_sequence: i32) {
        self.options.producer_id = producer_id;
        self.options.producer_epoch = producer_epoch;
        self.options.base_sequence = base_sequence;
    }

    /// Makes the batch part of a producer's transaction, without sequences, as a coordinator writes it
    /// (`AppendOrigin.COORDINATOR`).
    pub fn set_transactional(&mut self, producer_id: ProducerId, producer_epoch: ProducerEpoch) {
        self.set_producer(producer_id, producer_epoch, -1);
        self.options.is_transactional = true;
    }

    /// Whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of appended records.
    pub fn records_count(&self) -> i32 {
        self.count
    }

    /// The batch's size so far, before compression.
    pub fn plain_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The whole batch. Without records it is an empty batch, as compaction leaves it.
    pub fn finish(self) -> Vec<u8> {
        let (header, records) = self.finish_apart();
        let mut batch = Vec::with_capacity(HEADER_BYTES + records.len());
        batch.extend_from_slice(&header.encode());
        batch.extend_from_slice(&records);
        batch
    }

    /// The header by value, and the stored records.
    pub fn finish_apart(mut self) -> (BatchHeader, Vec<u8>) {
        let records = if self.options.codec == Codec::None {
            self.bytes.drain(..HEADER_BYTES);
            self.bytes
        } else {
            let mut compressed = Vec::new();
            codec::compress(self.options.codec, self.options.level, &self.bytes[HEADER_BYTES..], &mut compressed);
            compressed
        };
        let header = self.options.header(self.count, self.base_timestamp, self.max_timestamp, &records);
        (header, records)
    }
}

impl BatchOptions {
    /// The header of a batch of `count` records, which are stored as `records`.
    pub(super) fn header(&self, count: i32, base_timestamp: i64, max_timestamp: i64, records: &[u8]) -> BatchHeader {
        let timestamp_type = match self.log_append_time_ms {
            None => TimestampType::CreateTime,
            Some(_) => TimestampType::LogAppendTime,
        };
        let mut header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: i32::try_from(HEADER_BYTES - PREFIX_BYTES + records.len()).expect("a batch is under 2 GiB"),
            leader_epoch: self.leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: attributes(self.codec, timestamp_type, self.is_transactional, self.is_control),
            last_offset_delta: (count - 1).max(0),
            base_timestamp,
            max_timestamp: self.log_append_time_ms.unwrap_or(max_timestamp),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            records_count: count,
        };
        header.crc = header.crc_with(records);
        header
    }
}

/// Writes a record up to its headers, of which `header_bytes` follow.
fn write_start(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    header_count: usize,
    header_bytes: usize,
    out: &mut Vec<u8>,
) {
    let body = 1
        + varint::bytes_of(timestamp_delta)
        + varint::bytes_of(i64::from(offset_delta))
        + field_bytes(key)
        + field_bytes(value)
        + varint::bytes_of(header_count as i64)
        + header_bytes;
    let body = i32::try_from(body).expect("a record is smaller than 2 GiB");
    varint::write_i32(body, out);
    out.push(0);
    varint::write_i64(timestamp_delta, out);
    varint::write_i32(offset_delta, out);
    write_field(key, out);
    write_field(value, out);
    varint::write_i32(header_count as i32, out);
}

/// Writes an unchanged record, except for its timestamp delta.
pub(super) fn write_record(timestamp_delta: i64, record: &Record<'_>, out: &mut Vec<u8>) {
    let headers = record.headers.stored_bytes();
    write_start(
        timestamp_delta,
        record.offset_delta,
        record.key,
        record.value,
        record.headers.len(),
        headers.len(),
        out,
    );
    out.extend_from_slice(headers);
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| varint::bytes_of(field.len() as i64) + field.len())
}

fn write_field(field: Option<&[u8]>, out: &mut Vec<u8>) {
    match field {
        None => varint::write_i32(-1, out),
        Some(field) => {
            varint::write_i64(field.len() as i64, out);
            out.extend_from_slice(field);
        }
    }
}
