//! A broker for one test: Tidemill, or Apache Kafka as the reference for the tests themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::run::{dies_with_us, ended, run, signal, spawn};
use super::scratch::{Dir, Ports};
use super::{peers, say};

const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// As for Kafka below: topics exist only when created, so a misspelt name fails.
const NO_TOPIC_BY_ACCIDENT: [&str; 2] = ["--set", "auto.create.topics.enable=false"];

fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| argument.to_string()).collect()
}

/// The broker under test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    Tidemill,
    Kafka,
}

impl Peer {
    /// Tidemill, or Kafka with `TIDEMILL_TEST_PEER=kafka`, which checks the tests themselves.
    pub fn chosen() -> Peer {
        match std::env::var("TIDEMILL_TEST_PEER").as_deref() {
            Ok("kafka") => Peer::Kafka,
            Ok("tidemill") | Err(_) => Peer::Tidemill,
            Ok(other) => panic!("TIDEMILL_TEST_PEER is {other:?}: `kafka` and `tidemill` are known"),
        }
    }
}

/// A running broker. Dropping it kills the process and, unless the test failed, removes its data.
pub struct Node {
    peer: Peer,
    child: Option<Child>,
    bootstrap: String,
    arguments: Vec<String>,
    dir: Dir,
    ports: Ports,
}

impl Node {
    /// Starts the chosen broker. `None`, and a SKIP line, when Kafka cannot be installed.
    pub fn start(name: &str) -> Option<Node> {
        match Peer::chosen() {
            Peer::Tidemill => Some(Node::tidemill(name, &[])),
            Peer::Kafka => Node::kafka(name),
        }
    }

    /// Starts `tidemill serve` with `arguments` on an empty data directory.
    pub fn tidemill(name: &str, arguments: &[&str]) -> Node {
        let mut node = Node::stopped_tidemill(name, arguments);
        node.restart();
        node
    }

    /// As `tidemill`, with the memory that a node takes by itself. For benches, in which it is alone.
    pub fn tidemill_with_its_memory(name: &str, arguments: &[&str]) -> Node {
        let mut node = Node::stopped(Peer::Tidemill, name, words(&[&NO_TOPIC_BY_ACCIDENT, arguments].concat()));
        node.restart();
        node
    }

    /// As [`tidemill`](Self::tidemill), with metrics and health on [`edge_port`](Self::edge_port).
    pub fn with_edge(name: &str, arguments: &[&str]) -> Node {
        let mut node = Node::stopped_tidemill(name, arguments);
        node.arguments.extend(["--set".into(), format!("edge.listen=127.0.0.1:{}", node.edge_port())]);
        node.restart();
        node
    }

    /// The port of metrics and health. No shard has it, because nodes of tests have few.
    pub fn edge_port(&self) -> u16 {
        self.ports.first() + 120
    }

    /// Prepares a Tidemill node that has never run, so that a test can fill its data directory.
    pub fn stopped_tidemill(name: &str, arguments: &[&str]) -> Node {
        // Many nodes run beside each other, and a test should not depend on the memory of the machine.
        let memory = ["--set", "memory.bytes=536870912"];
        Node::stopped(Peer::Tidemill, name, words(&[&NO_TOPIC_BY_ACCIDENT, &memory, arguments].concat()))
    }

    /// Formats and starts Apache Kafka 4.4 as one node in KRaft mode.
    pub fn kafka(name: &str) -> Option<Node> {
        Node::kafka_with(name, &[])
    }

    /// As `kafka`, with more `name=value` properties.
    pub fn kafka_with(name: &str, properties: &[&str]) -> Option<Node> {
        let mut node = Node::stopped_kafka(name, properties)?;
        node.restart();
        Some(node)
    }

    /// Formats a Kafka node that has never run, so that a test can fill its data directory.
    pub fn stopped_kafka(name: &str, properties: &[&str]) -> Option<Node> {
        let jars = peers::kafka_jars()?;
        let node = Node::stopped(Peer::Kafka, name, vec![jars.clone()]);
        let text = node.kafka_properties() + &properties.join("\n");
        let properties = node.dir.path().join("server.properties");
        fs::write(&properties, text).expect("the scratch directory can be written");
        let mut format = Command::new("java");
        format.args(["-cp", &jars, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"]);
        format.arg(&properties);
        let formatted = run(format, None, READY_WITHIN, |_| false).expect("java runs");
        assert!(formatted.ok(), "StorageTool: {}", formatted.tail());
        Some(node)
    }

    fn stopped(peer: Peer, name: &str, arguments: Vec<String>) -> Node {
        let dir = Dir::new(name);
        fs::create_dir_all(dir.path().join("data")).expect("the scratch directory can be written");
        let ports = Ports::reserve();
        Node { peer, child: None, bootstrap: format!("127.0.0.1:{}", ports.first()), arguments, dir, ports }
    }

    fn kafka_properties(&self) -> String {
        let (port, controller) = (self.ports.first(), self.ports.first() + 1);
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\nauto.create.topics.enable=false\n",
            self.data().display()
        )
    }

    /// Starts the process on the existing data, and waits until it reports that it is ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        let started = Instant::now();
        let log = self.log();
        let out = File::options().create(true).append(true).open(&log).expect("the scratch directory can be written");
        let printed_before = fs::read(&log).map_or(0, |b| b.len());
        let command = match self.peer {
            Peer::Tidemill => {
                // An installed binary, or a binary that a build in another directory does not replace.
                let built = env!("CARGO_BIN_EXE_tidemill").into();
                let mut command = Command::new(std::env::var_os("TIDEMILL_TEST_BINARY").unwrap_or(built));
                command.arg("serve").arg("--data").arg(self.data()).args(["--listen", &self.bootstrap]);
                command.args(&self.arguments);
                command
            }
            Peer::Kafka => {
                let mut command = Command::new("java");
                // The flags of Kafka's start script.
                command.args(["-Xmx1G", "-Xms1G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
                command.args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]);
                command.args(["-cp", &self.arguments[0], "kafka.Kafka"]);
                command.arg(self.dir.path().join("server.properties"));
                command
            }
        };
        let mut command = dies_with_us(&command);
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a descriptor")).stderr(out);
        let mut child = spawn(command).unwrap_or_else(|e| panic!("{:?}: {e}", self.peer));
        loop {
            let printed = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()[printed_before..]).into_owned();
            let ready = match self.peer {
                Peer::Tidemill => printed.lines().any(|line| line.starts_with("ready")),
                Peer::Kafka => printed.contains("Kafka Server started"),
            };
            if ready {
                break;
            }
            if let Some(status) = child.try_wait().expect("a child of ours") {
                panic!("{:?} ended before it was ready: {status}\n{printed}", self.peer);
            }
            assert!(started.elapsed() < READY_WITHIN, "{:?} is not ready after {READY_WITHIN:?}\n{printed}", self.peer);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        say(&format!("{:?} ready on {} after {:.1?}", self.peer, self.bootstrap, started.elapsed()));
    }

    /// Sends SIGTERM and waits until the process exits.
    pub fn stop(&mut self) -> ExitStatus {
        self.stop_by("TERM")
    }

    /// As [`stop`](Self::stop), with another signal.
    pub fn stop_by(&mut self, name: &str) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        signal(&child, name);
        ended(&mut child, "a node stops on a signal", STOP_WITHIN)
    }

    /// Replaces the arguments of the next start.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|a| a.to_string()).collect();
    }

    /// The output of all starts.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// The first line with `needle` in the output of the latest start.
    pub fn latest_line(&self, needle: &str) -> Option<String> {
        let printed = self.printed();
        let latest = printed.rfind("\ntidemill ").unwrap_or(0);
        printed[latest..].lines().find(|line| line.contains(needle)).map(str::to_string)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The data directory, which contains the partition directories.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The directory of one partition.
    pub fn partition_dir(&self, topic: &str, partition: usize) -> PathBuf {
        self.data().join(format!("{topic}-{partition}"))
    }

    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Ok(Some(status)) = child.try_wait() {
                say(&format!("{:?} had ended by itself: {status}", self.peer));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read(self.log()).unwrap_or_default();
            let text = String::from_utf8_lossy(&log);
            // Kafka's INFO lines are many; its warnings and errors matter here.
            let chatter = |line: &&str| self.peer == Peer::Tidemill || !line.contains("] INFO ");
            let lines: Vec<&str> = text.lines().filter(chatter).collect();
            say(&format!("the last lines of {:?}:\n{}", self.peer, lines[lines.len().saturating_sub(40)..].join("\n")));
        }
    }
}
