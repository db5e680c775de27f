//! A copier with exactly-once: it reads a batch of committed records, writes them elsewhere and commits how far it has read,
//! all in one transaction; then the next. Several of them, each with a partition of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::model::ErrorCode;
use tidemill::record::batches;
use tidemill::wire::Topic;
use tidemill::wire::admin::find_coordinator::GROUP;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};

use super::cluster;
use super::figures::Metric;
use super::producer::Producer;
use super::support::node::Node;
use super::talk::{Fetched, Talk, batch};
use super::window;

pub const FROM: &str = "copied-from";
pub const TO: &str = "copied-to";
pub const COPIERS: i32 = 4;
/// Of a transaction, each of 100 bytes.
pub const RECORDS: usize = 100;
/// Batches in each partition: a copier that has read them all begins anew.
const BATCHES: i64 = 100;

/// Makes both topics, and what is copied.
pub fn prepare(bootstrap: &str) {
    for topic in [FROM, TO] {
        cluster::create(bootstrap, topic, COPIERS, &[]);
    }
    let value = "r".repeat(100);
    let batch = batch(&[&*value; RECORDS]);
    for (partition, leader) in cluster::leaders(bootstrap, FROM).iter().enumerate() {
        let mut talk = Talk::to(leader);
        for _ in 0..BATCHES {
            let answer = talk.produce_one(FROM, partition as i32, &batch);
            assert_eq!(answer.code, ErrorCode::None, "{answer:?}");
        }
    }
}

pub fn run(node: &Node, lasts: Duration) -> BTreeMap<Metric, f64> {
    let (sources, targets) = (cluster::leaders(node.bootstrap(), FROM), cluster::leaders(node.bootstrap(), TO));
    let begin = |n: i32| (n, Producer::new(node.bootstrap(), &format!("copier-{n}")));
    let shares: Vec<_> = (0..COPIERS).map(begin).collect();
    let measured = window::measure(node, lasts, shares, |(partition, mut producer), window| {
        let group = format!("copier-{partition}");
        let coordinator = &cluster::coordinators(node.bootstrap(), GROUP, std::slice::from_ref(&group))[0];
        let mut coordinator = Talk::to(coordinator);
        let mut source = Talk::to(&sources[partition as usize]);
        let mut target = producer.leader(&targets[partition as usize]);
        let mut latencies = window::latencies();
        let mut fetch = ask(&mut source, partition, 0);
        while window.is_open() {
            let begun = Instant::now();
            let records = receive(&mut source, fetch).partitions.remove(0).records;
            let batch = batches(&records).next().expect("there is more to read").expect("whole");
            let next = batch.header.next_offset();
            // The next batch is on its way while this one is written, as a consumer reads ahead.
            fetch = ask(&mut source, partition, next % (BATCHES * RECORDS as i64));
            producer.produce(&mut target, TO, partition, &batch);
            producer.commit(&mut coordinator, &group, FROM, partition, next);
            producer.end();
            window.note(begun, &mut latencies);
        }
        receive(&mut source, fetch);
        latencies
    });
    let mut figures = measured.figures(Metric::TransactionsPerSecond);
    figures.insert(Metric::RecordsPerSecond, measured.per_second() * RECORDS as f64);
    figures.insert(Metric::CpuPerRequest, measured.cpu_us_per_answer());
    figures
}

const FETCH_VERSION: i16 = 11;

/// Asks for one batch, the one at `offset`.
fn ask(talk: &mut Talk, partition: i32, offset: i64) -> i32 {
    let part = FetchPartition { partition_max_bytes: 1, ..FetchPartition::new(Topic::Name(FROM), partition, offset) };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        isolation_level: 1,
        partitions: vec![part],
        ..Default::default()
    };
    talk.send_fetch(&request, FETCH_VERSION)
}

fn receive(talk: &mut Talk, id: i32) -> Fetched {
    let fetched = talk.receive_fetch(FETCH_VERSION, id);
    assert_eq!(fetched.partitions[0].code(), ErrorCode::None);
    fetched
}
