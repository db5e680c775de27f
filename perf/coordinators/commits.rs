//! OffsetCommit: many groups, each of which commits again and again.

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
/// By name, as most clients do.
pub const VERSION: i16 = 9;
/// Where a template's offset goes.
const MARK: i64 = 0x6d61_726b_6d61_726b;

#[derive(Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub in_flight: usize,
    /// Of each commit.
    pub partitions: i32,
}

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

/// The first refusal in an answer.
pub fn error_of(answer: &OffsetCommitResponse) -> ErrorCode {
    let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    codes.find(|code| code.is_error()).unwrap_or(ErrorCode::None)
}

/// So that every group's coordinator is there and has loaded before the clock runs.
fn settle(groups: &[String], addresses: &[String]) {
    let mut talks: BTreeMap<&String, Talk> = BTreeMap::new();
    for (group, address) in groups.iter().zip(addresses) {
        let talk = talks.entry(address).or_insert_with(|| Talk::to(address));
        cluster::retried(|| (error_of(&talk.call(&request(group, 0..1, 0), VERSION)), ()));
    }
}

pub fn run(node: &Node, load: Load, lasts: Duration) -> BTreeMap<Metric, f64> {
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("commits-{n}")).collect();
    let addresses = cluster::coordinators(node.bootstrap(), GROUP, &groups);
    settle(&groups, &addresses);
    let mut by_address: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, address) in groups.iter().zip(&addresses) {
        by_address.entry(address).or_default().push(group);
    }
    // Each connection has groups of its own, of one coordinator's node.
    let addresses = by_address.len();
    let share = |n: usize| {
        let (at, sharing) = (n % addresses, (load.connections - n % addresses).div_ceil(addresses));
        let (address, groups) = by_address.iter().nth(at).expect("one of them");
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
    figures.insert(Metric::CpuPerRequest, measured.cpu_us_per_answer());
    figures
}

/// One connection's commits, `in_flight` at a time.
fn drive(address: &str, templates: &[Template], in_flight: usize, window: &Window) -> Histogram<u64> {
    let mut line = Connection::to(address);
    let mut latencies = window::latencies();
    let mut waiting: VecDeque<(Instant, usize)> = VecDeque::new();
    // A good answer differs from the one before in its correlation id alone.
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
            line.send(&out);
            out.clear();
        }
        if waiting.is_empty() {
            return latencies;
        }
        loop {
            let answer = line.answer();
            let (begun, turn) = waiting.pop_front().expect("an answer to each request");
            if answer[4..] != good[turn][..] {
                check(answer);
                good[turn] = answer[4..].to_vec();
            }
            window.note(begun, &mut latencies);
            if !line.has_answer() {
                break;
            }
        }
    }
}

fn check(answer: &[u8]) {
    let answer = decode(answer);
    assert_eq!(error_of(&answer), ErrorCode::None, "{answer:?}");
}

pub fn decode(answer: &[u8]) -> OffsetCommitResponse {
    let mut reader = Reader::new(answer);
    frame::decode_response_header(&mut reader, ApiKey::OffsetCommit.api(), VERSION).expect("a header");
    OffsetCommitResponse::decode(&mut reader, VERSION).expect("an answer to OffsetCommit")
}
