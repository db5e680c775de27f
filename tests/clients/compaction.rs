//! Compacted topics, with Apache Kafka as the referee: both brokers compact the same batches and keep the same records.
//! Kafka's dump tool reads our segments, stock clients read across the gaps, and kill -9 loses no key.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::chance::Chance;
use crate::support::ledger::{connect, create};
use crate::support::node::Node;
use crate::support::run::run;
use crate::support::{clients, peers, say, turn, wait_for};
use tidemill::model::{LeaderEpoch, Offset};
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::{BatchHeader, Codec, Decompressor, Records, batches};
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::tools::client::produce::{Acks, PartitionBatch};
use tidemill::tools::client::{Client, ClientError};

const WITHIN: Duration = Duration::from_secs(120);
/// Kafka's smallest segments, compacted as soon as possible.
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];
const EAGER: [&str; 4] = ["--shards", "1", "--set", "log.cleaner.backoff.ms=50"];

/// A record as a consumer sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    offset: i64,
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The log of a topic's only partition on a node.
struct Held {
    batches: Vec<(BatchHeader, Vec<u8>)>,
    rows: Vec<Row>,
}

fn read(client: &mut Client, topic: &str) -> Result<Held, ClientError> {
    let mut held = Held { batches: Vec::new(), rows: Vec::new() };
    let mut decompressor = Decompressor::new(64 << 20);
    let mut offset = 0;
    loop {
        let options = FetchOptions { max_wait_ms: 0, partition_max_bytes: 4 << 20, ..FetchOptions::default() };
        let fetched = client.fetch(topic, &[FetchPosition { partition: 0, offset }], options)?;
        let from = offset;
        for batch in batches(&fetched[0].records).map_while(Result::ok) {
            let header = batch.header;
            assert!(batch.is_intact() && header.next_offset() > Offset(offset), "{topic}: at {offset}: {header:?}");
            let plain = decompressor.records(&header, batch.stored_records()).expect("whole");
            held.rows.extend(Records::new(&header, plain).map(|record| {
                let record = record.expect("whole");
                let (key, value) = (record.key.expect("has a key").to_vec(), record.value.map(<[u8]>::to_vec));
                Row { offset: record.offset.0, timestamp: record.timestamp, key, value }
            }));
            held.batches.push((header, batch.stored_records().to_vec()));
            offset = header.next_offset().0;
        }
        if offset == from {
            return Ok(held);
        }
    }
}

/// A topic's only writer, which keeps all of its records.
struct Writer {
    topic: &'static str,
    chance: Chance,
    keys: u64,
    /// One record in so many is a tombstone.
    tombstones: u64,
    rows: Vec<Row>,
}

/// An hour ago: the same for both brokers.
fn base() -> i64 {
    static BASE: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *BASE.get_or_init(|| clients::base() - 3_600_000)
}

impl Writer {
    fn new(topic: &'static str, tombstones: u64) -> Writer {
        Writer { topic, chance: Chance::new(7), keys: 400, tombstones, rows: Vec::new() }
    }

    /// A batch of about ten records; every third batch is an idempotent producer's.
    fn batch(&mut self, number: i64) -> (Vec<u8>, Vec<Row>) {
        let codec = Codec::ALL[self.chance.below(5) as usize];
        let options = match number % 3 {
            0 => BatchOptions {
                codec,
                producer_id: 9000 + number,
                producer_epoch: 1,
                base_sequence: 0,
                ..Default::default()
            },
            _ => BatchOptions { codec, ..Default::default() },
        };
        let mut builder = BatchBuilder::new(options);
        let mut rows = Vec::new();
        for n in 0..1 + self.chance.below(20) as i64 {
            let key = format!("key-{}", self.chance.below(self.keys)).into_bytes();
            let is_tombstone = self.tombstones > 0 && self.chance.one_in(self.tombstones);
            let value = (!is_tombstone).then(|| {
                let mut value = vec![0; 200 + self.chance.below(600) as usize];
                value.iter_mut().for_each(|byte| *byte = self.chance.below(256) as u8);
                value
            });
            let timestamp = base() + number + n;
            builder.append(timestamp, Some(&key), value.as_deref(), []);
            rows.push(Row { offset: self.rows.len() as i64 + n, timestamp, key, value });
        }
        (builder.finish(), rows)
    }

    fn send(&mut self, clients: &mut [Client], count: i64) {
        let first = self.rows.len() as i64;
        for number in first..first + count {
            let (batch, rows) = self.batch(number);
            for client in &mut *clients {
                let batches = vec![PartitionBatch { partition: 0, batch: batch.clone() }];
                let appended = client.produce(self.topic, batches, Acks::All, false).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(appended[0].base_offset, rows[0].offset);
            }
            self.rows.extend(rows);
        }
    }

    /// The records that remain when all below `end` is compacted; tombstones below `forgotten` are removed.
    fn survivors(&self, end: i64, forgotten: i64) -> Vec<Row> {
        let mut last: HashMap<&[u8], i64> = HashMap::new();
        for row in self.rows.iter().filter(|row| row.offset < end) {
            last.insert(&row.key, row.offset);
        }
        let stays = |row: &&Row| {
            row.offset >= end || (last[&row.key[..]] == row.offset && !(row.value.is_none() && row.offset < forgotten))
        };
        self.rows.iter().filter(stays).cloned().collect()
    }
}

/// Segment files of a partition by base offset.
fn segments(node: &Node, topic: &str) -> BTreeMap<i64, PathBuf> {
    let entries = fs::read_dir(node.partition_dir(topic, 0)).expect("the node made it");
    let logs =
        entries.map(|entry| entry.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "log"));
    logs.map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().expect("digits"), path)).collect()
}

/// Waits until a node's log equals `survivors` below its active segment.
fn compacted(node: &Node, client: &mut Client, writer: &Writer, forgotten: i64) -> Held {
    let what = format!("{:?} has compacted {}", node.peer(), writer.topic);
    wait_for(&what, WITHIN, || {
        let end = *segments(node, writer.topic).keys().last()?;
        let held = read(client, writer.topic).ok()?;
        (held.rows == writer.survivors(end, forgotten)).then_some(held)
    })
}

/// The last sequence number of each producer in the log.
fn last_sequences(held: &Held) -> BTreeMap<i64, i32> {
    let of_producers = held.batches.iter().filter(|(header, _)| header.has_producer());
    of_producers.map(|(header, _)| (header.producer_id, header.last_sequence())).collect()
}

/// Runs kafka-dump-log; returns its complaints except those about gaps.
fn dump(jars: &str, options: &[&str], files: &[PathBuf]) -> String {
    let list: Vec<&str> = files.iter().map(|f| f.to_str().expect("UTF-8")).collect();
    let mut java = Command::new("java");
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:+UseSerialGC", "-cp", jars]);
    java.arg("org.apache.kafka.tools.DumpLogSegments").args(options).args(["--files", &list.join(",")]);
    let ended = run(java, None, WITHIN, |_| false).expect("java runs");
    let mut complaints = ended.stderr.lines();
    let is_hole = |line: &str| line.starts_with("Non-consecutive offsets in ") || line.contains(" is followed by ");
    assert!(ended.ok() && complaints.all(is_hole), "kafka-dump-log {options:?}: {}", ended.tail());
    ended.stdout
}

fn check_dump(jars: &str, node: &Node, topic: &str, rows: &[Row]) {
    let logs: Vec<PathBuf> = segments(node, topic).into_values().collect();
    let text = dump(jars, &["--deep-iteration", "--print-data-log"], &logs);
    let number = |line: &str, label: &str| -> i64 {
        let rest = line.split_once(label).unwrap_or_else(|| panic!("no {label:?} in {line:.200}")).1;
        rest.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{label} in {line:.200}"))
    };
    assert!(text.lines().filter(|line| line.starts_with("baseOffset: ")).all(|line| line.contains("isvalid: true")));
    let records = text.lines().filter(|line| line.starts_with("| offset: "));
    let answered: Vec<_> =
        records.map(|l| (number(l, "offset: "), number(l, "CreateTime: "), number(l, "valueSize: "))).collect();
    let size = |row: &Row| row.value.as_ref().map_or(-1, |value| value.len() as i64);
    assert_eq!(answered, rows.iter().map(|row| (row.offset, row.timestamp, size(row))).collect::<Vec<_>>());
    for (extension, option) in [("index", "--index-sanity-check"), ("timeindex", "--verify-index-only")] {
        let indexes: Vec<PathBuf> = logs.iter().map(|log| log.with_extension(extension)).collect();
        dump(jars, &[option], &indexes);
    }
}

/// The output of kcat and of Java's console consumer for a topic.
fn check_consumers(jars: &str, node: &Node, topic: &str, rows: &[Row]) {
    let expected: Vec<String> = rows.iter().map(|row| row.offset.to_string()).collect();
    let mut consumers = Vec::new();
    if let Some(kcat) = peers::kcat() {
        let mut command = Command::new(kcat);
        command.args(["-b", node.bootstrap(), "-t", topic, "-C", "-e", "-q", "-o", "beginning", "-f", "%o\\n"]);
        consumers.push(("kcat", command));
    }
    let mut java = Command::new("java");
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", jars]);
    java.arg("org.apache.kafka.tools.consumer.ConsoleConsumer").args(["--bootstrap-server", node.bootstrap()]);
    java.args([
        "--topic",
        topic,
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--max-messages",
        &rows.len().to_string(),
    ]);
    java.args(["--command-property", "enable.auto.commit=false"]);
    java.args(["--formatter-property", "print.offset=true", "--formatter-property", "print.value=false"]);
    consumers.push(("Java", java));
    for (name, command) in consumers {
        let ended = run(command, None, WITHIN, |_| false).expect("it runs");
        let answered: Vec<_> =
            ended.stdout.lines().map(|line| line.trim_start_matches("Offset:").trim().to_string()).collect();
        assert!(
            ended.ok() && answered == expected,
            "{name}: {} of {} records\n{}",
            answered.len(),
            expected.len(),
            ended.tail()
        );
    }
}

#[test]
fn both_keep_the_same_records_and_kafkas_tool_reads_ours() {
    let _turn = turn::of("compaction");
    let Some(jars) = peers::kafka_jars() else { return };
    let cleaner = ["log.cleaner.backoff.ms=50", "log.initial.task.delay.ms=100"];
    let Some(kafka) = Node::kafka_with("compaction-kafka", &cleaner) else { return };
    let mut tidemill = Node::tidemill("compaction-tidemill", &EAGER);
    let mut clients = [connect(kafka.bootstrap()), connect(tidemill.bootstrap())];
    // Tombstones are kept for a day, or for the shortest time.
    let topics = [("kept", "86400000", 6), ("forgotten", "0", 6)];
    let mut left = Vec::new();
    for (topic, delete_retention_ms, tombstones) in topics {
        let mut configs = COMPACTED.to_vec();
        configs.push(("delete.retention.ms", delete_retention_ms));
        clients.iter_mut().for_each(|client| create(client, topic, 1, &configs));
        let mut writer = Writer::new(topic, tombstones);
        writer.send(&mut clients, 500);
        // Records without tombstones roll the segments with tombstones, and then are compacted too; half of the keys.
        (writer.tombstones, writer.keys) = (0, 200);
        writer.send(&mut clients, 300);
        let end_of_tombstones = writer.rows.iter().rfind(|row| row.value.is_none()).expect("there are some").offset + 1;
        let mut forgotten = 0;
        if delete_retention_ms == "0" {
            // At least two rounds from here on: the first finds a tombstone, the second removes it.
            forgotten = end_of_tombstones;
            for _ in 0..2 {
                writer.send(&mut clients, 300);
                let settled = |node: &Node, client: &mut Client| {
                    wait_for("a round", WITHIN, || {
                        let end = *segments(node, topic).keys().last()?;
                        let rows = read(client, topic).ok()?.rows;
                        let values =
                            |rows: &[Row]| rows.iter().filter(|r| r.value.is_some()).cloned().collect::<Vec<_>>();
                        (values(&rows) == values(&writer.survivors(end, 0))).then_some(())
                    });
                };
                settled(&kafka, &mut clients[0]);
                settled(&tidemill, &mut clients[1]);
            }
        }
        let [theirs, ours] = [&kafka, &tidemill].map(|node| {
            let client = &mut clients[usize::from(std::ptr::eq(node, &tidemill))];
            compacted(node, client, &writer, forgotten)
        });
        let ends = [&kafka, &tidemill].map(|node| *segments(node, topic).keys().last().expect("an active segment"));
        assert_eq!(ends[0], ends[1], "{topic}: both compact up to the same offset");
        assert_eq!(theirs.rows, ours.rows, "{topic}");
        assert!(ours.rows.len() * 2 < writer.rows.len(), "{topic}: {} of {}", ours.rows.len(), writer.rows.len());
        assert_eq!(
            last_sequences(&theirs),
            last_sequences(&ours),
            "{topic}: what producers' sequences can be read off"
        );
        compare_batches(topic, &theirs, &ours);
        let tombstones = ours.rows.iter().filter(|row| row.value.is_none()).count();
        assert_eq!(tombstones > 10, delete_retention_ms != "0", "{topic}: {tombstones} tombstones");
        check_consumers(&jars, &tidemill, topic, &ours.rows);
        say(&format!(
            "  {topic}: of {} records {} stay on both, {tombstones} tombstones",
            writer.rows.len(),
            ours.rows.len()
        ));
        left.push((topic, ours.rows));
    }
    tidemill.stop();
    for (topic, rows) in &left {
        check_dump(&jars, &tidemill, topic, rows);
    }
    tidemill.restart();
    let mut client = connect(tidemill.bootstrap());
    for (topic, rows) in &left {
        assert!(read(&mut client, topic).expect("it serves").rows == *rows, "{topic} after a restart");
    }
}

/// Compares batches with records byte for byte, except the leader epoch, the time at which a round met a tombstone, and
/// the compressed form.
fn compare_batches(topic: &str, theirs: &Held, ours: &Held) {
    let answered = |held: &Held| -> Vec<(BatchHeader, Option<Vec<u8>>)> {
        let with_records = held.batches.iter().filter(|(header, _)| header.records_count > 0);
        let answered = with_records.map(|(header, records)| {
            let has_horizon = header.delete_horizon_ms().is_some();
            let is_plain = header.codec() == Some(Codec::None) && !has_horizon;
            let base_timestamp = if has_horizon { 0 } else { header.base_timestamp };
            let batch_length = if is_plain { header.batch_length } else { 0 };
            let header = BatchHeader { leader_epoch: LeaderEpoch(0), crc: 0, base_timestamp, batch_length, ..*header };
            (header, is_plain.then(|| records.clone()))
        });
        answered.collect()
    };
    let (theirs, ours) = (answered(theirs), answered(ours));
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "{topic}");
    }
    assert_eq!(theirs.len(), ours.len(), "{topic}");
}

#[test]
fn no_key_is_lost_by_kill_9_while_it_is_compacted() {
    let _turn = turn::of("compaction");
    let mut node = Node::tidemill("compaction-killed", &[&EAGER[..], &["--set", "journal.bytes=134217728"]].concat());
    let mut clients = vec![connect(node.bootstrap())];
    create(&mut clients[0], "killed", 1, &COMPACTED);
    let mut writer = Writer::new("killed", 8);
    let mut chance = Chance::new(11);
    for round in 0..12 {
        writer.send(&mut clients, 60 + chance.below(120) as i64);
        std::thread::sleep(Duration::from_millis(chance.below(120)));
        node.kill();
        node.restart();
        clients = vec![connect(node.bootstrap())];
        let rows = read(&mut clients[0], "killed").unwrap_or_else(|e| panic!("{e}")).rows;
        let known: HashMap<i64, &Row> = writer.rows.iter().map(|row| (row.offset, row)).collect();
        assert!(rows.iter().all(|row| known[&row.offset] == row), "round {round}: a record is not as it was sent");
        let there: std::collections::HashSet<i64> = rows.iter().map(|row| row.offset).collect();
        let last = writer.survivors(i64::MAX, 0);
        let lost = last.iter().find(|row| !there.contains(&row.offset));
        assert!(lost.is_none(), "round {round}: the last record of {:?} is gone", lost.map(|row| &row.key));
    }
    let held = compacted(&node, &mut clients[0], &writer, 0);
    assert!(held.rows.len() * 3 < writer.rows.len(), "{} of {} records stay", held.rows.len(), writer.rows.len());
    let leftovers = |dir: &Path| {
        let names = fs::read_dir(dir).expect("listed").map(|e| e.expect("an entry").file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".cleaned") || name.ends_with(".swap")).collect::<Vec<_>>()
    };
    node.stop();
    assert_eq!(leftovers(&node.partition_dir("killed", 0)), Vec::<String>::new());
}
