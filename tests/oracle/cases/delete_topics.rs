//! DeleteTopics, of topics that the cases of CreateTopics made.

use tidemill::model::TopicId;
use tidemill::wire::ApiKey;
use tidemill::wire::admin::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic};

use super::super::case::{Case, UNKNOWN_ID, case, say};

const API: ApiKey = ApiKey::DeleteTopics;

fn named(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.into()), topic_id: TopicId::ZERO }
}

fn by_id(topic_id: TopicId) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id }
}

/// As the version names topics.
fn delete(version: i16, topics: Vec<DeleteTopicState>) -> Vec<u8> {
    let timeout_ms = 10_000;
    if version >= 6 {
        return say(&DeleteTopicsRequest { topics, timeout_ms, ..Default::default() }, version);
    }
    let topic_names = topics.into_iter().map(|topic| topic.name.expect("by name")).collect();
    say(&DeleteTopicsRequest { topic_names, timeout_ms, ..Default::default() }, version)
}

fn by_name(name: &'static str, topics: &'static [&'static str]) -> Case {
    case(API, name, |_, v| delete(v, topics.iter().map(|name| named(name)).collect()))
}

pub fn cases() -> Vec<Case> {
    vec![
        // CreateTopics has made one of each name for its versions 2 to 7.
        case(API, "a topic", |_, v| delete(v, vec![named(&format!("plain-{}", v + 1))])),
        case(API, "a topic beside others", |_, v| {
            delete(v, vec![named("nope"), named(&format!("with-configs-{}", v + 1)), named("..")])
        }),
        by_name("an unknown topic", &["nope"]),
        by_name("bad names", &["", "..", "a b"]),
        by_name("no topics", &[]),
        by_name("a topic twice", &["small", "small"]),
        by_name("an unknown topic twice", &["nope", "nope"]),
        by_name("a topic three times beside another", &["small", "small", "nope", "small"]),
        case(API, "by id", |side, v| delete(v, vec![by_id(side.id("a-double-7"))])).since(6),
        case(API, "by an unknown id", |_, v| delete(v, vec![by_id(UNKNOWN_ID), by_id(UNKNOWN_ID)])).since(6),
        case(API, "by id twice", |side, v| delete(v, vec![by_id(side.id("small")), by_id(side.id("small"))])).since(6),
        case(API, "by id and by name", |side, v| delete(v, vec![by_id(side.id("small")), named("small")])).since(6),
        case(API, "by name and by id", |side, v| delete(v, vec![named("small"), by_id(side.id("small"))])).since(6),
        case(API, "by id and name at once", |side, v| {
            delete(v, vec![DeleteTopicState { topic_id: side.id("small"), ..named("small") }])
        })
        .since(6),
        case(API, "by neither", |_, v| delete(v, vec![by_id(TopicId::ZERO)])).since(6),
        case(API, "by neither twice", |_, v| delete(v, vec![by_id(TopicId::ZERO), by_id(TopicId::ZERO)])).since(6),
        case(ApiKey::Metadata, "after DeleteTopics", |_, v| {
            let topics = ["plain-2", "with-configs-7", "a-double-7", "small"]
                .map(|name| MetadataRequestTopic { name: Some(name.into()), ..Default::default() });
            say(&MetadataRequest { topics: Some(topics.to_vec()), ..Default::default() }, v)
        }),
    ]
}
