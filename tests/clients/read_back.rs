//! Real clients write and read, and compare every record.
//!
//! Each test starts a node and runs one client program of tests/clients/ against it. The client creates a topic and
//! writes 100,000 keyed records per codec with acks=all, and 100,000 each with acks=0 and acks=1. It reads them whole
//! by assign and seek (no group), with positions, first and last offsets, and offsets for timestamps. Then it makes its
//! admin calls. In the last test every client reads the records of every other.
//!
//! The programs compare by the rule in `support::records` and stop at the first difference. kcat has no program: its
//! output is compared here.
//!
//! `TIDEMILL_TEST_PEER=kafka` runs the same tests against Apache Kafka 4.4; they must pass there.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::clients::{Topic, WITHIN, base};
use crate::support::node::Node;
use crate::support::records::{Check, KCAT_FORMAT, kcat_input};
use crate::support::run::{Program, run};
use crate::support::{peers, say, turn, wait_for};

const RECORDS: usize = 100_000;
const PARTITIONS: usize = 4;
/// Codec and acks: every codec with acks=all, no codec with acks=0, and one codec with acks=1.
const CASES: [(&str, &str); 7] =
    [("none", "all"), ("gzip", "all"), ("snappy", "all"), ("lz4", "all"), ("zstd", "all"), ("none", "0"), ("lz4", "1")];
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// One line of the table at the end of a test.
struct Row {
    client: String,
    codec: String,
    acks: String,
    records: usize,
    write_s: f64,
    read_s: f64,
}

/// Prints the whole table at once, so that parallel tests do not mix their lines.
fn table(rows: &[Row]) {
    let mut out = format!(
        "{:<14}{:<8}{:<6}{:>9}{:>10}{:>9}   every record equal",
        "client", "codec", "acks", "records", "write s", "read s"
    );
    for r in rows {
        out += &format!(
            "\n{:<14}{:<8}{:<6}{:>9}{:>10.2}{:>9.2}",
            r.client, r.codec, r.acks, r.records, r.write_s, r.read_s
        );
    }
    say(&out);
}

/// Runs all modes of a client's program against a new node.
fn check_client(program: Option<Program>) {
    let Some(program) = program else { return };
    let Some(node) = Node::start(program.name) else { return };
    let bootstrap = ("bootstrap", node.bootstrap().to_string());

    program.run("admin", &[bootstrap.clone(), ("topic", format!("admin-{}", program.name))], WITHIN);

    let cases: Vec<String> = CASES.iter().map(|(codec, acks)| format!("{codec}:{acks}")).collect();
    let lines = program.run(
        "bulk",
        &[
            bootstrap,
            ("as", program.name.into()),
            ("cases", cases.join(",")),
            ("count", RECORDS.to_string()),
            ("base", base().to_string()),
            ("partitions", PARTITIONS.to_string()),
        ],
        WITHIN,
    );
    let rows: Vec<Row> = lines.iter().filter_map(|line| row(line)).collect();
    let done: Vec<(&str, &str)> = rows.iter().map(|r| (r.codec.as_str(), r.acks.as_str())).collect();
    assert_eq!(done, CASES, "{} did not run every case", program.name);
    assert!(rows.iter().all(|r| r.client == program.name && r.records == RECORDS));
    table(&rows);
}

/// Parses `OK client codec acks records write-seconds read-seconds` from a program's output.
fn row(line: &str) -> Option<Row> {
    let field: Vec<&str> = line.strip_prefix("OK ")?.split(' ').collect();
    let [client, codec, acks, records, write, read] = field[..] else { return None };
    Some(Row {
        client: client.into(),
        codec: codec.into(),
        acks: acks.into(),
        records: records.parse().ok()?,
        write_s: write.parse().ok()?,
        read_s: read.parse().ok()?,
    })
}

#[test]
fn librdkafka_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    check_client(peers::librdkafka());
}

#[test]
fn kafka_python_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    check_client(peers::kafka_python());
}

#[test]
fn java_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    check_client(peers::java());
}

#[test]
fn franz_go_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    check_client(peers::franz_go());
}

#[test]
fn kafkajs_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    check_client(peers::kafkajs());
}

#[test]
fn java_meets_the_edges_as_kafka_has_them() {
    let _turn = turn::of("read_back");
    let Some(java) = peers::java() else { return };
    let Some(node) = Node::start("edges") else { return };
    java.run("edges", &[("bootstrap", node.bootstrap().to_string()), ("topic", "edge".to_string())], WITHIN);
}

/// The node is killed with SIGKILL right after the last acknowledgement, and restarts from the disk.
#[test]
fn acknowledged_records_survive_a_killed_node() {
    let _turn = turn::of("read_back");
    let Some(program) = peers::librdkafka() else { return };
    let Some(mut node) = Node::start("killed") else { return };
    let bootstrap = node.bootstrap().to_string();
    let topic = Topic { bootstrap: &bootstrap, name: "killed", partitions: PARTITIONS, base: base() };
    topic.create(&program, "");
    let mut end = 0;
    for codec in ["none", "lz4", "zstd"] {
        let next = end + RECORDS / 4;
        topic.write(&program, codec, "all", end..next);
        end = next;
        node.kill();
        node.restart();
        topic.read(&program, program.name, end);
        say(&format!("  all {end} records are there after a kill"));
    }
}

/// kcat cannot create a topic; the program of librdkafka creates it.
#[test]
fn kcat_reads_back_its_records_equal() {
    let _turn = turn::of("read_back");
    let (Some(kcat), Some(creator)) = (peers::kcat(), peers::librdkafka()) else { return };
    let Some(node) = Node::start("kcat") else { return };
    let mut rows = Vec::new();
    for (codec, acks) in CASES {
        let topic = format!("kcat-{codec}-{acks}");
        Topic { bootstrap: node.bootstrap(), name: &topic, partitions: PARTITIONS, base: 0 }.create(&creator, "");
        let write_s = kcat_writes(&kcat, &node, &topic, codec, acks, 0, RECORDS);
        let read_s = kcat_reads(&kcat, &node, &topic, "kcat", RECORDS, 0);
        let row =
            Row { client: "kcat".into(), codec: codec.into(), acks: acks.into(), records: RECORDS, write_s, read_s };
        say(&format!("  OK kcat {codec} {acks} {RECORDS} {write_s:.2} {read_s:.2}"));
        rows.push(row);
    }
    kcat_lists_and_seeks(&kcat, &node, "kcat-lz4-all");
    table(&rows);
}

/// Runs kcat with `arguments`; returns its stdout.
fn kcat_runs(kcat: &str, node: &Node, arguments: &[&str], input: Option<Vec<u8>>) -> String {
    let mut command = Command::new(kcat);
    command.args(["-b", node.bootstrap()]).args(arguments);
    let answered = format!("{command:?}");
    let ended = run(command, input, WITHIN, |_| false).expect("kcat runs");
    assert!(ended.ok(), "{answered}: {}", ended.tail());
    ended.stdout
}

fn kcat_writes(kcat: &str, node: &Node, topic: &str, codec: &str, acks: &str, first: usize, end: usize) -> f64 {
    let started = Instant::now();
    let acks = format!("acks={acks}");
    let arguments = ["-P", "-t", topic, "-z", codec, "-X", &acks, "-K", "\\t", "-Z", "-H", "client=kcat"];
    kcat_runs(kcat, node, &arguments, Some(kcat_input(first, end)));
    started.elapsed().as_secs_f64()
}

/// Reads a topic to its end. With acks=0 the last records may be in flight when the writer exits: then read again.
fn kcat_reads(kcat: &str, node: &Node, topic: &str, name: &str, count: usize, base: i64) -> f64 {
    let started = Instant::now();
    let arguments = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-Z", "-f", KCAT_FORMAT];
    let text = wait_for("kcat reads as many records as were written", Duration::from_secs(60), || {
        let text = kcat_runs(kcat, node, &arguments, None);
        (text.lines().count() >= count).then_some(text)
    });
    // With -Z kcat prints a null value as NULL. The printed length distinguishes null (-1) from empty (0).
    let text = text.replace("\tNULL\n", "\t\n");
    if let Err(difference) = (Check { topic, name, count, base }).lines(&text, PARTITIONS) {
        panic!("kcat: {difference}");
    }
    started.elapsed().as_secs_f64()
}

fn kcat_lists_and_seeks(kcat: &str, node: &Node, topic: &str) {
    let listed = kcat_runs(kcat, node, &["-L", "-t", topic], None);
    assert!(listed.contains(&format!("topic \"{topic}\" with {PARTITIONS} partitions")), "{listed}");

    let ends = |at: &str| -> Vec<u64> {
        (0..PARTITIONS)
            .map(|p| {
                let text = kcat_runs(kcat, node, &["-Q", "-t", &format!("{topic}:{p}:{at}")], None);
                text.trim().rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
            })
            .collect()
    };
    assert_eq!(ends("-2"), [0; PARTITIONS], "first offsets");
    assert_eq!(ends("-1").iter().sum::<u64>(), RECORDS as u64, "last offsets");
    assert_eq!(ends("0"), [0; PARTITIONS], "offsets for a time before every record");

    let one = kcat_runs(kcat, node, &["-C", "-t", topic, "-p", "1", "-o", "12345", "-c", "3", "-q", "-f", "%o "], None);
    assert_eq!(one, "12345 12346 12347 ", "three records from an offset");
    let last = kcat_runs(kcat, node, &["-C", "-t", topic, "-p", "1", "-o", "-2", "-e", "-q", "-f", "%o "], None);
    let end = ends("-1")[1];
    assert_eq!(last, format!("{} {} ", end - 2, end - 1), "the last two records");
}

/// Every client writes one topic, a part with each codec, and every client reads all topics.
#[test]
fn every_client_reads_the_records_of_every_other() {
    let _turn = turn::of("read_back");
    let programs = [peers::librdkafka(), peers::java(), peers::franz_go(), peers::kafka_python(), peers::kafkajs()];
    let kcat = peers::kcat();
    let (Some(creator), Some(node)) = (peers::librdkafka(), Node::start("cross")) else { return };
    let (each, base) = (2000, base());
    let count = each * CODECS.len();

    let mut written: Vec<&str> = programs.iter().flatten().map(|p| p.name).collect();
    written.extend(kcat.iter().map(|_| "kcat"));
    let topics: Vec<String> = written.iter().map(|name| format!("by-{name}")).collect();
    Topic { bootstrap: node.bootstrap(), name: &topics.join(","), partitions: PARTITIONS, base }.create(&creator, "");

    for (n, codec) in CODECS.into_iter().enumerate() {
        let (first, end) = (n * each, (n + 1) * each);
        for program in programs.iter().flatten() {
            let name = format!("by-{}", program.name);
            let topic = Topic { bootstrap: node.bootstrap(), name: &name, partitions: PARTITIONS, base };
            topic.write(program, codec, "all", first..end);
        }
        if let Some(kcat) = &kcat {
            kcat_writes(kcat, &node, "by-kcat", codec, "all", first, end);
        }
    }

    let pairs: Vec<String> = written.iter().map(|name| format!("by-{name}={name}")).collect();
    for program in programs.iter().flatten() {
        let arguments = [
            ("bootstrap", node.bootstrap().to_string()),
            ("topics", pairs.join(",")),
            ("from", "0".to_string()),
            ("to", count.to_string()),
            ("base", base.to_string()),
            ("partitions", PARTITIONS.to_string()),
        ];
        let read = program.run("read", &arguments, WITHIN);
        let read: Vec<&String> = read.iter().filter(|line| line.starts_with("READ ")).collect();
        assert_eq!(read.len(), written.len(), "{} did not read every topic", program.name);
        say(&format!("  {} read {count} records each of {}", program.name, written.join(", ")));
    }
    if let Some(kcat) = &kcat {
        for name in &written {
            kcat_reads(kcat, &node, &format!("by-{name}"), name, count, base);
        }
        say(&format!("  kcat read {count} records each of {}", written.join(", ")));
    }
}
