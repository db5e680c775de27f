//! Snappy, in the two formats of Kafka's clients: one raw block (C clients), or many blocks in Java's framing.
//!
//! Java's framing (`xerial`): `82 "SNAPPY" 00`, version i32, compatible version i32, then chunks of an i32 length and
//! that many bytes of raw Snappy. Streams may be concatenated, with their headers.

mod block;

use super::{Codec, CodecError, STEP_BYTES};
use block::Block;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\x00";
const HEADER_BYTES: usize = 16;
/// The uncompressed size of a chunk of Java's writer.
const CHUNK_BYTES: usize = 32 << 10;
/// The densest Snappy element takes 3 bytes and copies 64; rounded up for the length prefix.
const EXPANSION_MAX: usize = 32;

/// Decompresses a stream in steps of one chunk, or of a part of a large chunk or block.
pub struct Decoder<'a> {
    rest: &'a [u8],
    is_framed: bool,
    /// The chunk or block that is decompressed in parts.
    block: Option<Block<'a>>,
}

impl<'a> Decoder<'a> {
    pub fn new(stored: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: stored, is_framed: stored.starts_with(&MAGIC), block: None }
    }

    /// Appends the next bytes to `out`, which may grow to `limit` bytes. Returns whether more may follow.
    pub fn step(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        let block = match self.block.take() {
            Some(block) => Some(block),
            None => match self.next_chunk()? {
                None => return Ok(false),
                Some(chunk) => begin(chunk, limit, out)?,
            },
        };
        if let Some(mut block) = block
            && block.step(out)?
        {
            self.block = Some(block);
        }
        Ok(self.block.is_some() || !self.rest.is_empty())
    }

    /// The next chunk, or the raw block.
    fn next_chunk(&mut self) -> Result<Option<&'a [u8]>, CodecError> {
        if !self.is_framed {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        if self.rest.starts_with(&MAGIC) {
            let after = self.rest.get(HEADER_BYTES..);
            self.rest = after.ok_or_else(|| malformed("the bytes end inside the stream header"))?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, after) =
            self.rest.split_first_chunk().ok_or_else(|| malformed("the bytes end inside a chunk length"))?;
        let length = i32::from_be_bytes(*length);
        let (chunk, after) = usize::try_from(length)
            .ok()
            .and_then(|length| after.split_at_checked(length))
            .ok_or_else(|| malformed(format!("a chunk needs {length} bytes, and {} are left", after.len())))?;
        self.rest = after;
        Ok(Some(chunk))
    }
}

/// Decompresses a block, unless it is larger than a step: then the steps of the returned value do.
fn begin<'a>(block: &'a [u8], limit: usize, out: &mut Vec<u8>) -> Result<Option<Block<'a>>, CodecError> {
    let length = snap::raw::decompress_len(block).map_err(malformed)?;
    // The input claims this length. Accept it only if the bytes could expand to it (REC-1).
    if length > block.len() * EXPANSION_MAX {
        return Err(malformed(format!("{} bytes cannot decompress to {length}", block.len())));
    }
    let start = out.len();
    if length > limit - start.min(limit) {
        return Err(CodecError::TooLarge { limit });
    }
    if length > STEP_BYTES {
        return Ok(Some(Block::new(block, length, start)?));
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(malformed)?;
    out.truncate(start + written);
    Ok(None)
}

/// Appends the compressed form of `plain` to `out`, in Java's framing.
pub fn compress(plain: &[u8], out: &mut Vec<u8>) {
    begin_stream(out);
    append_chunks(plain, out);
}

pub fn begin_stream(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
}

/// Appends the chunks of one piece of a stream.
pub fn append_chunks(plain: &[u8], out: &mut Vec<u8>) {
    let mut encoder = snap::raw::Encoder::new();
    for chunk in plain.chunks(CHUNK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[start + 4..]).expect("the output has Snappy's own upper bound");
        out[start..start + 4].copy_from_slice(&(written as i32).to_be_bytes());
        out.truncate(start + 4 + written);
    }
}

fn malformed(reason: impl ToString) -> CodecError {
    CodecError::malformed(Codec::Snappy, reason)
}
