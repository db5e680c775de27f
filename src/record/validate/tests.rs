use super::*;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::tests::{LIMIT, Seeded};
use crate::record::walk::batches;
use crate::record::{header, varint};

const NOW: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    Rules {
        zstd_rejection: None,
        message_bytes_max: 1 << 20,
        record_bytes_max: 1 << 20,
        segment_bytes_max: 1 << 30,
        compression: TopicCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        is_compacted: false,
        now_ms: NOW,
    }
}

fn batch_of(codec: Codec, records: &[(i64, Option<&str>)]) -> Vec<u8> {
    batch_with(BatchOptions { codec, ..Default::default() }, records)
}

fn batch_with(options: BatchOptions, records: &[(i64, Option<&str>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for (timestamp, key) in records {
        builder.append(*timestamp, key.map(str::as_bytes), Some(b"some value"), [(&b"h"[..], None)]);
    }
    builder.finish()
}

fn three(codec: Codec) -> Vec<u8> {
    batch_of(codec, &[(NOW - 5, Some("a")), (NOW, Some("b")), (NOW - 2, Some("c"))])
}

/// `batch` with a changed header and a matching CRC.
fn changed(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::decode(&batch).unwrap();
    change(&mut header);
    header.crc = header.crc_with(&batch[HEADER_BYTES..]);
    batch[..HEADER_BYTES].copy_from_slice(&header.encode());
    batch
}

fn run<'a>(bytes: &'a [u8], rules: &Rules) -> Result<Accepted<'a>, BatchRejected> {
    validate(bytes, rules, &mut Decompressor::new(LIMIT))
}

fn check_rejected(case: &str, bytes: &[u8], rules: &Rules, error: ErrorCode, text: &str) -> BatchRejected {
    let rejected = run(bytes, rules).expect_err(case);
    assert_eq!(rejected.error, error, "{case}: {}", rejected.message);
    assert!(rejected.message.contains(text), "{case}: {}", rejected.message);
    rejected
}

/// The stored form of an accepted batch, after checking REC-3.
fn stored(accepted: &Accepted<'_>) -> Vec<u8> {
    let bytes = [&accepted.stored_header(Offset(4000), LeaderEpoch(17))[..], &accepted.records].concat();
    let batch = batches(&bytes).next().unwrap().unwrap();
    assert_eq!(batch.bytes.len(), bytes.len());
    assert_eq!(accepted.total_bytes(), bytes.len());
    assert!(batch.is_intact());
    let header = batch.header;
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(4000), LeaderEpoch(17)));
    let mut decompressor = Decompressor::new(LIMIT);
    let decoded = decompressor.records(&header, batch.stored_records()).unwrap();
    let records: Vec<_> = Records::new(&header, decoded).map(Result::unwrap).collect();
    assert_eq!(records.len(), header.records_count as usize);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.offset, Offset(4000 + i as i64));
    }
    let max = records.iter().map(|record| record.timestamp).max().unwrap().max(-1);
    assert_eq!(header.max_timestamp, max);
    // Negative timestamps other than -1 do not count, so no record may have the maximum.
    assert!(max < 0 || records[accepted.offset_delta_of_max_timestamp as usize].timestamp == max);
    bytes
}

#[test]
fn rec_3_a_valid_batch_is_stored_as_sent_except_for_offset_and_epoch() {
    for codec in Codec::ALL {
        let sent = three(codec);
        let accepted = run(&sent, &rules()).unwrap();
        assert!(accepted.is_as_sent);
        assert!(matches!(accepted.records, Cow::Borrowed(_)), "no copy");
        assert_eq!((accepted.log_append_time_ms(), accepted.offset_delta_of_max_timestamp), (-1, 1));
        let mut expected = sent.clone();
        header::patch_base_offset(&mut expected, Offset(4000));
        header::patch_leader_epoch(&mut expected, LeaderEpoch(17));
        assert_eq!(stored(&accepted), expected, "{codec:?}");
    }
}

#[test]
fn exactly_one_batch_of_magic_2_is_required() {
    let one = three(Codec::None);
    let with_byte = |at: usize, byte: u8| {
        let mut bytes = one.clone();
        bytes[at] = byte;
        bytes
    };
    let with_length = |length: i32| {
        let mut bytes = one.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let two = [&one[..], &one[..]].concat();
    let one_and_a_bit = [&one[..], &one[..20]].concat();
    use ErrorCode::{CorruptMessage, InvalidRecord};
    let cases: [(&str, &[u8], ErrorCode, &str); 13] = [
        ("nothing", &[], InvalidRecord, "at least one"),
        ("11 bytes", &one[..11], InvalidRecord, "at least one"),
        ("16 bytes", &one[..16], InvalidRecord, "at least one"),
        ("a cut batch", &one[..one.len() - 1], InvalidRecord, "at least one"),
        ("two batches", &two, InvalidRecord, "exactly one"),
        ("a batch and part of another", &one_and_a_bit, InvalidRecord, "exactly one"),
        ("magic 0", &with_byte(16, 0), InvalidRecord, "magic version 2"),
        ("magic 1", &with_byte(16, 1), InvalidRecord, "magic version 2"),
        ("magic 3", &with_byte(16, 3), CorruptMessage, "magic"),
        ("magic -1", &with_byte(16, 0xff), CorruptMessage, "magic"),
        ("length 13", &with_length(13), CorruptMessage, "Record size 13"),
        ("length -1", &with_length(-1), CorruptMessage, "Record size -1"),
        ("length 20", &with_length(20), CorruptMessage, "smaller than the header"),
    ];
    for (case, bytes, error, text) in cases {
        check_rejected(case, bytes, &rules(), error, text);
    }
}

#[test]
fn illegal_header_fields_are_rejected() {
    use ErrorCode::{CorruptMessage, InvalidRecord, UnsupportedCompressionType};
    let rejects = |case: &str, change: fn(&mut BatchHeader), error: ErrorCode, text: &str| {
        for codec in [Codec::None, Codec::Lz4] {
            check_rejected(case, &changed(three(codec), change), &rules(), error, text);
        }
    };
    rejects("base offset", |h| h.base_offset = Offset(7), InvalidRecord, "baseOffset");
    rejects("delta too small", |h| h.last_offset_delta = 1, InvalidRecord, "Inconsistent batch offset range");
    rejects("delta too large", |h| h.last_offset_delta = 3, InvalidRecord, "Inconsistent batch offset range");
    rejects("delta negative", |h| h.last_offset_delta = -1, InvalidRecord, "invalid offset range");
    rejects("count 0", |h| h.records_count = 0, InvalidRecord, "reported count");
    rejects("count -1", |h| h.records_count = -1, InvalidRecord, "reported count");
    rejects("control", |h| h.attributes |= 1 << 5, InvalidRecord, "control");
    rejects("sequence", |h| h.producer_id = 5, InvalidRecord, "Invalid sequence number -1");
    rejects("codec 5", |h| h.attributes = 5, UnsupportedCompressionType, "compression type id: 5");
    rejects("codec 7", |h| h.attributes = 7, UnsupportedCompressionType, "compression type id: 7");

    let mut damaged = three(Codec::None);
    *damaged.last_mut().unwrap() ^= 1;
    check_rejected("crc", &damaged, &rules(), CorruptMessage, "stored crc");
    // A count that matches the offset range, but not the bytes.
    let more = |h: &mut BatchHeader| (h.last_offset_delta, h.records_count) = (3, 4);
    let fewer = |h: &mut BatchHeader| (h.last_offset_delta, h.records_count) = (1, 2);
    for codec in Codec::ALL {
        check_rejected("more", &changed(three(codec), more), &rules(), InvalidRecord, "4 records and its bytes end");
        check_rejected("fewer", &changed(three(codec), fewer), &rules(), InvalidRecord, "left after the last of 2");
    }
    // A count that would require gigabytes if the reader allocated for it.
    let huge = |h: &mut BatchHeader| (h.last_offset_delta, h.records_count) = (i32::MAX - 1, i32::MAX);
    check_rejected("huge", &changed(three(Codec::Zstd), huge), &rules(), InvalidRecord, "its bytes end after 3");
    // The header names zstd, but the records are not compressed.
    let lying = changed(three(Codec::None), |h| h.attributes = 4);
    check_rejected("not zstd", &lying, &rules(), InvalidRecord, "zstd data is malformed");
}

#[test]
fn an_idempotent_batch_with_a_sequence_is_accepted() {
    let options = BatchOptions { producer_id: 0, producer_epoch: 0, base_sequence: 0, ..Default::default() };
    assert!(run(&batch_with(options, &[(NOW, None)]), &rules()).unwrap().is_as_sent);
}

#[test]
fn zstd_is_rejected_without_the_capability() {
    let bytes = three(Codec::Zstd);
    let old =
        Rules { zstd_rejection: Some("Produce requests with version 6 are not allowed to use ZStandard"), ..rules() };
    check_rejected("v6", &bytes, &old, ErrorCode::UnsupportedCompressionType, "version 6");
    assert!(run(&bytes, &rules()).is_ok());
    assert!(run(&three(Codec::Lz4), &old).is_ok());
}

#[test]
fn sizes_are_of_the_whole_batch_as_stored() {
    let bytes = three(Codec::None);
    let fits = Rules { message_bytes_max: bytes.len(), segment_bytes_max: bytes.len(), ..rules() };
    assert!(run(&bytes, &fits).is_ok());
    let small = Rules { message_bytes_max: bytes.len() - 1, ..fits };
    check_rejected("message", &bytes, &small, ErrorCode::MessageTooLarge, "exceeds the maximum configured value");
    let small = Rules { segment_bytes_max: bytes.len() - 1, ..fits };
    check_rejected("segment", &bytes, &small, ErrorCode::RecordListTooLarge, "segment size");

    // A record of a compressed batch is bounded as well, without its length prefix.
    let key = "k".repeat(5000);
    for (codec, bytes_max, is_accepted) in
        [(Codec::Gzip, 5019, false), (Codec::Gzip, 5020, true), (Codec::None, 1, true)]
    {
        let bytes = batch_of(codec, &[(NOW, Some("short")), (NOW, Some(&key))]);
        let bounded = Rules { record_bytes_max: bytes_max, ..rules() };
        if is_accepted {
            assert!(run(&bytes, &bounded).is_ok(), "{codec:?} {bytes_max}");
        } else {
            let message = "Invalid record size: 5020 exceeds the configured maximum record size of 5019.";
            check_rejected("record", &bytes, &bounded, ErrorCode::InvalidRecord, message);
        }
    }

    // Fits compressed, but the topic stores it uncompressed.
    let key = "k".repeat(5000);
    let bytes = batch_of(Codec::Gzip, &[(NOW, Some(&key))]);
    let plain = Rules { message_bytes_max: 1000, compression: TopicCompression::Always(Codec::None, None), ..rules() };
    check_rejected("grown", &bytes, &plain, ErrorCode::MessageTooLarge, "exceeds the maximum configured value");
}

#[test]
fn a_decompression_bomb_is_rejected() {
    let key = "k".repeat(LIMIT);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = batch_of(codec, &[(NOW, Some(&key))]);
        check_rejected(codec.name(), &bytes, &rules(), ErrorCode::InvalidRecord, "decompress to more than");
    }
}

#[test]
fn a_compacted_topic_names_the_records_without_key() {
    let compacted = Rules { is_compacted: true, ..rules() };
    for codec in Codec::ALL {
        let bytes = batch_of(codec, &[(NOW, None), (NOW, Some("k")), (NOW, None)]);
        let rejected =
            check_rejected("null keys", &bytes, &compacted, ErrorCode::InvalidRecord, "2 record errors in total");
        let blamed: Vec<_> = rejected.record_errors.iter().map(|fault| fault.batch_index).collect();
        assert_eq!(blamed, [0, 2]);
        assert!(rejected.record_errors[0].message.contains("without key"));
        assert!(run(&bytes, &rules()).is_ok());
        assert!(run(&three(codec), &compacted).is_ok());
    }
    let many = vec![(NOW, None); RECORD_ERRORS_MAX + 500];
    let rejected = run(&batch_of(Codec::None, &many), &compacted).unwrap_err();
    assert_eq!(rejected.record_errors.len(), RECORD_ERRORS_MAX);
    assert!(rejected.message.contains("1500 record errors"));
}

#[test]
fn timestamps_out_of_range_are_named() {
    let window = Rules { timestamp_before_max_ms: 100, timestamp_after_max_ms: 50, ..rules() };
    for codec in [Codec::None, Codec::Zstd] {
        let edges = batch_of(codec, &[(NOW - 100, None), (NOW + 50, None), (-1, None)]);
        assert!(run(&edges, &window).is_ok(), "both bounds and no timestamp are inside");
        let bytes = batch_of(codec, &[(NOW, None), (NOW - 101, None), (NOW + 51, None)]);
        let rejected = check_rejected("window", &bytes, &window, ErrorCode::InvalidTimestamp, "invalid timestamp");
        let blamed: Vec<_> = rejected.record_errors.iter().map(|fault| fault.batch_index).collect();
        assert_eq!(blamed, [1, 2]);
        assert!(rejected.record_errors[0].message.contains("out of range"));
        // LogAppendTime ignores these bounds.
        let appended = Rules { timestamp_type: TimestampType::LogAppendTime, ..window };
        assert!(run(&bytes, &appended).is_ok());
    }
    // The extremes of i64 are rejected without an overflow.
    let bytes = batch_of(Codec::None, &[(i64::MAX, None)]);
    check_rejected("far future", &bytes, &window, ErrorCode::InvalidTimestamp, "invalid timestamp");
    let bytes = batch_of(Codec::None, &[(i64::MIN, None)]);
    check_rejected("far past", &bytes, &window, ErrorCode::InvalidTimestamp, "invalid timestamp");
}

#[test]
fn log_append_time_sets_the_time_the_bit_and_the_crc() {
    for codec in Codec::ALL {
        let appended = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        let sent = three(codec);
        let accepted = run(&sent, &Rules { now_ms: NOW + 9, ..appended }).unwrap();
        assert!(!accepted.is_as_sent);
        assert!(matches!(accepted.records, Cow::Borrowed(_)), "the records are not touched");
        assert_eq!((accepted.log_append_time_ms(), accepted.offset_delta_of_max_timestamp), (NOW + 9, 0));
        assert_ne!(accepted.header.crc, BatchHeader::decode(&sent).unwrap().crc);
        stored(&accepted);
        // A producer must not set the bit itself.
        let forged = changed(sent, |h| h.attributes |= 1 << 3);
        check_rejected("forged", &forged, &appended, ErrorCode::InvalidTimestamp, "invalid timestamp");
    }
}

#[test]
fn under_create_time_a_forged_append_time_bit_is_cleared() {
    let forged = changed(three(Codec::None), |h| (h.attributes, h.max_timestamp) = (1 << 3, NOW + 1000));
    let accepted = run(&forged, &rules()).unwrap();
    assert_eq!(accepted.header.timestamp_type(), TimestampType::CreateTime);
    stored(&accepted);
    let no_time = changed(batch_of(Codec::None, &[(-1, None)]), |h| h.attributes = 1 << 3);
    check_rejected("no time", &no_time, &rules(), ErrorCode::InvalidTimestamp, "invalid timestamp");
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    for (codec, wrong) in [(Codec::None, NOW + 77), (Codec::Lz4, -1)] {
        let bytes = changed(three(codec), |h| h.max_timestamp = wrong);
        let accepted = run(&bytes, &rules()).unwrap();
        assert!(!accepted.is_as_sent);
        assert_eq!(accepted.header.max_timestamp, NOW);
        stored(&accepted);
    }
}

#[test]
fn a_topic_with_its_own_codec_recompresses() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
                let options = BatchOptions {
                    codec: from,
                    producer_id: 8,
                    producer_epoch: 1,
                    base_sequence: 70,
                    is_transactional: true,
                    ..Default::default()
                };
                let sent = batch_with(options, &[(NOW, Some("a")), (NOW + 4, None), (NOW - 3, Some("c"))]);
                let rules = Rules { compression: TopicCompression::Always(to, None), timestamp_type, ..rules() };
                let accepted = run(&sent, &rules).unwrap();
                assert_eq!(matches!(accepted.records, Cow::Borrowed(_)), from == to);
                let header = accepted.header;
                assert_eq!(header.codec(), Some(to));
                assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (8, 1, 70));
                assert!(header.is_transactional());
                assert_eq!(header.timestamp_type(), timestamp_type);
                let bytes = stored(&accepted);
                let batch = batches(&bytes).next().unwrap().unwrap();
                let mut decompressor = Decompressor::new(LIMIT);
                let decoded = decompressor.records(&batch.header, batch.stored_records()).unwrap();
                let records: Vec<_> = Records::new(&batch.header, decoded).map(Result::unwrap).collect();
                assert_eq!(records.iter().map(|r| r.key).collect::<Vec<_>>(), [Some(&b"a"[..]), None, Some(b"c")]);
                assert!(records.iter().all(|r| r.value == Some(b"some value") && r.headers.len() == 1));
            }
        }
    }
}

#[test]
fn wrong_offset_deltas_are_rewritten() {
    for codec in [Codec::None, Codec::Snappy] {
        // One record of 7 bytes per number: length, attributes, timestamp delta, offset delta, null, null, no headers.
        let mut decoded = Vec::new();
        for delta in [0, 0, 5] {
            varint::write_i32(6, &mut decoded);
            decoded.extend_from_slice(&[0, 0]);
            varint::write_i32(delta, &mut decoded);
            decoded.extend_from_slice(&[1, 1, 0]);
        }
        let mut stored_records = Vec::new();
        crate::record::codec::compress(codec, None, &decoded, &mut stored_records);
        let mut header = BatchHeader::decode(&three(codec)).unwrap();
        header.base_timestamp = NOW;
        header.max_timestamp = NOW;
        header.batch_length = (HEADER_BYTES - PREFIX_BYTES + stored_records.len()) as i32;
        header.crc = header.crc_with(&stored_records);
        let bytes = [&header.encode()[..], &stored_records].concat();
        let accepted = run(&bytes, &rules()).unwrap();
        assert!(!accepted.is_as_sent);
        assert_eq!(accepted.header.codec(), Some(codec));
        stored(&accepted);
    }
}

#[test]
fn damage_with_a_matching_crc_is_rejected_or_harmless() {
    let mut decompressor = Decompressor::new(1 << 20);
    for codec in Codec::ALL {
        let whole = three(codec);
        let mut seeded = Seeded(100 + u64::from(codec.id()));
        for _ in 0..3000 {
            let mut damaged = whole.clone();
            for _ in 0..=seeded.below(3) {
                let at = 23 + seeded.below(damaged.len() as u64 - 23) as usize;
                damaged[at] = seeded.next() as u8;
            }
            let damaged = changed(damaged, |_| {});
            if let Ok(accepted) = validate(&damaged, &rules(), &mut decompressor) {
                stored(&accepted);
            }
        }
    }
}

/// Validates in steps. Returns the number of pauses too.
fn in_steps<'a>(bytes: &'a [u8], rules: &Rules, limit: usize) -> (Result<Accepted<'a>, NotAccepted>, usize) {
    let pauses = std::cell::Cell::new(0);
    let validated = {
        let steps = std::pin::pin!(validate_in_steps(bytes, rules, limit, async || pauses.set(pauses.get() + 1)));
        steps.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    let std::task::Poll::Ready(validated) = validated else { panic!("the pauses do not wait") };
    (validated, pauses.get())
}

#[test]
fn steps_and_one_go_have_the_same_result_and_steps_pause() {
    let records = vec![(NOW, Some("a key of some bytes")); 60_000];
    let plain_bytes = batch_of(Codec::None, &records).len();
    for from in Codec::ALL {
        let sent = batch_of(from, &records);
        for compression in Codec::ALL
            .map(|codec| TopicCompression::Always(codec, None))
            .into_iter()
            .chain([TopicCompression::Producer])
        {
            let rules = Rules { compression, message_bytes_max: 8 << 20, ..rules() };
            let expected = run(&sent, &rules).unwrap();
            let (accepted, pauses) = in_steps(&sent, &rules, LIMIT);
            let accepted = accepted.unwrap();
            assert_eq!(stored(&accepted), stored(&expected), "{from:?} to {compression:?}");
            let decodes = if from == Codec::None { 0 } else { plain_bytes / codec::STEP_BYTES };
            let encodes = if accepted.is_as_sent { 0 } else { plain_bytes / codec::STEP_BYTES };
            let walks = records.len() / STEP_RECORDS as usize;
            assert!(pauses >= decodes + walks + encodes, "{from:?} to {compression:?}: {pauses} pauses");
        }
    }
}

#[test]
fn a_batch_above_the_effort_is_left_alone() {
    let zeros = "0".repeat(300_000);
    let sent = batch_of(Codec::Zstd, &[(NOW, Some(&*zeros))]);
    let check = |rules: &Rules, effort: Effort, decoded_bytes_max: usize, expected: Option<usize>| {
        let validated = validate_within(&sent, rules, effort, &mut Decompressor::new(decoded_bytes_max));
        assert_eq!(validated.err(), expected.map(NotAccepted::LargerThan), "{effort:?} {decoded_bytes_max}");
    };
    let all = Effort { stored_bytes_max: usize::MAX, rebuilt_bytes_max: usize::MAX };
    let other_codec = Rules { compression: TopicCompression::Always(Codec::Lz4, None), ..rules() };
    check(&rules(), all, LIMIT, None);
    check(&rules(), all, 200_000, Some(200_000));
    check(&rules(), Effort { stored_bytes_max: 50, ..all }, LIMIT, Some(50));
    check(&rules(), Effort { rebuilt_bytes_max: 1000, ..all }, LIMIT, None);
    check(&other_codec, Effort { rebuilt_bytes_max: 1000, ..all }, LIMIT, Some(1000));
    assert_eq!(in_steps(&sent, &rules(), 200_000).0.err(), Some(NotAccepted::LargerThan(200_000)));
    let rejection = NotAccepted::LargerThan(200_000).rejection();
    assert_eq!(rejection.error, ErrorCode::InvalidRecord);
    assert!(rejection.message.contains("more than 200000 bytes"), "{}", rejection.message);
}

#[test]
fn a_rebuilt_batch_stops_growing_above_the_limit() {
    let records = vec![(NOW, Some("the same key")); 60_000];
    let sent = batch_of(Codec::Zstd, &records);
    let rules = Rules { compression: TopicCompression::Always(Codec::None, None), ..rules() };
    let rejected = check_rejected("rebuilt", &sent, &rules, ErrorCode::MessageTooLarge, "rebuilt");
    assert_eq!(in_steps(&sent, &rules, LIMIT).0.err(), Some(NotAccepted::Rejected(rejected)));
}
