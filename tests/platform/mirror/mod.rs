//! MirrorMaker 2, unmodified, between Apache Kafka and Tidemill in both directions: topics with their settings,
//! records, and the offsets of groups.
//!
//! | file | content |
//! |---|---|
//! | `side.rs` | one of the two clusters: its topics, groups and settings, as clients see them |
//!
//! To Tidemill it mirrors exactly once: the mirror has exactly the source's records. To Kafka it mirrors with its
//! defaults, and may repeat records after a kill.
//!
//! `TIDEMILL_TEST_PEER=kafka` puts a second Apache Kafka in Tidemill's place.

mod side;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::clients::{Topic, base};
use crate::support::jvm::Jvm;
use crate::support::node::Node;
use crate::support::records::kcat_input;
use crate::support::run::{Program, run};
use crate::support::scratch::Ports;
use crate::support::{ledger, peers, say, turn, wait_for};
use side::{Found, Side};

const WITHIN: Duration = Duration::from_secs(120);
/// Connect prints this after an exception in a task. In 4.3 a slow machine can cause one: "beginFlush() while already
/// flushing".
const TASK_DIED: &str = "will not recover until manually restarted";
/// Records that the Java client writes before MirrorMaker starts, with headers, nulls and timestamps of all kinds.
const AT_FIRST: usize = 3000;
/// Records that kcat writes per step while MirrorMaker runs, is killed and restarts.
const AT_ONCE: usize = 50;

fn properties(kafka: &Side, mill: &Side, port: u16) -> String {
    let (k, m) = (kafka.alias, mill.alias);
    let mut text = format!(
        "clusters={k},{m}\n{k}.bootstrap.servers={}\n{m}.bootstrap.servers={}\n{k}->{m}.enabled=true\n\
         {m}->{k}.enabled=true\n\
         {k}->{m}.topics=orders,prices\n{m}->{k}.topics=events,rates\n\
         {m}.exactly.once.source.support=enabled\ndedicated.mode.enable.internal.rest=true\n\
         listeners=HTTP://127.0.0.1:{port}\n\
         tasks.max=2\nreplication.factor=1\nsync.group.offsets.enabled=true\n",
        kafka.node.bootstrap(),
        mill.node.bootstrap(),
    );
    for topic in [
        "checkpoints.topic",
        "heartbeats.topic",
        "offset-syncs.topic",
        "offset.storage",
        "status.storage",
        "config.storage",
    ] {
        text += &format!("{topic}.replication.factor=1\n");
    }
    // Periodic work runs every second instead of every minute or ten, and the timeouts of dead members are short.
    for interval in [
        "refresh.topics",
        "refresh.groups",
        "sync.topic.configs",
        "sync.topic.acls",
        "sync.group.offsets",
        "emit.checkpoints",
        "emit.heartbeats",
    ] {
        text += &format!("{interval}.interval.seconds=1\n");
    }
    text += "plugin.discovery=service_load\n";
    for alias in [k, m] {
        text += &format!("{alias}.plugin.discovery=service_load\n");
        text += &format!("{alias}.offset.flush.interval.ms=1000\n{alias}.scheduled.rebalance.max.delay.ms=500\n");
        text += &format!("{alias}.session.timeout.ms=6000\n{alias}.heartbeat.interval.ms=1000\n");
    }
    text
}

/// Runs one of Kafka's command-line tools.
fn tool(jars: &str, class: &str, arguments: &[&str]) {
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars, class]).args(arguments);
    let ended = run(command, None, WITHIN, |_| false).expect("java runs");
    assert!(ended.ok(), "{class} {arguments:?}: {}", ended.tail());
}

/// Reads to the end as a group member, and commits. Returns the first and last offset read of each partition.
fn member(java: &Program, side: &Side, topic: &str, group: &str) -> BTreeMap<i32, (i64, i64)> {
    let arguments = [
        ("bootstrap", side.node.bootstrap().to_string()),
        ("topic", topic.to_string()),
        ("group", group.to_string()),
        ("silence", "2".to_string()),
    ];
    let printed = java.run("member", &arguments, WITHIN);
    let lines = printed.iter().filter_map(|line| line.strip_prefix("MEMBER "));
    let numbers = lines.map(|line| line.split(' ').map(|n| n.parse::<i64>().expect("a number")).collect::<Vec<_>>());
    numbers.map(|n| (n[0] as i32, (n[1], n[2]))).collect()
}

/// Panics unless `mirrored` has the source's records in order, by partition. Returns the number of repeated records,
/// which must be zero unless repeats are legal.
fn same(what: &str, source: &[Vec<Found>], mirrored: &[Vec<Found>], may_repeat: bool) -> usize {
    assert_eq!(source.len(), mirrored.len(), "{what}: partitions");
    let mut repeats = 0;
    for (partition, (source, mirrored)) in source.iter().zip(mirrored).enumerate() {
        let mut known = HashSet::new();
        let mut next = source.iter();
        for found in mirrored {
            if !known.insert(&found.record) {
                assert!(may_repeat, "{what}-{partition}@{}: a second time: {:.100}", found.offset, found.record);
                repeats += 1;
                continue;
            }
            let wanted = next.next().map(|wanted| &wanted.record);
            assert_eq!(Some(&found.record), wanted, "{what}-{partition}@{}", found.offset);
        }
        assert_eq!(next.next(), None, "{what}-{partition}: lost");
    }
    repeats
}

/// For each partition: the number of source records that the group had read, and the start offset of the mirror's
/// group.
fn goes_on(what: &str, read: &[usize], mirrored: &[Vec<Found>], got: &BTreeMap<i32, (i64, i64)>) -> String {
    let mut again = Vec::new();
    for (partition, found) in mirrored.iter().enumerate() {
        let had = read.get(partition).copied().unwrap_or(0);
        let Some((first, last)) = got.get(&(partition as i32)) else {
            assert_eq!(had, found.len(), "{what}-{partition}: nothing came, and there is more");
            continue;
        };
        let at = found.iter().position(|found| found.offset == *first).expect("an offset of the topic");
        assert!(at <= had, "{what}-{partition}: goes on at record {at}, and {} was the last one read", had - 1);
        assert_eq!(found.last().map(|found| found.offset), Some(*last), "{what}-{partition}: read to the end");
        again.push(had - at);
    }
    format!("{again:?}")
}

fn lengths(records: &[Vec<Found>]) -> Vec<usize> {
    records.iter().map(Vec::len).collect()
}

/// Stops the threads also when a test panics; otherwise the test waits for them forever.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn topics_records_and_groups_arrive_both_ways_though_mirrormaker_is_killed() {
    let _turn = turn::of("mirror");
    let (Some(jars), Some(tools), Some(java), Some(kcat)) =
        (peers::connect_jars(), peers::kafka_jars(), peers::java(), peers::kcat())
    else {
        return;
    };
    let (Some(kafka), Some(mill)) = (Node::kafka("mirror-kafka"), Node::start("mirror")) else { return };
    let kafka = Side { alias: "kafka", node: kafka, kcat: kcat.clone() };
    let mill = Side { alias: "mill", node: mill, kcat };
    let started = Instant::now();
    let done = |what: &str| say(&format!("  {:>5.1} s  {what}", started.elapsed().as_secs_f64()));

    // Two topics on each side with non-default settings, one of them compacted.
    for (side, plain, compacted) in [(&kafka, "orders", "prices"), (&mill, "events", "rates")] {
        let mut client = side.client();
        let settings = [("retention.ms", "7200000"), ("max.message.bytes", "900000"), ("segment.bytes", "4194304")];
        ledger::create(&mut client, plain, 4, &settings);
        ledger::create(&mut client, compacted, 1, &[("cleanup.policy", "compact"), ("segment.ms", "3600000")]);
        for (topic, partitions) in [(plain, 4), (compacted, 1)] {
            let topic = Topic { bootstrap: side.node.bootstrap(), name: topic, partitions, base: base() };
            topic.write(&java, "lz4", "all", 0..AT_FIRST);
        }
    }
    done("four topics are written");

    let ports = Ports::reserve();
    let dir = kafka.node.scratch();
    let path = dir.join("mirror.properties");
    fs::write(&path, properties(&kafka, &mill, ports.first())).expect("the scratch directory can be written");
    let path = path.to_str().expect("the work tree's path is UTF-8");
    let mut mirror = Jvm::new("mirror", dir, &jars, "org.apache.kafka.connect.mirror.MirrorMaker", &[path]);
    mirror.start();

    let flows =
        [(&kafka, &mill, "orders", "kafka.orders", "readers"), (&mill, &kafka, "events", "mill.events", "watchers")];
    let compacted = [(&kafka, &mill, "prices", "kafka.prices"), (&mill, &kafka, "rates", "mill.rates")];
    for (_, to, _, mirrored, _) in flows {
        wait_for(&format!("{mirrored} has arrived"), WITHIN, || {
            mirror.restart_after(TASK_DIED);
            std::thread::sleep(Duration::from_millis(100));
            (to.end(mirrored) >= AT_FIRST as i64).then_some(())
        });
    }
    done("all of them have arrived");

    // Groups read to the end; MirrorMaker translates their offsets to the other side.
    let read: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let all = flows.map(|(from, _, topic, _, group)| {
            let java = java.clone();
            scope.spawn(move || {
                member(&java, from, topic, group);
                lengths(&from.records(topic))
            })
        });
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    for (_, to, _, mirrored, group) in flows {
        wait_for(&format!("{group}'s offsets are known on the other side"), WITHIN, || {
            mirror.restart_after(TASK_DIED);
            std::thread::sleep(Duration::from_millis(100));
            let committed = to.committed(group, mirrored);
            (committed.len() == 4 && committed.values().all(|offset| *offset > 0)).then_some(())
        });
    }
    done("the groups' offsets are known on the other side");

    // During a stream of records: changed settings, more partitions, and a kill.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        let writers: Vec<_> = flows
            .iter()
            .map(|(from, _, topic, _, _)| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut next = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        from.writes(topic, kcat_input(next, next + AT_ONCE));
                        next += AT_ONCE;
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    next
                })
            })
            .collect();
        for (from, to, topic, mirrored, _) in flows {
            let new = "retention.ms=3600000,max.message.bytes=800000";
            let alter = [
                "--bootstrap-server",
                from.node.bootstrap(),
                "--alter",
                "--entity-type",
                "topics",
                "--entity-name",
                topic,
            ];
            tool(&tools, "org.apache.kafka.tools.ConfigCommand", &[&alter[..], &["--add-config", new]].concat());
            let alter = ["--bootstrap-server", from.node.bootstrap(), "--alter", "--topic", topic, "--partitions", "6"];
            tool(&tools, "org.apache.kafka.tools.TopicCommand", &alter);
            wait_for(&format!("{mirrored} has what {topic} was given"), WITHIN, || {
                mirror.restart_after(TASK_DIED);
                std::thread::sleep(Duration::from_millis(100));
                let settings = to.settings(mirrored);
                let are_there = settings.get("retention.ms").is_some_and(|v| v == "3600000")
                    && settings.get("max.message.bytes").is_some_and(|v| v == "800000")
                    && settings.get("segment.bytes").is_some_and(|v| v == "4194304");
                (are_there && to.partitions(mirrored) == Some(6)).then_some(())
            });
        }
        done("other settings and more partitions have arrived");
        mirror.kill();
        std::thread::sleep(Duration::from_millis(500));
        mirror.start();
        for (from, to, topic, mirrored, _) in flows {
            let mark = from.end(topic);
            wait_for(&format!("{mirrored} goes on after a kill"), WITHIN, || {
                mirror.restart_after(TASK_DIED);
                std::thread::sleep(Duration::from_millis(100));
                (to.end(mirrored) > mark).then_some(())
            });
        }
        is_over.store(true, Ordering::Relaxed);
        let counts: Vec<usize> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
        done(&format!("MirrorMaker was killed and goes on; {counts:?} records were written meanwhile"));
    });

    for (from, to, topic, mirrored, group) in flows {
        let source = from.records(topic);
        let there = wait_for(&format!("all of {topic} has arrived"), WITHIN, || {
            mirror.restart_after(TASK_DIED);
            std::thread::sleep(Duration::from_millis(200));
            let there = to.records(mirrored);
            (lengths(&there).iter().sum::<usize>() >= lengths(&source).iter().sum()).then_some(there)
        });
        let repeats = same(mirrored, &source, &there, to.alias == "kafka");
        let read = &read[usize::from(from.alias == "mill")];
        let got = member(&java, to, mirrored, group);
        let again = goes_on(mirrored, read, &there, &got);
        done(&format!(
            "{mirrored}: {:?} records, {repeats} of them twice; {group} read {again} again",
            lengths(&source)
        ));
    }
    for (from, to, topic, mirrored) in compacted {
        same(mirrored, &from.records(topic), &to.records(mirrored), to.alias == "kafka");
        assert_eq!(from.settings(topic), to.settings(mirrored), "{mirrored}");
    }
    assert_eq!(mirror.stop().code(), Some(143), "MirrorMaker stops on SIGTERM");
    // MirrorMaker's internal topics here have the settings that it requested.
    let own =
        ["mm2-configs.kafka", "mm2-offsets.kafka", "mm2-status.kafka", "kafka.checkpoints", "mm2-offset-syncs.kafka"];
    for (name, partitions) in own.iter().zip([1, 25, 5, 1, 1]) {
        let topic = format!("{name}.internal");
        assert_eq!(mill.partitions(&topic), Some(partitions), "{topic}");
        assert_eq!(mill.settings(&topic).get("cleanup.policy").map(String::as_str), Some("compact"), "{topic}");
    }
    let complaints = mirror.complaints(0, &[]);
    let errors = complaints.iter().filter(|line| line.contains("] ERROR "));
    done(&format!("{} warnings, {} of them errors", complaints.len(), errors.clone().count()));
    errors.take(10).for_each(|line| say(line));
}
