//! Groups of many members that join, leave and crash while they read a topic. Each partition has one owner at a time.
//! No record is lost, and only records that a crashed member had not committed are repeated. The group rebalances no
//! more often than its membership changes.
//!
//! Each member prints its steps (`step.rs`), and `owners.rs` checks them, alike for the classic protocol and KIP-848.
//!
//! ```text
//! TIDEMILL_MEMBERS_CHANGES=500 TIDEMILL_MEMBERS_SEED=7 cargo test --release --test crash many_members -- --nocapture
//! ```

mod owners;
mod rules;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::chance::{Chance, number};
use crate::support::conversation::Conversation;
use crate::support::feeder::{Feeder, impatient};
use crate::support::ledger::create;
use crate::support::node::{Node, Peer};
use crate::support::run::Program;
use crate::support::{peers, say, turn, wait_for};
use owners::{Followed, follow};
use step::{Act, Step, merged, shares};
use tidemill::tools::client::offsets::LATEST;

const TOPIC: &str = "work";
const GROUP: &str = "crew";
const PARTITIONS: i32 = 200;
const MEMBERS: usize = 50;
const SETTLES_WITHIN: Duration = Duration::from_secs(120);
/// Longer than a busy machine holds up a process: a member that lives must not be put out of the group.
const SESSION_MS: &str = "12000";
/// Rebalances without a change of membership: the first ones of an empty group.
const OF_ITSELF: usize = 3;

/// With KIP-848 the broker sets the session and heartbeat intervals; Kafka's defaults are longer than these.
const CONSUMER: [&str; 2] = ["group.consumer.session.timeout.ms=12000", "group.consumer.heartbeat.interval.ms=1000"];
const KAFKA_MAY: [&str; 2] =
    ["group.consumer.min.session.timeout.ms=12000", "group.consumer.min.heartbeat.interval.ms=1000"];

fn node(name: &str, does_consumer_protocol: bool) -> Option<Node> {
    let mut settings = vec!["group.initial.rebalance.delay.ms=1000"];
    if does_consumer_protocol {
        settings.extend(CONSUMER);
    }
    match Peer::chosen() {
        Peer::Kafka => Node::kafka_with(name, &[&settings[..], &KAFKA_MAY].concat()),
        Peer::Tidemill => {
            let mut arguments = vec!["--shards", "2"];
            settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
            Some(Node::tidemill(name, &arguments))
        }
    }
}

fn arguments(bootstrap: &str, protocol: &str) -> Vec<(&'static str, String)> {
    vec![
        ("bootstrap", bootstrap.to_string()),
        ("topic", TOPIC.to_string()),
        ("group", GROUP.to_string()),
        ("protocol", protocol.to_string()),
        ("session", SESSION_MS.to_string()),
        ("rebalance", "30000".to_string()),
    ]
}

fn ends(bootstrap: &str, partitions: i32) -> Vec<i64> {
    let partitions: Vec<i32> = (0..partitions).collect();
    let listed = impatient(bootstrap).and_then(|mut client| client.list_offsets(TOPIC, &partitions, LATEST));
    listed.expect("the node serves").iter().map(|listed| listed.offset.unwrap_or(0)).collect()
}

/// Waits until the group has committed every record.
fn caught_up(bootstrap: &str, ends: &[i64]) {
    wait_for("the group has committed every record", SETTLES_WITHIN, || {
        let committed = impatient(bootstrap).and_then(|mut client| client.committed(GROUP)).ok()?;
        let is_there = |(n, end): (usize, &i64)| committed.get(&(TOPIC.to_string(), n as i32)).unwrap_or(&0) >= end;
        ends.iter().enumerate().all(is_there).then_some(())
    });
}

fn steps_of(conversation: &Conversation) -> Vec<Step> {
    conversation.heard_from(0).iter().filter_map(|line| Step::parse(line)).collect()
}

/// Whether each present member has a fair share, and each partition has an owner.
fn is_shared(shares: &BTreeMap<String, BTreeSet<i32>>, present: usize, partitions: i32) -> bool {
    let fair = partitions as usize / present;
    let counts: Vec<usize> = shares.values().map(BTreeSet::len).collect();
    let is_fair = counts.iter().all(|count| (fair..=fair + 1).contains(count));
    counts.len() == present && is_fair && counts.iter().sum::<usize>() == partitions as usize
}

/// The members that the test has started and not stopped.
struct Crew {
    program: Conversation,
    present: Vec<usize>,
    next: usize,
}

impl Crew {
    fn tell(&mut self, verb: &str, member: usize) {
        self.program.tell(&format!("{verb} m{member}"));
    }

    fn join(&mut self) {
        self.tell("join", self.next);
        self.present.push(self.next);
        self.next += 1;
    }

    fn lose(&mut self, verb: &str, chance: &mut Chance) {
        let member = self.present.swap_remove(chance.below(self.present.len() as u64) as usize);
        self.tell(verb, member);
    }

    fn is_settled(&mut self) {
        let present = self.present.len();
        let program = &mut self.program;
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            assert!(program.has_ended().is_none(), "{}", program.tail());
            let steps = steps_of(program);
            let shares = shares(&steps);
            if is_shared(&shares, present, PARTITIONS) {
                return;
            }
            if Instant::now() > deadline {
                panic!("{present} members do not share {PARTITIONS} partitions within {SETTLES_WITHIN:?}: {shares:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `rebalances_a_change`: a cooperative group needs a second rebalance to hand over the revoked partitions.
fn fifty(protocol: &str, rebalances_a_change: usize) {
    let Some(program) = peers::franz_go() else { return };
    let Some(node) = node(&format!("members-{protocol}"), protocol == "consumer") else { return };
    let bootstrap = node.bootstrap();
    create(&mut impatient(bootstrap).expect("the node serves"), TOPIC, PARTITIONS, &[]);
    let changes = number("TIDEMILL_MEMBERS_CHANGES", 40);
    let mut chance = Chance::new(number("TIDEMILL_MEMBERS_SEED", 0x5eed));
    let feeder = Feeder::start(bootstrap, TOPIC, PARTITIONS, 20, Chance::new(chance.next()));
    let arguments = arguments(bootstrap, protocol);
    let program = Conversation::start(&program, &format!("fifty {protocol} members"), "crew", &arguments);
    let mut crew = Crew { program, present: Vec::new(), next: 0 };
    let began = Instant::now();
    (0..MEMBERS).for_each(|_| crew.join());
    crew.is_settled();
    let settled = began.elapsed();
    let mut made = 0;
    while made < changes {
        // Some changes at the same time, so that rebalances overlap.
        for _ in 0..1 + chance.below(8) {
            match chance.below(3) {
                0 => crew.join(),
                1 if crew.present.len() > MEMBERS / 2 => crew.lose("leave", &mut chance),
                2 if crew.present.len() > MEMBERS / 2 => crew.lose("crash", &mut chance),
                _ => crew.join(),
            }
            made += 1;
        }
        if chance.one_in(2) {
            std::thread::sleep(Duration::from_millis(chance.below(2000)));
        } else {
            crew.is_settled();
        }
    }
    feeder.stop();
    crew.is_settled();
    let ends = ends(bootstrap, PARTITIONS);
    caught_up(bootstrap, &ends);
    crew.program.tell("end");
    let status = crew.program.ended(SETTLES_WITHIN);
    assert!(status.success(), "{}", crew.program.tail());
    let followed = follow(&steps_of(&crew.program), &ends).unwrap_or_else(|broken| panic!("{protocol}: {broken}"));
    report(protocol, &followed, settled);
    assert!(followed.crashes > 2 && followed.leaves > MEMBERS / 2, "nothing happened: {followed:?}");
    let bound = followed.changes() * rebalances_a_change + OF_ITSELF;
    let generations = followed.generation as usize;
    assert!(generations > 1 && generations <= bound, "{generations} generations, more than {bound}: {followed:?}");
}

fn report(what: &str, followed: &Followed, settled: Duration) {
    say(&format!(
        "  {what}: {} joins, {} leaves, {} crashes, {} generations; \
         {} records in {} commits, {} read again after crashes; \
         settled at first after {settled:.1?}",
        followed.joins,
        followed.leaves,
        followed.crashes,
        followed.generation,
        followed.records,
        followed.commits,
        followed.repeated
    ));
}

#[test]
fn fifty_members_of_a_classic_group_own_every_partition_once_and_rebalance_as_often_as_they_change() {
    let _turn = turn::of("many_members");
    fifty("classic", 1);
}

#[test]
fn fifty_members_of_a_cooperative_group_hand_over_without_loss_or_repetition() {
    let _turn = turn::of("many_members");
    fifty("cooperative", 2);
}

/// One member of a group of several client types, in a process of its own.
struct Worker {
    name: String,
    program: Conversation,
}

impl Worker {
    fn start(program: &Program, bootstrap: &str, protocol: &str, nth: usize) -> Worker {
        let name = format!("{}-{nth}", program.name);
        let is_crew = program.name == "franz-go";
        let arguments = [arguments(bootstrap, protocol), vec![("as", name.clone())]].concat();
        let mut conversation = Conversation::start(program, &name, if is_crew { "crew" } else { "worker" }, &arguments);
        if is_crew {
            conversation.tell(&format!("join {name}"));
        }
        Worker { name, program: conversation }
    }

    /// Waits until it has left; returns its steps.
    fn leave(mut self) -> Vec<Step> {
        self.program.tell("leave");
        self.program.tell("end");
        let status = self.program.ended(SETTLES_WITHIN);
        assert!(status.success(), "{}", self.program.tail());
        steps_of(&self.program)
    }

    fn crash(mut self) -> Vec<Step> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as u64;
        self.program.kill();
        let mut steps = steps_of(&self.program);
        let micros = steps.last().map_or(now, |last| last.micros.max(now));
        steps.push(Step { micros, member: self.name, act: Act::Crashes });
        steps
    }
}

const OF_MANY_KINDS: i32 = 24;

/// Members of each client type leave or crash, and join again.
fn many_kinds(name: &str, kinds: Vec<(Program, &str)>) {
    if kinds.len() < 2 {
        return;
    }
    let does_consumer_protocol = kinds.iter().any(|(_, protocol)| *protocol == "consumer");
    let Some(node) = node(&format!("members-{name}"), does_consumer_protocol) else { return };
    let bootstrap = node.bootstrap();
    create(&mut impatient(bootstrap).expect("the node serves"), TOPIC, OF_MANY_KINDS, &[]);
    let mut chance = Chance::new(number("TIDEMILL_MEMBERS_SEED", 0x5eed));
    let feeder = Feeder::start(bootstrap, TOPIC, OF_MANY_KINDS, 4, Chance::new(chance.next()));
    let start = |kind: usize, nth: usize| Worker::start(&kinds[kind].0, bootstrap, kinds[kind].1, nth);
    let began = Instant::now();
    // With two protocols, members of the second join a group of the first that is stable. Kafka 4.3 fails (with a
    // NoSuchElementException) to convert a classic group before its first generation.
    let mut present = Vec::new();
    for kind in 0..kinds.len() {
        if kind > 0 && kinds[kind].1 != kinds[kind - 1].1 {
            is_settled(&mut present);
        }
        present.push(start(kind, 0));
    }
    let mut answered = Vec::new();
    is_settled(&mut present);
    let settled = began.elapsed();
    let mut order: Vec<(usize, bool)> = (0..kinds.len()).flat_map(|kind| [(kind, false), (kind, true)]).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, chance.below(n as u64 + 1) as usize);
    }
    for (nth, (kind, does_crash)) in order.into_iter().enumerate() {
        let successor = start(kind, nth + 1);
        let leaver = std::mem::replace(&mut present[kind], successor);
        answered.push(if does_crash { leaver.crash() } else { leaver.leave() });
        // Every second time the next member leaves before the group has rebalanced.
        if nth % 2 == 1 {
            is_settled(&mut present);
        }
    }
    feeder.stop();
    is_settled(&mut present);
    let ends = ends(bootstrap, OF_MANY_KINDS);
    caught_up(bootstrap, &ends);
    answered.extend(present.into_iter().map(Worker::leave));
    let followed = follow(&merged(answered), &ends).unwrap_or_else(|broken| panic!("{name}: {broken}"));
    report(name, &followed, settled);
    let bound = followed.changes() * 2 + OF_ITSELF;
    assert!(followed.generation as usize <= bound, "more than {bound} generations: {followed:?}");
    for (program, _) in &kinds {
        let has_read = followed.readers.iter().any(|reader| reader.starts_with(program.name));
        assert!(has_read, "{} has read nothing: {followed:?}", program.name);
    }
}

fn is_settled(present: &mut [Worker]) {
    wait_for("members of many kinds share the partitions", SETTLES_WITHIN, || {
        present
            .iter_mut()
            .for_each(|worker| assert!(worker.program.has_ended().is_none(), "{}", worker.program.tail()));
        let steps: Vec<Step> = present.iter().flat_map(|worker| steps_of(&worker.program)).collect();
        is_shared(&shares(&steps), present.len(), OF_MANY_KINDS).then_some(())
    });
}

#[test]
fn members_of_five_kinds_share_a_classic_group_and_hand_over_without_loss_or_repetition() {
    let _turn = turn::of("many_members");
    let programs = [peers::java(), peers::librdkafka(), peers::franz_go(), peers::kafka_python(), peers::kafkajs()];
    many_kinds("five-kinds", programs.into_iter().flatten().map(|program| (program, "classic")).collect());
}

#[test]
fn fifty_members_of_a_consumer_group_own_every_partition_once_and_rebalance_as_often_as_they_change() {
    let _turn = turn::of("many_members");
    fifty("consumer", 1);
}

#[test]
fn members_of_five_kinds_share_a_consumer_group_also_those_that_know_only_the_classic_protocol() {
    let _turn = turn::of("many_members");
    let old = [peers::kafka_python(), peers::kafkajs()].into_iter().flatten();
    let new = [peers::java(), peers::librdkafka(), peers::franz_go()].into_iter().flatten();
    let kinds = old.map(|program| (program, "classic")).chain(new.map(|program| (program, "consumer")));
    many_kinds("five-kinds-of-two-protocols", kinds.collect());
}
