//! Kafka's administration tools against a node of one broker per core: they end with exit code 0, without an exception.

use std::process::Command;

use crate::support::clients::WITHIN;
use crate::support::node::{Node, Peer};
use crate::support::peers;
use crate::support::run::run;

/// Runs a tool and returns its output.
fn tool(jars: &str, class: &str, words: &[&str]) -> String {
    let mut java = Command::new("java");
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-cp", jars, &format!("org.apache.kafka.tools.{class}")]).args(words);
    let ended = run(java, None, WITHIN, |_| false).expect("java runs");
    let has_exception = [&ended.stdout, &ended.stderr].iter().any(|text| text.contains("Exception"));
    assert!(ended.ok() && !has_exception, "{class} {words:?}: {}\n{}", ended.stdout, ended.tail());
    ended.stdout
}

#[test]
fn tools_that_reassign_elect_and_describe_the_quorum_end_without_an_exception() {
    let Some(jars) = peers::kafka_jars() else { return };
    let node = Node::tidemill("kafka-tools", &["--shards", "2"]);
    assert!(matches!(node.peer(), Peer::Tidemill));
    let bootstrap = node.bootstrap();
    let run = |class: &str, words: &[&str], expected: &[&str]| {
        let printed = tool(&jars, class, &[&["--bootstrap-server", bootstrap], words].concat());
        let words_only = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in expected {
            assert!(words_only.contains(expected), "{class} {words:?} did not print {expected:?}: {printed}");
        }
        printed
    };
    run("TopicCommand", &["--create", "--topic", "t", "--partitions", "3"], &["Created topic t"]);
    run("reassign.ReassignPartitionsCommand", &["--list"], &["No partition reassignments found."]);
    let elect = ["--election-type", "preferred"];
    run("LeaderElectionCommand", &[&elect[..], &["--all-topic-partitions"]].concat(), &[]);
    let one = [&elect[..], &["--topic", "t", "--partition", "0"]].concat();
    run("LeaderElectionCommand", &one, &["Valid replica already elected for partitions t-0"]);
    let status = ["LeaderId: 1000", "LeaderEpoch: 1", "CurrentObservers: []"];
    let printed = run("MetadataQuorumCommand", &["describe", "--status"], &status);
    let watermark = |printed: &str| -> i64 {
        let line = printed.lines().find_map(|line| line.strip_prefix("HighWatermark:")).expect("a line");
        line.trim().parse().expect("a number")
    };
    run("TopicCommand", &["--create", "--topic", "u", "--partitions", "1"], &["Created topic u"]);
    let later = run("MetadataQuorumCommand", &["describe", "--status"], &status);
    assert!(watermark(&later) > watermark(&printed), "a new topic is an entry of the log");
    run("MetadataQuorumCommand", &["describe", "--replication"], &["1000", "Leader"]);
    run("FeatureCommand", &["describe"], &["Feature: metadata.version", "Feature: transaction.version"]);
    run("FeatureCommand", &["upgrade", "--feature", "group.version=1"], &["group.version was upgraded to 1."]);
    let unregistered = tool(&jars, "ClusterTool", &["unregister", "--bootstrap-server", bootstrap, "--id", "1000"]);
    assert!(unregistered.contains("does not support"), "{unregistered}");
}
