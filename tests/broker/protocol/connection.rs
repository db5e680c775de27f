//! Statements 1 to 19: connection, framing, negotiation.

use std::time::Duration;

use crate::support::bench::{self, PLAIN, SMALL, metadata};
use crate::support::node::Node;
use crate::support::talk::{Talk, batch, from, measured, sequenced};
use tidemill::model::ErrorCode;
use tidemill::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidemill::wire::admin::describe_acls::DescribeAclsRequest;
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use tidemill::wire::admin::metadata::{MetadataRequest, MetadataResponse};
use tidemill::wire::data::fetch::FetchRequest;
use tidemill::wire::group::join_group::{JoinGroupRequest, JoinGroupResponse};
use tidemill::wire::group::offset_fetch::OffsetFetchRequest;
use tidemill::wire::{self, API_TABLE, ApiKey, Message, frame};

/// A request header v1 without client id.
fn header(key: i16, version: i16, id: i32) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &id.to_be_bytes(), &(-1i16).to_be_bytes()].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes()[..], body].concat()
}

fn versions(talk: &mut Talk, version: i16) -> ApiVersionsResponse {
    let word = || "test".to_string();
    let request =
        ApiVersionsRequest { client_software_name: word(), client_software_version: word(), ..Default::default() };
    talk.call(&request, version)
}

#[test]
fn s001_a_length_below_0_or_above_the_maximum_closes_the_connection() {
    let node = SMALL.node();
    for length in [-1, i32::MIN, 2_000_001, i32::MAX, i32::from_be_bytes(*b"GET ")] {
        let mut talk = Talk::to(node.bootstrap());
        talk.send(&length.to_be_bytes());
        assert!(talk.is_closed(), "{length}");
    }
}

// NET-1
#[test]
fn s002_answers_leave_in_the_order_of_the_requests() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "order", 1, &[]);
    let mut talk = topic.leader(0);
    // A fetch that waits, followed by requests that need no wait.
    let partitions = vec![from(&topic.name, 0, 0)];
    let waits = FetchRequest { partitions, max_wait_ms: 500, min_bytes: 1, ..Default::default() };
    let first = talk.send_fetch(&waits, 11);
    let second = talk.id();
    let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    talk.send(&frame::encode_request(&request, 9, second, None).unwrap());
    let third = talk.send_produce(9, -1, &[(topic.by_name(), 0, &batch(&["a"]))]);
    let (answer, took) = measured(|| talk.receive_fetch(11, first));
    assert_eq!(answer.partitions.len(), 1);
    // The batch behind the fetch was appended at once and completed it.
    assert!(took < Duration::from_secs(5), "{took:?}");
    talk.answer(ApiKey::Metadata, 9, second, |reader| MetadataResponse::decode(reader, 9).unwrap());
    assert_eq!(talk.receive_produce(9, third)[0].code, ErrorCode::None);
}

#[test]
fn net_3_requests_beyond_the_limit_wait_and_are_answered_in_order() {
    const REQUESTS: usize = 3 * tidemill::net::connection::IN_FLIGHT_MAX;
    let node = PLAIN.node();
    let topic = bench::topic(&node, "in-flight", 1, &[]);
    let mut talk = topic.leader(0);
    // A fetch that waits keeps all requests behind it unanswered.
    let partitions = vec![from(&topic.name, 0, 0)];
    let waits = FetchRequest { partitions, max_wait_ms: 500, min_bytes: 1, ..Default::default() };
    let first = talk.send_fetch(&waits, 11);
    let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    let ids: Vec<i32> = (0..REQUESTS).map(|_| talk.id()).collect();
    let frames = ids.iter().map(|id| frame::encode_request(&request, 9, *id, None).unwrap());
    talk.send(&frames.collect::<Vec<_>>().concat());
    assert_eq!(talk.receive_fetch(11, first).partitions.len(), 1);
    for id in ids {
        talk.answer(ApiKey::Metadata, 9, id, |reader| MetadataResponse::decode(reader, 9).unwrap());
    }
}

#[test]
fn s003_pipelined_batches_are_appended_in_the_order_of_their_arrival_also_across_cores() {
    let node = PLAIN.node();
    let topic = bench::topic(&node, "pipelined", 2, &[]);
    assert_ne!(topic.leaders[0], topic.leaders[1], "two partitions of a topic are on two cores");
    for (producer, through) in [(900_001, 0), (900_002, 1)] {
        // Partition 0, through its own shard and through the other one.
        let mut talk = topic.leader(through);
        let from = talk.produce_one(&topic.name, 0, &batch(&["first"])).base_offset + 1;
        let ids: Vec<i32> = (0..100)
            .map(|sequence| {
                let batch = sequenced(producer, 0, sequence, &[&sequence.to_string()]);
                talk.send_produce(9, -1, &[(topic.by_name(), 0, &batch)])
            })
            .collect();
        for (n, id) in ids.into_iter().enumerate() {
            let answer = talk.receive_produce(9, id).remove(0);
            assert_eq!((answer.code, answer.base_offset), (ErrorCode::None, from + n as i64), "through {through}");
        }
        let values = talk.fetch_one(topic.by_name(), 0, from, 11).values();
        assert_eq!(values, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn s004_the_correlation_id_comes_back_also_when_negative() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    for id in [0, -1, i32::MIN, i32::MAX] {
        talk.send(&framed(&header(18, 0, id)));
        assert_eq!(talk.receive().unwrap()[..4], id.to_be_bytes());
    }
}

/// Sends one request at each version; each response must decode to its last byte.
fn check_versions<Request: Message, Answer: Message>(talk: &mut Talk, request: impl Fn(i16) -> Request) {
    let api = Answer::API.api();
    for version in api.served_from..=api.max {
        let _: Answer = talk.call(&request(version), version);
    }
}

/// Sends an empty request of each API at each of its versions, and a valid one where an empty one is not encodable.
macro_rules! check_every_version {
    (@ $talk:ident hand_written Produce $request:ty, $response:ty) => {
        for version in 3..=13 {
            assert!($talk.produce(version, 1, &[]).is_empty());
        }
    };
    (@ $talk:ident hand_written Fetch $request:ty, $response:ty) => {
        for version in 4..=18 {
            assert!($talk.fetch(&FetchRequest::default(), version).partitions.is_empty());
        }
    };
    (@ $talk:ident declared Metadata $request:ty, $response:ty) => {
        for version in 0..=13 {
            // Version 0 cannot express null topics.
            let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
            let answer: MetadataResponse = $talk.call(&request, version);
            assert!(!answer.brokers.is_empty());
        }
    };
    (@ $talk:ident declared ApiVersions $request:ty, $response:ty) => {
        for version in 0..=4 {
            versions($talk, version);
        }
    };
    // The empty filter has fields of value UNKNOWN.
    (@ $talk:ident declared DescribeAcls $request:ty, $response:ty) => {
        check_versions::<$request, $response>($talk, |_| DescribeAclsRequest {
            resource_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        })
    };
    // Version 1 cannot express null topics.
    (@ $talk:ident declared OffsetFetch $request:ty, $response:ty) => {
        check_versions::<$request, $response>($talk, |version| OffsetFetchRequest {
            topics: (version < 8).then(Vec::new),
            ..Default::default()
        })
    };
    (@ $talk:ident declared $key:ident $request:ty, $response:ty) => {
        check_versions::<$request, $response>($talk, |_| <$request>::default())
    };
    ($(
        $kind:ident $key:ident = $code:literal $versions:tt
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {
        |talk: &mut Talk| {
            $(check_every_version!(@ talk $kind $key wire::$room::$module::$request, wire::$room::$module::$response);)*
        }
    };
}

#[test]
fn s006_every_version_of_every_api_is_answered_with_its_header() {
    let node = PLAIN.node();
    let check = tidemill::wire::for_each_message!(check_every_version);
    check(&mut Talk::to(node.bootstrap()));
}

#[test]
fn s007_api_versions_at_an_unknown_version_is_answered_in_v0_and_its_body_is_not_parsed() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    talk.send(&framed(&[&header(18, 99, 7)[..8], b"\xff\xff whatever a later time will say"].concat()));
    // Correlation id, error 35, one key: 18, 0 to 5.
    assert_eq!(talk.receive().unwrap(), [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5]);
    assert_eq!(versions(&mut talk, 3).error_code, ErrorCode::None, "the connection goes on");
}

#[test]
fn s008_client_software_names_are_checked() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    for (name, code) in [("apache-kafka-java", ErrorCode::None), ("a b", ErrorCode::InvalidRequest)] {
        let (client_software_name, client_software_version) = (name.into(), "4.0.0".into());
        let request = ApiVersionsRequest { client_software_name, client_software_version, ..Default::default() };
        let answer: ApiVersionsResponse = talk.call(&request, 3);
        assert_eq!(answer.error_code, code, "{name}");
    }
}

/// Asks as a client that expects this cluster and broker.
fn expects(talk: &mut Talk, version: i16, cluster_id: Option<&str>, node_id: i32) -> ErrorCode {
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        cluster_id: cluster_id.map(str::to_string),
        node_id,
    };
    let answer: ApiVersionsResponse = talk.call(&request, version);
    assert_eq!(answer.api_keys.is_empty(), answer.error_code.is_error());
    answer.error_code
}

#[test]
fn s009_a_client_at_the_wrong_broker_rebootstraps() {
    use ErrorCode::{InvalidRequest as Invalid, None as Accepted, RebootstrapRequired as Refused};
    // In direct routing a shard's own port is one broker, and the shared port is any broker of the node.
    let node = PLAIN.node();
    let mut shared = Talk::to(node.bootstrap());
    let answer: MetadataResponse = shared.call(&MetadataRequest { topics: Some(vec![]), ..Default::default() }, 12);
    let cluster = answer.cluster_id.expect("a cluster has an id");
    let ids: Vec<_> = answer.brokers.iter().map(|broker| broker.node_id).collect();
    assert!(ids.len() > 1, "{ids:?}");
    let stranger = ids.iter().max().unwrap() + 1;
    for id in &ids {
        assert_eq!(expects(&mut shared, 5, Some(&cluster), *id), Accepted, "{id} on the shared port");
    }
    for broker in &answer.brokers {
        let mut own = Talk::to(&format!("{}:{}", broker.host, broker.port));
        for id in &ids {
            let expected = if *id == broker.node_id { Accepted } else { Refused };
            assert_eq!(expects(&mut own, 5, Some(&cluster), *id), expected, "{id} on the port of {}", broker.node_id);
        }
    }
    for (cluster_id, node_id, expected) in [
        (Some("another"), ids[0], Refused),
        (Some(&cluster[..]), stranger, Refused),
        // One of the two without the other.
        (Some(&cluster[..]), -1, Invalid),
        (None, ids[0], Invalid),
        (None, -1, Accepted),
    ] {
        assert_eq!(expects(&mut shared, 5, cluster_id, node_id), expected, "{cluster_id:?} {node_id}");
    }
    // Version 4 lacks the fields.
    assert_eq!(expects(&mut shared, 4, Some("another"), 7), Accepted);
}

#[test]
fn s011_produce_is_advertised_from_0_and_s019_telemetry_is_not_advertised() {
    let node = PLAIN.node();
    let answer = versions(&mut Talk::to(node.bootstrap()), 4);
    let advertised: Vec<_> =
        answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let table: Vec<_> = API_TABLE.iter().map(|api| (api.key.code(), api.min, api.max)).collect();
    assert_eq!(advertised, table);
    assert!(advertised.contains(&(0, 0, 13)));
    assert!(!advertised.iter().any(|api| matches!(api.0, 71 | 72)));
}

#[test]
fn s014_an_unknown_key_or_an_unadvertised_version_closes_the_connection() {
    let node = PLAIN.node();
    for (key, version) in [(999, 0), (4, 0), (-1, 0), (71, 0), (3, 14), (3, -1), (1, 19), (60, 3)] {
        let mut talk = Talk::to(node.bootstrap());
        talk.send(&framed(&header(key, version, 1)));
        assert!(talk.is_closed(), "{key} v{version}");
    }
}

#[test]
fn s015_the_versions_of_kip_896_are_refused_and_metadata_v0_stays() {
    let node = PLAIN.node();
    // Each API that lost versions, with the first version that stays.
    let stays = [(0, 3), (1, 4), (2, 1), (8, 2), (9, 1), (19, 2), (20, 1), (23, 2), (29, 1), (30, 1), (31, 1)];
    for (key, first) in stays.into_iter().chain([(32, 1), (35, 1), (27, 1)]) {
        assert_eq!(ApiKey::from_code(key).map(|key| key.api().served_from), Some(first), "{key}");
        for version in 0..first {
            let mut talk = Talk::to(node.bootstrap());
            talk.send(&framed(&header(key, version, 1)));
            assert!(talk.is_closed(), "{key} v{version}");
        }
    }
    let mut talk = Talk::to(node.bootstrap());
    assert!(!metadata(&mut talk, 0, Some(&["s015"])).brokers.is_empty());
    let found: FindCoordinatorResponse =
        talk.call(&FindCoordinatorRequest { key: "s015".into(), ..Default::default() }, 0);
    assert_ne!(found.error_code, ErrorCode::UnsupportedVersion);
    // The answer is about the group: it has no session timeout of zero.
    let joined: JoinGroupResponse = talk.call(&JoinGroupRequest { group_id: "s015".into(), ..Default::default() }, 0);
    assert_ne!(joined.error_code, ErrorCode::None);
}

#[test]
fn s016_unknown_tags_are_skipped_and_a_count_beyond_the_bytes_or_the_bounds_closes_the_connection() {
    let node = PLAIN.node();
    let mut talk = Talk::to(node.bootstrap());
    // Metadata v12 with a tag in the header, no topics, and two unknown tags.
    let tagged = [&header(3, 12, 5)[..], &[1, 9, 2, 0xaa, 0xbb, 1, 0, 0, 2, 0, 1, 0xaa, 77, 2, 0xbb, 0xcc]].concat();
    talk.send(&framed(&tagged));
    talk.answer(ApiKey::Metadata, 12, 5, |reader| MetadataResponse::decode(reader, 12).unwrap());
    // Kafka's bounds hold even if all the bytes follow: 10,000 tags, and 1,000,000 elements.
    let tags = |count: u16| {
        let varint = [count as u8 | 0x80, (count >> 7) as u8];
        let tags = (0..count).flat_map(|tag| [tag as u8 | 0x80, (tag >> 7) as u8, 0]);
        [&header(3, 12, 5)[..], &[0, 1, 0, 0], &varint, &tags.collect::<Vec<_>>()].concat()
    };
    talk.send(&framed(&tags(10_000)));
    talk.answer(ApiKey::Metadata, 12, 5, |reader| MetadataResponse::decode(reader, 12).unwrap());
    let elements = [&header(3, 1, 5)[..], &1_000_001i32.to_be_bytes(), &[0; 2_000_002]].concat();
    let counted = [&header(3, 1, 5)[..], &i32::MAX.to_be_bytes()].concat();
    for refused in [tags(10_001), elements, counted] {
        let mut talk = Talk::to(node.bootstrap());
        talk.send(&framed(&refused));
        assert!(talk.is_closed());
    }
}

#[test]
fn s018_an_idle_connection_is_closed_and_an_active_one_is_not() {
    let settings = ["--shards", "1", "--set", "journal.bytes=134217728", "--set", "connections.max.idle.ms=3000"];
    let node = Node::tidemill("protocol-idle", &settings);
    let mut silent = Talk::to(node.bootstrap());
    let mut used = Talk::to(node.bootstrap());
    versions(&mut silent, 3);
    std::thread::scope(|scope| {
        let closed = scope.spawn(|| silent.is_closed());
        while !closed.is_finished() {
            versions(&mut used, 3);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(closed.join().expect("no panic"));
    });
    assert_eq!(versions(&mut used, 3).error_code, ErrorCode::None);
}
