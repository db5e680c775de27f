//! A group of the next-generation protocol (KIP-848): a hundred members, each with a connection of its own, all in one thread.
//! How soon everybody has what it shall have, after all have come, after one has left, after one more has come.
//!
//! A member asks again [`PAUSE`] after each answer, and at once when it has something to tell, as a client does. The pause is
//! shorter than a client's (the coordinator tells it to come every 5 s), so that what is measured is the coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use tidemill::model::ErrorCode;
use tidemill::wire::ApiKey;
use tidemill::wire::admin::find_coordinator::GROUP;
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::cluster;
use super::connection::{Connection, frame_of, message_in};
use super::figures::Metric;
use super::support::node::Node;
use super::talk::Talk;

pub const TOPIC: &str = "shared-out";
pub const PARTITIONS: usize = 200;
pub const MEMBERS: usize = 100;
/// Assignments are made when they are wanted. By default Kafka lets a second pass after one, in which more may change, and
/// Tidemill 0.1 ms for each member and partition.
pub const EAGER: &str = "group.consumer.assignment.interval.ms=0";
const PAUSE: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(60);

const KEY: i16 = 68;
const VERSION: i16 = 1;
const LEAVES: i32 = -1;

struct Member {
    id: StrBytes,
    line: Connection,
    epoch: i32,
    owned: BTreeSet<i32>,
    /// What it owns has changed, and the coordinator has not been told; or is being told.
    has_news: bool,
    is_telling: bool,
    is_waiting: bool,
    /// When it asks next.
    next: Instant,
}

struct Group {
    id: StrBytes,
    topic_id: [u8; 16],
    coordinator: String,
    members: Vec<Member>,
    joined: usize,
}

/// Whether Tidemill speaks the protocol, and has the setting.
pub fn is_known() -> bool {
    ApiKey::from_code(KEY).is_some()
}

/// `None`: the broker does not speak the protocol.
pub fn run(node: &Node, round: usize) -> Option<BTreeMap<Metric, f64>> {
    let mut group = Group::new(node, &format!("shared-out-{round}-{}", std::process::id()))?;
    let mut figures = BTreeMap::new();
    let mut note = |metric, took: Duration| figures.insert(metric, took.as_secs_f64() * 1e6);
    (0..MEMBERS).for_each(|_| group.join());
    note(Metric::AllJoined, group.settle());
    let leaver = group.members.remove(MEMBERS / 2);
    let leaver = group.leave(leaver);
    note(Metric::OneLeft, group.settle());
    drop(leaver);
    group.join();
    note(Metric::OneCame, group.settle());
    for member in std::mem::take(&mut group.members) {
        group.leave(member).line.answer();
    }
    Some(figures)
}

impl Group {
    fn new(node: &Node, id: &str) -> Option<Group> {
        let mut talk = Talk::to(node.bootstrap());
        let answer: tidemill::wire::admin::api_versions::ApiVersionsResponse =
            talk.call(&tidemill::wire::admin::api_versions::ApiVersionsRequest::default(), 0);
        answer.api_keys.iter().find(|api| api.api_key == KEY && api.max_version >= VERSION)?;
        let named = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
        let answer: MetadataResponse =
            talk.call(&MetadataRequest { topics: Some(vec![named]), ..Default::default() }, 12);
        let coordinator = cluster::coordinators(node.bootstrap(), GROUP, &[id.to_string()]).remove(0);
        let id = StrBytes::from_string(id.to_string());
        Some(Group { id, topic_id: answer.topics[0].topic_id.0, coordinator, members: Vec::new(), joined: 0 })
    }

    fn join(&mut self) {
        self.joined += 1;
        self.members.push(Member {
            id: StrBytes::from_string(format!("member-{}", self.joined)),
            line: Connection::to(&self.coordinator),
            epoch: 0,
            owned: BTreeSet::new(),
            has_news: true,
            is_telling: false,
            is_waiting: false,
            next: Instant::now(),
        });
    }

    /// Says that the member leaves, and does not wait for an answer.
    fn leave(&self, mut member: Member) -> Member {
        if member.is_waiting {
            member.line.answer();
        }
        member.epoch = LEAVES;
        member.line.send(&self.heartbeat(&member));
        member
    }

    fn heartbeat(&self, member: &Member) -> Vec<u8> {
        let joins = member.epoch == 0;
        let owned = || {
            let partitions = member.owned.iter().copied().collect();
            let of_topic = TopicPartitions::default().with_topic_id(uuid::Uuid::from_bytes(self.topic_id));
            if member.owned.is_empty() { Vec::new() } else { vec![of_topic.with_partitions(partitions)] }
        };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.id.clone().into())
            .with_member_id(member.id.clone())
            .with_member_epoch(member.epoch)
            .with_rebalance_timeout_ms(if joins { 300_000 } else { -1 })
            .with_subscribed_topic_names(joins.then(|| vec![StrBytes::from_static_str(TOPIC).into()]))
            .with_topic_partitions((member.has_news && member.epoch != LEAVES).then(owned));
        frame_of(KEY, VERSION, &request)
    }

    /// Members ask and answer until all is as it shall be; how long that took.
    fn settle(&mut self) -> Duration {
        let begun = Instant::now();
        while !self.is_settled() {
            assert!(begun.elapsed() < WITHIN, "the group has not settled: {}", self.told());
            for at in 0..self.members.len() {
                let member = &self.members[at];
                if !member.is_waiting && (member.has_news || member.next <= Instant::now()) {
                    let frame = self.heartbeat(member);
                    let member = &mut self.members[at];
                    (member.is_waiting, member.is_telling, member.has_news) = (true, member.has_news, false);
                    member.line.send(&frame);
                }
            }
            for at in self.readable() {
                self.members[at].hear(self.topic_id);
            }
        }
        begun.elapsed()
    }

    /// All in one epoch, and each partition with one member, evenly; and the coordinator has been told so.
    fn is_settled(&self) -> bool {
        let members = self.members.len();
        let (least, most) = (PARTITIONS / members, PARTITIONS.div_ceil(members));
        let is_done = |member: &Member| {
            !member.has_news
                && !member.is_telling
                && member.epoch == self.members[0].epoch
                && (least..=most).contains(&member.owned.len())
        };
        let owned = || self.members.iter().flat_map(|member| &member.owned);
        self.members.iter().all(is_done)
            && owned().count() == PARTITIONS
            && owned().collect::<BTreeSet<_>>().len() == PARTITIONS
    }

    fn told(&self) -> String {
        let of = |member: &Member| format!("{}:{}", member.epoch, member.owned.len());
        self.members.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// Waits for answers, or for somebody to be due.
    fn readable(&self) -> Vec<usize> {
        let due = self.members.iter().filter(|member| !member.is_waiting).map(|member| member.next).min();
        let wait = due.map_or(PAUSE, |due| due.saturating_duration_since(Instant::now()));
        let mut polled: Vec<PollFd<'_>> =
            self.members.iter().map(|member| PollFd::new(member.line.stream(), PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        rustix::event::poll(&mut polled, Some(&timeout)).expect("connections to wait for");
        let readable = polled.iter().enumerate().filter(|(_, polled)| !polled.revents().is_empty());
        readable.map(|(at, _)| at).collect()
    }
}

impl Member {
    fn hear(&mut self, topic_id: [u8; 16]) {
        let told: ConsumerGroupHeartbeatResponse = message_in(self.line.answer(), VERSION);
        (self.is_waiting, self.is_telling) = (false, false);
        self.next = Instant::now() + PAUSE;
        match ErrorCode::from_code(told.error_code).expect("a known code") {
            ErrorCode::None => {}
            // Says again what it has said.
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable => {
                self.has_news = true;
                return;
            }
            error => panic!("a heartbeat is refused: {error} {:?}", told.error_message),
        }
        self.epoch = told.member_epoch;
        let Some(assignment) = told.assignment else { return };
        let of_topic = assignment.topic_partitions.iter().filter(|given| given.topic_id.as_bytes() == &topic_id);
        let given: BTreeSet<i32> = of_topic.flat_map(|given| given.partitions.iter().copied()).collect();
        if given != self.owned {
            self.owned = given;
            self.has_news = true;
        }
    }
}
