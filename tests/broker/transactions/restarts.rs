//! Transactions across SIGKILL: acknowledged steps hold, and a decided transaction is completed.

use std::time::Duration;

use crate::support::bench;
use crate::support::node::Node;
use crate::support::talk::{Talk, from};
use crate::support::wait_for;
use crate::transactions::producer::{Producer, describe, find_coordinator};
use tidemill::model::ErrorCode;
use tidemill::wire::data::fetch::FetchRequest;

/// Kills and restarts the node, and waits until the coordinator has loaded.
fn killed(node: &mut Node, id: &str) -> Talk {
    node.kill();
    node.restart();
    let mut talk = Talk::to(node.bootstrap());
    find_coordinator(&mut talk, id);
    wait_for("the coordinator is loaded", Duration::from_secs(20), || {
        let loading = [ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator];
        (!loading.contains(&describe(&mut talk, id).error_code)).then_some(())
    });
    talk.transactional_id = Some(id.into());
    talk
}

#[test]
fn an_open_transaction_continues_and_a_decided_one_completes_after_a_kill() {
    let arguments = ["--shards", "2", "--set", "routing=forward", "--set", "journal.bytes=134217728"];
    let mut node = Node::tidemill("transactions-killed", &arguments);
    let topic = bench::create(&node, "killed", 4, &[]);
    let mut producer = Producer::new(&node, "killed");
    let mut expected: Vec<i64> = Vec::new();
    let mut offset = 0;
    for round in 0..6 {
        // Kill during the transaction.
        for partition in 0..4 {
            assert_eq!(producer.append(&topic, partition, 0, &["a"]), offset, "round {round}");
        }
        producer.talk = killed(&mut node, "killed");
        assert_eq!(producer.describe().transaction_state, "Ongoing");
        for partition in 0..4 {
            assert_eq!(producer.append(&topic, partition, 1, &["b"]), offset + 1, "round {round}");
        }
        let stable = last_stable_offset(&mut producer.talk, "killed");
        assert_eq!(stable, [offset; 4], "round {round}");
        // Kill right after the response to EndTxn: the markers may be missing.
        let committed = round % 2 == 0;
        let ended = producer.end_at(committed, 5);
        assert_eq!(ended.error_code, ErrorCode::None);
        producer.talk = killed(&mut node, "killed");
        producer.finished();
        let state = producer.describe();
        assert_eq!(state.transaction_state, if committed { "CompleteCommit" } else { "CompleteAbort" });
        (producer.producer_id, producer.epoch) = (ended.producer_id, ended.producer_epoch);
        // A marker may be written twice: before and after the kill.
        let stable = last_stable_offset(&mut producer.talk, "killed");
        assert!(stable.iter().all(|at| *at >= offset + 3), "round {round}: {stable:?}");
        if !committed {
            expected.push(offset);
        }
        offset = level(&mut producer.talk, &stable);
    }
    // Every aborted transaction is listed, and no committed one.
    let partitions = (0..4).map(|partition| from("killed", partition, 0)).collect();
    let answer = producer.talk.fetch(&FetchRequest { partitions, isolation_level: 1, ..Default::default() }, 11);
    for part in &answer.partitions {
        let aborted = part.head.aborted_transactions.as_ref().expect("asked for");
        let firsts: Vec<i64> = aborted.iter().map(|aborted| aborted.first_offset).collect();
        assert_eq!(firsts, expected);
    }
}

fn last_stable_offset(talk: &mut Talk, topic: &str) -> Vec<i64> {
    let partitions = (0..4).map(|partition| from(topic, partition, 0)).collect();
    let answer = talk.fetch(&FetchRequest { partitions, isolation_level: 1, ..Default::default() }, 11);
    answer.partitions.iter().map(|part| part.head.last_stable_offset).collect()
}

/// Appends until all partitions have the same log end.
fn level(talk: &mut Talk, ends: &[i64]) -> i64 {
    let top = *ends.iter().max().expect("four of them");
    for (partition, end) in ends.iter().enumerate() {
        for _ in *end..top {
            talk.append("killed", partition as i32, &["fill"]);
        }
    }
    top
}
