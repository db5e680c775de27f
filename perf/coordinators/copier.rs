//! Copiers with exactly-once semantics. Each transaction reads a batch of committed records, produces them to another
//! topic, and commits the consumed offset. Each copier has its own partition.

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
/// Records in a transaction, each of 100 bytes.
pub const RECORDS: usize = 100;
/// Batches in each partition. At the end, a copier starts again from the first.
const BATCHES: i64 = 100;

/// Creates both topics and fills the first.
pub fn prepare(bootstrap: &str) {
    for topic in [FROM, TO] {
        cluster::create(bootstrap, topic, COPIERS, &[]);
    }
    let value = "r".repeat(100);
    let batch = batch(&[&*value; RECORDS]);
    for (partition, leader) in cluster::leaders(bootstrap, FROM).iter().enumerate() {
        let mut talk = Talk::to(leader);
        for _ in 0..BATCHES {
            let response = talk.produce_one(FROM, partition as i32, &batch);
            assert_eq!(response.code, ErrorCode::None, "{response:?}");
        }
    }
}

/// One round.
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
        let mut fetch = send_fetch(&mut source, partition, 0);
        while window.is_open() {
            let begun = Instant::now();
            let records = receive(&mut source, fetch).partitions.remove(0).records;
            let batch = batches(&records).next().expect("the partition has more batches").expect("a complete batch");
            let next = batch.header.next_offset();
            // Fetch the next batch while this one is written, as a consumer reads ahead.
            fetch = send_fetch(&mut source, partition, next.0 % (BATCHES * RECORDS as i64));
            producer.produce(&mut target, TO, partition, &batch);
            producer.commit(&mut coordinator, &group, FROM, partition, next.0);
            producer.end();
            window.record(begun, &mut latencies);
        }
        receive(&mut source, fetch);
        latencies
    });
    let mut figures = measured.figures(Metric::TransactionsPerSecond);
    figures.insert(Metric::RecordsPerSecond, measured.per_second() * RECORDS as f64);
    figures.insert(Metric::CpuPerRequest, measured.cpu_us_per_request());
    figures
}

const FETCH_VERSION: i16 = 11;

/// Sends a fetch for one batch, the one at `offset`. Returns the correlation id.
fn send_fetch(talk: &mut Talk, partition: i32, offset: i64) -> i32 {
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
