//! A connection that sends the given frames and waits for responses, without retries, negotiation or metadata.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tidemill::model::{ErrorCode, LeaderEpoch, TopicId};
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::{BatchHeader, Codec, Decompressor, batches};
use tidemill::wire::data::fetch::{FetchHead, FetchPartition, FetchRequest, FetchResponse, PartitionHead};
use tidemill::wire::data::produce::{ProduceHead, ProduceRequestWriter, ProduceResponse};
use tidemill::wire::{ApiKey, Message, Reader, Topic, Wire, frame};

/// Deadline of a response. A broker that is silent for so long has lost the request.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Talk {
    pub stream: TcpStream,
    /// Sent in Produce requests.
    pub transactional_id: Option<String>,
    next_id: i32,
}

/// One partition of a Produce response.
#[derive(Debug)]
pub struct Produced {
    pub partition: i32,
    pub code: ErrorCode,
    pub base_offset: i64,
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub blamed: Vec<i32>,
    pub message: Option<String>,
}

/// A Fetch response.
#[derive(Debug)]
pub struct Fetched {
    pub head: FetchHead,
    pub partitions: Vec<Part>,
    /// Node, host and port of the named leaders.
    pub endpoints: Vec<(i32, String, i32)>,
}

/// One partition of a Fetch response.
#[derive(Debug)]
pub struct Part {
    /// The topic's name, or its id as text.
    pub topic: String,
    pub head: PartitionHead,
    pub records: Vec<u8>,
}

impl Part {
    pub fn code(&self) -> ErrorCode {
        self.head.error_code
    }

    /// Base and last offset of each batch.
    pub fn offsets(&self) -> Vec<(i64, i64)> {
        headers(&self.records).iter().map(|header| (header.base_offset.0, header.last_offset().0)).collect()
    }

    /// All values, as text.
    pub fn values(&self) -> Vec<String> {
        let mut values = Vec::new();
        for batch in batches(&self.records) {
            let batch = batch.expect("whole batches");
            let mut decompressor = Decompressor::new(64 << 20);
            let records = decompressor.records(&batch.header, batch.stored_records()).expect("readable");
            for record in tidemill::record::Records::new(&batch.header, records) {
                let value = record.expect("a good record").value.expect("a value");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        values
    }
}

pub fn headers(records: &[u8]) -> Vec<BatchHeader> {
    batches(records).map(|batch| batch.expect("whole batches").header).collect()
}

impl Talk {
    pub fn to(address: &str) -> Talk {
        Talk::over(TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// A connection from an address of this machine.
    pub fn from(source: IpAddr, address: &str) -> Talk {
        let socket = Socket::new(Domain::for_address((source, 0).into()), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap_or_else(|error| panic!("{source}: {error}"));
        let to: SocketAddr = address.parse().expect("an IP address");
        socket.connect(&to.into()).unwrap_or_else(|error| panic!("{address}: {error}"));
        Talk::over(socket.into())
    }

    fn over(stream: TcpStream) -> Talk {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Talk { stream, transactional_id: None, next_id: 1 }
    }

    pub fn id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes what is sent");
    }

    /// Sends a frame, also when the broker may have closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame without its length; None when the broker has closed the connection.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let received = self.try_receive();
        received.unwrap_or_else(|error| panic!("neither an answer nor an end of the connection: {error}"))
    }

    /// As `receive`, or an error when no frame arrives in time.
    pub fn try_receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut prefix = [0; 4];
        if !self.fill(&mut prefix)? {
            return Ok(None);
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(prefix)).expect("a length")];
        Ok(self.fill(&mut frame)?.then_some(frame))
    }

    /// False when the broker has closed the connection.
    fn fill(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match self.stream.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }

    /// The body of the next response; its header is checked.
    pub fn answer<T>(&mut self, api: ApiKey, version: i16, id: i32, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let frame = self.receive().unwrap_or_else(|| panic!("{api:?} v{version}: the connection was closed"));
        let mut reader = Reader::new(&frame);
        let echoed = frame::decode_response_header(&mut reader, api.api(), version).expect("a header");
        assert_eq!(echoed, id, "{api:?} v{version}");
        let answer = read(&mut reader);
        assert_eq!(reader.remaining(), 0, "{api:?} v{version}: the answer is longer than its fields");
        answer
    }

    pub fn call<A: Message>(&mut self, request: &impl Message, version: i16) -> A {
        let id = self.id();
        let frame = frame::encode_request(request, version, id, Some("test")).expect("encodable");
        self.send(&frame);
        self.answer(A::API, version, id, |reader| {
            <A as Wire>::decode(reader, version).unwrap_or_else(|error| panic!("{:?} v{version}: {error}", A::API))
        })
    }

    pub fn send_fetch(&mut self, request: &FetchRequest<'_>, version: i16) -> i32 {
        let id = self.id();
        let frame = request.encode_frame(version, id, Some("test")).expect("encodable");
        self.send(&frame);
        id
    }

    pub fn receive_fetch(&mut self, version: i16, id: i32) -> Fetched {
        self.answer(ApiKey::Fetch, version, id, |reader| {
            let answer = FetchResponse::decode(reader, version).expect("a Fetch answer");
            let part = |part: &tidemill::wire::data::fetch::FetchedPartition<'_>| Part {
                topic: match part.topic {
                    Topic::Name(name) => name.to_string(),
                    Topic::Id(id) => id.to_string(),
                },
                head: part.head.clone(),
                records: part.records.to_vec(),
            };
            let endpoint = |at: &tidemill::wire::NodeEndpoint<'_>| (at.node_id, at.host.to_string(), at.port);
            Fetched {
                head: answer.head,
                partitions: answer.partitions.iter().map(part).collect(),
                endpoints: answer.node_endpoints.iter().map(endpoint).collect(),
            }
        })
    }

    pub fn fetch(&mut self, request: &FetchRequest<'_>, version: i16) -> Fetched {
        let id = self.send_fetch(request, version);
        self.receive_fetch(version, id)
    }

    /// Fetches one partition without a session and without a wait.
    pub fn fetch_one(&mut self, topic: Topic<'_>, partition: i32, offset: i64, version: i16) -> Part {
        let partitions = vec![FetchPartition::new(topic, partition, offset)];
        let mut answer = self.fetch(&FetchRequest { partitions, ..Default::default() }, version);
        assert_eq!(answer.partitions.len(), 1);
        answer.partitions.remove(0)
    }

    pub fn send_produce(&mut self, version: i16, acks: i16, parts: &[(Topic<'_>, i32, &[u8])]) -> i32 {
        let (id, frame) = self.produce_frame(version, acks, parts);
        self.send(&frame);
        id
    }

    pub fn produce_frame(&mut self, version: i16, acks: i16, parts: &[(Topic<'_>, i32, &[u8])]) -> (i32, Vec<u8>) {
        let id = self.id();
        let topics = || parts.chunk_by(|a, b| a.0 == b.0);
        let transactional_id = self.transactional_id.as_deref();
        let head = ProduceHead { transactional_id, acks, timeout_ms: 30_000 };
        let mut writer = ProduceRequestWriter::new(version, id, Some("test"), head, topics().count());
        for partitions in topics() {
            writer.topic(partitions[0].0, partitions.len());
            for (_, partition, records) in partitions {
                writer.partition(*partition, *records);
            }
        }
        (id, writer.finish().expect("encodable").to_vec())
    }

    pub fn receive_produce(&mut self, version: i16, id: i32) -> Vec<Produced> {
        self.answer(ApiKey::Produce, version, id, |reader| {
            let answer = ProduceResponse::decode(reader, version).expect("a Produce answer");
            let answered = answer.partitions.iter().map(|answered| Produced {
                partition: answered.partition,
                code: answered.error_code,
                base_offset: answered.base_offset,
                log_append_time_ms: answered.log_append_time_ms,
                log_start_offset: answered.log_start_offset,
                blamed: answered.record_errors.iter().map(|error| error.batch_index).collect(),
                message: answered.error_message.as_deref().map(str::to_string),
            });
            answered.collect()
        })
    }

    pub fn produce(&mut self, version: i16, acks: i16, parts: &[(Topic<'_>, i32, &[u8])]) -> Vec<Produced> {
        let id = self.send_produce(version, acks, parts);
        self.receive_produce(version, id)
    }

    /// Produces one batch to one partition with acks=all.
    pub fn produce_one(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Produced {
        self.produce(9, -1, &[(Topic::Name(topic), partition, batch)]).remove(0)
    }

    /// As [`produce_one`](Self::produce_one), but must succeed; returns the base offset.
    pub fn append(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let answer = self.produce_one(topic, partition, &batch(values));
        assert_eq!(answer.code, ErrorCode::None, "{answer:?}");
        answer.base_offset
    }
}

pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A batch of records without keys.
pub fn batch(values: &[&str]) -> Vec<u8> {
    batch_with(BatchOptions::default(), values)
}

pub fn packed(codec: Codec, values: &[&str]) -> Vec<u8> {
    batch_with(BatchOptions { codec, ..Default::default() }, values)
}

/// A batch of an idempotent producer.
pub fn sequenced(producer_id: i64, producer_epoch: i16, base_sequence: i32, values: &[&str]) -> Vec<u8> {
    batch_with(BatchOptions { producer_id, producer_epoch, base_sequence, ..Default::default() }, values)
}

pub fn batch_with(options: BatchOptions, values: &[&str]) -> Vec<u8> {
    let now = now_ms();
    timed(options, &values.iter().map(|value| (now, *value)).collect::<Vec<_>>())
}

/// A batch of records with the given timestamps.
pub fn timed(options: BatchOptions, records: &[(i64, &str)]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(options);
    for (timestamp, value) in records {
        batch.append(*timestamp, None, Some(value.as_bytes()), []);
    }
    batch.finish()
}

/// The fetch of a partition by topic name.
pub fn from<'a>(topic: &'a str, partition: i32, offset: i64) -> FetchPartition<'a> {
    FetchPartition::new(Topic::Name(topic), partition, offset)
}

pub fn from_id(topic: TopicId, partition: i32, offset: i64) -> FetchPartition<'static> {
    FetchPartition::new(Topic::Id(topic), partition, offset)
}

pub fn in_epoch(partition: FetchPartition<'_>, current_leader_epoch: LeaderEpoch) -> FetchPartition<'_> {
    FetchPartition { current_leader_epoch: current_leader_epoch.0, ..partition }
}

/// Runs `work` and measures its time.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let outcome = work();
    (outcome, began.elapsed())
}
