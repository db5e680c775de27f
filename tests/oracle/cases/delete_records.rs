//! DeleteRecords, and reads afterwards.

use tidemill::record::Codec;
use tidemill::record::builder::BatchOptions;
use tidemill::wire::ApiKey;
use tidemill::wire::admin::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use tidemill::wire::data::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, HIGH_WATERMARK,
};
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::data::list_offsets::{
    EARLIEST, LATEST, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MAX_TIMESTAMP,
};

use super::super::case::{Case, Produce, case, fetch, in_fetch, part, say};
use super::produce::{base, build};
use tidemill::wire::Topic;

const API: ApiKey = ApiKey::DeleteRecords;

fn delete(version: i16, topics: &[(&str, &[(i32, i64)])]) -> Vec<u8> {
    let topic = |(name, partitions): &(&str, &[(i32, i64)])| DeleteRecordsTopic {
        name: (*name).into(),
        partitions: partitions
            .iter()
            .map(|(partition_index, offset)| DeleteRecordsPartition {
                partition_index: *partition_index,
                offset: *offset,
            })
            .collect(),
    };
    say(&DeleteRecordsRequest { topics: topics.iter().map(topic).collect(), timeout_ms: 10_000 }, version)
}

fn of(name: &'static str, topics: &'static [(&'static str, &'static [(i32, i64)])]) -> Case {
    case(API, name, move |_, v| delete(v, topics))
}

/// Topics whose records are deleted, in part or all. Three partitions, each with ten records in three batches.
fn create() -> Case {
    case(ApiKey::CreateTopics, "the topics of DeleteRecords", |_, v| {
        let topic = |name: &str, policy: Option<&str>| CreatableTopic {
            name: name.into(),
            num_partitions: 3,
            replication_factor: 1,
            configs: policy
                .map(|policy| CreatableTopicConfig { name: "cleanup.policy".into(), value: Some(policy.into()) })
                .into_iter()
                .collect(),
            ..CreatableTopic::default()
        };
        let topics = vec![
            topic("purged", None),
            topic("purged-compact", Some("compact")),
            topic("purged-both", Some("compact,delete")),
            topic("purged-none", Some("")),
        ];
        say(&CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false }, v)
    })
    .since(7)
}

fn write(name: &'static str, topic: &'static str) -> Case {
    let batch = |codec, times: &[i64]| {
        let records: Vec<_> = times.iter().map(|time| (base() + time, Some("k"), "v")).collect();
        build(BatchOptions { codec, ..Default::default() }, &records)
    };
    let batches = [
        batch(Codec::None, &[0, 10, 20]),
        batch(Codec::Gzip, &[100, 400, 200, 300]),
        batch(Codec::None, &[310, 320, 330]),
    ];
    // One partition per request: a lagging Kafka gets the request again, and may have stored the other partitions.
    let step = move |batch: &[u8], partition: i32| {
        let records = batch.to_vec();
        move |side: &super::super::pair::Side, v: i16| {
            let parts = vec![(partition, Some(&records[..]))];
            Produce { acks: -1, transactional_id: None, topics: vec![(Topic::Id(side.id(topic)), parts)] }.frame(v)
        }
    };
    let mut steps = batches.iter().flat_map(|batch| (0..3).map(move |partition| step(batch, partition)));
    let first = case(ApiKey::Produce, name, steps.next().expect("nine steps"));
    steps.fold(first, Case::then).since(13)
}

/// ListOffsets and Fetch of the partitions.
fn look(name: &'static str) -> [Case; 2] {
    let list = case(ApiKey::ListOffsets, name, |_, v| {
        let asked = |(partition_index, timestamp)| ListOffsetsPartition {
            partition_index,
            timestamp,
            current_leader_epoch: -1,
        };
        let topic = |timestamp| ListOffsetsTopic {
            name: "purged".into(),
            partitions: (0..3).map(|partition| asked((partition, timestamp))).collect(),
        };
        // A request may name a partition once.
        say(&ListOffsetsRequest { topics: vec![topic(EARLIEST)], ..Default::default() }, v)
    })
    .then(|_, v| list_at(v, LATEST))
    .then(|_, v| list_at(v, base()))
    .then(|_, v| list_at(v, base() + 150));
    let read = case(ApiKey::Fetch, name, |side, v| {
        let topic = in_fetch(side, v, "purged");
        let partitions = (0..3).map(|partition| part(topic, partition, 5)).collect();
        fetch(&FetchRequest { partitions, ..Default::default() }, v)
    })
    .then(|side, v| {
        let topic = in_fetch(side, v, "purged");
        let partitions = (0..3).map(|partition| part(topic, partition, 4)).collect();
        fetch(&FetchRequest { partitions, ..Default::default() }, v)
    });
    [list, read]
}

fn list_at(version: i16, timestamp: i64) -> Vec<u8> {
    let asked = |partition_index| ListOffsetsPartition { partition_index, timestamp, current_leader_epoch: -1 };
    let topics = vec![ListOffsetsTopic { name: "purged".into(), partitions: (0..3).map(asked).collect() }];
    say(&ListOffsetsRequest { topics, ..Default::default() }, version)
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        create(),
        write("records for DeleteRecords", "purged"),
        write("keyed records for DeleteRecords", "purged-compact"),
        write("other records for DeleteRecords", "purged-both"),
        of("nothing", &[("purged", &[(0, 0)])]),
        // Inside the compressed batch, at its start, and at the end.
        of("up to an offset", &[("purged", &[(0, 5), (1, 3), (2, 10)])]),
    ];
    cases.extend(look("after DeleteRecords"));
    cases.extend([
        case(ApiKey::ListOffsets, "the largest timestamp after DeleteRecords", |_, v| list_at(v, MAX_TIMESTAMP))
            .since(7),
        of("again, and less", &[("purged", &[(0, 5), (1, 1), (2, 0)])]),
        of("beyond the end", &[("purged", &[(0, 11), (1, i64::MAX)])]),
        of("negative offsets", &[("purged", &[(0, -2), (1, i64::MIN)])]),
        of("an unknown topic", &[("nope", &[(0, 1), (1, -1)])]),
        of("bad names", &[("..", &[(0, 1)]), ("", &[(0, 1)])]),
        of("unknown partitions", &[("purged", &[(7, 1), (-1, 1), (0, 5)])]),
        of("no topics", &[]),
        of("no partitions", &[("purged", &[])]),
        of("a compacted topic", &[("purged-compact", &[(0, 1)])]),
        of("a topic that is compacted and deleted", &[("purged-both", &[(0, 4)])]),
        of("a topic that is neither", &[("purged-none", &[(0, 0)])]),
        of("an internal topic", &[("__consumer_offsets", &[(0, 0)])]),
        of("a partition twice", &[("purged", &[(1, 4), (1, 5)])]),
        of("a topic twice beside another", &[("purged", &[(1, 6)]), ("nope", &[(0, 0)]), ("purged", &[(0, 6)])]),
        of("all", &[("purged", &[(0, HIGH_WATERMARK), (1, HIGH_WATERMARK), (2, HIGH_WATERMARK)])]),
    ]);
    cases.extend(look("after DeleteRecords of all"));
    cases.push(write("more records after DeleteRecords", "purged"));
    cases.extend(look("more after DeleteRecords of all"));
    cases
}
