//! OffsetCommit: many groups, each of which commits repeatedly.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::find_coordinator::GROUP;
use tidemill::wire::group::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use tidemill::wire::{ApiKey, Reader, frame};

use super::cluster;
use super::connection::{Connection, Template};
use super::figures::Metric;
use super::support::node::Node;
use super::talk::Talk;
use super::window::{self, Window};

pub const TOPIC: &str = "committed";
pub const PARTITIONS: i32 = 100;
const GROUPS: usize = 256;
/// The version in which topics have names, as most clients use it.
pub const VERSION: i16 = 9;
/// The placeholder of the offset in a template.
const MARK: i64 = 0x6d61_726b_6d61_726b;

/// The size of the load.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// Partitions in each commit.
    pub partitions: i32,
}

/// A commit of one offset for all `partitions`.
pub fn request(group: &str, partitions: Range<i32>, offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some(String::new()),
        ..Default::default()
    };
    let partitions = partitions.map(partition).collect();
    let topic = OffsetCommitRequestTopic { name: TOPIC.into(), partitions, ..Default::default() };
    OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() }
}

/// The first error in a response.
pub fn error_of(response: &OffsetCommitResponse) -> ErrorCode {
    let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    codes.find(|code| code.is_error()).unwrap_or(ErrorCode::None)
}

/// Commits once for each group, so that every coordinator has loaded before the measurement.
fn warm_up(groups: &[String], addresses: &[String]) {
    let mut talks: BTreeMap<&String, Talk> = BTreeMap::new();
    for (group, address) in groups.iter().zip(addresses) {
        let talk = talks.entry(address).or_insert_with(|| Talk::to(address));
        cluster::retried(|| (error_of(&talk.call(&request(group, 0..1, 0), VERSION)), ()));
    }
}

/// One round.
pub fn run(node: &Node, load: Load, lasts: Duration) -> BTreeMap<Metric, f64> {
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("commits-{n}")).collect();
    let addresses = cluster::coordinators(node.bootstrap(), GROUP, &groups);
    warm_up(&groups, &addresses);
    let mut by_address: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, address) in groups.iter().zip(&addresses) {
        by_address.entry(address).or_default().push(group);
    }
    // Each connection has its own groups, all of which have their coordinator at the connection's address.
    let addresses = by_address.len();
    let share = |n: usize| {
        let (at, sharing) = (n % addresses, (load.connections - n % addresses).div_ceil(addresses));
        let (address, groups) = by_address.iter().nth(at).expect("the index is below the length");
        let own: Vec<&str> = groups.iter().copied().skip(n / addresses).step_by(sharing).collect();
        (address.to_string(), own)
    };
    let shares: Vec<_> = (0..load.connections).map(share).collect();
    let measured = window::measure(node, lasts, shares, |(address, groups), window| {
        let frame = |group: &str| {
            let request = request(group, 0..load.partitions, MARK);
            let frame = frame::encode_request(&request, VERSION, 0, Some("bench")).expect("encodable");
            Template::new(frame, MARK)
        };
        let templates: Vec<Template> = groups.into_iter().map(frame).collect();
        drive(&address, &templates, load.in_flight, window)
    });
    let mut figures = measured.figures(Metric::CommitsPerSecond);
    figures.insert(Metric::CpuPerRequest, measured.cpu_us_per_request());
    figures
}

/// Sends commits on one connection, with `in_flight` requests in flight.
fn drive(address: &str, templates: &[Template], in_flight: usize, window: &Window) -> Histogram<u64> {
    let mut connection = Connection::to(address);
    let mut latencies = window::latencies();
    let mut waiting: VecDeque<(Instant, usize)> = VecDeque::new();
    // The latest good response to each template, without its correlation id. An equal response needs no decoding.
    let mut good: Vec<Vec<u8>> = vec![Vec::new(); templates.len()];
    let mut out = Vec::new();
    let mut sent = 0;
    loop {
        let now = Instant::now();
        if now < window.ends {
            while waiting.len() < in_flight {
                let turn = sent % templates.len();
                templates[turn].put(sent as i32, sent as i64, &mut out);
                waiting.push_back((now, turn));
                sent += 1;
            }
            connection.send(&out);
            out.clear();
        }
        if waiting.is_empty() {
            return latencies;
        }
        loop {
            let response = connection.response();
            let (begun, turn) = waiting.pop_front().expect("each response has a request");
            if response[4..] != good[turn][..] {
                check(response);
                good[turn] = response[4..].to_vec();
            }
            window.record(begun, &mut latencies);
            if !connection.has_response() {
                break;
            }
        }
    }
}

fn check(response: &[u8]) {
    let response = decode(response);
    assert_eq!(error_of(&response), ErrorCode::None, "{response:?}");
}

/// Decodes a response frame without its length prefix.
pub fn decode(response: &[u8]) -> OffsetCommitResponse {
    let mut reader = Reader::new(response);
    frame::decode_response_header(&mut reader, ApiKey::OffsetCommit.api(), VERSION).expect("a header");
    OffsetCommitResponse::decode(&mut reader, VERSION).expect("a response to OffsetCommit")
}
