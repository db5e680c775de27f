//! What a leader does with the records that one Produce partition carries, before they get an offset.
//!
//! The checks and their order are Kafka's (`ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords`,
//! `LogValidator`), so that the same bytes get the same error code. Where Kafka would accept what its own consumers
//! cannot read back, or answer `UNKNOWN_SERVER_ERROR`, this is stricter and says so at the line.
//!
//! A batch that needs no change is accepted as it is: its records stay borrowed, only the header is a new value.

use crate::model::{ErrorCode, LeaderEpoch, Offset};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::{Codec, Decompressor};
use crate::record::header::{BatchHeader, HEADER_BYTES, MAGIC, PREFIX_BYTES, TimestampType, with_timestamp_type};
use crate::record::records::{Records, Skimmed, skim};
use std::borrow::Cow;

/// The topic's `compression.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCompression {
    /// `producer`: whatever the producer chose.
    Producer,
    /// This codec, at this level (`None`: the codec's default). `uncompressed` is [`Codec::None`].
    Always(Codec, Option<i32>),
}

/// What the request, the topic and the clock say.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The message of the rejection for a batch in zstd, if the client may not send one (KIP-110).
    pub zstd_rejection: Option<&'static str>,
    /// `max.message.bytes`: of a whole batch, as it came and as it will be stored.
    pub message_bytes_max: usize,
    /// `segment.bytes`: a batch must fit one segment.
    pub segment_bytes_max: usize,
    pub compression: TopicCompression,
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`: then every record needs a key.
    pub is_compacted: bool,
    pub now_ms: i64,
}

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct Accepted<'a> {
    /// As it will be stored, CRC included, but for base offset (0) and leader epoch.
    pub header: BatchHeader,
    /// What follows the header in the log. Borrowed unless the records had to be written anew.
    pub records: Cow<'a, [u8]>,
    /// The first record with `header.max_timestamp`, counted from the batch's base offset.
    pub offset_delta_of_max_timestamp: i32,
    /// Whether the whole batch, base offset and leader epoch aside, is the producer's bytes unchanged.
    pub is_as_sent: bool,
}

impl Accepted<'_> {
    /// How many bytes the batch takes in the log.
    pub fn total_bytes(&self) -> usize {
        self.header.total_bytes()
    }

    /// The 61 bytes to store in front of [`records`](Self::records), now that the batch has a place.
    pub fn stored_header(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; HEADER_BYTES] {
        BatchHeader { base_offset, leader_epoch, ..self.header }.encode()
    }

    /// `log_append_time_ms` of the Produce answer: -1 under CreateTime.
    pub fn log_append_time_ms(&self) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::CreateTime => -1,
            TimestampType::LogAppendTime => self.header.max_timestamp,
        }
    }
}

/// A batch that may not be appended, and what to tell its producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    pub error: ErrorCode,
    pub message: String,
    /// Which records are to blame (KIP-467); empty when the batch as a whole is. At most [`RECORD_ERRORS_MAX`].
    pub record_errors: Vec<RecordFault>,
}

/// One record to blame, by its place in the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordFault {
    pub batch_index: i32,
    pub message: String,
}

/// A batch of a megabyte can hold 150,000 bad records; the answer names this many.
pub const RECORD_ERRORS_MAX: usize = 1000;

fn rejected(error: ErrorCode, message: impl ToString) -> Rejected {
    Rejected { error, message: message.to_string(), record_errors: Vec::new() }
}

fn invalid(message: impl ToString) -> Rejected {
    rejected(ErrorCode::InvalidRecord, message)
}

/// Checks the `records` field of one partition of a Produce request and makes it ready to be appended.
pub fn validate<'a>(
    records: &'a [u8],
    rules: &Rules,
    decompressor: &mut Decompressor,
) -> Result<Accepted<'a>, Rejected> {
    let header = the_one_batch(records)?;
    check_batch(&header, records, rules)?;
    let stored = &records[HEADER_BYTES..];
    let codec = header.codec().expect("check_batch refuses unknown codecs");
    // Kafka answers UNKNOWN_SERVER_ERROR to records it cannot decompress; the bytes are as sent, so they are to blame.
    let decoded = decompressor.decompress(codec, stored).map_err(invalid)?;
    let walked = walk(&header, decoded, rules)?;

    let (target, level) = match rules.compression {
        TopicCompression::Producer => (codec, None),
        TopicCompression::Always(codec, level) => (codec, level),
    };
    let accepted = if target == codec && walked.has_consecutive_offsets {
        keep(header, stored, &walked, rules)
    } else {
        let rebuilt = rebuild(&header, decoded, target, level, &walked, rules)?;
        check_size(&rebuilt.header, rules)?;
        rebuilt
    };
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

/// Exactly one batch of magic 2 that fills the bytes to the last one.
fn the_one_batch(records: &[u8]) -> Result<BatchHeader, Rejected> {
    let none = || invalid("Produce requests must have at least one record batch per partition");
    let length = records.get(8..PREFIX_BYTES).ok_or_else(none)?;
    let length = i32::from_be_bytes(length.try_into().expect("4 bytes"));
    // 14 is the smallest record of the oldest format: the bound Kafka applies before it knows the format.
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
    // Kafka drops a part of a second batch without a word; acknowledging what is dropped would be a lie.
    if records.len() > total {
        return Err(invalid("Produce requests are only allowed to contain exactly one record batch per partition"));
    }
    Ok(BatchHeader::decode(records).expect("61 bytes are there"))
}

/// What the header alone, its size and its CRC tell.
fn check_batch(header: &BatchHeader, records: &[u8], rules: &Rules) -> Result<(), Rejected> {
    if let Some(message) = rules.zstd_rejection
        && header.codec() == Some(Codec::Zstd)
    {
        return Err(rejected(ErrorCode::UnsupportedCompressionType, message));
    }
    if header.base_offset != 0 {
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
    // Kafka: UNKNOWN_SERVER_ERROR, by an exception nobody thought of.
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

fn check_size(header: &BatchHeader, rules: &Rules) -> Result<(), Rejected> {
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

/// What one pass over the records found.
struct Walked {
    max_timestamp: i64,
    offset_delta_of_max_timestamp: i32,
    has_consecutive_offsets: bool,
}

fn walk(header: &BatchHeader, decoded: &[u8], rules: &Rules) -> Result<Walked, Rejected> {
    let mut walked = Walked { max_timestamp: -1, offset_delta_of_max_timestamp: 0, has_consecutive_offsets: true };
    let mut faults = Faults::default();
    let mut rest = decoded;
    for index in 0..header.records_count {
        let record = skim(&mut rest).ok_or_else(|| malformed(header, decoded))?;
        // Under a client's own LogAppendTime bit Kafka takes max_timestamp here; the record's own time is the truth
        // that remains once the bit is cleared.
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if is_fault(header, &record, timestamp, rules) {
            faults.add(index, &record, timestamp, rules);
        }
        if timestamp > walked.max_timestamp {
            walked.max_timestamp = timestamp;
            walked.offset_delta_of_max_timestamp = index;
        }
        // Some old clients number the records of a compressed batch wrongly; Kafka rewrites such batches.
        walked.has_consecutive_offsets &= record.offset_delta == index;
    }
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

/// What is wrong with records that do not skim, found by reading them thoroughly.
#[cold]
fn malformed(header: &BatchHeader, decoded: &[u8]) -> Rejected {
    let error = Records::new(header, decoded).find_map(Result::err);
    invalid(error.expect("skim and Records agree on what a record is"))
}

/// Whether the record is to blame for something; what for, [`Faults::add`] finds out.
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

/// The records to blame so far.
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

    fn into_result(self) -> Result<(), Rejected> {
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
        Err(Rejected { error, message, record_errors: self.listed })
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

/// The batch with its records untouched. The header changes under LogAppendTime, and where the producer's
/// `max_timestamp` was not the maximum.
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

/// Numbers may take up to 10 bytes in the new batch where they took one, and a batch's length is an i32.
const REBUILT_BYTES_MAX: usize = 256 << 20;

/// The same records written anew: another codec, offsets 0, 1, 2, ...
fn rebuild(
    header: &BatchHeader,
    decoded: &[u8],
    codec: Codec,
    level: Option<i32>,
    walked: &Walked,
    rules: &Rules,
) -> Result<Accepted<'static>, Rejected> {
    if decoded.len() > REBUILT_BYTES_MAX {
        return Err(rejected(
            ErrorCode::MessageTooLarge,
            format!("The records decompress to {} bytes, too many to be written anew", decoded.len()),
        ));
    }
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: 0,
        leader_epoch: header.leader_epoch,
        codec,
        level,
        log_append_time_ms: (rules.timestamp_type == TimestampType::LogAppendTime).then_some(rules.now_ms),
        is_transactional: header.is_transactional(),
        is_control: false,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    });
    for record in Records::new(header, decoded) {
        let record = record.map_err(invalid)?;
        builder.append_record(header.base_timestamp.wrapping_add(record.timestamp_delta), &record);
    }
    let (header, records) = builder.finish_apart();
    assert_eq!(header.max_timestamp, walked.max_timestamp, "REC-3: the maximum is the same in both passes");
    Ok(Accepted {
        header,
        records: Cow::Owned(records),
        offset_delta_of_max_timestamp: walked.offset_delta_of_max_timestamp,
        is_as_sent: false,
    })
}

#[cfg(test)]
mod tests;
