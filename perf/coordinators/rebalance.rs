//! A consumer group (KIP-848) of a hundred members, each with its own connection, all on one thread. Measures the time
//! until every member has its target assignment: after all have joined, after one has left, and after one more has
//! joined.
//!
//! A member sends a heartbeat [`PAUSE`] after each response, and at once when its partitions have changed, as a client
//! does. The pause is shorter than that of a client (the coordinator sets 5 s), so that the time is that of the
//! coordinator.

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
/// Makes the coordinator compute each assignment at once. By default it waits after the previous one, to combine
/// changes: Kafka for a second, Tidemill for 0.1 ms per member and partition.
pub const EAGER: &str = "group.consumer.assignment.interval.ms=0";
const PAUSE: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(60);

const KEY: i16 = 68;
const VERSION: i16 = 1;
/// The member epoch of a heartbeat that leaves the group.
const LEAVES: i32 = -1;

struct Member {
    id: StrBytes,
    connection: Connection,
    epoch: i32,
    owned: BTreeSet<i32>,
    /// `owned` has changed since the latest heartbeat.
    has_change: bool,
    /// The heartbeat in flight reports a change.
    is_reporting: bool,
    /// A heartbeat is in flight.
    is_waiting: bool,
    /// When the next heartbeat is due.
    next: Instant,
}

struct Group {
    id: StrBytes,
    topic_id: [u8; 16],
    coordinator: String,
    members: Vec<Member>,
    joined: usize,
}

/// Whether Tidemill supports the protocol.
pub fn is_supported() -> bool {
    ApiKey::from_code(KEY).is_some()
}

/// One round. `None` if the broker does not support the protocol.
pub fn run(node: &Node, round: usize) -> Option<BTreeMap<Metric, f64>> {
    let mut group = Group::new(node, &format!("shared-out-{round}-{}", std::process::id()))?;
    let mut figures = BTreeMap::new();
    let mut note = |metric, took: Duration| figures.insert(metric, took.as_secs_f64() * 1e6);
    (0..MEMBERS).for_each(|_| group.join());
    note(Metric::AllJoined, group.reconcile());
    let leaver = group.members.remove(MEMBERS / 2);
    let leaver = group.leave(leaver);
    note(Metric::OneLeft, group.reconcile());
    drop(leaver);
    group.join();
    note(Metric::OneCame, group.reconcile());
    for member in std::mem::take(&mut group.members) {
        group.leave(member).connection.response();
    }
    Some(figures)
}

impl Group {
    fn new(node: &Node, id: &str) -> Option<Group> {
        let mut talk = Talk::to(node.bootstrap());
        let response: tidemill::wire::admin::api_versions::ApiVersionsResponse =
            talk.call(&tidemill::wire::admin::api_versions::ApiVersionsRequest::default(), 0);
        response.api_keys.iter().find(|api| api.api_key == KEY && api.max_version >= VERSION)?;
        let named = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
        let response: MetadataResponse =
            talk.call(&MetadataRequest { topics: Some(vec![named]), ..Default::default() }, 12);
        let coordinator = cluster::coordinators(node.bootstrap(), GROUP, &[id.to_string()]).remove(0);
        let id = StrBytes::from_string(id.to_string());
        Some(Group { id, topic_id: response.topics[0].topic_id.0, coordinator, members: Vec::new(), joined: 0 })
    }

    fn join(&mut self) {
        self.joined += 1;
        self.members.push(Member {
            id: StrBytes::from_string(format!("member-{}", self.joined)),
            connection: Connection::to(&self.coordinator),
            epoch: 0,
            owned: BTreeSet::new(),
            has_change: true,
            is_reporting: false,
            is_waiting: false,
            next: Instant::now(),
        });
    }

    /// Sends the heartbeat that leaves the group, and does not wait for the response.
    fn leave(&self, mut member: Member) -> Member {
        if member.is_waiting {
            member.connection.response();
        }
        member.epoch = LEAVES;
        member.connection.send(&self.heartbeat(&member));
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
            .with_topic_partitions((member.has_change && member.epoch != LEAVES).then(owned));
        frame_of(KEY, VERSION, &request)
    }

    /// Sends and receives heartbeats until the group is stable. Returns the time that it took.
    fn reconcile(&mut self) -> Duration {
        let begun = Instant::now();
        while !self.is_stable() {
            assert!(begun.elapsed() < WITHIN, "the group is not stable: {}", self.summary());
            for at in 0..self.members.len() {
                let member = &self.members[at];
                if !member.is_waiting && (member.has_change || member.next <= Instant::now()) {
                    let frame = self.heartbeat(member);
                    let member = &mut self.members[at];
                    (member.is_waiting, member.is_reporting, member.has_change) = (true, member.has_change, false);
                    member.connection.send(&frame);
                }
            }
            for at in self.readable() {
                self.members[at].receive(self.topic_id);
            }
        }
        begun.elapsed()
    }

    /// All members are in one epoch, each partition has one member, the assignment is even, and the coordinator has
    /// received every change.
    fn is_stable(&self) -> bool {
        let members = self.members.len();
        let (least, most) = (PARTITIONS / members, PARTITIONS.div_ceil(members));
        let is_done = |member: &Member| {
            !member.has_change
                && !member.is_reporting
                && member.epoch == self.members[0].epoch
                && (least..=most).contains(&member.owned.len())
        };
        let owned = || self.members.iter().flat_map(|member| &member.owned);
        self.members.iter().all(is_done)
            && owned().count() == PARTITIONS
            && owned().collect::<BTreeSet<_>>().len() == PARTITIONS
    }

    /// Epoch and number of partitions of each member.
    fn summary(&self) -> String {
        let of = |member: &Member| format!("{}:{}", member.epoch, member.owned.len());
        self.members.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// Waits for responses until the next heartbeat is due. Returns the members that have a response.
    fn readable(&self) -> Vec<usize> {
        let due = self.members.iter().filter(|member| !member.is_waiting).map(|member| member.next).min();
        let wait = due.map_or(PAUSE, |due| due.saturating_duration_since(Instant::now()));
        let mut polled: Vec<PollFd<'_>> =
            self.members.iter().map(|member| PollFd::new(member.connection.stream(), PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        rustix::event::poll(&mut polled, Some(&timeout)).expect("the sockets are open");
        let readable = polled.iter().enumerate().filter(|(_, polled)| !polled.revents().is_empty());
        readable.map(|(at, _)| at).collect()
    }
}

impl Member {
    /// Receives a heartbeat response and adopts its assignment.
    fn receive(&mut self, topic_id: [u8; 16]) {
        let response: ConsumerGroupHeartbeatResponse = message_in(self.connection.response(), VERSION);
        (self.is_waiting, self.is_reporting) = (false, false);
        self.next = Instant::now() + PAUSE;
        match ErrorCode::from_code(response.error_code).expect("a known code") {
            ErrorCode::None => {}
            // Report the partitions again.
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable => {
                self.has_change = true;
                return;
            }
            error => panic!("a heartbeat is rejected: {error} {:?}", response.error_message),
        }
        self.epoch = response.member_epoch;
        let Some(assignment) = response.assignment else { return };
        let of_topic = assignment.topic_partitions.iter().filter(|topic| topic.topic_id.as_bytes() == &topic_id);
        let assigned: BTreeSet<i32> = of_topic.flat_map(|topic| topic.partitions.iter().copied()).collect();
        if assigned != self.owned {
            self.owned = assigned;
            self.has_change = true;
        }
    }
}
