//! Every client reaches every shard through one port: with steer routing, and from behind a forwarded port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::clients::{Topic, WITHIN, base};
use crate::support::node::Node;
use crate::support::records::{Check, KCAT_FORMAT, kcat_input};
use crate::support::run::{Program, run};
use crate::support::{peers, say, skip, turn, wait_for};

const RECORDS: usize = 5000;
const PARTITIONS: usize = 8;
const MEMBERS_WITHIN: u32 = 5;

/// The stock clients, each started behind the words of `before`.
fn programs(before: &[String]) -> Vec<Program> {
    let all = [peers::java(), peers::librdkafka(), peers::franz_go(), peers::kafka_python(), peers::kafkajs()];
    all.into_iter().flatten().map(|program| Program { argv: [before, &program.argv].concat(), ..program }).collect()
}

/// Each client writes a topic, reads it, and reads it as a member of a group. librdkafka creates the topics.
fn check_clients(bootstrap: &str, before: &[String]) {
    let programs = programs(before);
    let Some(creator) = programs.iter().find(|program| program.name == "librdkafka") else { return };
    for program in &programs {
        let name = format!("by-{}", program.name);
        let topic = Topic { bootstrap, name: &name, partitions: PARTITIONS, base: base() };
        topic.create(creator, "");
        topic.write(program, "lz4", "all", 0..RECORDS);
        topic.read(program, program.name, RECORDS);
        let arguments = [
            ("bootstrap", bootstrap.to_string()),
            ("topic", name.clone()),
            ("group", format!("of-{}", program.name)),
            ("silence", MEMBERS_WITHIN.to_string()),
            ("protocol", "classic".to_string()),
        ];
        let lines = program.run("member", &arguments, WITHIN);
        let counts = lines.iter().filter_map(|line| line.strip_prefix("MEMBER "));
        let read: usize = counts.map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)).sum();
        assert_eq!(read, RECORDS, "{}: {lines:?}", program.name);
        say(&format!("  {} wrote and read {RECORDS} records, and read them as a member", program.name));
    }
    let Some(kcat) = peers::kcat() else { return };
    let ran = |arguments: &[&str], input: Option<Vec<u8>>| {
        let argv = [before, std::slice::from_ref(&kcat)].concat();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).args(["-b", bootstrap]).args(arguments);
        let described = format!("{command:?}");
        let ended = run(command, input, WITHIN, |_| false).expect("kcat runs");
        assert!(ended.ok(), "{described}: {}", ended.tail());
        ended.stdout
    };
    Topic { bootstrap, name: "by-kcat", partitions: PARTITIONS, base: 0 }.create(creator, "");
    let write = ["-P", "-t", "by-kcat", "-X", "acks=all", "-K", "\\t", "-Z", "-H", "client=kcat"];
    ran(&write, Some(kcat_input(0, RECORDS)));
    let read = ["-C", "-t", "by-kcat", "-o", "beginning", "-e", "-q", "-Z", "-f", KCAT_FORMAT];
    let text = ran(&read, None).replace("\tNULL\n", "\t\n");
    let check = Check { topic: "by-kcat", name: "kcat", count: RECORDS, base: 0 };
    check.lines(&text, PARTITIONS).unwrap_or_else(|difference| panic!("kcat: {difference}"));
    say(&format!("  kcat wrote and read {RECORDS} records"));
}

#[test]
fn every_client_reaches_every_shard_on_one_port() {
    let _turn = turn::of("one_port");
    let node = Node::tidemill("one-port", &["--shards", "3", "--set", "routing=steer"]);
    check_clients(node.bootstrap(), &[]);
}

/// A network namespace whose only way out is one address of this machine.
struct Namespace {
    name: String,
    link: String,
}

const HOST: &str = "broker.tidemill.test";

impl Namespace {
    /// `None`, and a SKIP line, without the rights or the program to make one.
    fn new() -> Option<Namespace> {
        let id = std::process::id();
        let namespace = Namespace { name: format!("tidemill-{id}"), link: format!("tm{id}") };
        match namespace.set_up() {
            Ok(()) => Some(namespace),
            Err(why) => {
                skip("a client behind a forwarded port", &why);
                None
            }
        }
    }

    /// This machine's address on the link: link-local, so that it meets no network of the machine.
    fn address() -> Ipv4Addr {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        Ipv4Addr::new(169, 254, high.max(1), low & 0xfc | 1)
    }

    fn peer_address() -> Ipv4Addr {
        let [a, b, c, d] = Namespace::address().octets();
        Ipv4Addr::new(a, b, c, d + 1)
    }

    fn set_up(&self) -> Result<(), String> {
        let (name, here) = (self.name.as_str(), format!("{}a", self.link));
        let there = format!("{}b", self.link);
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there])?;
        ip(&["link", "set", &there, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", Namespace::address()), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/30", Namespace::peer_address()), "dev", &there])?;
        ip(&["-n", name, "link", "set", &there, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        // `ip netns exec` shows this file as /etc/hosts.
        let directory = format!("/etc/netns/{name}");
        std::fs::create_dir_all(&directory).map_err(|error| format!("{directory}: {error}"))?;
        let hosts = format!("127.0.0.1 localhost\n{} {HOST}\n", Namespace::address());
        std::fs::write(format!("{directory}/hosts"), hosts).map_err(|error| format!("{directory}: {error}"))
    }

    fn words(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_string).to_vec()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &format!("{}a", self.link)]);
        let _ = ip(&["netns", "del", &self.name]);
        let _ = std::fs::remove_dir_all(format!("/etc/netns/{}", self.name));
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    match run(command, None, Duration::from_secs(20), |_| false) {
        Ok(ended) if ended.ok() => Ok(()),
        Ok(ended) => Err(format!("ip {}: {}", arguments.join(" "), ended.tail())),
        Err(error) => Err(format!("ip: {error}")),
    }
}

/// Forwards one port of the link to the node, as a container's port mapping does. Runs until the process ends.
fn forward(listener: TcpListener, to: String) {
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(node) = TcpStream::connect(&to) else { continue };
            let both = [(client.try_clone(), node.try_clone()), (Ok(node), Ok(client))];
            for (from, to) in both {
                let (Ok(from), Ok(to)) = (from, to) else { continue };
                std::thread::spawn(move || pump(from, to));
            }
        }
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[test]
fn clients_behind_one_forwarded_port_reach_every_shard() {
    let _turn = turn::of("one_port");
    let Some(namespace) = Namespace::new() else { return };
    // A node that advertises a host name is in steer routing by default.
    for routing in [&[][..], &["--set", "routing=forward"]] {
        // The address becomes usable when the kernel has set up the link.
        let listener = wait_for("the link has its address", Duration::from_secs(20), || {
            TcpListener::bind((Namespace::address(), 0)).ok()
        });
        let address = format!("{HOST}:{}", listener.local_addr().expect("bound").port());
        let advertised = format!("advertised.listeners=PLAINTEXT://{address}");
        let arguments = [&["--shards", "3", "--set", &advertised], routing].concat();
        let node = Node::tidemill("forwarded", &arguments);
        forward(listener, node.bootstrap().to_string());
        say(&format!("  {arguments:?}, behind one forwarded port"));
        check_clients(&address, &namespace.words());
    }
}
