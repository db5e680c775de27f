//! `tidemill serve`: it starts without configuration, reports its steps, refuses with advice, and stops on a signal.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::ledger::{Ledger, connect, create};
use crate::support::node::Node;
use crate::support::run::{Ended, dies_with_us, ended, run, signal, spawn};
use crate::support::scratch::{Dir, Ports};
use crate::support::{say, skip, wait_for};
use tidemill::model::{ErrorCode, Offset};
use tidemill::record::walk;
use tidemill::tools::client::Connection;
use tidemill::tools::client::produce::Acks;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest, FetchResponse};
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter, ProduceResponse};
use tidemill::wire::{ApiKey, Topic};

pub const WITHIN: Duration = Duration::from_secs(60);
pub const NOW: i64 = 1_700_000_000_000;

pub fn serve(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("serve").args(arguments).current_dir(dir);
    command
}

/// Runs a `tidemill serve` that must refuse to start.
pub fn refused(dir: &Path, arguments: &[&str]) -> Ended {
    let ended = run(serve(dir, arguments), None, WITHIN, |_| false).expect("the binary runs");
    let code = ended.status.and_then(|status| status.code());
    assert!(code.is_some_and(|code| code != 0), "it should refuse: {}", ended.tail());
    assert!(!ended.stdout.contains("ready"), "{}", ended.tail());
    ended
}

/// A started process and its output.
pub struct Started {
    pub child: Child,
    log: std::path::PathBuf,
}

impl Started {
    pub fn new(dir: &Path, arguments: &[&str]) -> Started {
        Started::with_environment(dir, arguments, &[])
    }

    pub fn with_environment(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Started {
        let log = dir.join("output");
        let out = std::fs::File::create(&log).expect("the scratch directory can be written");
        let mut command = serve(dir, arguments);
        command.envs(variables.iter().copied());
        let mut command = dies_with_us(&command);
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a descriptor")).stderr(out);
        Started { child: spawn(command).expect("the binary runs"), log }
    }

    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a whole line with these words, and returns it.
    pub fn wait_for(&mut self, words: &str) -> String {
        wait_for(words, WITHIN, || {
            let printed = self.printed();
            let line = printed.lines().find(|line| line.contains(words));
            if line.is_none()
                && let Some(status) = self.child.try_wait().expect("a child of ours")
            {
                panic!("it ended: {status}\n{printed}");
            }
            line.filter(|_| printed.ends_with('\n')).map(str::to_owned)
        })
    }

    /// Waits for `ready`; returns the milliseconds that the line states.
    pub fn ready(&mut self) -> u64 {
        let line = self.wait_for("ready in ");
        line.split(' ').nth(2).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_empty_directory_is_enough_and_the_start_reports_its_steps() {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as u16;
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let ports = Ports::reserve();
    let elsewhere = format!("127.0.0.1:{}", ports.first());
    let (arguments, address): (Vec<&str>, &str) = if (9092..=9092 + cores).all(is_free) {
        (vec![], "127.0.0.1:9092")
    } else {
        skip("the default port", "something listens on 9092 or behind it; --listen is given instead");
        (vec!["--listen", &elsewhere], &elsewhere)
    };
    let mut best = u64::MAX;
    for _ in 0..3 {
        let dir = Dir::new("empty");
        let mut started = Started::new(dir.path(), &arguments);
        best = best.min(started.ready());
        let printed = started.printed();
        for part in [
            "io_uring",
            "data       tidemill-data",
            "shards     ",
            "direct",
            &format!("plaintext  {address}"),
            &format!("tidemill produce greetings --bootstrap {address}"),
            &format!("tidemill consume greetings --bootstrap {address}"),
        ] {
            assert!(printed.contains(part), "{part:?} is missing in\n{printed}");
        }
        // The suggested commands work.
        let bin = env!("CARGO_BIN_EXE_tidemill");
        let mut produce = Command::new(bin);
        produce.args(["produce", "greetings", "--bootstrap", address]);
        let produced = run(produce, Some(b"hello\nworld\n".to_vec()), WITHIN, |_| false).expect("the binary runs");
        assert!(produced.ok(), "{}", produced.tail());
        let mut client = connect(address);
        let ends = client.list_offsets("greetings", &[0], tidemill::tools::client::offsets::LATEST).expect("listed");
        assert_eq!(ends[0].offset, Some(2));
        signal(&started.child, "TERM");
        let status = ended(&mut started.child, "it stops on a signal", WITHIN);
        assert_eq!(status.code(), Some(0), "{}", started.printed());
        assert!(started.printed().contains("stopped"), "{}", started.printed());
    }
    say(&format!("ready in {best} ms in an empty directory"));
    assert!(best < 1000, "ready only after {best} ms");
}

#[test]
fn settings_that_cannot_work_are_refused_with_advice() {
    let dir = Dir::new("refused");
    let ports = Ports::reserve();
    let listen = format!("127.0.0.1:{}", ports.first());
    for (arguments, parts) in [
        (&["--set", "num.partitons=3"][..], &["num.partitons", "num.partitions"][..]),
        (&["--set", "memory.bytes=lots"], &["memory.bytes", "lots"]),
        (&["--set", "memory.bytes=1"], &["memory.bytes"]),
        (&["--set", "journal.bytes=200000000"], &["journal.bytes", "multiple"]),
        (&["--set", "memory.bytes=99999999999999"], &["memory.bytes", "this machine has"]),
        (&["--data", "a", "--set", "log.dirs=b"], &["contradict each other"]),
        (&["--listen", "192.0.2.1:19999", "--data", "x"], &["192.0.2.1 is not an address of this machine"]),
        (&["--set", "routing=dierct"], &["routing", "direct", "forward"]),
        (&["--shards", "0"], &["shards"]),
        (&["--listen", "127.0.0.1:65535", "--shards", "2"], &["65535"]),
        (&["--listen", "0.0.0.0:19999"], &["advertised.listeners"]),
        (&["--config", "there-is-none.toml"], &["there-is-none.toml"]),
    ] {
        let mut all = arguments.to_vec();
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", &listen]);
        }
        let ended = refused(dir.path(), &all);
        for part in parts {
            assert!(ended.stderr.contains(part), "{arguments:?}: {part:?} is missing in {}", ended.tail());
        }
    }
    std::fs::write(dir.path().join("bad.toml"), "[log]\nretenton.ms = 3\n").expect("written");
    let ended = refused(dir.path(), &["--config", "bad.toml", "--listen", &listen]);
    assert!(ended.stderr.contains("log.retention.ms") && ended.stderr.contains("bad.toml"), "{}", ended.tail());
}

#[test]
fn a_directory_in_use_and_a_port_in_use_are_refused() {
    let node = Node::tidemill("in-use", &["--shards", "2"]);
    let dir = Dir::new("second");
    let ports = Ports::reserve();
    let listen = format!("127.0.0.1:{}", ports.first());
    let data = node.data().display().to_string();
    let ended = refused(dir.path(), &["--data", &data, "--listen", &listen]);
    assert!(ended.stderr.contains(&data) && ended.stderr.contains("another tidemill process"), "{}", ended.tail());
    assert!(ended.stderr.contains("--data"), "{}", ended.tail());
    let ended = refused(dir.path(), &["--listen", node.bootstrap()]);
    assert!(ended.stderr.contains(node.bootstrap()) && ended.stderr.contains("--listen"), "{}", ended.tail());
    // The port of a shard of another node, not of its listener.
    let second = format!("127.0.0.1:{}", node.bootstrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap() - 1);
    let ended = refused(dir.path(), &["--listen", &second, "--shards", "2"]);
    assert!(ended.stderr.contains("cannot listen"), "{}", ended.tail());
    // The running node is unaffected.
    let mut client = connect(node.bootstrap());
    Ledger::create(&mut client, "fine", 2, &[]).fill(&mut client, 2, 3, 100, NOW);
}

fn address_of(node: &Node) -> Connection {
    Connection::open(node.bootstrap(), "raw", WITHIN).expect("connected")
}

#[test]
fn it_stops_at_a_signal_with_connections_open_and_a_long_poll_pending() {
    for signal in ["TERM", "INT"] {
        let mut node = Node::tidemill("stops", &["--shards", "2"]);
        let mut client = connect(node.bootstrap());
        let mut ledger = Ledger::create(&mut client, "t", 4, &[]);
        ledger.fill(&mut client, 5, 10, 1000, NOW);
        let idle: Vec<_> = (0..20).map(|_| TcpStream::connect(node.bootstrap()).expect("connected")).collect();
        let mut polling = address_of(&node);
        for partition in 0..4 {
            let request = FetchRequest {
                max_wait_ms: 600_000,
                min_bytes: 1 << 20,
                max_bytes: 1 << 20,
                partitions: vec![FetchPartition {
                    partition_max_bytes: 1 << 20,
                    ..FetchPartition::new(Topic::Name("t"), partition, 50)
                }],
                ..FetchRequest::default()
            };
            let id = polling.correlation_id();
            let frame = request.encode_frame(12, id, None).expect("encodes");
            let _ = polling.send(ApiKey::Fetch, 12, id, &frame).expect("sent");
        }
        let asked = Instant::now();
        let status = node.stop_by(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}: {}", node.printed());
        assert!(asked.elapsed() < Duration::from_secs(20), "SIG{signal}: it took {:?}", asked.elapsed());
        assert!(
            node.latest_line(&format!("SIG{signal}")).is_some() && node.latest_line("stopped").is_some(),
            "{}",
            node.printed()
        );
        drop((idle, polling));
        node.restart();
        assert!(node.latest_line("4, after a clean stop").is_some(), "{}", node.printed());
        let verified = ledger.verify(&mut connect(node.bootstrap()));
        assert_eq!((verified.batches, verified.unacknowledged), (20, 0));
    }
}

/// Many pipelined requests on one connection, to partitions of both shards.
fn check_any_connection_serves_everything(routing: &str) {
    let partitions = 6;
    let rounds = 40;
    let node = Node::tidemill(routing, &["--shards", "2", "--set", &format!("routing={routing}")]);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", partitions, &[]);
    client.refresh(None).expect("metadata");
    let brokers = client.cluster().brokers.clone();
    let port: i32 = node.bootstrap().rsplit_once(':').unwrap().1.parse().unwrap();
    match routing {
        "forward" => assert!(brokers.len() == 1 && brokers.values().all(|b| b.port == port), "{brokers:?}"),
        "steer" => assert!(brokers.len() == 2 && brokers.values().all(|b| b.port == port), "{brokers:?}"),
        _ => assert!(brokers.len() == 2 && brokers.values().all(|b| b.port != port), "{brokers:?}"),
    }
    let addresses: Vec<String> = brokers.values().map(|broker| broker.address()).collect();
    for address in addresses.iter().map(String::as_str).chain([node.bootstrap()]) {
        let mut connection = Connection::open(address, "raw", WITHIN).expect("connected");
        let mut waiting = Vec::new();
        for round in 0..rounds {
            let order: Vec<i32> = (0..partitions).map(|p| (p + round) % partitions).collect();
            let id = connection.correlation_id();
            let head = ProduceHead { transactional_id: None, acks: Acks::All as i16, timeout_ms: 30_000 };
            let mut writer: ProduceRequestWriter<Vec<u8>> = ProduceRequestWriter::new(9, id, None, head, 1);
            writer.topic(Topic::Name("t"), order.len());
            let sent: BTreeMap<i32, _> =
                order.iter().map(|p| (*p, ledger.next(3, 200, NOW + i64::from(round)))).collect();
            for partition in &order {
                writer.partition(*partition, sent[partition].bytes());
            }
            let frame = writer.finish().expect("encodes").to_vec();
            waiting.push((connection.send(ApiKey::Produce, 9, id, &frame).expect("sent"), sent));
        }
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for (pending, sent) in waiting {
            // `receive` also checks the correlation id.
            let frame = connection.receive(&pending).expect("answered");
            let answer = connection.read(&pending, &frame, |r| ProduceResponse::decode(r, 9)).expect("readable");
            assert_eq!(answer.partitions.len(), partitions as usize);
            for told in &answer.partitions {
                assert_eq!(told.error_code, ErrorCode::None, "{address}: {:?}", told.error_message);
                let before = last.insert(told.partition, told.base_offset).unwrap_or(-1);
                assert!(
                    told.base_offset > before,
                    "{address}: {} went from {before} to {}",
                    told.partition,
                    told.base_offset
                );
                ledger.acknowledged(told.partition, told.base_offset, sent[&told.partition]);
            }
        }
        // Read all partitions back in one request on the same connection.
        let request = FetchRequest {
            max_wait_ms: 1000,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partitions: (0..partitions)
                .map(|p| FetchPartition { partition_max_bytes: 8 << 20, ..FetchPartition::new(Topic::Name("t"), p, 0) })
                .collect(),
            ..FetchRequest::default()
        };
        let id = connection.correlation_id();
        let frame = request.encode_frame(12, id, None).expect("encodes");
        let pending = connection.send(ApiKey::Fetch, 12, id, &frame).expect("sent");
        let frame = connection.receive(&pending).expect("answered");
        let answer = connection.read(&pending, &frame, |r| FetchResponse::decode(r, 12)).expect("readable");
        assert_eq!(answer.partitions.len(), partitions as usize, "{address}");
        for told in &answer.partitions {
            assert_eq!(told.head.error_code, ErrorCode::None);
            let end = walk::batches(told.records).last().expect("records").expect("whole").header.last_offset();
            assert_eq!(end, Offset(last[&told.head.partition] + 2), "{address}: partition {}", told.head.partition);
        }
    }
    let expected = (addresses.len() + 1) * (rounds * partitions) as usize;
    let verified = ledger.verify(&mut client);
    assert_eq!((verified.batches, verified.unacknowledged), (expected, 0));
}

#[test]
fn any_connection_serves_every_partition_in_order_with_forward_routing() {
    check_any_connection_serves_everything("forward");
}

#[test]
fn any_connection_serves_every_partition_in_order_with_steer_routing() {
    check_any_connection_serves_everything("steer");
}

#[test]
fn any_connection_serves_every_partition_in_order_with_direct_routing() {
    check_any_connection_serves_everything("direct");
}

#[test]
fn a_topic_deleted_and_made_again_is_a_new_one() {
    let mut node = Node::tidemill("again", &["--shards", "2"]);
    let mut client = connect(node.bootstrap());
    let mut before = Ledger::create(&mut client, "t", 5, &[]);
    before.fill(&mut client, 20, 5, 2000, NOW);
    for round in 0..3 {
        client.delete_topic("t").unwrap_or_else(|e| panic!("{e}"));
        assert!(client.topic("t").is_err(), "round {round}: a deleted topic is not found");
        create(&mut client, "t", 4, &[]);
        let mut again = Ledger::of("t", 4);
        assert_eq!(again.verify(&mut client).ends, [0; 4], "round {round}: a new topic is empty");
        again.fill(&mut client, 3, 7, 300, NOW);
        assert_eq!(again.verify(&mut client).ends, [21; 4], "round {round}");
        if round == 1 {
            node.kill();
        } else {
            node.stop();
        }
        node.restart();
        client = connect(node.bootstrap());
        assert_eq!(again.verify(&mut client).ends, [21; 4], "round {round}: after a restart");
        let left: Vec<_> = std::fs::read_dir(node.data())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with("-delete") || name == "t-4")
            .collect();
        assert_eq!(left, Vec::<String>::new(), "round {round}: the old topic's files are gone");
    }
    // A deletion survives a kill right after its response.
    for name in ["a", "b", "c"] {
        let mut gone = Ledger::create(&mut client, name, 3, &[]);
        gone.fill(&mut client, 2, 2, 100, NOW);
        client.delete_topic(name).unwrap_or_else(|e| panic!("{e}"));
        node.kill();
        node.restart();
        client = connect(node.bootstrap());
        assert!(client.topic(name).is_err(), "a deleted topic came back after a crash");
    }
}

#[test]
fn the_journal_may_live_elsewhere() {
    let journal = Dir::new("journal");
    let setting = format!("journal.dir={}", journal.path().display());
    let mut node = Node::tidemill("data", &["--shards", "2", "--set", &setting]);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 6, &[]);
    for shards in ["1", "2"] {
        ledger.fill(&mut client, 30, 4, 1000, NOW);
        assert!(journals_below(journal.path()) > 0 && journals_below(&node.data()) == 0);
        node.kill();
        node.restart();
        client = connect(node.bootstrap());
        assert!(node.latest_line("batches replayed").is_some(), "{}", node.printed());
        ledger.verify(&mut client);
        node.stop();
        node.set_arguments(&["--shards", shards, "--set", &setting]);
        node.restart();
        client = connect(node.bootstrap());
        ledger.verify(&mut client);
        let layouts = std::fs::read_dir(journal.path().join("layouts")).expect("listed").count();
        assert_eq!(layouts, 1, "the old layout's journals are gone");
    }
}

fn journals_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let entries: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let below: usize = entries.iter().map(|path| journals_below(path)).sum();
    below + entries.iter().filter(|path| path.extension().is_some_and(|e| e == "journal")).count()
}
