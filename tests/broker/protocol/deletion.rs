//! Statement 101: DeleteRecords and its effect on readers.

use crate::support::bench::{self, PLAIN, Topic};
use crate::support::node::Node;
use crate::support::talk::{Talk, batch, from, measured};
use std::time::Duration;
use tidemill::model::ErrorCode;
use tidemill::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::list_offsets::EARLIEST;

use crate::protocol::offsets::list_in;

/// Deletes the records below the given offsets; returns partition, low watermark and error of each.
fn delete(talk: &mut Talk, version: i16, topic: &str, below: &[(i32, i64)]) -> Vec<(i32, i64, ErrorCode)> {
    let asked = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    };
    let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions: below.iter().map(asked).collect() }];
    let answer: DeleteRecordsResponse = talk.call(&DeleteRecordsRequest { topics, timeout_ms: 10_000 }, version);
    let answered = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    answered.map(|answered| (answered.partition_index, answered.low_watermark, answered.error_code)).collect()
}

/// Creates a topic with batches of three records in each partition.
fn filled(node: &Node, what: &str, partitions: i32, batches: usize) -> Topic {
    let topic = bench::topic(node, what, partitions, &[]);
    for partition in 0..partitions {
        for _ in 0..batches {
            topic.leader(partition as usize).append(&topic.name, partition, &["a", "b", "c"]);
        }
    }
    topic
}

#[test]
fn s101_records_are_deleted_up_to_an_offset_or_the_high_watermark_on_every_shard() {
    for node in [PLAIN.node(), FORWARD.node()] {
        for version in 0..=2 {
            let topic = filled(&node, "deleted", 4, 3);
            // All partitions on one connection: some belong to other shards.
            let mut talk = Talk::to(node.bootstrap());
            let answered = delete(&mut talk, version, &topic.name, &[(0, 3), (1, -1), (2, 0), (3, 9)]);
            let expected = [(0, 3), (1, 9), (2, 0), (3, 9)].map(|(at, start)| (at, start, ErrorCode::None));
            assert_eq!(answered, expected, "v{version}");
            for (partition, start, _) in expected {
                let earliest = list_in(&mut talk, 7, &topic.name, partition, -1, EARLIEST);
                assert_eq!((earliest.offset, earliest.error_code), (start, ErrorCode::None));
                let part = talk.fetch_one(topic.by_name(), partition, start, 11);
                assert_eq!((part.code(), part.head.log_start_offset), (ErrorCode::None, start));
                if start > 0 {
                    let below = talk.fetch_one(topic.by_name(), partition, start - 1, 11);
                    assert_eq!(below.code(), ErrorCode::OffsetOutOfRange);
                }
            }
            // A lower offset does not move the log start back.
            assert_eq!(delete(&mut talk, version, &topic.name, &[(0, 1)]), [(0, 3, ErrorCode::None)]);
            // The next append continues at the same log end.
            assert_eq!(topic.leader(1).append(&topic.name, 1, &["d"]), 9);
            let appended = topic.leader(1).produce_one(&topic.name, 1, &batch(&["e"]));
            assert_eq!((appended.base_offset, appended.log_start_offset), (10, 9));
        }
    }
}

#[test]
fn s101_illegal_offsets_partitions_and_compacted_topics_are_refused() {
    let node = PLAIN.node();
    let topic = filled(&node, "undeleted", 2, 1);
    let compacted = bench::topic(&node, "undeleted-compact", 1, &[("cleanup.policy", "compact")]);
    let mut talk = Talk::to(node.bootstrap());
    let talk = &mut talk;
    let answered = delete(talk, 2, &topic.name, &[(0, 4), (1, -2), (7, 0)]);
    let refused = [
        (0, -1, ErrorCode::OffsetOutOfRange),
        (1, -1, ErrorCode::OffsetOutOfRange),
        (7, -1, ErrorCode::UnknownTopicOrPartition),
    ];
    assert_eq!(answered, refused);
    assert_eq!(delete(talk, 2, &compacted.name, &[(0, 0)]), [(0, -1, ErrorCode::PolicyViolation)]);
    assert_eq!(delete(talk, 2, "s101-never", &[(0, 0)]), [(0, -1, ErrorCode::UnknownTopicOrPartition)]);
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 11).head.log_start_offset, 0);
}

#[test]
fn s101_a_log_start_inside_a_batch_is_kept_and_the_whole_batch_is_returned() {
    let node = PLAIN.node();
    let topic = filled(&node, "inside", 1, 2);
    let mut talk = topic.leader(0);
    assert_eq!(delete(&mut talk, 2, &topic.name, &[(0, 4)]), [(0, 4, ErrorCode::None)]);
    let part = talk.fetch_one(topic.by_name(), 0, 4, 11);
    assert_eq!((part.head.log_start_offset, part.offsets()), (4, vec![(3, 5)]));
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 3, 11).code(), ErrorCode::OffsetOutOfRange);
    assert_eq!(list_in(&mut talk, 7, &topic.name, 0, -1, EARLIEST).offset, 4);
    // A timestamp of deleted records finds the first remaining record.
    assert_eq!(list_in(&mut talk, 7, &topic.name, 0, -1, 0).offset, 4);
}

#[test]
fn s101_a_fetch_that_waits_below_the_new_start_completes_at_once_on_every_shard() {
    let node = PLAIN.node();
    let topic = filled(&node, "waits", 2, 2);
    for (reads_at, partition) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let start = list_in(&mut topic.leader(0), 7, &topic.name, partition, -1, EARLIEST).offset;
        let mut reader = topic.leader(reads_at);
        let partitions = vec![from(&topic.name, partition, start)];
        let request = FetchRequest { partitions, min_bytes: 1 << 20, max_wait_ms: 60_000, ..Default::default() };
        let id = reader.send_fetch(&request, 11);
        let (answer, took) = measured(|| {
            let answered = delete(&mut topic.leader(0), 2, &topic.name, &[(partition, start + 1)]);
            assert_eq!(answered, [(partition, start + 1, ErrorCode::None)]);
            reader.receive_fetch(11, id)
        });
        assert_eq!(answer.partitions[0].code(), ErrorCode::OffsetOutOfRange);
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
}

static FORWARD: bench::Shared = bench::Shared::new(
    "protocol-forward",
    &["--shards", "3", "--set", "routing=forward", "--set", "journal.bytes=134217728"],
);
