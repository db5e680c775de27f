//! ListOffsets and OffsetForLeaderEpoch.

use tidemill::record::Codec;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::ApiKey;
use tidemill::wire::data::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, EARLIEST_PENDING_UPLOAD, LATEST, LATEST_TIERED, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MAX_TIMESTAMP,
};
use tidemill::wire::data::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::super::case::{Case, case, say};
use super::produce::{base, build, to_one};

fn list(name: &'static str, topic: &'static str, partitions: impl Fn() -> Vec<(i32, i64)> + 'static) -> Case {
    list_in_epoch(name, topic, -1, partitions)
}

fn list_in_epoch(
    name: &'static str,
    topic: &'static str,
    current_leader_epoch: i32,
    partitions: impl Fn() -> Vec<(i32, i64)> + 'static,
) -> Case {
    case(ApiKey::ListOffsets, name, move |_, v| {
        let asked = partitions().into_iter().map(|(partition_index, timestamp)| ListOffsetsPartition {
            partition_index,
            current_leader_epoch,
            timestamp,
        });
        let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: asked.collect() }];
        say(&ListOffsetsRequest { topics, timeout_ms: 1000, ..Default::default() }, v)
    })
}

fn epoch(
    name: &'static str,
    topic: &'static str,
    partition: i32,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> Case {
    case(ApiKey::OffsetForLeaderEpoch, name, move |_, v| {
        let partitions = vec![OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }];
        let topics = vec![OffsetForLeaderTopic { topic: topic.into(), partitions }];
        say(&OffsetForLeaderEpochRequest { replica_id: -1, topics }, v)
    })
}

/// Times that do not grow, in plain and compressed batches.
fn write() -> Case {
    let batch = |codec: Codec, times: &[i64]| {
        let records: Vec<_> = times.iter().map(|time| (base() + time, None, "v")).collect();
        build(BatchOptions { codec, ..Default::default() }, &records)
    };
    case(ApiKey::Produce, "records to list", move |side, v| to_one(side, v, "timed", &batch(Codec::None, &[0, 10, 20])))
        .then(move |side, v| to_one(side, v, "timed", &batch(Codec::Lz4, &[100, 300, 200, 300])))
        .then(move |side, v| to_one(side, v, "timed", &batch(Codec::Gzip, &[50, 150])))
        .then(move |side, v| to_one(side, v, "timed", &batch(Codec::None, &[250])))
        .since(13)
}

pub fn cases() -> Vec<Case> {
    let time = |name: &'static str, after: i64| list(name, "timed", move || vec![(0, base() + after)]);
    vec![
        write(),
        list("latest", "timed", || vec![(0, LATEST)]),
        list("earliest", "timed", || vec![(0, EARLIEST)]),
        list("the largest timestamp", "timed", || vec![(0, MAX_TIMESTAMP)]),
        list("earliest local", "timed", || vec![(0, EARLIEST_LOCAL)]),
        list("latest tiered", "timed", || vec![(0, LATEST_TIERED)]),
        list("earliest to upload", "timed", || vec![(0, EARLIEST_PENDING_UPLOAD)]),
        list("beyond the special ones", "timed", || vec![(0, -7)]),
        list("the smallest number", "timed", || vec![(0, i64::MIN)]),
        time("before all", -1000),
        time("the first", 0),
        time("between records", 15),
        time("within a compressed batch", 150),
        time("equal ones", 300),
        time("between batches", 60),
        time("after all", 301),
        list("time 0", "timed", || vec![(0, 0)]),
        list("the end of time", "timed", || vec![(0, i64::MAX)]),
        list("an empty partition", "empty", || vec![(1, LATEST)]),
        list("an empty partition's earliest", "empty", || vec![(1, EARLIEST)]),
        list("an empty partition's largest timestamp", "empty", || vec![(1, MAX_TIMESTAMP)]),
        list("an empty partition at a time", "empty", || vec![(1, 1000)]),
        list("several partitions", "plain", || vec![(2, LATEST), (0, LATEST), (1, EARLIEST), (7, LATEST)]),
        list("a partition twice", "plain", || vec![(0, LATEST), (1, LATEST), (0, EARLIEST)]),
        list("no partitions", "plain", Vec::new),
        list("an unknown topic", "nope", || vec![(0, LATEST), (1, EARLIEST)]),
        list("a bad name", "..", || vec![(0, LATEST)]),
        list("a negative partition", "plain", || vec![(-1, LATEST)]),
        list("an unknown partition and a bad timestamp", "nope", || vec![(0, -7)]),
        list_in_epoch("the leader's epoch", "timed", 0, || vec![(0, LATEST)]).since(4),
        list_in_epoch("an epoch to come", "timed", 9, || vec![(0, LATEST)]).since(4),
        list_in_epoch("an epoch to come at a time", "timed", 9, || vec![(0, base())]).since(4),
        case(ApiKey::ListOffsets, "no topics", |_, v| say(&ListOffsetsRequest::default(), v)),
        case(ApiKey::ListOffsets, "only what is committed", |_, v| {
            let asked = |timestamp| ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
            let topic = |partition| ListOffsetsTopic { name: "timed".into(), partitions: vec![partition] };
            let topics = vec![topic(asked(LATEST))];
            say(&ListOffsetsRequest { isolation_level: 1, topics, ..Default::default() }, v)
        })
        .since(2),
        case(ApiKey::ListOffsets, "an unknown isolation level", |_, v| {
            let asked = ListOffsetsPartition { partition_index: 0, timestamp: LATEST, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: "timed".into(), partitions: vec![asked] }];
            say(&ListOffsetsRequest { isolation_level: 7, topics, ..Default::default() }, v)
        })
        .since(2),
        case(ApiKey::ListOffsets, "as a follower", |_, v| {
            let asked = ListOffsetsPartition { partition_index: 0, timestamp: LATEST, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: "timed".into(), partitions: vec![asked] }];
            say(&ListOffsetsRequest { replica_id: 5, topics, ..Default::default() }, v)
        }),
        case(ApiKey::ListOffsets, "for debugging", |_, v| {
            let asked = ListOffsetsPartition { partition_index: 0, timestamp: LATEST, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: "timed".into(), partitions: vec![asked] }];
            say(&ListOffsetsRequest { replica_id: -2, topics, ..Default::default() }, v)
        }),
        case(ApiKey::ListOffsets, "a topic twice", |_, v| {
            let asked = ListOffsetsPartition { partition_index: 0, timestamp: LATEST, ..Default::default() };
            let topic = ListOffsetsTopic { name: "timed".into(), partitions: vec![asked] };
            say(&ListOffsetsRequest { topics: vec![topic.clone(), topic], ..Default::default() }, v)
        }),
        epoch("the first epoch", "timed", 0, -1, 0),
        epoch("an epoch to come", "timed", 0, -1, 5),
        epoch("an epoch before all", "timed", 0, -1, -1),
        epoch("a very negative epoch", "timed", 0, -1, -9),
        epoch("an empty partition", "empty", 1, -1, 0),
        epoch("an empty partition's epoch to come", "empty", 1, -1, 3),
        epoch("the leader's epoch", "timed", 0, 0, 0),
        epoch("a leader's epoch to come", "timed", 0, 9, 0),
        epoch("an unknown topic", "nope", 0, -1, 0),
        epoch("a bad name", "..", 0, -1, 0),
        epoch("an unknown partition", "timed", 9, -1, 0),
        case(ApiKey::OffsetForLeaderEpoch, "no topics", |_, v| say(&OffsetForLeaderEpochRequest::default(), v)),
        case(ApiKey::OffsetForLeaderEpoch, "topics and partitions twice", |_, v| {
            let asked = |partition| OffsetForLeaderPartition { partition, ..Default::default() };
            let partitions = vec![asked(1), asked(0), asked(1), asked(8)];
            let topic = |name: &str| OffsetForLeaderTopic { topic: name.into(), partitions: partitions.clone() };
            say(
                &OffsetForLeaderEpochRequest {
                    topics: vec![topic("plain"), topic("nope"), topic("plain")],
                    ..Default::default()
                },
                v,
            )
        }),
    ]
}
