//! The segments that both brokers store for the same requests, and whether each continues with the other's.
//!
//! One topic has small segments and every codec, another LogAppendTime. The bytes of every batch are compared, file by
//! file, except the leader epoch and the time of the append. Then the directories are exchanged.
//! tests/clients/dump_log.rs also checks that kafka-dump-log reads our segments and indexes, and that real clients read
//! an adopted directory.

use std::fs;
use std::path::Path;

use tidemill::model::LeaderEpoch;
use tidemill::record::builder::BatchOptions;
use tidemill::record::{BatchHeader, Codec, batches};
use tidemill::tools::client::Client;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::wire::ApiKey;

use super::cases::produce::{base, build, to_one};
use super::pair::{Side, compare};
use crate::support::ledger::{connect, create};
use crate::support::node::Node;
use crate::support::{say, wait_for};

const TOPICS: [(&str, &[(&str, &str)]); 2] = [
    ("plain", &[("segment.bytes", "1048576"), ("index.interval.bytes", "4096")]),
    ("stamped", &[("message.timestamp.type", "LogAppendTime"), ("segment.bytes", "1048576")]),
];

/// A batch of several records and about 10 KB. Every third batch is an idempotent producer's.
fn batch(i: i64, codec: Codec) -> Vec<u8> {
    let options = match i % 3 {
        0 => BatchOptions { codec, producer_id: 7000 + i, producer_epoch: 0, base_sequence: 0, ..Default::default() },
        _ => BatchOptions { codec, ..Default::default() },
    };
    let key = i.to_string();
    // Partly compressible.
    let value: String = (0..2000).map(|n| char::from(b'a' + ((n * (i + 7)) ^ (n >> 3)) as u8 % 23)).collect();
    let records: Vec<_> = (0..5).map(|n| (base() + i - n, (n % 2 == 0).then_some(&*key), &*value)).collect();
    build(options, &records)
}

/// A stored batch without the fields that each broker sets.
#[derive(PartialEq, Eq, Debug)]
struct Stored {
    header: BatchHeader,
    records: Vec<u8>,
}

fn stored(bytes: &[u8], topic: &str) -> Vec<Stored> {
    let stored = batches(bytes).map(|batch| {
        let batch = batch.unwrap_or_else(|broken| panic!("{topic}: {broken}"));
        assert!(batch.is_intact(), "{topic}: the CRC of the batch at offset {}", batch.header.base_offset);
        let mut header = BatchHeader { leader_epoch: LeaderEpoch(0), ..batch.header };
        if topic == "stamped" {
            (header.max_timestamp, header.crc) = (0, 0);
        }
        Stored { header, records: batch.stored_records().to_vec() }
    });
    stored.collect()
}

/// Names and contents of a partition's segments, sorted.
fn segments(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("it was listed"))
        })
        .collect();
    found.sort();
    found
}

/// Fetches all records of a topic's only partition.
fn read(client: &mut Client, topic: &str) -> Vec<Stored> {
    let position = FetchPosition { partition: 0, offset: 0 };
    let options = FetchOptions { max_bytes: 50 << 20, partition_max_bytes: 50 << 20, ..FetchOptions::default() };
    let mut bytes = Vec::new();
    let mut offset = position.offset;
    loop {
        let fetched =
            client.fetch(topic, &[FetchPosition { offset, ..position }], options).unwrap_or_else(|e| panic!("{e}"));
        let got = &fetched[0].records;
        let Some(last) = batches(got).map_while(Result::ok).last() else { break };
        bytes.extend_from_slice(&got[..last.position + last.bytes.len()]);
        offset = last.header.next_offset().0;
    }
    stored(&bytes, topic)
}

/// Replaces the files of one partition's directory by those of another; the topic id stays.
fn replace(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch directory can be written");
    let is_metadata = |path: &Path| path.ends_with("partition.metadata");
    for entry in fs::read_dir(to).expect("a directory") {
        let path = entry.expect("an entry").path();
        if !is_metadata(&path) {
            fs::remove_file(path).expect("a file of ours");
        }
    }
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let into = to.join(path.file_name().expect("a file"));
        if !(is_metadata(&path) && into.exists()) {
            fs::copy(&path, into).expect("a copy");
        }
    }
}

#[test]
fn both_store_the_same_bytes_and_each_continues_the_others_log() {
    let Some(mut kafka) = Node::kafka_with("segments-kafka", &[]) else { return };
    let mut tidemill = Node::tidemill("segments-tidemill", &["--shards", "1"]);
    let sides = [Side::new("Kafka", kafka.bootstrap()), Side::new("Tidemill", tidemill.bootstrap())];
    for node in [&kafka, &tidemill] {
        let mut client = connect(node.bootstrap());
        TOPICS.iter().for_each(|(name, configs)| create(&mut client, name, 1, configs));
    }
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (topic, _) in TOPICS {
        for i in 0..300 {
            let batch = batch(i, if i % 2 == 0 { Codec::None } else { codecs[i as usize % 5] });
            let ask = |side: &Side| side.ask(ApiKey::Produce, 9, &to_one(side, 9, topic, &batch));
            let differences = compare(&sides[0], &[&sides[1]], false, ask, |_| false);
            let differing: Vec<_> = differences.iter().map(|d| (&d.path, &d.kafka, &d.tidemill)).collect();
            assert!(differing.is_empty(), "{topic}, batch {i}: {differing:?}");
        }
    }
    let written = TOPICS.map(|(topic, _)| read(&mut connect(kafka.bootstrap()), topic));
    kafka.stop();
    tidemill.stop();

    for ((topic, _), written) in TOPICS.iter().zip(&written) {
        let dirs = [kafka.partition_dir(topic, 0), tidemill.partition_dir(topic, 0)];
        let [theirs, ours] = dirs.each_ref().map(|dir| segments(dir));
        let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(&ours), "{topic}: segments begin at the same offsets");
        assert!(theirs.len() > 1, "{topic}: one segment only");
        for ((name, theirs), (_, ours)) in theirs.iter().zip(&ours) {
            assert_eq!(stored(theirs, topic), stored(ours, topic), "{topic}: {name}");
        }
        let epochs = dirs.each_ref().map(|dir| fs::read_to_string(dir.join("leader-epoch-checkpoint")));
        let [theirs, ours] = epochs.map(|text| text.expect("every partition has one"));
        assert_eq!(theirs, ours, "{topic}: leader-epoch-checkpoint");
        assert_eq!(written.len(), 300);
        say(&format!(
            "  {topic}: {} batches in {} segments, stored alike",
            written.len(),
            names(&segments(&dirs[0])).len()
        ));
    }

    // A new Tidemill node adopts Kafka's directory. Kafka adopts no unknown topic, so Tidemill's files replace those of
    // an existing one.
    let mut adopter = Node::stopped_tidemill("segments-adopter", &["--shards", "1"]);
    for (topic, _) in TOPICS {
        replace(&kafka.partition_dir(topic, 0), &adopter.partition_dir(topic, 0));
        replace(&tidemill.partition_dir(topic, 0), &kafka.partition_dir(topic, 0));
    }
    kafka.restart();
    adopter.restart();
    for node in [&kafka, &adopter] {
        let mut client = connect(node.bootstrap());
        for ((topic, _), written) in TOPICS.iter().zip(&written) {
            let printed = format!("{:?} serves {topic}", node.peer());
            wait_for(&printed, std::time::Duration::from_secs(20), || {
                client.refresh(Some(topic)).ok()?;
                client.topic(topic).ok()?.partition(0).ok().filter(|partition| partition.leader_id >= 0).map(|_| ())
            });
            assert!(read(&mut client, topic) == *written, "{:?} reads {topic} otherwise", node.peer());
        }
        say(&format!("  {:?} reads what the other one wrote", node.peer()));
    }
    adopter.stop();
}
