//! Metadata.

use tidemill::model::TopicId;
use tidemill::wire::ApiKey;
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic};

use super::super::case::{Case, UNKNOWN_ID, case, say, say_by_hand};
use super::super::pair::Side;

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

/// No topics, and unknown tags (statement 16).
fn tagged(name: &'static str, count: usize) -> Case {
    let step = move |_: &Side, v: i16| {
        say_by_hand(API, v, |w| {
            w.array_len(0);
            // Topics may be created, and the operations of topics and at some versions of the cluster are not wanted.
            (0..if v <= 10 { 3 } else { 2 }).for_each(|_| w.bool(false));
            w.tag_count(count);
            (0..count as u32).for_each(|tag| w.tag(1000 + tag, |_| {}));
        })
    };
    case(API, name, step).since(9)
}

pub fn cases() -> Vec<Case> {
    vec![
        tagged("as many tags as may be", 10_000),
        tagged("a tag too many", 10_001),
        case(API, "a topic too many", |_, v| {
            say_by_hand(API, v, |w| {
                w.array_len(1_000_001);
                w.raw(&[0; 2_000_002]);
            })
        })
        .since(1)
        .until(1),
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
