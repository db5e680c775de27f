//! Kafka's primitive types, written to a vector.
//!
//! A write never fails. A value that the version cannot represent is recorded, and [`Writer::finish`] returns it as an
//! error instead of the bytes. So an encoder is a plain list of fields.

use super::reader::STRING_BYTES_MAX;
use crate::model::{ErrorCode, TopicId};

/// The version cannot represent a value of the message (Kafka's `UnsupportedVersionException` while writing).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} cannot be encoded at version {version}")]
pub struct Unencodable {
    /// The message and field, or the violated bound.
    pub field: &'static str,
    /// The version of the message.
    pub version: i16,
}

/// Encodes a message into a vector.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    flexible: bool,
    version: i16,
    /// The first 4 bytes are the length of the rest.
    is_frame: bool,
    /// A string that is too long is cut.
    shortens: bool,
    refused: Option<Unencodable>,
    /// The error codes that were written, without [`ErrorCode::None`].
    errors: Vec<ErrorCode>,
}

macro_rules! fixed_width {
    ($($name:ident)*) => {$(
        #[doc = concat!("A big-endian `", stringify!($name), "`.")]
        #[inline]
        pub fn $name(&mut self, value: $name) {
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// Writes a body without a frame. `version` appears only in [`Unencodable`].
    pub fn new(version: i16, flexible: bool) -> Writer {
        Writer { flexible, version, ..Writer::default() }
    }

    /// Writes a whole frame; [`finish`](Writer::finish) sets its length prefix. It starts non-flexible, for the header.
    pub(super) fn frame(version: i16) -> Writer {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&[0; 4]);
        Writer { out, version, is_frame: true, ..Writer::default() }
    }

    /// Sets whether the following fields are flexible.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Whether the following fields are flexible.
    #[inline]
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// The number of bytes written, including the length prefix of a frame.
    #[inline]
    pub fn at(&self) -> usize {
        self.out.len()
    }

    /// Records that this version cannot represent the value of `field`. The first such field is reported.
    #[cold]
    pub fn refuse(&mut self, field: &'static str) {
        self.refused.get_or_insert(Unencodable { field, version: self.version });
    }

    /// Returns the bytes, or the first value that the version cannot represent.
    pub fn finish(self) -> Result<Vec<u8>, Unencodable> {
        self.finish_with_payload(0)
    }

    /// As [`finish`](Writer::finish), for a frame into which the sender inserts `payload_bytes` more.
    pub(super) fn finish_with_payload(mut self, payload_bytes: usize) -> Result<Vec<u8>, Unencodable> {
        if self.is_frame {
            match i32::try_from(self.out.len() - 4 + payload_bytes) {
                Ok(length) => self.out[..4].copy_from_slice(&length.to_be_bytes()),
                Err(_) => self.refuse("a frame of 2 GiB or more"),
            }
        }
        match self.refused {
            None => Ok(self.out),
            Some(refused) => Err(refused),
        }
    }

    /// An error code. [`take_errors`](Writer::take_errors) returns those of failures.
    pub fn error_code(&mut self, value: ErrorCode) {
        if value.is_error() {
            self.errors.push(value);
        }
        self.i16(value.code());
    }

    /// The error codes so far, without [`ErrorCode::None`], in the order of their fields.
    pub(super) fn take_errors(&mut self) -> Vec<ErrorCode> {
        std::mem::take(&mut self.errors)
    }

    fixed_width!(i8 i16 i32 i64 u16 u32 f64);

    /// One byte: 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// The 16 bytes of a topic id or another UUID.
    #[inline]
    pub fn uuid(&mut self, id: TopicId) {
        self.out.extend_from_slice(&id.0);
    }

    /// Bytes without a length.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// An unsigned varint of 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self, value: u32) {
        self.unsigned_varlong(u64::from(value));
    }

    /// An unsigned varint of 64 bits.
    #[inline]
    pub fn unsigned_varlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// A zigzag varint, as in records.
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// A zigzag varlong, as in records.
    pub fn varlong(&mut self, value: i64) {
        self.unsigned_varlong(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A string that is not null.
    pub fn string(&mut self, text: &str) {
        self.nullable_string(Some(text));
    }

    /// A string; `None` is null.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        let text = match text {
            Some(text) if text.len() <= STRING_BYTES_MAX => Some(text),
            Some(text) if self.shortens => Some(shortened(text)),
            Some(_) => {
                self.refuse("a string longer than 32767 bytes");
                None
            }
            None => None,
        };
        match (text, self.flexible) {
            (Some(text), true) => self.unsigned_varint(text.len() as u32 + 1),
            (Some(text), false) => self.i16(text.len() as i16),
            (None, true) => self.unsigned_varint(0),
            (None, false) => self.i16(-1),
        }
        self.raw(text.unwrap_or_default().as_bytes());
    }

    /// Whether a string that is too long is cut from now on. Otherwise it makes the message unencodable.
    pub(crate) fn set_shortens(&mut self, shortens: bool) {
        self.shortens = shortens;
    }

    /// A text for people, which may be cut; `None` is null.
    pub fn error_message(&mut self, text: Option<&str>) {
        self.set_shortens(true);
        self.nullable_string(text);
        self.set_shortens(false);
    }

    /// A string with an `int16` length at every version: the client id of a request header.
    pub(super) fn short_nullable_string(&mut self, text: Option<&str>) {
        let flexible = std::mem::replace(&mut self.flexible, false);
        self.nullable_string(text);
        self.flexible = flexible;
    }

    /// Bytes; `None` is null.
    pub fn nullable_bytes(&mut self, bytes: Option<&[u8]>) {
        self.nullable_length(bytes.map(<[u8]>::len));
        self.raw(bytes.unwrap_or_default());
    }

    /// The number of elements that follow.
    pub fn array_len(&mut self, count: usize) {
        self.nullable_length(Some(count));
    }

    /// The length of bytes, records or an array. `None` is null.
    #[inline]
    pub fn nullable_length(&mut self, length: Option<usize>) {
        let Ok(as_int) = length.map_or(Ok(-1), i32::try_from) else {
            return self.refuse("a length of 2 GiB or more");
        };
        if self.flexible { self.unsigned_varint((as_int + 1) as u32) } else { self.i32(as_int) }
    }

    /// The number of tagged fields that follow; writes nothing if the version is not flexible.
    #[inline]
    pub fn tag_count(&mut self, count: usize) {
        if self.flexible {
            self.unsigned_varint(count as u32);
        }
    }

    /// One tagged field. Its length is known after the content is written, and is then moved to the front.
    pub fn tag(&mut self, tag: u32, content: impl FnOnce(&mut Writer)) {
        self.unsigned_varint(tag);
        let start = self.out.len();
        content(self);
        let end = self.out.len();
        self.unsigned_varint((end - start) as u32);
        let length_bytes = self.out.len() - end;
        self.out[start..].rotate_right(length_bytes);
    }
}

/// The longest beginning of `text` that fits a string.
#[cold]
fn shortened(text: &str) -> &str {
    let mut end = STRING_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
