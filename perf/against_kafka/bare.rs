//! A bare loop in place of a broker: the floor of the produce loads, on the same runtime.
//!
//! It receives Produce requests, checks the CRC of each batch, copies the batch into a group, writes each group once
//! with `O_DIRECT` and `RWF_DSYNC` to a file that was written before, and responds. It keeps no log: no offsets, no
//! producers, no second write to a segment. Each core has its own thread, port and file, as in direct routing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidemill::model::{ErrorCode, TopicId};
use tidemill::runtime::sync::Notify;
use tidemill::runtime::{self, AlignedBuf, Class, Config, Durability, File, Listener, Open, Slice, Stream, cpu};
use tidemill::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidemill::wire::admin::metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic,
};
use tidemill::wire::data::produce::{ProduceRequest, ProduceResponse, ProducedPartition};
use tidemill::wire::frame::{self, RequestHeader};
use tidemill::wire::{ApiKey, Reader};

/// The option of this program that runs the loop: port and directory follow.
pub const OPTION: &str = "--bare-loop";

const FILE_BYTES: u64 = 256 << 20;
const GROUP_BYTES_MAX: usize = 1 << 20;
const BLOCK: usize = 4096;
/// Writes in flight, as `journal.depth`.
const DEPTH: usize = 2;
/// Every topic seems to exist, with this many partitions.
const PARTITIONS: i32 = 1024;
/// The bytes of a batch that its CRC does not cover, and the position of the CRC in them.
const CRC_FROM: usize = 21;
const CRC_AT: usize = 17;

/// The loop as a process of its own, so that its CPU time can be measured.
pub struct BareLoop {
    child: Child,
    port: u16,
}

impl BareLoop {
    /// Starts the loop with its files in `directory`, and waits until it accepts connections. It listens on `port` and
    /// on a port per core behind it.
    pub fn start(port: u16, directory: &Path) -> BareLoop {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg(OPTION).arg(port.to_string()).arg(directory);
        let child = command.spawn().expect("this program runs");
        let last = SocketAddr::from((Ipv4Addr::LOCALHOST, port + cpu::cores().len() as u16));
        let begun = Instant::now();
        while std::net::TcpStream::connect(last).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the bare loop starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        BareLoop { child, port }
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves on `port` until the process is killed.
pub fn serve(port: u16, directory: &Path) {
    let cores = cpu::cores();
    let count = cores.len() as u16;
    let threads: Vec<_> = (0..count)
        .zip(cores)
        .map(|(shard, core)| {
            let path = directory.join(format!("bare-{shard}"));
            let config = Config {
                shard,
                core: Some(core),
                spin: Duration::from_micros(20),
                chunks_ready: 8,
                ..Config::default()
            };
            std::thread::spawn(move || runtime::run(config, move || run(shard, count, port, path)))
        })
        .collect();
    for thread in threads {
        thread.join().expect("the loop does not panic").expect("the reactor runs");
    }
}

async fn run(shard: u16, shards: u16, port: u16, path: PathBuf) {
    let shared = Rc::new(Loop {
        file: prewritten(&path).await,
        port,
        shards,
        position: Cell::new(0),
        open: RefCell::new(Group::new()),
        in_flight: RefCell::default(),
        work: Notify::new(),
        room: Notify::new(),
    });
    runtime::spawn(Class::Foreground, "writer", shared.clone().write());
    if shard == 0 {
        runtime::spawn(Class::Foreground, "accept", shared.clone().accept(port));
    }
    shared.accept(port + 1 + shard).await;
}

/// A file whose blocks have all been written.
async fn prewritten(path: &Path) -> File {
    let open = Open { read: true, write: true, create: true, direct: true, ..Open::default() };
    let file = File::open(path, open).await.expect("the file opens");
    let zeros = Slice::from(AlignedBuf::alloc(GROUP_BYTES_MAX).expect("within the budget"));
    for position in (0..FILE_BYTES).step_by(GROUP_BYTES_MAX) {
        file.write_at(zeros.clone(), position, Durability::Cached).await.expect("the disk has space");
    }
    file.sync_all().await.expect("the disk works");
    file
}

/// Batches that one write makes durable, and the responses that wait for it.
struct Group {
    buf: Option<AlignedBuf>,
    bytes: usize,
    responses: Vec<(Rc<Connection>, Vec<u8>)>,
}

impl Group {
    fn new() -> Group {
        Group { buf: None, bytes: 0, responses: Vec::new() }
    }

    fn add(&mut self, records: &[u8]) {
        let buf = self.buf.get_or_insert_with(|| AlignedBuf::alloc(GROUP_BYTES_MAX).expect("within the budget"));
        buf[self.bytes..self.bytes + records.len()].copy_from_slice(records);
        self.bytes += records.len();
    }
}

struct Written {
    is_done: Cell<bool>,
    responses: Vec<(Rc<Connection>, Vec<u8>)>,
}

struct Loop {
    file: File,
    port: u16,
    shards: u16,
    position: Cell<u64>,
    open: RefCell<Group>,
    /// The responses of the groups that are being written, oldest first, and whether the write has ended. Responses
    /// leave in the order of the requests.
    in_flight: RefCell<VecDeque<Rc<Written>>>,
    /// The open group has responses, or a write has ended.
    work: Notify,
    /// The open group is empty again.
    room: Notify,
}

struct Connection {
    stream: Stream,
    unsent: RefCell<Vec<u8>>,
    answered: Notify,
}

impl Loop {
    async fn accept(self: Rc<Self>, port: u16) {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, port).into(), true).expect("the port is free");
        while let Ok((stream, _)) = listener.accept().await {
            let connection = Rc::new(Connection { stream, unsent: RefCell::default(), answered: Notify::new() });
            runtime::spawn(Class::Foreground, "send", connection.clone().send());
            runtime::spawn(Class::Foreground, "receive", self.clone().receive(connection));
        }
    }

    /// Receives frames until the connection ends. A frame that is not whole is received into a buffer of its own.
    async fn receive(self: Rc<Self>, connection: Rc<Connection>) {
        let mut rest: Vec<u8> = Vec::new();
        while let Ok(received) = connection.stream.recv().await
            && !received.is_empty()
        {
            let mut bytes = &received[..];
            if !rest.is_empty() {
                rest.extend_from_slice(bytes);
                bytes = &[];
            }
            let kept = std::mem::take(&mut rest);
            let mut left = if kept.is_empty() { bytes } else { &kept[..] };
            while let Some(length) = length_of(left)
                && left.len() >= length
            {
                self.handle(&connection, &left[4..length]).await;
                left = &left[length..];
            }
            match length_of(left) {
                None => rest = left.to_vec(),
                Some(length) => {
                    let mut whole = AlignedBuf::alloc(length).expect("within the budget");
                    whole[..left.len()].copy_from_slice(left);
                    let at = left.len();
                    drop(received);
                    let (result, whole) = connection.stream.recv_into(whole, at, length - at, true).await;
                    if result.ok() != Some(length - at) {
                        return;
                    }
                    self.handle(&connection, &whole[4..length]).await;
                }
            }
        }
    }

    async fn handle(&self, connection: &Rc<Connection>, frame: &[u8]) {
        let mut body = Reader::new(frame);
        let header = RequestHeader::decode(&mut body).expect("the client sends legal frames");
        let (version, id) = (header.version, header.correlation_id);
        match header.api.key {
            ApiKey::Produce => self.produce(connection, &mut body, version, id).await,
            ApiKey::ApiVersions => {
                ApiVersionsRequest::decode(&mut body, version).expect("a legal request");
                let response = ApiVersionsResponse::advertise(version, Vec::new(), -1, Vec::new());
                connection.answer(&frame::encode_response(&response, version, id).expect("it is encodable"));
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut body, version).expect("a legal request");
                let response = self.metadata(request);
                connection.answer(&frame::encode_response(&response, version, id).expect("it is encodable"));
            }
            other => panic!("the bare loop does not serve {other:?}"),
        }
    }

    async fn produce(&self, connection: &Rc<Connection>, body: &mut Reader<'_>, version: i16, id: i32) {
        let request = ProduceRequest::decode(body, version).expect("a legal request");
        let bytes: usize = request.partitions().map(|part| part.records.len()).sum();
        assert!(bytes <= GROUP_BYTES_MAX, "a request fits into a group");
        while self.open.borrow().bytes + bytes > GROUP_BYTES_MAX {
            self.room.notified().await;
        }
        let mut open = self.open.borrow_mut();
        let partitions = request.partitions().map(|part| {
            let stored = u32::from_be_bytes(part.records[CRC_AT..CRC_FROM].try_into().expect("four bytes"));
            assert_eq!(crc32c::crc32c(&part.records[CRC_FROM..]), stored, "the client sends whole batches");
            open.add(part.records);
            ProducedPartition {
                base_offset: 0,
                log_start_offset: 0,
                ..ProducedPartition::refused(part.topic, part.partition, ErrorCode::None)
            }
        });
        let response = ProduceResponse { partitions: partitions.collect(), ..ProduceResponse::default() };
        let response = response.encode_frame(version, id).expect("it is encodable");
        open.responses.push((connection.clone(), response));
        drop(open);
        self.work.notify_all();
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let broker = |shard: u16| MetadataBroker {
            node_id: i32::from(shard),
            host: "127.0.0.1".into(),
            port: i32::from(self.port + 1 + shard),
            rack: None,
        };
        let partition = |index: i32| MetadataPartition {
            partition_index: index,
            leader_id: index % i32::from(self.shards),
            ..MetadataPartition::default()
        };
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| MetadataTopic {
            name: topic.name,
            topic_id: TopicId([1; 16]),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..MetadataTopic::default()
        });
        MetadataResponse {
            brokers: (0..self.shards).map(broker).collect(),
            controller_id: 0,
            topics: topics.collect(),
            ..MetadataResponse::default()
        }
    }

    /// Writes a group whenever fewer than [`DEPTH`] writes are in flight.
    async fn write(self: Rc<Self>) {
        loop {
            if self.open.borrow().bytes == 0 || self.in_flight.borrow().len() == DEPTH {
                self.work.notified().await;
                continue;
            }
            let group = self.open.replace(Group::new());
            self.room.notify_all();
            let bytes = group.bytes.next_multiple_of(BLOCK);
            let position = self.position.get();
            let position = if position + bytes as u64 > FILE_BYTES { 0 } else { position };
            self.position.set(position + bytes as u64);
            let written = Rc::new(Written { is_done: Cell::new(false), responses: group.responses });
            self.in_flight.borrow_mut().push_back(written.clone());
            let this = self.clone();
            runtime::spawn(Class::Foreground, "group", async move {
                let block = Slice::from(group.buf.expect("it holds bytes")).slice(0..bytes);
                this.file.write_at(block, position, Durability::DataSync).await.expect("the disk works");
                written.is_done.set(true);
                let mut in_flight = this.in_flight.borrow_mut();
                while in_flight.front().is_some_and(|oldest| oldest.is_done.get()) {
                    let oldest = in_flight.pop_front().expect("seen above");
                    oldest.responses.iter().for_each(|(connection, response)| connection.answer(response));
                }
                this.work.notify_all();
            });
        }
    }
}

impl Connection {
    fn answer(&self, response: &[u8]) {
        self.unsent.borrow_mut().extend_from_slice(response);
        self.answered.notify_all();
    }

    async fn send(self: Rc<Self>) {
        loop {
            let answered = self.answered.notified();
            let unsent = self.unsent.take();
            if unsent.is_empty() {
                answered.await;
            } else if self.stream.send(unsent).await.is_err() {
                return;
            }
        }
    }
}

/// The bytes of the frame that begins here, with its length prefix. `None`: the prefix is not whole.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<4>()?;
    Some(4 + u32::from_be_bytes(*prefix) as usize)
}
