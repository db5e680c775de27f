//! Gzip. Like Java's `GZIPInputStream`, reads members one after another and ignores the bytes after the last.

use super::{Codec, CodecError, read_some};
use flate2::bufread::{GzDecoder, GzEncoder};
use std::io::Read;

/// Decompresses a stream in steps.
pub struct Decoder<'a> {
    member: GzDecoder<&'a [u8]>,
}

impl<'a> Decoder<'a> {
    pub fn new(stored: &'a [u8]) -> Decoder<'a> {
        Decoder { member: GzDecoder::new(stored) }
    }

    /// Appends the next bytes to `out`, which may grow to `limit` bytes. Returns whether more may follow.
    pub fn step(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        if read_some(Codec::Gzip, &mut self.member, limit, out)? {
            return Ok(true);
        }
        let rest = *self.member.get_ref();
        if !rest.starts_with(&[0x1f, 0x8b]) {
            return Ok(false);
        }
        self.member = GzDecoder::new(rest);
        Ok(true)
    }
}

/// Appends the compressed form of `plain` to `out`, at level 1 to 9, or -1 for the default.
pub fn compress(plain: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    GzEncoder::new(plain, scaled(level)).read_to_end(out).expect("reading from memory does not fail");
}

/// Compresses in pieces, at a level as in [`compress`].
pub fn encoder(level: Option<i32>) -> flate2::write::GzEncoder<Vec<u8>> {
    flate2::write::GzEncoder::new(Vec::new(), scaled(level))
}

fn scaled(level: Option<i32>) -> flate2::Compression {
    match level {
        // Java's Deflater.DEFAULT_COMPRESSION.
        None | Some(-1) => flate2::Compression::default(),
        Some(level) => flate2::Compression::new(level.clamp(1, 9) as u32),
    }
}
