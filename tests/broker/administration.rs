//! The command line's administration: topics by pattern, groups, the cluster, and advice that names the true cause.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::command_line::Shell;
use crate::support::node::{Node, Peer};
use crate::support::run::signal;
use crate::support::wait_for;

const WITHIN: Duration = Duration::from_secs(60);

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().expect("a list").iter().map(|topic| topic["topic"].as_str().expect("a name")).collect()
}

#[test]
fn topics_are_selected_by_pattern_and_grow() {
    let Some(shell) = Shell::start("cli-patterns") else { return };
    shell.text("topic create events-b events-a other --partitions 1");
    wait_for("all topics are listed", WITHIN, || (names(&shell.json("topic list --json")).len() == 3).then_some(()));
    assert_eq!(names(&shell.json("topic list events-* --json")), ["events-a", "events-b"]);
    assert_eq!(names(&shell.json("topic list *a other events-? --json")), ["events-a", "other", "events-b"]);
    assert_eq!(names(&shell.json("topic describe --json")), ["events-a", "events-b", "other"]);
    shell.fails("topic list nothing-*", "no topic matches \"nothing-*\"", "tidemill topic list");

    let grown = shell.text("topic add-partitions events-a --add 2");
    assert_eq!(grown, "topic events-a has 3 partitions now, 1 before\n");
    let grown = shell.json("topic add-partitions events-a --partitions 5 --json");
    assert_eq!((&grown["before"], &grown["partitions"]), (&3.into(), &5.into()));
    shell.fails("topic add-partitions events-a --partitions 5", "INVALID_PARTITIONS", "");
    shell.fails("topic add-partitions nothing --add 1", "does not exist", "");
    for words in ["topic create x -p 0", "topic create x -p -1", "topic add-partitions events-a --add 0"] {
        let output = shell.run(words, b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains("at least 1"), "{words}: {error}");
    }

    shell.fails("topic delete events-*", "the pattern matches 2 topics", "--yes");
    assert_eq!(names(&shell.json("topic list --json")).len(), 3, "nothing was deleted");
    assert_eq!(shell.text("topic delete events-* --yes"), "deleted topic events-a\ndeleted topic events-b\n");
    wait_for("they are gone", WITHIN, || (names(&shell.json("topic list --json")) == ["other"]).then_some(()));
}

fn lines(range: std::ops::Range<usize>) -> String {
    range.map(|i| format!("{i}\n")).collect()
}

/// The sum of the lag of all partitions, and the number of members with partitions.
fn state(shell: &Shell, group: &str) -> (i64, usize) {
    let described = shell.json(&format!("group describe {group} --json"));
    let partitions = described[0]["partitions"].as_array().expect("a list").clone();
    let lag = partitions.iter().map(|partition| partition["lag"].as_i64().unwrap_or(i64::MAX / 100)).sum();
    let members: BTreeSet<_> = partitions.iter().filter_map(|partition| partition["member"].as_str()).collect();
    (lag, members.len())
}

#[test]
fn a_group_continues_at_its_committed_offsets_and_its_topic_is_deleted_only_with_yes() {
    let Some(shell) = Shell::start("cli-group") else { return };
    shell.text("topic create t --partitions 1");
    shell.ok("produce t", lines(0..20).as_bytes());
    assert_eq!(shell.text("consume t --group g"), lines(0..20));
    assert_eq!(shell.text("consume t --group g"), "");
    shell.ok("produce t", lines(20..30).as_bytes());
    // A stop in the middle of a batch commits the offset of the last printed record.
    assert_eq!(shell.text("consume t --group g --count 3"), lines(20..23));
    assert_eq!(shell.text("consume t --group g"), lines(23..30));
    assert_eq!(state(&shell, "g"), (0, 0));
    assert_eq!(shell.text("consume t --group late --offset end --exit-at-end"), "");
    assert_eq!(state(&shell, "late").0, 0);

    let deleted = shell.json("group offset-delete g --topic t --json");
    assert_eq!(deleted["deleted"][0]["before"], 30);
    assert!(shell.text("group offset-delete g --topic t").contains("no committed offsets"));
    for words in ["offset-delete no --topic t", "describe no", "delete no", "reset-offsets no --to-latest --all-topics"]
    {
        shell.fails(&format!("group {words}"), "does not exist", "tidemill group list");
    }
    shell.fails("group reset-offsets no --to-latest --topic t", "does not exist", "--create");
    shell.text("group reset-offsets no --to-latest --topic t --create --execute");
    assert_eq!(state(&shell, "no"), (0, 0));

    shell.fails("topic delete __consumer_offsets", "every group loses its committed offsets", "--yes");
    assert_eq!(state(&shell, "late").0, 0);
    assert_eq!(shell.text("topic delete __consumer_offsets --yes"), "deleted topic __consumer_offsets\n");
}

#[test]
fn members_of_a_group_share_the_partitions_and_print_each_record_once() {
    let Some(shell) = Shell::start("cli-members") else { return };
    shell.text("topic create t --partitions 4");
    let follow = || -> Child { shell.command("consume t --group g --follow").spawn().expect("the binary runs") };
    let mut children = vec![follow()];
    let groups = || shell.json("group list --json").as_array().map(Vec::len);
    wait_for("the first member has created the group", WITHIN, || (groups() == Some(1)).then_some(()));
    wait_for("one member has partitions", WITHIN, || (state(&shell, "g").1 == 1).then_some(()));
    children.push(follow());
    wait_for("two members have partitions", WITHIN, || (state(&shell, "g").1 == 2).then_some(()));
    for partition in 0..4 {
        shell.ok(&format!("produce t --partition {partition}"), lines(partition * 25..(partition + 1) * 25).as_bytes());
    }
    wait_for("all records are printed and committed", WITHIN, || (state(&shell, "g").0 == 0).then_some(()));
    let mut printed = String::new();
    for mut child in children {
        signal(&child, "INT");
        child.stdout.take().expect("piped").read_to_string(&mut printed).expect("text");
        assert!(child.wait().expect("a child of ours").success(), "a signal ends it, and it leaves the group");
    }
    let mut numbers: Vec<usize> = printed.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert!(numbers == (0..100).collect::<Vec<_>>(), "{numbers:?}");
    assert_eq!(state(&shell, "g"), (0, 0));
}

#[test]
fn the_cluster_and_its_log_directories_are_shown() {
    let shell = Shell { node: Node::tidemill("cli-cluster", &["--shards", "2"]) };
    assert!(matches!(shell.node.peer(), Peer::Tidemill));
    shell.text("topic create t --partitions 4");
    shell.ok("produce t --partition 1", lines(0..1000).as_bytes());
    let info = shell.json("cluster info --json");
    let brokers: Vec<_> = info["brokers"].as_array().expect("a list").iter().map(|b| b["broker"].as_i64()).collect();
    assert_eq!((brokers, &info["controller"]), (vec![Some(1000), Some(1001)], &1000.into()));
    assert_eq!(info["metadata"]["leader"], 1000);
    // The epoch of the features is the last entry of the metadata log, and the high watermark is behind it.
    let end = info["metadata"]["high_watermark"].as_i64().expect("a number");
    assert_eq!(info["features_epoch"].as_i64().map(|epoch| epoch + 1), Some(end));
    let features = info["features"].as_array().expect("a list");
    let level = features.iter().find(|feature| feature["feature"] == "metadata.version").expect("it is told");
    assert_eq!(level["level"], level["max"]);
    let text = shell.text("cluster info --apis");
    for part in ["cluster ", "controller  1000", "metadata.version", "ElectLeaders"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let directories = shell.json("log-dirs --json");
    let directories = directories.as_array().expect("a list");
    let sum = |field: &str| directories.iter().map(|directory| directory[field].as_i64().expect("a size")).sum::<i64>();
    let df = Command::new("df").args(["-B1", "--output=size"]).arg(shell.node.data()).output().expect("df runs");
    let volume = String::from_utf8_lossy(&df.stdout).lines().nth(1).and_then(|line| line.trim().parse().ok());
    assert_eq!(Some(sum("total_bytes")), volume, "the brokers share one volume");
    let partitions: Vec<_> = directories
        .iter()
        .flat_map(|directory| directory["partitions"].as_array().expect("a list"))
        .map(|partition| (partition["partition"].as_i64().expect("a number"), partition["bytes"].as_i64()))
        .collect();
    assert_eq!(partitions.len(), 4, "each partition is in one broker's list: {partitions:?}");
    assert!(sum("log_bytes") > 5000);
    assert!(shell.text("log-dirs t").lines().any(|line| line.starts_with("t ") || line.starts_with(" t ")));
    shell.fails("log-dirs nothing", "does not exist", "");
}

#[test]
fn errors_name_their_cause() {
    let Some(shell) = Shell::start("cli-errors") else { return };
    shell.text("topic create t --partitions 1");
    shell.ok("produce t", b"one\n");
    shell.fails("topic create u --config no.such=1", "INVALID_CONFIG", "tidemill topic describe NAME --json");
    shell.fails("topic create u -p 1000000", "POLICY_VIOLATION", "10,000");
    shell.fails("topic delete nothing", "does not exist", "tidemill topic list");
    shell.fails("topic delete-records t --before 99", "behind the end", "tidemill topic describe t");
    shell.fails("consume t --partition 0 --offset 99", "outside of t-0, which has 0 to 1", "a number from 0 to 1");
    shell.fails("txn describe nothing", "does not exist", "tidemill txn list");
    let output = shell.run("topic describe nothing --json", b"");
    let error: Value = serde_json::from_slice(&output.stderr).expect("an error in JSON");
    assert_eq!((output.status.code(), &error["message"]), (Some(1), &"topic \"nothing\" does not exist".into()));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("tidemill topic create nothing")));
}

fn bare(words: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let output = command.args(words.split_whitespace()).envs(environment.iter().copied()).output();
    let output = output.expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_address_comes_from_the_environment_too() {
    let node = Node::tidemill("cli-environment", &[]);
    let environment = [("TIDEMILL_BOOTSTRAP", node.bootstrap())];
    let (code, out, error) = bare("topic create from-environment", &environment);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("created topic from-environment"));
    let nowhere = [("TIDEMILL_BOOTSTRAP", "127.0.0.1:1")];
    assert_eq!(bare(&format!("topic list --bootstrap {}", node.bootstrap()), &nowhere).0, Some(0), "the flag precedes");
    assert_eq!(bare("topic list", &nowhere).0, Some(1));
}

#[test]
fn an_address_without_a_port_and_a_peer_of_another_protocol_are_named() {
    let (code, _, error) = bare("topic list --bootstrap localhost", &[]);
    assert!(code == Some(1) && error.contains("lacks its port") && error.contains("localhost:9092"), "{error}");
    for (bytes, protocol) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"), (&[0x15, 3, 1, 0, 2, 2, 70], "TLS")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(bytes).expect("it reads");
        });
        let (code, _, error) = bare(&format!("topic list --bootstrap {address}"), &[]);
        assert!(code == Some(1) && error.contains(&format!("it speaks {protocol}")), "{error}");
        peer.join().expect("no panic");
    }
}

#[test]
fn completion_scripts_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, error) = bare(&format!("completion {shell}"), &[]);
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("add-partitions") && out.contains("log-dirs"), "{shell}");
    }
    // A closed stdout is no error: the script is longer than a pipe holds.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let mut child = command.args(["completion", "bash"]).stdout(Stdio::piped()).spawn().expect("the binary runs");
    child.stdout.take().expect("piped").read_exact(&mut [0; 1]).expect("a byte");
    assert!(child.wait().expect("a child of ours").success());
}
