//! Transactions of one small batch each. The latency is that of EndTxn: from the request until the response
//! acknowledges the decision.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::record::batches;

use super::cluster;
use super::figures::Metric;
use super::producer::Producer;
use super::support::node::Node;
use super::talk::batch;
use super::window;

pub const TOPIC: &str = "in-transactions";
pub const PARTITIONS: i32 = 16;

/// One round with this number of producers.
pub fn run(node: &Node, producers: i32, lasts: Duration) -> BTreeMap<Metric, f64> {
    let leaders = cluster::leaders(node.bootstrap(), TOPIC);
    // InitProducerId is not measured.
    let begin = |n: i32| (n, Producer::new(node.bootstrap(), &format!("ends-{n}")));
    let shares: Vec<_> = (0..producers).map(begin).collect();
    let measured = window::measure(node, lasts, shares, |(partition, mut producer), window| {
        let mut leader = producer.leader(&leaders[partition as usize]);
        let records = batch(&[&"r".repeat(100)]);
        let batch = batches(&records).next().expect("one batch").expect("a complete batch");
        let mut latencies = window::latencies();
        while window.is_open() {
            producer.produce(&mut leader, TOPIC, partition, &batch);
            let begun = Instant::now();
            producer.end();
            window.record(begun, &mut latencies);
        }
        latencies
    });
    let mut figures = measured.figures(Metric::TransactionsPerSecond);
    figures.insert(Metric::CpuPerRequest, measured.cpu_us_per_request());
    figures
}
