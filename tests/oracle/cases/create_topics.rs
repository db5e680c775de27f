//! CreateTopics; its first case makes the topics that the cases of all files use.

use tidemill::wire::ApiKey;
use tidemill::wire::admin::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};

use super::super::case::{Case, case, say, say_by_hand};

const API: ApiKey = ApiKey::CreateTopics;

fn topic(name: &str, num_partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config =
        |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) };
    CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
    };
    CreatableTopic {
        name: name.into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: partitions.iter().map(assignment).collect(),
        ..CreatableTopic::default()
    }
}

/// One topic at a time, each under a name of its version.
fn one(name: &'static str, make: impl Fn(&str) -> CreatableTopic + 'static) -> Case {
    case(API, name, move |_, version| create(version, vec![make(&format!("{}-{version}", name.replace(' ', "-")))]))
}

fn create(version: i16, topics: Vec<CreatableTopic>) -> Vec<u8> {
    say(&CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false }, version)
}

fn try_out(version: i16, topics: Vec<CreatableTopic>) -> Vec<u8> {
    say(&CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: true }, version)
}

/// The topics of the other cases.
fn for_the_others() -> Vec<CreatableTopic> {
    vec![
        topic("plain", 3, &[]),
        topic("empty", 2, &[]),
        topic("small", 1, &[("max.message.bytes", "1000"), ("retention.ms", "-1")]),
        topic("tiny-segments", 1, &[("segment.bytes", "1048576"), ("max.message.bytes", "3000000")]),
        topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]),
        topic("compacted", 1, &[("cleanup.policy", "compact")]),
        topic(
            "recent",
            1,
            &[("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")],
        ),
        topic("gzipped", 1, &[("compression.type", "gzip")]),
        topic("unzipped", 1, &[("compression.type", "uncompressed")]),
        topic("codecs", 1, &[]),
        topic("zstd", 1, &[]),
        topic("forgiven", 1, &[]),
        topic("beside", 2, &[]),
        topic("transactional", 4, &[]),
        topic("committed", 1, &[]),
        topic("marked", 3, &[]),
        topic("subscribed", 3, &[]),
        topic("idempotent", 1, &[]),
        topic("timed", 1, &[]),
        topic("read", 3, &[]),
        topic("sessions", 4, &[]),
        topic(
            "configured",
            2,
            &[("retention.ms", "86400000"), ("cleanup.policy", "compact,delete"), ("min.insync.replicas", "1")],
        ),
        topic("two-in-sync", 1, &[("min.insync.replicas", "2")]),
        topic("__internal", 1, &[]),
    ]
}

pub fn cases() -> Vec<Case> {
    let bad_names = ["", ".", "..", "a b", "a/b", "\u{e4}", "a:b"];
    let refused =
        |name: &'static str, make: fn() -> Vec<CreatableTopic>| case(API, name, move |_, v| create(v, make()));
    let config = |name: &'static str, key: &'static str, value: &'static str| {
        case(API, name, move |_, v| {
            create(v, vec![topic(&format!("{}-{v}", name.replace(' ', "-")), 1, &[(key, value)])])
        })
    };
    vec![
        case(API, "topics for the others", |_, v| create(v, for_the_others())).since(7),
        one("plain", |name| topic(name, 2, &[])),
        one("default counts", |name| CreatableTopic { replication_factor: -1, ..topic(name, -1, &[]) }),
        one("with configs", |name| {
            topic(name, 1, &[("retention.ms", " 5000 "), ("cleanup.policy", "delete,compact"), ("preallocate", "TRUE")])
        }),
        one("a config twice", |name| topic(name, 1, &[("retention.ms", "1"), ("retention.ms", "2")])),
        one("an empty list config", |name| topic(name, 1, &[("leader.replication.throttled.replicas", "")])),
        one("an empty cleanup policy", |name| topic(name, 1, &[("cleanup.policy", "")])),
        one("a list with blanks", |name| topic(name, 1, &[("cleanup.policy", "compact , delete")])),
        one("a double", |name| topic(name, 1, &[("min.cleanable.dirty.ratio", "1")])),
        one("assigned", |name| assigned(name, &[(0, &[1]), (1, &[1])])),
        one("assigned in another order", |name| assigned(name, &[(1, &[1]), (0, &[1])])),
        one("the longest name", |name| topic(&format!("{name}{}", "x".repeat(249 - name.len())), 1, &[])),
        case(API, "validated only", |_, v| {
            try_out(v, vec![topic("validated", 2, &[("retention.ms", "1000")]), topic("plain", 1, &[])])
        }),
        case(API, "validated only with errors", |_, v| {
            try_out(v, vec![topic("validated", 0, &[]), topic("..", 1, &[])])
        }),
        refused("no topics", Vec::new),
        case(API, "bad names", move |_, v| create(v, bad_names.map(|name| topic(name, 1, &[])).to_vec())),
        case(API, "a name too long", |_, v| create(v, vec![topic(&"x".repeat(250), 1, &[])])),
        refused("a topic that exists", || vec![topic("plain", 1, &[])]),
        refused("a topic that exists with a bad config", || vec![topic("plain", 1, &[("nope", "1")])]),
        case(API, "two names that collide", |_, v| {
            create(v, vec![topic(&format!("col.lide{v}"), 1, &[]), topic(&format!("col_lide{v}"), 1, &[])])
        }),
        case(API, "a collision with one that exists", |_, v| create(v, vec![topic(&format!("a.b.{v}"), 1, &[])]))
            .then(|_, v| create(v, vec![topic(&format!("a_b.{v}"), 1, &[])])),
        case(API, "a name twice", |_, v| {
            create(v, vec![topic(&format!("once-{v}"), 1, &[]), topic("twice", 1, &[]), topic("twice", 2, &[])])
        }),
        refused("no partitions", || vec![topic("invalid", 0, &[])]),
        refused("a negative number of partitions", || vec![topic("invalid", -2, &[])]),
        refused("too many partitions", || vec![topic("invalid", 10_001, &[])]),
        refused("too many partitions in all", || vec![topic("invalid", 6000, &[]), topic("invalid-too", 6000, &[])]),
        refused("no replicas", || vec![CreatableTopic { replication_factor: 0, ..topic("invalid", 1, &[]) }]),
        refused("a negative replication factor", || {
            vec![CreatableTopic { replication_factor: -2, ..topic("invalid", 1, &[]) }]
        }),
        refused("more replicas than brokers", || {
            vec![CreatableTopic { replication_factor: 3, ..topic("invalid", 1, &[]) }]
        }),
        refused("everything wrong", || {
            vec![CreatableTopic { replication_factor: 0, ..topic("..", 0, &[("nope", "x")]) }]
        }),
        refused("wrong numbers and configs", || {
            vec![CreatableTopic { replication_factor: 9, ..topic("invalid", 0, &[("nope", "x")]) }]
        }),
        refused("an assignment and a count", || {
            vec![CreatableTopic { num_partitions: 1, ..assigned("invalid", &[(0, &[1])]) }]
        }),
        refused("an assignment and a factor", || {
            vec![CreatableTopic { replication_factor: 1, ..assigned("invalid", &[(0, &[1])]) }]
        }),
        refused("an assignment with a gap", || vec![assigned("invalid", &[(0, &[1]), (2, &[1])])]),
        refused("an assignment not from 0", || vec![assigned("invalid", &[(1, &[1])])]),
        refused("an assignment twice", || vec![assigned("invalid", &[(0, &[1]), (0, &[1])])]),
        refused("an assignment to nobody", || vec![assigned("invalid", &[(0, &[])])]),
        refused("an assignment to a broker twice", || vec![assigned("invalid", &[(0, &[1, 1])])]),
        refused("an assignment to a stranger", || vec![assigned("invalid", &[(0, &[9])])]),
        refused("an assignment to a negative broker", || vec![assigned("invalid", &[(0, &[-1])])]),
        refused("an assignment of two sizes", || vec![assigned("invalid", &[(0, &[1]), (1, &[1, 9])])]),
        config("an unknown config", "nope", "1"),
        config("a misspelt config", "retention.mss", "1"),
        config("not a number", "retention.ms", "soon"),
        config("a number out of range", "retention.ms", "-2"),
        config("a number too large", "max.message.bytes", "3000000000"),
        config("not a boolean", "preallocate", "maybe"),
        config("not a word of the list", "cleanup.policy", "delete,forget"),
        config("a word twice", "cleanup.policy", "delete,delete"),
        config("not one of the words", "compression.type", "brotli"),
        config("the wrong case", "compression.type", "GZIP"),
        config("not a double", "min.cleanable.dirty.ratio", "half"),
        config("a double out of range", "min.cleanable.dirty.ratio", "1.5"),
        config("a segment too small", "segment.bytes", "100"),
        config("a level out of range", "compression.gzip.level", "0"),
        config("throttled replicas", "leader.replication.throttled.replicas", "1-2"),
        config("min above max", "min.compaction.lag.ms", "9223372036854775807"),
        config("no replicas in sync", "min.insync.replicas", "0"),
        config("tiered storage", "remote.storage.enable", "true"),
        config("local retention above retention", "local.retention.ms", "999999999999"),
        config("an empty value", "retention.ms", ""),
        case(API, "lags that contradict", |_, v| {
            create(
                v,
                vec![topic("invalid", 1, &[("min.compaction.lag.ms", "2000"), ("max.compaction.lag.ms", "1000")])],
            )
        }),
        case(API, "a null config", |_, v| {
            let mut invalid = topic("invalid", 1, &[]);
            invalid.configs = vec![CreatableTopicConfig { name: "retention.ms".into(), value: None }];
            create(v, vec![invalid])
        }),
        case(API, "null topics", |_, v| {
            say_by_hand(API, v, |w| {
                w.nullable_length(None);
                w.i32(10_000);
                w.bool(false);
                w.tag_count(0);
            })
        }),
    ]
}
