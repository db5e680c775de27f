//! Tests the client against a scripted peer, for responses that real brokers send only in rare failures.

use super::fetch::{FetchOptions, FetchPosition};
use super::produce::{Acks, PartitionBatch};
use super::*;
use crate::model::{ErrorCode, TopicId};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::wire::admin::api_versions::{self, ApiVersion, ApiVersionsResponse};
use crate::wire::admin::metadata::{MetadataBroker, MetadataPartition, MetadataResponse, MetadataTopic};
use crate::wire::data::fetch::{FetchHead, FetchRequest, FetchResponseWriter, PartitionHead};
use crate::wire::data::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse};
use crate::wire::data::produce::{ProduceRequest, ProduceResponse, ProducedPartition};
use crate::wire::frame::{self, Refused, RequestHeader};
use crate::wire::txn::init_producer_id::InitProducerIdResponse;
use crate::wire::{API_TABLE, ApiKey, Reader, Topic, Unencodable};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The peer's response to a request.
enum Reply {
    Frame(Vec<u8>),
    /// It keeps the connection open and does not respond.
    Silence,
    Close,
}

/// The script and the observations of the peer. A test may change it while the peer runs.
struct PeerState {
    address: SocketAddr,
    /// The newest version of an API; without an entry it is that of the table.
    versions_max: Vec<(ApiKey, i16)>,
    leader_id: i32,
    brokers: Vec<(i32, String, i32)>,
    /// One response for each Produce. After the last one the peer accepts every Produce.
    produce_replies: Vec<Reply>,
    /// One response for each Fetch. After the last one the peer answers every Fetch.
    fetch_errors: Vec<ErrorCode>,
    /// API and version of each request.
    seen: Vec<(ApiKey, i16)>,
    /// The base sequence of each received batch.
    sequences: Vec<i32>,
}

impl PeerState {
    fn count(&self, key: ApiKey) -> usize {
        self.seen.iter().filter(|(seen, _)| *seen == key).count()
    }
}

/// Starts a peer with topic "t" of two partitions. Broker 1, the peer itself, leads both.
fn peer(change: impl FnOnce(&mut PeerState)) -> Arc<Mutex<PeerState>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut state = PeerState {
        address,
        versions_max: Vec::new(),
        leader_id: 1,
        brokers: vec![(1, address.ip().to_string(), address.port().into())],
        produce_replies: Vec::new(),
        fetch_errors: Vec::new(),
        seen: Vec::new(),
        sequences: Vec::new(),
    };
    change(&mut state);
    let state = Arc::new(Mutex::new(state));
    let shared = state.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, shared) = (stream.unwrap(), shared.clone());
            std::thread::spawn(move || serve(stream, &shared));
        }
    });
    state
}

fn serve(mut stream: TcpStream, state: &Mutex<PeerState>) {
    loop {
        let mut prefix = [0; 4];
        if stream.read_exact(&mut prefix).is_err() {
            return;
        }
        let mut request = vec![0; u32::from_be_bytes(prefix) as usize];
        stream.read_exact(&mut request).unwrap();
        match respond(&request, &mut state.lock().unwrap()) {
            Reply::Frame(frame) => stream.write_all(&frame).unwrap(),
            Reply::Silence => {}
            Reply::Close => return,
        }
    }
}

fn respond(request: &[u8], state: &mut PeerState) -> Reply {
    let mut reader = Reader::new(request);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(Refused::UnknownApiVersions { correlation_id, .. }) => {
            return Reply::Frame(api_versions::unsupported_version(correlation_id));
        }
        Err(other) => panic!("{other}"),
    };
    let (key, version, correlation_id) = (header.api.key, header.version, header.correlation_id);
    state.seen.push((key, version));
    let version_max = |key: ApiKey, state: &PeerState| {
        state.versions_max.iter().find(|(set, _)| *set == key).map_or(key.api().max, |(_, max)| *max)
    };
    if version > version_max(key, state) {
        assert_eq!(key, ApiKey::ApiVersions, "the client sends only negotiated versions");
        let range = ApiVersion { api_key: 18, min_version: 0, max_version: version_max(key, state) };
        let rejection = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion,
            api_keys: vec![range],
            ..Default::default()
        };
        return Reply::Frame(frame::encode_response(&rejection, 0, correlation_id).unwrap());
    }
    let whole = |frame: Result<Vec<u8>, _>| Reply::Frame(frame.unwrap());
    match key {
        ApiKey::ApiVersions => {
            let versions = API_TABLE.iter().map(|api| ApiVersion {
                api_key: api.key.code(),
                min_version: api.min,
                max_version: version_max(api.key, state),
            });
            // A maximum below the minimum means that the peer does not have the API.
            let api_keys = versions.filter(|api| api.max_version >= api.min_version).collect();
            whole(frame::encode_response(
                &ApiVersionsResponse { api_keys, ..Default::default() },
                version,
                correlation_id,
            ))
        }
        ApiKey::Metadata => {
            whole(frame::encode_response(&metadata(&mut reader, version, state), version, correlation_id))
        }
        ApiKey::InitProducerId => {
            let identity = InitProducerIdResponse { producer_id: 77, ..Default::default() };
            whole(frame::encode_response(&identity, version, correlation_id))
        }
        ApiKey::Produce => respond_to_produce(&mut reader, version, correlation_id, state),
        ApiKey::Fetch => whole(respond_to_fetch(&mut reader, version, correlation_id, state)),
        ApiKey::ListOffsets => {
            let partitions = (0..2).map(|partition_index| ListOffsetsPartitionResponse {
                partition_index,
                offset: 40 + i64::from(partition_index),
                ..Default::default()
            });
            let topic = ListOffsetsTopicResponse { name: "t".into(), partitions: partitions.collect() };
            let response = ListOffsetsResponse { topics: vec![topic], ..Default::default() };
            whole(frame::encode_response(&response, version, correlation_id))
        }
        other => panic!("{other:?} is not scripted"),
    }
}

fn respond_to_produce(reader: &mut Reader<'_>, version: i16, correlation_id: i32, state: &mut PeerState) -> Reply {
    let request = ProduceRequest::decode(reader, version).unwrap();
    for partition in request.partitions() {
        let header = crate::record::BatchHeader::decode(partition.records).unwrap();
        state.sequences.push(header.base_sequence);
    }
    if !state.produce_replies.is_empty() {
        match state.produce_replies.remove(0) {
            // A frame in the script stands for NOT_LEADER_OR_FOLLOWER.
            Reply::Frame(_) => {
                return produced(&request, version, correlation_id, ErrorCode::NotLeaderOrFollower);
            }
            other => return other,
        }
    }
    if request.acks == 0 { Reply::Silence } else { produced(&request, version, correlation_id, ErrorCode::None) }
}

fn respond_to_fetch(
    reader: &mut Reader<'_>,
    version: i16,
    correlation_id: i32,
    state: &mut PeerState,
) -> Result<Vec<u8>, Unencodable> {
    let request = FetchRequest::decode(reader, version).unwrap();
    let code = if state.fetch_errors.is_empty() { ErrorCode::None } else { state.fetch_errors.remove(0) };
    let head = FetchHead { throttle_time_ms: 0, error_code: ErrorCode::None, session_id: 0 };
    let mut writer: FetchResponseWriter<&[u8]> = FetchResponseWriter::new(version, correlation_id, head, 1);
    writer.topic(request.partitions[0].topic, request.partitions.len());
    let batch = batch(3);
    for partition in &request.partitions {
        let records = if code.is_error() { &[][..] } else { &batch };
        writer.partition(&PartitionHead::refused(partition.partition, code), [records]);
    }
    writer.finish(&[]).map(|pieces| pieces.to_vec())
}

fn metadata(reader: &mut Reader<'_>, version: i16, state: &PeerState) -> MetadataResponse {
    let request = crate::wire::admin::metadata::MetadataRequest::decode(reader, version).unwrap();
    let broker = |(node_id, host, port): &(i32, String, i32)| MetadataBroker {
        node_id: *node_id,
        host: host.clone(),
        port: *port,
        ..Default::default()
    };
    let named = |name: String| {
        let is_known = name == "t";
        let partition =
            |partition_index| MetadataPartition { partition_index, leader_id: state.leader_id, ..Default::default() };
        MetadataTopic {
            error_code: if is_known { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition },
            name: Some(name),
            topic_id: if version >= 10 { TopicId([7; 16]) } else { TopicId::ZERO },
            // Out of order, because the protocol does not promise an order.
            partitions: if is_known { vec![partition(1), partition(0)] } else { Vec::new() },
            ..Default::default()
        }
    };
    let topics = match request.topics {
        Some(topics) => topics.into_iter().filter_map(|topic| topic.name).map(named).collect(),
        None => vec![named("t".into())],
    };
    MetadataResponse { brokers: state.brokers.iter().map(broker).collect(), topics, ..Default::default() }
}

fn produced(request: &ProduceRequest<'_>, version: i16, correlation_id: i32, code: ErrorCode) -> Reply {
    let partitions = request.partitions().map(|partition| ProducedPartition {
        base_offset: if code.is_error() { -1 } else { 100 + i64::from(partition.partition) },
        ..ProducedPartition::refused(partition.topic, partition.partition, code)
    });
    let response = ProduceResponse { partitions: partitions.collect(), ..Default::default() };
    Reply::Frame(response.encode_frame(version, correlation_id).unwrap())
}

fn batch(records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(1, None, Some(b"value"), []);
    }
    builder.finish()
}

fn two_batches() -> Vec<PartitionBatch> {
    vec![PartitionBatch { partition: 0, batch: batch(2) }, PartitionBatch { partition: 1, batch: batch(1) }]
}

fn config(address: impl ToString) -> ClientConfig {
    ClientConfig { bootstrap: address.to_string(), timeout: Duration::from_millis(700), ..Default::default() }
}

fn client(state: &Mutex<PeerState>) -> Client {
    let address = state.lock().unwrap().address;
    Client::connect(config(address)).unwrap()
}

/// The partition and the base offset of each batch, sorted.
fn offsets(appended: Vec<super::produce::Appended>) -> Vec<(i32, i64)> {
    let mut offsets: Vec<_> = appended.iter().map(|one| (one.partition, one.base_offset)).collect();
    offsets.sort_unstable();
    offsets
}

#[test]
fn highest_common_version_is_used() {
    let state =
        peer(|state| state.versions_max = vec![(ApiKey::ApiVersions, 1), (ApiKey::Metadata, 8), (ApiKey::Fetch, 11)]);
    let mut client = client(&state);
    // Metadata v8 has no topic ids, which Produce v13 needs.
    client.produce("t", two_batches(), Acks::All, false).unwrap();
    client.fetch("t", &[FetchPosition { partition: 0, offset: 0 }], FetchOptions::default()).unwrap();
    let seen = state.lock().unwrap().seen.clone();
    let versions = |key| seen.iter().filter(|(seen, _)| *seen == key).map(|(_, version)| *version).collect::<Vec<_>>();
    let newest = ApiKey::ApiVersions.api().max;
    assert_eq!(versions(ApiKey::ApiVersions), [newest, 1, newest, 1], "rejected, then accepted, on both connections");
    assert_eq!(versions(ApiKey::Metadata), [8]);
    assert_eq!(versions(ApiKey::Produce), [12]);
    assert_eq!(versions(ApiKey::Fetch), [11]);
}

#[test]
fn topic_ids_are_used_when_both_sides_support_them() {
    let state = peer(|_| {});
    let mut client = client(&state);
    assert_eq!(offsets(client.produce("t", two_batches(), Acks::All, false).unwrap()), [(0, 100), (1, 101)]);
    assert!(state.lock().unwrap().seen.contains(&(ApiKey::Produce, 13)));
}

#[test]
fn missing_api_is_named_in_the_error() {
    let state = peer(|state| state.versions_max = vec![(ApiKey::InitProducerId, -1), (ApiKey::ListOffsets, 6)]);
    let mut client = client(&state);
    match client.init_producer() {
        Err(ClientError::NoCommonVersion { api: "InitProducerId", theirs: None, .. }) => {}
        other => panic!("{other:?}"),
    }
    match client.list_offsets("t", &[0], offsets::MAX_TIMESTAMP) {
        Err(ClientError::NoCommonVersion { api: "ListOffsets", theirs: Some((_, 6)), .. }) => {}
        other => panic!("{other:?}"),
    }
    let listed = client.list_offsets("t", &[1, 0], offsets::EARLIEST).unwrap();
    assert_eq!(listed.iter().map(|listed| listed.offset).collect::<Vec<_>>(), [Some(41), Some(40)]);
}

#[test]
fn moved_leader_is_looked_up_again() {
    let state = peer(|state| {
        state.produce_replies = vec![Reply::Frame(Vec::new()), Reply::Frame(Vec::new())];
        state.fetch_errors = vec![ErrorCode::NotLeaderOrFollower, ErrorCode::UnknownLeaderEpoch];
    });
    let mut client = client(&state);
    assert_eq!(offsets(client.produce("t", two_batches(), Acks::All, false).unwrap()), [(0, 100), (1, 101)]);
    let positions = [FetchPosition { partition: 0, offset: 0 }, FetchPosition { partition: 1, offset: 0 }];
    let fetched = client.fetch("t", &positions, FetchOptions::default()).unwrap();
    assert_eq!(fetched.len(), 2);
    assert_eq!(fetched[0].records, batch(3));
    let state = state.lock().unwrap();
    assert_eq!((state.count(ApiKey::Produce), state.count(ApiKey::Fetch)), (3, 3));
    assert!(state.count(ApiKey::Metadata) >= 5, "each retry requests new metadata");
}

#[test]
fn lost_response_without_idempotence_is_an_error_without_retry() {
    let state = peer(|state| state.produce_replies = vec![Reply::Close]);
    let mut client = client(&state);
    let error = client.produce("t", two_batches(), Acks::All, false).unwrap_err();
    assert!(matches!(error, ClientError::Closed { during: "Produce", .. }), "{error}");
    assert_eq!(state.lock().unwrap().count(ApiKey::Produce), 1);
}

#[test]
fn lost_response_with_idempotence_is_retried_with_the_same_sequence() {
    let state = peer(|state| state.produce_replies = vec![Reply::Close, Reply::Silence]);
    let address = state.lock().unwrap().address;
    let mut client = Client::connect(ClientConfig { timeout: Duration::from_millis(1500), ..config(address) }).unwrap();
    let mut identity = client.init_producer().unwrap();
    assert_eq!(identity.producer_id, 77);
    assert_eq!([identity.take_sequence("t", 0, 5), identity.take_sequence("t", 0, 1)], [0, 5]);
    assert_eq!(identity.take_sequence("t", 1, 1), 0, "each partition has its own sequence");
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1, None, None, []);
    builder.set_producer(identity.producer_id, identity.producer_epoch, identity.take_sequence("t", 0, 1));
    let batches = vec![PartitionBatch { partition: 0, batch: builder.finish() }];
    // The peer closes the first connection, and then does not respond until the deadline.
    assert!(client.produce("t", batches.clone(), Acks::All, true).is_err());
    assert_eq!(state.lock().unwrap().sequences, [6, 6]);
    assert_eq!(offsets(client.produce("t", batches, Acks::All, true).unwrap()), [(0, 100)]);
}

#[test]
fn acks_0_does_not_wait_and_sync_reports_the_rejection() {
    let state = peer(|_| {});
    let mut client_of = client(&state);
    assert_eq!(offsets(client_of.produce("t", two_batches(), Acks::None, false).unwrap()), [(0, -1), (1, -1)]);
    client_of.sync().unwrap();
    assert_eq!(state.lock().unwrap().count(ApiKey::Produce), 1);

    state.lock().unwrap().produce_replies = vec![Reply::Close];
    client_of.produce("t", two_batches(), Acks::None, false).unwrap();
    let error = client_of.sync().unwrap_err();
    assert!(error.is_connection_lost() || matches!(error, ClientError::NotKafka { .. }), "{error}");
}

#[test]
fn missing_response_fails_at_the_timeout() {
    let state = peer(|state| state.produce_replies = vec![Reply::Silence]);
    let mut client = client(&state);
    let began = Instant::now();
    let error = client.produce("t", two_batches(), Acks::All, false).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--timeout"));
    assert!((500..5000).contains(&began.elapsed().as_millis()));
}

#[test]
fn unknown_topic_and_partition_have_a_hint() {
    let state = peer(|_| {});
    let mut client = client(&state);
    let error = client.topic("missing").unwrap_err();
    assert!(matches!(&error, ClientError::UnknownTopic { topic } if topic == "missing"), "{error}");
    assert!(error.hint().unwrap().contains("tidemill topic create missing"));
    let error = client.topic("t").unwrap().partition(2).unwrap_err();
    assert!(error.to_string().contains("it has 2"), "{error}");
    assert!(error.hint().unwrap().contains("0 to 1"));
}

#[test]
fn unreachable_leader_is_reported_with_its_advertised_address() {
    // A port without a listener: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let state = peer(|state| state.brokers = vec![(1, "127.0.0.1".into(), port.into())]);
    let mut client = client(&state);
    let error = client.produce("t", two_batches(), Acks::All, false).unwrap_err();
    assert!(matches!(error, ClientError::ConnectAdvertised { .. }), "{error}");
    assert!(error.hint().unwrap().contains("advertised"));
}

#[test]
fn partition_without_leader_fails_after_retries() {
    let state = peer(|state| state.leader_id = -1);
    let mut client = client(&state);
    let error = client.produce("t", two_batches(), Acks::All, false).unwrap_err();
    assert!(matches!(error, ClientError::UnknownBroker { broker_id: -1 }), "{error}");
    assert!(state.lock().unwrap().count(ApiKey::Metadata) > 2);
}

/// Starts a peer that responds to the first request with these bytes.
fn peer_with_bytes(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(bytes);
        // Keeps the connection open until the client closes it.
        let _ = stream.read(&mut request);
    });
    address
}

#[test]
fn peer_that_does_not_speak_kafka_is_reported() {
    let check = |bytes: &'static [u8]| {
        let error = Client::connect(config(peer_with_bytes(bytes))).unwrap_err();
        assert!(matches!(error, ClientError::NotKafka { .. }), "{error}");
        assert!(error.hint().unwrap().contains("Kafka listener"));
    };
    check(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    check(b"\xff\xff\xff\xff");
    check(b"\x00\x00\x00\x00");
    check(b"\x00\x00\x00\x04\x00\x00\x99\x99");
    // The right correlation id, then a truncated response.
    check(b"\x00\x00\x00\x06\x00\x00\x00\x02\x00\x00");
    // An array of 2^31 - 1 versions without bytes for them.
    check(b"\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x7f\xff\xff\xff");
}

#[test]
fn unreachable_bootstrap_is_skipped_and_an_error_if_it_is_the_last() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("127.0.0.1:{port}");
    let error = Client::connect(config(&dead)).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(error.hint().unwrap().contains("tidemill serve"));
    let error = Client::connect(config(" , ")).unwrap_err();
    assert!(matches!(error, ClientError::NoBootstrap { .. }), "{error}");

    let state = peer(|_| {});
    let address = state.lock().unwrap().address;
    let mut client = Client::connect(config(format!("{dead}, {address}"))).unwrap();
    assert_eq!(client.all_topics().unwrap().len(), 1);
    let topic = client.topic("t").unwrap();
    assert_eq!(topic.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 1], "in order");
    assert_eq!(Topic::Id(topic.topic_id), Topic::Id(TopicId([7; 16])));
}
