//! Bounds: readers that do not read, idle connections, producers faster than the disk, and a full disk.

use std::io::Write;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::ledger::{Ledger, connect, connect_within};
use crate::support::node::Node;
use crate::support::talk::Talk;
use crate::support::usage::{cpu_ticks, status_bytes};
use crate::support::{say, skip, wait_for};
use tidemill::tools::client::produce::{Acks, PartitionBatch};
use tidemill::tools::client::{Client, Connection};
use tidemill::wire::admin::api_versions::ApiVersionsRequest;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::{ApiKey, Topic, frame};

const WITHIN: Duration = Duration::from_secs(60);
const NOW: i64 = 1_700_000_000_000;
const MIB: u64 = 1 << 20;
/// The smallest legal `memory.bytes`, per shard.
const MEMORY: u64 = 64 * MIB;
/// The memory beside the shards' buffers: the binary, stacks, pools, receive buffers, the allocator's slack.
const BESIDE: u64 = 160 * MIB;

fn small_node(shards: &str) -> Vec<&str> {
    vec!["--shards", shards, "--set", "memory.bytes=67108864", "--set", "journal.bytes=134217728"]
}

/// Samples a process's resident memory until dropped, and keeps the maximum.
struct Watch {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn new(pid: u32) -> Watch {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (into, until) = (most.clone(), stop.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) && Path::new(&format!("/proc/{pid}")).exists() {
                into.fetch_max(status_bytes(pid, "VmRSS"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Watch { most, stop }
    }

    fn check(&self, what: &str, limit: u64) {
        let most = self.most.load(Ordering::Relaxed);
        say(&format!("{what}: at most {} MiB resident, {} allowed", most / MIB, limit / MIB));
        assert!(most > 0 && most <= limit, "{what}: {} MiB resident, {} MiB allowed", most / MIB, limit / MIB);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The longest of several rounds of one append to each partition.
fn worst_round_trip(ledger: &mut Ledger, client: &mut Client, rounds: usize) -> Duration {
    let one = |ledger: &mut Ledger, client: &mut Client| {
        let began = Instant::now();
        ledger.fill(client, 1, 1, 500, NOW);
        began.elapsed()
    };
    (0..rounds).map(|_| one(ledger, client)).max().expect("some rounds")
}

#[test]
fn stalled_readers_delay_no_other_client() {
    let node = Node::tidemill("slow", &small_node("2"));
    let mut client = connect(node.bootstrap());
    // Twice the memory of both shards, so that most reads go to the disk.
    let mut ledger = Ledger::create(&mut client, "t", 4, &[("segment.bytes", "16777216")]);
    ledger.fill(&mut client, 64, 4, 250_000, NOW);
    let mut other = Ledger::create(&mut client, "other", 4, &[]);
    client.refresh(None).expect("metadata");
    let addresses: Vec<String> = client.cluster().brokers.values().map(|broker| broker.address()).collect();
    let watch = Watch::new(node.pid());
    let mut stuck = Vec::new();
    for reader in 0..50 {
        let mut connection = Connection::open(&addresses[reader % 2], "stuck", WITHIN).expect("connected");
        for request in 0..20 {
            let request = FetchRequest {
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 50 << 20,
                partitions: (0..4)
                    .map(|p| FetchPartition {
                        partition_max_bytes: 50 << 20,
                        ..FetchPartition::new(Topic::Name("t"), p, request * 4)
                    })
                    .collect(),
                ..FetchRequest::default()
            };
            let id = connection.correlation_id();
            let frame = request.encode_frame(12, id, None).expect("encodes");
            let _ = connection.send(ApiKey::Fetch, 12, id, &frame).expect("sent");
        }
        stuck.push(connection);
    }
    let worst = worst_round_trip(&mut other, &mut client, 50);
    say(&format!("with 50 readers stuck, an append to 4 partitions took {worst:.1?} at the worst"));
    assert!(worst < Duration::from_secs(10), "others are held up: {worst:?}");
    // Cold reads continue too.
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    assert_eq!(other.verify(&mut client).batches, other.acknowledged_count());
    watch.check("50 readers stuck", 2 * MEMORY + BESIDE);
    drop(stuck);
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
}

#[test]
fn senders_that_stop_in_the_middle_make_way() {
    let node = Node::tidemill("stalled", &small_node("1"));
    let mut client = connect(node.bootstrap());
    let mut small = Ledger::create(&mut client, "small", 4, &[]);
    let settings = [("max.message.bytes", "4000000")];
    let mut large = Ledger::create(&mut client, "large", 1, &settings);
    let watch = Watch::new(node.pid());
    // Together they announce more than the share of large requests, and each sends a quarter of its request.
    let stalled: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(node.bootstrap()).expect("connected");
            let mut begun = 4_000_000_i32.to_be_bytes().to_vec();
            begun.resize(1 << 20, 0);
            stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            // A sender whose bytes are not read yet cannot send all of them.
            let _ = stream.write_all(&begun);
            stream
        })
        .collect();
    let worst = worst_round_trip(&mut small, &mut client, 50);
    say(&format!("beside 3 stalled senders, an append to 4 partitions took {worst:.1?} at the worst"));
    assert!(worst < Duration::from_secs(5), "{worst:?}");
    let fill = |ledger: &mut Ledger, bytes: usize| {
        let began = Instant::now();
        ledger.fill(&mut connect_within(node.bootstrap(), Duration::from_secs(180)), 1, 1, bytes, NOW);
        say(&format!("a request of {bytes} bytes took {:.1?}", began.elapsed()));
        began.elapsed()
    };
    // Requests of a usual size have memory of their own. A giant one waits until stalled connections are closed.
    assert!(fill(&mut large, 900_000) < Duration::from_secs(5));
    fill(&mut large, 3_900_000);
    watch.check("3 stalled senders", MEMORY + BESIDE);
    drop(stalled);
    for ledger in [&small, &large] {
        assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    }
}

#[test]
fn an_address_has_at_most_max_connections_per_ip_on_all_shards() {
    for routing in ["direct", "forward"] {
        let name = format!("per-ip-{routing}");
        let routing = format!("routing={routing}");
        let limits = ["--set", "max.connections.per.ip=4", "--set", &routing];
        let node = Node::tidemill(&name, &[&small_node("2")[..], &limits].concat());
        // Opening includes the first request and its response.
        let open = || Connection::open(node.bootstrap(), "limited", WITHIN).ok();
        let mut connections = Vec::new();
        // A connection of the start may still be open.
        wait_for("four connections", WITHIN, || {
            connections.extend(open());
            (connections.len() == 4).then_some(())
        });
        for _ in 0..10 {
            assert!(open().is_none(), "{routing}: a fifth connection is served");
        }
        let refusals = || node.printed().matches("max.connections.per.ip=4 is reached").count();
        let refusals = wait_for("a refusal is logged", WITHIN, || Some(refusals()).filter(|count| *count > 0));
        assert!((1..=2).contains(&refusals), "{routing}: one line per shard and minute, not {refusals}");
        connections.pop();
        wait_for("a closed connection makes room", WITHIN, open);
    }
}

#[test]
fn an_override_of_max_connections_per_ip_holds_for_its_host_only() {
    let ip = |last| IpAddr::from([127, 0, 0, last]);
    let limits = ["--set", "max.connections.per.ip.overrides=127.0.0.2:2, 127.0.0.3:0"];
    let node = Node::tidemill("per-ip-override", &[&small_node("2")[..], &limits].concat());
    // The kernel accepts every connection. The node serves it, or closes it.
    let open = |source| {
        let mut talk = Talk::from(source, node.bootstrap());
        let frame = frame::encode_request(&ApiVersionsRequest::default(), 0, 1, Some("limited")).expect("encodable");
        let is_served = talk.try_send(&frame) && talk.receive().is_some();
        is_served.then_some(talk)
    };
    let mut limited: Vec<_> = (0..2).map(|n| open(ip(2)).unwrap_or_else(|| panic!("connection {n}"))).collect();
    for _ in 0..5 {
        assert!(open(ip(2)).is_none(), "a third connection of 127.0.0.2 is served");
        assert!(open(ip(3)).is_none(), "a connection of 127.0.0.3 is served");
    }
    let others: Vec<_> = (0..10).map(|_| open(ip(4)).expect("another host has no limit")).collect();
    for limit in ["127.0.0.2:2", "127.0.0.3:0"] {
        let line = format!("max.connections.per.ip.overrides={limit} is reached");
        wait_for("a refusal is logged", WITHIN, || node.printed().contains(&line).then_some(()));
    }
    limited.pop();
    wait_for("a closed connection makes room", WITHIN, || open(ip(2)));
    drop(others);
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    const CONNECTIONS: usize = 10_000;
    let raised = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), "--nofile=20000:20000"])
        .status()
        .is_ok_and(|status| status.success());
    if !raised {
        return skip("10,000 idle connections", "the limit of open files cannot be raised (prlimit --nofile)");
    }
    let node = Node::tidemill("idle", &small_node("2"));
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 4, &[]);
    ledger.fill(&mut client, 5, 1, 100, NOW);
    let before = status_bytes(node.pid(), "VmRSS");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", node.pid())).map_or(0, |all| all.count());
    // Each connection sends one request first, as a client's would.
    let idle: Vec<Connection> = (0..CONNECTIONS)
        .map(|n| Connection::open(node.bootstrap(), "idle", WITHIN).unwrap_or_else(|e| panic!("connection {n}: {e}")))
        .collect();
    wait_for("all are accepted", WITHIN, || (descriptors() > CONNECTIONS).then_some(()));
    let after = status_bytes(node.pid(), "VmRSS");
    let each = after.saturating_sub(before) / CONNECTIONS as u64;
    say(&format!("{CONNECTIONS} connections take {each} bytes each"));
    assert!(each < 16 << 10, "{each} bytes for each connection");
    // The CPU time of idle connections. The five seconds are the length of the measurement.
    let (ticks, began) = (cpu_ticks(node.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let busy = (cpu_ticks(node.pid()) - ticks) as f64 / began.elapsed().as_secs_f64();
    say(&format!("idle, they take {busy:.1}% of a core"));
    assert!(busy < 2.0, "{busy:.1}% of a core while idle");
    let worst = worst_round_trip(&mut ledger, &mut client, 100);
    say(&format!("beside them, an append to 4 partitions took {worst:.1?} at the worst"));
    assert!(worst < Duration::from_secs(5), "{worst:?}");
    drop(idle);
    wait_for("closed connections are gone", WITHIN, || (descriptors() < 500).then_some(()));
    assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
}

#[test]
fn producers_faster_than_the_disk_are_slowed_down_and_lose_nothing() {
    let mut node = Node::tidemill("fast", &small_node("2"));
    let mut client = connect(node.bootstrap());
    let watch = Watch::new(node.pid());
    let bootstrap = node.bootstrap().to_string();
    let producers: Vec<_> = (0..4)
        .map(|producer| {
            let bootstrap = bootstrap.clone();
            std::thread::spawn(move || {
                let mut client = connect(&bootstrap);
                let name = format!("t{producer}");
                let mut ledger = Ledger::create(&mut client, &name, 4, &[("segment.bytes", "33554432")]);
                // 128 MB each; in total four times the memory of the shards.
                ledger.fill(&mut client, 40, 4, 200_000, NOW);
                ledger
            })
        })
        .collect();
    let ledgers: Vec<Ledger> =
        producers.into_iter().map(|thread| thread.join().expect("the producer ends well")).collect();
    watch.check("4 producers", 2 * MEMORY + BESIDE);
    for ledger in &ledgers {
        assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    }
    drop(watch);
    node.kill();
    node.restart();
    client = connect(node.bootstrap());
    for ledger in &ledgers {
        assert_eq!(ledger.verify(&mut client).batches, ledger.acknowledged_count());
    }
}

/// A small ext4 file system, unmounted on drop.
struct SmallDisk {
    mount: std::path::PathBuf,
}

impl SmallDisk {
    /// Creates an image and mounts it on `mount`; the error states why this machine cannot.
    fn new(mount: &Path, bytes: u64) -> Result<SmallDisk, String> {
        let image = mount.with_extension("ext4");
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let (image, on) = (image.display().to_string(), mount.display().to_string());
        for command in [&["mkfs.ext4", "-q", "-m", "0", &image][..], &["mount", "-o", "loop", &image, &on]] {
            let ended =
                Command::new(command[0]).args(&command[1..]).output().map_err(|e| format!("{}: {e}", command[0]))?;
            if !ended.status.success() {
                return Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr)));
            }
        }
        Ok(SmallDisk { mount: mount.to_owned() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The node may still be exiting: its descriptors close with its ring.
        let deadline = Instant::now() + WITHIN;
        while !Command::new("umount").arg(&self.mount).output().is_ok_and(|ended| ended.status.success()) {
            if Instant::now() > deadline {
                return say(&format!("LEFT MOUNTED {}", self.mount.display()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Writes until the node rejects a batch or stops to answer; returns the number of accepted batches.
fn fill_the_disk(ledger: &mut Ledger, bootstrap: &str) -> usize {
    let mut client = connect_within(bootstrap, Duration::from_secs(5));
    for taken in 0..2000 {
        let sent = ledger.next(4, 200_000, NOW);
        let batch = PartitionBatch { partition: (taken % 4) as i32, batch: sent.bytes() };
        match client.produce(&ledger.topic, vec![batch], Acks::All, false) {
            Ok(appended) => ledger.acknowledged(appended[0].partition, appended[0].base_offset, sent),
            Err(error) => {
                say(&format!("full after {taken} batches: {error}"));
                let text = error.to_string();
                assert!(text.contains("KAFKA_STORAGE_ERROR") || text.contains("no answer to Produce"), "{text}");
                return taken;
            }
        }
    }
    panic!("the disk took more than it has");
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let mut node = Node::stopped_tidemill("full", &small_node("1"));
    let _disk = match SmallDisk::new(&node.data(), 640 * MIB) {
        Ok(disk) => disk,
        Err(why) => return skip("a full disk", &why),
    };
    let ballasts: Vec<_> = (0..3).map(|n| node.data().join(format!("ballast{n}"))).collect();
    for ballast in &ballasts {
        std::fs::write(ballast, vec![7; 100 << 20]).expect("the image has room for the ballast");
    }
    node.restart();
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 4, &[("segment.bytes", "16777216")]);
    let watch = Watch::new(node.pid());
    for (round, ballast) in ballasts.iter().enumerate() {
        let taken = fill_the_disk(&mut ledger, node.bootstrap());
        assert!(taken > 50, "round {round}: only {taken} batches fitted");
        // Reads still work, and acknowledged records are readable.
        ledger.verify(&mut client);
        match round {
            0 => {}
            1 => node.kill(),
            // The node cannot store a checkpoint and reports that; it does not wait for space.
            _ => assert!(matches!(node.stop().code(), Some(0 | 1)), "{}", node.printed()),
        }
        std::fs::remove_file(ballast).expect("the ballast was there");
        if round > 0 {
            node.restart();
            client = connect(node.bootstrap());
        }
        ledger.verify(&mut client);
        wait_for("writes go on when there is space again", WITHIN, || {
            let mut client = connect_within(node.bootstrap(), Duration::from_secs(5));
            ledger.append(&mut client, 0, 4, 1000, NOW).ok()
        });
        ledger.fill(&mut client, 5, 4, 1000, NOW);
        ledger.verify(&mut client);
    }
    watch.check("a full disk", MEMORY + BESIDE);
    assert_eq!(node.stop().code(), Some(0), "{}", node.printed());
    node.restart();
    ledger.verify(&mut connect(node.bootstrap()));
    drop(node);
}
