//! Stock clients produce in transactions by one rule. Transaction `n` has `n % 5 * 3` records, its record `i` is `n:i`
//! in partition `(n + i) % partitions`, and every third transaction is aborted.
//!
//! `TIDEMILL_TEST_PEER=kafka` runs them against Apache Kafka.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::bench;
use crate::support::clients::WITHIN;
use crate::support::node::Node;
use crate::support::run::Program;
use crate::support::talk::{Talk, from};
use crate::support::{peers, wait_for};
use tidemill::record::control::{Ending, Marker};
use tidemill::record::{Decompressor, Records, batches};
use tidemill::wire::data::fetch::FetchRequest;

const PARTITIONS: i32 = 3;

/// The expected committed records of each partition, in order.
fn expected(transactions: usize) -> Vec<Vec<String>> {
    let mut values = vec![Vec::new(); PARTITIONS as usize];
    for n in (0..transactions).filter(|n| n % 3 != 2) {
        (0..n % 5 * 3).for_each(|i| values[(n + i) % PARTITIONS as usize].push(format!("{n}:{i}")));
    }
    values
}

/// The values of the committed records of a partition, filtered by the aborted transactions as clients do.
pub fn committed(talk: &mut Talk, topic: &str, partition: i32) -> Vec<String> {
    let mut values = Vec::new();
    let mut offset = 0;
    loop {
        let request =
            FetchRequest { partitions: vec![from(topic, partition, offset)], isolation_level: 1, ..Default::default() };
        let part = talk.fetch(&request, 11).partitions.remove(0);
        let mut ahead = part.head.aborted_transactions.clone().expect("asked for");
        ahead.sort_by_key(|aborted| aborted.first_offset);
        let mut ahead = ahead.into_iter().peekable();
        let mut aborted = HashSet::new();
        for batch in batches(&part.records) {
            let batch = batch.expect("whole");
            let header = &batch.header;
            while let Some(begun) = ahead.next_if(|ahead| ahead.first_offset <= header.last_offset().0) {
                aborted.insert(begun.producer_id);
            }
            offset = header.next_offset().0;
            if let Some(marker) = Marker::parse(header, batch.stored_records()) {
                if marker.ending == Ending::Abort {
                    aborted.remove(&header.producer_id);
                }
                continue;
            }
            if header.is_transactional() && aborted.contains(&header.producer_id) {
                continue;
            }
            let mut decompressor = Decompressor::new(64 << 20);
            let records = decompressor.records(header, batch.stored_records()).expect("readable");
            for record in Records::new(header, records) {
                let value = record.expect("a good record").value.expect("a value");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        if offset >= part.head.last_stable_offset {
            return values;
        }
    }
}

fn check(program: Option<Program>, transactions: usize) {
    let Some(program) = program else { return };
    let Some(node) = Node::start(&format!("transactions-{}", program.name)) else { return };
    let topic = bench::create(&node, "transactions", PARTITIONS, &[]);
    program.run(
        "transactions",
        &[
            ("bootstrap", node.bootstrap().to_string()),
            ("topic", topic.name.clone()),
            ("partitions", PARTITIONS.to_string()),
            ("count", transactions.to_string()),
        ],
        WITHIN,
    );
    let expected = expected(transactions);
    for partition in 0..PARTITIONS {
        let mut talk = topic.leader(partition as usize);
        let mut seen = Vec::new();
        let expected = &expected[partition as usize];
        // The last markers may be written after the response to EndTxn.
        wait_for("all that was committed is read", Duration::from_secs(30), || {
            seen = committed(&mut talk, &topic.name, partition);
            (seen.len() >= expected.len()).then_some(())
        });
        // The Java program adds transactions of its own.
        assert_eq!(seen[..expected.len()], expected[..], "partition {partition}");
    }
}

#[test]
fn java_produces_in_transactions_of_version_2() {
    check(peers::java(), 200);
}

#[test]
fn librdkafka_produces_in_transactions_of_version_1() {
    check(peers::librdkafka(), 200);
}

#[test]
fn kafkajs_produces_in_transactions_of_its_time() {
    check(peers::kafkajs(), 100);
}

#[test]
fn franz_go_produces_in_transactions() {
    check(peers::franz_go(), 200);
}
