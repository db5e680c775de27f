//! Kafka's four codecs, compressing and decompressing, with a limit on the decoded size.
//!
//! A decoder's output buffer grows with the decoded bytes, never to a size that the input only claims (REC-1). At the
//! limit, decoding stops with [`CodecError::TooLarge`].

mod compressor;
mod decoding;
mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use std::io::Read;

pub use crate::model::Codec;
pub use compressor::Compressor;
pub use decoding::Decoding;

/// Why bytes cannot be decompressed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not of the codec's format.
    #[error("{} data is malformed: {reason}", codec.name())]
    Malformed {
        /// The codec in the batch's attributes.
        codec: Codec,
        /// The decoder's error.
        reason: String,
    },
    /// The decompressed bytes exceed the caller's bound.
    #[error("the records decompress to more than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The codec bits of the attributes are 5, 6 or 7.
    #[error("codec {0} does not exist")]
    Unknown(u8),
}

impl CodecError {
    fn malformed(codec: Codec, reason: impl ToString) -> CodecError {
        CodecError::Malformed { codec, reason: reason.to_string() }
    }
}

/// A decompressor that keeps its output buffer and its zstd tables between calls. One per shard.
pub struct Decompressor {
    limit: usize,
    decoded: Vec<u8>,
    zstd: zstandard::Decoder,
}

/// The largest buffer that is kept between calls, so that one large batch does not pin its size forever.
const RETAINED_BYTES_MAX: usize = 4 << 20;

impl Decompressor {
    /// `decoded_bytes_max` limits the decompressed size of one batch.
    pub fn new(decoded_bytes_max: usize) -> Decompressor {
        Decompressor { limit: decoded_bytes_max, decoded: Vec::new(), zstd: zstandard::Decoder::default() }
    }

    /// The decompressed form of `stored`: `stored` itself under [`Codec::None`], else this decompressor's own buffer,
    /// which is valid until the next call.
    pub fn decompress<'a>(&'a mut self, codec: Codec, stored: &'a [u8]) -> Result<&'a [u8], CodecError> {
        if self.decoded.capacity() > RETAINED_BYTES_MAX {
            self.decoded = Vec::new();
        }
        self.decoded.clear();
        match codec {
            Codec::None => return Ok(stored),
            Codec::Zstd => self.zstd.decompress(stored, self.limit, &mut self.decoded)?,
            codec => {
                let mut decoder = Decoder::new(codec, stored, self.limit)?;
                while decoder.step(self.limit, &mut self.decoded)? {}
            }
        }
        let (decoded_bytes, limit) = (self.decoded.len(), self.limit);
        assert!(decoded_bytes <= limit, "REC-1: {decoded_bytes} bytes were decoded, more than {limit}");
        Ok(&self.decoded)
    }

    /// Decompresses a batch's stored records with the codec that its header names.
    pub fn records<'a>(
        &'a mut self,
        header: &crate::record::BatchHeader,
        stored: &'a [u8],
    ) -> Result<&'a [u8], CodecError> {
        self.decompress(header.codec().ok_or(CodecError::Unknown(header.codec_id()))?, stored)
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decompressor {{ limit: {}, retained: {} }}", self.limit, self.decoded.capacity())
    }
}

/// Appends the compressed form of `plain` to `out`, as Java's clients write it. `level` is on the codec's own scale,
/// and is clamped to it. `None` is Kafka's default. Snappy has no levels, and this LZ4 has one.
pub fn compress(codec: Codec, level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::None => out.extend_from_slice(plain),
        Codec::Gzip => gzip::compress(plain, level, out),
        Codec::Snappy => snappy::compress(plain, out),
        Codec::Lz4 => lz4::compress(plain, out),
        Codec::Zstd => zstandard::compress(plain, level, out),
    }
}

/// The bytes that one step decodes or encodes, if the format allows it. A multiple of the blocks that LZ4 and Snappy
/// write.
pub const STEP_BYTES: usize = 256 << 10;

enum Decoder<'a> {
    Gzip(Box<gzip::Decoder<'a>>),
    Snappy(snappy::Decoder<'a>),
    Lz4(lz4::Decoder<'a>),
    Zstd(zstandard::Steps<'a>),
}

impl<'a> Decoder<'a> {
    fn new(codec: Codec, stored: &'a [u8], limit: usize) -> Result<Decoder<'a>, CodecError> {
        Ok(match codec {
            Codec::None => unreachable!("uncompressed records need no decoder"),
            Codec::Gzip => Decoder::Gzip(Box::new(gzip::Decoder::new(stored))),
            Codec::Snappy => Decoder::Snappy(snappy::Decoder::new(stored)),
            Codec::Lz4 => Decoder::Lz4(lz4::Decoder::new(stored)?),
            Codec::Zstd => Decoder::Zstd(zstandard::Steps::new(stored, limit)?),
        })
    }

    fn step(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        match self {
            Decoder::Gzip(decoder) => decoder.step(limit, out),
            Decoder::Snappy(decoder) => decoder.step(limit, out),
            Decoder::Lz4(decoder) => decoder.step(limit, out),
            Decoder::Zstd(decoder) => decoder.step(limit, out),
        }
    }
}

/// Appends the next bytes of `source` to `out`, which may grow to `limit` bytes. Returns whether more may follow.
fn read_some(codec: Codec, source: &mut impl Read, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
    let wanted = STEP_BYTES.min(limit - out.len().min(limit) + 1);
    let read = source.by_ref().take(wanted as u64).read_to_end(out);
    let read = read.map_err(|error| CodecError::malformed(codec, error))?;
    if out.len() > limit { Err(CodecError::TooLarge { limit }) } else { Ok(read == wanted) }
}

#[cfg(test)]
mod tests;
