//! The command line against a node: output, errors and exit codes of the binary.
//!
//! `TIDEMILL_TEST_PEER=kafka` runs the same commands against Apache Kafka 4.4.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::node::Node;
use crate::support::wait_for;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);

pub struct Shell {
    pub node: Node,
}

impl Shell {
    pub fn start(name: &str) -> Option<Shell> {
        Some(Shell { node: Node::start(name)? })
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(words.split_whitespace()).args(["--bootstrap", self.node.bootstrap()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, words: &str, input: &[u8]) -> Output {
        let mut child = self.command(words).spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that fails early does not read its input.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("a child of ours");
        writer.join().expect("no panic");
        output
    }

    /// Must succeed; returns stdout.
    pub fn ok(&self, words: &str, input: &[u8]) -> Vec<u8> {
        let output = self.run(words, input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {error}");
        output.stdout
    }

    pub fn text(&self, words: &str) -> String {
        String::from_utf8(self.ok(words, b"")).expect("text")
    }

    pub fn json(&self, words: &str) -> Value {
        let text = self.text(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error} in {text:?}"))
    }

    /// Must fail with exit code 1, an empty stdout, and `message` and the hint on stderr.
    pub fn fails(&self, words: &str, message: &str, hint: &str) {
        let output = self.run(words, b"line\n");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}: {error}");
        assert_eq!(output.stdout, b"", "{words}");
        assert!(error.contains(message), "{words}: {error}");
        assert!(error.contains(hint), "{words}: {error}");
    }
}

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let Some(shell) = Shell::start("cli-topics") else { return };
    assert!(shell.text("topic list").contains("tidemill topic create"), "an empty list names the next step");
    let created =
        shell.text("topic create events --partitions 3 --config retention.ms=3600000 -c segment.bytes=1048576");
    assert_eq!(created, "created topic events with 3 partitions\n");
    shell.fails("topic create events", "TOPIC_ALREADY_EXISTS", "--if-not-exists");
    assert_eq!(shell.text("topic create events --if-not-exists"), "topic events exists, with 3 partitions\n");
    shell.fails("topic create other --config no.such.setting=1", "INVALID_CONFIG", "");
    shell.fails("topic create bad/name", "INVALID_TOPIC_EXCEPTION", "");
    shell.fails("topic create wide --replication-factor 1001", "INVALID_REPLICATION_FACTOR", "--replication-factor");

    let listed = shell.json("topic list --json");
    assert_eq!((&listed[0]["topic"], &listed[0]["partitions"]), (&"events".into(), &3.into()));
    assert!(shell.text("topic list").lines().any(|line| line.split_whitespace().eq(["events", "3", "1"])));

    let described = shell.json("topic describe events --json");
    let partitions = described[0]["partitions"].as_array().expect("an array");
    assert_eq!(partitions.len(), 3);
    for (i, partition) in partitions.iter().enumerate() {
        assert_eq!(partition["partition"], i);
        assert_eq!((&partition["first_offset"], &partition["end_offset"]), (&0.into(), &0.into()));
        assert!(partition["leader"].as_i64().expect("a number") >= 0);
    }
    let settings = described[0]["settings"].as_array().expect("an array");
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name).expect("every setting").clone();
    assert_eq!(setting("retention.ms")["value"], "3600000");
    assert_eq!(setting("retention.ms")["default"], false);
    assert_eq!(setting("cleanup.policy")["default"], true);
    let text = shell.text("topic describe events");
    assert!(text.contains("retention.ms = 3600000") && !text.contains("cleanup.policy"), "{text}");

    assert_eq!(shell.text("topic delete events"), "deleted topic events\n");
    wait_for("the topic is gone", WITHIN, || (shell.json("topic list --json") == Value::Array(vec![])).then_some(()));
    shell.fails("topic delete events", "does not exist", "tidemill topic list");
    shell.fails("topic describe events", "does not exist", "tidemill topic create events");
    shell.fails("produce events", "does not exist", "tidemill topic create events");
    shell.fails("consume events", "does not exist", "tidemill topic create events");
}

#[test]
fn a_topic_with_fewer_replicas_than_requested_is_created_with_a_note() {
    let node = Node::tidemill("cli-note", &["--shards", "2"]);
    let shell = Shell { node };
    let note = "Each partition has 1 replica in place of 2: the 2 brokers of this cluster are one node.";
    let created = shell.text("topic create a --partitions 3 --replication-factor 2");
    assert_eq!(created, format!("created topic a with 3 partitions\nnote: {note}\n"));
    assert_eq!(shell.json("topic create b --replication-factor 2 --json")["note"], note);
    assert_eq!(shell.json("topic create c --replication-factor 1 --json").get("note"), None);
}

#[test]
fn settings_are_changed_and_taken_back_and_old_records_deleted() {
    let Some(shell) = Shell::start("cli-alter") else { return };
    shell.text("topic create events --partitions 2");
    let own = || {
        let described = shell.json("topic describe events --json");
        let settings = described[0]["settings"].as_array().expect("an array").clone();
        let own = settings.into_iter().filter(|setting| setting["default"] == false);
        own.map(|setting| format!("{}={}", setting["name"], setting["value"]).replace('"', "")).collect::<Vec<_>>()
    };
    let settle = |expected: &[&str]| {
        wait_for("the settings are so", WITHIN, || (own() == expected).then_some(()));
    };
    let text = shell.text("topic alter events --config retention.ms=3600000 -c max.message.bytes=2000");
    assert_eq!(text, "topic events: retention.ms = 3600000\ntopic events: max.message.bytes = 2000\n");
    settle(&["max.message.bytes=2000", "retention.ms=3600000"]);
    let text = shell.text("topic alter events --delete-config retention.ms --config segment.ms=5000");
    assert_eq!(text, "topic events: segment.ms = 5000\ntopic events: retention.ms is the default\n");
    settle(&["max.message.bytes=2000", "segment.ms=5000"]);
    let answered = shell.json("topic alter events --delete-config segment.ms --json");
    assert_eq!(answered, serde_json::json!({ "topic": "events", "set": {}, "deleted": ["segment.ms"] }));
    shell.fails("topic alter events --config retention.ms=soon", "INVALID_CONFIG", "tidemill topic describe");
    shell.fails("topic alter events --config no.such=1", "Unknown topic config name: no.such", "");
    shell.fails("topic alter nothing --config retention.ms=1", "does not exist", "tidemill topic create nothing");
    assert_eq!(shell.run("topic alter events", b"").status.code(), Some(2), "alter needs a change");

    shell.ok("produce events --partition 0", b"a\nb\nc\nd\n");
    shell.ok("produce events --partition 1", b"e\nf\n");
    let rows =
        |text: String| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let answered = rows(shell.text("topic delete-records events --before 1"));
    assert_eq!(answered, ["partition first offset", "0 1", "1 1"]);
    let answered = shell.json("topic delete-records events --before end --partition 0 --json");
    assert_eq!(answered["partitions"], serde_json::json!([{ "partition": 0, "first_offset": 4 }]));
    let described = shell.json("topic describe events --json");
    let offsets: Vec<_> = described[0]["partitions"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|partition| (partition["first_offset"].as_i64(), partition["end_offset"].as_i64()))
        .collect();
    assert_eq!(offsets, [(Some(4), Some(4)), (Some(1), Some(2))]);
    shell.fails("topic delete-records events --before 9", "OFFSET_OUT_OF_RANGE", "");
    shell.fails("topic delete-records events --before 1 --partition 7", "has no partition 7", "from 0 to 1");
    shell.fails("topic delete-records nothing --before end", "does not exist", "");
    assert_eq!(shell.run("topic delete-records events --before soon", b"").status.code(), Some(2));
}

/// Lines of many lengths up to some thousand bytes, some of them not UTF-8.
fn lines(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..count {
        let body = (0..(i * 37) % 3000).map(|at| [b'x', 0xc3, b'y', 0xff][(at * at + i) % 4]);
        out.extend_from_slice(format!("{i:06} ").as_bytes());
        out.extend(body);
        out.push(b'\n');
    }
    out
}

#[test]
fn records_are_read_back_unchanged_with_every_codec_and_acknowledgement() {
    let Some(shell) = Shell::start("cli-round-trip") else { return };
    let input = lines(2000);
    let file = shell.node.scratch().join("lines");
    std::fs::write(&file, &input).expect("the scratch directory can be written");
    for (i, (codec, acks)) in
        [("none", "all"), ("gzip", "1"), ("snappy", "0"), ("lz4", "all"), ("zstd", "1")].into_iter().enumerate()
    {
        let topic = format!("round-{codec}");
        shell.text(&format!("topic create {topic} --partitions 2"));
        let options = format!("--compression {codec} --acks {acks} --partition 1");
        let printed = if i % 2 == 0 {
            shell.ok(&format!("produce {topic} {options} --file {}", file.display()), b"")
        } else {
            shell.ok(&format!("produce {topic} {options} --batch-bytes 30000"), &input)
        };
        let printed = String::from_utf8(printed).expect("text");
        assert!(printed.starts_with(&format!("2000 records to {topic}-1")), "{printed}");
        assert_eq!(printed.contains("at offsets 0 to 1999"), acks != "0", "{printed}");
        let is_read_back = || shell.ok(&format!("consume {topic}"), b"") == input;
        if acks == "0" {
            // The node acknowledges nothing, so its high watermark may still be below the records.
            wait_for("the records are committed", WITHIN, || is_read_back().then_some(()));
        } else {
            assert!(is_read_back(), "{codec}: not what went in");
        }
    }
}

#[test]
fn keys_headers_and_nulls_are_kept_and_a_key_stays_in_its_partition() {
    let Some(shell) = Shell::start("cli-keys") else { return };
    shell.text("topic create keyed --partitions 4 --config cleanup.policy=compact");
    shell.fails("produce keyed", "INVALID_RECORD", "--key-separator");
    shell.fails("produce keyed -k :", "no \":\" in the line \"line\"", "--key-separator");
    let words = "produce keyed -k :: -H source=test -H empty= --null (none) --json";
    let printed = shell.ok(words, b"21::a::b\nfoobar::\nabc::(none)\n21::second\n");
    let printed: Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(printed["records"], 4);

    let records: Vec<Value> = shell
        .text("consume keyed --json")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    // Kafka's murmur2 of these keys, made positive, modulo 4.
    let partition = |hash: i32| (hash & i32::MAX) % 4;
    let expect = [
        ("21", partition(-973_932_308), 0, Value::from("a::b")),
        ("21", partition(-973_932_308), 1, Value::from("second")),
        ("foobar", partition(-790_332_482), 0, Value::from("")),
        ("abc", partition(479_470_107), 0, Value::Null),
    ];
    assert_eq!(records.len(), expect.len());
    for (key, partition, place, value) in expect {
        let of_key: Vec<_> = records.iter().filter(|record| record["key"] == key).collect();
        let record = of_key[place];
        assert_eq!((&record["partition"], &record["value"]), (&partition.into(), &value), "{record}");
        assert_eq!(record["headers"][0], serde_json::json!({ "key": "source", "value": "test" }));
        assert_eq!(record["headers"][1]["value"], "");
        assert_eq!(record["timestamp_type"], "CreateTime");
    }
    let text = shell.text("consume keyed --with key,headers");
    assert!(text.lines().any(|line| line == "abc\tsource=test,empty=\t(null)"), "{text}");
    let hex = shell.text("consume keyed --format hex");
    assert!(hex.contains("0000  66 6f 6f 62 61 72") && hex.contains("value: null"), "{hex}");
}

#[test]
fn consume_starts_and_ends_at_the_given_positions() {
    let Some(shell) = Shell::start("cli-places") else { return };
    shell.text("topic create places --partitions 2");
    for (codec, from) in [("none", 0), ("lz4", 10)] {
        let input: String = (from..from + 10).map(|i| format!("{i}\n")).collect();
        shell.ok(&format!("produce places --partition 0 --compression {codec}"), input.as_bytes());
    }
    shell.ok("produce places --partition 1", b"other\n");
    let numbers = |words: &str| -> Vec<u64> {
        let text = shell.text(&format!("consume places --partition 0 {words}"));
        text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let range = |from, to| (from..to).collect::<Vec<u64>>();
    assert_eq!(numbers(""), range(0, 20));
    assert_eq!(numbers("--offset beginning --count 7"), range(0, 7));
    // In the middle of a batch, plain and compressed.
    assert_eq!(numbers("--offset 4"), range(4, 20));
    assert_eq!(numbers("--offset 15"), range(15, 20));
    assert_eq!(numbers("--offset -3"), range(17, 20));
    assert_eq!(numbers("--offset -99"), range(0, 20));
    assert_eq!(numbers("--offset 20"), range(0, 0));
    assert_eq!(numbers("--offset end --exit-at-end"), range(0, 0));
    shell.fails("consume places --partition 0 --offset 21", "outside of places-0, which has 0 to 20", "beginning");
    shell.fails("consume places --partition 2", "has no partition 2; it has 2", "0 to 1");
    let both = shell.text("consume places --with partition,offset");
    assert_eq!(both.lines().count(), 21);
    assert!(both.lines().any(|line| line == "1\t0\tother"));

    // By time, at the precision of a record inside a compressed batch.
    let stamps: Vec<i64> = shell
        .text("consume places --partition 0 --json")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["timestamp"].as_i64().expect("a number"))
        .collect();
    let at = |time: i64| numbers(&format!("--timestamp {time}"));
    for time in [stamps[0], stamps[13], stamps[19]] {
        let first = stamps.iter().position(|stamp| *stamp >= time).expect("it is one of them") as u64;
        assert_eq!(at(time), range(first, 20));
    }
    assert_eq!(at(0), range(0, 20));
    assert_eq!(at(stamps[19] + 1), range(0, 0));
    assert_eq!(numbers("--timestamp 2001-01-01T00:00:00Z"), range(0, 20));
}

#[test]
fn following_prints_records_as_they_come() {
    let Some(shell) = Shell::start("cli-follow") else { return };
    shell.text("topic create news --partitions 3");
    shell.ok("produce news", b"old\n");
    let mut child = shell.command("consume news --follow --count 3").spawn().expect("the binary runs");
    let mut printed = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || printed.next().expect("a line").expect("text");
    assert_eq!(next(), "old");
    shell.ok("produce news", b"new\n");
    assert_eq!(next(), "new");
    shell.ok("produce news --compression zstd", b"newest\n");
    assert_eq!(next(), "newest");
    assert!(child.wait().expect("a child of ours").success(), "it ends at --count");

    // Input in pieces is produced at each pause, not only at the end.
    let mut producer = shell.command("produce news --partition 2").spawn().expect("the binary runs");
    let mut stdin = producer.stdin.take().expect("piped");
    stdin.write_all(b"piece\n").expect("it reads");
    wait_for("the piece is there while its producer still runs", WITHIN, || {
        shell.text("consume news").contains("piece").then_some(())
    });
    drop(stdin);
    assert!(producer.wait().expect("a child of ours").success());

    // A closed stdout is no error.
    let mut child = shell.command("consume news --follow").spawn().expect("the binary runs");
    let mut printed = BufReader::new(child.stdout.take().expect("piped"));
    printed.read_line(&mut String::new()).expect("text");
    drop(printed);
    let status = wait_for("it ends when nobody reads", WITHIN, || {
        shell.ok("produce news", b"more\n");
        child.try_wait().expect("a child of ours")
    });
    assert!(status.success(), "{status}");
}

#[test]
fn without_a_broker_the_error_names_the_remedy() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let output =
        command.args(["topic", "list", "--bootstrap", &format!("127.0.0.1:{port}")]).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("Connection refused") && error.contains("tidemill serve"), "{error}");
}
