//! The coordinators of groups and transactions against Apache Kafka 4.3's: same client, same machine, same disk, same run.
//!
//! Both brokers run side by side with their default settings, one at a time is loaded, in turns, several rounds; figures are
//! medians. Kafka is measured as it comes (what is committed is not flushed) and with a flush per message; Tidemill flushes
//! before it answers. Clients send frames that cost next to nothing to make, so what is seen is the broker. A request that is
//! refused ends the run.
//!
//! ```text
//! cargo bench --bench coordinators                           the whole table, about five minutes
//! cargo bench --bench coordinators -- --write                ... which goes to perf/README.md
//! cargo bench --bench coordinators -- --rounds 1 --only copier  one row, quickly
//! cargo bench --bench coordinators -- --tidemill             without Kafka
//! cargo bench --bench coordinators -- --kafka NAME=VALUE     ... with Kafka set so
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

use figures::{Figures, Goal, Metric, Row, Side, figure};
use statistics::median;
use support::node::Node;
use support::talk;

use Metric::*;
use Side::{Kafka, KafkaFlushed};

/// What is done in one round of one side.
#[derive(Clone, Copy)]
enum Load {
    Commits(commits::Load),
    Transactions(i32),
    Copier,
    Rebalance,
    /// The same where an assignment is made as soon as it is wanted, not once a second at the most.
    EagerRebalance,
    Compaction,
    Recovery,
}

/// Which nodes a load is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// Of its own: they are stopped and killed.
    Restarted,
    Ordinary,
    /// With [`rebalance::EAGER`].
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

struct Work {
    title: &'static str,
    load: Load,
    sides: &'static [Side],
    shown: &'static [Metric],
    goals: &'static [Goal],
}

const WORKS: [Work; 10] = [
    Work {
        title: "1 million committed offsets of 10,000 groups: from the process's start until all 50 coordinators answer",
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
        title: "group of 100 members over 200 partitions (KIP-848): until all have what they shall have",
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
        title: "the same with `group.consumer.assignment.interval.ms=0`: Kafka waits 1,000 by default, Tidemill 30 at this size",
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
        title: "2,000 requests/s of 1 record, 16 partitions, beside a log of keyed records that is compacted all the time",
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
    /// Of Kafka, in place of its defaults.
    settings: Vec<String>,
}

fn options() -> Options {
    let mut options =
        Options { rounds: 3, seconds: 1.5, only: None, writes: false, has_kafka: true, settings: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value().parse().expect("--rounds wants a number"),
            "--seconds" => options.seconds = value().parse().expect("--seconds wants a number"),
            "--only" => options.only = Some(value()),
            "--write" => options.writes = true,
            "--tidemill" => options.has_kafka = false,
            "--kafka" => options.settings.push(value()),
            // cargo's own.
            "--bench" => {}
            other => {
                panic!(
                    "{other}: there are --rounds N, --seconds N, --only PART_OF_A_TITLE, --tidemill, --kafka NAME=VALUE \
                     and --write"
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
    /// None: Kafka is wanted and cannot be installed.
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
        Some(Brokers { tidemill: Node::tidemill("coordinators-tidemill", &settings), kafka })
    }

    fn of(&mut self, side: Side) -> Option<&mut Node> {
        if side == Side::Tidemill { Some(&mut self.tidemill) } else { self.kafka.as_mut() }
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.kafka.iter().chain([&self.tidemill])
    }
}

fn once(load: Load, node: &mut Node, round: usize, lasts: Duration) -> Option<BTreeMap<Metric, f64>> {
    match load {
        Load::Commits(load) => Some(commits::run(node, load, lasts)),
        Load::Transactions(producers) => Some(transactions::run(node, producers, lasts)),
        Load::Copier => Some(copier::run(node, lasts)),
        Load::Rebalance | Load::EagerRebalance => rebalance::run(node, round),
        Load::Compaction => compaction::run(node, round, lasts * 4),
        Load::Recovery => Some(recovery::run(node)),
    }
}

fn run(work: &Work, brokers: &mut Brokers, options: &Options) -> Figures {
    let mut rounds: BTreeMap<Side, Vec<BTreeMap<Metric, f64>>> = BTreeMap::new();
    let sides: Vec<Side> =
        work.sides.iter().copied().filter(|side| options.has_kafka || *side == Side::Tidemill).collect();
    for round in 0..options.rounds {
        for turn in 0..sides.len() {
            let side = sides[(turn + round) % sides.len()];
            // Kafka's restarts take most of the time, and no goal is a multiple of them.
            if matches!(work.load, Load::Recovery) && side != Side::Tidemill && round > 0 {
                continue;
            }
            let node = brokers.of(side).expect("only sides that run");
            if side != Side::Tidemill {
                kafka_flush::set(node, side == Side::KafkaFlushed);
            }
            let Some(figures) = once(work.load, node, round, Duration::from_secs_f64(options.seconds)) else {
                println!("  {} cannot do it", side.title());
                continue;
            };
            let shown: Vec<String> = work.shown.iter().map(|metric| figure(*metric, &figures)).collect();
            println!("  round {} {:<24} {}", round + 1, side.title(), shown.join(", "));
            rounds.entry(side).or_default().push(figures);
        }
    }
    let medians = |rounds: Vec<BTreeMap<Metric, f64>>| {
        let metrics = rounds[0].keys().copied();
        let of = |metric: Metric| median(rounds.iter().filter_map(|round| round.get(&metric).copied()).collect());
        metrics.map(|metric| (metric, of(metric))).collect()
    };
    rounds.into_iter().map(|(side, rounds)| (side, medians(rounds))).collect()
}

/// What the loads find there; and Kafka's first seconds, which are slow in a JVM.
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
    let is_wanted = |work: &&Work| options.only.as_ref().is_none_or(|only| work.title.contains(only.as_str()));
    let mut rows = BTreeMap::new();
    for nodes in [Nodes::Restarted, Nodes::Ordinary, Nodes::Eager] {
        let is_of_these = |(_, work): &(usize, &Work)| is_wanted(work) && work.load.nodes() == nodes;
        let works: Vec<(usize, &Work)> = WORKS.iter().enumerate().filter(is_of_these).collect();
        if works.is_empty() || (nodes == Nodes::Eager && !rebalance::is_known()) {
            continue;
        }
        let Some(mut brokers) = Brokers::start(nodes, &options) else {
            return println!("SKIP coordinators: Apache Kafka cannot be installed");
        };
        prepare(nodes, &mut brokers, &options);
        for (at, work) in works {
            println!("{:4.0} s  {}", begun.elapsed().as_secs_f64(), work.title);
            let figures = run(work, &mut brokers, &options);
            rows.insert(at, Row { title: work.title, shown: work.shown, goals: work.goals, figures });
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    let text = format!(
        "Medians of {} alternating rounds of {} s each (of Kafka's restarts, one). CPU is the broker's, all threads.\n\n{}",
        options.rounds,
        options.seconds,
        figures::render(&rows)
    );
    println!("\n{text}");
    println!("{:.0} s in all", begun.elapsed().as_secs_f64());
    if options.writes {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/README.md");
        figures::write(&readme, &text, "coordinators", "");
        println!("written to perf/README.md");
    }
}
