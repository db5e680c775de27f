//! Segments have Kafka's format, to the byte: Kafka's dump tool reads ours, and Tidemill reads Kafka's.
//!
//! Both directions have an outside referee. `kafka-dump-log` (DumpLogSegments of Apache Kafka) dumps every batch and
//! record that a node wrote, and verifies the indexes against the log. A topic directory that Apache Kafka wrote is put
//! into a node's data directory, and a real client reads it.

use crate::support::clients::{Topic, WITHIN, base};
use crate::support::node::{Node, Peer};
use crate::support::run::{Program, run};
use crate::support::{peers, records, say, turn};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidemill::record::batches;
use tidemill::tools::client::Connection;
use tidemill::wire::txn::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records written with each codec.
const EACH: usize = 20_000;
const PARTITIONS: usize = 3;
/// Kafka's smallest segments, so that there are several, with an index entry per 4 KiB.
const SMALL_SEGMENTS: &str = "segment.bytes:1048576,index.interval.bytes:4096";

/// Writes a topic with small segments and `EACH` idempotent records of every codec, with headers.
fn fill<'a>(java: &Program, bootstrap: &'a str, name: &'a str) -> Topic<'a> {
    let topic = Topic { bootstrap, name, partitions: PARTITIONS, base: base() };
    topic.create(java, SMALL_SEGMENTS);
    for (n, codec) in CODECS.into_iter().enumerate() {
        topic.write(java, codec, "all", n * EACH..(n + 1) * EACH);
    }
    topic
}

/// The files of a directory with one extension, by name, which is by base offset.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|e| e.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|x| x == extension))
        .collect();
    found.sort();
    found
}

/// Runs kafka-dump-log. It exits with success also when it finds errors, so its output is checked.
fn dump(jars: &str, options: &[&str], files: &[PathBuf]) -> String {
    let list: Vec<&str> = files.iter().map(|f| f.to_str().expect("UTF-8")).collect();
    let mut java = Command::new("java");
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:+UseSerialGC", "-cp", jars]);
    java.arg("org.apache.kafka.tools.DumpLogSegments").args(options).args(["--files", &list.join(",")]);
    let ended = run(java, None, WITHIN, |_| false).expect("java runs");
    let complaints = complaints(&ended.stderr);
    assert!(
        ended.ok() && complaints.is_empty(),
        "kafka-dump-log {options:?} {list:?}: {complaints:?}\n{}",
        ended.tail()
    );
    ended.stdout
}

/// The tool's stderr, without its complaint about every segment that does not start at offset 0: it expects offset 0
/// first in each file.
fn complaints(stderr: &str) -> Vec<&str> {
    let mut answered = Vec::new();
    let mut lines = stderr.lines().peekable();
    while let Some(line) = lines.next() {
        let file = line.strip_prefix("Non-consecutive offsets in ").map(Path::new);
        let first = file.and_then(|f| f.file_stem()?.to_str()?.parse::<u64>().ok());
        let is_start = |next: &&str| first.is_some_and(|first| *next == format!("  -1 is followed by {first}"));
        if lines.next_if(is_start).is_none() {
            answered.push(line);
        }
    }
    answered
}

/// The word after `label` in one of the tool's lines.
fn word<'a>(line: &'a str, label: &str) -> &'a str {
    let found = line.split_once(label).unwrap_or_else(|| panic!("no {label:?} in {line:.300}"));
    found.1.split(' ').next().expect("split gives one")
}

fn number(line: &str, label: &str) -> i64 {
    word(line, label).parse().unwrap_or_else(|e| panic!("{label} in {line:.300}: {e}"))
}

/// The contents of one partition's segments, from kafka-dump-log.
#[derive(Default)]
struct Dumped {
    segments: usize,
    next_offset: i64,
    records: BTreeSet<usize>,
    codecs: BTreeSet<String>,
}

/// Dumps the segments of one partition and checks every record by the rule of `support::records`.
fn check_logs(jars: &str, dir: &Path, base: i64) -> Dumped {
    let logs = files(dir, "log");
    let text = dump(jars, &["--deep-iteration", "--print-data-log"], &logs);
    let mut got = Dumped { segments: logs.len(), ..Dumped::default() };
    let mut last = None;
    let mut batch = (0, -1);
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("Dumping ") {
            let name = Path::new(path).file_stem().expect("a name").to_string_lossy().into_owned();
            assert_eq!(name, format!("{:020}", got.next_offset), "a segment is named after its first offset");
        } else if line.starts_with("baseOffset: ") {
            assert_eq!(word(line, "isvalid: "), "true", "{line}");
            assert_eq!(word(line, "magic: "), "2", "{line}");
            assert_eq!(got.next_offset, batch.1 + 1, "the batch before is whole");
            batch = (number(line, "baseOffset: "), number(line, "lastOffset: "));
            assert_eq!(batch.0, got.next_offset, "batches follow each other: {line}");
            assert_eq!(number(line, "count: "), batch.1 - batch.0 + 1, "{line}");
            assert!(number(line, "producerId: ") >= 0, "the idempotent producer's id is kept: {line}");
            assert!(number(line, "partitionLeaderEpoch: ") >= 0, "the leader epoch was set at append: {line}");
            got.codecs.insert(word(line, "compresscodec: ").to_string());
        } else if line.starts_with("| offset: ") {
            let i = check_record(line, got.next_offset, base);
            assert!(last < Some(i), "record {i} after {last:?}: the order is broken");
            last = Some(i);
            assert!(got.records.insert(i), "record {i} twice");
            got.next_offset += 1;
        } else {
            assert!(line.starts_with("Log starting offset: "), "kafka-dump-log complains: {line:.300}");
        }
    }
    assert_eq!(got.next_offset, batch.1 + 1, "the last batch is whole");
    got
}

/// `| offset: 0 CreateTime: 1 keySize: 6 valueSize: 68 sequence: 0 headerKeys: [n] key: java-3 payload: ...`
fn check_record(line: &str, offset: i64, base: i64) -> usize {
    assert_eq!(number(line, "offset: "), offset, "{line:.300}");
    let key = word(line, " key: ");
    let i: usize = key.strip_prefix("java-").and_then(|i| i.parse().ok()).unwrap_or_else(|| panic!("{line:.300}"));
    assert_eq!(number(line, "CreateTime: "), base + i as i64, "{line:.300}");
    assert_eq!(number(line, "keySize: "), key.len() as i64, "{line:.300}");
    let value = records::value("java", i);
    assert_eq!(number(line, "valueSize: "), value.map_or(-1, |v| v.len() as i64), "{line:.300}");
    let payload = line.split_once(" payload: ").map(|(_, p)| p.as_bytes());
    assert_eq!(payload, value, "{line:.300}");
    let header_keys = ["[]", "[h]", "[a,a,b]", "[n]", "[client,n,i]"][i % 5];
    assert_eq!(word(line, "headerKeys: "), header_keys, "{line:.300}");
    i
}

/// Verifies that both indexes of every segment exist and match the log.
fn check_indexes(jars: &str, dir: &Path) {
    let logs = files(dir, "log");
    for (extension, entry_bytes) in [("index", 8), ("timeindex", 12)] {
        let indexes = files(dir, extension);
        let stems = |of: &[PathBuf]| of.iter().map(|p| p.file_stem().map(|s| s.to_os_string())).collect::<Vec<_>>();
        assert_eq!(stems(&indexes), stems(&logs), "every segment has its .{extension}");
        for (index, log) in indexes.iter().zip(&logs) {
            let bytes = |path: &Path| fs::metadata(path).expect("it was listed").len();
            assert_eq!(bytes(index) % entry_bytes, 0, "{} is whole entries", index.display());
            // Batches have up to 16 KiB here, and there is at most one entry per batch and 4 KiB.
            let entries = bytes(index) / entry_bytes;
            assert!(entries >= bytes(log) / (64 << 10), "{}: {entries} entries", index.display());
            assert!(entries <= bytes(log) / (4 << 10) + 2, "{}: {entries} entries", index.display());
        }
        for (option, what) in [("--index-sanity-check", " passed sanity check."), ("--verify-index-only", "")] {
            let text = dump(jars, &[option], &indexes);
            let answered = text.lines().filter(|line| !line.starts_with("Dumping "));
            let expected = indexes.iter().filter(|_| !what.is_empty()).map(|i| format!("{}{what}", i.display()));
            assert_eq!(answered.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "kafka-dump-log {option}");
        }
    }
}

/// Checks all records, segments, codecs and indexes of all partitions.
fn check_partitions(jars: &str, node: &Node, topic: &Topic, count: usize) {
    let mut all = BTreeSet::new();
    let mut codecs = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let dir = node.partition_dir(topic.name, partition);
        let mut got = check_logs(jars, &dir, topic.base);
        assert!(got.segments > 1, "{}: one segment only; nothing sealed was looked at", dir.display());
        check_indexes(jars, &dir);
        let (name, records) = (topic.name, got.records.len());
        say(&format!("  kafka-dump-log {name}-{partition}: {records} records in {} segments", got.segments));
        all.append(&mut got.records);
        codecs.append(&mut got.codecs);
    }
    assert_eq!(all, (0..count).collect(), "every record is in one partition");
    assert_eq!(codecs, CODECS.map(String::from).into(), "codecs are kept as the producer chose them");
}

#[test]
fn kafka_dump_log_reads_every_segment_after_a_graceful_stop() {
    let _turn = turn::of("dump_log");
    let (Some(jars), Some(java)) = (peers::kafka_jars(), peers::java()) else { return };
    let Some(mut node) = Node::start("dump") else { return };
    let count = EACH * CODECS.len();
    let bootstrap = node.bootstrap().to_string();
    let topic = fill(&java, &bootstrap, "dumped");
    let status = node.stop();
    // Kafka exits with the signal's status after its shutdown hook.
    assert!(status.success() || node.peer() == Peer::Kafka, "a graceful stop ended with {status}");
    check_partitions(&jars, &node, &topic, count);

    // The node itself continues to read and write at the same offsets.
    node.restart();
    topic.read(&java, java.name, count);
    topic.write(&java, "lz4", "all", count..count + EACH);
    topic.read(&java, java.name, count + EACH);
    node.stop();
    check_partitions(&jars, &node, &topic, count + EACH);
}

#[test]
fn a_topic_directory_that_kafka_wrote_is_adopted_and_read_back_equal() {
    let _turn = turn::of("dump_log");
    if Peer::chosen() == Peer::Kafka {
        return say("  import is Tidemill's: Kafka in KRaft mode adopts no directory");
    }
    let Some(java) = peers::java() else { return };
    let Some(mut kafka) = Node::kafka("import-from") else { return };
    let count = EACH * CODECS.len();
    let at_kafka = kafka.bootstrap().to_string();
    let written = fill(&java, &at_kafka, "imported");
    kafka.stop();

    let mut node = Node::stopped_tidemill("import-to", &[]);
    let at_tidemill = node.bootstrap().to_string();
    let topic = Topic { bootstrap: &at_tidemill, ..written };
    let mut segments = 0;
    let mut highest_producer_id = -1;
    for partition in 0..PARTITIONS {
        let (from, to) = (kafka.partition_dir("imported", partition), node.partition_dir("imported", partition));
        segments += files(&from, "log").len();
        for log in files(&from, "log") {
            let bytes = fs::read(log).expect("Kafka wrote it");
            let of_batches = batches(&bytes).map_while(Result::ok).map(|batch| batch.header.producer_id);
            highest_producer_id = of_batches.max().max(Some(highest_producer_id)).expect("one of both");
        }
        fs::create_dir(&to).expect("the scratch directory can be written");
        for entry in fs::read_dir(&from).expect("Kafka made it") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
    assert!(segments > PARTITIONS, "{segments} segments in {PARTITIONS} partitions: none was sealed");
    drop(kafka);
    node.restart();
    topic.read(&java, java.name, count);
    say(&format!("  {count} records in {segments} segments that Kafka wrote, read from Tidemill"));

    // The producers of the adopted log are known. A new producer must get another id, or its batches would be taken for
    // duplicates.
    assert!(highest_producer_id >= 0, "Kafka's writers were idempotent");
    let mut connection = Connection::open(&at_tidemill, "adopted", WITHIN).unwrap_or_else(|error| panic!("{error}"));
    let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
    let fresh: InitProducerIdResponse = connection.call(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        fresh.producer_id > highest_producer_id,
        "{} was given, {highest_producer_id} is in use",
        fresh.producer_id
    );

    // The adopted topic accepts records, and all survive a restart.
    topic.write(&java, "zstd", "all", count..count + EACH);
    topic.read(&java, java.name, count + EACH);
    assert!(node.stop().success());
    node.restart();
    topic.read(&java, java.name, count + EACH);
}
