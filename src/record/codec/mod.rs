//! Kafka's four codecs, compressing and decompressing, with a limit on the decoded size.
//!
//! A decoder's output buffer grows with the decoded bytes, never to a size that the input only claims (REC-1). At the
//! limit, decoding stops with [`CodecError::TooLarge`].

mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use std::io::{Read, Write};

pub use crate::model::Codec;

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

/// Decompresses one batch in steps, so that the caller can let other tasks run in between.
pub struct Decoding<'a> {
    limit: usize,
    stored: &'a [u8],
    decoded: Vec<u8>,
    /// `None`: the batch is not compressed.
    decoder: Option<Decoder<'a>>,
}

impl<'a> Decoding<'a> {
    /// `limit` is the most decoded bytes.
    pub fn new(codec: Codec, stored: &'a [u8], limit: usize) -> Result<Decoding<'a>, CodecError> {
        let decoder = match codec {
            Codec::None => None,
            codec => Some(Decoder::new(codec, stored, limit)?),
        };
        Ok(Decoding { limit, stored, decoded: Vec::new(), decoder })
    }

    /// Decodes about [`STEP_BYTES`]. Returns whether more may follow.
    pub fn step(&mut self) -> Result<bool, CodecError> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let goes_on = decoder.step(self.limit, &mut self.decoded)?;
        assert!(self.decoded.len() <= self.limit, "REC-1: {} bytes of {} are decoded", self.decoded.len(), self.limit);
        Ok(goes_on)
    }

    /// The bytes that are decoded so far.
    pub fn decoded(&self) -> &[u8] {
        if self.decoder.is_some() { &self.decoded } else { self.stored }
    }
}

enum Decoder<'a> {
    Gzip(gzip::Decoder<'a>),
    Snappy(snappy::Decoder<'a>),
    Lz4(lz4::Decoder<'a>),
    Zstd(zstandard::Steps<'a>),
}

impl<'a> Decoder<'a> {
    fn new(codec: Codec, stored: &'a [u8], limit: usize) -> Result<Decoder<'a>, CodecError> {
        Ok(match codec {
            Codec::None => unreachable!("uncompressed records need no decoder"),
            Codec::Gzip => Decoder::Gzip(gzip::Decoder::new(stored)),
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

/// Compresses in pieces, so that the caller can let other tasks run in between. The levels are those of [`compress`].
pub enum Compressor {
    /// Collects the pieces.
    None(Vec<u8>),
    /// A gzip member.
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    /// Java's framing.
    Snappy(Vec<u8>),
    /// An LZ4 frame.
    Lz4(Vec<u8>),
    /// A zstd frame.
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    /// `plain_bytes_max` is about the number of bytes that will be written.
    pub fn new(codec: Codec, level: Option<i32>, plain_bytes_max: usize) -> Compressor {
        let mut out = Vec::new();
        match codec {
            Codec::None => Compressor::None(out),
            Codec::Gzip => Compressor::Gzip(gzip::encoder(level)),
            Codec::Snappy => {
                snappy::begin_stream(&mut out);
                Compressor::Snappy(out)
            }
            Codec::Lz4 => {
                lz4::begin_frame(&mut out);
                Compressor::Lz4(out)
            }
            Codec::Zstd => Compressor::Zstd(zstandard::encoder(level, plain_bytes_max)),
        }
    }

    /// Writes one piece: [`STEP_BYTES`], or less if it is the last one.
    pub fn write(&mut self, piece: &[u8]) {
        assert!(piece.len() <= STEP_BYTES, "a piece of {} bytes", piece.len());
        match self {
            Compressor::None(out) => out.extend_from_slice(piece),
            Compressor::Gzip(encoder) => encoder.write_all(piece).expect("writing to memory does not fail"),
            Compressor::Snappy(out) => snappy::append_chunks(piece, out),
            Compressor::Lz4(out) => lz4::append_blocks(piece, out),
            Compressor::Zstd(encoder) => encoder.write_all(piece).expect("writing to memory does not fail"),
        }
    }

    /// The compressed bytes so far. An encoder may hold back some more.
    pub fn bytes(&self) -> usize {
        match self {
            Compressor::None(out) | Compressor::Snappy(out) | Compressor::Lz4(out) => out.len(),
            Compressor::Gzip(encoder) => encoder.get_ref().len(),
            Compressor::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// The whole compressed form.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Compressor::None(out) | Compressor::Snappy(out) => out,
            Compressor::Lz4(mut out) => {
                lz4::end_frame(&mut out);
                out
            }
            Compressor::Gzip(encoder) => encoder.finish().expect("writing to memory does not fail"),
            Compressor::Zstd(encoder) => encoder.finish().expect("writing to memory does not fail"),
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
