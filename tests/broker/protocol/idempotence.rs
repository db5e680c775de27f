//! Statements 58 to 64: idempotent producers.

use std::collections::HashSet;

use crate::support::bench::{self, PLAIN};
use crate::support::node::Node;
use crate::support::talk::{Talk, sequenced};
use tidemill::model::ErrorCode;
use tidemill::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

fn producer_id(talk: &mut Talk, version: i16) -> InitProducerIdResponse {
    talk.call(&InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() }, version)
}

#[test]
fn s058_an_unknown_producer_may_start_anywhere() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "unknown-producer", 1, &[]);
    let answer = topic.leader(0).produce_one(&topic.name, 0, &sequenced(501, 3, 4711, &["a"]));
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, 0));
}

#[test]
fn s059_sequences_follow_each_other_and_wrap_to_0() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "sequences", 1, &[]);
    let mut talk = topic.leader(0);
    let (out_of_order, good) = (ErrorCode::OutOfOrderSequenceNumber, ErrorCode::None);
    for (sequence, code) in [(0, good), (2, out_of_order), (1, good), (3, out_of_order), (2, good)] {
        assert_eq!(talk.produce_one(&topic.name, 0, &sequenced(502, 0, sequence, &["a"])).code, code, "{sequence}");
    }
    for (sequence, count) in [(i32::MAX - 1, 3), (1, 1), (2, 1)] {
        let values = vec!["a"; count];
        let answer = talk.produce_one(&topic.name, 0, &sequenced(503, 0, sequence, &values));
        assert_eq!(answer.code, ErrorCode::None, "{sequence}");
    }
}

#[test]
fn s060_a_repeat_of_one_of_the_last_five_batches_gets_its_original_offset() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "duplicates", 1, &[]);
    let mut talk = topic.leader(0);
    let batches: Vec<_> = (0..6).map(|n| sequenced(504, 0, 2 * n, &["a", "b"])).collect();
    for (n, batch) in batches.iter().enumerate() {
        assert_eq!(talk.produce_one(&topic.name, 0, batch).base_offset, 2 * n as i64);
    }
    for (n, batch) in batches.iter().enumerate().skip(1) {
        let answer = talk.produce_one(&topic.name, 0, batch);
        assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, 2 * n as i64));
    }
    let forgotten = talk.produce_one(&topic.name, 0, &batches[0]).code;
    assert!(
        matches!(forgotten, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::DuplicateSequenceNumber),
        "{forgotten}"
    );
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 11).head.high_watermark, 12);
}

#[test]
fn a_batch_sent_again_while_the_next_is_in_flight_hides_nothing() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "again-under-way", 1, &[]);
    let mut talk = topic.leader(0);
    let (first, next) = (sequenced(505, 0, 0, &["a"]), sequenced(505, 0, 1, &["b"]));
    // Sent in one write, so that no batch is durable when the last one is validated.
    let mut bytes = Vec::new();
    let mut ids = Vec::new();
    for batch in [&first, &next, &first] {
        let (id, frame) = talk.produce_frame(9, -1, &[(topic.by_name(), 0, batch)]);
        ids.push(id);
        bytes.extend(frame);
    }
    talk.send(&bytes);
    let answers = ids.into_iter().map(|id| talk.receive_produce(9, id).remove(0));
    let answers: Vec<_> = answers.map(|answer| (answer.code, answer.base_offset)).collect();
    assert_eq!(answers, [(ErrorCode::None, 0), (ErrorCode::None, 1), (ErrorCode::None, 0)]);
    assert_eq!(talk.fetch_one(topic.by_name(), 0, 0, 11).head.high_watermark, 2, "what is acknowledged is to be seen");
}

#[test]
fn s061_a_lower_epoch_is_fenced_and_s062_a_new_one_starts_at_0() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "epochs", 1, &[]);
    let mut talk = topic.leader(0);
    let cases = [
        (5, 0, ErrorCode::None),
        (4, 1, ErrorCode::InvalidProducerEpoch),
        (6, 1, ErrorCode::OutOfOrderSequenceNumber),
        (6, 0, ErrorCode::None),
        (5, 1, ErrorCode::InvalidProducerEpoch),
    ];
    for (epoch, sequence, code) in cases {
        let answer = talk.produce_one(&topic.name, 0, &sequenced(505, epoch, sequence, &["a"]));
        assert_eq!(answer.code, code, "epoch {epoch}, sequence {sequence}");
    }
}

#[test]
fn s063_duplicates_are_recognised_and_s064_ids_stay_unique_after_a_stop_and_a_kill() {
    let mut node = Node::tidemill("protocol-restart", &["--shards", "2", "--set", "journal.bytes=134217728"]);
    let topic = bench::topic(&node, "restarted", 2, &[]);
    let mut ids = HashSet::new();
    for round in 0..3 {
        let topic = bench::find(&node, &topic.name);
        for partition in 0..2 {
            let mut talk = topic.leader(partition as usize);
            if round > 0 {
                let answer = talk.produce_one(&topic.name, partition, &sequenced(506, 0, round - 1, &["again"]));
                assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, i64::from(round - 1)));
                let gap = talk.produce_one(&topic.name, partition, &sequenced(506, 0, round + 1, &["gap"]));
                assert_eq!(gap.code, ErrorCode::OutOfOrderSequenceNumber);
            }
            let answer = talk.produce_one(&topic.name, partition, &sequenced(506, 0, round, &["once"]));
            assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, i64::from(round)));
            for version in 0..=5 {
                let fresh = producer_id(&mut talk, version);
                assert_eq!((fresh.error_code, fresh.producer_epoch), (ErrorCode::None, 0));
                assert!(fresh.producer_id >= 0 && ids.insert(fresh.producer_id), "{fresh:?} in round {round}");
            }
        }
        match round {
            0 => {
                node.stop();
            }
            _ => node.kill(),
        }
        node.restart();
    }
}

#[test]
fn s064_ids_are_unique_across_cores() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "ids", 2, &[]);
    let mut ids = HashSet::new();
    for partition in [0, 1, 0, 1] {
        let mut talk = topic.leader(partition);
        for _ in 0..50 {
            let fresh = producer_id(&mut talk, 4);
            assert!(ids.insert(fresh.producer_id), "{fresh:?}");
        }
    }
}
