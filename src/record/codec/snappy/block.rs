//! A raw Snappy block, decompressed in parts. The `snap` crate decompresses a block in one call only, and C clients
//! send a whole batch as one block.
//!
//! ```text
//! block:   uncompressed length, varint | elements
//! element: tag | further bytes, little-endian. The low two bits of the tag:
//!   0 literal: tag >> 2 is its length - 1, or from 60 on the number of bytes that hold it, plus 59 | the bytes
//!   1 copy:    4 + (tag >> 2 & 7) bytes, from (tag >> 5) * 256 + 1 byte back
//!   2 copy:    1 + (tag >> 2) bytes, from 2 bytes back
//!   3 copy:    1 + (tag >> 2) bytes, from 4 bytes back
//! ```

use super::malformed;
use crate::record::codec::{CodecError, STEP_BYTES};

/// The longest varint of a length.
const LENGTH_BYTES_MAX: usize = 5;

/// A block that is larger than a step.
pub(super) struct Block<'a> {
    input: &'a [u8],
    /// The block's first byte in the output. No copy begins before it.
    start: usize,
    /// The block's end in the output.
    end: usize,
    /// The bytes of the current literal that are not copied yet.
    literal: usize,
}

impl<'a> Block<'a> {
    /// A block that decompresses to `length` bytes from `start` on in the output.
    pub fn new(block: &'a [u8], length: usize, start: usize) -> Result<Block<'a>, CodecError> {
        let varint = block.iter().take(LENGTH_BYTES_MAX).position(|byte| byte & 0x80 == 0);
        let varint = varint.ok_or_else(|| malformed("the block's length is not a varint"))?;
        Ok(Block { input: &block[varint + 1..], start, end: start + length, literal: 0 })
    }

    /// Appends about [`STEP_BYTES`] to `out`. Returns whether more follow.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        let until = self.end.min(out.len() + STEP_BYTES);
        while out.len() < until {
            if self.literal > 0 {
                let bytes = self.take(self.literal.min(until - out.len()))?;
                self.literal -= bytes.len();
                out.extend_from_slice(bytes);
                continue;
            }
            let tag = self.number(1)?;
            let (length, back) = match tag & 3 {
                0 => {
                    self.literal = match tag >> 2 {
                        length @ ..60 => length,
                        long => self.number(long - 59)?,
                    } + 1;
                    if self.literal > self.end - out.len() {
                        return Err(malformed(format!("a literal of {} bytes exceeds the block", self.literal)));
                    }
                    continue;
                }
                1 => (4 + (tag >> 2 & 7), (tag >> 5 << 8) + self.number(1)?),
                2 => (1 + (tag >> 2), self.number(2)?),
                _ => (1 + (tag >> 2), self.number(4)?),
            };
            if back == 0 || back > out.len() - self.start || length > self.end - out.len() {
                return Err(malformed(format!("a copy of {length} bytes from {back} bytes back exceeds the block")));
            }
            copy(out, back, length);
        }
        if out.len() == self.end && !self.input.is_empty() {
            return Err(malformed(format!("{} bytes follow the block", self.input.len())));
        }
        Ok(out.len() < self.end)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, rest) =
            self.input.split_at_checked(count).ok_or_else(|| malformed("the block ends inside an element"))?;
        self.input = rest;
        Ok(bytes)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, CodecError> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

/// Appends the `length` bytes that begin `back` bytes before the end. They repeat if `length` is larger than `back`.
fn copy(out: &mut Vec<u8>, back: usize, mut length: usize) {
    let from = out.len() - back;
    while length > 0 {
        let count = length.min(out.len() - from);
        out.extend_from_within(from..from + count);
        length -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::Seeded;

    /// Decompresses in parts. Returns the number of steps too.
    fn in_steps(block: &[u8]) -> Result<(Vec<u8>, usize), CodecError> {
        // Neither the bytes before the block nor their number matter.
        let mut out = vec![1; 1000];
        let length = snap::raw::decompress_len(block).map_err(malformed)?;
        let mut decoder = Block::new(block, length, out.len())?;
        let mut steps = 1;
        while decoder.step(&mut out)? {
            steps += 1;
            assert!(out.len() <= 1000 + steps * (STEP_BYTES + 64), "a step is bounded");
        }
        Ok((out.split_off(1000), steps))
    }

    /// Elements of every kind, in any order. Most of them are good.
    fn random_block(seeded: &mut Seeded, length: usize) -> Vec<u8> {
        let (mut elements, mut done) = (Vec::new(), 0);
        while done < length {
            let is_good = seeded.below(2000) > 0;
            let kind = if done == 0 { 0 } else { seeded.below(5) as u32 };
            let back = if is_good { 1 + seeded.below(done.clamp(1, 70_000) as u64) as usize } else { done + 1 };
            let count = match kind {
                0 => {
                    let count_max = if seeded.below(20) == 0 { 70_000 } else { 80 };
                    let count = 1 + seeded.below(count_max) as usize;
                    let least = [60, 0x100, 0x1_0000].iter().filter(|most| count > **most).count();
                    let width = if seeded.below(4) == 0 { 4 } else { least };
                    let tag = if width == 0 { count - 1 } else { 59 + width };
                    elements.push((tag << 2) as u8);
                    elements.extend_from_slice(&(count as u32 - 1).to_le_bytes()[..width]);
                    elements.extend(seeded.bytes(count));
                    count
                }
                1 if back < 2048 => {
                    let count = 4 + seeded.below(8) as usize;
                    elements.extend([(back >> 8 << 5 | (count - 4) << 2 | 1) as u8, back as u8]);
                    count
                }
                2 if back < 1 << 16 => {
                    let count = 1 + seeded.below(64) as usize;
                    elements.push(((count - 1) << 2 | 2) as u8);
                    elements.extend_from_slice(&(back as u16).to_le_bytes());
                    count
                }
                _ => {
                    let count = 1 + seeded.below(64) as usize;
                    elements.push(((count - 1) << 2 | 3) as u8);
                    elements.extend_from_slice(&(back as u32).to_le_bytes());
                    count
                }
            };
            done += count;
        }
        let mut claimed = if seeded.below(10) == 0 { done + 1 } else { done };
        let mut block = Vec::new();
        while claimed > 0x7f {
            block.push(claimed as u8 | 0x80);
            claimed >>= 7;
        }
        block.push(claimed as u8);
        block.extend(elements);
        block
    }

    /// The crate is the oracle.
    fn check(block: &[u8]) -> bool {
        let expected = snap::raw::Decoder::new().decompress_vec(block);
        match in_steps(block) {
            Ok((found, _)) => assert!(expected.is_ok_and(|expected| expected == found), "only accepted in steps"),
            Err(error) => assert!(expected.is_err(), "only refused in steps: {error}"),
        }
        in_steps(block).is_ok()
    }

    #[test]
    fn steps_and_one_go_have_the_same_result_for_good_and_damaged_blocks() {
        let mut seeded = Seeded(3);
        let (mut good, mut bad) = (0, 0);
        for round in 0..300 {
            let length = 1 + seeded.below(if round % 10 == 0 { 600_000 } else { 5_000 }) as usize;
            let mut block = random_block(&mut seeded, length);
            *(if check(&block) { &mut good } else { &mut bad }) += 1;
            for _ in 0..4 {
                let at = seeded.below(block.len() as u64) as usize;
                block[at] = seeded.next() as u8;
                // A claim of gigabytes is refused before a block is begun.
                if snap::raw::decompress_len(&block).is_ok_and(|length| length < 4 << 20) {
                    check(&block);
                }
            }
            let cut = 1 + seeded.below(block.len() as u64) as usize;
            if snap::raw::decompress_len(&block[..cut]).is_ok_and(|length| length < 4 << 20) {
                check(&block[..cut]);
            }
        }
        assert!(good > 100 && bad > 10, "{good} good and {bad} bad blocks");
    }

    #[test]
    fn large_block_takes_a_step_for_each_piece() {
        let mut seeded = Seeded(4);
        for plain in [vec![0; 3 << 20], seeded.bytes(3 << 20), (0..3 << 20).map(|_| seeded.next() as u8).collect()] {
            let block = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
            let (found, steps) = in_steps(&block).unwrap();
            assert!(found == plain && (12..=13).contains(&steps), "{steps} steps");
        }
        // One literal of the whole size.
        let mut block = vec![0x80, 0x80, 0xc0, 0x01, 63 << 2];
        block.extend_from_slice(&((3u32 << 20) - 1).to_le_bytes());
        block.extend(seeded.bytes(3 << 20));
        assert_eq!(in_steps(&block).unwrap().1, 12);
    }
}
