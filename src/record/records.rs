//! The records of a batch, read in place without a copy or an allocation.
//!
//! A record, after decompression (every number but `attributes` is a zigzag varint):
//! ```text
//! length | attributes: 1 byte | timestamp delta | offset delta | key length, key | value length, value
//!        | header count | per header: key length, key, value length, value
//! ```
//! A negative length of a key or a value means null. `length` counts the bytes after itself.

use crate::model::Offset;
use crate::record::header::{BatchHeader, TimestampType};
use crate::record::varint::{self, VarintError};

/// Why bytes are not records. The producer gets the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// A varint is cut off or too long.
    #[error("record {index}: {source}")]
    Varint {
        /// The record's position in the batch, from 0.
        index: i32,
        /// The fault.
        source: VarintError,
    },
    /// The record's length is negative or beyond the batch.
    #[error("record {index}: its length is {length} bytes, and {available} are left")]
    Length {
        /// The record's position in the batch, from 0.
        index: i32,
        /// The length field, in bytes.
        length: i64,
        /// Bytes left in the batch.
        available: usize,
    },
    /// A key, value or header has a negative length other than -1, or reaches beyond its record.
    #[error("record {index}: a field of {length} bytes reaches beyond the record's {available} bytes")]
    Field {
        /// The record's position in the batch, from 0.
        index: i32,
        /// The length field, in bytes.
        length: i64,
        /// Bytes left in the record.
        available: usize,
    },
    /// The header count is negative or beyond the record; a header takes at least two bytes.
    #[error("record {index}: {count} headers cannot fit the {available} bytes that are left")]
    HeaderCount {
        /// The record's position in the batch, from 0.
        index: i32,
        /// The count of headers.
        count: i32,
        /// Bytes left in the record.
        available: usize,
    },
    /// A header's key has length -1.
    #[error("record {index}: a header key may not be null")]
    HeaderKey {
        /// The record's position in the batch, from 0.
        index: i32,
    },
    /// The record's length exceeds its fields.
    #[error("record {index}: {bytes} bytes are left inside the record after its last field")]
    RecordTail {
        /// The record's position in the batch, from 0.
        index: i32,
        /// Bytes left in the record.
        bytes: usize,
    },
    /// The batch has fewer records than its header announces.
    #[error("the batch has a count of {expected} records and its bytes end after {got}")]
    Missing {
        /// `records_count`
        expected: i32,
        /// The whole records in the batch.
        got: i32,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes are left after the last of {count} records")]
    Tail {
        /// `records_count`
        count: i32,
        /// Bytes left in the batch.
        bytes: usize,
    },
    /// `records_count` is negative.
    #[error("the batch has a count of {0} records")]
    Count(i32),
}

/// One record. Keys, values and headers borrow the batch's (decompressed) bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The batch's base offset plus `offset_delta`.
    pub offset: Offset,
    /// The timestamp that consumers get: the producer's, or under LogAppendTime that of the append.
    pub timestamp: i64,
    /// Relative to the batch's base offset.
    pub offset_delta: i32,
    /// Relative to the batch's base timestamp, as stored under either timestamp type.
    pub timestamp_delta: i64,
    /// `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// `None` is Kafka's null; in a compacted topic it deletes the key.
    pub value: Option<&'a [u8]>,
    /// In their order, with repeated keys.
    pub headers: Headers<'a>,
}

/// One header of a record. The key should be UTF-8; like Kafka's broker, Tidemill does not check it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Never null.
    pub key: &'a [u8],
    /// `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// A record's headers, already checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: i32,
}

impl Headers<'_> {
    /// The number of headers.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the record has no headers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers as stored, without their count.
    pub fn stored_bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        HeaderIter(self)
    }
}

/// The iterator over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeaderIter<'a>(Headers<'a>);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.0.count == 0 {
            return None;
        }
        self.0.count -= 1;
        Some(read_header(&mut self.0.bytes, 0).expect("the headers were checked with their record"))
    }
}

/// Iterates over the records of one batch and ends after the first error. Without an error, every byte of the batch was
/// valid.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    base_offset: Offset,
    base_timestamp: i64,
    append_time: Option<i64>,
    count: i32,
    next: i32,
    is_over: bool,
}

impl<'a> Records<'a> {
    /// `decoded` are the batch's decompressed records; see [`Decompressor`](crate::record::Decompressor).
    pub fn new(header: &BatchHeader, decoded: &'a [u8]) -> Records<'a> {
        Records {
            rest: decoded,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp),
            count: header.records_count,
            next: 0,
            is_over: false,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let index = self.next;
        if self.rest.is_empty() {
            return Err(RecordError::Missing { expected: self.count, got: index });
        }
        let varint = |source| RecordError::Varint { index, source };
        let length = varint::read_i32(&mut self.rest).map_err(varint)?;
        let Some((mut body, rest)) = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length))
        else {
            return Err(RecordError::Length { index, length: i64::from(length), available: self.rest.len() });
        };
        self.rest = rest;

        // No bit of the record attributes is in use, and Kafka ignores them.
        body = body.get(1..).ok_or(varint(VarintError::Ends))?;
        let timestamp_delta = varint::read_i64(&mut body).map_err(varint)?;
        let offset_delta = varint::read_i32(&mut body).map_err(varint)?;
        let key = read_field(&mut body, index)?;
        let value = read_field(&mut body, index)?;
        let count = varint::read_i32(&mut body).map_err(varint)?;
        let mut headers = Headers { bytes: body, count };
        if count != 0 {
            if usize::try_from(count).map_or(true, |count| count > body.len()) {
                return Err(RecordError::HeaderCount { index, count, available: body.len() });
            }
            for _ in 0..count {
                read_header(&mut body, index)?;
            }
            headers.bytes = &headers.bytes[..headers.bytes.len() - body.len()];
        }
        if !body.is_empty() {
            return Err(RecordError::RecordTail { index, bytes: body.len() });
        }
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self.append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            offset_delta,
            timestamp_delta,
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        if self.next >= self.count {
            self.is_over = true;
            return match self.rest.len() {
                _ if self.count < 0 => Some(Err(RecordError::Count(self.count))),
                0 => None,
                bytes => Some(Err(RecordError::Tail { count: self.count, bytes })),
            };
        }
        let item = self.read();
        self.next += 1;
        self.is_over = item.is_err();
        Some(item)
    }
}

/// The fields of a record that the leader checks; see [`skim`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skimmed {
    /// The size after the length prefix.
    pub bytes: usize,
    /// Relative to the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// Relative to the batch's base offset.
    pub offset_delta: i32,
    /// The key is not null, which compacted topics require.
    pub has_key: bool,
}

/// Steps over one record, with the checks of [`Records`] at a fraction of the cost: the leader runs it on every
/// produced record. `None` if and only if `Records` yields an error, which names the fault.
#[inline]
pub fn skim(rest: &mut &[u8]) -> Option<Skimmed> {
    let length = varint::read_i32(rest).ok()?;
    let (mut body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    body = body.get(1..)?;
    let timestamp_delta = varint::read_i64(&mut body).ok()?;
    let offset_delta = varint::read_i32(&mut body).ok()?;
    let has_key = skim_field(&mut body)?;
    skim_field(&mut body)?;
    // Nearly all records end with a header count of 0.
    if body != [0] {
        skim_headers(body)?;
    }
    *rest = after;
    Some(Skimmed { bytes: length as usize, timestamp_delta, offset_delta, has_key })
}

/// Steps over a field. Returns whether it is not null.
#[inline]
fn skim_field(body: &mut &[u8]) -> Option<bool> {
    let length = varint::read_i32(body).ok()?;
    if length < 0 {
        return Some(false);
    }
    *body = body.get(length as usize..)?;
    Some(true)
}

fn skim_headers(mut body: &[u8]) -> Option<()> {
    let count = usize::try_from(varint::read_i32(&mut body).ok()?).ok()?;
    if count > body.len() {
        return None;
    }
    for _ in 0..count {
        if !skim_field(&mut body)? {
            return None;
        }
        skim_field(&mut body)?;
    }
    body.is_empty().then_some(())
}

/// A key or a value: a length and that many bytes. Any negative length is null, as in Kafka.
#[inline]
fn read_field<'a>(body: &mut &'a [u8], index: i32) -> Result<Option<&'a [u8]>, RecordError> {
    let length = varint::read_i32(body).map_err(|source| RecordError::Varint { index, source })?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let Some((field, rest)) = body.split_at_checked(length) else {
        return Err(RecordError::Field { index, length: length as i64, available: body.len() });
    };
    *body = rest;
    Ok(Some(field))
}

fn read_header<'a>(body: &mut &'a [u8], index: i32) -> Result<Header<'a>, RecordError> {
    let key = read_field(body, index)?.ok_or(RecordError::HeaderKey { index })?;
    Ok(Header { key, value: read_field(body, index)? })
}
