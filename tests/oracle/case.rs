//! A case: the requests, step by step, at each version of an API.

use tidemill::model::TopicId;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::{ApiKey, Message, Topic, frame};

use super::pair::{ID, Side};
use super::tree::Paths;

/// One request, of the case's API and version or of another one.
pub struct Step {
    pub api: ApiKey,
    /// `None`: the version of the case.
    at: Option<i16>,
    ask: Ask,
}

/// Makes a frame for the case's version and the step's version.
type Ask = Box<dyn Fn(&Side, i16, i16) -> Vec<u8>>;

impl Step {
    /// Sends the step's request to a broker, in a case at `version`.
    pub fn ask(&self, side: &Side, version: i16) -> Paths {
        side.ask(self.api, self.at.unwrap_or(version), &self.frame(side, version))
    }

    pub fn frame(&self, side: &Side, version: i16) -> Vec<u8> {
        (self.ask)(side, version, self.at.unwrap_or(version))
    }
}

pub struct Case {
    pub api: ApiKey,
    pub name: &'static str,
    pub since: i16,
    pub until: i16,
    /// The case only reads, and Kafka may need a moment to know the result.
    pub settles: bool,
    pub steps: Vec<Step>,
}

/// A case at every served version.
pub fn case(api: ApiKey, name: &'static str, ask: impl Fn(&Side, i16) -> Vec<u8> + 'static) -> Case {
    Case::new(api, name).then(ask)
}

impl Case {
    /// A case at every served version, without steps.
    pub fn new(api: ApiKey, name: &'static str) -> Case {
        let served = api.api();
        Case { api, name, since: served.served_from, until: served.max, settles: false, steps: vec![] }
    }

    /// Limits the case to versions from this one on.
    pub fn since(self, since: i16) -> Case {
        Case { since, ..self }
    }

    pub fn until(self, until: i16) -> Case {
        Case { until, ..self }
    }

    pub fn until_kafka_knows(self) -> Case {
        Case { settles: true, ..self }
    }

    /// Adds a request of the same API.
    pub fn then(self, ask: impl Fn(&Side, i16) -> Vec<u8> + 'static) -> Case {
        let api = self.api;
        self.and(api, None, move |side, _, at| ask(side, at))
    }

    /// Adds a request of another API, at a version of its own or at the case's.
    pub fn and(
        mut self,
        api: ApiKey,
        at: impl Into<Option<i16>>,
        ask: impl Fn(&Side, i16, i16) -> Vec<u8> + 'static,
    ) -> Case {
        self.steps.push(Step { api, at: at.into(), ask: Box::new(ask) });
        self
    }
}

/// Encodes a declared message as a frame.
pub fn say(message: &impl Message, version: i16) -> Vec<u8> {
    frame::encode_request(message, version, ID, Some("oracle")).unwrap_or_else(|error| panic!("{error}"))
}

/// A frame with a hand-written body, which no declared message can encode.
pub fn say_by_hand(api: ApiKey, version: i16, body: impl FnOnce(&mut tidemill::wire::Writer)) -> Vec<u8> {
    let mut w = frame::request(api.api(), version, ID, Some("oracle"));
    body(&mut w);
    w.finish().unwrap_or_else(|error| panic!("{api:?} v{version}: {error}"))
}

pub fn fetch(request: &FetchRequest<'_>, version: i16) -> Vec<u8> {
    request.encode_frame(version, ID, Some("oracle")).unwrap_or_else(|error| panic!("{error}"))
}

/// An id that no topic has.
pub const UNKNOWN_ID: TopicId = TopicId([0x5a; 16]);

/// The topic's name or id, as Fetch has it at `version`.
pub fn in_fetch(side: &Side, version: i16, topic: &'static str) -> Topic<'static> {
    if version >= 13 { Topic::Id(side.id(topic)) } else { Topic::Name(topic) }
}

/// One partition to fetch, with no limits.
pub fn part(topic: Topic<'_>, partition: i32, offset: i64) -> FetchPartition<'_> {
    FetchPartition::new(topic, partition, offset)
}

/// The partitions of one topic of a Produce request, with their records or null.
pub type Parts<'a> = Vec<(i32, Option<&'a [u8]>)>;

pub struct Produce<'a> {
    pub acks: i16,
    pub transactional_id: Option<&'a str>,
    pub topics: Vec<(Topic<'a>, Parts<'a>)>,
}

impl Produce<'_> {
    pub fn frame(&self, version: i16) -> Vec<u8> {
        say_by_hand(ApiKey::Produce, version, |w| {
            w.nullable_string(self.transactional_id);
            w.i16(self.acks);
            w.i32(30_000);
            w.array_len(self.topics.len());
            for (topic, partitions) in &self.topics {
                match topic {
                    Topic::Name(name) => w.string(name),
                    Topic::Id(id) => w.uuid(*id),
                }
                w.array_len(partitions.len());
                for (partition, records) in partitions {
                    w.i32(*partition);
                    w.nullable_bytes(*records);
                    w.tag_count(0);
                }
                w.tag_count(0);
            }
            w.tag_count(0);
        })
    }
}
