//! Metadata.

use tidemill::model::TopicId;
use tidemill::wire::ApiKey;
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic};

use super::super::case::{Case, UNKNOWN_ID, case, say};

const API: ApiKey = ApiKey::Metadata;

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

fn by_id(topic_id: TopicId) -> MetadataRequestTopic {
    MetadataRequestTopic { topic_id, name: None }
}

fn about(topics: Vec<MetadataRequestTopic>) -> MetadataRequest {
    MetadataRequest { topics: Some(topics), ..Default::default() }
}

fn names(name: &'static str, asked: &'static [&'static str]) -> Case {
    case(API, name, |_, v| say(&about(asked.iter().map(|name| named(name)).collect()), v))
}

pub fn cases() -> Vec<Case> {
    vec![
        names("one topic", &["plain"]),
        names("several topics", &["small", "plain", "empty"]),
        names("an unknown topic", &["nope", "plain"]),
        names("bad names", &["", "..", "a b"]),
        names("an unknown internal topic", &["__consumer_offsets", "__transaction_state"]),
        names("a topic twice", &["plain", "plain"]),
        names("an unknown topic twice", &["nope", "nope"]),
        case(API, "no topics", |_, v| say(&about(vec![]), v)),
        case(API, "all topics", |_, v| say(&MetadataRequest { topics: None, ..Default::default() }, v)).since(1),
        case(API, "may not create", |_, v| {
            say(&MetadataRequest { allow_auto_topic_creation: false, ..about(vec![named("nope")]) }, v)
        })
        .since(4),
        case(API, "topic operations", |_, v| {
            let asked = about(vec![named("plain"), named("nope"), named("..")]);
            say(&MetadataRequest { include_topic_authorized_operations: true, ..asked }, v)
        })
        .since(8),
        case(API, "cluster operations", |_, v| {
            say(&MetadataRequest { include_cluster_authorized_operations: true, ..about(vec![]) }, v)
        })
        .since(8)
        .until(10),
        case(API, "by id", |side, v| say(&about(vec![by_id(side.id("plain"))]), v)).since(10),
        case(API, "by an unknown id", |_, v| say(&about(vec![by_id(UNKNOWN_ID)]), v)).since(10),
        case(API, "by ids and names", |side, v| {
            say(&about(vec![named("small"), by_id(side.id("plain")), by_id(UNKNOWN_ID), named("nope")]), v)
        })
        .since(12),
        case(API, "by id and name at once", |side, v| {
            say(&about(vec![MetadataRequestTopic { topic_id: side.id("plain"), ..named("small") }]), v)
        })
        .since(10),
        case(API, "by neither", |_, v| say(&about(vec![by_id(TopicId::ZERO)]), v)).since(10),
        case(API, "by id twice", |side, v| {
            say(&about(vec![by_id(side.id("plain")), by_id(side.id("plain")), named("plain")]), v)
        })
        .since(12),
    ]
}
