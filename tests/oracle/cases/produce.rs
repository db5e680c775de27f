//! Produce: accepted and rejected batches, with their errors.

use tidemill::model::{LeaderEpoch, Offset};
use tidemill::record::builder::{BatchBuilder, BatchOptions};
use tidemill::record::header::PREFIX_BYTES;
use tidemill::record::{BatchHeader, Codec, HEADER_BYTES};
use tidemill::wire::{ApiKey, Topic};

use super::super::case::{Case, Produce, UNKNOWN_ID, case, fetch, in_fetch, part};
use super::super::pair::Side;
use crate::support::talk::now_ms;

const API: ApiKey = ApiKey::Produce;

/// The topic's name or id, as Produce has it at `version`.
pub fn named(side: &Side, version: i16, topic: &'static str) -> Topic<'static> {
    if version >= 13 { Topic::Id(side.id(topic)) } else { Topic::Name(topic) }
}

/// One batch for partition 0 of a topic, acks=all.
pub fn one(name: &'static str, topic: &'static str, batch: impl Fn() -> Vec<u8> + 'static) -> Case {
    case(API, name, move |side, v| to_one(side, v, topic, &batch()))
}

pub fn to_one(side: &Side, version: i16, topic: &'static str, records: &[u8]) -> Vec<u8> {
    let topics = vec![(named(side, version, topic), vec![(0, Some(records))])];
    Produce { acks: -1, transactional_id: None, topics }.frame(version)
}

fn acks(name: &'static str, acks: i16, topic: &'static str, partition: i32) -> Case {
    case(API, name, move |side, v| {
        let records = three(Codec::None);
        let topics = vec![(named(side, v, topic), vec![(partition, Some(&records[..]))])];
        Produce { acks, transactional_id: None, topics }.frame(v)
    })
}

/// An hour ago, fixed for the process, so that both brokers get the same bytes.
pub fn base() -> i64 {
    static BASE: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *BASE.get_or_init(|| now_ms() - 3_600_000)
}

pub fn build(options: BatchOptions, records: &[(i64, Option<&str>, &str)]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(options);
    for (timestamp, key, value) in records {
        batch.append(*timestamp, key.map(str::as_bytes), Some(value.as_bytes()), []);
    }
    batch.finish()
}

pub fn three(codec: Codec) -> Vec<u8> {
    let base = base();
    build(
        BatchOptions { codec, ..Default::default() },
        &[(base, Some("a"), "one"), (base + 5, None, "two"), (base + 3, Some("c"), &"three".repeat(20))],
    )
}

/// The batch with a changed header and a matching CRC.
fn changed(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut batch = three(Codec::None);
    let mut header = BatchHeader::decode(&batch).expect("a header");
    change(&mut header);
    header.crc = header.crc_with(&batch[HEADER_BYTES..]);
    batch[..HEADER_BYTES].copy_from_slice(&header.encode());
    batch
}

fn patched(at: usize, byte: u8) -> Vec<u8> {
    let mut batch = three(Codec::None);
    batch[at] = byte;
    batch
}

/// Reads the stored batches, after a produce case of the same topic.
fn stored(name: &'static str, topic: &'static str) -> Case {
    case(ApiKey::Fetch, name, move |side, v| {
        let partitions = vec![part(in_fetch(side, v, topic), 0, 0)];
        fetch(&tidemill::wire::data::fetch::FetchRequest { partitions, ..Default::default() }, v)
    })
    .since(10)
}

pub fn cases() -> Vec<Case> {
    vec![
        acks("acks of all", -1, "plain", 0),
        acks("acks of one", 1, "plain", 1),
        acks("acks of none", 0, "plain", 2),
        acks("acks of two", 2, "plain", 0),
        acks("acks of minus two", -2, "plain", 0),
        acks("acks of two to nowhere", 2, "plain", 9),
        acks("acks of none to nowhere", 0, "plain", 9),
        acks("an unknown partition", -1, "plain", 3),
        acks("a negative partition", -1, "plain", -1),
        acks("too few in sync", -1, "two-in-sync", 0),
        acks("too few in sync and nobody asks", 1, "two-in-sync", 0),
        case(API, "an unknown topic", |_, v| {
            let topic = if v >= 13 { Topic::Id(UNKNOWN_ID) } else { Topic::Name("nope") };
            let records = three(Codec::None);
            Produce { acks: -1, transactional_id: None, topics: vec![(topic, vec![(0, Some(&records[..]))])] }.frame(v)
        }),
        case(API, "bad names", |_, v| {
            let records = three(Codec::None);
            let part = vec![(0, Some(&records[..]))];
            let topics = ["", "..", "a b"].map(|name| (Topic::Name(name), part.clone()));
            Produce { acks: -1, transactional_id: None, topics: topics.to_vec() }.frame(v)
        })
        .until(12),
        case(API, "no topics", |_, v| Produce { acks: -1, transactional_id: None, topics: vec![] }.frame(v)),
        case(API, "no topics and nobody asks", |_, v| {
            Produce { acks: 0, transactional_id: None, topics: vec![] }.frame(v)
        }),
        case(API, "no partitions", |side, v| {
            Produce { acks: -1, transactional_id: None, topics: vec![(named(side, v, "plain"), vec![])] }.frame(v)
        }),
        case(API, "good ones beside bad ones", |side, v| {
            let good = three(Codec::None);
            let bad = patched(HEADER_BYTES + 2, 99);
            let plain = vec![(0, Some(&good[..])), (1, Some(&bad[..])), (2, Some(&good[..])), (7, Some(&good[..]))];
            let topics = vec![(named(side, v, "plain"), plain), (named(side, v, "empty"), vec![(0, Some(&bad[..]))])];
            Produce { acks: -1, transactional_id: None, topics }.frame(v)
        }),
        case(API, "a partition twice", |side, v| {
            let records = three(Codec::None);
            let twice = vec![(0, Some(&records[..])), (0, Some(&records[..]))];
            Produce { acks: -1, transactional_id: None, topics: vec![(named(side, v, "forgiven"), twice)] }.frame(v)
        }),
        // No case sends null records: Kafka's request handler fails on them and never answers.
        one("empty records", "plain", Vec::new),
        one("a header cut", "plain", || three(Codec::None)[..40].to_vec()),
        one("five bytes", "plain", || vec![0; 5]),
        one("the last byte missing", "plain", || {
            let batch = three(Codec::None);
            batch[..batch.len() - 1].to_vec()
        }),
        one("a byte too many", "forgiven", || [three(Codec::None), vec![0]].concat()),
        one("two batches", "plain", || three(Codec::None).repeat(2)),
        one("magic 0", "plain", || patched(16, 0)),
        one("magic 1", "plain", || patched(16, 1)),
        one("magic 3", "plain", || patched(16, 3)),
        one("magic -1", "plain", || patched(16, 0xff)),
        one("a wrong crc", "plain", || patched(17, 1)),
        one("a byte flipped", "plain", || patched(HEADER_BYTES + 2, 99)),
        one("a length too small", "plain", || patched(PREFIX_BYTES - 1, 10)),
        one("base offset 5", "plain", || changed(|header| header.base_offset = Offset(5))),
        one("base offset -1", "plain", || changed(|header| header.base_offset = Offset(-1))),
        one("a leader epoch", "plain", || changed(|header| header.leader_epoch = LeaderEpoch(99))),
        one("a count too small", "plain", || changed(|header| header.records_count = 2)),
        one("a count too large", "plain", || changed(|header| header.records_count = 4)),
        one("a count of none", "plain", || changed(|header| header.records_count = 0)),
        one("a negative count", "plain", || changed(|header| header.records_count = -1)),
        one("a delta too small", "plain", || changed(|header| header.last_offset_delta = 1)),
        one("a negative delta", "plain", || changed(|header| header.last_offset_delta = -1)),
        one("count and delta too large", "plain", || {
            changed(|header| (header.records_count, header.last_offset_delta) = (4, 3))
        }),
        one("count and delta too small", "plain", || {
            changed(|header| (header.records_count, header.last_offset_delta) = (2, 1))
        }),
        one("no records at all", "plain", || build(BatchOptions::default(), &[])),
        one("a max timestamp too large", "forgiven", || changed(|header| header.max_timestamp += 1000)),
        one("an unused attribute", "forgiven", || changed(|header| header.attributes |= 1 << 8)),
        one("a delete horizon", "forgiven", || changed(|header| header.attributes |= 1 << 6)),
        one("an unknown codec", "plain", || changed(|header| header.attributes |= 5)),
        one("not gzip", "plain", || changed(|header| header.attributes |= 1)),
        one("log append time by the client", "plain", || changed(|header| header.attributes |= 1 << 3)),
        one("a control batch", "plain", || changed(|header| header.attributes |= 1 << 5)),
        one("a control batch of a producer", "plain", || {
            changed(|header| {
                header.attributes |= 1 << 5 | 1 << 4;
                (header.producer_id, header.producer_epoch, header.base_sequence) = (5, 0, 0);
            })
        }),
        one("too large a batch", "small", || build(BatchOptions::default(), &[(base(), None, &"x".repeat(2000))])),
        one("as large as may be", "small", || {
            build(BatchOptions::default(), &[(base(), None, &"x".repeat(1000 - HEADER_BYTES - 10))])
        }),
        one("larger than the broker's limit", "plain", || {
            build(BatchOptions::default(), &[(base(), None, &"x".repeat(100_000))])
        }),
        one("larger than a segment", "tiny-segments", || {
            build(BatchOptions::default(), &[(base(), None, &"x".repeat(2_000_000))])
        }),
        one("uncompressed", "codecs", || three(Codec::None)),
        one("gzip", "codecs", || three(Codec::Gzip)),
        one("snappy", "codecs", || three(Codec::Snappy)),
        one("lz4", "codecs", || three(Codec::Lz4)),
        one("zstd", "zstd", || three(Codec::Zstd)),
        stored("what the codecs wrote", "codecs"),
        stored("what zstd wrote", "zstd"),
        stored("what was taken as it was not meant", "forgiven"),
        one("uncompressed to a gzip topic", "gzipped", || three(Codec::None)),
        one("lz4 to a gzip topic", "gzipped", || three(Codec::Lz4)),
        one("gzip to a gzip topic", "gzipped", || three(Codec::Gzip)),
        one("snappy to an uncompressed topic", "unzipped", || three(Codec::Snappy)),
        stored("what an uncompressed topic stores", "unzipped"),
        one("to a stamped topic", "stamped", || three(Codec::None)),
        one("compressed to a stamped topic", "stamped", || three(Codec::Lz4)),
        stored("what a stamped topic stores", "stamped"),
        one("stamped by the client to a stamped topic", "stamped", || changed(|header| header.attributes |= 1 << 3)),
        one("no key to a compacted topic", "compacted", || three(Codec::None)),
        one("no keys to a compacted topic", "compacted", || {
            build(
                BatchOptions::default(),
                &[(base(), None, "a"), (base(), None, "b"), (base(), None, "c"), (base(), None, "d")],
            )
        }),
        one("keys to a compacted topic", "compacted", || build(BatchOptions::default(), &[(base(), Some("k"), "v")])),
        one("too old", "recent", || three(Codec::None)),
        one("too new", "recent", || build(BatchOptions::default(), &[(base() + 7_200_000, None, "v")])),
        one("one too old", "recent", || {
            build(BatchOptions::default(), &[(now_ms(), None, "a"), (base(), None, "b"), (now_ms(), None, "c")])
        }),
        one("no timestamp", "recent", || build(BatchOptions::default(), &[(-1, None, "v")])),
        one("negative timestamps", "forgiven", || build(BatchOptions::default(), &[(-5, None, "v"), (-9, None, "w")])),
        case(API, "a transactional id without a transaction", |side, v| {
            let records = three(Codec::None);
            let topics = vec![(named(side, v, "plain"), vec![(0, Some(&records[..]))])];
            Produce { acks: -1, transactional_id: Some("tx"), topics }.frame(v)
        }),
        case(API, "a transactional batch without an id", |side, v| {
            let batch = changed(|header| {
                header.attributes |= 1 << 4;
                (header.producer_id, header.producer_epoch, header.base_sequence) = (5, 0, 0);
            });
            to_one(side, v, "plain", &batch)
        }),
        case(API, "a transactional batch without an id beside another", |side, v| {
            let (plain, transactional) = (three(Codec::None), changed(|header| header.attributes |= 1 << 4));
            let parts = vec![(0, Some(&plain[..])), (1, Some(&transactional[..]))];
            Produce { acks: -1, transactional_id: None, topics: vec![(named(side, v, "beside"), parts)] }.frame(v)
        }),
        case(API, "a transactional batch of no producer", |side, v| {
            to_one(side, v, "plain", &changed(|header| header.attributes |= 1 << 4))
        }),
    ]
}
