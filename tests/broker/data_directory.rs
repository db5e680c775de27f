//! A start on a data directory with missing, damaged or foreign files names the file, the loss and the remedy, and
//! changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::bench::new_topic;
use crate::support::ledger::{Ledger, connect};
use crate::support::node::Node;
use crate::support::run::run;
use crate::support::talk::{Talk, batch};
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidemill::wire::admin::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

const WITHIN: Duration = Duration::from_secs(60);
const NOW: i64 = 1_700_000_000_000;

/// A stopped node with records, and the arguments of its start.
struct Stopped {
    node: Node,
    arguments: Vec<String>,
}

impl Stopped {
    fn new(name: &str) -> Stopped {
        let mut node = Node::stopped_tidemill(name, &[]);
        let journal = format!("journal.dir={}", node.scratch().join("journal").display());
        let small = "journal.bytes=134217728";
        let arguments = ["--shards", "1", "--set", small, "--set", &journal].map(str::to_owned).to_vec();
        node.set_arguments(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        node.restart();
        let mut client = connect(node.bootstrap());
        Ledger::create(&mut client, "t", 1, &[]).fill(&mut client, 2, 3, 100, NOW);
        assert!(node.stop().success());
        Stopped { node, arguments }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.node.data().join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        self.path("layouts/0/shard-0/checkpoint")
    }

    /// A start with these arguments fails with all `words`, and leaves the directory as it is.
    fn refuses(&self, arguments: &[String], words: &[&str]) {
        let before = files(self.node.scratch());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.arg("serve").arg("--data").arg(self.node.data()).args(["--listen", self.node.bootstrap()]);
        command.args(arguments);
        let ended = run(command, None, WITHIN, |_| false).expect("the binary runs");
        assert!(ended.status.is_some_and(|status| status.code() == Some(1)), "{}", ended.tail());
        for words in words {
            assert!(ended.stderr.contains(words), "{words:?} is missing in\n{}", ended.tail());
        }
        assert_eq!(files(self.node.scratch()), before, "{words:?}: the start changed the directory");
    }

    /// As [`refuses`](Self::refuses), while `path` is moved away.
    fn refuses_without(&self, path: &Path, words: &[&str]) {
        let aside = self.node.scratch().join("aside");
        fs::rename(path, &aside).expect("the file is there");
        self.refuses(&self.arguments, words);
        fs::rename(&aside, path).expect("it fits back");
    }

    /// As [`refuses`](Self::refuses), while `path` has other content.
    fn refuses_with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>), words: &[&str]) {
        let before = fs::read(path).expect("the file is there");
        let mut changed = before.clone();
        change(&mut changed);
        fs::write(path, changed).expect("it can be written");
        self.refuses(&self.arguments, words);
        fs::write(path, before).expect("it can be written");
    }
}

/// The small files below `root`, with their content, and the names of the others. Not the locks and the log of the
/// test.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path.clone());
            }
            let is_small = path.is_file() && path.metadata().expect("readable").len() < 1 << 20;
            all.push((path.clone(), if is_small { fs::read(&path).expect("readable") } else { Vec::new() }));
        }
    }
    all.retain(|(path, _)| !path.ends_with(".lock"));
    all.sort();
    all
}

fn replace(from: &'static str, to: &'static str) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| *bytes = String::from_utf8_lossy(bytes).replace(from, to).into_bytes()
}

#[test]
fn missing_damaged_and_foreign_files_are_named_and_nothing_is_changed() {
    let mut stopped = Stopped::new("directory");
    let (meta, log) = (stopped.path("meta.properties"), stopped.path("metadata/00000000000000000000.tml"));
    let checkpoint = stopped.checkpoint();
    // Entry 2 creates the topic.
    let first_entry =
        fs::read(&log).expect("readable").windows(4).skip(1).position(|bytes| bytes == b"TMML").unwrap() + 1;

    stopped.refuses_without(
        &stopped.path("metadata"),
        &["metadata contains no metadata log", "checkpoint was written", "Restore"],
    );
    stopped.refuses_without(&log, &["metadata contains no metadata log", "Restore the directory from a copy"]);
    stopped.refuses_with(&log, |bytes| bytes.clear(), &["ends at index 0", "changes are missing", "Restore"]);
    let lost = ["ends at index 0", "are damaged", "Restore the metadata log from a copy"];
    stopped.refuses_with(&log, |bytes| bytes.truncate(first_entry - 1), &lost);
    let behind = ["ends at index 1", "checkpoint was written after index 2", "Restore the metadata log from a copy"];
    stopped.refuses_with(&log, |bytes| bytes.truncate(first_entry), &behind);
    stopped.refuses_with(&log, |bytes| *bytes.last_mut().unwrap() ^= 1, &behind);

    stopped.refuses_without(&meta, &["meta.properties is missing", "bring it back"]);
    stopped.refuses_with(&meta, |bytes| bytes.clear(), &["it has no version", "Restore the file from a copy"]);
    stopped.refuses_with(&meta, |bytes| bytes.fill(b'?'), &["it has no version", "tidemill.layout (the number in"]);
    stopped.refuses_with(&meta, replace("version=1", "version=2"), &["it is of version 2, this build reads 1"]);
    stopped.refuses_with(
        &meta,
        replace("node.id=1", "node.id=7"),
        &["belongs to node 7, and the metadata log to node 1"],
    );
    stopped.refuses_with(
        &meta,
        replace("cluster.id=", "cluster.id=x"),
        &["belongs to cluster", "files of two clusters"],
    );
    let kafka = replace("tidemill.layout=0\ntidemill.shards=1\n", "directory.id=x\n");
    stopped.refuses_with(&meta, kafka, &["Apache Kafka", "stop Kafka and copy their directories"]);

    stopped.refuses_with(
        &checkpoint,
        |bytes| bytes[77] ^= 1,
        &["does not match its checksum", "Restore the whole data"],
    );
    stopped.refuses_without(&stopped.path("layouts"), &["layouts/0 is missing", "bring it back"]);
    let journal = stopped.node.scratch().join("journal/layouts");
    stopped.refuses_without(&journal, &["journal is missing", "Acknowledged records may be in it", "bring it back"]);
    let without = stopped.arguments[..4].to_vec();
    stopped.refuses(&without, &["journal is missing", "If journal.dir was set when the node ran last, set it again"]);
    fs::create_dir_all(stopped.path("layouts/0/shard-0")).unwrap();
    let moved = stopped.path("layouts/0/shard-0/journal");
    fs::rename(journal.join("0/shard-0/journal"), &moved).unwrap();
    stopped.refuses(&stopped.arguments, &["journal.dir has changed", "Remove journal.dir, or move the journal"]);
    fs::rename(&moved, journal.join("0/shard-0/journal")).unwrap();

    stopped.node.restart();
    assert!(stopped.node.latest_line("1, after a clean stop").is_some(), "{}", stopped.node.printed());
}

#[test]
fn a_topic_whose_directory_cannot_be_created_is_reported_offline_until_a_retry_creates_it() {
    let node = Node::tidemill("offline", &["--shards", "2", "--set", "routing=direct"]);
    let mut talk = Talk::to(node.bootstrap());
    let mut create = |name: &str| -> CreateTopicsResponse {
        let request =
            CreateTopicsRequest { topics: vec![new_topic(name, 2, &[])], timeout_ms: 10_000, validate_only: false };
        talk.call(&request, 7)
    };
    // A file in the place of the directory.
    let in_the_way = node.partition_dir("t", 1);
    fs::write(&in_the_way, b"").expect("it can be written");
    let created = create("t").topics.remove(0);
    assert_eq!(created.error_code, ErrorCode::KafkaStorageError);
    let message = created.error_message.expect("it has a reason");
    assert!(message.contains("Topic 't' exists, but 1 of its 2 partitions are offline"), "{message}");
    assert_eq!(create("t").topics[0].error_code, ErrorCode::TopicAlreadyExists);
    assert_eq!(create("u").topics[0].error_code, ErrorCode::None);

    // Both shards report it.
    let port = |shard: u16| node.bootstrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap() + 1 + shard;
    let leaders = |shard: u16| {
        let mut talk = Talk::to(&format!("127.0.0.1:{}", port(shard)));
        let topics = vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }];
        let response: MetadataResponse = talk.call(&MetadataRequest { topics: Some(topics), ..Default::default() }, 12);
        let mut partitions = response.topics[0].partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        partitions.iter().map(|partition| (partition.error_code, partition.leader_id == -1)).collect::<Vec<_>>()
    };
    for shard in 0..2 {
        assert_eq!(leaders(shard), [(ErrorCode::None, false), (ErrorCode::LeaderNotAvailable, true)]);
    }
    let mut talk = Talk::to(node.bootstrap());
    assert_eq!(talk.produce_one("t", 1, &batch(&["r"])).code, ErrorCode::KafkaStorageError);
    assert_eq!(talk.append("t", 0, &["r"]), 0);

    // An added partition, too.
    let in_the_way_of_u = node.partition_dir("u", 2);
    fs::write(&in_the_way_of_u, b"").expect("it can be written");
    let grown = CreatePartitionsTopic { name: "u".into(), count: 3, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, validate_only: false };
    let grown = talk.call::<CreatePartitionsResponse>(&request, 3).results.remove(0);
    assert_eq!(grown.error_code, ErrorCode::KafkaStorageError);
    let message = grown.error_message.expect("it has a reason");
    assert!(message.contains("Topic 'u' exists, but 1 of its 3 partitions are offline"), "{message}");
    assert_eq!(talk.append("u", 0, &["r"]), 0);
    fs::remove_file(&in_the_way_of_u).expect("it is there");

    fs::remove_file(&in_the_way).expect("it is there");
    let online = [(ErrorCode::None, false), (ErrorCode::None, false)];
    wait_for("the retry creates the partition", WITHIN, || (0..2).all(|shard| leaders(shard) == online).then_some(()));
    assert_eq!(talk.append("t", 1, &["r"]), 0);
    let lines = node.printed();
    for line in ["created topic t: id ", "t-1 is offline because it could not be created", "t-1 is online"] {
        assert_eq!(lines.matches(line).count(), 1, "{line:?} in\n{lines}");
    }
}
