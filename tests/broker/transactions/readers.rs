//! Reads at isolation level read_committed.

use std::time::Duration;

use crate::support::bench::{self, Topic};
use crate::support::talk::{Talk, from, measured};
use crate::transactions::producer::{FORWARD, Producer};
use tidemill::model::ErrorCode;
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::list_offsets::{
    LATEST, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

/// Fetches at an isolation level; returns the last stable offset, the batches and the aborted transactions.
struct Seen {
    last_stable_offset: i64,
    high_watermark: i64,
    batches: Vec<(i64, i64)>,
    aborted: Option<Vec<(i64, i64)>>,
}

fn see(talk: &mut Talk, topic: &Topic, offset: i64, isolation_level: i8) -> Seen {
    let partitions = vec![from(&topic.name, 0, offset)];
    let part = talk.fetch(&FetchRequest { partitions, isolation_level, ..Default::default() }, 11).partitions.remove(0);
    assert_eq!(part.code(), ErrorCode::None);
    let aborted = part.head.aborted_transactions.as_ref();
    Seen {
        last_stable_offset: part.head.last_stable_offset,
        high_watermark: part.head.high_watermark,
        batches: part.offsets(),
        aborted: aborted.map(|all| all.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect()),
    }
}

fn latest(talk: &mut Talk, topic: &Topic, isolation_level: i8) -> i64 {
    let partitions = vec![ListOffsetsPartition { timestamp: LATEST, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: topic.name.clone(), partitions }];
    let answer: ListOffsetsResponse =
        talk.call(&ListOffsetsRequest { isolation_level, topics, ..Default::default() }, 5);
    answer.topics[0].partitions[0].offset
}

#[test]
fn s075_an_open_transaction_holds_the_last_stable_offset_and_s076_aborted_ones_are_listed() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "stable", 1, &[]);
    let mut talk = topic.leader(0);
    talk.append(&topic.name, 0, &["plain"]);
    let mut first = Producer::new(&node, "stable-1");
    let mut second = Producer::new(&node, "stable-2");
    assert_eq!(first.append(&topic, 0, 0, &["a", "b"]), 1);
    assert_eq!(second.append(&topic, 0, 0, &["c"]), 3);
    talk.append(&topic.name, 0, &["behind"]);
    let seen = see(&mut talk, &topic, 0, 1);
    assert_eq!((seen.last_stable_offset, seen.high_watermark), (1, 5));
    assert_eq!((seen.batches, seen.aborted), (vec![(0, 0)], Some(vec![])));
    let seen = see(&mut talk, &topic, 0, 0);
    assert_eq!((seen.last_stable_offset, seen.batches.len(), seen.aborted), (1, 4, None));
    assert_eq!((latest(&mut talk, &topic, 1), latest(&mut talk, &topic, 0)), (1, 5));
    // The marker of the first transaction is at 5; the second one is open since 3.
    first.end(false);
    let seen = see(&mut talk, &topic, 0, 1);
    assert_eq!((seen.last_stable_offset, seen.high_watermark), (3, 6));
    assert_eq!((seen.batches, seen.aborted), (vec![(0, 0), (1, 2)], Some(vec![(first.producer_id, 1)])));
    second.end(true);
    let seen = see(&mut talk, &topic, 0, 1);
    assert_eq!((seen.last_stable_offset, seen.high_watermark, seen.batches.len()), (7, 7, 6));
    assert_eq!(seen.aborted, Some(vec![(first.producer_id, 1)]));
    assert_eq!((latest(&mut talk, &topic, 1), latest(&mut talk, &topic, 0)), (7, 7));
    // Read from inside the transaction, from its marker, and from behind it.
    assert_eq!(see(&mut talk, &topic, 2, 1).aborted, Some(vec![(first.producer_id, 1)]));
    assert_eq!(see(&mut talk, &topic, 5, 1).aborted, Some(vec![(first.producer_id, 1)]));
    assert_eq!(see(&mut talk, &topic, 6, 1).aborted, Some(vec![]));
}

#[test]
fn s076_all_overlapping_aborted_transactions_are_listed_in_any_segment() {
    let node = FORWARD.node();
    // Almost every batch and marker is in a segment of its own.
    let topic = bench::topic(&node, "segments", 1, &[("segment.index.bytes", "16"), ("index.interval.bytes", "0")]);
    let mut talk = topic.leader(0);
    let mut long = Producer::new(&node, "segments-long");
    assert_eq!(long.append(&topic, 0, 0, &["long"]), 0);
    let mut short = Producer::new(&node, "segments-short");
    let mut aborted = Vec::new();
    let mut offset = 1;
    for round in 0..10 {
        assert_eq!(short.append(&topic, 0, 0, &["short"]), offset);
        short.end(round % 2 == 0);
        if round % 2 == 1 {
            aborted.push((short.producer_id, offset));
        }
        offset += 2;
    }
    assert_eq!(see(&mut talk, &topic, 0, 1).last_stable_offset, 0);
    long.end(false);
    let seen = see(&mut talk, &topic, 0, 1);
    assert_eq!(seen.last_stable_offset, offset + 1);
    // Ordered by their markers.
    let all: Vec<_> = aborted.iter().copied().chain([(long.producer_id, 0)]).collect();
    assert_eq!(seen.aborted, Some(all));
    let last = *aborted.last().expect("five of them");
    assert_eq!(see(&mut talk, &topic, last.1, 1).aborted, Some(vec![last, (long.producer_id, 0)]));
}

#[test]
fn s077_an_empty_transaction_leaves_no_trace_but_its_marker() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "empty", 1, &[]);
    let mut producer = Producer::new(&node, "empty");
    assert_eq!(producer.add(&topic.name, &[0]), [ErrorCode::None]);
    producer.end_at(false, 4);
    producer.finished();
    let seen = see(&mut topic.leader(0), &topic, 0, 1);
    assert_eq!((seen.last_stable_offset, seen.batches, seen.aborted), (1, vec![(0, 0)], Some(vec![])));
}

#[test]
fn s086_a_waiting_reader_of_committed_records_is_woken_by_the_end_and_by_nothing_before() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "waiting", 2, &[]);
    for partition in 0..2 {
        let mut producer = Producer::new(&node, &format!("waiting-{partition}"));
        let mut reader = topic.leader(0);
        let request = || FetchRequest {
            partitions: vec![from(&topic.name, partition, 0)],
            isolation_level: 1,
            min_bytes: 1,
            max_wait_ms: 20_000,
            ..Default::default()
        };
        producer.append(&topic, partition, 0, &["a"]);
        let short = FetchRequest { max_wait_ms: 300, ..request() };
        let (answer, took) = measured(|| reader.fetch(&short, 11));
        assert!(answer.partitions[0].records.is_empty() && took >= Duration::from_millis(280), "{took:?}");
        let id = reader.send_fetch(&request(), 11);
        producer.append(&topic, partition, 1, &["b"]);
        producer.end(true);
        let (answer, took) = measured(|| reader.receive_fetch(11, id));
        assert_eq!(answer.partitions[0].offsets(), [(0, 0), (1, 1), (2, 2)]);
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn the_command_line_reads_committed_records_only_on_request() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "isolation", 1, &[]);
    let mut talk = topic.leader(0);
    let [mut aborted, mut committed, mut open] =
        ["a", "c", "o"].map(|id| Producer::new(&node, &format!("isolation-{id}")));
    aborted.append(&topic, 0, 0, &["aborted"]);
    committed.append(&topic, 0, 0, &["committed"]);
    aborted.end(false);
    committed.end(true);
    talk.append(&topic.name, 0, &["plain"]);
    open.append(&topic, 0, 0, &["open"]);
    talk.append(&topic.name, 0, &["behind"]);
    for (isolation, expected) in
        [("read_committed", "committed\nplain\n"), ("read_uncommitted", "aborted\ncommitted\nplain\nopen\nbehind\n")]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(["consume", &topic.name, "--isolation", isolation, "--bootstrap", node.bootstrap()]);
        let printed = crate::support::wait_for("the markers are written", Duration::from_secs(60), || {
            let output = command.output().expect("the binary runs");
            assert!(output.status.success());
            let printed = String::from_utf8(output.stdout).expect("text");
            (printed == expected).then_some(printed)
        });
        assert_eq!(printed, expected);
    }
    open.end(false);
}
