//! CreatePartitions.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic};

use super::super::case::{Case, case, say};

const API: ApiKey = ApiKey::CreatePartitions;

fn more(name: &str, count: i32, brokers: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
    CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: brokers.map(|brokers| brokers.iter().map(assignment).collect()),
    }
}

fn create(version: i16, topics: Vec<CreatePartitionsTopic>) -> Vec<u8> {
    say(&CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: false }, version)
}

fn of(name: &'static str, make: fn() -> Vec<CreatePartitionsTopic>) -> Case {
    case(API, name, move |_, v| create(v, make()))
}

pub fn cases() -> Vec<Case> {
    vec![
        // Each version adds one partition; the first topic starts with 2.
        case(API, "one more", |_, v| create(v, vec![more("default-counts-7", i32::from(v) + 4, None)])),
        case(API, "two more where told", |_, v| {
            create(v, vec![more("plain-7", i32::from(v) * 2 + 4, Some(&[&[1], &[1]]))])
        }),
        case(API, "validated only", |_, v| {
            let topics = vec![more("plain", 9, None), more("plain", 9, None), more("empty", 1, None)];
            say(&CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: true }, v)
        }),
        case(API, "validated only and in order", |_, v| {
            let topics = vec![more("plain", 9, None)];
            say(&CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: true }, v)
        }),
        case(ApiKey::Metadata, "after CreatePartitions", |_, v| {
            let topics = ["plain", "empty", "plain-7", "default-counts-7"]
                .map(|name| MetadataRequestTopic { name: Some(name.into()), ..Default::default() });
            say(&MetadataRequest { topics: Some(topics.to_vec()), ..Default::default() }, v)
        }),
        of("no topics", Vec::new),
        of("an unknown topic", || vec![more("nope", 3, None)]),
        of("bad names", || vec![more("", 3, None), more("..", 3, None)]),
        of("as many as there are", || vec![more("plain", 3, None)]),
        of("fewer", || vec![more("plain", 1, None)]),
        of("none", || vec![more("plain", 0, None)]),
        of("a negative number", || vec![more("plain", -1, None)]),
        // No case requests more than 10,000 at once: Kafka limits that only in CreateTopics, and would create them.
        of("a topic twice", || vec![more("plain", 5, None), more("plain", 6, None), more("empty", 1, None)]),
        of("too few assignments", || vec![more("plain", 5, Some(&[&[1]]))]),
        of("too many assignments", || vec![more("plain", 4, Some(&[&[1], &[1]]))]),
        of("no assignments", || vec![more("plain", 4, Some(&[]))]),
        of("an assignment to nobody", || vec![more("plain", 4, Some(&[&[]]))]),
        of("an assignment to a stranger", || vec![more("plain", 4, Some(&[&[9]]))]),
        of("an assignment to a broker twice", || vec![more("plain", 4, Some(&[&[1, 1]]))]),
        of("an assignment to too many", || vec![more("plain", 4, Some(&[&[1, 9]]))]),
    ]
}
