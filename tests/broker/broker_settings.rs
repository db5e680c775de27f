//! Settings of brokers that change while a node runs: they hold at once, and after kills and stops.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::restart::{outcome, record};
use crate::support::ledger::{Ledger, connect, create};
use crate::support::node::Node;
use crate::support::talk::Talk;
use crate::support::wait_for;
use tidemill::model::ErrorCode;
use tidemill::tools::client::offsets::{EARLIEST, LATEST};
use tidemill::tools::client::{Client, Connection};
use tidemill::wire::admin::api_versions::ApiVersionsRequest;
use tidemill::wire::admin::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, RESOURCE_BROKER, RESOURCE_TOPIC,
    SOURCE_DYNAMIC_BROKER, SOURCE_DYNAMIC_DEFAULT_BROKER, SOURCE_STATIC_BROKER,
};
use tidemill::wire::admin::incremental_alter_configs::{
    DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    IncrementalAlterableConfig, SET,
};
use tidemill::wire::frame;

const WITHIN: Duration = Duration::from_secs(60);
/// Each core is a broker: 1000 and 1001.
const TWO_BROKERS: [&str; 8] =
    ["--shards", "2", "--set", "routing=direct", "--set", "memory.bytes=67108864", "--set", "journal.bytes=134217728"];

/// Sets a setting of a broker, or with the name "" of all brokers; `None` removes it.
fn alter_on(admin: &mut Talk, broker: &str, name: &str, value: Option<&str>) -> ErrorCode {
    let config = IncrementalAlterableConfig {
        name: name.into(),
        config_operation: if value.is_some() { SET } else { DELETE },
        value: value.map(str::to_owned),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: RESOURCE_BROKER,
        resource_name: broker.into(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer: IncrementalAlterConfigsResponse = admin.call(&request, 1);
    answer.responses[0].error_code
}

fn try_alter(node: &Node, broker: &str, name: &str, value: Option<&str>) -> ErrorCode {
    alter_on(&mut Talk::to(node.bootstrap()), broker, name, value)
}

fn alter(node: &Node, broker: &str, name: &str, value: Option<&str>) {
    assert_eq!(try_alter(node, broker, name, value), ErrorCode::None, "{broker} {name}={value:?}");
}

/// The value of a setting, and its source.
fn described(node: &Node, resource_type: i8, resource_name: &str, key: &str) -> (String, i8) {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: resource_name.into(),
        configuration_keys: Some(vec![key.to_owned()]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let answer: DescribeConfigsResponse = Talk::to(node.bootstrap()).call(&request, 4);
    let entry = &answer.results[0].configs[0];
    (entry.value.clone().expect("a value"), entry.config_source)
}

/// Whether each partition of `t` takes a batch of 5000 bytes. Each is on a broker of its own.
fn takes_large(client: &mut Client) -> [bool; 2] {
    [0, 1].map(|partition| match outcome(client, partition, record(None, 5000)) {
        ErrorCode::None => true,
        ErrorCode::MessageTooLarge => false,
        other => panic!("partition {partition}: {other:?}"),
    })
}

#[test]
fn a_changed_setting_of_brokers_holds_for_existing_topics_at_once_and_after_a_kill_and_a_stop() {
    const LARGE: &str = "message.max.bytes";
    let mut node = Node::tidemill("broker-settings", &TWO_BROKERS);
    let mut client = connect(node.bootstrap());
    create(&mut client, "t", 2, &[]);
    let topic = client.topic("t").expect("the topic is there");
    let leader = topic.partition(0).expect("it has two").leader_id;
    let other = if leader == 1000 { 1001 } else { 1000 };
    assert_eq!(takes_large(&mut client), [true, true]);
    alter(&node, "", LARGE, Some("1000"));
    assert_eq!(takes_large(&mut client), [false, false], "at once");
    // A value of one broker precedes that of all brokers, and precedes a changed configuration.
    alter(&node, &leader.to_string(), LARGE, Some("10000"));
    for (end, with_argument) in [("a kill", false), ("a stop", true), ("a kill", true)] {
        assert_eq!(takes_large(&mut client), [true, false], "before {end}");
        match end {
            "a kill" => node.kill(),
            _ => assert_eq!(node.stop().code(), Some(0)),
        }
        if with_argument {
            node.set_arguments(&[&TWO_BROKERS[..], &["--set", "message.max.bytes=3000"]].concat());
        }
        node.restart();
        client = connect(node.bootstrap());
        assert_eq!(takes_large(&mut client), [true, false], "after {end}");
        assert_eq!(
            described(&node, RESOURCE_BROKER, &leader.to_string(), LARGE),
            ("10000".into(), SOURCE_DYNAMIC_BROKER)
        );
        assert_eq!(
            described(&node, RESOURCE_BROKER, &other.to_string(), LARGE),
            ("1000".into(), SOURCE_DYNAMIC_DEFAULT_BROKER)
        );
    }
    assert_eq!(try_alter(&node, &leader.to_string(), LARGE, Some("many")), ErrorCode::InvalidRequest);
    alter(&node, &leader.to_string(), LARGE, None);
    assert_eq!(takes_large(&mut client), [false, false], "the value of all brokers again");
    alter(&node, "", LARGE, Some("20000"));
    assert_eq!(takes_large(&mut client), [true, true]);
    alter(&node, "", LARGE, None);
    assert_eq!(takes_large(&mut client), [false, false], "the configuration again");
    assert_eq!(described(&node, RESOURCE_TOPIC, "t", "max.message.bytes"), ("3000".into(), SOURCE_STATIC_BROKER));
}

#[test]
fn a_changed_retention_of_all_brokers_removes_segments_of_topics_without_their_own() {
    let often = ["log.retention.check.interval.ms=100", "log.segment.delete.delay.ms=0", "log.segment.bytes=1048576"];
    let often: Vec<&str> = often.into_iter().flat_map(|set| ["--set", set]).collect();
    let node = Node::tidemill("broker-retention", &[&TWO_BROKERS[..], &often].concat());
    let mut client = connect(node.bootstrap());
    let mut plain = Ledger::create(&mut client, "t", 2, &[]);
    let mut own = Ledger::create(&mut client, "own", 1, &[("retention.bytes", "-1")]);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    for ledger in [&mut plain, &mut own] {
        // 4 MB in each partition.
        ledger.fill(&mut client, 40, 4, 50_000, now_ms);
        assert!(ledger.offsets(&mut client, EARLIEST).iter().all(|start| *start == 0));
    }
    alter(&node, "", "log.retention.bytes", Some("1048576"));
    wait_for("retention by size", WITHIN, || {
        let (starts, ends) = (plain.offsets(&mut client, EARLIEST), plain.offsets(&mut client, LATEST));
        let is_short = |(start, end): (&i64, &i64)| (end - start) / 4 * 200_000 <= 2 * 1_048_576;
        starts.iter().zip(&ends).all(is_short).then_some(())
    });
    assert_eq!(own.offsets(&mut client, EARLIEST), [0], "a topic's own setting precedes");
}

#[test]
fn changed_limits_of_connections_hold_for_the_next_connections() {
    let node = Node::tidemill("broker-connections", &TWO_BROKERS);
    let mut admin = Talk::to(node.bootstrap());
    // The kernel accepts every connection. The node serves it, or closes it.
    let open = |source: IpAddr| {
        let mut talk = Talk::from(source, node.bootstrap());
        let frame = frame::encode_request(&ApiVersionsRequest::default(), 0, 1, Some("limited")).expect("encodable");
        let is_served = talk.try_send(&frame) && talk.receive().is_some();
        is_served.then_some(talk)
    };
    for (last, name, value) in
        [(2, "max.connections.per.ip", "3"), (3, "max.connections.per.ip.overrides", "127.0.0.3:3")]
    {
        let source = IpAddr::from([127, 0, 0, last]);
        let mut connections: Vec<Talk> = (0..3).map(|_| open(source).expect("no limit")).collect();
        assert_eq!(alter_on(&mut admin, "", name, Some(value)), ErrorCode::None);
        for _ in 0..5 {
            assert!(open(source).is_none(), "{name}: a fourth connection is served");
        }
        connections.pop();
        connections.push(wait_for("a closed connection makes room", WITHIN, || open(source)));
        assert_eq!(alter_on(&mut admin, "", name, None), ErrorCode::None);
        connections.extend((0..5).map(|_| open(source).expect("no limit")));
    }
    // The limit of a broker is that of its shard, on whose port the connections are.
    let (host, port) = node.bootstrap().rsplit_once(':').expect("host:port");
    let own_port = |shard: u16| format!("{host}:{}", port.parse::<u16>().expect("a port") + 1 + shard);
    let open = |shard| Connection::open(&own_port(shard), "limited", WITHIN).ok();
    let held: Vec<Connection> = (0..3).map(|_| open(1).expect("no limit")).collect();
    assert_eq!(alter_on(&mut admin, "1001", "max.connections", Some("2")), ErrorCode::None);
    assert!(open(1).is_none() && open(0).is_some());
    drop(held);
    wait_for("closed connections make room", WITHIN, || open(1));
}
