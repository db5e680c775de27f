//! Fetch, outside of sessions.

use tidemill::record::Codec;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::{ApiKey, Topic};

use super::super::case::{Case, Produce, UNKNOWN_ID, case, fetch, in_fetch, part};
use super::produce::{base, build};

const API: ApiKey = ApiKey::Fetch;

/// One partition of the topic `read`, in an otherwise ordinary request.
fn one(name: &'static str, partition: i32, offset: i64) -> Case {
    with(name, partition, offset, |part, _| part)
}

/// As `one`, with more fields of the partition set.
fn with(
    name: &'static str,
    partition: i32,
    offset: i64,
    more: impl Fn(FetchPartition<'static>, i16) -> FetchPartition<'static> + 'static,
) -> Case {
    case(API, name, move |side, v| {
        let partitions = vec![more(part(in_fetch(side, v, "read"), partition, offset), v)];
        fetch(&FetchRequest { partitions, ..Default::default() }, v)
    })
}

/// All three partitions from the start, with more fields of the request set.
fn all(name: &'static str, more: impl Fn(FetchRequest<'static>) -> FetchRequest<'static> + 'static) -> Case {
    case(API, name, move |side, v| {
        let topic = in_fetch(side, v, "read");
        let partitions = (0..3).map(|partition| part(topic, partition, 0)).collect();
        fetch(&more(FetchRequest { partitions, ..Default::default() }), v)
    })
}

/// Ten batches of three records to partition 0, one to partition 1, none to partition 2.
fn write() -> Case {
    let write = case(ApiKey::Produce, "records to fetch", |side, v| {
        let records = build(BatchOptions { codec: Codec::Lz4, ..Default::default() }, &[(base(), None, "other")]);
        let topics = vec![(Topic::Id(side.id("read")), vec![(1, Some(&records[..]))])];
        Produce { acks: -1, transactional_id: None, topics }.frame(v)
    });
    let batch = |i: i64| {
        let value = "x".repeat(100 * i as usize);
        build(
            BatchOptions::default(),
            &[(base() + i, None, &*value), (base() + i, Some("k"), "b"), (base() - i, None, "c")],
        )
    };
    let write = (0..10).fold(write, |write, i| {
        write.then(move |side, v| {
            let records = batch(i);
            let topics = vec![(Topic::Id(side.id("read")), vec![(0, Some(&records[..]))])];
            Produce { acks: -1, transactional_id: None, topics }.frame(v)
        })
    });
    write.since(13)
}

pub fn cases() -> Vec<Case> {
    vec![
        write(),
        one("from the start", 0, 0),
        one("from within a batch", 0, 4),
        one("from a batch's last record", 0, 5),
        one("the last record", 0, 29),
        one("at the end", 0, 30),
        one("behind the end", 0, 31),
        one("a negative offset", 0, -1),
        one("far behind the end", 0, i64::MAX),
        one("an empty partition", 2, 0),
        one("behind the end of an empty partition", 2, 1),
        one("an unknown partition", 3, 0),
        one("a negative partition", -1, 0),
        with("in the leader's epoch", 0, 0, |part, _| FetchPartition { current_leader_epoch: 0, ..part }).since(9),
        with("in an epoch to come", 0, 0, |part, _| FetchPartition { current_leader_epoch: 9, ..part }).since(9),
        with("in an epoch to come and out of range", 0, 99, |part, _| FetchPartition {
            current_leader_epoch: 9,
            ..part
        })
        .since(9),
        with("after the leader's epoch", 0, 3, |part, _| FetchPartition { last_fetched_epoch: 0, ..part }).since(12),
        with("after an epoch to come", 0, 3, |part, _| FetchPartition { last_fetched_epoch: 7, ..part }).since(12),
        with("after the leader's epoch behind the end", 0, 99, |part, _| FetchPartition {
            last_fetched_epoch: 0,
            ..part
        })
        .since(12),
        with("at most one byte of a partition", 0, 0, |part, _| FetchPartition { partition_max_bytes: 1, ..part }),
        with("at most no byte of a partition", 0, 0, |part, _| FetchPartition { partition_max_bytes: 0, ..part }),
        with("a negative number of bytes", 0, 0, |part, _| FetchPartition { partition_max_bytes: -1, ..part }),
        with("at most some bytes of a partition", 0, 0, |part, _| FetchPartition { partition_max_bytes: 700, ..part }),
        with("with a log start", 0, 0, |part, _| FetchPartition { log_start_offset: 3, ..part }).since(5),
        all("all partitions", |request| request),
        all("at most one byte in all", |request| FetchRequest { max_bytes: 1, ..request }),
        all("at most no byte in all", |request| FetchRequest { max_bytes: 0, ..request }),
        all("a negative number of bytes in all", |request| FetchRequest { max_bytes: -1, ..request }),
        all("more than there is and no time", |request| FetchRequest {
            min_bytes: i32::MAX,
            max_wait_ms: 0,
            ..request
        }),
        all("more than there is and some time", |request| FetchRequest {
            min_bytes: 1 << 20,
            max_wait_ms: 20,
            ..request
        })
        .since(12),
        all("a negative wait", |request| FetchRequest { min_bytes: 1, max_wait_ms: -1, ..request }),
        all("only what is committed", |request| FetchRequest { isolation_level: 1, ..request }),
        all("an unknown isolation level", |request| FetchRequest { isolation_level: 9, ..request }),
        all("a rack", |request| FetchRequest { rack_id: "here", ..request }).since(11),
        all("a cluster id", |request| FetchRequest { cluster_id: Some("elsewhere"), ..request }).since(12),
        case(API, "no topics", |_, v| fetch(&FetchRequest::default(), v)),
        case(API, "an unknown topic", |_, v| {
            let topic = if v >= 13 { Topic::Id(UNKNOWN_ID) } else { Topic::Name("nope") };
            fetch(&FetchRequest { partitions: vec![part(topic, 0, 0), part(topic, 1, 0)], ..Default::default() }, v)
        }),
        case(API, "an unknown topic beside one with records", |side, v| {
            let topic = if v >= 13 { Topic::Id(UNKNOWN_ID) } else { Topic::Name("nope") };
            let partitions = vec![part(topic, 0, 0), part(in_fetch(side, v, "read"), 1, 0)];
            fetch(&FetchRequest { partitions, ..Default::default() }, v)
        }),
        case(API, "no id", |_, v| {
            let topic = Topic::Id(tidemill::model::TopicId::ZERO);
            fetch(&FetchRequest { partitions: vec![part(topic, 0, 0)], ..Default::default() }, v)
        })
        .since(13),
        case(API, "a bad name", |_, v| {
            fetch(&FetchRequest { partitions: vec![part(Topic::Name(".."), 0, 0)], ..Default::default() }, v)
        })
        .until(12),
        case(API, "a partition twice", |side, v| {
            let topic = in_fetch(side, v, "read");
            fetch(&FetchRequest { partitions: vec![part(topic, 1, 0), part(topic, 1, 1)], ..Default::default() }, v)
        }),
        case(API, "zstd for whom it is new", |side, v| {
            let partitions = vec![part(in_fetch(side, v, "zstd"), 0, 0)];
            fetch(&FetchRequest { partitions, ..Default::default() }, v)
        }),
        case(API, "a stranger as follower", |side, v| {
            let partitions = vec![part(in_fetch(side, v, "read"), 0, 0)];
            fetch(&FetchRequest { replica_id: 7, partitions, ..Default::default() }, v)
        }),
        case(API, "for debugging", |side, v| {
            let partitions = vec![part(in_fetch(side, v, "read"), 0, 28)];
            fetch(&FetchRequest { replica_id: -2, partitions, ..Default::default() }, v)
        }),
    ]
}
