//! Compares the coordinators of groups and transactions with those of Apache Kafka 4.4: same client, same machine, same
//! disk, same run.
//!
//! Both brokers run at the same time with their default settings. Only one of them is under load, in turns, for several
//! rounds; the figures are medians. Kafka is measured with its defaults (it responds before the flush) and with a flush
//! per message. Tidemill flushes before it responds. The clients send precomputed frames, so that the figures show the
//! cost of the broker. A rejected request ends the run.
//!
//! ```text
//! cargo bench --bench coordinators                              the whole table, about five minutes
//! cargo bench --bench coordinators -- --write                   writes the table to perf/README.md
//! cargo bench --bench coordinators -- --rounds 1 --only copier  one row, quickly
//! cargo bench --bench coordinators -- --tidemill                without Kafka
//! cargo bench --bench coordinators -- --kafka NAME=VALUE        with this setting of Kafka
//! ```

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../figures.rs"]
mod figures;
#[path = "../../benches/statistics/mod.rs"]
mod statistics;

mod cluster;
mod commits;
mod compaction;
mod connection;
mod copier;
mod kafka_flush;
mod producer;
mod rebalance;
mod recovery;
mod transactions;
mod window;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use figures::{Figures, Goal, Metric, Round, Row, Side};
use support::node::Node;
use support::talk;

use Metric::*;
use Side::{Kafka, KafkaFlushed};

/// The load of one round on one side.
#[derive(Clone, Copy)]
enum Load {
    Commits(commits::Load),
    /// With this number of producers.
    Transactions(i32),
    Copier,
    Rebalance,
    /// As `Rebalance`, with [`rebalance::EAGER`].
    EagerRebalance,
    Compaction,
    Recovery,
}

/// The nodes that a load runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// Nodes that the load stops and kills.
    Restarted,
    Ordinary,
    /// Nodes with [`rebalance::EAGER`].
    Eager,
}

impl Load {
    fn nodes(self) -> Nodes {
        match self {
            Load::Recovery => Nodes::Restarted,
            Load::EagerRebalance => Nodes::Eager,
            _ => Nodes::Ordinary,
        }
    }
}

/// A row of the table.
struct Work {
    title: &'static str,
    load: Load,
    sides: &'static [Side],
    shown: &'static [Metric],
    goals: &'static [Goal],
}

const WORKS: [Work; 10] = [
    Work {
        title: "1 million committed offsets of 10,000 groups: \
                from the process's start until all 50 coordinators answer",
        load: Load::Recovery,
        sides: &Side::BROKERS,
        shown: &[AnsweringAfterStop, LoadedAfterStop, AnsweringAfterKill, LoadedAfterKill],
        goals: &[Goal::below(AnsweringAfterStop, 1e6), Goal::below(AnsweringAfterKill, 1e6)],
    },
    Work {
        title: "OffsetCommit of 1 partition, 256 groups, 32 in flight on each of 8 connections",
        load: Load::Commits(commits::Load { connections: 8, in_flight: 32, partitions: 1 }),
        sides: &Side::ALL,
        shown: &[CommitsPerSecond, P99, CpuPerRequest],
        goals: &[Goal::at_least(CommitsPerSecond, Kafka, 3.0), Goal::at_least(CommitsPerSecond, KafkaFlushed, 3.0)],
    },
    Work {
        title: "OffsetCommit of 10 partitions, the same",
        load: Load::Commits(commits::Load { connections: 8, in_flight: 32, partitions: 10 }),
        sides: &Side::ALL,
        shown: &[CommitsPerSecond, P99, CpuPerRequest],
        goals: &[Goal::at_least(CommitsPerSecond, Kafka, 3.0), Goal::at_least(CommitsPerSecond, KafkaFlushed, 3.0)],
    },
    Work {
        title: "OffsetCommit of 1 partition, one in flight",
        load: Load::Commits(commits::Load { connections: 1, in_flight: 1, partitions: 1 }),
        sides: &Side::ALL,
        shown: &[P50, P99, CpuPerRequest],
        goals: &[],
    },
    Work {
        title: "the end of a transaction of 1 record (EndTxn), 1 producer",
        load: Load::Transactions(1),
        sides: &Side::ALL,
        shown: &[P50, P99, TransactionsPerSecond, CpuPerRequest],
        goals: &[Goal::at_most(P99, Kafka, 1.0 / 3.0), Goal::at_most(P99, KafkaFlushed, 1.0 / 3.0)],
    },
    Work {
        title: "the same, 8 producers",
        load: Load::Transactions(8),
        sides: &Side::ALL,
        shown: &[P50, P99, TransactionsPerSecond, CpuPerRequest],
        goals: &[Goal::at_most(P99, Kafka, 1.0 / 3.0), Goal::at_most(P99, KafkaFlushed, 1.0 / 3.0)],
    },
    Work {
        title: "copier with exactly-once: 100 records a transaction, 4 at a time",
        load: Load::Copier,
        sides: &Side::ALL,
        shown: &[RecordsPerSecond, P99, CpuPerRequest],
        goals: &[Goal::at_least(RecordsPerSecond, Kafka, 2.0), Goal::at_least(RecordsPerSecond, KafkaFlushed, 2.0)],
    },
    Work {
        title: "group of 100 members over 200 partitions (KIP-848): until every member has its target assignment",
        load: Load::Rebalance,
        sides: &Side::BROKERS,
        shown: &[AllJoined, OneLeft, OneCame],
        goals: &[
            Goal::at_most(AllJoined, Kafka, 0.5),
            Goal::at_most(OneLeft, Kafka, 0.5),
            Goal::at_most(OneCame, Kafka, 0.5),
        ],
    },
    Work {
        title: "the same with `group.consumer.assignment.interval.ms=0`: \
                Kafka waits 1,000 by default, Tidemill 30 at this size",
        load: Load::EagerRebalance,
        sides: &Side::BROKERS,
        shown: &[AllJoined, OneLeft, OneCame],
        goals: &[
            Goal::at_most(AllJoined, Kafka, 0.5),
            Goal::at_most(OneLeft, Kafka, 0.5),
            Goal::at_most(OneCame, Kafka, 0.5),
        ],
    },
    Work {
        title: "2,000 requests/s of 1 record, 16 partitions, \
                beside a log of keyed records that is compacted all the time",
        load: Load::Compaction,
        sides: &Side::BROKERS,
        shown: &[P50, P99, P99Compacting],
        goals: &[Goal::at_most_of_own(P99Compacting, P99, 1.1)],
    },
];

struct Options {
    rounds: usize,
    seconds: f64,
    only: Option<String>,
    writes: bool,
    has_kafka: bool,
    /// Settings of Kafka that replace its defaults.
    settings: Vec<String>,
}

fn options() -> Options {
    let mut options =
        Options { rounds: 3, seconds: 1.5, only: None, writes: false, has_kafka: true, settings: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value().parse().expect("--rounds needs a number"),
            "--seconds" => options.seconds = value().parse().expect("--seconds needs a number"),
            "--only" => options.only = Some(value()),
            "--write" => options.writes = true,
            "--tidemill" => options.has_kafka = false,
            "--kafka" => options.settings.push(value()),
            // `cargo bench` passes it.
            "--bench" => {}
            other => {
                panic!(
                    "{other}: the options are --rounds N, --seconds N, --only PART_OF_A_TITLE, --tidemill, \
                     --kafka NAME=VALUE and --write"
                )
            }
        }
    }
    options
}

struct Brokers {
    tidemill: Node,
    kafka: Option<Node>,
}

impl Brokers {
    /// Starts both brokers. `None` if Kafka cannot be installed.
    fn start(nodes: Nodes, options: &Options) -> Option<Brokers> {
        let settings = if nodes == Nodes::Eager { [rebalance::EAGER] } else { [compaction::SETTING] };
        let kafka = match options.has_kafka {
            true => {
                let more = options.settings.iter().map(String::as_str);
                let settings: Vec<&str> = settings.into_iter().chain(more).collect();
                Some(Node::kafka_with("coordinators-kafka", &settings)?)
            }
            false => None,
        };
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        Some(Brokers { tidemill: Node::tidemill_with_its_memory("coordinators-tidemill", &settings), kafka })
    }

    fn of(&mut self, side: Side) -> Option<&mut Node> {
        if side == Side::Tidemill { Some(&mut self.tidemill) } else { self.kafka.as_mut() }
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.kafka.iter().chain([&self.tidemill])
    }
}

/// One round of a load. `None` if the node cannot carry it out.
fn once(load: Load, node: &mut Node, round: usize, lasts: Duration) -> Option<Round> {
    match load {
        Load::Commits(load) => Some(commits::run(node, load, lasts)),
        Load::Transactions(producers) => Some(transactions::run(node, producers, lasts)),
        Load::Copier => Some(copier::run(node, lasts)),
        Load::Rebalance | Load::EagerRebalance => rebalance::run(node, round),
        Load::Compaction => compaction::run(node, round, lasts * 4),
        Load::Recovery => Some(recovery::run(node)),
    }
}

/// Runs all rounds of a work.
fn run(work: &Work, brokers: &mut Brokers, options: &Options) -> Figures {
    let mut rounds: BTreeMap<Side, Vec<Round>> = BTreeMap::new();
    let sides: Vec<Side> =
        work.sides.iter().copied().filter(|side| options.has_kafka || *side == Side::Tidemill).collect();
    for round in 0..options.rounds {
        for turn in 0..sides.len() {
            let side = sides[(turn + round) % sides.len()];
            // Kafka restarts in one round only: they take most of the time, and no goal depends on them.
            if matches!(work.load, Load::Recovery) && side != Side::Tidemill && round > 0 {
                continue;
            }
            let node = brokers.of(side).expect("the filter leaves only sides that run");
            if side != Side::Tidemill {
                kafka_flush::set(node, side == Side::KafkaFlushed);
            }
            let Some(figures) = once(work.load, node, round, Duration::from_secs_f64(options.seconds)) else {
                println!("  {} does not support this load", side.title());
                continue;
            };
            figures::print_round(round, side, work.shown, &figures);
            rounds.entry(side).or_default().push(figures);
        }
    }
    figures::medians(rounds)
}

/// Creates the topics and data of the loads. Warms up Kafka, because the first seconds of a JVM are slow.
fn prepare(nodes: Nodes, brokers: &mut Brokers, options: &Options) {
    for node in brokers.all() {
        if nodes == Nodes::Restarted {
            recovery::prepare(node);
            continue;
        }
        cluster::create(node.bootstrap(), rebalance::TOPIC, rebalance::PARTITIONS as i32, &[]);
        if nodes == Nodes::Ordinary {
            cluster::create(node.bootstrap(), commits::TOPIC, commits::PARTITIONS, &[]);
            cluster::create(node.bootstrap(), transactions::TOPIC, transactions::PARTITIONS, &[]);
            copier::prepare(node.bootstrap());
        }
    }
    if let (Some(node), None) = (&mut brokers.kafka, &options.only) {
        let warms =
            |work: &&Work| work.load.nodes() == nodes && !matches!(work.load, Load::Recovery | Load::Compaction);
        for work in WORKS.iter().filter(warms) {
            once(work.load, node, usize::MAX, Duration::from_secs(3));
        }
    }
}

fn main() {
    let options = options();
    let begun = Instant::now();
    let is_selected = |work: &&Work| options.only.as_ref().is_none_or(|only| work.title.contains(only.as_str()));
    let mut rows = BTreeMap::new();
    let mut circumstances = String::new();
    for nodes in [Nodes::Restarted, Nodes::Ordinary, Nodes::Eager] {
        let is_for_nodes = |(_, work): &(usize, &Work)| is_selected(work) && work.load.nodes() == nodes;
        let works: Vec<(usize, &Work)> = WORKS.iter().enumerate().filter(is_for_nodes).collect();
        if works.is_empty() || (nodes == Nodes::Eager && !rebalance::is_supported()) {
            continue;
        }
        let Some(mut brokers) = Brokers::start(nodes, &options) else {
            return println!("SKIP coordinators: Apache Kafka cannot be installed");
        };
        prepare(nodes, &mut brokers, &options);
        if let Some(node) = brokers.of(Side::Tidemill) {
            circumstances = figures::circumstances(node.scratch());
        }
        for (at, work) in works {
            println!("{:4.0} s  {}", begun.elapsed().as_secs_f64(), work.title);
            let figures = run(work, &mut brokers, &options);
            rows.insert(at, Row { title: work.title, shown: work.shown, goals: work.goals, figures });
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    let text = format!(
        "Medians of {} alternating rounds of {} s each (of Kafka's restarts, one). CPU is the broker's, all threads.\
         \n{}",
        options.rounds,
        options.seconds,
        figures::render(&rows, &circumstances)
    );
    println!("\n{text}");
    println!("{:.0} s in total", begun.elapsed().as_secs_f64());
    if options.writes {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/README.md");
        figures::write(&readme, &text, "coordinators", "");
        println!("written to perf/README.md");
    }
}
