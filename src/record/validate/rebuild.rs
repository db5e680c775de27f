//! Rebuilds a batch in steps: for a topic with a codec of its own (`compression.type`), and for wrong offset deltas.
//!
//! The new batch is compressed while its records are written, so only the decoded and the compressed form are in memory
//! as a whole.

use super::{Accepted, BatchRejected, Rules, Walked, check_size, invalid, rejected};
use crate::model::{ErrorCode, TopicCompression};
use crate::record::builder::{BatchOptions, write_record};
use crate::record::codec::{Compressor, STEP_BYTES};
use crate::record::header::{BatchHeader, TimestampType};
use crate::record::records::Records;
use std::borrow::Cow;

/// The largest records to rebuild. A number of one byte may take 10 in the new batch, and a batch's length is an i32.
const REBUILT_BYTES_MAX: usize = 256 << 20;

/// A batch that is being rebuilt with the same records, the topic's codec and the offset deltas 0, 1, 2, ...
pub(super) struct Rebuild<'a> {
    rules: &'a Rules,
    walked: &'a Walked,
    batch_base_timestamp: i64,
    options: BatchOptions,
    records: Records<'a>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    compressor: Compressor,
    /// Records that are written. Those before `compressed` are in the compressor.
    plain: Vec<u8>,
    compressed: usize,
}

impl<'a> Rebuild<'a> {
    /// `None`: the batch may stay as it is.
    pub fn new(
        header: &BatchHeader,
        decoded: &'a [u8],
        walked: &'a Walked,
        rules: &'a Rules,
    ) -> Result<Option<Rebuild<'a>>, BatchRejected> {
        let sent = header.codec().expect("check_batch rejects unknown codecs");
        let (codec, level) = match rules.compression {
            TopicCompression::Producer => (sent, None),
            TopicCompression::Always(codec, level) => (codec, level),
        };
        if codec == sent && walked.has_consecutive_offsets {
            return Ok(None);
        }
        if decoded.len() > REBUILT_BYTES_MAX {
            let message = format!("The records decompress to {} bytes, too many to be rebuilt", decoded.len());
            return Err(rejected(ErrorCode::MessageTooLarge, message));
        }
        let options = BatchOptions {
            leader_epoch: header.leader_epoch,
            codec,
            level,
            log_append_time_ms: (rules.timestamp_type == TimestampType::LogAppendTime).then_some(rules.now_ms),
            is_transactional: header.is_transactional(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            ..BatchOptions::default()
        };
        Ok(Some(Rebuild {
            rules,
            walked,
            batch_base_timestamp: header.base_timestamp,
            options,
            records: Records::new(header, decoded),
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            compressor: Compressor::new(codec, level, decoded.len()),
            plain: Vec::new(),
            compressed: 0,
        }))
    }

    /// Writes and compresses about [`STEP_BYTES`]. Returns whether more may follow.
    pub fn step(&mut self) -> Result<bool, BatchRejected> {
        if self.plain.len() - self.compressed < STEP_BYTES {
            self.plain.drain(..self.compressed);
            self.compressed = 0;
        }
        while self.plain.len() < STEP_BYTES {
            let Some(record) = self.records.next() else { return Ok(false) };
            let mut record = record.map_err(invalid)?;
            let timestamp = self.batch_base_timestamp.wrapping_add(record.timestamp_delta);
            if self.count == 0 {
                self.base_timestamp = timestamp;
            }
            self.max_timestamp = self.max_timestamp.max(timestamp);
            record.offset_delta = self.count;
            write_record(timestamp.wrapping_sub(self.base_timestamp), &record, &mut self.plain);
            self.count += 1;
        }
        self.compressor.write(&self.plain[self.compressed..self.compressed + STEP_BYTES]);
        self.compressed += STEP_BYTES;
        // Memory is bounded by the size that `finish` would accept.
        if self.compressor.bytes() > self.rules.message_bytes_max {
            let message = "The rebuilt record batch exceeds the maximum configured size";
            return Err(rejected(ErrorCode::MessageTooLarge, message));
        }
        Ok(true)
    }

    /// The new batch, after the last step.
    pub fn finish(mut self) -> Result<Accepted<'static>, BatchRejected> {
        self.compressor.write(&self.plain[self.compressed..]);
        let records = self.compressor.finish();
        let header = self.options.header(self.count, self.base_timestamp, self.max_timestamp, &records);
        assert!(
            header.max_timestamp == self.walked.max_timestamp,
            "REC-3: both passes find the same maximum timestamp"
        );
        assert!(header.last_offset_delta + 1 == header.records_count, "REC-3: the offset deltas are 0, 1, 2, ..");
        check_size(&header, self.rules)?;
        Ok(Accepted {
            header,
            records: Cow::Owned(records),
            offset_delta_of_max_timestamp: self.walked.offset_delta_of_max_timestamp,
            is_as_sent: false,
        })
    }
}
