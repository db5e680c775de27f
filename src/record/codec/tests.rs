use super::*;
use crate::record::tests::Seeded;
use std::io::{Read, Write};

const LIMIT: usize = 8 << 20;

fn inputs() -> Vec<Vec<u8>> {
    let mut seeded = Seeded(5);
    let mut inputs: Vec<_> = [0, 1, 100, 4095, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 300_000]
        .into_iter()
        .map(|length| seeded.bytes(length))
        .collect();
    inputs.push(vec![7; 1 << 20]);
    inputs.push((0..100_000).map(|_| seeded.next() as u8).collect());
    inputs
}

fn compressed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, None, plain, &mut out);
    out
}

fn decompressed(codec: Codec, stored: &[u8]) -> Result<Vec<u8>, CodecError> {
    Decompressor::new(LIMIT).decompress(codec, stored).map(<[u8]>::to_vec)
}

#[test]
fn every_codec_round_trips() {
    let mut decompressor = Decompressor::new(LIMIT);
    for codec in Codec::ALL {
        for plain in inputs() {
            let stored = compressed(codec, &plain);
            assert!(decompressor.decompress(codec, &stored).unwrap() == plain, "{codec:?}, {} bytes", plain.len());
        }
    }
}

#[test]
fn levels_outside_the_scale_are_clamped() {
    let plain = &inputs()[5];
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        for level in [i32::MIN, -1, 0, 1, 9, 12, i32::MAX] {
            let mut stored = Vec::new();
            compress(codec, Some(level), plain, &mut stored);
            assert!(decompressed(codec, &stored).unwrap() == *plain, "{codec:?} level {level}");
        }
    }
}

#[test]
fn ids_and_names_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec = Codec::from_id(id as u8).unwrap();
        assert_eq!((codec.id() as usize, codec.name()), (id, name));
        assert_eq!(Codec::from_name(name), Some(codec));
    }
    assert_eq!((Codec::from_id(5), Codec::from_id(7), Codec::from_name("brotli")), (None, None, None));
}

/// Other libraries decode our output, and our decoders theirs.
#[test]
fn other_implementations_agree() {
    for plain in inputs() {
        let lz4 = compressed(Codec::Lz4, &plain);
        let mut read = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&lz4[..]).read_to_end(&mut read).unwrap();
        assert!(read == plain);

        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_mode(BlockMode::Independent)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(plain.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&plain).unwrap();
                let stored = encoder.finish().unwrap();
                // For empty input, the library writes only the magic, which is not a frame.
                if !plain.is_empty() {
                    assert!(decompressed(Codec::Lz4, &stored).unwrap() == plain, "{size:?} {checks}");
                }
            }
        }

        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert!(decompressed(Codec::Snappy, &raw).unwrap() == plain);
        let zstd = zstd::stream::encode_all(&plain[..], 19).unwrap();
        assert!(decompressed(Codec::Zstd, &zstd).unwrap() == plain);
        assert!(zstd::stream::decode_all(&compressed(Codec::Zstd, &plain)[..]).unwrap() == plain);
    }
}

#[test]
fn concatenated_streams_decode_as_one() {
    let (a, b) = (vec![1; 5000], vec![2; 70_000]);
    let both = [&a[..], &b[..]].concat();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let stored = [compressed(codec, &a), compressed(codec, &b)].concat();
        assert!(decompressed(codec, &stored).unwrap() == both, "{codec:?}");
    }
    // Java's LZ4 reader stops at the end mark, and its gzip reader at the first byte that does not start a member.
    let stored = [compressed(Codec::Lz4, &a), b"and more".to_vec()].concat();
    assert!(decompressed(Codec::Lz4, &stored).unwrap() == a);
    let stored = [compressed(Codec::Gzip, &a), b"and more".to_vec()].concat();
    assert!(decompressed(Codec::Gzip, &stored).unwrap() == a);
}

/// REC-1
#[test]
fn a_decompression_bomb_is_an_error_at_the_limit() {
    let plain = vec![0; 64 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let stored = compressed(codec, &plain);
        assert!(stored.len() < 4 << 20, "{codec:?}");
        assert_eq!(decompressed(codec, &stored), Err(CodecError::TooLarge { limit: LIMIT }), "{codec:?}");
        let exact = compressed(codec, &plain[..LIMIT]);
        assert_eq!(decompressed(codec, &exact).unwrap().len(), LIMIT, "{codec:?}: the limit itself is allowed");
    }
}

#[test]
fn rec_1_claimed_sizes_are_not_allocated() {
    // Raw Snappy with a length prefix of 4 GiB - 1 and three bytes of data.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    assert!(matches!(decompressed(Codec::Snappy, &lie), Err(CodecError::Malformed { .. })));
    // A chunk of 2 GiB - 1 in Java's framing.
    let mut framed = compressed(Codec::Snappy, b"");
    framed.extend_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(decompressed(Codec::Snappy, &framed), Err(CodecError::Malformed { .. })));
    framed.truncate(16);
    framed.extend_from_slice(&(-5i32).to_be_bytes());
    assert!(matches!(decompressed(Codec::Snappy, &framed), Err(CodecError::Malformed { .. })));
    // A zstd frame whose header states a window of 2 GiB is rejected, not allocated.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    assert!(matches!(decompressed(Codec::Zstd, &window), Err(CodecError::Malformed { .. })));
}

#[test]
fn lz4_frames_that_javas_reader_rejects_are_rejected() {
    let good = compressed(Codec::Lz4, &[9; 1000]);
    let check = |at: usize, byte: u8, reason: &str| {
        let mut frame = good.clone();
        frame[at] = byte;
        match decompressed(Codec::Lz4, &frame) {
            Err(CodecError::Malformed { reason: found, .. }) => assert!(found.contains(reason), "{found}"),
            other => panic!("{reason}: {other:?}"),
        }
    };
    check(0, 0, "frame magic");
    check(4, 0xa0, "version");
    check(4, 0x61, "reserved");
    check(4, 0x40, "depend");
    check(5, 0x30, "block size code");
    check(5, 0x41, "reserved");
    check(6, good[6] ^ 1, "checksum");
    check(9, 0x10, "a block has");
}

#[test]
fn a_cut_or_damaged_stream_never_causes_a_panic() {
    let plain = Seeded(8).bytes(3000);
    let mut decompressor = Decompressor::new(1 << 20);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let stored = compressed(codec, &plain);
        for end in 1..stored.len() {
            // Java's Snappy framing has no end mark: a stream cut between chunks is a shorter stream.
            if let Ok(read) = decompressor.decompress(codec, &stored[..end]) {
                assert!(codec == Codec::Snappy && read.is_empty(), "{codec:?} cut at {end}");
            }
        }
        let mut seeded = Seeded(codec.id().into());
        for _ in 0..3000 {
            let mut damaged = stored.clone();
            let at = seeded.below(damaged.len() as u64) as usize;
            damaged[at] = seeded.next() as u8;
            let _ = decompressor.decompress(codec, &damaged);
        }
        assert!(decompressor.decompress(codec, &stored).unwrap() == plain, "usable after failures");
    }
}

#[test]
fn step_is_bounded_with_every_codec_and_format() {
    const BYTES: usize = 3 << 20;
    let plain = Seeded(6).bytes(BYTES);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    // One large chunk in Java's framing, and a small one behind it.
    let mut framed = compressed(Codec::Snappy, b"");
    framed.extend_from_slice(&(raw.len() as i32).to_be_bytes());
    framed.extend_from_slice(&raw);
    framed.extend_from_slice(&compressed(Codec::Snappy, b"end"));
    let written = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].map(|codec| (codec, compressed(codec, &plain)));
    for (codec, stored) in written.into_iter().chain([(Codec::Snappy, raw), (Codec::Snappy, framed)]) {
        let mut decoding = Decoding::new(codec, &stored, LIMIT).unwrap();
        let mut goes_on = true;
        while goes_on {
            let before = decoding.decoded().len();
            goes_on = decoding.step().unwrap();
            let step = decoding.decoded().len() - before;
            assert!(step <= STEP_BYTES + 64, "{codec:?}: a step of {step} bytes");
        }
        let decoded = decoding.decoded();
        assert!(decoded.starts_with(&plain) && [&b""[..], b"end"].contains(&&decoded[BYTES..]), "{codec:?}");
    }
}
