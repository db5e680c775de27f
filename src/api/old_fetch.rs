//! What readers of the time before ZSTD get (KIP-110): an error in place of batches that they would take for garbage.
//!
//! Kafka looks at the topic's `compression.type` alone, and so hands them what a producer compressed by itself. Here the
//! batches are looked at, which costs readers of the last five years nothing.

use crate::record::codec::Codec;
use crate::record::header::PREFIX_BYTES;
use crate::runtime::buf::Slice;

/// The version of Fetch from which on a reader is known to understand ZSTD.
pub(super) const ZSTD_FROM: i16 = 10;
/// Base offset, length, leader epoch, magic, CRC, attributes.
const UNTIL_ATTRIBUTES: usize = 23;

/// Keeps the batches before the first that is compressed with ZSTD. True: that is the very first.
pub(super) fn refuse_zstd(records: &mut Vec<Slice>) -> bool {
    let Some(mut left) = zstd_at(records) else { return false };
    if left == 0 {
        return true;
    }
    let mut kept = 0;
    for slice in records.iter_mut() {
        if left == 0 {
            break;
        }
        if slice.len() > left {
            *slice = slice.slice(0..left);
        }
        left -= slice.len();
        kept += 1;
    }
    records.truncate(kept);
    false
}

/// Where the first batch with ZSTD begins.
fn zstd_at(records: &[Slice]) -> Option<usize> {
    let mut rest = Bytes { slices: records, at: 0 };
    let mut position = 0;
    loop {
        let mut header = [0; UNTIL_ATTRIBUTES];
        rest.clone().read(&mut header)?;
        let length = i32::from_be_bytes(*header[8..].first_chunk().expect("long enough"));
        let codec = Codec::from_id(header[UNTIL_ATTRIBUTES - 1] & 7);
        if codec == Some(Codec::Zstd) {
            return Some(position);
        }
        let bytes = PREFIX_BYTES + usize::try_from(length).ok()?;
        rest.skip(bytes)?;
        position += bytes;
    }
}

/// A place in bytes that lie in several slices.
#[derive(Clone)]
struct Bytes<'a> {
    slices: &'a [Slice],
    at: usize,
}

impl Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Option<()> {
        let mut filled = 0;
        while filled < into.len() {
            let slice = &self.slices.first()?[self.at..];
            let bytes = slice.len().min(into.len() - filled);
            into[filled..filled + bytes].copy_from_slice(&slice[..bytes]);
            filled += bytes;
            self.skip(bytes)?;
        }
        Some(())
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        while self.at > 0 && self.at >= self.slices.first()?.len() {
            self.at -= self.slices[0].len();
            self.slices = &self.slices[1..];
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{BatchBuilder, BatchOptions};

    fn batch(codec: Codec, value: &[u8]) -> Vec<u8> {
        let mut batch = BatchBuilder::new(BatchOptions { codec, ..Default::default() });
        batch.append(1, None, Some(value), []);
        batch.finish()
    }

    #[test]
    fn statement_97_batches_before_the_first_zstd_are_kept() {
        let (plain, gzip) = (batch(Codec::None, b"plain"), batch(Codec::Gzip, b"gzip"));
        let zstd = batch(Codec::Zstd, b"zstd");
        let all = [&plain[..], &gzip, &zstd, &plain].concat();
        let kept = plain.len() + gzip.len();
        for pieces in [1, 5, 22, 23, 24, 61, 100, all.len()] {
            let mut records: Vec<Slice> = all.chunks(pieces).map(|chunk| Slice::from(chunk.to_vec())).collect();
            assert!(!refuse_zstd(&mut records), "in pieces of {pieces}");
            assert_eq!(records.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>(), all[..kept]);
        }
        assert!(refuse_zstd(&mut vec![Slice::from(zstd)]));
        let mut without = vec![Slice::from(plain.clone()), Slice::from(gzip)];
        assert!(!refuse_zstd(&mut without) && without.len() == 2);
        assert!(!refuse_zstd(&mut Vec::new()));
    }
}
