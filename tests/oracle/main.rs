//! Kafka as the oracle. Apache Kafka 4.4 and a Tidemill node in each routing get the same bytes, and their responses
//! are compared field by field, for every API and version that Tidemill advertises.
//!
//! | file | content |
//! |---|---|
//! | `cases/*.rs` | the table of requests, one file per API; a new case is one entry |
//! | `accepted.rs` | all intended differences with their reasons; a row that no longer occurs fails the test |
//! | `pair.rs` | the sides, and the mapping of values that each chooses (topic ids, ports, its clock) |
//! | `brokers.rs` | the brokers of a side: where a request is sent, and their ids |
//! | `answer.rs`, `tree.rs` | a response as paths and values |
//! | `segments.rs` | the stored bytes of both, and whether each broker opens the other's directory |
//!
//! A difference prints as `ListOffsets v7 / case / topics[a].partitions[1].error_code: Kafka .., direct ..`.

#[path = "../support/mod.rs"]
mod support;

mod accepted;
mod answer;
mod brokers;
mod case;
mod cases;
mod pair;
mod segments;
mod tree;

use std::collections::BTreeMap;

use accepted::Ledger;
use pair::{Side, compare};
use support::node::Node;
use support::say;
use tidemill::config::Routing;

/// Names the case when a broker does not answer.
struct NamedOnPanic<'a>(&'a str, i16);

impl Drop for NamedOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("  at v{} of {}", self.1, self.0));
        }
    }
}

#[test]
fn both_answer_alike() {
    // Settings that DescribeConfigs must report as set, on both.
    const SET: [&str; 12] = [
        "log.retention.hours=100",
        "log.roll.ms=500000000",
        "num.partitions=3",
        "message.max.bytes=100000",
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        // One coordinator for all groups, and one for all transactions.
        "offsets.topic.num.partitions=1",
        "transaction.state.log.num.partitions=1",
        // A joining member gets its assignment at once.
        "group.consumer.assignment.interval.ms=0",
        // No session ends while the cases run, on one side earlier than on another.
        "group.consumer.session.timeout.ms=1800000",
        "group.consumer.max.session.timeout.ms=1800000",
    ];
    let Some(kafka_node) = Node::kafka_with("oracle-kafka", &SET) else { return };
    let routings = [("direct", Routing::Direct), ("steer", Routing::Steer), ("forward", Routing::Forward)];
    let nodes = routings.map(|(name, routing)| {
        let routing_setting = format!("routing={name}");
        let mut arguments = vec!["--set", &*routing_setting, "--shards", "2"];
        SET.iter().for_each(|set| arguments.extend(["--set", set]));
        let node = Node::tidemill(&format!("oracle-{name}"), &arguments);
        (Side::routed(name, node.bootstrap(), routing), node)
    });
    let kafka = Side::new("Kafka", kafka_node.bootstrap());
    let tidemills = nodes.each_ref().map(|(side, _)| side);

    let ledger = Ledger::new();
    let only = std::env::var("TIDEMILL_ORACLE_ONLY").unwrap_or_default();
    let (mut cases, mut asked) = (0, 0);
    // A difference at several versions is reported once.
    let mut wrong: BTreeMap<String, Vec<i16>> = BTreeMap::new();
    for case in cases::all() {
        let place = format!("{:?} / {}", case.api, case.name);
        if !only.split('|').any(|only| place.contains(only)) && !place.contains("topics for the others") {
            continue;
        }
        cases += 1;
        for version in case.since..=case.until {
            for step in &case.steps {
                asked += 1;
                let place = format!("{:?} / {}", step.api, case.name);
                let _named = NamedOnPanic(&place, version);
                let ask = |side: &Side| step.ask(side, version);
                for difference in
                    compare(&kafka, &tidemills, case.settles, ask, |difference| ledger.accepts(&place, difference))
                {
                    let text = format!(
                        "{place} / {}: Kafka {}, {} {}",
                        difference.path, difference.kafka, difference.side, difference.tidemill
                    );
                    wrong.entry(text).or_default().push(version);
                }
            }
        }
    }
    say(&format!("  {cases} cases, {asked} requests to each"));
    let mut complaints: Vec<String> = wrong.iter().map(|(text, versions)| format!("v{versions:?} {text}")).collect();
    for side in [&kafka].into_iter().chain(tidemills) {
        let otherwise = side.written_otherwise.borrow();
        complaints.extend(otherwise.iter().take(5).map(|what| format!("{}'s bytes are not ours: {what}", side.name)));
    }
    if only.is_empty() {
        complaints.extend(ledger.unused().map(|row| format!("accepted, and does not occur: {} ({})", row.at, row.why)));
    }
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
}
