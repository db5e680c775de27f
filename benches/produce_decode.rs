//! One stage: the decoding of a Produce request, compared with the `kafka-protocol` crate (design decision D5).
//!
//! Both decode the same body and visit the records of every partition. The crate reads from `Bytes`, its cheapest
//! input. The two alternate, so that a disturbance of the machine affects both. Each figure is the median of the
//! rounds.
//!
//! cargo bench --bench produce_decode

mod statistics;

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::Decodable;
use statistics::median;
use tidemill::model::TopicId;
use tidemill::wire::data::produce::{ProduceHead, ProduceRequest, ProduceRequestWriter};
use tidemill::wire::{Reader, Topic, frame};

const ROUNDS: usize = 41;
/// Partitions decoded in one round, for each request size.
const PARTITIONS_PER_ROUND: usize = 20_000;
const RECORD_BYTES: usize = 200;

fn body(version: i16, topics: usize, partitions: usize) -> Vec<u8> {
    let names: Vec<String> = (0..topics).map(|topic| format!("orders-{topic:04}")).collect();
    let head = ProduceHead { transactional_id: None, acks: -1, timeout_ms: 30_000 };
    let mut w = ProduceRequestWriter::new(version, 1, None, head, topics);
    for (topic, name) in names.iter().enumerate() {
        let id = TopicId((topic as u128 + 1).to_be_bytes());
        w.topic(if version >= 13 { Topic::Id(id) } else { Topic::Name(name) }, partitions);
        (0..partitions).for_each(|partition| w.partition(partition as i32, &[7u8; RECORD_BYTES][..]));
    }
    let frame = w.finish().expect("the version has all fields").to_vec();
    let mut r = Reader::new(&frame[4..]);
    frame::RequestHeader::decode(&mut r).expect("a valid header");
    r.take(r.remaining()).expect("the rest of the frame").to_vec()
}

fn ours(body: &[u8], version: i16) -> usize {
    let request = ProduceRequest::decode(&mut Reader::new(body), version).expect("a valid body");
    request.partitions().map(|partition| black_box(partition).records.len()).sum()
}

fn theirs(body: &Bytes, version: i16) -> usize {
    let request = theirs::ProduceRequest::decode(&mut body.clone(), version).expect("a valid body");
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.map(|partition| black_box(partition).records.as_ref().map_or(0, Bytes::len)).sum()
}

/// Nanoseconds per partition of one round.
fn time(requests: usize, partitions: usize, mut decode: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    for _ in 0..requests {
        assert_eq!(black_box(decode()), partitions * RECORD_BYTES);
    }
    start.elapsed().as_nanos() as f64 / (requests * partitions) as f64
}

fn main() {
    println!("Produce decode, ns per partition (medians of {ROUNDS} alternating rounds)\n");
    println!(
        "{:>7} {:>7} {:>11} {:>8} {:>15} {:>7}",
        "version", "topics", "partitions", "ours", "kafka-protocol", "ratio"
    );
    for version in [7, 9, 12, 13] {
        for (topics, partitions_each) in [(1, 1), (1, 10), (1, 100), (100, 1)] {
            let body = body(version, topics, partitions_each);
            let shared = Bytes::from(body.clone());
            let partitions = topics * partitions_each;
            let requests = PARTITIONS_PER_ROUND / partitions;
            let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                our_rounds.push(time(requests, partitions, || ours(&body, version)));
                their_rounds.push(time(requests, partitions, || theirs(&shared, version)));
            }
            let (ours, theirs) = (median(our_rounds), median(their_rounds));
            println!(
                "{version:>7} {topics:>7} {partitions_each:>11} {ours:>8.1} {theirs:>15.1} {:>6.1}x",
                theirs / ours
            );
        }
    }
}
