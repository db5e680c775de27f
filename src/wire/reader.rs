//! Kafka's primitive types, read from borrowed bytes.
//!
//! A reader holds the flexibility of its message (KIP-482), so that a decoder reads the same fields at every version.
//! That bit decides whether a string has an `int16 length` or an `unsigned varint length + 1`.

use crate::model::TopicId;

/// An array with more elements is rejected, even if all its bytes follow. The bound is Kafka's.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// A section with more tagged fields is rejected. The bound is Kafka's.
pub const TAGGED_FIELDS_MAX: u32 = 10_000;
/// The longest string in Kafka, in bytes; the bound also holds for varint lengths.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// The bytes violate the protocol. The receiver closes the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed at byte {at}: {what}")]
pub struct Malformed {
    /// The violated rule.
    pub what: &'static str,
    /// Position in the frame, counted after the length prefix.
    pub at: usize,
}

/// A cursor over one frame, or over one tagged field of it. Positions count from the start of the frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The position in the frame at which `rest` ends.
    end: usize,
    flexible: bool,
}

macro_rules! fixed_width {
    ($($name:ident)*) => {$(
        #[doc = concat!("A big-endian `", stringify!($name), "`.")]
        #[inline]
        pub fn $name(&mut self) -> Result<$name, Malformed> {
            Ok($name::from_be_bytes(*self.chunk()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads a frame without its length prefix. It is not flexible until [`set_flexible`](Self::set_flexible).
    pub fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { rest: frame, end: frame.len(), flexible: false }
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

    /// The position of the next byte in the frame.
    #[inline]
    pub fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    /// The number of bytes that are not read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// An error at the current position.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        assert!(self.rest.len() <= self.end, "WIRE-1: the position of an error is inside the frame");
        Malformed { what, at: self.at() }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        match self.rest.split_first_chunk() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(chunk)
            }
            None => Err(self.malformed("the frame ends inside a field")),
        }
    }

    /// The next `length` bytes, undecoded.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.malformed("a length is larger than the bytes that remain")),
        }
    }

    fixed_width!(i8 i16 i32 i64 u16 u32 f64);

    /// One byte; any value but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? != 0)
    }

    /// The 16 bytes of a topic id or another UUID.
    #[inline]
    pub fn uuid(&mut self) -> Result<TopicId, Malformed> {
        Ok(TopicId(*self.chunk()?))
    }

    /// An unsigned varint of up to 32 bits. Varints of one and two bytes, which nearly all lengths are, are read
    /// without a loop.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, Malformed> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u32::from(a))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u32::from(a & 0x7f) | u32::from(b) << 7)
            }
            _ => match u32::try_from(self.unsigned_varlong()?) {
                Ok(value) => Ok(value),
                Err(_) => Err(self.malformed("a varint does not fit 32 bits")),
            },
        }
    }

    /// An unsigned varint of up to 64 bits.
    #[inline(never)]
    pub fn unsigned_varlong(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = *self.chunk()?;
            // The tenth byte holds only the last of the 64 bits.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("a varint does not fit 64 bits"))
    }

    /// A zigzag varint, as in records.
    pub fn varint(&mut self) -> Result<i32, Malformed> {
        let value = self.unsigned_varint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// A zigzag varlong, as in records.
    pub fn varlong(&mut self) -> Result<i64, Malformed> {
        let value = self.unsigned_varlong()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length in a flexible version: `unsigned varint - 1`. `None` is null.
    #[inline]
    fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// Maps -1 to null and rejects other negative lengths.
    #[inline]
    fn checked_length(&self, length: i32) -> Result<Option<usize>, Malformed> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.malformed("a negative length")),
        }
    }

    #[inline]
    fn short_length(&mut self) -> Result<Option<usize>, Malformed> {
        let length = self.i16()?;
        self.checked_length(i32::from(length))
    }

    #[inline]
    fn int_length(&mut self) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            return self.compact_length();
        }
        let length = self.i32()?;
        self.checked_length(length)
    }

    /// A string; null is malformed.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_string()?.ok_or_else(|| self.malformed("null for a string that cannot be null"))
    }

    /// A string; `None` is null. Rejects invalid UTF-8. Kafka reads it as replacement characters, which no name or id
    /// that it accepts may contain.
    #[inline]
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
        let Some(length) = length else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(self.malformed("a string longer than 32767 bytes"));
        }
        match str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.malformed("a string that is no UTF-8")),
        }
    }

    /// The raw bytes of a string with an `int16` length at every version: the client id of a request header.
    pub(super) fn short_nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.short_length()? {
            Some(length) => Ok(Some(self.take(length)?)),
            None => Ok(None),
        }
    }

    /// Bytes; null is malformed.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.nullable_bytes()?.ok_or_else(|| self.malformed("null for bytes that cannot be null"))
    }

    /// Bytes or records, which have the same encoding.
    #[inline]
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.int_length()? {
            Some(length) => Ok(Some(self.take(length)?)),
            None => Ok(None),
        }
    }

    /// As [`nullable_array_len`](Self::nullable_array_len); null is malformed.
    pub fn array_len(&mut self, element_bytes_min: usize) -> Result<usize, Malformed> {
        self.nullable_array_len(element_bytes_min)?
            .ok_or_else(|| self.malformed("null for an array that cannot be null"))
    }

    /// The number of elements that follow. The remaining bytes hold that many elements of `element_bytes_min` bytes, so
    /// the caller may allocate for the count (WIRE-2).
    #[inline]
    pub fn nullable_array_len(&mut self, element_bytes_min: usize) -> Result<Option<usize>, Malformed> {
        debug_assert!(element_bytes_min > 0, "WIRE-2: an element of zero bytes would make every count plausible");
        let Some(count) = self.int_length()? else { return Ok(None) };
        if count > ARRAY_ELEMENTS_MAX {
            return Err(self.malformed("an array of more than 1000000 elements"));
        }
        if count * element_bytes_min > self.remaining() {
            return Err(self.malformed("an array count larger than the bytes that remain"));
        }
        debug_assert!(count <= self.remaining(), "WIRE-2: each element takes at least one of the remaining bytes");
        Ok(Some(count))
    }

    /// The number of tagged fields that follow; 0 if the version is not flexible.
    #[inline]
    pub fn tag_count(&mut self) -> Result<u32, Malformed> {
        if !self.flexible {
            return Ok(0);
        }
        match self.unsigned_varint()? {
            count if count > TAGGED_FIELDS_MAX => Err(self.malformed("more than 10000 tagged fields")),
            count => Ok(count),
        }
    }

    /// One tagged field: its tag, and a reader over exactly its content.
    pub fn tag(&mut self) -> Result<(u32, Reader<'a>), Malformed> {
        let tag = self.unsigned_varint()?;
        let length = self.unsigned_varint()? as usize;
        let rest = self.take(length)?;
        Ok((tag, Reader { rest, end: self.at(), flexible: true }))
    }

    /// Skips unknown tagged fields, which a newer peer may send.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.tag_count()? {
            self.tag()?;
        }
        Ok(())
    }

    /// Checks that a decoded tagged field has no bytes left: its length must match its content.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed("a tagged field is longer than its content")) }
    }
}
