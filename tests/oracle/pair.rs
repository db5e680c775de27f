//! The sides. Each gets the same request, and its response becomes paths and values that are comparable.
//!
//! Values that each broker chooses are mapped by their meaning, not by their path: topic ids to the topic's name, ports
//! to one word, times on the broker's clock to `<now>`, and producer ids to the number of earlier ids. Session ids are
//! mapped where they are returned. `brokers` maps broker ids.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill::config::Routing;
use tidemill::model::TopicId;
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use tidemill::wire::txn::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use tidemill::wire::{ApiKey, frame};

use super::answer::decode;
use super::brokers::Brokers;
use super::tree::{ORDER, Paths, flatten};
use crate::support::talk::{Talk, now_ms};
use crate::support::wait_for;

/// The correlation id of every request.
pub const ID: i32 = 7;
/// The correlation id of a second request behind each one. Its response ends the wait where the first request has no
/// response (acks=0).
const PROBE: i32 = -42;

/// Kafka or a Tidemill node, and the mapping of its values.
pub struct Side {
    pub name: &'static str,
    brokers: Brokers,
    /// The open connections, by [`Brokers::connection`].
    talks: RefCell<HashMap<String, Talk>>,
    began_ms: i64,
    topics: RefCell<HashMap<String, String>>,
    /// The session id of the last Fetch response that opened a session.
    session_id: Cell<i32>,
    /// The member id of the last JoinGroup response.
    member_id: RefCell<String>,
    /// The producer ids and epochs that the broker returned, in order.
    producers: RefCell<Vec<(i64, i16)>>,
    /// Responses that our codec encodes in another way.
    pub written_otherwise: RefCell<Vec<String>>,
}

impl Side {
    /// Kafka, or a Tidemill node with one broker.
    pub fn new(name: &'static str, bootstrap: &str) -> Side {
        Side::routed(name, bootstrap, Routing::Forward)
    }

    /// A Tidemill node with this routing.
    pub fn routed(name: &'static str, bootstrap: &str, routing: Routing) -> Side {
        Side {
            name,
            brokers: Brokers::new(bootstrap, routing),
            talks: RefCell::default(),
            began_ms: now_ms(),
            topics: RefCell::default(),
            session_id: Cell::default(),
            member_id: RefCell::default(),
            producers: RefCell::default(),
            written_otherwise: RefCell::default(),
        }
    }

    /// The id of an existing topic; Kafka may need a moment to know it.
    pub fn id(&self, topic: &str) -> TopicId {
        let id = wait_for("the topic has an id", Duration::from_secs(10), || {
            let asked = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
            let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
            let answer: MetadataResponse = Talk::to(&self.brokers.address(ApiKey::Metadata)).call(&request, 12);
            Some(answer.topics[0].topic_id).filter(|id| !id.is_zero())
        });
        self.topics.borrow_mut().insert(id.to_string(), topic.into());
        id
    }

    pub fn cluster_id(&self) -> String {
        self.brokers.cluster_id()
    }

    pub fn session_id(&self) -> i32 {
        self.session_id.get()
    }

    pub fn member_id(&self) -> String {
        self.member_id.borrow().clone()
    }

    /// The last returned producer id and epoch, or the one so many responses before.
    pub fn producer(&self, before: usize) -> (i64, i16) {
        let producers = self.producers.borrow();
        producers[producers.len() - 1 - before]
    }

    /// Waits until the transactional id has no open and no completing transaction.
    pub fn settle(&self, transactional_id: &str) {
        let request = DescribeTransactionsRequest { transactional_ids: vec![transactional_id.into()] };
        wait_for("the transaction has ended", Duration::from_secs(20), || {
            let mut talk = Talk::to(&self.brokers.address(ApiKey::DescribeTransactions));
            let answer: DescribeTransactionsResponse = talk.call(&request, 0);
            let state = &answer.transaction_states[0].transaction_state;
            (!state.starts_with("Prepare") && state != "Ongoing").then_some(())
        });
    }

    /// Sends one frame and reads the response, or finds that there is none.
    pub fn ask(&self, api: ApiKey, version: i16, frame: &[u8]) -> Paths {
        let broker = self.brokers.connection(api);
        let open = broker.as_ref().and_then(|broker| self.talks.borrow_mut().remove(broker));
        let mut talk = open.unwrap_or_else(|| self.brokers.connect(api));
        let frame = self.brokers.in_request(api, frame);
        let probe = frame::encode_request(
            &tidemill::wire::admin::api_versions::ApiVersionsRequest::default(),
            0,
            PROBE,
            Some("oracle"),
        );
        talk.try_send(&[&frame[..], &probe.expect("encodable")].concat());
        let first = match talk.try_receive() {
            Ok(Some(first)) => first,
            Ok(None) => return told("the connection is closed"),
            Err(_) => return told("silence, whatever is asked next"),
        };
        let is_probe = first.starts_with(&PROBE.to_be_bytes());
        if let Some(broker) = broker
            && (is_probe || talk.receive().is_some())
        {
            self.talks.borrow_mut().insert(broker, talk);
        }
        if is_probe {
            return told("no answer");
        }
        // KIP-511: an unknown version of ApiVersions is answered at version 0.
        let version = if api == ApiKey::ApiVersions && !api.api().serves(version) { 0 } else { version };
        match decode(api, version, &first) {
            Ok(mut decoded) => {
                if !decoded.is_written_alike {
                    self.written_otherwise.borrow_mut().push(format!("{api:?} v{version} {}", decoded.tree));
                }
                self.brokers.in_answer(&mut decoded.tree);
                self.learn(api, &mut decoded.tree);
                flatten(&decoded.tree, &|value| self.text(value))
            }
            Err(error) => told(&format!("not an answer: {error}")),
        }
    }

    /// Stores the values that later requests name, and maps them.
    fn learn(&self, api: ApiKey, answer: &mut Value) {
        match api {
            ApiKey::Fetch => {
                let field = &mut answer["head"]["session_id"];
                let session_id = field.as_i64().expect("in every answer") as i32;
                if session_id != 0 {
                    self.session_id.set(session_id);
                    *field = Value::from("<session>");
                }
            }
            ApiKey::JoinGroup => {
                let id = answer["member_id"].as_str().expect("in every answer").to_owned();
                if is_member_id(&id) {
                    *self.member_id.borrow_mut() = id;
                }
            }
            ApiKey::InitProducerId | ApiKey::EndTxn => {
                let [id, epoch] = ["producer_id", "producer_epoch"].map(|name| answer[name].as_i64());
                if let Some((id @ 0.., epoch)) = id.zip(epoch) {
                    self.producers.borrow_mut().push((id, epoch as i16));
                }
            }
            ApiKey::CreateTopics => {
                for topic in answer["topics"].as_array().into_iter().flatten() {
                    let (id, name) = (topic["topic_id"].as_str(), topic["name"].as_str());
                    let (id, name) = id.zip(name).expect("in every answer");
                    self.topics.borrow_mut().insert(id.into(), name.into());
                }
            }
            _ => {}
        }
        self.name_producers(answer);
    }

    /// Maps producer ids by the order of their first occurrence. Masks a batch's checksum, which covers the producer id
    /// and the timestamp, and the broker sets the timestamp of a marker.
    fn name_producers(&self, value: &mut Value) {
        match value {
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.name_producers(element)),
            Value::Object(fields) => {
                let id = fields.get("producer_id").and_then(Value::as_i64);
                let producers = self.producers.borrow();
                let known = producers.iter().position(|(known, _)| id == Some(*known));
                if let Some(first) = known {
                    let before: BTreeSet<i64> = producers[..first].iter().map(|(id, _)| *id).collect();
                    fields.insert("producer_id".into(), format!("<producer {}>", before.len()).into());
                }
                let attributes = fields.get("attributes").and_then(Value::as_i64).unwrap_or_default();
                let is_marker = attributes & 1 << 5 != 0;
                if let Some(crc) = fields.get_mut("crc").filter(|_| is_marker || known.is_some()) {
                    *crc = Value::from("<of what each chooses>");
                }
                drop(producers);
                fields.values_mut().for_each(|field| self.name_producers(field));
            }
            _ => {}
        }
    }

    /// The mapped value, the same on both sides.
    fn text(&self, value: &Value) -> String {
        match value {
            Value::Number(number) => {
                let number = number.as_i64().expect("no other numbers on the wire");
                if (self.began_ms..=now_ms()).contains(&number) { "<now>".into() } else { number.to_string() }
            }
            Value::String(text) if text == &TopicId::ZERO.to_string() => "<no id>".into(),
            Value::String(text) if TopicId::from_base64(text).is_some() && text.len() == 22 => {
                let topics = self.topics.borrow();
                topics.get(text).map_or("<some id>".into(), |name| format!("<id of {name}>"))
            }
            Value::String(text) if is_member_id(text) => format!("{}<random>", &text[..text.len() - 36]),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A name, a dash and a UUID.
fn is_member_id(text: &str) -> bool {
    let Some((_, random)) = text.len().checked_sub(36).and_then(|at| text.split_at_checked(at)) else { return false };
    random.bytes().enumerate().all(|(i, byte)| match i {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

fn told(what: &str) -> Paths {
    Paths::from([(String::new(), what.to_string())])
}

/// One path on which a Tidemill node differs from Kafka.
pub struct Difference {
    /// The name of the node.
    pub side: &'static str,
    pub path: String,
    pub kafka: String,
    pub tidemill: String,
}

/// The value of a path that only the other broker has.
pub const ABSENT: &str = "(absent)";

/// Sends the request to Kafka and to each Tidemill node, and returns the differences that are not `accepted`. Kafka
/// gets it again while its broker lags behind its controller. `settles`: any difference may come from that lag.
pub fn compare(
    kafka: &Side,
    tidemills: &[&Side],
    settles: bool,
    ask: impl Fn(&Side) -> Paths,
    accepted: impl Fn(&Difference) -> bool,
) -> Vec<Difference> {
    /// The errors of a lagging broker. It changed nothing, so the request may be repeated.
    const BEHIND: [&str; 7] = [
        "UnknownTopicOrPartition",
        "UnknownTopicId",
        "NotLeaderOrFollower",
        "LeaderNotAvailable",
        "UnknownLeaderEpoch",
        "CoordinatorLoadInProgress",
        "CoordinatorNotAvailable",
    ];
    let ours: Vec<Paths> = tidemills.iter().map(|tidemill| ask(tidemill)).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let theirs = ask(kafka);
        let of = |(side, ours): (&&Side, &Paths)| differences(side.name, &theirs, ours);
        let mut differences: Vec<Difference> = tidemills.iter().zip(&ours).flat_map(of).collect();
        differences.retain(|difference| !accepted(difference));
        let is_behind = differences.iter().any(|d| BEHIND.contains(&&*d.kafka) || BEHIND.contains(&&*d.tidemill));
        if !(is_behind || settles && !differences.is_empty()) || Instant::now() > deadline {
            return differences;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn differences(side: &'static str, kafka: &Paths, tidemill: &Paths) -> Vec<Difference> {
    let all: BTreeSet<&String> = kafka.keys().chain(tidemill.keys()).collect();
    let mut differences: Vec<Difference> = Vec::new();
    let mut absent: Vec<String> = Vec::new();
    for path in all {
        // An element that only one broker has is one difference.
        if absent.iter().any(|element| path.starts_with(element)) {
            continue;
        }
        let (theirs, ours) = (kafka.get(path), tidemill.get(path));
        let (theirs, ours) = match (theirs, ours) {
            (Some(theirs), Some(ours)) if path.ends_with(ORDER) => (in_both(theirs, ours), in_both(ours, theirs)),
            _ => [theirs, ours].map(|value| value.map_or(ABSENT, String::as_str).to_string()).into(),
        };
        if theirs == ours {
            continue;
        }
        if theirs == ABSENT || ours == ABSENT {
            absent.push(format!("{path}."));
        }
        differences.push(Difference { side, path: path.clone(), kafka: theirs, tidemill: ours });
    }
    differences
}

/// The elements that the other broker has too, in order.
fn in_both(of: &str, other: &str) -> String {
    let other: Vec<&str> = other.split('|').collect();
    of.split('|').filter(|element| other.contains(element)).collect::<Vec<_>>().join("|")
}
