//! Decodes a response of every served API to a value with `Debug`, and encodes it again, which checks the codec against
//! Kafka's own bytes.

use serde_json::Value;
use tidemill::model::ErrorCode;
use tidemill::record::{BatchHeader, batches};
use tidemill::wire::data::fetch::{FetchResponse, FetchResponseWriter, FetchedPartition, PartitionHead};
use tidemill::wire::data::produce::{ProduceResponse, ProducedPartition};
use tidemill::wire::{self, ApiKey, Message, NodeEndpoint, Reader, Topic, Writer, frame};

use super::tree::tree;

/// A response, and the bytes that our codec writes for it.
pub struct Decoded {
    pub tree: Value,
    pub is_written_alike: bool,
}

pub fn decode(api: ApiKey, version: i16, bytes: &[u8]) -> Result<Decoded, String> {
    let mut reader = Reader::new(bytes);
    frame::decode_response_header(&mut reader, api.api(), version).map_err(|error| error.to_string())?;
    let r = &mut reader;
    macro_rules! decode_response {
        (@ hand_written Produce $response:ty) => {
            produce(r, version)
        };
        (@ hand_written Fetch $response:ty) => {
            fetch(r, version, bytes)
        };
        (@ declared $key:ident $response:ty) => {
            declared::<$response>(r, version)
        };
        ($(
            $kind:ident $key:ident = $code:literal $versions:tt
            $room:ident::$module:ident::{$request:ident, $response:ident};
        )*) => {
            match api {
                $(ApiKey::$key => decode_response!(@ $kind $key wire::$room::$module::$response),)*
            }
        };
    }
    let decoded = tidemill::wire::for_each_message!(decode_response)?;
    match reader.remaining() {
        0 => Ok(decoded),
        more => Err(format!("{more} bytes behind the answer")),
    }
}

fn declared<M: Message + std::fmt::Debug>(r: &mut Reader<'_>, version: i16) -> Result<Decoded, String> {
    r.set_flexible(M::API.api().is_flexible(version));
    written_alike(r, version, |r| M::decode(r, version), M::encode, |message| tree(message))
}

/// Decodes a response, encodes it again, and compares the bytes.
fn written_alike<'a, T>(
    r: &mut Reader<'a>,
    version: i16,
    decode: impl FnOnce(&mut Reader<'a>) -> Result<T, tidemill::wire::Malformed>,
    encode: impl FnOnce(&T, &mut Writer, i16),
    tree: impl FnOnce(&T) -> Value,
) -> Result<Decoded, String> {
    let mut before = r.clone();
    let answer = decode(r).map_err(|error| error.to_string())?;
    let bytes = before.take(before.remaining() - r.remaining()).expect("just read");
    let mut w = Writer::new(version, r.is_flexible());
    encode(&answer, &mut w, version);
    let again = w.finish().map_err(|error| error.to_string())?;
    Ok(Decoded { tree: tree(&answer), is_written_alike: again == bytes })
}

fn topic_of(topic: Topic<'_>) -> String {
    match topic {
        Topic::Name(name) => name.to_string(),
        Topic::Id(id) => id.to_string(),
    }
}

/// Produce and Fetch responses decode to a topic per partition; this groups the partitions by topic.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct ByTopic<H, P> {
    head: H,
    topics: Vec<OfTopic<P>>,
    node_endpoints: Vec<(i32, String, i32)>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct OfTopic<P> {
    topic: String,
    partitions: Vec<P>,
}

fn by_topic<T, H, P>(
    partitions: &[T],
    topic: impl Fn(&T) -> Topic<'_>,
    part: impl Fn(&T) -> P,
    head: H,
    endpoints: &[NodeEndpoint<'_>],
) -> ByTopic<H, P> {
    let topics = partitions
        .chunk_by(|a, b| topic(a) == topic(b))
        .map(|of_one| OfTopic { topic: topic_of(topic(&of_one[0])), partitions: of_one.iter().map(&part).collect() });
    let endpoint = |at: &NodeEndpoint<'_>| (at.node_id, at.host.to_string(), at.port);
    ByTopic { head, topics: topics.collect(), node_endpoints: endpoints.iter().map(endpoint).collect() }
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Produced {
    partition: i32,
    error_code: ErrorCode,
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
    record_errors: Vec<(i32, Option<String>)>,
    error_message: Option<String>,
    current_leader: (i32, i32),
}

fn produce(r: &mut Reader<'_>, version: i16) -> Result<Decoded, String> {
    let part = |part: &ProducedPartition<'_>| Produced {
        partition: part.partition,
        error_code: part.error_code,
        base_offset: part.base_offset,
        log_append_time_ms: part.log_append_time_ms,
        log_start_offset: part.log_start_offset,
        record_errors: part
            .record_errors
            .iter()
            .map(|error| (error.batch_index, error.message.as_deref().map(str::to_string)))
            .collect(),
        error_message: part.error_message.as_deref().map(str::to_string),
        current_leader: (part.current_leader.leader_id, part.current_leader.leader_epoch),
    };
    let tree = |answer: &ProduceResponse<'_>| {
        let head = answer.throttle_time_ms;
        tree(&by_topic(&answer.partitions, |part| part.topic, part, head, &answer.node_endpoints))
    };
    written_alike(r, version, |r| ProduceResponse::decode(r, version), ProduceResponse::encode, tree)
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Fetched {
    partition: i32,
    head: PartitionHead,
    batches: Vec<Stored>,
    /// The bytes of a batch that the limit cut off.
    torn_bytes: usize,
}

/// A batch whose records are shown as length and checksum, because the header's CRC covers the header as well.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Stored {
    header: BatchHeader,
    is_intact: bool,
    records: String,
}

fn fetch(r: &mut Reader<'_>, version: i16, frame: &[u8]) -> Result<Decoded, String> {
    let answer = FetchResponse::decode(r, version).map_err(|error| error.to_string())?;
    let part = |part: &FetchedPartition<'_>| {
        let mut walk = batches(part.records);
        let stored = walk.by_ref().map_while(Result::ok).map(|batch| Stored {
            header: batch.header,
            is_intact: batch.is_intact(),
            records: format!("{} bytes, {:08x}", batch.stored_records().len(), crc32c::crc32c(batch.stored_records())),
        });
        let batches = stored.collect();
        let torn_bytes = part.records.len() - walk.position();
        Fetched { partition: part.head.partition, head: part.head.clone(), batches, torn_bytes }
    };
    let of_topic = || answer.partitions.chunk_by(|a, b| a.topic == b.topic);
    let correlation_id = i32::from_be_bytes(*frame.first_chunk().expect("a header"));
    let mut w = FetchResponseWriter::new(version, correlation_id, answer.head, of_topic().count());
    for partitions in of_topic() {
        w.topic(partitions[0].topic, partitions.len());
        partitions.iter().for_each(|part| w.partition(&part.head, [part.records]));
    }
    let again = w.finish(&answer.node_endpoints).map_err(|error| error.to_string())?.to_vec();
    let tree = tree(&by_topic(&answer.partitions, |part| part.topic, part, answer.head, &answer.node_endpoints));
    Ok(Decoded { tree, is_written_alike: again[4..] == *frame })
}
