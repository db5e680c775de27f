//! Compresses a batch in pieces.

use std::io::Write;

use super::{Codec, STEP_BYTES, gzip, lz4, snappy, zstandard};

/// Compresses in pieces, so that the caller can let other tasks run in between. The levels are those of
/// [`super::compress`].
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
