//! The 61-byte header of every batch, decoded by value and patched in place.
//!
//! | at | bytes | field | |
//! |---:|---:|---|---|
//! | 0 | 8 | base offset | outside the CRC: the leader patches it |
//! | 8 | 4 | batch length | bytes after this field, so 12 less than the whole batch |
//! | 12 | 4 | partition leader epoch | outside the CRC: the leader patches it |
//! | 16 | 1 | magic | 2 |
//! | 17 | 4 | CRC-32C | over everything from `attributes` to the end of the batch |
//! | 21 | 2 | attributes | bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | 4 | last offset delta | |
//! | 27 | 8 | base timestamp | the first record's, or the delete horizon when bit 6 is set |
//! | 35 | 8 | max timestamp | |
//! | 43 | 8 | producer id | -1 none |
//! | 51 | 2 | producer epoch | |
//! | 53 | 4 | base sequence | |
//! | 57 | 4 | records count | |
//!
//! All numbers are big-endian. Magic 0 and 1 share only the layout of the first 17 bytes.

pub use crate::model::TimestampType;
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::codec::Codec;

/// The size of a batch header.
pub const HEADER_BYTES: usize = 61;
/// The size of base offset and batch length, which `batch_length` does not count.
pub const PREFIX_BYTES: usize = 12;
/// The first byte that the CRC covers.
pub const CRC_START: usize = 21;
/// The only batch format since Kafka 4.0.
pub const MAGIC: i8 = 2;

const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

const _: () =
    assert!(CRC_START >= 16, "REC-2: the CRC does not cover base offset and leader epoch, bytes 0..8 and 12..16");
const _: () = assert!(HEADER_BYTES == 8 + 4 + 4 + 1 + 4 + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4);

/// A batch's header by value. Any 61 bytes decode; `validate` checks the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The offset of the first record. Compaction keeps it when that record is removed.
    pub base_offset: Offset,
    /// The bytes after this field, so 12 less than the whole batch.
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch; -1 in a produced batch.
    pub leader_epoch: LeaderEpoch,
    /// The format version; only 2 is legal.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` to the end of the batch.
    pub crc: u32,
    /// Bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// The last offset minus the base offset.
    pub last_offset_delta: i32,
    /// The first record's timestamp in ms since 1970, or the delete horizon when bit 6 is set.
    pub base_timestamp: i64,
    /// The largest timestamp of a record in ms since 1970; -1 if none has one.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: ProducerId,
    /// -1 without idempotence.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; -1 without idempotence.
    pub base_sequence: i32,
    /// The number of records; 0 in a batch that compaction emptied.
    pub records_count: i32,
}

impl BatchHeader {
    /// The header at the start of `bytes`; `None` if they are fewer than 61.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<BatchHeader> {
        let b: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(take(b, 0))),
            batch_length: i32::from_be_bytes(take(b, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(take(b, 12))),
            magic: b[16] as i8,
            crc: u32::from_be_bytes(take(b, 17)),
            attributes: i16::from_be_bytes(take(b, 21)),
            last_offset_delta: i32::from_be_bytes(take(b, 23)),
            base_timestamp: i64::from_be_bytes(take(b, 27)),
            max_timestamp: i64::from_be_bytes(take(b, 35)),
            producer_id: i64::from_be_bytes(take(b, 43)),
            producer_epoch: i16::from_be_bytes(take(b, 51)),
            base_sequence: i32::from_be_bytes(take(b, 53)),
            records_count: i32::from_be_bytes(take(b, 57)),
        })
    }

    /// The 61 bytes, exactly as [`decode`](Self::decode) reads them.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        b[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        b[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        b[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        b[16] = self.magic as u8;
        b[17..21].copy_from_slice(&self.crc.to_be_bytes());
        b[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        b[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        b[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        b[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        b[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        b[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        b[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        b[57..61].copy_from_slice(&self.records_count.to_be_bytes());
        b
    }

    /// The size of the whole batch, header and length prefix included. 0 if the length field is negative.
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |length| length + PREFIX_BYTES)
    }

    /// The offset of the last record, or of the last one before compaction removed it.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The first offset after this batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().wrapping_add(1)
    }

    /// The id of the codec as stored, 0 to 7. Only 0 to 4 are codecs.
    pub fn codec_id(&self) -> u8 {
        (self.attributes & CODEC_BITS) as u8
    }

    /// The codec; `None` if the id is not that of a codec.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.codec_id())
    }

    /// The meaning of the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether it is a transaction marker or another batch whose records consumers skip.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The time at which compaction may remove the tombstones and markers of this batch (KIP-534). It is stored as
    /// `base_timestamp`.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Whether an idempotent or transactional producer sent it (KIP-98).
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// The sequence number of the last record, wrapping from `i32::MAX` to 0; -1 without a sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Whether the stored CRC matches `batch`, the whole batch. `false` if bytes are missing.
    pub fn crc_matches(&self, batch: &[u8]) -> bool {
        batch.get(CRC_START..self.total_bytes()).is_some_and(|covered| crc32c::crc32c(covered) == self.crc)
    }

    /// The CRC of a batch that consists of this header and `records`. The result does not depend on the `crc` field.
    pub fn crc_with(&self, records: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.encode()[CRC_START..]), records)
    }
}

/// The sequence number `delta` records later. 0 follows `i32::MAX`.
pub fn advance_sequence(sequence: i32, delta: i32) -> i32 {
    (sequence.wrapping_add(delta)) & i32::MAX
}

/// Sets the base offset of the batch at the start of `batch`. Its CRC stays valid (REC-2).
pub fn patch_base_offset(batch: &mut [u8], base_offset: Offset) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
}

/// Sets the leader epoch of the batch at the start of `batch`. Its CRC stays valid (REC-2).
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: LeaderEpoch) {
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// The attributes of a batch with these properties.
pub fn attributes(codec: Codec, timestamp_type: TimestampType, is_transactional: bool, is_control: bool) -> i16 {
    let mut bits = i16::from(codec.id());
    if timestamp_type == TimestampType::LogAppendTime {
        bits |= LOG_APPEND_TIME_BIT;
    }
    if is_transactional {
        bits |= TRANSACTIONAL_BIT;
    }
    if is_control {
        bits |= CONTROL_BIT;
    }
    bits
}

/// `attributes` with this timestamp type, and without the unused bits.
pub fn with_timestamp_type(attributes: i16, timestamp_type: TimestampType) -> i16 {
    let known = attributes & (CODEC_BITS | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT);
    match timestamp_type {
        TimestampType::CreateTime => known,
        TimestampType::LogAppendTime => known | LOG_APPEND_TIME_BIT,
    }
}

/// `attributes` with or without the bit of a delete horizon.
pub fn with_delete_horizon(attributes: i16, has_one: bool) -> i16 {
    if has_one { attributes | DELETE_HORIZON_BIT } else { attributes & !DELETE_HORIZON_BIT }
}

/// `attributes` with [`Codec::None`].
pub fn with_no_codec(attributes: i16) -> i16 {
    attributes & !CODEC_BITS
}

#[inline]
fn take<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("N bytes of a header")
}
