//! Statements 41 to 57: Produce.

use crate::support::bench::{self, PLAIN};
use crate::support::talk::{Talk, batch, batch_with, headers, now_ms, packed, sequenced, timed};
use tidemill::model::{ErrorCode, LeaderEpoch, Offset, TopicId};
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use tidemill::wire::Topic;

fn with_crc(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::decode(&batch).expect("a header");
    change(&mut header);
    header.crc = header.crc_with(&batch[HEADER_BYTES..]);
    batch[..HEADER_BYTES].copy_from_slice(&header.encode());
    batch
}

#[test]
fn s041_acks_other_than_minus_one_0_and_1_are_refused_per_partition() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "acks", 2, &[]);
    let batch = batch(&["a"]);
    for acks in [2, -2, i16::MAX, i16::MIN] {
        let parts = [(topic.by_name(), 0, &batch[..]), (topic.by_name(), 1, &batch[..])];
        let answers = topic.leader(0).produce(9, acks, &parts);
        assert!(
            answers.len() == 2 && answers.iter().all(|answered| answered.code == ErrorCode::InvalidRequiredAcks),
            "{acks}"
        );
    }
    for acks in [-1, 1] {
        let answer = topic.leader(0).produce(9, acks, &[(topic.by_name(), 0, &batch)]);
        assert_eq!(answer[0].code, ErrorCode::None, "{acks}");
    }
}

#[test]
fn s042_acks_0_has_no_answer_and_an_error_closes_the_connection() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "silent", 1, &[]);
    let mut talk = topic.leader(0);
    talk.send_produce(9, 0, &[(topic.by_name(), 0, &batch(&["unheard"]))]);
    // The next response belongs to the next request.
    assert_eq!(talk.append(&topic.name, 0, &["heard"]), 1);
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 11).values(), ["unheard", "heard"]);
    talk.send_produce(9, 0, &[(Topic::Name("s042-never"), 0, &batch(&["lost"]))]);
    assert!(talk.is_closed());
}

#[test]
fn s043_min_insync_replicas_is_capped_at_the_number_of_replicas() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "insync", 1, &[("min.insync.replicas", "2")]);
    let mut talk = topic.leader(0);
    let batch = batch(&["a"]);
    let answer = talk.produce_one(&topic.name, 0, &batch);
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, 0));
}

#[test]
fn s044_a_partition_takes_exactly_one_batch_of_magic_2() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "one-batch", 1, &[]);
    let mut talk = topic.leader(0);
    let one = batch(&["a"]);
    let mut old = one.clone();
    old[16] = 1;
    for (case, bytes) in [("none", vec![]), ("two", [&one[..], &one].concat()), ("magic 1", old)] {
        assert_eq!(talk.produce_one(&topic.name, 0, &bytes).code, ErrorCode::InvalidRecord, "{case}");
    }
    let zstd = packed(Codec::Zstd, &["a"]);
    for (version, code) in [(6, ErrorCode::UnsupportedCompressionType), (7, ErrorCode::None)] {
        assert_eq!(talk.produce(version, -1, &[(topic.by_name(), 0, &zstd)])[0].code, code, "v{version}");
    }
}

#[test]
fn s045_a_wrong_crc_is_a_corrupt_message() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "crc", 1, &[]);
    let mut talk = topic.leader(0);
    let good = batch(&["a"]);
    for at in [17, 21, 22, 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(talk.produce_one(&topic.name, 0, &bad).code, ErrorCode::CorruptMessage, "byte {at}");
    }
    assert_eq!(talk.produce_one(&topic.name, 0, &good).base_offset, 0);
}

#[test]
fn s046_counts_have_to_agree_and_the_base_offset_sent_is_0() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "counts", 1, &[]);
    let mut talk = topic.leader(0);
    let two = batch(&["a", "b"]);
    let bad = [
        with_crc(two.clone(), |header| header.last_offset_delta = 2),
        with_crc(two.clone(), |header| header.records_count = 3),
        with_crc(two.clone(), |header| (header.records_count, header.last_offset_delta) = (0, -1)),
        // Kafka rejects another base offset instead of overwriting it: `produce_rules` against Kafka shows that.
        with_crc(two.clone(), |header| header.base_offset = Offset(4711)),
    ];
    for bytes in bad {
        assert_eq!(talk.produce_one(&topic.name, 0, &bytes).code, ErrorCode::InvalidRecord);
    }
    assert_eq!(talk.produce_one(&topic.name, 0, &two).base_offset, 0);
    assert_eq!(talk.produce_one(&topic.name, 0, &two).base_offset, 2);
}

#[test]
fn s047_control_batches_and_producers_without_sequence_are_refused() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "control", 1, &[]);
    let mut talk = topic.leader(0);
    let control = with_crc(batch(&["a"]), |header| header.attributes |= 1 << 5);
    assert_eq!(talk.produce_one(&topic.name, 0, &control).code, ErrorCode::InvalidRecord);
    let answer = talk.produce_one(&topic.name, 0, &sequenced(5, 0, -1, &["a"]));
    assert_eq!(answer.code, ErrorCode::InvalidRecord);
}

#[test]
fn s048_only_base_offset_and_leader_epoch_of_a_stored_batch_are_changed() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "patched", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["before"]);
    for codec in Codec::ALL {
        let sent = packed(codec, &["a", "b", "c"]);
        let at = talk.produce_one(&topic.name, 0, &sent).base_offset;
        let stored = talk.fetch_one(topic.by_name(), 0, at, 11).records;
        let header = headers(&stored)[0];
        assert_eq!(header.base_offset, Offset(at));
        assert!(header.leader_epoch >= LeaderEpoch(0));
        assert_eq!((&stored[8..12], &stored[16..]), (&sent[8..12], &sent[16..]), "{codec:?}");
    }
}

#[test]
fn s049_log_append_time_stamps_the_batch_and_create_time_answers_minus_one() {
    let node = PLAIN.node();
    let created = bench::topic(&node, "created", 1, &[]);
    assert_eq!(created.leader(0).produce_one(&created.name, 0, &batch(&["a"])).log_append_time_ms, -1);
    let appended = bench::topic(&node, "appended", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut talk = appended.leader(0);
    let before = now_ms();
    let answered = talk.produce_one(&appended.name, 0, &timed(BatchOptions::default(), &[(1000, "a"), (2000, "b")]));
    assert!((before - 1..=now_ms() + 1).contains(&answered.log_append_time_ms), "{answered:?}");
    let stored = talk.fetch_one(appended.by_name(), 0, 0, 11).records;
    let header = headers(&stored)[0];
    assert_eq!(header.max_timestamp, answered.log_append_time_ms);
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert!(header.crc_matches(&stored));
}

#[test]
fn s050_a_timestamp_out_of_bounds_blames_its_records() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "window", 1, &[("message.timestamp.before.max.ms", "100000")]);
    let records = [(now_ms(), "good"), (now_ms() - 1_000_000, "old"), (now_ms() + 100_000_000, "early")];
    let answered = topic.leader(0).produce_one(&topic.name, 0, &timed(BatchOptions::default(), &records));
    assert_eq!((answered.code, answered.blamed), (ErrorCode::InvalidTimestamp, vec![1, 2]));
}

#[test]
fn s051_a_null_key_on_a_compacted_topic_blames_its_records() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "compacted", 1, &[("cleanup.policy", "compact")]);
    let mut keys = BatchBuilder::new(BatchOptions::default());
    for key in [Some(&b"k"[..]), None, Some(b"l"), None] {
        keys.append(now_ms(), key, Some(b"v"), []);
    }
    let answered = topic.leader(0).produce_one(&topic.name, 0, &keys.finish());
    assert_eq!((answered.code, &answered.blamed), (ErrorCode::InvalidRecord, &vec![1, 3]));
    assert!(answered.message.is_some());
}

#[test]
fn s052_a_topic_with_a_codec_stores_all_batches_in_it() {
    let node = PLAIN.node();
    for (name, to) in [("gzip", Codec::Gzip), ("zstd", Codec::Zstd), ("uncompressed", Codec::None)] {
        let topic = bench::topic(&node, "recoded", 1, &[("compression.type", name)]);
        let mut talk = topic.leader(0);
        for from in Codec::ALL {
            let answer = talk.produce_one(&topic.name, 0, &packed(from, &["a", "b"]));
            assert_eq!(answer.code, ErrorCode::None, "{from:?} to {to:?}");
        }
        let stored = talk.fetch_one(topic.by_name(), 0, 0, 11);
        assert!(headers(&stored.records).iter().all(|header| header.codec() == Some(to)), "{to:?}");
        assert_eq!(stored.values(), ["a", "b"].repeat(5));
    }
}

#[test]
fn s053_a_batch_is_measured_compressed() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "small", 1, &[("max.message.bytes", "1000")]);
    let mut talk = topic.leader(0);
    let large = "a".repeat(5000);
    assert_eq!(talk.produce_one(&topic.name, 0, &batch(&[&large])).code, ErrorCode::MessageTooLarge);
    assert_eq!(talk.produce_one(&topic.name, 0, &packed(Codec::Gzip, &[&large])).code, ErrorCode::None);
    let segments = [("segment.bytes", "1048576"), ("max.message.bytes", "3000000")];
    let topic = bench::topic(&node, "segment", 1, &segments);
    let mut talk = topic.leader(0);
    let answer = talk.produce_one(&topic.name, 0, &batch(&[&"a".repeat(2_000_000)]));
    assert_eq!(answer.code, ErrorCode::RecordListTooLarge);
}

#[test]
fn s055_unknown_ids_and_unknown_names_have_errors_of_their_own() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "v13", 1, &[]);
    let mut talk = topic.leader(0);
    let batch = batch(&["a"]);
    assert_eq!(talk.produce(13, -1, &[(topic.by_id(), 0, &batch)])[0].code, ErrorCode::None);
    let unknown = Topic::Id(TopicId([9; 16]));
    assert_eq!(talk.produce(13, -1, &[(unknown, 0, &batch)])[0].code, ErrorCode::UnknownTopicId);
    let unknown = talk.produce(12, -1, &[(Topic::Name("s055-never"), 0, &batch)]);
    assert_eq!(unknown[0].code, ErrorCode::UnknownTopicOrPartition);
    for partition in [1, -1, i32::MAX] {
        let unknown = talk.produce(12, -1, &[(topic.by_name(), partition, &batch)]);
        assert_eq!(unknown[0].code, ErrorCode::UnknownTopicOrPartition, "{partition}");
    }
}

#[test]
fn s056_one_bad_partition_does_not_fail_the_others() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "independent", 3, &[]);
    let (good, mut bad) = (batch(&["a"]), batch(&["b"]));
    bad[21] ^= 1;
    let mut talk = topic.leader(0);
    for round in 0..2 {
        let parts = [
            (topic.by_name(), 0, &good[..]),
            (topic.by_name(), 1, &bad[..]),
            (topic.by_name(), 7, &good[..]),
            (topic.by_name(), 2, &good[..]),
        ];
        let answered = talk.produce(9, -1, &parts);
        let codes: Vec<_> =
            answered.iter().map(|answered| (answered.partition, answered.code, answered.base_offset)).collect();
        let expected = [
            (0, ErrorCode::None, round),
            (1, ErrorCode::CorruptMessage, -1),
            (7, ErrorCode::UnknownTopicOrPartition, -1),
            (2, ErrorCode::None, round),
        ];
        assert_eq!(codes, expected);
    }
}

#[test]
fn s057_the_log_start_offset_is_returned_from_v5() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "start", 1, &[]);
    let mut talk = topic.leader(0);
    for (version, start) in [(4, -1), (5, 0), (9, 0), (12, 0)] {
        let answered = talk.produce(version, -1, &[(topic.by_name(), 0, &batch(&["a"]))]).remove(0);
        assert_eq!((answered.code, answered.log_start_offset), (ErrorCode::None, start), "v{version}");
    }
}

#[test]
fn s069_a_transactional_batch_is_not_taken_outside_of_a_transaction() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "transactional", 1, &[]);
    let mut talk: Talk = topic.leader(0);
    let options = BatchOptions {
        producer_id: 77,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
        ..BatchOptions::default()
    };
    let batch = batch_with(options, &["a"]);
    for version in [9, 11, 12] {
        let code = talk.produce(version, -1, &[(topic.by_name(), 0, &batch)])[0].code;
        assert_eq!(
            code,
            ErrorCode::TransactionalIdAuthorizationFailed,
            "v{version}: the request has no transactional id"
        );
    }
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 11).head.high_watermark, 0);
}
