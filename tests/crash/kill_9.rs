//! kill -9 at random moments under load: acknowledged records are in the log once, in order, at their acknowledged
//! offsets, and no batch is torn.
//!
//! Each partition has one idempotent producer with up to five batches in flight. Its nth record has number n, so record
//! n must be at offset n after any kill. After each restart the test reads the log from the end of the last round. Then
//! each producer resends its unacknowledged batches with the same sequence numbers, and continues. A batch that was
//! durable but not acknowledged must be recognised and get its original offset; any other must be appended.
//!
//! `TIDEMILL_CRASH_ROUNDS=1000 cargo test --release --test crash kill_9 -- --nocapture` runs more rounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::chance::{Chance, number};
use crate::support::node::Node;
use crate::support::{say, turn};
use tidemill::model::Offset;
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::codec::{Codec, Decompressor};
use tidemill::record::header::BatchHeader;
use tidemill::record::records::Records;
use tidemill::record::walk::batches;
use tidemill::tools::client::admin::NewTopic;
use tidemill::tools::client::connection::Pending;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::tools::client::{Client, ClientConfig, ClientError, Connection};
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter, ProduceResponse};
use tidemill::wire::{ApiKey, Topic};

const TOPIC: &str = "crash";
const PARTITIONS: i32 = 8;
const IN_FLIGHT: usize = 5;
/// Then the topic is deleted and recreated, because a topic of a thousand rounds fills the disk (60 MB per round).
const ROUNDS_A_TOPIC: u64 = 50;
const PRODUCE_VERSION: i16 = 9;

/// The value of record number `n` of a partition.
fn value(partition: i32, n: i64) -> Vec<u8> {
    let mut chance = Chance::new((partition as u64 + 1) << 40 | (n as u64 + 1));
    let length = match chance.below(20) {
        0 => 20_000 + chance.below(60_000),
        1..=4 => 2_000 + chance.below(4_000),
        _ => chance.below(300),
    };
    let mut bytes = format!("{partition}:{n}:").into_bytes();
    while (bytes.len() as u64) < length {
        bytes.extend_from_slice(&chance.next().to_le_bytes());
    }
    bytes
}

struct Unacknowledged {
    first: i64,
    count: i32,
    batch: Vec<u8>,
}

/// One partition's producer, across all crashes.
struct Producer {
    partition: i32,
    producer_id: i64,
    producer_epoch: i16,
    /// The number of the next record to send for the first time.
    next: i64,
    /// Sent but unacknowledged batches, oldest first.
    in_doubt: VecDeque<Unacknowledged>,
    acknowledged: i64,
    chance: Chance,
}

impl Producer {
    fn make(&mut self) -> Unacknowledged {
        let codecs = [Codec::None, Codec::None, Codec::None, Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip];
        let options = BatchOptions {
            codec: codecs[self.chance.below(codecs.len() as u64) as usize],
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: (self.next % (1 << 31)) as i32,
            ..BatchOptions::default()
        };
        let count = 1 + self.chance.below(20) as i32;
        let mut builder = BatchBuilder::new(options);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        for n in self.next..self.next + i64::from(count) {
            builder.append(now, Some(format!("key-{n}").as_bytes()), Some(&value(self.partition, n)), []);
        }
        let made = Unacknowledged { first: self.next, count, batch: builder.finish() };
        self.next += i64::from(count);
        made
    }

    fn send(connection: &mut Connection, partition: i32, batch: &[u8]) -> Result<Pending, ClientError> {
        let head = ProduceHead { transactional_id: None, acks: -1, timeout_ms: 30_000 };
        let correlation_id = connection.correlation_id();
        let mut writer = ProduceRequestWriter::new(PRODUCE_VERSION, correlation_id, None, head, 1);
        writer.topic(Topic::Name(TOPIC), 1);
        writer.partition(partition, batch);
        let frame = writer.finish().expect("fits the version").to_vec();
        connection.send(ApiKey::Produce, PRODUCE_VERSION, correlation_id, &frame)
    }

    /// Produces until the connection breaks. Checks every acknowledgement; the error names the first wrong one.
    fn run(&mut self, leader: &str, acknowledged: &AtomicU64) -> Result<(), String> {
        let Ok(mut connection) = Connection::open(leader, "crash", Duration::from_secs(20)) else { return Ok(()) };
        let mut pending = VecDeque::new();
        // First resend the unacknowledged batches unchanged.
        for index in 0..self.in_doubt.len() {
            match Producer::send(&mut connection, self.partition, &self.in_doubt[index].batch) {
                Ok(sent) => pending.push_back(sent),
                Err(_) => return Ok(()),
            }
        }
        loop {
            while pending.len() < IN_FLIGHT {
                let made = self.make();
                let sent = Producer::send(&mut connection, self.partition, &made.batch);
                self.in_doubt.push_back(made);
                match sent {
                    Ok(sent) => pending.push_back(sent),
                    Err(_) => return Ok(()),
                }
            }
            let oldest = pending.pop_front().expect("in flight");
            let Ok(answer) = connection.receive(&oldest) else { return Ok(()) };
            let response = connection
                .read(&oldest, &answer, |reader| ProduceResponse::decode(reader, PRODUCE_VERSION))
                .map_err(|error| error.to_string())?;
            let batch = self.in_doubt.pop_front().expect("answered");
            let [partition] = &response.partitions[..] else { return Err("one partition was asked".into()) };
            if partition.error_code.is_error() || partition.base_offset != batch.first {
                return Err(format!(
                    "partition {}: records {}.. were answered {} at offset {}: {:?}",
                    self.partition, batch.first, partition.error_code, partition.base_offset, partition.error_message
                ));
            }
            self.acknowledged = batch.first + i64::from(batch.count);
            acknowledged.fetch_add(batch.count as u64, Ordering::Relaxed);
        }
    }
}

fn connect(node: &Node) -> Client {
    let config = ClientConfig { bootstrap: node.bootstrap().into(), ..ClientConfig::default() };
    Client::connect(config).expect("the node serves")
}

/// Reads from `from` to the log end, and checks that each offset has its record. Returns the log end.
fn verify(client: &mut Client, from: &[i64]) -> Result<Vec<i64>, String> {
    let mut next = from.to_vec();
    let mut ended = vec![false; from.len()];
    let mut decompressor = Decompressor::new(64 << 20);
    while ended.contains(&false) {
        let waiting = (0..PARTITIONS).filter(|partition| !ended[*partition as usize]);
        let positions: Vec<_> =
            waiting.map(|partition| FetchPosition { partition, offset: next[partition as usize] }).collect();
        let options = FetchOptions { max_wait_ms: 0, partition_max_bytes: 4 << 20, ..FetchOptions::default() };
        let fetched = client.fetch(TOPIC, &positions, options).map_err(|error| error.to_string())?;
        for found in fetched {
            let at = found.partition as usize;
            for batch in batches(&found.records) {
                let Ok(batch) = batch else { break };
                let header: &BatchHeader = &batch.header;
                if !header.crc_matches(batch.bytes) {
                    return Err(format!("partition {at}: the batch at {} fails its CRC", header.base_offset));
                }
                let decoded = decompressor
                    .decompress(header.codec().expect("known"), &batch.bytes[61..])
                    .map_err(|error| format!("partition {at}: {error}"))?;
                for record in Records::new(header, decoded) {
                    let record = record.map_err(|error| format!("partition {at}: {error}"))?;
                    if record.offset < Offset(next[at]) {
                        continue;
                    }
                    if record.offset != Offset(next[at]) {
                        return Err(format!("partition {at}: offset {} follows {}", record.offset, next[at] - 1));
                    }
                    if record.value != Some(&value(found.partition, record.offset.0)[..]) {
                        let head = String::from_utf8_lossy(
                            &record.value.unwrap_or_default()[..20.min(record.value.map_or(0, <[u8]>::len))],
                        )
                        .into_owned();
                        return Err(format!("partition {at}: at offset {} lies another record: {head}", record.offset));
                    }
                    next[at] += 1;
                }
            }
            ended[at] = next[at] >= found.high_watermark;
        }
    }
    Ok(next)
}

fn verify_whole(client: &mut Client, ends: &[i64]) {
    let whole = verify(client, &vec![0; ends.len()]).unwrap_or_else(|why| panic!("at the end of the topic: {why}"));
    assert_eq!(whole, ends);
}

/// Creates an empty topic and its producers.
fn begin_topic(client: &mut Client, chance: &mut Chance) -> Vec<Producer> {
    let topic =
        NewTopic { name: TOPIC.into(), partitions: Some(PARTITIONS), replication_factor: None, configs: Vec::new() };
    client.create_topic(&topic).expect("a fresh topic");
    let producer = |partition| {
        let identity = client.init_producer().expect("a producer id");
        Producer {
            partition,
            producer_id: identity.producer_id,
            producer_epoch: identity.producer_epoch,
            next: 0,
            in_doubt: VecDeque::new(),
            acknowledged: 0,
            chance: Chance::new(chance.next()),
        }
    };
    (0..PARTITIONS).map(producer).collect()
}

#[test]
fn acknowledged_records_survive_kill_9_once_and_in_order() {
    let _turn = turn::of("kill_9");
    let rounds = number("TIDEMILL_CRASH_ROUNDS", 100);
    let seed = number("TIDEMILL_CRASH_SEED", 0x5eed);
    // Small segments, a small journal and little memory: segments roll, the journal wraps and chunks are evicted.
    let arguments = [
        "--shards",
        "2",
        "--set",
        "journal.bytes=134217728",
        "--set",
        "memory.bytes=67108864",
        "--set",
        "log.segment.bytes=8388608",
    ];
    let mut node = Node::tidemill("crash", &arguments);
    let mut chance = Chance::new(seed);
    let mut client = connect(&node);
    let mut producers = begin_topic(&mut client, &mut chance);
    let mut verified = vec![0; PARTITIONS as usize];
    let acknowledged = AtomicU64::new(0);
    let began = Instant::now();
    let mut recoveries = Vec::new();
    for round in 1..=rounds {
        client.refresh(Some(TOPIC)).expect("metadata");
        let info = client.topic(TOPIC).expect("the topic is there").clone();
        let leaders: Vec<String> = (0..PARTITIONS)
            .map(|partition| {
                let leader = info.partition(partition).expect("has a leader").leader_id;
                client.cluster().brokers[&leader].address()
            })
            .collect();
        let load = Duration::from_millis(10 + chance.below(350));
        let outcome: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let running: Vec<_> = producers
                .iter_mut()
                .zip(&leaders)
                .map(|(producer, leader)| scope.spawn(|| producer.run(leader, &acknowledged)))
                .collect();
            std::thread::sleep(load);
            node.kill();
            running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for result in outcome {
            result.unwrap_or_else(|why| panic!("round {round}, seed {seed}: {why}"));
        }
        let restarted = Instant::now();
        node.restart();
        recoveries.push(restarted.elapsed());
        client = connect(&node);
        // From time to time read the whole log, cold.
        let from = if round % 25 == 0 { vec![0; verified.len()] } else { verified.clone() };
        verified = verify(&mut client, &from).unwrap_or_else(|why| panic!("round {round}, seed {seed}: {why}"));
        for producer in &producers {
            let end = verified[producer.partition as usize];
            assert!(
                end >= producer.acknowledged,
                "round {round}, seed {seed}: partition {} was acknowledged up to {} and ends at {end}",
                producer.partition,
                producer.acknowledged
            );
            assert!(end <= producer.next, "round {round}: nobody sent what lies at {end}");
        }
        if round % 20 == 0 || round == rounds {
            say(&format!(
                "crash: {round} of {rounds} rounds, {} records acknowledged, none lost, none twice, {:.0?}",
                acknowledged.load(Ordering::Relaxed),
                began.elapsed()
            ));
        }
        if round % ROUNDS_A_TOPIC == 0 && round < rounds {
            verify_whole(&mut client, &verified);
            client.delete_topic(TOPIC).expect("it is there");
            producers = begin_topic(&mut client, &mut chance);
            verified.fill(0);
        }
    }
    let total = acknowledged.load(Ordering::Relaxed);
    assert!(total > rounds * 100, "{total} records acknowledged in {rounds} rounds is no load");
    verify_whole(&mut client, &verified);
    recoveries.sort_unstable();
    // A lost or repeated record has failed the test above.
    say(&format!(
        "\nkill -9\n rounds  records acknowledged  lost  duplicated  recovery: median      most\n\
         \x20{rounds:>6}  {total:>20}     0           0  {:>16.0?}  {:>8.0?}\n",
        recoveries[recoveries.len() / 2],
        recoveries[recoveries.len() - 1],
    ));
}
