//! Checks the records of one partition in a Produce request and prepares them for the append.
//!
//! The checks and their order are Kafka's (`ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords`,
//! `LogValidator`), so that the same bytes get the same error code. If Kafka accepts a batch that its own consumers
//! cannot read, or responds with `UNKNOWN_SERVER_ERROR`, this is stricter, with a comment at the line.
//!
//! The records of a batch that needs no change stay borrowed; only the header is a new value.

mod rebuild;

pub use crate::model::TopicCompression;
use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::record::codec::{self, Codec, CodecError, Decompressor};
use crate::record::header::{BatchHeader, HEADER_BYTES, MAGIC, PREFIX_BYTES, TimestampType, with_timestamp_type};
use crate::record::records::{Records, Skimmed, skim};
use rebuild::Rebuild;
use std::borrow::Cow;

/// The parameters of the checks, from the request, the topic and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The message of the rejection for a batch in zstd, if the client may not send one (KIP-110).
    pub zstd_rejection: Option<&'static str>,
    /// `max.message.bytes`: of a whole batch, as received and as stored.
    pub message_bytes_max: usize,
    /// `max.decompressed.message.bytes`: of one record in a compressed batch.
    pub record_bytes_max: usize,
    /// `segment.bytes`: a batch must fit one segment.
    pub segment_bytes_max: usize,
    /// `compression.type`
    pub compression: TopicCompression,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`, so that every record needs a key.
    pub is_compacted: bool,
    /// Wall time in ms since 1970, which the timestamps of records are compared with.
    pub now_ms: i64,
}

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct Accepted<'a> {
    /// As stored, with its CRC. Only base offset (0) and leader epoch are set later.
    pub header: BatchHeader,
    /// The bytes after the header in the log. Borrowed unless the batch is rebuilt.
    pub records: Cow<'a, [u8]>,
    /// The first record with `header.max_timestamp`, relative to the base offset.
    pub offset_delta_of_max_timestamp: i32,
    /// Whether the stored batch equals the producer's bytes, except for base offset and leader epoch.
    pub is_as_sent: bool,
}

impl Accepted<'_> {
    /// The size of the batch in the log.
    pub fn total_bytes(&self) -> usize {
        self.header.total_bytes()
    }

    /// The stored header, which precedes [`records`](Self::records), of a batch at `base_offset`.
    pub fn stored_header(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; HEADER_BYTES] {
        BatchHeader { base_offset, leader_epoch, ..self.header }.encode()
    }

    /// `log_append_time_ms` of the Produce response: -1 under CreateTime.
    pub fn log_append_time_ms(&self) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::CreateTime => -1,
            TimestampType::LogAppendTime => self.header.max_timestamp,
        }
    }
}

/// The error of a batch that is rejected, for its producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchRejected {
    /// Kafka's code.
    pub error: ErrorCode,
    /// The text for the producer, with the position of the fault.
    pub message: String,
    /// The invalid records (KIP-467), at most [`RECORD_ERRORS_MAX`]. Empty if the fault is not in single records.
    pub record_errors: Vec<RecordFault>,
}

/// One invalid record, by its index in the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordFault {
    /// The record's position in the batch, from 0.
    pub batch_index: i32,
    /// The text for the producer.
    pub message: String,
}

/// A batch of 1 MB can hold 150,000 invalid records; the response lists at most this many.
pub const RECORD_ERRORS_MAX: usize = 1000;

fn rejected(error: ErrorCode, message: impl ToString) -> BatchRejected {
    BatchRejected { error, message: message.to_string(), record_errors: Vec::new() }
}

fn invalid(message: impl ToString) -> BatchRejected {
    rejected(ErrorCode::InvalidRecord, message)
}

/// Why a batch was not validated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotAccepted {
    /// The batch is rejected.
    Rejected(BatchRejected),
    /// The batch decodes to more than this, or would take too long at once. A caller with more memory and more time
    /// may accept it.
    LargerThan(usize),
}

impl NotAccepted {
    /// The error for the producer, if there is no more memory or time.
    pub fn rejection(self) -> BatchRejected {
        match self {
            NotAccepted::Rejected(rejected) => rejected,
            NotAccepted::LargerThan(limit) => invalid(CodecError::TooLarge { limit }),
        }
    }
}

impl From<BatchRejected> for NotAccepted {
    fn from(rejected: BatchRejected) -> NotAccepted {
        NotAccepted::Rejected(rejected)
    }
}

impl From<CodecError> for NotAccepted {
    fn from(error: CodecError) -> NotAccepted {
        match error {
            CodecError::TooLarge { limit } => NotAccepted::LargerThan(limit),
            // Kafka responds with UNKNOWN_SERVER_ERROR to records it cannot decompress. The CRC matches, so the
            // producer is at fault.
            error => invalid(error).into(),
        }
    }
}

/// Checks the `records` field of one partition of a Produce request and prepares it for the append.
pub fn validate<'a>(
    records: &'a [u8],
    rules: &Rules,
    decompressor: &mut Decompressor,
) -> Result<Accepted<'a>, BatchRejected> {
    let all = Effort { stored_bytes_max: usize::MAX, rebuilt_bytes_max: usize::MAX };
    validate_within(records, rules, all, decompressor).map_err(NotAccepted::rejection)
}

/// Bounds the work that is done at once. The limit of the [`Decompressor`] bounds it too.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The largest batch to check.
    pub stored_bytes_max: usize,
    /// The most decoded bytes of a batch to rebuild.
    pub rebuilt_bytes_max: usize,
}

/// As [`validate`], but leaves a batch alone that needs more than this effort.
pub fn validate_within<'a>(
    records: &'a [u8],
    rules: &Rules,
    effort: Effort,
    decompressor: &mut Decompressor,
) -> Result<Accepted<'a>, NotAccepted> {
    if records.len() > effort.stored_bytes_max {
        return Err(NotAccepted::LargerThan(effort.stored_bytes_max));
    }
    let header = the_one_batch(records)?;
    check_batch(&header, records, rules)?;
    let stored = &records[HEADER_BYTES..];
    let decoded = decompressor.records(&header, stored)?;
    let mut walk = Walk::new(&header, decoded, rules);
    while walk.step(i32::MAX)? {}
    let walked = walk.finish()?;
    let Some(mut rebuild) = Rebuild::new(&header, decoded, &walked, rules)? else {
        return Ok(fitting(keep(header, stored, &walked, rules), rules)?);
    };
    if decoded.len() > effort.rebuilt_bytes_max {
        return Err(NotAccepted::LargerThan(effort.rebuilt_bytes_max));
    }
    while rebuild.step()? {}
    Ok(fitting(rebuild.finish()?, rules)?)
}

/// The records that one step of [`validate_in_steps`] checks.
pub(super) const STEP_RECORDS: i32 = 8192;

/// As [`validate`], for a large batch: calls `pause` after about [`codec::STEP_BYTES`] or some thousand records, so
/// that other tasks can run. `limit` is the most decoded bytes.
pub async fn validate_in_steps<'a>(
    records: &'a [u8],
    rules: &Rules,
    limit: usize,
    pause: impl AsyncFn(),
) -> Result<Accepted<'a>, NotAccepted> {
    let header = the_one_batch(records)?;
    check_batch(&header, records, rules)?;
    pause().await;
    let stored = &records[HEADER_BYTES..];
    let codec = header.codec().expect("check_batch rejects unknown codecs");
    let mut decoding = codec::Decoding::new(codec, stored, limit)?;
    while decoding.step()? {
        pause().await;
    }
    let decoded = decoding.decoded();
    let mut walk = Walk::new(&header, decoded, rules);
    while walk.step(STEP_RECORDS)? {
        pause().await;
    }
    let walked = walk.finish()?;
    let Some(mut rebuild) = Rebuild::new(&header, decoded, &walked, rules)? else {
        return Ok(fitting(keep(header, stored, &walked, rules), rules)?);
    };
    while rebuild.step()? {
        pause().await;
    }
    Ok(fitting(rebuild.finish()?, rules)?)
}

/// Rejects a batch that does not fit a segment.
fn fitting<'a>(accepted: Accepted<'a>, rules: &Rules) -> Result<Accepted<'a>, BatchRejected> {
    if accepted.total_bytes() > rules.segment_bytes_max {
        return Err(rejected(
            ErrorCode::RecordListTooLarge,
            format!(
                "Message batch size is {} bytes, which exceeds the maximum configured segment size of {}.",
                accepted.total_bytes(),
                rules.segment_bytes_max
            ),
        ));
    }
    Ok(accepted)
}

/// The header of the batch. `records` must be exactly one batch of magic 2.
fn the_one_batch(records: &[u8]) -> Result<BatchHeader, BatchRejected> {
    let none = || invalid("Produce requests must have at least one record batch per partition");
    let length = records.get(8..PREFIX_BYTES).ok_or_else(none)?;
    let length = i32::from_be_bytes(length.try_into().expect("4 bytes"));
    // 14 is the smallest record of the oldest format. Kafka applies this bound before it reads the format.
    if length < 14 {
        return Err(rejected(
            ErrorCode::CorruptMessage,
            format!("Record size {length} is less than the minimum record overhead (14)"),
        ));
    }
    let total = length as usize + PREFIX_BYTES;
    match records.get(16).map(|magic| *magic as i8) {
        None => return Err(none()),
        Some(magic @ (i8::MIN..=-1 | 3..)) => {
            return Err(rejected(ErrorCode::CorruptMessage, format!("Invalid magic found in record: {magic}")));
        }
        Some(_) if records.len() < total => return Err(none()),
        Some(MAGIC) => {}
        Some(magic) => {
            return Err(invalid(format!(
                "Produce requests are only allowed to contain record batches with magic version 2, not {magic}"
            )));
        }
    }
    if total < HEADER_BYTES {
        return Err(rejected(
            ErrorCode::CorruptMessage,
            format!("Record batch is corrupt (the size {total} is smaller than the header's {HEADER_BYTES})"),
        ));
    }
    // Kafka silently drops a partial second batch. Here it is rejected, because dropped records must not be
    // acknowledged.
    if records.len() > total {
        return Err(invalid("Produce requests are only allowed to contain exactly one record batch per partition"));
    }
    Ok(BatchHeader::decode(records).expect("61 bytes are there"))
}

/// Checks the header, the size and the CRC.
fn check_batch(header: &BatchHeader, records: &[u8], rules: &Rules) -> Result<(), BatchRejected> {
    if let Some(message) = rules.zstd_rejection
        && header.codec() == Some(Codec::Zstd)
    {
        return Err(rejected(ErrorCode::UnsupportedCompressionType, message));
    }
    if header.base_offset != Offset::ZERO {
        return Err(invalid(format!(
            "The baseOffset of the record batch should be 0, but it is {}",
            header.base_offset
        )));
    }
    check_size(header, rules)?;
    if !header.crc_matches(records) {
        return Err(rejected(
            ErrorCode::CorruptMessage,
            format!("Record is corrupt (stored crc = {}, computed crc = {})", header.crc, {
                crc32c::crc32c(&records[crate::record::header::CRC_START..])
            }),
        ));
    }
    // Kafka responds with UNKNOWN_SERVER_ERROR, after an unhandled exception.
    if header.codec().is_none() {
        return Err(rejected(
            ErrorCode::UnsupportedCompressionType,
            format!("Unknown compression type id: {}", header.codec_id()),
        ));
    }
    let BatchHeader { last_offset_delta, records_count, .. } = *header;
    if last_offset_delta < 0 {
        return Err(invalid(format!("Batch has an invalid offset range: [0, {last_offset_delta}]")));
    }
    if records_count <= 0 {
        return Err(invalid(format!("Invalid reported count for record batch: {records_count}")));
    }
    if i64::from(last_offset_delta) + 1 != i64::from(records_count) {
        return Err(invalid(format!(
            "Inconsistent batch offset range [0, {last_offset_delta}] and count of records {records_count}"
        )));
    }
    if header.is_control() {
        return Err(invalid("Clients are not allowed to write control records"));
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(invalid(format!(
            "Invalid sequence number {} in record batch with producerId {}",
            header.base_sequence, header.producer_id
        )));
    }
    Ok(())
}

fn check_size(header: &BatchHeader, rules: &Rules) -> Result<(), BatchRejected> {
    if header.total_bytes() <= rules.message_bytes_max {
        return Ok(());
    }
    Err(rejected(
        ErrorCode::MessageTooLarge,
        format!(
            "The record batch size in the append is {} bytes which exceeds the maximum configured value of {}",
            header.total_bytes(),
            rules.message_bytes_max
        ),
    ))
}

/// The result of one pass over the records.
struct Walked {
    max_timestamp: i64,
    offset_delta_of_max_timestamp: i32,
    has_consecutive_offsets: bool,
}

/// The pass over the records, in steps.
struct Walk<'a> {
    header: &'a BatchHeader,
    decoded: &'a [u8],
    rules: &'a Rules,
    rest: &'a [u8],
    next: i32,
    walked: Walked,
    faults: Faults,
}

impl<'a> Walk<'a> {
    fn new(header: &'a BatchHeader, decoded: &'a [u8], rules: &'a Rules) -> Walk<'a> {
        let walked = Walked { max_timestamp: -1, offset_delta_of_max_timestamp: 0, has_consecutive_offsets: true };
        Walk { header, decoded, rules, rest: decoded, next: 0, walked, faults: Faults::default() }
    }

    /// Checks the next `count` records. Returns whether more follow.
    fn step(&mut self, count: i32) -> Result<bool, BatchRejected> {
        let Walk { header, decoded, rules, .. } = *self;
        let end = header.records_count.min(self.next.saturating_add(count));
        let (mut rest, walked) = (self.rest, &mut self.walked);
        let is_compressed = header.codec() != Some(Codec::None);
        for index in self.next..end {
            let record = skim(&mut rest).ok_or_else(|| malformed(header, decoded))?;
            if is_compressed && record.bytes > rules.record_bytes_max {
                return Err(invalid(format!(
                    "Invalid record size: {} exceeds the configured maximum record size of {}.",
                    record.bytes, rules.record_bytes_max
                )));
            }
            // If the client set the LogAppendTime bit, Kafka uses max_timestamp here. Here the bit is cleared, so the
            // record keeps its own timestamp.
            let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
            if is_fault(header, &record, timestamp, rules) {
                self.faults.add(index, &record, timestamp, rules);
            }
            if timestamp > walked.max_timestamp {
                walked.max_timestamp = timestamp;
                walked.offset_delta_of_max_timestamp = index;
            }
            // Some old clients set wrong offset deltas in a compressed batch. Kafka rewrites such batches.
            walked.has_consecutive_offsets &= record.offset_delta == index;
        }
        (self.rest, self.next) = (rest, end);
        Ok(end < header.records_count)
    }

    fn finish(self) -> Result<Walked, BatchRejected> {
        let Walk { header, decoded, rules, rest, mut walked, faults, .. } = self;
        if !rest.is_empty() {
            return Err(malformed(header, decoded));
        }
        faults.into_result()?;
        if rules.timestamp_type == TimestampType::LogAppendTime {
            walked.max_timestamp = rules.now_ms;
            walked.offset_delta_of_max_timestamp = 0;
        }
        Ok(walked)
    }
}

/// The error of records that `skim` rejects, found by reading them with [`Records`].
#[cold]
fn malformed(header: &BatchHeader, decoded: &[u8]) -> BatchRejected {
    let error = Records::new(header, decoded).find_map(Result::err);
    invalid(error.expect("skim and Records agree on what a record is"))
}

/// Whether the record is invalid. [`Faults::add`] finds the reason.
#[inline]
fn is_fault(header: &BatchHeader, record: &Skimmed, timestamp: i64, rules: &Rules) -> bool {
    let is_off_time = if rules.timestamp_type == TimestampType::CreateTime && timestamp != -1 {
        rules.now_ms.saturating_sub(timestamp) > rules.timestamp_before_max_ms
            || timestamp.saturating_sub(rules.now_ms) > rules.timestamp_after_max_ms
    } else {
        header.timestamp_type() == TimestampType::LogAppendTime
    };
    is_off_time || (rules.is_compacted && !record.has_key)
}

/// The invalid records found so far.
#[derive(Default)]
struct Faults {
    count: usize,
    has_timestamp_fault: bool,
    listed: Vec<RecordFault>,
}

impl Faults {
    #[cold]
    fn add(&mut self, batch_index: i32, record: &Skimmed, timestamp: i64, rules: &Rules) {
        let message = if rules.is_compacted && !record.has_key {
            "Compacted topic cannot accept message without key".to_string()
        } else {
            self.has_timestamp_fault = true;
            timestamp_message(record, timestamp, rules)
        };
        self.count += 1;
        if self.listed.len() < RECORD_ERRORS_MAX {
            self.listed.push(RecordFault { batch_index, message });
        }
    }

    fn into_result(self) -> Result<(), BatchRejected> {
        if self.count == 0 {
            return Ok(());
        }
        let (error, message) = if self.has_timestamp_fault {
            let text = "One or more records have been rejected due to invalid timestamp";
            (ErrorCode::InvalidTimestamp, text.to_string())
        } else {
            let first: Vec<_> = self.listed.iter().take(3).map(|fault| fault.message.as_str()).collect();
            let text = format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the first \
                 three errors at most: [{}]",
                self.count,
                first.join(", ")
            );
            (ErrorCode::InvalidRecord, text)
        };
        Err(BatchRejected { error, message, record_errors: self.listed })
    }
}

fn timestamp_message(record: &Skimmed, timestamp: i64, rules: &Rules) -> String {
    let offset = record.offset_delta;
    if rules.timestamp_type == TimestampType::CreateTime && timestamp != -1 {
        let first = rules.now_ms.saturating_sub(rules.timestamp_before_max_ms);
        let last = rules.now_ms.saturating_add(rules.timestamp_after_max_ms);
        format!(
            "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within \
             [{first}, {last}]"
        )
    } else {
        format!(
            "Invalid timestamp type in message with offset {offset}. Producer should not set timestamp type to \
             LogAppendTime."
        )
    }
}

/// The batch with its records unchanged. The header changes under LogAppendTime, and if the producer's `max_timestamp`
/// is not the maximum.
fn keep<'a>(mut header: BatchHeader, stored: &'a [u8], walked: &Walked, rules: &Rules) -> Accepted<'a> {
    let is_as_sent = header.timestamp_type() == rules.timestamp_type && header.max_timestamp == walked.max_timestamp;
    if !is_as_sent {
        header.attributes = with_timestamp_type(header.attributes, rules.timestamp_type);
        header.max_timestamp = walked.max_timestamp;
        header.crc = header.crc_with(stored);
    }
    Accepted {
        header,
        records: Cow::Borrowed(stored),
        offset_delta_of_max_timestamp: walked.offset_delta_of_max_timestamp,
        is_as_sent,
    }
}

#[cfg(test)]
mod tests;
