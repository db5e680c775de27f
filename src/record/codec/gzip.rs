//! Gzip. Like Java's `GZIPInputStream`, reads members one after another and ignores the bytes after the last.

use super::{Codec, CodecError, read_bounded};
use flate2::bufread::{GzDecoder, GzEncoder};
use std::io::Read;

/// Appends the decompressed form of `stored` to `out`, up to `limit` bytes in all.
pub fn decompress(stored: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut rest = stored;
    loop {
        let mut member = GzDecoder::new(rest);
        read_bounded(Codec::Gzip, &mut member, limit, out)?;
        rest = member.into_inner();
        if !rest.starts_with(&[0x1f, 0x8b]) {
            return Ok(());
        }
    }
}

/// Appends the compressed form of `plain` to `out`, at level 1 to 9, or -1 for the default.
pub fn compress(plain: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = match level {
        // Java's Deflater.DEFAULT_COMPRESSION.
        None | Some(-1) => flate2::Compression::default(),
        Some(level) => flate2::Compression::new(level.clamp(1, 9) as u32),
    };
    GzEncoder::new(plain, level).read_to_end(out).expect("reading from memory does not fail");
}
