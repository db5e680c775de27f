//! Exactly once under kill -9. Copiers consume, produce and commit their offsets in transactions, and each input record
//! is copied once, in order, in whole transactions.
//!
//! Four groups copy the same input, each to its own output: two Java clients (transactions of version 2), two of
//! franz-go, two of librdkafka (version 1), and one of each in one group. At moments that follow from a seed, copiers
//! and the node are killed. In each group one copier becomes a *zombie*: it is stopped during a transaction until its
//! group has continued without it, and then resumed. Its transaction must be refused.
//!
//! A copy names its transaction and its input record (`copied.rs`). So a reader detects records that are lost,
//! repeated, out of order, aborted, or part of a torn transaction. The reader runs during the whole test (`watch.rs`),
//! and no read may contradict an earlier one (`output.rs`).
//!
//! ```text
//! TIDEMILL_COPIER_ROUNDS=20 TIDEMILL_COPIER_SEED=7 cargo test --release --test crash copier -- --nocapture
//! TIDEMILL_COPIER_ROUTING=forward ...   the node is one broker
//! TIDEMILL_TEST_PEER=kafka ...          against Apache Kafka
//! ```
//!
//! Kafka is not killed: a single node of Kafka 4.3 was observed to omit markers after a kill, which tears confirmed
//! transactions.

mod copied;
mod copiers;
mod input;
mod output;
mod rules;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::support::chance::{Chance, number};
use crate::support::feeder::{Feeder, impatient};
use crate::support::ledger::create;
use crate::support::node::{Node, Peer};
use crate::support::run::Program;
use crate::support::{peers, say, turn, wait_for};
use copied::Tag;
use copiers::{Copier, Errand};
use input::{Input, read_whole};
use output::Output;
use tidemill::record::control::Ending;
use tidemill::tools::client::offsets::LATEST;
use watch::Watch;

const INPUT: &str = "input";
const PARTITIONS: i32 = 6;
/// Kills per round, before its zombies.
const STRIKES: usize = 5;
/// Deadline on a machine with other load.
const GOES_ON_WITHIN: Duration = Duration::from_secs(90);

struct Team {
    errand: Errand,
    copiers: Vec<Copier>,
}

/// All running programs, and the history of the test.
struct Run {
    node: Node,
    teams: Vec<Team>,
    watch: Watch,
    chance: Chance,
    committed: BTreeSet<Tag>,
    refused: BTreeSet<Tag>,
    copiers_killed: usize,
    node_killed: usize,
    gave_up: usize,
}

impl Run {
    fn begin(programs: &[Program], seed: u64) -> Option<Run> {
        let settings = ["group.initial.rebalance.delay.ms=100", "group.min.session.timeout.ms=1000"];
        let sooner = "transaction.abort.timed.out.transaction.cleanup.interval.ms=500";
        let node = match Peer::chosen() {
            Peer::Kafka => Node::kafka_with("copier", &[&settings[..], &[sooner]].concat())?,
            Peer::Tidemill => {
                let routing =
                    format!("routing={}", std::env::var("TIDEMILL_COPIER_ROUTING").as_deref().unwrap_or("direct"));
                let mut arguments = vec!["--shards", "2", "--set", &routing];
                for setting in settings.iter().chain(&[sooner]) {
                    arguments.extend(["--set", setting]);
                }
                Node::tidemill("copier", &arguments)
            }
        };
        let mut client = impatient(node.bootstrap()).expect("the node serves");
        create(&mut client, INPUT, PARTITIONS, &[]);
        let mut teams: Vec<(String, Vec<Program>)> =
            programs.iter().map(|program| (program.name.to_string(), vec![program.clone(); 2])).collect();
        if programs.len() > 1 {
            teams.push(("mixed".into(), programs.to_vec()));
        }
        let teams: Vec<Team> = teams
            .into_iter()
            .map(|(name, programs)| {
                let errand = Errand {
                    bootstrap: node.bootstrap().into(),
                    input: INPUT.into(),
                    output: format!("output-{name}"),
                    group: name.clone(),
                    partitions: PARTITIONS,
                };
                create(&mut client, &errand.output, PARTITIONS, &[]);
                let start = |(n, program): (usize, &Program)| {
                    Copier::start(&errand, program, &format!("{name}-{}-{n}", program.name), 1)
                };
                let copiers = programs.iter().enumerate().map(start).collect();
                Team { errand, copiers }
            })
            .collect();
        let outputs = teams.iter().map(|team| Output::new(&team.errand.output, PARTITIONS)).collect();
        let watch = Watch::start(node.bootstrap(), outputs);
        Some(Run {
            node,
            teams,
            watch,
            chance: Chance::new(seed),
            committed: BTreeSet::new(),
            refused: BTreeSet::new(),
            copiers_killed: 0,
            node_killed: 0,
            gave_up: 0,
        })
    }

    /// Waits until each group has copied more records.
    fn goes_on(&mut self) {
        let before = self.watch.copied();
        let names: Vec<&str> = self.teams.iter().map(|team| team.errand.group.as_str()).collect();
        wait_for(&format!("all of {names:?} copy on from {before:?}"), GOES_ON_WITHIN, || {
            self.watch.check();
            self.teams.iter_mut().flat_map(|team| &mut team.copiers).for_each(Copier::check_is_alive);
            self.watch.copied().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
    }

    /// Kills the node, some copiers, or both at the same moment.
    fn strike(&mut self, does_kill_node: bool) {
        let delay = Duration::from_millis(self.chance.below(1500));
        std::thread::sleep(delay);
        let mut victims = Vec::new();
        for (t, team) in self.teams.iter().enumerate() {
            let chance = &mut self.chance;
            victims.extend((0..team.copiers.len()).filter(|_| chance.one_in(6)).map(|c| (t, c)));
        }
        if victims.is_empty() && !does_kill_node {
            let t = self.chance.below(self.teams.len() as u64) as usize;
            victims.push((t, self.chance.below(self.teams[t].copiers.len() as u64) as usize));
        }
        if does_kill_node {
            self.node.kill();
            self.node_killed += 1;
        }
        let mut names = Vec::new();
        for (t, c) in victims {
            let team = &mut self.teams[t];
            let victim = &mut team.copiers[c];
            self.committed.extend(victim.kill());
            self.copiers_killed += 1;
            self.gave_up += victim.gave_up();
            names.push(victim.name().to_string());
            // One in four returns with another transactional id, so its timeout must end its open transaction.
            *victim = victim.successor(&team.errand, !self.chance.one_in(4));
        }
        if does_kill_node {
            self.node.restart();
            self.watch.restarted();
        }
        names.extend(does_kill_node.then(|| "the node".to_string()));
        say(&format!("  killed after {delay:.0?}: {}", names.join(", ")));
        self.goes_on();
    }

    /// Stops one copier of each group during a transaction until the others have done its work.
    fn zombies(&mut self, place: &str, does_kill_node: bool) {
        let mut halting = Vec::new();
        for (t, team) in self.teams.iter_mut().enumerate() {
            let c = self.chance.below(team.copiers.len() as u64) as usize;
            halting.push((t, c, team.copiers[c].ask_to_halt(place)));
        }
        let mut zombies = Vec::new();
        for (t, c, from) in halting {
            let team = &mut self.teams[t];
            let tag = team.copiers[c].stop_when_halted(from);
            let successor = team.copiers[c].successor(&team.errand, self.chance.one_in(2));
            zombies.push((std::mem::replace(&mut team.copiers[c], successor), tag));
        }
        let ends = self.input_ends();
        if does_kill_node {
            self.node.kill();
            self.node_killed += 1;
            self.node.restart();
            self.watch.restarted();
        }
        self.copied_up_to(&ends);
        for (mut zombie, tag) in zombies {
            let refusal = zombie.resume(&tag);
            say(&format!("  zombie at {place}: {refusal}"));
            self.gave_up += zombie.gave_up();
            self.committed.extend(zombie.ended(GOES_ON_WITHIN));
            self.refused.insert(tag);
        }
        self.goes_on();
    }

    fn input_ends(&self) -> Vec<i64> {
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let listed =
            impatient(self.node.bootstrap()).and_then(|mut client| client.list_offsets(INPUT, &partitions, LATEST));
        listed.expect("the node serves").iter().map(|listed| listed.offset.unwrap_or(0)).collect()
    }

    /// Waits until every group has committed these offsets.
    fn copied_up_to(&mut self, ends: &[i64]) {
        for team in &self.teams {
            let group = &team.errand.group;
            wait_for(&format!("{group} has copied up to {ends:?}"), GOES_ON_WITHIN, || {
                self.watch.check();
                let committed = impatient(self.node.bootstrap()).and_then(|mut client| client.committed(group)).ok()?;
                let is_there =
                    |(n, end): (usize, &i64)| committed.get(&(INPUT.to_string(), n as i32)).unwrap_or(&0) >= end;
                ends.iter().enumerate().all(is_there).then_some(())
            });
        }
    }

    fn end(mut self, feeder: Feeder) {
        feeder.stop();
        let ends = self.input_ends();
        self.copied_up_to(&ends);
        let mut leaving: Vec<Copier> = self.teams.iter_mut().flat_map(|team| team.copiers.drain(..)).collect();
        leaving.iter_mut().for_each(Copier::ask_to_end);
        for copier in leaving {
            self.gave_up += copier.gave_up();
            self.committed.extend(copier.ended(GOES_ON_WITHIN));
        }
        let outputs = self.watch.end();
        let mut client = impatient(self.node.bootstrap()).expect("the node serves");
        let input = read_whole(&mut client, INPUT, &ends);
        let mut table = format!(
            "\n{} copiers and the node {} times killed, {} zombies refused, {} fatal errors, {} records of input\n\
             {:<20}{:>10}{:>14}{:>10}{:>12}{:>12}   none lost, twice, out of order, aborted or torn",
            self.copiers_killed,
            self.node_killed,
            self.refused.len(),
            self.gave_up,
            input.len(),
            "output",
            "records",
            "transactions",
            "aborted",
            "partitions",
            "both shards"
        );
        for output in &outputs {
            let leaders: HashMap<i32, i32> = client
                .topic(&output.topic)
                .expect("it is there")
                .partitions
                .iter()
                .map(|partition| (partition.partition, partition.leader_id))
                .collect();
            let row = verify(output, &input, &self.committed, &self.refused, &leaders);
            table += &format!(
                "\n{:<20}{:>10}{:>14}{:>10}{:>12}{:>12}",
                output.topic,
                output.copied.len(),
                row.committed,
                row.aborted,
                row.of_several_partitions,
                row.of_several_leaders
            );
            // With forward routing the shards are not visible.
            let is_apart = row.of_several_leaders * 2 > row.committed || client.cluster().brokers.len() == 1;
            assert!(is_apart && row.of_several_partitions * 2 > row.committed, "few can be torn:{table}");
            assert!(row.aborted > 0, "nothing was aborted:{table}");
        }
        say(&table);
    }
}

#[derive(Default)]
struct Row {
    committed: usize,
    aborted: usize,
    of_several_partitions: usize,
    of_several_leaders: usize,
}

/// The checks that need the whole output: no record is lost, no transaction is partial, and confirmed ones are present.
fn verify(
    output: &Output,
    input: &Input,
    promised: &BTreeSet<Tag>,
    refused: &BTreeSet<Tag>,
    leaders: &HashMap<i32, i32>,
) -> Row {
    let topic = &output.topic;
    if output.copied != *input {
        let lost: Vec<_> = input.keys().filter(|at| !output.copied.contains_key(at)).take(10).collect();
        let other: Vec<_> = output.copied.iter().filter(|(at, copy)| input.get(at) != Some(copy)).take(3).collect();
        panic!(
            "{topic}: {} of {} copied; lost: {lost:?}; not in the input so: {other:?}",
            output.copied.len(),
            input.len()
        );
    }
    let mut row = Row::default();
    for (tag, transaction) in &output.transactions {
        let endings: BTreeMap<_, _> =
            transaction.endings.iter().map(|(at, ending)| (at, ending.expect("at rest"))).collect();
        if endings.values().all(|ending| *ending == Ending::Abort) {
            assert_eq!(transaction.indexes.len(), 0, "{topic}: {tag} was aborted, and is read");
            row.aborted += 1;
        } else {
            let (read, count) = (transaction.indexes.len(), transaction.count);
            assert_eq!(read, count, "{topic}: {tag} is torn, {endings:?}");
            assert!(!refused.contains(tag), "{topic}: {tag} was a zombie's, and counts");
            row.committed += 1;
            row.of_several_partitions += usize::from(endings.len() > 1);
            let led_by: BTreeSet<i32> = endings.keys().map(|at| leaders[at]).collect();
            row.of_several_leaders += usize::from(led_by.len() > 1);
        }
    }
    let group = topic.strip_prefix("output-").expect("named so");
    for tag in promised.iter().filter(|tag| tag.id.starts_with(&format!("{group}-"))) {
        let is_there = output.transactions.get(tag).is_some_and(|transaction| !transaction.indexes.is_empty());
        assert!(is_there, "{topic}: {tag} was confirmed, and is lost");
    }
    row
}

#[test]
fn records_are_copied_once_in_order_and_whole_while_copiers_and_the_node_are_killed() {
    let _turn = turn::of("copier");
    let programs: Vec<Program> =
        [peers::java(), peers::franz_go(), peers::librdkafka()].into_iter().flatten().collect();
    if programs.is_empty() {
        return;
    }
    let rounds = number("TIDEMILL_COPIER_ROUNDS", 1);
    let seed = number("TIDEMILL_COPIER_SEED", 0x5eed);
    let began = Instant::now();
    let Some(mut run) = Run::begin(&programs, seed) else { return };
    let feeder = Feeder::start(run.node.bootstrap(), INPUT, PARTITIONS, 1, Chance::new(seed + 1));
    run.goes_on();
    let may_kill = run.node.peer() == Peer::Tidemill;
    for round in 1..=rounds {
        for strike in 0..STRIKES {
            run.strike(may_kill && strike % 2 == 0);
        }
        run.zombies("offsets", false);
        let does_kill_node = may_kill && run.chance.one_in(2);
        run.zombies("commit", does_kill_node);
        say(&format!("copier: {round} of {rounds} rounds, {:?} copied, {:.0?}", run.watch.copied(), began.elapsed()));
    }
    run.end(feeder);
}
