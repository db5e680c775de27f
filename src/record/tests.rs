//! Compares batches with `kafka-protocol` as the oracle, in both directions, and reads damaged ones.

use super::builder::{BatchBuilder, BatchOptions};
use super::timestamps::{SearchError, TimestampOffset, offset_for_timestamp, offset_of_max_timestamp};
use super::walk::Corruption;
use super::*;
use crate::model::{LeaderEpoch, Offset};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;

/// A random generator with a seed, so that a failure can be repeated.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        // Half of the bytes compress, half do not.
        (0..length).map(|i| if i % 64 < 32 { b'a' + (i % 7) as u8 } else { self.next() as u8 }).collect()
    }
}

pub const LIMIT: usize = 16 << 20;

type Plain = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

/// Records with every shape of key, value and headers.
fn sample(seed: u64, count: usize) -> Vec<Plain> {
    let mut seeded = Seeded(seed);
    (0..count)
        .map(|i| {
            let mut field = |bound| match seeded.below(4) {
                0 => None,
                1 => Some(Vec::new()),
                _ => {
                    let length = seeded.below(bound) as usize;
                    Some(seeded.bytes(length))
                }
            };
            let (key, value) = (field(40), field(3000));
            let headers = (0..seeded.below(4))
                .map(|h| {
                    let value = (seeded.below(3) > 0).then(|| seeded.bytes(9));
                    (format!("header-{h}").into_bytes(), value)
                })
                .collect();
            (1_700_000_000_000 + i as i64 * 7 - (seeded.below(100) as i64), key, value, headers)
        })
        .collect()
}

fn build(records: &[Plain], options: BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for (timestamp, key, value, headers) in records {
        let headers = headers.iter().map(|(key, value)| (&key[..], value.as_deref()));
        builder.append(*timestamp, key.as_deref(), value.as_deref(), headers);
    }
    builder.finish()
}

fn oracle_codec(codec: Codec) -> oracle::Compression {
    match codec {
        Codec::None => oracle::Compression::None,
        Codec::Gzip => oracle::Compression::Gzip,
        Codec::Snappy => oracle::Compression::Snappy,
        Codec::Lz4 => oracle::Compression::Lz4,
        Codec::Zstd => oracle::Compression::Zstd,
    }
}

fn assert_same(record: &Record<'_>, plain: &Plain, offset: i64) {
    let (timestamp, key, value, headers) = plain;
    assert_eq!((record.offset, record.timestamp), (Offset(offset), *timestamp));
    assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
    assert_eq!(record.headers.len(), headers.len());
    for (header, (key, value)) in record.headers.into_iter().zip(headers) {
        assert_eq!((header.key, header.value), (&key[..], value.as_deref()));
    }
}

#[test]
fn the_oracle_reads_our_batches_with_every_codec() {
    for codec in Codec::ALL {
        for count in [1, 3, 200] {
            let plain = sample(count as u64, count);
            let options = BatchOptions {
                base_offset: Offset(1000),
                leader_epoch: LeaderEpoch(7),
                codec,
                producer_id: 42,
                producer_epoch: 3,
                base_sequence: 9,
                is_transactional: true,
                ..BatchOptions::default()
            };
            let mut bytes = bytes::Bytes::from(build(&plain, options));
            let read = oracle::RecordBatchDecoder::decode(&mut bytes).unwrap();
            assert_eq!(read.compression, oracle_codec(codec));
            assert_eq!(read.records.len(), count);
            for (i, (record, (timestamp, key, value, headers))) in read.records.iter().zip(&plain).enumerate() {
                assert_eq!(record.offset, 1000 + i as i64);
                assert_eq!(record.timestamp, *timestamp);
                assert_eq!((record.producer_id, record.producer_epoch), (42, 3));
                assert_eq!((record.sequence, record.partition_leader_epoch), (9 + i as i32, 7));
                assert!(record.transactional && !record.control);
                assert_eq!(record.key.as_deref(), key.as_deref());
                assert_eq!(record.value.as_deref(), value.as_deref());
                let expected: IndexMap<_, _> = headers
                    .iter()
                    .map(|(key, value)| {
                        let key = StrBytes::from_string(String::from_utf8(key.clone()).unwrap());
                        (key, value.clone().map(bytes::Bytes::from))
                    })
                    .collect();
                assert_eq!(record.headers, expected);
            }
        }
    }
}

#[test]
fn we_read_the_batches_of_the_oracle_with_every_codec() {
    for codec in Codec::ALL {
        for count in [1usize, 3, 200] {
            let plain = sample(count as u64 + 77, count);
            let records: Vec<_> = plain
                .iter()
                .enumerate()
                .map(|(i, (timestamp, key, value, headers))| oracle::Record {
                    transactional: false,
                    control: false,
                    delete_horizon: false,
                    partition_leader_epoch: 5,
                    producer_id: 11,
                    producer_epoch: 2,
                    timestamp_type: oracle::TimestampType::Creation,
                    offset: 500 + i as i64,
                    sequence: 20 + i as i32,
                    timestamp: *timestamp,
                    key: key.clone().map(Into::into),
                    value: value.clone().map(Into::into),
                    headers: headers
                        .iter()
                        .map(|(key, value)| {
                            let key = StrBytes::from_string(String::from_utf8(key.clone()).unwrap());
                            (key, value.clone().map(Into::into))
                        })
                        .collect(),
                })
                .collect();
            let mut bytes = bytes::BytesMut::new();
            let options = oracle::RecordEncodeOptions { version: 2, compression: oracle_codec(codec) };
            oracle::RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();

            let batch = batches(&bytes).next().unwrap().unwrap();
            assert_eq!(batch.bytes.len(), bytes.len());
            assert!(batch.is_intact());
            let header = batch.header;
            assert_eq!(header.codec(), Some(codec));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (11, 2, 20));
            assert_eq!((header.base_offset, header.last_offset()), (Offset(500), Offset(499 + count as i64)));
            assert_eq!(header.max_timestamp, plain.iter().map(|p| p.0).max().unwrap());
            let mut decompressor = Decompressor::new(LIMIT);
            let decoded = decompressor.records(&header, batch.stored_records()).unwrap();
            let mut seen = 0;
            for (i, record) in Records::new(&header, decoded).enumerate() {
                assert_same(&record.unwrap(), &plain[i], 500 + i as i64);
                seen += 1;
            }
            assert_eq!(seen, count);
        }
    }
}

#[test]
fn a_header_round_trips() {
    let mut seeded = Seeded(1);
    for _ in 0..1000 {
        let mut raw = [0; HEADER_BYTES];
        raw.fill_with(|| seeded.next() as u8);
        assert_eq!(BatchHeader::decode(&raw).unwrap().encode(), raw);
    }
    for short in 0..HEADER_BYTES {
        assert_eq!(BatchHeader::decode(&[0; HEADER_BYTES][..short]), None);
    }
}

#[test]
fn rec_2_patching_offset_and_epoch_keeps_the_crc() {
    let mut batch = build(&sample(3, 5), BatchOptions::default());
    header::patch_base_offset(&mut batch, Offset(123_456_789_012));
    header::patch_leader_epoch(&mut batch, LeaderEpoch(99));
    let header = BatchHeader::decode(&batch).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(123_456_789_012), LeaderEpoch(99)));
    assert_eq!((header.last_offset(), header.next_offset()), (Offset(123_456_789_016), Offset(123_456_789_017)));
    assert!(header.crc_matches(&batch));
}

#[test]
fn any_flipped_bit_under_the_crc_is_detected() {
    let batch = build(&sample(4, 2), BatchOptions::default());
    for at in 17..batch.len() {
        let mut damaged = batch.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(!BatchHeader::decode(&damaged).unwrap().crc_matches(&damaged), "byte {at}");
    }
}

#[test]
fn sequences_wrap_to_zero() {
    for (from, delta, to) in
        [(0, 0, 0), (5, 4, 9), (i32::MAX, 1, 0), (i32::MAX - 1, 3, 1), (i32::MAX, i32::MAX, i32::MAX - 1)]
    {
        assert_eq!(header::advance_sequence(from, delta), to, "{from} + {delta}");
    }
}

#[test]
fn a_walk_yields_every_batch_and_stops_at_a_torn_one() {
    let first = build(&sample(1, 3), BatchOptions { base_offset: Offset(10), ..Default::default() });
    let second =
        build(&sample(2, 2), BatchOptions { base_offset: Offset(13), codec: Codec::Zstd, ..Default::default() });
    let bytes = [&first[..], &second[..]].concat();
    for end in 0..=bytes.len() {
        let mut walk = batches(&bytes[..end]);
        let whole = usize::from(end >= first.len()) + usize::from(end == bytes.len());
        for i in 0..whole {
            let batch = walk.next().unwrap().unwrap();
            assert_eq!(batch.position, [0, first.len()][i]);
            assert_eq!(batch.bytes, [&first[..], &second[..]][i]);
            assert!(batch.is_intact());
        }
        let position = [0, first.len(), bytes.len()][whole];
        assert_eq!(walk.position(), position);
        if end == position {
            assert!(walk.next().is_none());
        } else {
            match walk.next() {
                Some(Err(Broken::Torn { position: at, available, needed })) => {
                    assert_eq!((at, available), (position, end - position));
                    assert!(needed > available);
                }
                other => panic!("cut at {end}: {other:?}"),
            }
            assert!(walk.next().is_none(), "the walk ends after a broken batch");
        }
    }
}

#[test]
fn a_walk_distinguishes_corruption_from_a_torn_end() {
    let batch = build(&sample(1, 3), BatchOptions::default());
    let check = |at: usize, bytes: &[u8], reason: Corruption| {
        let mut damaged = batch.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        let found = batches(&damaged).next().unwrap().unwrap_err();
        assert_eq!(found, Broken::Corrupt { position: 0, reason });
    };
    check(8, &0i32.to_be_bytes(), Corruption::Length(0));
    check(8, &(-1i32).to_be_bytes(), Corruption::Length(-1));
    check(8, &48i32.to_be_bytes(), Corruption::Length(48));
    check(16, &[1], Corruption::Magic(1));
    check(16, &[0xff], Corruption::Magic(-1));
    // A preallocated file that was never written.
    let found = batches(&[0; 4096]).next().unwrap().unwrap_err();
    assert_eq!(found, Broken::Corrupt { position: 0, reason: Corruption::Length(0) });
}

#[test]
fn records_cut_anywhere_end_in_an_error() {
    let plain = sample(5, 4);
    let batch = build(&plain, BatchOptions::default());
    let header = BatchHeader::decode(&batch).unwrap();
    let whole = &batch[HEADER_BYTES..];
    for end in 0..whole.len() {
        let last = Records::new(&header, &whole[..end]).last().unwrap();
        assert!(last.is_err(), "cut at {end}");
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    let last = Records::new(&header, &longer).last().unwrap();
    assert_eq!(last, Err(RecordError::Tail { count: 4, bytes: 1 }));
    let fewer = BatchHeader { records_count: -1, ..header };
    assert_eq!(Records::new(&fewer, whole).last(), Some(Err(RecordError::Count(-1))));
}

#[test]
fn malformed_records_have_typed_errors() {
    let header = BatchHeader { records_count: 1, ..BatchHeader::decode(&[0; HEADER_BYTES]).unwrap() };
    let check = |body: &[u8], expected: RecordError| {
        let found = Records::new(&header, body).last().unwrap().unwrap_err();
        assert_eq!(found, expected, "{body:?}");
    };
    let long = varint::VarintError::TooLong;
    let ends = varint::VarintError::Ends;
    check(&[0xff; 9], RecordError::Varint { index: 0, source: long });
    check(&[0x80], RecordError::Varint { index: 0, source: ends });
    check(&[1], RecordError::Length { index: 0, length: -1, available: 0 });
    check(&[20, 0, 0, 0], RecordError::Length { index: 0, length: 10, available: 3 });
    // An empty body lacks the attributes.
    check(&[0], RecordError::Varint { index: 0, source: ends });
    // Attributes, timestamp, offset, and a key of 5 bytes of which 1 is left.
    check(&[10, 0, 0, 0, 10, 1], RecordError::Field { index: 0, length: 5, available: 1 });
    // Null key, null value, -1 headers; then 3 headers without any byte left.
    check(&[12, 0, 0, 0, 1, 1, 1], RecordError::HeaderCount { index: 0, count: -1, available: 0 });
    check(&[12, 0, 0, 0, 1, 1, 6], RecordError::HeaderCount { index: 0, count: 3, available: 0 });
    check(&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordError::HeaderKey { index: 0 });
    check(&[14, 0, 0, 0, 1, 1, 0, 9], RecordError::RecordTail { index: 0, bytes: 1 });
    check(&[], RecordError::Missing { expected: 1, got: 0 });
}

/// Checks that `skim` and `Records` agree on the first record.
fn assert_skims_alike(bytes: &[u8]) {
    // A count of one more than is read, so that `Records` does not check the bytes after the record.
    let header = BatchHeader { records_count: 2, ..BatchHeader::decode(&[0; HEADER_BYTES]).unwrap() };
    let mut rest = bytes;
    let skimmed = records::skim(&mut rest);
    let read = Records::new(&header, bytes).next().unwrap();
    let seen = read.ok().map(|read| (read.timestamp_delta, read.offset_delta, read.key.is_some()));
    assert_eq!(skimmed.map(|s| (s.timestamp_delta, s.offset_delta, s.has_key)), seen, "{bytes:?}");
}

#[test]
fn skimming_and_reading_agree_on_every_record_whole_cut_or_damaged() {
    for (seed, plain) in (0..40).map(|seed| (seed, sample(seed, 1))) {
        let batch = build(&plain, BatchOptions::default());
        let record = &batch[HEADER_BYTES..];
        let mut seeded = Seeded(seed);
        for end in 0..=record.len().min(300) {
            assert_skims_alike(&record[..end]);
        }
        assert_skims_alike(record);
        for _ in 0..2000 {
            let mut damaged = record.to_vec();
            for _ in 0..=seeded.below(3) {
                // Mostly among the lengths at the start, where damage has an effect.
                let bound = if seeded.below(2) == 0 { damaged.len().min(12) } else { damaged.len() };
                let at = seeded.below(bound as u64) as usize;
                damaged[at] = seeded.next() as u8;
            }
            assert_skims_alike(&damaged);
        }
    }
    // Short records over a small alphabet take every branch often.
    let mut seeded = Seeded(99);
    for _ in 0..200_000 {
        let body: Vec<u8> =
            (0..seeded.below(12)).map(|_| [0, 1, 2, 4, 6, 0x80, 0xff][seeded.below(7) as usize]).collect();
        let length = (body.len() as u64 * 2).wrapping_add(seeded.below(8) / 7 * 2) as u8;
        assert_skims_alike(&[&[length][..], &body].concat());
    }
}

#[test]
fn rec_1_damaged_batches_never_panic_any_reader() {
    let mut decompressor = Decompressor::new(1 << 20);
    for codec in Codec::ALL {
        let whole = build(&sample(9, 20), BatchOptions { codec, ..Default::default() });
        let mut seeded = Seeded(codec.id().into());
        for _ in 0..3000 {
            let mut damaged = whole.clone();
            for _ in 0..=seeded.below(4) {
                let at = seeded.below(damaged.len() as u64) as usize;
                damaged[at] = seeded.next() as u8;
            }
            damaged.truncate(1 + seeded.below(damaged.len() as u64) as usize);
            let Some(Ok(batch)) = batches(&damaged).next() else { continue };
            let _ = now(offset_for_timestamp(&batch, i64::MIN, Offset(i64::MAX), 1 << 20, async || ()));
            let _ = now(offset_of_max_timestamp(&batch, LIMIT, async || ()));
            if let Ok(decoded) = decompressor.records(&batch.header, batch.stored_records()) {
                for record in Records::new(&batch.header, decoded).flatten() {
                    assert!(record.headers.into_iter().count() == record.headers.len());
                }
            }
        }
    }
}

/// The output of a future that does not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let polled = std::pin::pin!(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let std::task::Poll::Ready(output) = polled else { panic!("the future waits") };
    output
}

#[test]
fn a_timestamp_is_found_at_record_precision_with_every_codec() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(BatchOptions { codec, base_offset: Offset(100), ..Default::default() });
        for timestamp in [10, 30, 20, 30] {
            builder.append(timestamp, None, Some(b"value"), []);
        }
        let bytes = builder.finish();
        let batch = batches(&bytes).next().unwrap().unwrap();
        let cases =
            [(0, 0, Some((10, 100))), (10, 0, Some((10, 100))), (11, 0, Some((30, 101))), (11, 102, Some((20, 102)))];
        for (target, from, expected) in
            cases.into_iter().chain([(21, 102, Some((30, 103))), (31, 0, None), (30, 104, None)])
        {
            let expected = expected.map(|(timestamp, offset)| TimestampOffset { timestamp, offset: Offset(offset) });
            let found = now(offset_for_timestamp(&batch, target, Offset(from), LIMIT, async || ())).unwrap();
            assert_eq!(found, expected, "{codec:?}: {target} from {from}");
        }
        let max = now(offset_of_max_timestamp(&batch, LIMIT, async || ())).unwrap();
        assert_eq!(max, Some(TimestampOffset { timestamp: 30, offset: Offset(101) }));
    }
}

#[test]
fn under_log_append_time_all_records_have_the_batch_time() {
    let options = BatchOptions { base_offset: Offset(5), log_append_time_ms: Some(777), ..Default::default() };
    let bytes = build(&sample(2, 3), options);
    let batch = batches(&bytes).next().unwrap().unwrap();
    assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
    let times: Vec<_> = Records::new(&batch.header, batch.stored_records()).map(|r| r.unwrap().timestamp).collect();
    assert_eq!(times, [777; 3]);
    let found = now(offset_for_timestamp(&batch, 700, Offset(6), LIMIT, async || ())).unwrap();
    assert_eq!(found, Some(TimestampOffset { timestamp: 777, offset: Offset(6) }));
    let max = now(offset_of_max_timestamp(&batch, LIMIT, async || ())).unwrap();
    assert_eq!(max, Some(TimestampOffset { timestamp: 777, offset: Offset(5) }));
}

#[test]
fn a_batch_without_timestamps_has_no_maximum() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(-1, None, None, []);
    let bytes = builder.finish();
    let batch = batches(&bytes).next().unwrap().unwrap();
    assert_eq!(now(offset_of_max_timestamp(&batch, LIMIT, async || ())).unwrap(), None);
}

#[test]
fn a_large_batch_is_searched_in_steps() {
    const RECORDS: i64 = 60_000;
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(BatchOptions { codec, ..Default::default() });
        for at in 0..RECORDS {
            builder.append(at, Some(b"a key of some bytes"), None, []);
        }
        let bytes = builder.finish();
        let batch = batches(&bytes).next().unwrap().unwrap();
        let plain_bytes = Decompressor::new(LIMIT).records(&batch.header, batch.stored_records()).unwrap().len();
        let decodes = if codec == Codec::None { 0 } else { plain_bytes / codec::STEP_BYTES };
        let pauses_least = decodes + RECORDS as usize / validate::STEP_RECORDS as usize;
        assert!(pauses_least > 6, "the batch is large");
        let last = Some(TimestampOffset { timestamp: RECORDS - 1, offset: Offset(RECORDS - 1) });
        let pauses = std::cell::Cell::new(0);
        let pause = async || pauses.set(pauses.get() + 1);
        assert_eq!(now(offset_for_timestamp(&batch, RECORDS - 1, Offset(0), LIMIT, &pause)).unwrap(), last);
        assert!(pauses.replace(0) >= pauses_least, "{codec:?}");
        assert_eq!(now(offset_of_max_timestamp(&batch, LIMIT, &pause)).unwrap(), last);
        assert!(pauses.get() >= pauses_least, "{codec:?}");
        let limited = now(offset_of_max_timestamp(&batch, 200_000, &pause));
        let too_large = SearchError::Codec(codec::CodecError::TooLarge { limit: 200_000 });
        assert_eq!(limited.err(), (codec != Codec::None).then_some(too_large), "{codec:?}");
    }
}
