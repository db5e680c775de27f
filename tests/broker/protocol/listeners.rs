//! Statement 30: brokers are named by the listener that a request came in on.

use std::time::Duration;

use crate::serve::Started;
use crate::support::ledger::{connect, create};
use crate::support::scratch::{Dir, Ports};
use crate::support::talk::Talk;
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::wire::Topic;
use tidemill::wire::admin::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataResponse};

const SOON: Duration = Duration::from_secs(30);

/// The host and port of a broker.
type Address = (String, i32);

/// The brokers in the answers of one connection. All APIs have to agree.
fn brokers(talk: &mut Talk) -> Vec<Address> {
    let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    let answer: MetadataResponse = talk.call(&request, 12);
    let brokers: Vec<Address> = answer.brokers.into_iter().map(|broker| (broker.host, broker.port)).collect();

    let answer: DescribeClusterResponse = talk.call(&DescribeClusterRequest::default(), 0);
    let described: Vec<Address> = answer.brokers.into_iter().map(|broker| (broker.host, broker.port)).collect();
    assert_eq!(described, brokers, "DescribeCluster");

    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let found = wait_for("the group has a coordinator", SOON, || {
        let answer: FindCoordinatorResponse = talk.call(&request, 4);
        answer.coordinators.into_iter().find(|found| found.error_code == ErrorCode::None)
    });
    assert!(brokers.contains(&(found.host.clone(), found.port)), "{found:?} is not among {brokers:?}");
    brokers
}

/// Starts a node with a listener IN and a listener OUT, and checks the brokers named on each. `expected` are the hosts
/// and the distances of the ports from the listener's.
fn check(routing: &str, expected: [&[(&str, u16)]; 2]) {
    let (dir, ports) = (Dir::new("listeners"), Ports::reserve());
    let [inner, outer] = [ports.first(), ports.first() + 32];
    let settings = [
        format!("listeners=IN://127.0.0.1:{inner},OUT://127.0.0.1:{outer}"),
        format!("advertised.listeners=IN://127.0.0.1:{inner},OUT://localhost:{outer}"),
        "listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT".to_owned(),
        format!("routing={routing}"),
    ];
    let mut arguments = vec!["--shards", "2"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let mut started = Started::new(dir.path(), &arguments);
    started.ready();
    create(&mut connect(&format!("127.0.0.1:{inner}")), "t", 2, &[]);
    for (port, expected) in [inner, outer].into_iter().zip(expected) {
        let expected: Vec<Address> =
            expected.iter().map(|(host, distance)| ((*host).to_owned(), (port + distance).into())).collect();
        let named = brokers(&mut Talk::to(&format!("127.0.0.1:{port}")));
        assert_eq!(named, expected, "{routing}, port {port}");
        // Each broker names the same ones, also after its connection has moved to another shard.
        for (_, port) in &expected {
            for partition in 0..2 {
                let mut talk = Talk::to(&format!("127.0.0.1:{port}"));
                talk.fetch_one(Topic::Name("t"), partition, 0, 12);
                assert_eq!(brokers(&mut talk), expected, "{routing}, port {port}, partition {partition}");
            }
        }
    }
}

#[test]
fn s030_brokers_are_named_by_the_listener_of_the_request() {
    check("direct", [&[("127.0.0.1", 1), ("127.0.0.1", 2)], &[("localhost", 1), ("localhost", 2)]]);
    check("steer", [&[("127.0.0.1", 0), ("localhost", 0)], &[("localhost", 0), ("Localhost", 0)]]);
    check("forward", [&[("127.0.0.1", 0)], &[("localhost", 0)]]);
}
