//! Acknowledged records survive clean stops and kills, also when the number of shards changes.

use std::process::Command;
use std::time::Duration;

use crate::support::ledger::{Ledger, connect, create};
use crate::support::node::Node;
use crate::support::run::run;
use crate::support::talk::Talk;
use tidemill::model::ErrorCode;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::{BatchHeader, Codec, TimestampType};
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::tools::client::offsets::LATEST;
use tidemill::tools::client::produce::{Acks, PartitionBatch};
use tidemill::tools::client::{Client, ClientError, Connection};
use tidemill::wire::admin::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, SOURCE_DEFAULT, SOURCE_GROUP,
};
use tidemill::wire::admin::incremental_alter_configs::{
    DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    IncrementalAlterableConfig, SET,
};
use tidemill::wire::admin::list_config_resources::RESOURCE_GROUP;
use tidemill::wire::data::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

const WITHIN: Duration = Duration::from_secs(30);
const NOW: i64 = 1_700_000_000_000;
/// The smallest legal memory and journals.
const SMALL: [&str; 4] = ["--set", "memory.bytes=67108864", "--set", "journal.bytes=134217728"];

fn with_shards(shards: &str) -> Vec<&str> {
    [&["--shards", shards][..], &SMALL].concat()
}

#[test]
fn nothing_is_lost_when_the_number_of_shards_changes_between_kills_and_stops() {
    let mut node = Node::tidemill("shards", &with_shards("2"));
    let mut client = connect(node.bootstrap());
    let mut many = Ledger::create(&mut client, "many", 24, &[]);
    let mut rolled = Ledger::create(&mut client, "rolled", 3, &[("segment.bytes", "1048576")]);
    for (step, (shards, is_killed)) in
        [("1", true), ("3", true), ("2", false), ("1", false), ("3", false), ("2", true)].into_iter().enumerate()
    {
        many.fill(&mut client, 6, 3, 700, NOW);
        rolled.fill(&mut client, 10, 4, 30_000, NOW);
        if is_killed {
            node.kill();
        } else {
            assert_eq!(node.stop().code(), Some(0));
        }
        node.set_arguments(&with_shards(shards));
        node.restart();
        assert!(node.latest_line("partitions 27").is_some(), "step {step}: {}", node.printed());
        client = connect(node.bootstrap());
        client.refresh(None).expect("metadata");
        assert_eq!(client.cluster().brokers.len().to_string(), shards, "step {step}");
        for ledger in [&many, &rolled] {
            let verified = ledger.verify(&mut client);
            assert_eq!(verified.batches, ledger.acknowledged_count(), "step {step}: {}", ledger.topic);
        }
        assert!(verified_dirs(&node), "step {step}: one layout is left");
    }
}

fn verified_dirs(node: &Node) -> bool {
    std::fs::read_dir(node.data().join("layouts")).expect("listed").count() == 1
}

#[test]
fn journals_larger_than_memory_are_replayed_and_spread_anew() {
    // The journals of three shards contain more than one shard's memory holds.
    let mut node = Node::tidemill("replay", &with_shards("3"));
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 9, &[]);
    ledger.fill(&mut client, 30, 4, 200_000, NOW);
    node.kill();
    node.set_arguments(&with_shards("1"));
    node.restart();
    client = connect(node.bootstrap());
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    node.kill();
    node.restart();
    client = connect(node.bootstrap());
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
}

#[test]
fn a_clean_restart_replays_nothing_and_a_killed_one_replays_from_the_checkpoint() {
    let mut node = Node::tidemill("clean", &with_shards("2"));
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 5, &[]);
    for round in 0..3 {
        ledger.fill(&mut client, 20, 2, 500, NOW);
        assert_eq!(node.stop().code(), Some(0));
        node.restart();
        assert!(node.latest_line("partitions 5, after a clean stop").is_some(), "{round}: {}", node.printed());
        client = connect(node.bootstrap());
        assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
        // A kill without writes since a clean stop: nothing to replay either.
        node.kill();
        node.restart();
        assert!(node.latest_line("partitions 5, 0 batches replayed").is_some(), "{round}: {}", node.printed());
        client = connect(node.bootstrap());
        ledger.fill(&mut client, 4, 2, 500, NOW);
        node.kill();
        node.restart();
        assert!(node.latest_line("partitions 5, 20 batches replayed").is_some(), "{round}: {}", node.printed());
        client = connect(node.bootstrap());
        assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    }
}

/// One record.
pub fn record(key: Option<&[u8]>, bytes: usize) -> Vec<u8> {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.append(NOW, key, Some(&vec![b'x'; bytes]), []);
    batch.finish()
}

/// Produces a batch to a partition of `t`.
pub fn outcome(client: &mut Client, partition: i32, batch: Vec<u8>) -> ErrorCode {
    match client.produce("t", vec![PartitionBatch { partition, batch }], Acks::All, false) {
        Ok(_) => ErrorCode::None,
        Err(ClientError::Refused { code, .. }) => code,
        Err(error) => panic!("{error}"),
    }
}

/// The header of a partition's last batch.
fn last(client: &mut Client, partition: i32) -> BatchHeader {
    let end = client.list_offsets("t", &[partition], LATEST).expect("listed")[0].offset.expect("an end");
    let at = FetchPosition { partition, offset: end - 1 };
    let fetched = client.fetch("t", &[at], FetchOptions::default()).expect("fetched");
    BatchHeader::decode(&fetched[0].records).expect("a batch")
}

#[test]
fn settings_changed_while_a_node_runs_hold_at_once_and_after_kills_and_stops() {
    let mut node = Node::tidemill("settings", &with_shards("2"));
    let mut client = connect(node.bootstrap());
    create(&mut client, "t", 2, &[]);
    // One partition per shard. The settings at first, and the changed ones.
    let check_plain = |client: &mut Client, when: &str| {
        for partition in 0..2 {
            assert_eq!(outcome(client, partition, record(None, 5000)), ErrorCode::None, "{when}");
            let header = last(client, partition);
            assert_eq!(
                (header.codec(), header.timestamp_type()),
                (Some(Codec::None), TimestampType::CreateTime),
                "{when}"
            );
        }
    };
    let check_changed = |client: &mut Client, when: &str| {
        for partition in 0..2 {
            assert_eq!(outcome(client, partition, record(Some(b"k"), 5000)), ErrorCode::MessageTooLarge, "{when}");
            assert_eq!(outcome(client, partition, record(None, 10)), ErrorCode::InvalidRecord, "{when}");
            assert_eq!(outcome(client, partition, record(Some(b"k"), 500)), ErrorCode::None, "{when}");
            let header = last(client, partition);
            let expected = (Some(Codec::Gzip), TimestampType::LogAppendTime);
            assert_eq!((header.codec(), header.timestamp_type()), expected, "{when}");
        }
    };
    let names = ["max.message.bytes", "cleanup.policy", "compression.type", "message.timestamp.type"];
    let changed = names.into_iter().zip(["1000", "compact", "gzip", "LogAppendTime"]);
    let changed: Vec<_> = changed.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    check_plain(&mut client, "at first");
    for end in ["a kill", "a stop"] {
        let restart = |node: &mut Node| {
            if end == "a kill" {
                node.kill();
            } else {
                assert_eq!(node.stop().code(), Some(0));
            }
            node.restart();
            connect(node.bootstrap())
        };
        client.alter_topic("t", &changed, &[]).expect("changed");
        check_changed(&mut client, "at once");
        client = restart(&mut node);
        check_changed(&mut client, end);
        client.alter_topic("t", &[], &names.map(str::to_string)).expect("changed");
        check_plain(&mut client, "at once again");
        client = restart(&mut node);
        check_plain(&mut client, end);
    }
}

#[test]
fn settings_of_a_group_hold_at_once_and_after_a_kill() {
    const NAME: &str = "consumer.session.timeout.ms";
    let mut node = Node::tidemill("group-settings", &with_shards("2"));
    let alter = |node: &Node, config_operation, value: Option<&str>| {
        let config =
            IncrementalAlterableConfig { name: NAME.into(), config_operation, value: value.map(str::to_owned) };
        let resource = IncrementalAlterConfigsResource {
            resource_type: RESOURCE_GROUP,
            resource_name: "g".into(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let answer: IncrementalAlterConfigsResponse = Talk::to(node.bootstrap()).call(&request, 1);
        answer.responses[0].error_code
    };
    let described = |node: &Node| {
        let configuration_keys = Some(vec![NAME.to_owned()]);
        let resource =
            DescribeConfigsResource { resource_type: RESOURCE_GROUP, resource_name: "g".into(), configuration_keys };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let answer: DescribeConfigsResponse = Talk::to(node.bootstrap()).call(&request, 4);
        let entry = &answer.results[0].configs[0];
        (entry.value.clone().expect("a value"), entry.config_source)
    };
    assert_eq!(described(&node), ("45000".to_owned(), SOURCE_DEFAULT));
    for value in ["50000", "55000"] {
        assert_eq!(alter(&node, SET, Some(value)), ErrorCode::None);
        assert_eq!(alter(&node, SET, Some("1")), ErrorCode::InvalidConfig);
        assert_eq!(described(&node), (value.to_owned(), SOURCE_GROUP));
        node.kill();
        node.restart();
        assert_eq!(described(&node), (value.to_owned(), SOURCE_GROUP));
    }
    assert_eq!(alter(&node, DELETE, None), ErrorCode::None);
    assert_eq!(node.stop().code(), Some(0));
    node.restart();
    assert_eq!(described(&node), ("45000".to_owned(), SOURCE_DEFAULT));
}

/// The output of a `tidemill serve` that must refuse to start.
fn refusal(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("serve").args(arguments);
    let ended = run(command, None, WITHIN, |_| false).expect("it runs");
    assert!(!ended.ok(), "it started and stopped: {}", ended.tail());
    ended.tail()
}

#[test]
fn a_start_that_misses_its_data_is_refused_and_creates_nothing() {
    let mut node = Node::tidemill("asked-for", &with_shards("2"));
    let mut client = connect(node.bootstrap());
    // The topic has the name of one of the node's own directories.
    let mut ledger = Ledger::create(&mut client, "layouts", 3, &[]);
    ledger.fill(&mut client, 5, 3, 700, NOW);
    node.kill();
    let (data, aside) = (node.data(), node.data().with_extension("aside"));
    let at = ["--listen", node.bootstrap(), "--data", data.to_str().expect("UTF-8")];
    for name in ["meta.properties", "layouts"] {
        std::fs::rename(data.join(name), &aside).expect("it is there");
        let printed = refusal(&[&with_shards("2")[..], &at].concat());
        assert!(printed.contains(name) && printed.contains("bring it back"), "{printed}");
        std::fs::rename(&aside, data.join(name)).expect("it was there");
    }
    node.restart();
    client = connect(node.bootstrap());
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    client.delete_topic("layouts").unwrap_or_else(|error| panic!("{error}"));
    let mut ledger = Ledger::create(&mut client, "after", 3, &[]);
    ledger.fill(&mut client, 5, 3, 700, NOW);
    node.kill();
    node.restart();
    assert_eq!(ledger.verify(&mut connect(node.bootstrap())).batches, ledger.acknowledged_count());
}

#[test]
fn a_node_takes_neither_anothers_journals_nor_the_ports_of_its_own_shards() {
    let mut node = Node::stopped_tidemill("journals", &[]);
    let (journals, other) = (node.data().with_extension("journals"), node.data().with_extension("other"));
    let journal_dir = format!("journal.dir={}", journals.display());
    node.set_arguments(&[&with_shards("1")[..], &["--set", &journal_dir]].concat());
    node.restart();
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 3, &[]);
    ledger.fill(&mut client, 5, 3, 700, NOW);
    let at = ["--data", other.to_str().expect("UTF-8"), "--set", &journal_dir];
    let printed = refusal(&[&["--listen", "127.0.0.1:39092"][..], &at].concat());
    assert!(printed.contains("in use by another"), "{printed}");
    node.kill();
    let printed = refusal(&[&["--listen", node.bootstrap()][..], &at].concat());
    assert!(printed.contains("give each node its own journal.dir"), "{printed}");
    node.restart();
    assert_eq!(ledger.verify(&mut connect(node.bootstrap())).batches, ledger.acknowledged_count());

    let listeners = "listeners=IN://127.0.0.1:39092,OUT://127.0.0.1:39094";
    let map = "listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT";
    let at = ["--set", listeners, "--set", map, "--data", other.to_str().expect("UTF-8")];
    let printed = refusal(&[&["--shards", "2"][..], &at].concat());
    assert!(printed.contains("IN takes 39092-39094"), "{printed}");
}

/// A consumer that knows the epoch of an empty log from before a restart checks for truncation.
#[test]
fn epochs_in_which_nothing_was_written_end_where_the_log_does() {
    let mut node = Node::tidemill("epochs", &with_shards("1"));
    let mut client = connect(node.bootstrap());
    create(&mut client, "empty", 1, &[]);
    let mut ledger = Ledger::create(&mut client, "written", 1, &[]);
    ledger.fill(&mut client, 3, 2, 100, NOW);
    let end = ledger.acknowledged_count() as i64 * 2;
    for epoch in 0..3 {
        let mut connection = Connection::open(node.bootstrap(), "epochs", WITHIN).unwrap_or_else(|e| panic!("{e}"));
        for (topic, end) in [("empty", 0), ("written", end)] {
            for asked in 0..=epoch + 1 {
                let partition = OffsetForLeaderPartition { leader_epoch: asked, ..Default::default() };
                let topics = vec![OffsetForLeaderTopic { topic: topic.into(), partitions: vec![partition] }];
                let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
                let answer: OffsetForLeaderEpochResponse =
                    connection.call(&request).unwrap_or_else(|error| panic!("{error}"));
                let answered = &answer.topics[0].partitions[0];
                let last_end = if asked > epoch { -1 } else { end };
                assert_eq!(answered.end_offset, last_end, "{topic}: epoch {asked} in epoch {epoch}: {answered:?}");
            }
        }
        node.kill();
        node.restart();
    }
}
