//! The start of a node with a million committed offsets: the time until every coordinator partition responds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::coordinator::partition_of;
use tidemill::model::ErrorCode;
use tidemill::wire::admin::find_coordinator::GROUP;
use tidemill::wire::frame;
use tidemill::wire::group::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};

use super::cluster;
use super::commits::{self, PARTITIONS, TOPIC};
use super::connection::Connection;
use super::figures::Metric;
use super::support::node::Node;
use super::talk::Talk;

/// Each group commits every partition of the topic, ten in one request.
const GROUPS: usize = 10_000;
const AT_A_TIME: i32 = 10;
/// The partitions of `__consumer_offsets`: Kafka's default.
const COORDINATORS: usize = 50;
const WITHIN: Duration = Duration::from_secs(120);
/// Between two rounds of requests.
const PAUSE: Duration = Duration::from_millis(5);

fn group(n: usize) -> String {
    format!("remembered-{n}")
}

/// The committed offset of group `n`, in each partition.
fn offset(n: usize) -> i64 {
    1_000_000 + n as i64
}

/// Commits the offsets of all groups.
pub fn prepare(node: &Node) {
    const AHEAD: usize = 64;
    cluster::create(node.bootstrap(), TOPIC, PARTITIONS, &[]);
    let groups: Vec<String> = (0..GROUPS).map(group).collect();
    let mut by_address: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for chunk in (0..GROUPS).collect::<Vec<_>>().chunks(1000) {
        let addresses = cluster::coordinators(node.bootstrap(), GROUP, &groups[chunk[0]..=chunk[chunk.len() - 1]]);
        chunk.iter().zip(addresses).for_each(|(n, address)| by_address.entry(address).or_default().push(*n));
    }
    for (address, of_address) in by_address {
        let mut connection = Connection::to(&address);
        let commits = |n: usize| (0..PARTITIONS / AT_A_TIME).map(move |part| (n, part * AT_A_TIME));
        let mut left: Vec<(usize, i32)> = of_address.into_iter().flat_map(commits).collect();
        // Retry the commits that a new coordinator rejects while it is loading.
        while !left.is_empty() {
            let mut again = Vec::new();
            for chunk in left.chunks(AHEAD) {
                let frame = |(n, from): &(usize, i32)| {
                    let request = commits::request(&groups[*n], *from..from + AT_A_TIME, offset(*n));
                    frame::encode_request(&request, commits::VERSION, 0, None).expect("encodable")
                };
                connection.send(&chunk.iter().flat_map(frame).collect::<Vec<u8>>());
                for commit in chunk {
                    match commits::error_of(&commits::decode(connection.response())) {
                        ErrorCode::None => {}
                        ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => again.push(*commit),
                        error => panic!("a commit is rejected: {error}"),
                    }
                }
            }
            left = again;
        }
    }
}

/// Restarts the node and waits until each coordinator returns the offsets of a group. Returns the time since the start
/// of the process, and the time since the node reported that it is ready.
fn restart(node: &mut Node) -> (Duration, Duration) {
    let mut of: BTreeMap<i32, usize> = BTreeMap::new();
    for n in 0..GROUPS {
        of.insert(partition_of(&group(n), COORDINATORS), n);
    }
    assert_eq!(of.len(), COORDINATORS, "every coordinator has a group");
    let begun = Instant::now();
    node.restart();
    let ready = Instant::now();
    let mut left: Vec<usize> = of.into_values().collect();
    let mut talks: BTreeMap<String, Talk> = BTreeMap::new();
    while !left.is_empty() {
        assert!(ready.elapsed() < WITHIN, "{} coordinators do not respond", left.len());
        let names: Vec<String> = left.iter().map(|n| group(*n)).collect();
        let addresses = cluster::coordinators(node.bootstrap(), GROUP, &names);
        let pending: Vec<_> = left.iter().copied().zip(addresses).collect();
        left = pending
            .into_iter()
            .filter(|(n, address)| {
                let talk = talks.entry(address.clone()).or_insert_with(|| Talk::to(address));
                !has_loaded(talk, *n)
            })
            .map(|(n, _)| n)
            .collect();
        // Requests without a pause would take CPU time from the loading.
        std::thread::sleep(PAUSE);
    }
    (begun.elapsed(), ready.elapsed())
}

/// Whether the group's coordinator has loaded. Panics if it returns other offsets than those that were committed.
fn has_loaded(talk: &mut Talk, n: usize) -> bool {
    let topics = OffsetFetchRequestTopics {
        name: TOPIC.into(),
        partition_indexes: (0..PARTITIONS).collect(),
        ..Default::default()
    };
    let requested = OffsetFetchRequestGroup { group_id: group(n), topics: Some(vec![topics]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![requested], ..Default::default() };
    let response: OffsetFetchResponse = talk.call(&request, 8);
    let fetched = &response.groups[0];
    match fetched.error_code {
        ErrorCode::None => {
            let mut offsets = fetched.topics[0].partitions.iter().map(|partition| partition.committed_offset);
            assert!(offsets.all(|committed| committed == offset(n)), "{} has lost offsets: {fetched:?}", group(n));
            true
        }
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => false,
        error => panic!("cannot fetch the offsets: {error}"),
    }
}

/// Measures a restart after a clean stop, and one after a kill.
pub fn run(node: &mut Node) -> BTreeMap<Metric, f64> {
    node.stop();
    let stopped = restart(node);
    node.kill();
    let killed = restart(node);
    let us = |took: Duration| took.as_secs_f64() * 1e6;
    BTreeMap::from([
        (Metric::AnsweringAfterStop, us(stopped.0)),
        (Metric::LoadedAfterStop, us(stopped.1)),
        (Metric::AnsweringAfterKill, us(killed.0)),
        (Metric::LoadedAfterKill, us(killed.1)),
    ])
}
