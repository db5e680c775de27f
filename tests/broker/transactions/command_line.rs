//! `tidemill txn`: output, errors and exit codes.

use std::process::Command;

use crate::support::bench;
use crate::support::node::Node;
use crate::transactions::producer::{FORWARD, Producer};
use serde_json::Value;

/// Exit code, stdout and stderr.
fn run(node: &Node, words: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let output = command.args(words.split_whitespace()).args(["--bootstrap", node.bootstrap()]).output();
    let output = output.expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(node: &Node, words: &str) -> Value {
    let (code, out, error) = run(node, words);
    assert_eq!(code, Some(0), "{words}: {error}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words}: {error} in {out:?}"))
}

#[test]
fn a_hanging_transaction_is_listed_described_and_aborted() {
    let node = FORWARD.node();
    let topic = bench::topic(&node, "by-hand", 2, &[]);
    let mut producer = Producer::new(&node, "by-hand");
    producer.append(&topic, 1, 0, &["hangs"]);
    let listed = json(&node, "txn list --state Ongoing --json");
    let is_ours = |listed: &&Value| listed["transactional_id"] == "by-hand";
    let ours = listed.as_array().expect("a list").iter().find(is_ours).expect("it is open");
    assert_eq!((&ours["state"], ours["producer_id"].as_i64()), (&"Ongoing".into(), Some(producer.producer_id)));
    assert!(run(&node, "txn list").1.contains("by-hand"));
    let described = json(&node, "txn describe by-hand --json");
    assert_eq!(described[0]["partitions"], serde_json::json!([format!("{}-1", topic.name)]));
    assert!(run(&node, "txn describe by-hand").1.contains("Ongoing"));
    let open = json(&node, &format!("txn describe --topic {} --json", topic.name));
    assert_eq!((open[0]["partition"].as_i64(), open[0]["transaction_start_offset"].as_i64()), (Some(1), Some(0)));
    assert!(run(&node, &format!("txn describe --topic {}", topic.name)).1.contains("transaction begins at"));

    let abort = |partition: i32, offset: i64| {
        format!("txn abort --topic {} --partition {partition} --start-offset {offset}", topic.name)
    };
    for (words, complaint) in [
        (abort(0, 0), "no open transaction"),
        (abort(1, 7), "no open transaction"),
        (abort(9, 0), "has no partition 9"),
        ("txn describe never-was".into(), "TRANSACTIONAL_ID_NOT_FOUND"),
        ("txn list --state Sleeping".into(), "is not a transaction state"),
    ] {
        let (code, out, error) = run(&node, &words);
        assert_eq!((code, &*out), (Some(1), ""), "{words}");
        assert!(error.contains(complaint), "{words}: {error}");
    }
    assert!(run(&node, &abort(1, 0)).1.starts_with("aborted the transaction of producer"));
    let open = json(&node, &format!("txn describe --topic {} --json", topic.name));
    assert_eq!(open[0]["transaction_start_offset"].as_i64(), Some(-1));
    producer.end(false);
}
