//! LZ4 frames as Kafka's Java classes write and accept them: independent blocks; header checksum checked; block
//! checksums checked if present; content size and content checksum ignored; bytes after the end mark ignored.
//!
//! ```text
//! 04 22 4D 18 | FLG | BD | [content size: 8] | HC | blocks | end mark: 4 zero bytes | [content checksum: 4]
//! block: length u32, top bit "uncompressed" | bytes | [block checksum: 4]                 all little-endian
//! ```

use super::{Codec, CodecError};

const MAGIC: u32 = 0x184D_2204;
const STORED_BIT: u32 = 1 << 31;
/// FLG: version 1, independent blocks, no checksums, no content size. BD: blocks of 64 KiB. Java's writer uses the
/// same.
const WRITTEN_FLAGS: [u8; 2] = [0x60, 0x40];
const WRITTEN_BLOCK_BYTES: usize = 64 << 10;
/// LZ4's densest sequence: one byte of input per 255 bytes of output.
const EXPANSION_MAX: usize = 255;

/// Decompresses a frame in steps of one block. Java clients write blocks of 64 KiB. The largest that the format allows
/// have 4 MiB, which take 2 ms of one core: such a step is not split.
pub struct Decoder<'a> {
    input: &'a [u8],
    flags: Flags,
    block_bytes_max: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(stored: &'a [u8]) -> Result<Decoder<'a>, CodecError> {
        let mut input = stored;
        if read_u32(&mut input)? != MAGIC {
            return Err(malformed("it does not start with the frame magic"));
        }
        let (flags, block_bytes_max) = read_descriptor(&mut input)?;
        Ok(Decoder { input, flags, block_bytes_max })
    }

    /// Appends the next block to `out`, which may grow to `limit` bytes. Returns whether more may follow.
    pub fn step(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        let (input, block_bytes_max) = (&mut self.input, self.block_bytes_max);
        let length = read_u32(input)?;
        if length == 0 {
            return Ok(false);
        }
        let is_stored = length & STORED_BIT != 0;
        let length = (length & !STORED_BIT) as usize;
        if length > block_bytes_max {
            return Err(malformed(format!(
                "a block has {length} bytes, more than the frame's limit of {block_bytes_max}"
            )));
        }
        let block = read_bytes(input, length)?;
        if self.flags.has_block_checksum && read_u32(input)? != xxh32(block) {
            return Err(malformed("a block's checksum does not match"));
        }
        append_block(block, is_stored, block_bytes_max, limit, out)?;
        Ok(true)
    }
}

fn append_block(
    block: &[u8],
    is_stored: bool,
    block_bytes_max: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = out.len();
    let room = limit - start.min(limit);
    if is_stored {
        if block.len() > room {
            return Err(CodecError::TooLarge { limit });
        }
        out.extend_from_slice(block);
        return Ok(());
    }
    let possible = block_bytes_max.min(block.len() * EXPANSION_MAX);
    out.resize(start + possible.min(room), 0);
    match lz4_flex::block::decompress_into(block, &mut out[start..]) {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if possible > room => {
            Err(CodecError::TooLarge { limit })
        }
        Err(error) => Err(malformed(error)),
    }
}

struct Flags {
    has_block_checksum: bool,
}

/// Reads FLG, BD and the fields up to the header checksum. Kafka rejects the same frames.
fn read_descriptor(input: &mut &[u8]) -> Result<(Flags, usize), CodecError> {
    let descriptor = *input;
    let [flg, bd] = *read_bytes(input, 2)? else { unreachable!("read_bytes returns two bytes") };
    if flg >> 6 != 1 {
        return Err(malformed(format!("frame version {} is unknown", flg >> 6)));
    }
    if flg & 0b11 != 0 || bd & 0b1000_1111 != 0 {
        return Err(malformed("reserved bits are set"));
    }
    if flg & 0b10_0000 == 0 {
        return Err(malformed("its blocks depend on each other, which Kafka's clients cannot read"));
    }
    let size_code = bd >> 4;
    if size_code < 4 {
        return Err(malformed(format!("block size code {size_code} is not 4 to 7")));
    }
    if flg & 0b1000 != 0 {
        read_bytes(input, 8)?;
    }
    let hashed = &descriptor[..descriptor.len() - input.len()];
    if read_bytes(input, 1)? != [(xxh32(hashed) >> 8) as u8] {
        return Err(malformed("the frame header's checksum does not match"));
    }
    Ok((Flags { has_block_checksum: flg & 0b1_0000 != 0 }, 1 << (2 * size_code + 8)))
}

/// Appends the compressed form of `plain` to `out`, as one frame.
pub fn compress(plain: &[u8], out: &mut Vec<u8>) {
    begin_frame(out);
    append_blocks(plain, out);
    end_frame(out);
}

pub fn begin_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&WRITTEN_FLAGS);
    out.push((xxh32(&WRITTEN_FLAGS) >> 8) as u8);
}

/// Appends the blocks of one piece of a frame. All pieces but the last are multiples of [`WRITTEN_BLOCK_BYTES`].
pub fn append_blocks(plain: &[u8], out: &mut Vec<u8>) {
    for block in plain.chunks(WRITTEN_BLOCK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let written = lz4_flex::block::compress_into(block, &mut out[start + 4..]).expect("the output has LZ4's bound");
        if written < block.len() {
            out[start..start + 4].copy_from_slice(&(written as u32).to_le_bytes());
            out.truncate(start + 4 + written);
        } else {
            out[start..start + 4].copy_from_slice(&(block.len() as u32 | STORED_BIT).to_le_bytes());
            out.truncate(start + 4);
            out.extend_from_slice(block);
        }
    }
}

pub fn end_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(&0u32.to_le_bytes());
}

fn read_bytes<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], CodecError> {
    let (bytes, rest) = input.split_at_checked(count).ok_or_else(|| malformed("the bytes end inside the frame"))?;
    *input = rest;
    Ok(bytes)
}

fn read_u32(input: &mut &[u8]) -> Result<u32, CodecError> {
    Ok(u32::from_le_bytes(read_bytes(input, 4)?.try_into().expect("4 bytes")))
}

fn malformed(reason: impl ToString) -> CodecError {
    CodecError::malformed(Codec::Lz4, reason)
}

const PRIMES: [u32; 5] = [2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393];

/// XXH32 with seed 0: the checksum of LZ4 frames.
fn xxh32(bytes: &[u8]) -> u32 {
    let word = |chunk: &[u8]| u32::from_le_bytes(chunk.try_into().expect("4 bytes"));
    let stripes = bytes.chunks_exact(16);
    let tail = stripes.remainder();
    let mut hash = if bytes.len() < 16 {
        PRIMES[4]
    } else {
        let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0u32.wrapping_sub(PRIMES[0])];
        for stripe in stripes {
            for (lane, chunk) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                let mixed = lane.wrapping_add(word(chunk).wrapping_mul(PRIMES[1]));
                *lane = mixed.rotate_left(13).wrapping_mul(PRIMES[0]);
            }
        }
        let rotations = [1, 7, 12, 18];
        lanes.iter().zip(rotations).fold(0u32, |sum, (lane, by)| sum.wrapping_add(lane.rotate_left(by)))
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let words = tail.chunks_exact(4);
    let last_bytes = words.remainder();
    for chunk in words {
        hash = hash.wrapping_add(word(chunk).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in last_bytes {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}
