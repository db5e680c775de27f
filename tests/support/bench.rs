//! Nodes that several tests share, and topics created on them by raw requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::node::Node;
use super::talk::Talk;
use super::wait_for;
use tidemill::model::{ErrorCode, TopicId};
use tidemill::wire::admin::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic};

/// A node that starts with the first test that uses it and stops with the last.
pub struct Shared {
    node: Mutex<Weak<Node>>,
    name: &'static str,
    arguments: &'static [&'static str],
}

impl Shared {
    pub const fn new(name: &'static str, arguments: &'static [&'static str]) -> Shared {
        Shared { node: Mutex::new(Weak::new()), name, arguments }
    }

    pub fn node(&self) -> Arc<Node> {
        // A failed test poisons the lock, but leaves the node usable.
        let mut node = self.node.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        node.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Node::tidemill(self.name, self.arguments));
            *node = Arc::downgrade(&started);
            started
        })
    }
}

const JOURNAL: &str = "journal.bytes=134217728";

/// Two shards, each a broker; other settings at their defaults.
pub static PLAIN: Shared =
    Shared::new("protocol", &["--shards", "2", "--set", JOURNAL, "--set", "auto.create.topics.enable=true"]);

/// One shard with small limits.
pub static SMALL: Shared = Shared::new(
    "protocol-small",
    &[
        "--shards",
        "1",
        "--set",
        JOURNAL,
        "--set",
        "fetch.max.bytes=4096",
        "--set",
        "max.incremental.fetch.session.cache.slots=2",
        "--set",
        "socket.request.max.bytes=2000000",
    ],
);

pub struct Topic {
    pub name: String,
    pub id: TopicId,
    /// The address of each partition's leader.
    pub leaders: Vec<String>,
    pub leader_ids: Vec<i32>,
}

impl Topic {
    pub fn by_name(&self) -> tidemill::wire::Topic<'_> {
        tidemill::wire::Topic::Name(&self.name)
    }

    pub fn by_id(&self) -> tidemill::wire::Topic<'static> {
        tidemill::wire::Topic::Id(self.id)
    }

    pub fn leader(&self, partition: usize) -> Talk {
        Talk::to(&self.leaders[partition])
    }
}

/// A topic name that is unique in this process.
pub fn fresh_name(what: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config =
        |(name, value): &(&str, &str)| CreatableTopicConfig { name: name.to_string(), value: Some(value.to_string()) };
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.iter().map(config).collect(),
    }
}

/// Creates a topic with a unique name.
pub fn topic(node: &Node, what: &str, partitions: i32, configs: &[(&str, &str)]) -> Topic {
    let name = fresh_name(what);
    create(node, &name, partitions, configs)
}

pub fn create(node: &Node, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Topic {
    let mut talk = Talk::to(node.bootstrap());
    let topics = vec![new_topic(name, partitions, configs)];
    let request = CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false };
    let answer: CreateTopicsResponse = talk.call(&request, 7);
    assert_eq!(answer.topics[0].error_code, ErrorCode::None, "{answer:?}");
    find(node, name)
}

/// Waits until Metadata returns the topic with all leaders, and returns it.
pub fn find(node: &Node, name: &str) -> Topic {
    let mut talk = Talk::to(node.bootstrap());
    let (brokers, topic) = wait_for("the topic is known and has leaders", Duration::from_secs(20), || {
        let answer = metadata(&mut talk, 12, Some(&[name]));
        let topic = answer.topics.into_iter().next().expect("one was asked for");
        let has_leaders = topic.partitions.iter().all(|partition| partition.leader_id >= 0);
        (topic.error_code == ErrorCode::None && has_leaders).then_some((answer.brokers, topic))
    });
    let leader_ids: Vec<i32> = topic.partitions.iter().map(|partition| partition.leader_id).collect();
    let address = |id: &i32| {
        let broker = brokers.iter().find(|broker| broker.node_id == *id).expect("leaders are brokers");
        format!("{}:{}", broker.host, broker.port)
    };
    Topic { name: name.into(), id: topic.topic_id, leaders: leader_ids.iter().map(address).collect(), leader_ids }
}

/// Requests metadata of the named topics, or of all. Creates no topic.
pub fn metadata(talk: &mut Talk, version: i16, topics: Option<&[&str]>) -> MetadataResponse {
    let topic = |name: &&str| MetadataRequestTopic { name: Some(name.to_string()), ..Default::default() };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    // Versions below 4 have no such field and imply true.
    let allow_auto_topic_creation = version < 4;
    talk.call(&MetadataRequest { topics, allow_auto_topic_creation, ..Default::default() }, version)
}

pub fn metadata_of(talk: &mut Talk, version: i16, name: &str) -> MetadataTopic {
    metadata(talk, version, Some(&[name])).topics.remove(0)
}
