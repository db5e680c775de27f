//! Every decoder and every reader of files, as a function of bytes.
//!
//! A target panics when the code breaks a promise, and returns for any other input. The first byte of a message target
//! chooses the version. The smoke run (`tests/costs/fuzz.rs`) and the coverage-guided run (`tests/fuzz/`) share them.

use std::sync::LazyLock;

use tidemill::controller;
use tidemill::coordinator::group::consumer::embedded::{Assignment, Subscription};
use tidemill::coordinator::group::record::{Key, OffsetValue};
use tidemill::coordinator::txn::{Transaction, schema as txn_schema};
use tidemill::disk::checkpoint::{Checkpoint, parse_body};
use tidemill::disk::journal::files::FileHeader;
use tidemill::disk::journal::group::{GroupHeader, read_entries};
use tidemill::disk::layout::Meta;
use tidemill::log::aborted;
use tidemill::log::epochs::Epochs;
use tidemill::log::index::Indexes;
use tidemill::metadata::archive;
use tidemill::model::Offset;
use tidemill::record::records::Record;
use tidemill::record::retain;
use tidemill::record::validate::{Rules, TopicCompression, validate};
use tidemill::record::{BatchHeader, Decompressor, HEADER_BYTES, Marker, Records, TimestampType, batches};
use tidemill::wire::*;

#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// The limit of allocated bytes for an input of the given size.
    pub allocates_max: fn(usize) -> usize,
}

/// The limit of memory per byte on the wire: an empty string has 1 byte there and 24 in memory. Twice, because each
/// decoded message is encoded again.
const fn decoded(bytes: usize) -> usize {
    4096 + 160 * bytes
}

/// Batches are decompressed up to this limit, which a topic's settings give.
const DECODED_BYTES_MAX: usize = 1 << 20;

const fn decompressed(bytes: usize) -> usize {
    // The codec's tables, and its output, which grows to the limit by doubling.
    16 * bytes + 4 * DECODED_BYTES_MAX + (12 << 20)
}

macro_rules! targets {
    ($(@ $message:ident $run:expr, $allocates_max:expr;)*) => {
        &[$(Target { name: stringify!($message), run: $run, allocates_max: $allocates_max }),*]
    };
    ($($name:literal $run:expr, $allocates_max:expr;)*) => {
        &[$(Target { name: $name, run: $run, allocates_max: $allocates_max }),*]
    };
}

/// All targets: the messages, then the readers of everything else.
pub static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| [MESSAGES, OTHERS].concat());

macro_rules! message_targets {
    (@ hand_written ProduceRequest $message:ty) => { produce_request };
    (@ hand_written ProduceResponse $message:ty) => { produce_response };
    (@ hand_written FetchRequest $message:ty) => { fetch_request };
    (@ hand_written FetchResponse $message:ty) => { fetch_response };
    (@ declared $name:ident $message:ty) => { message::<$message> };
    ($(
        $kind:ident $key:ident = $code:literal $versions:tt
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {
        targets! {$(
            @ $request message_targets!(@ $kind $request $room::$module::$request), decoded;
            @ $response message_targets!(@ $kind $response $room::$module::$response), decoded;
        )*}
    };
}

const MESSAGES: &[Target] = tidemill::wire::for_each_message!(message_targets);

const OTHERS: &[Target] = targets! {
    "frame length" frame_length, decoded;
    "request header" request_header, decoded;
    "batches" walk, decompressed;
    "batch as a leader judges it" judge, decompressed;
    "batch as compaction leaves it" compacted, |bytes| 3 * decompressed(bytes);
    "journal group" journal_group, decoded;
    "journal file header" |bytes| _ = FileHeader::parse(bytes), decoded;
    "checkpoint" |bytes| drop(Checkpoint::parse(bytes)), decoded;
    "segment indexes" segment_indexes, decoded;
    "aborted transactions" aborted_transactions, decoded;
    "transaction log record" transaction_log, decoded;
    "transaction marker" marker, decoded;
    "leader epochs" |bytes| drop(Epochs::parse(&String::from_utf8_lossy(bytes))), decoded;
    "meta.properties" |bytes| drop(Meta::parse(&String::from_utf8_lossy(bytes))), decoded;
    "metadata log entry" |bytes| drop(controller::entry::decode(bytes)), decoded;
    "key of a group's record" |bytes| drop(Key::parse(bytes)), decoded;
    "committed offset" committed_offset, decoded;
    "group metadata" group_metadata, decoded;
    "consumer protocol" embedded_protocol, decoded;
    "checkpoint behind its checksum" |bytes| drop(parse_body(bytes)), decoded;
    "metadata commands behind their checksum" |bytes| drop(archive::decode_commands(bytes)), decoded;
    "metadata image behind its checksum" metadata_image, decoded;
};

fn metadata_image(bytes: &[u8]) {
    for version in archive::VERSION_OLDEST..=archive::VERSION {
        drop(archive::decode_image(version, bytes));
    }
}

fn message<M: Message>(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let api = M::API.api();
    let version = api.served_from + i16::from(*choice) % (api.max - api.served_from + 1);
    let decode = |body: &[u8]| {
        let mut reader = Reader::new(body);
        reader.set_flexible(api.is_flexible(version));
        M::decode(&mut reader, version)
    };
    let Ok(message) = decode(body) else { return };
    // A decoded message can be encoded and decodes to the same. Fields that only a hostile peer sets may be rejected.
    let Ok(frame) = frame::encode_response(&message, version, 7) else { return };
    let header = 4 + 4 + usize::from(api.is_flexible(version) && M::API != ApiKey::ApiVersions);
    let again = decode(&frame[header..]).expect("what was written can be read");
    let frame_again = frame::encode_response(&again, version, 7).expect("what was written before can be written");
    assert_eq!(frame, frame_again, "{} v{version}", std::any::type_name::<M>());
}

fn aborted_transactions(bytes: &[u8]) {
    if let Ok(entries) = aborted::parse(bytes) {
        assert_eq!(aborted::render(&entries), bytes, "what was read is written as it was");
    }
}

fn transaction_log(bytes: &[u8]) {
    let _ = txn_schema::parse_key(bytes);
    if let Ok(value) = txn_schema::TransactionLogValue::parse(bytes) {
        let again = txn_schema::TransactionLogValue::parse(&value.to_bytes());
        assert_eq!(again.as_ref(), Ok(&value), "what was read can be written");
        let _ = Transaction::from_value(&value);
    }
}

fn marker(bytes: &[u8]) {
    if let Some(header) = BatchHeader::decode(bytes) {
        let _ = Marker::parse(&header, &bytes[HEADER_BYTES..]);
    }
}

fn committed_offset(bytes: &[u8]) {
    let Ok(value) = OffsetValue::parse(bytes) else { return };
    let again = value.to_bytes();
    let again = OffsetValue::parse(&again).expect("what was written can be read");
    assert_eq!((again.offset, again.metadata, again.topic_id), (value.offset, value.metadata, value.topic_id));
}

fn group_metadata(bytes: &[u8]) {
    use tidemill::coordinator::group::schema;
    macro_rules! read_again {
        ($($value:ident)*) => {$(
            if let Ok(value) = schema::$value::parse(bytes) {
                assert_eq!(schema::$value::parse(&value.to_bytes()), Ok(value));
            }
        )*};
    }
    read_again! {
        GroupMetadataValue ConsumerGroupMetadataValue ConsumerGroupMemberMetadataValue
        ConsumerGroupTargetAssignmentMetadataValue ConsumerGroupTargetAssignmentMemberValue
        ConsumerGroupCurrentMemberAssignmentValue ConsumerGroupRegularExpressionValue
    }
}

/// The subscriptions and assignments of classic consumers.
fn embedded_protocol(bytes: &[u8]) {
    let _ = Subscription::parse(bytes);
    if let Ok(assignment) = Assignment::parse(bytes) {
        let again = Assignment::parse(&Assignment::to_bytes(&assignment.assigned, 3));
        assert_eq!(again.map(|again| again.assigned), Ok(assignment.assigned));
    }
}

fn frame_length(bytes: &[u8]) {
    if let Some((prefix, _)) = bytes.split_first_chunk::<4>()
        && let Ok(length) = frame::length(*prefix, 100 << 20)
    {
        assert!(length <= 100 << 20);
    }
}

fn request_header(bytes: &[u8]) {
    let _ = frame::RequestHeader::decode(&mut Reader::new(bytes));
}

fn produce_request(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    if let Ok(request) = data::produce::ProduceRequest::decode(&mut Reader::new(body), 3 + i16::from(*choice % 11)) {
        let partitions: Vec<_> = request.partitions().collect();
        assert_eq!(partitions.len(), request.partition_count);
        let records: usize = partitions.iter().map(|partition| partition.records.len()).sum();
        assert!(records <= body.len(), "records lie in the frame");
    }
}

fn produce_response(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let _ = data::produce::ProduceResponse::decode(&mut Reader::new(body), 3 + i16::from(*choice % 11));
}

fn fetch_request(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let _ = data::fetch::FetchRequest::decode(&mut Reader::new(body), 4 + i16::from(*choice % 15));
}

fn fetch_response(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    if let Ok(response) = data::fetch::FetchResponse::decode(&mut Reader::new(body), 4 + i16::from(*choice % 15)) {
        for partition in &response.partitions {
            assert_eq!(&body[partition.records_range()], partition.records);
        }
    }
}

/// Reads a Fetch response's records as a consumer does.
fn walk(bytes: &[u8]) {
    let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
    for batch in batches(bytes) {
        let Ok(batch) = batch else { return };
        assert!(batch.position + batch.bytes.len() <= bytes.len());
        let Ok(decoded) = decompressor.records(&batch.header, batch.stored_records()) else { continue };
        assert!(decoded.len() <= DECODED_BYTES_MAX.max(bytes.len()));
        for record in Records::new(&batch.header, decoded) {
            let Ok(record) = record else { break };
            assert_eq!(record.headers.into_iter().count(), record.headers.len());
        }
    }
}

/// Filters a batch as compaction does. Its checksum chooses the kept records, and whether there is a delete horizon.
fn compacted(bytes: &[u8]) {
    // Timestamps may need more bytes afterwards.
    let (mut before, mut after) = (Decompressor::new(DECODED_BYTES_MAX), Decompressor::new(4 * DECODED_BYTES_MAX));
    let Some(Ok(batch)) = batches(bytes).next() else { return };
    let choice = batch.header.crc as u8;
    let Ok(plain) = before.records(&batch.header, batch.stored_records()) else { return };
    let records = Records::new(&batch.header, plain);
    if records.clone().any(|record| record.is_err()) {
        return;
    }
    let stays = |record: &Record<'_>| choice >> (record.offset_delta % 8).unsigned_abs() & 1 == 1;
    let kept = || records.clone().filter_map(Result::ok).filter(stays);
    let horizon = (choice >> 7 == 1).then_some(5_000);
    let count = kept().count();
    let left = match count {
        0 => retain::empty(&batch.header).to_vec(),
        _ => retain::with_records(&batch.header, kept(), horizon),
    };
    let mut whole = batches(&left);
    let rewritten = whole.next().expect("a batch").expect("whole");
    assert!(whole.next().is_none() && rewritten.is_intact());
    let header = &rewritten.header;
    assert_eq!(
        (header.base_offset, header.last_offset_delta),
        (batch.header.base_offset, batch.header.last_offset_delta)
    );
    assert_eq!((header.producer_id, header.base_sequence), (batch.header.producer_id, batch.header.base_sequence));
    let plain = after.records(header, rewritten.stored_records()).expect("compressed just now");
    let mut again = Records::new(header, plain).map(|record| record.expect("written just now"));
    for record in kept() {
        let answered = again.next().expect("each of them");
        assert_eq!(
            (answered.offset, answered.key, answered.value, answered.headers),
            (record.offset, record.key, record.value, record.headers)
        );
    }
    assert_eq!((again.next(), header.records_count as usize), (None, count));
}

fn judge(bytes: &[u8]) {
    // A valid CRC, so that the code behind the check is reached.
    let mut bytes = bytes.to_vec();
    if let Some(crc) = bytes.get(21..).map(crc32c::crc32c) {
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let rules = Rules {
        zstd_rejection: None,
        message_bytes_max: 1 << 20,
        record_bytes_max: usize::MAX,
        segment_bytes_max: 1 << 30,
        compression: TopicCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        is_compacted: false,
        now_ms: 1_000,
    };
    let mut decompressor = Decompressor::new(DECODED_BYTES_MAX);
    if let Ok(accepted) = validate(&bytes, &rules, &mut decompressor) {
        assert!(accepted.header.records_count > 0);
        assert_eq!(accepted.header.last_offset_delta + 1, accepted.header.records_count, "REC-3");
    }
}

fn journal_group(bytes: &[u8]) {
    if let Some(header) = GroupHeader::parse(bytes)
        && let Ok(entries) = read_entries(&header, bytes)
    {
        assert!(entries.iter().all(|(_, batch)| batch.len() <= bytes.len()));
    }
}

fn segment_indexes(bytes: &[u8]) {
    let (offsets, times) = bytes.split_at(bytes.len() / 2 / 24 * 8);
    if let Ok(indexes) = Indexes::parse(offsets, times, 1 << 20) {
        for probe in [0, 1, 1 << 16, i64::MAX] {
            let _ = (indexes.position_before(Offset(0), Offset(probe)), indexes.offset_before(Offset(0), probe));
        }
    }
}
