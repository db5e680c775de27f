//! Statements 81 to 90 and 94 to 97: Fetch.

use std::time::Duration;

use crate::support::bench::{self, PLAIN, SMALL};
use crate::support::node::Node;
use crate::support::talk::{Talk, batch, from, from_id, headers, in_epoch, measured, packed};
use tidemill::model::{ErrorCode, LeaderEpoch, Offset, TopicId};
use tidemill::record::Codec;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::data::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

const LONG_MS: i32 = 20_000;
/// The limit of an immediate response on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn limited(partition: FetchPartition<'_>, partition_max_bytes: i32) -> FetchPartition<'_> {
    FetchPartition { partition_max_bytes, ..partition }
}

#[test]
fn s081_the_first_batch_is_returned_whole_and_then_the_limits_hold() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "limits", 2, &[]);
    let large = "x".repeat(10_000);
    for partition in 0..2 {
        let mut talk = topic.leader(partition as usize);
        for _ in 0..3 {
            talk.append(&topic.name, partition, &[&large]);
        }
    }
    for through in 0..2 {
        let mut talk = topic.leader(through);
        for (max_bytes, partition_max_bytes) in [(1, 1), (0, 0), (1, i32::MAX), (i32::MAX, 1), (15_000, 15_000)] {
            for version in [4, 11, 12] {
                let partitions =
                    (0..2).map(|at| limited(from(&topic.name, at, 0), partition_max_bytes)).collect::<Vec<_>>();
                let answer = talk.fetch(&FetchRequest { max_bytes, partitions, ..Default::default() }, version);
                let batches: Vec<usize> = answer.partitions.iter().map(|part| part.offsets().len()).collect();
                // The partition that is read first returns its first batch. No other batch fits, unless only the
                // partition limit is low.
                let is_one = batches == [1, 0] || batches == [0, 1];
                let each_one = max_bytes == i32::MAX && batches.iter().all(|count| *count <= 1);
                assert!(is_one || each_one, "{max_bytes}, {partition_max_bytes} v{version}: {batches:?}");
            }
        }
    }
}

#[test]
fn s082_an_offset_inside_a_batch_returns_the_whole_batch() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "inside", 1, &[]);
    let mut talk = topic.leader(0);
    for codec in Codec::ALL {
        talk.produce_one(&topic.name, 0, &packed(codec, &["a", "b", "c"]));
    }
    for offset in 0..15 {
        for version in [10, 11, 12] {
            let part = talk.fetch_one(topic.by_name(), 0, offset, version);
            assert_eq!(part.offsets()[0], (offset / 3 * 3, offset / 3 * 3 + 2), "{offset}");
        }
        assert_eq!(talk.fetch_one(topic.by_id(), 0, offset, 18).offsets()[0].0, offset / 3 * 3);
    }
}

#[test]
fn s083_only_whole_batches_are_sent() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "whole", 1, &[]);
    let mut talk = topic.leader(0);
    for _ in 0..20 {
        talk.append(&topic.name, 0, &["some value", "and another"]);
    }
    for max_bytes in (1..2000).step_by(97) {
        let partitions = vec![limited(from(&topic.name, 0, 3), max_bytes)];
        let answer = talk.fetch(&FetchRequest { max_bytes, partitions, ..Default::default() }, 11);
        // `headers` panics at a partial batch.
        let batches = headers(&answer.partitions[0].records);
        assert!(!batches.is_empty() && batches[0].base_offset == Offset(2));
        assert!(batches.len() == 1 || answer.partitions[0].records.len() <= max_bytes as usize);
    }
}

#[test]
fn s084_no_records_are_length_0_never_null() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "empty", 1, &[]);
    let mut talk = topic.leader(0);
    for version in 4..=12 {
        for (offset, code) in [(0, ErrorCode::None), (99, ErrorCode::OffsetOutOfRange)] {
            let partitions = vec![from(&topic.name, 0, offset)];
            talk.send_fetch(&FetchRequest { partitions, ..Default::default() }, version);
            let frame = talk.receive().unwrap();
            // The records' length is the last field, before the tags if there are any.
            let end: &[u8] = if version >= 12 { &[1, 0, 0, 0] } else { &[0, 0, 0, 0] };
            assert!(frame.ends_with(end), "v{version}, {code}: {frame:?}");
            assert_ne!(frame[frame.len() - 4..], [0xff; 4]);
        }
    }
}

#[test]
fn s085_a_fetch_waits_for_min_bytes_or_max_wait_and_an_error_completes_it_at_once() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "waits", 2, &[]);
    let mut talk = topic.leader(0);
    let wait =
        |max_wait_ms, min_bytes, partitions| FetchRequest { max_wait_ms, min_bytes, partitions, ..Default::default() };
    let both = || vec![from(&topic.name, 0, 0), from(&topic.name, 1, 0)];
    let (answer, took) = measured(|| talk.fetch(&wait(300, 1, both()), 11));
    assert!(answer.partitions.iter().all(|part| part.code() == ErrorCode::None && part.records.is_empty()));
    assert!((Duration::from_millis(299)..AT_ONCE).contains(&took), "{took:?}");
    let with_error = vec![from(&topic.name, 0, 0), from(&topic.name, 9, 0)];
    let (answer, took) = measured(|| talk.fetch(&wait(LONG_MS, 1, with_error), 11));
    assert_eq!(answer.partitions[1].code(), ErrorCode::UnknownTopicOrPartition);
    assert!(took < AT_ONCE, "{took:?}");
    // With less than min_bytes the fetch waits for max_wait_ms; with min_bytes it returns at once.
    talk.append(&topic.name, 0, &["a"]);
    talk.append(&topic.name, 1, &["b"]);
    let (answer, took) = measured(|| talk.fetch(&wait(300, 100_000, both()), 11));
    assert!(took >= Duration::from_millis(299) && answer.partitions.iter().all(|part| !part.records.is_empty()));
    let bytes = answer.partitions.iter().map(|part| part.records.len()).sum::<usize>() as i32;
    let (_, took) = measured(|| talk.fetch(&wait(LONG_MS, bytes, both()), 11));
    assert!(took < AT_ONCE, "{took:?}");
    // The limits allow less than the available bytes: a wait would change nothing.
    let cut = FetchRequest { max_bytes: 100, ..wait(LONG_MS, i32::MAX, both()) };
    let (answer, took) = measured(|| talk.fetch(&cut, 11));
    assert!(took < AT_ONCE && answer.partitions.iter().any(|part| !part.records.is_empty()), "{took:?}");
}

#[test]
fn s086_data_on_any_partition_of_any_core_completes_a_waiting_fetch() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "completes", 4, &[]);
    for through in 0..2 {
        for to in 0..4 {
            let mut reader = topic.leader(through);
            let mut writer = topic.leader(to as usize);
            let ends: Vec<i64> =
                (0..4).map(|at| writer.fetch_one(topic.by_name(), at, 0, 11).head.high_watermark).collect();
            let partitions = (0..4).map(|at| from(&topic.name, at, ends[at as usize])).collect();
            let request = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1, partitions, ..Default::default() };
            let id = reader.send_fetch(&request, 11);
            // Sometimes the data arrives before the fetch waits, sometimes after.
            if to % 2 == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            let (answer, took) = measured(|| {
                writer.append(&topic.name, to, &["now"]);
                reader.receive_fetch(11, id)
            });
            assert!(took < AT_ONCE, "{took:?} for {to} through {through}");
            let with: Vec<_> = answer.partitions.iter().filter(|part| !part.records.is_empty()).collect();
            assert_eq!((with.len(), with[0].head.partition), (1, to));
        }
    }
    // A fetch with max_wait_ms 0 or min_bytes 0 does not wait.
    let mut reader = topic.leader(0);
    for (max_wait_ms, min_bytes) in [(0, i32::MAX), (LONG_MS, 0), (-1, 1), (LONG_MS, -1)] {
        let partitions = vec![from(&topic.name, 0, 2)];
        let request = FetchRequest { max_wait_ms, min_bytes, partitions, ..Default::default() };
        let (_, took) = measured(|| reader.fetch(&request, 11));
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[test]
fn s087_an_offset_outside_of_the_log_is_out_of_range_and_its_end_is_not() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "range", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["a", "b"]);
    for (offset, code) in [
        (-1, ErrorCode::OffsetOutOfRange),
        (i64::MIN, ErrorCode::OffsetOutOfRange),
        (0, ErrorCode::None),
        (2, ErrorCode::None),
        (3, ErrorCode::OffsetOutOfRange),
        (i64::MAX, ErrorCode::OffsetOutOfRange),
    ] {
        for version in [4, 12] {
            let part = talk.fetch_one(topic.by_name(), 0, offset, version);
            assert_eq!(part.code(), code, "{offset}");
            assert_eq!(part.records.is_empty(), offset != 0, "{offset}");
        }
    }
}

/// The leader epoch that ListOffsets returns.
fn leader_epoch(talk: &mut Talk, topic: &str) -> i32 {
    let partitions = vec![ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp: -2 }];
    let topics = vec![ListOffsetsTopic { name: topic.into(), partitions }];
    let answer: ListOffsetsResponse = talk.call(&ListOffsetsRequest { topics, ..Default::default() }, 4);
    answer.topics[0].partitions[0].leader_epoch
}

#[test]
fn s088_an_older_leader_epoch_is_fenced_with_the_new_leader_and_a_newer_one_is_unknown() {
    let mut node = Node::tidemill("protocol-epochs", &["--shards", "2", "--set", "journal.bytes=134217728"]);
    let topic = bench::topic(&node, "leader-epoch", 1, &[]);
    let of_metadata = |node: &Node| {
        let mut talk = Talk::to(node.bootstrap());
        bench::metadata_of(&mut talk, 9, &topic.name).partitions[0].leader_epoch
    };
    topic.leader(0).append(&topic.name, 0, &["a"]);
    let first = of_metadata(&node);
    node.kill();
    node.restart();
    let second = of_metadata(&node);
    assert!(second > first, "s025: a new leadership has a larger epoch: {first}, {second}");
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["b"]);
    let mut fetch = |epoch, version| {
        let part = match version {
            ..13 => from(&topic.name, 0, 0),
            _ => from_id(topic.id, 0, 0),
        };
        let answer =
            talk.fetch(&FetchRequest { partitions: vec![in_epoch(part, epoch)], ..Default::default() }, version);
        (answer.partitions[0].code(), answer.partitions[0].head.current_leader, answer.endpoints)
    };
    for version in [9, 12, 15, 16, 18] {
        for (epoch, code) in [
            (-1, ErrorCode::None),
            (second, ErrorCode::None),
            (first, ErrorCode::FencedLeaderEpoch),
            (second + 1, ErrorCode::UnknownLeaderEpoch),
        ] {
            let (answered, leader, endpoints) = fetch(LeaderEpoch(epoch), version);
            assert_eq!(answered, code, "{epoch} at v{version}");
            if version >= 16 && code == ErrorCode::FencedLeaderEpoch {
                assert_eq!((leader.leader_id, leader.leader_epoch), (topic.leader_ids[0], second));
                let [(id, host, port)] = &endpoints[..] else { panic!("{endpoints:?}") };
                assert_eq!((*id, format!("{host}:{port}")), (topic.leader_ids[0], topic.leaders[0].clone()));
            } else {
                assert!(leader.leader_id == -1 && endpoints.is_empty(), "{epoch} at v{version}");
            }
        }
    }
    // Records keep the epoch in which they were appended, and each epoch keeps its end (s100).
    let epochs: Vec<i32> = headers(&talk.fetch_one(topic.by_name(), 0, 0, 11).records)
        .iter()
        .map(|header| header.leader_epoch.0)
        .collect();
    assert_eq!(epochs, [first, second]);
    assert_eq!(leader_epoch(&mut talk, &topic.name), first);
    // s090: a reader whose last record has an epoch that ended earlier gets the end of that epoch.
    let diverging = |epoch, offset| FetchPartition { last_fetched_epoch: epoch, ..from(&topic.name, 0, offset) };
    let mut fetch = |part| {
        let answer = talk.fetch(&FetchRequest { partitions: vec![part], ..Default::default() }, 12);
        let head = &answer.partitions[0].head;
        (head.error_code, head.diverging_epoch.epoch, head.diverging_epoch.end_offset)
    };
    assert_eq!(fetch(diverging(first, 2)), (ErrorCode::None, first, 1));
    assert_eq!(fetch(diverging(first, 1)), (ErrorCode::None, -1, -1));
    assert_eq!(fetch(diverging(second, 2)), (ErrorCode::None, -1, -1));
}

#[test]
fn s089_no_reader_sees_offsets_behind_the_high_watermark_and_it_never_goes_back() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "watermark", 1, &[]);
    let mut writer = topic.leader(0);
    let mut reader = topic.leader(0);
    let (mut last, mut sent) = (0, Vec::new());
    for n in 0..200 {
        sent.push(writer.send_produce(9, -1, &[(topic.by_name(), 0, &batch(&[&n.to_string()]))]));
        let part = reader.fetch_one(topic.by_name(), 0, 0, 11);
        let high_watermark = part.head.high_watermark;
        assert!(high_watermark >= last, "{high_watermark} after {last}");
        assert!(part.offsets().iter().all(|(_, last_offset)| *last_offset < high_watermark));
        assert_eq!(part.head.last_stable_offset, high_watermark);
        last = high_watermark;
    }
    for id in sent {
        assert_eq!(writer.receive_produce(9, id)[0].code, ErrorCode::None);
    }
    // Acknowledged records are visible.
    assert_eq!(reader.fetch_one(topic.by_name(), 0, 0, 11).head.high_watermark, 200);
}

#[test]
fn s094_an_unknown_topic_id_is_an_error_of_its_partitions_alone() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "ids", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["a"]);
    for version in 13..=18 {
        let unknown = [TopicId([9; 16]), TopicId::ZERO];
        let partitions = vec![from_id(unknown[0], 0, 0), from_id(topic.id, 0, 0), from_id(unknown[1], 0, 0)];
        let answer = talk.fetch(&FetchRequest { partitions, ..Default::default() }, version);
        let codes: Vec<_> = answer.partitions.iter().map(|part| (part.code(), part.records.is_empty())).collect();
        let unknown = (ErrorCode::UnknownTopicId, true);
        assert_eq!(codes, [unknown, (ErrorCode::None, false), unknown], "v{version}");
        assert_eq!(answer.head.error_code, ErrorCode::None);
    }
}

#[test]
fn s095_the_leader_names_no_other_replica_to_read_from() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "rack", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["a"]);
    for version in 11..=12 {
        let partitions = vec![from(&topic.name, 0, 0)];
        let answer = talk.fetch(&FetchRequest { partitions, rack_id: "here", ..Default::default() }, version);
        assert_eq!(answer.partitions[0].head.preferred_read_replica, -1);
        assert!(!answer.partitions[0].records.is_empty());
    }
}

#[test]
fn s096_partitions_are_read_in_the_order_of_the_request() {
    let node = SMALL.node();
    let topic = bench::topic(&node, "in-order", 3, &[]);
    let mut talk = topic.leader(0);
    for partition in 0..3 {
        talk.append(&topic.name, partition, &[&"x".repeat(3000)]);
    }
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let partitions = order.map(|at| from(&topic.name, at, 0)).into();
        let answer = talk.fetch(&FetchRequest { partitions, max_bytes: 4000, ..Default::default() }, 11);
        let given: Vec<_> =
            answer.partitions.iter().map(|part| (part.head.partition, !part.records.is_empty())).collect();
        assert_eq!(given, [(order[0], true), (order[1], false), (order[2], false)]);
    }
}

#[test]
fn s096_fetch_max_bytes_bounds_every_answer() {
    let node = SMALL.node();
    let topic = bench::topic(&node, "bounded", 1, &[]);
    let mut talk = topic.leader(0);
    for _ in 0..20 {
        talk.append(&topic.name, 0, &[&"x".repeat(1000)]);
    }
    let part = talk.fetch_one(topic.by_name(), 0, 0, 11);
    assert!((2..=4).contains(&part.offsets().len()) && part.records.len() <= 4096, "{}", part.records.len());
}

#[test]
fn negative_limits_fail_where_kafka_fails() {
    let node = SMALL.node();
    let topic = bench::topic(&node, "negative", 2, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["a"]);
    talk.append(&topic.name, 1, &["a"]);
    let refused = ErrorCode::UnknownServerError;
    let mut check = |max_bytes, partition_max_bytes, offset, expected: [ErrorCode; 2]| {
        let partitions = vec![limited(from(&topic.name, 0, offset), partition_max_bytes), from(&topic.name, 1, 0)];
        let request = FetchRequest { max_bytes, partitions, max_wait_ms: LONG_MS, ..Default::default() };
        let (answer, took) = measured(|| talk.fetch(&request, 12));
        let codes: Vec<ErrorCode> = answer.partitions.iter().map(|part| part.head.error_code).collect();
        assert_eq!(codes, expected, "{max_bytes}, {partition_max_bytes}, {offset}");
        assert!(took < AT_ONCE, "{took:?}");
    };
    check(i32::MAX, -1, 0, [refused, ErrorCode::None]);
    // The limit of the request is negative for the first partition only.
    check(-1, 1000, 0, [refused, ErrorCode::None]);
    // At the end of the log there is nothing to read.
    check(-1, 1000, 1, [ErrorCode::None, ErrorCode::None]);
    check(i32::MAX, i32::MIN, 1, [ErrorCode::None, ErrorCode::None]);
}

#[test]
fn s097_zstd_is_not_sent_below_fetch_v10() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "zstd", 1, &[]);
    let mut talk = topic.leader(0);
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
        talk.produce_one(&topic.name, 0, &packed(codec, &["a"]));
    }
    for version in 4..=9 {
        let part = talk.fetch_one(topic.by_name(), 0, 0, version);
        assert_eq!((part.code(), part.offsets()), (ErrorCode::None, vec![(0, 0)]), "v{version}");
        let part = talk.fetch_one(topic.by_name(), 0, 1, version);
        assert_eq!((part.code(), part.records.len()), (ErrorCode::UnsupportedCompressionType, 0), "v{version}");
        assert_eq!(talk.fetch_one(topic.by_name(), 0, 2, version).values(), ["a"], "v{version}");
    }
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 10).offsets().len(), 3);
}
