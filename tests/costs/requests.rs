//! The cost of a request in numbers that repeat, unlike times: allocations, system calls, polls of tasks.
//!
//! A whole shard with its connections runs in this thread, and so does the client, on prebuilt frames. The bounds are
//! the measured values with a small margin: a change that makes a request more expensive fails here.

use std::rc::Rc;
use std::sync::Arc;

use crate::ALLOCATOR;
use crate::support::own_process;
use crate::support::scratch::Dir;
use stats_alloc::Region;
use tidemill::api::{self, Origin};
use tidemill::config::{BrokerConfig, Routing};
use tidemill::disk::journal;
use tidemill::disk::layout::DataDirectory;
use tidemill::metadata::{Command, Endpoint, Image, apply};
use tidemill::model::{NodeId, ShardId, TopicId};
use tidemill::net::addresses::Addresses;
use tidemill::net::listener::Connections;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::router::Router;
use tidemill::runtime::{self, Config, Listener, Slice, Stream};
use tidemill::shard::Shard;
use tidemill::shard::open::ShardLocation;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter};
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidemill::wire::{Topic, frame};

const NODE: NodeId = NodeId(1);
const MIB: u64 = 1 << 20;
const TIMES: usize = 2_000;

fn image() -> Arc<Image> {
    let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 };
    let commands = [
        Command::FormatCluster { cluster_id: "cluster".into() },
        Command::NodeStarted {
            node: NODE,
            incarnation: 1,
            endpoints: vec![endpoint],
            shards: 1,
            routing: Routing::Direct,
            rack: String::new(),
        },
        Command::CreateTopic {
            id: TopicId([7; 16]),
            name: "t".into(),
            replicas: vec![vec![NODE]],
            overrides: Vec::new(),
        },
        Command::CreateTopic {
            id: TopicId([8; 16]),
            name: "__consumer_offsets".into(),
            replicas: vec![vec![NODE]],
            overrides: Vec::new(),
        },
    ];
    Arc::new(apply(&Image::default(), 1, &commands).expect("a new cluster").0)
}

/// Starts a shard in this thread and connects to it.
async fn shard(dir: &Dir) -> (Stream, Rc<Shard>) {
    let mut config = BrokerConfig::default();
    config.memory_bytes = Some(256 * MIB);
    let place = ShardLocation {
        id: ShardId(0),
        node: NODE,
        shards: 1,
        layout: 0,
        data: DataDirectory::new(dir.path().to_owned(), None),
        config: Arc::new(config),
        journal_file_bytes: 64 * MIB,
        journal_idle: journal::IDLE,
    };
    let (shard, _) = Shard::open(place, image()).await.expect("an empty directory opens");
    let endpoint = runtime::mesh(1).remove(0);
    let broker = api::serve(shard.clone(), Router::new(shard.id, endpoint));
    let connections = Connections::new(broker, Addresses::new(Default::default()));
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), false).expect("a port");
    let address = listener.local_addr().expect("bound");
    let accepting = connections.accept(listener, Origin::new("PLAINTEXT"));
    // The task continues after its handle is dropped.
    drop(runtime::spawn(runtime::Class::Foreground, "accept", accepting));
    (Stream::connect(address).await.expect("a listener"), shard)
}

/// The cost per request, as an average over `TIMES` requests.
struct Cost {
    allocations: f64,
    enters: f64,
    polls: f64,
}

async fn cost_of(stream: &Stream, request: &Slice, answer_bytes: usize, in_flight: usize) -> Cost {
    // Warm up: buffers and maps grow to their final size.
    exchange(stream, request, answer_bytes, in_flight).await;
    exchange(stream, request, answer_bytes, in_flight).await;
    let (region, before) = (Region::new(ALLOCATOR), runtime::stats());
    exchange(stream, request, answer_bytes, in_flight).await;
    let (change, after) = (region.change(), runtime::stats());
    let per_request = |count: u64| count as f64 / TIMES as f64;
    Cost {
        allocations: per_request((change.allocations + change.reallocations) as u64),
        enters: per_request(after.enters - before.enters),
        polls: per_request(after.polls - before.polls),
    }
}

async fn exchange(stream: &Stream, request: &Slice, answer_bytes: usize, in_flight: usize) {
    let mut received = 0;
    for sent in 0..TIMES + in_flight {
        if sent < TIMES {
            stream.send(request.clone()).await.expect("the shard takes it");
        }
        // The responses that are due by now.
        let due = (sent + 1).saturating_sub(in_flight) * answer_bytes;
        while received < due {
            let bytes = stream.recv().await.expect("the shard answers");
            assert!(!bytes.is_empty(), "the shard keeps the connection");
            received += bytes.len();
        }
    }
    while received < TIMES * answer_bytes {
        received += stream.recv().await.expect("the shard answers").len();
    }
}

/// The size of the response to this request, with its length field.
async fn answer_bytes(stream: &Stream, request: &Slice) -> usize {
    stream.send(request.clone()).await.expect("the shard takes it");
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        bytes.extend_from_slice(&stream.recv().await.expect("the shard answers"));
        if let Some((length, _)) = bytes.split_first_chunk::<4>() {
            let whole = 4 + i32::from_be_bytes(*length) as usize;
            if bytes.len() >= whole {
                assert_eq!(bytes.len(), whole);
                return whole;
            }
        }
    }
}

/// Produces one batch of one record.
fn produce(bytes: usize) -> Slice {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.append(1_000, None, Some(&vec![7; bytes]), []);
    let head = ProduceHead { transactional_id: None, acks: -1, timeout_ms: 30_000 };
    let mut writer = ProduceRequestWriter::new(9, 7, Some("costs"), head, 1);
    writer.topic(Topic::Name("t"), 1);
    writer.partition(0, batch.finish());
    Slice::from(writer.finish().expect("encodable").to_vec())
}

/// Commits one partition for a group without members.
fn offset_commit() -> Slice {
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    Slice::from(frame::encode_request(&request, 9, 7, Some("costs")).expect("encodable"))
}

/// Fetches one batch from the log start.
fn fetch() -> Slice {
    let part = FetchPartition { partition_max_bytes: 1, ..FetchPartition::new(Topic::Name("t"), 0, 0) };
    let request =
        FetchRequest { max_wait_ms: 0, min_bytes: 1, max_bytes: 1, partitions: vec![part], ..FetchRequest::default() };
    Slice::from(request.encode_frame(12, 7, Some("costs")).expect("encodable"))
}

#[test]
fn a_request_costs_no_more_than_it_did() {
    own_process::run(module_path!(), "a_request_costs_no_more_than_it_did", check_costs);
}

#[test]
fn a_large_batch_is_copied_into_the_log_and_not_into_the_journal() {
    let test = "a_large_batch_is_copied_into_the_log_and_not_into_the_journal";
    own_process::run(module_path!(), test, check_copies);
}

fn check_copies() {
    let dir = Dir::new("copies");
    let main = async || {
        let (stream, shard) = shard(&dir).await;
        println!("{:<12} {:>24}", "batch bytes", "copies per byte produced");
        // The append copies each byte into the log, and the journal copies small batches once more. It copies at most
        // one block of a large batch.
        let at_most = |bytes: usize| 1.0 + 4096.0 / bytes as f64;
        for (bytes, copies) in
            [(1024, 2.0), (16 << 10, 2.0), (64 << 10, at_most(64 << 10)), (900_000, at_most(900_000))]
        {
            let request = produce(bytes);
            let counters = &shard.journal().counters;
            let before = (counters.batch_bytes.get(), counters.copied_bytes.get());
            for _ in 0..20 {
                answer_bytes(&stream, &request).await;
            }
            let produced = counters.batch_bytes.get() - before.0;
            let copied = produced + counters.copied_bytes.get() - before.1;
            assert!(produced >= 20 * bytes as u64, "the journal has the batches");
            let measured = copied as f64 / produced as f64;
            println!("{bytes:<12} {measured:>24.2}");
            assert!(measured <= copies, "batches of {bytes}: {measured} copies, and {copies} at the most");
        }
        shard.retire();
    };
    runtime::run(Config::default(), main).expect("io_uring is here");
}

fn check_costs() {
    let dir = Dir::new("costs");
    let main = async || {
        let (stream, shard) = shard(&dir).await;
        println!("{:<30} {:>12} {:>8} {:>8}", "per request", "allocations", "enters", "polls");
        // Bounds of allocations, enters into the kernel and polls, of the shard and its client together. Allocations
        // repeat exactly. A sequence of single requests enters at most five times per request, less when completions
        // arrive together. The disk decides how many requests in flight share a write, so their bound is that of a
        // single one.
        let (produced, committed, fetched) = ([12.5, 5.0, 13.0], [30.0, 5.0, 13.0], [17.0, 5.0, 13.0]);
        let cases = [
            ("produce, one in flight", produce(1024), 1, produced),
            ("produce, 64 in flight", produce(1024), 64, produced),
            ("OffsetCommit, one in flight", offset_commit(), 1, committed),
            ("OffsetCommit, 64 in flight", offset_commit(), 64, committed),
            ("fetch of a batch, one in flight", fetch(), 1, fetched),
        ];
        for (name, request, in_flight, most) in cases {
            let answer_bytes = answer_bytes(&stream, &request).await;
            let cost = cost_of(&stream, &request, answer_bytes, in_flight).await;
            println!("{name:<30} {:>12.2} {:>8.2} {:>8.2}", cost.allocations, cost.enters, cost.polls);
            for (what, is, most) in [
                ("allocations", cost.allocations, most[0]),
                ("enters", cost.enters, most[1]),
                ("polls", cost.polls, most[2]),
            ] {
                assert!(is <= most, "{name}: {is:.2} {what} a request, {most} at the most");
            }
        }
        shard.retire();
    };
    runtime::run(Config::default(), main).expect("io_uring is here");
}
