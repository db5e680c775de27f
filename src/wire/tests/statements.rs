//! The protocol rules that clients depend on, one per test.

use super::parse;
use crate::model::ErrorCode;
use crate::wire::admin::api_versions::*;
use crate::wire::data::fetch::*;
use crate::wire::frame::{self, Refused, RequestHeader};
use crate::wire::*;

fn header(key: i16, version: i16) -> Result<(i16, i32), Refused> {
    let mut w = Writer::new(0, false);
    w.i16(key);
    w.i16(version);
    w.i32(-42);
    // A null client id, and no tags if the header has tags.
    w.i16(-1);
    w.i8(0);
    let bytes = w.finish().unwrap();
    RequestHeader::decode(&mut Reader::new(&bytes)).map(|header| (header.version, header.correlation_id))
}

#[test]
fn a_length_below_0_or_above_the_maximum_is_illegal() {
    let check = |length: i32, is_legal: bool| {
        assert_eq!(frame::length(length.to_be_bytes(), frame::REQUEST_BYTES_MAX).is_ok(), is_legal, "{length}");
    };
    check(0, true);
    check(100 * 1024 * 1024, true);
    check(100 * 1024 * 1024 + 1, false);
    check(-1, false);
    check(i32::MIN, false);
    // "GET " as a length: a client that uses HTTP.
    check(i32::from_be_bytes(*b"GET "), false);
}

#[test]
fn the_correlation_id_comes_back_also_when_negative() {
    for id in [0, 1, -1, i32::MIN, i32::MAX] {
        let frame = frame::encode_response(&admin::metadata::MetadataResponse::default(), 12, id).unwrap();
        let mut r = Reader::new(&frame[4..]);
        assert_eq!(frame::decode_response_header(&mut r, ApiKey::Metadata.api(), 12), Ok(id));
    }
}

#[test]
fn header_v2_keeps_the_short_client_id_and_adds_tags() {
    // Metadata 9: key, version, correlation id, int16-length "me", one unknown tag (9: 2 bytes), then the body.
    let bytes = [0, 3, 0, 9, 0, 0, 0, 1, 0, 2, b'm', b'e', 1, 9, 2, 0xaa, 0xbb, 0x77];
    let mut r = Reader::new(&bytes);
    let header = RequestHeader::decode(&mut r).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert_eq!((r.i8(), r.is_flexible()), (Ok(0x77), true));
}

#[test]
fn a_client_id_that_is_no_utf8_does_not_cost_the_connection() {
    let bytes = [0, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0xff];
    assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)).unwrap().client_id.as_deref(), Some("\u{fffd}"));
}

#[test]
fn a_client_id_is_cut_so_that_with_a_uuid_behind_it_it_is_still_a_string() {
    // Each invalid byte becomes a replacement character of three bytes.
    for byte in [b'a', 0xff] {
        let bytes = [&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff][..], &[byte; 0x7fff]].concat();
        let header = RequestHeader::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(header.client_id.map(|id| id.len()), Some(frame::CLIENT_ID_BYTES_MAX));
    }
}

#[test]
fn api_versions_always_answers_with_header_v0() {
    for version in 0..=5 {
        let frame = frame::encode_response(&ApiVersionsResponse::default(), version, 5).unwrap();
        // After length and correlation id, the error code follows directly, without tags.
        assert_eq!(frame[4..10], [0, 0, 0, 5, 0, 0], "v{version}");
    }
    let flexible = frame::encode_response(&admin::metadata::MetadataResponse::default(), 9, 5).unwrap();
    assert_eq!(flexible[4..9], [0, 0, 0, 5, 0]);
}

#[test]
fn api_versions_at_an_unknown_version_is_answered_in_v0() {
    for version in [6, 99, i16::MAX, -1] {
        assert_eq!(header(18, version), Err(Refused::UnknownApiVersions { version, correlation_id: -42 }));
    }
    // Nothing after the correlation id is read.
    let bytes = [0, 18, 0, 99, 0, 0, 0, 7];
    let refused = RequestHeader::decode(&mut Reader::new(&bytes)).unwrap_err();
    assert_eq!(refused, Refused::UnknownApiVersions { version: 99, correlation_id: 7 });
    // Error 35, one key: 18, 0 to 5.
    let expected = [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5];
    assert_eq!(unsupported_version(7), expected);
}

#[test]
fn client_software_names_are_checked_from_v3_on() {
    let check = |name: &str, is_valid: bool| {
        let request = |name: &str, version: &str| ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: version.into(),
            ..ApiVersionsRequest::default()
        };
        assert_eq!(request(name, "1.0").is_valid(3), is_valid, "{name:?}");
        assert_eq!(request("x", name).is_valid(4), is_valid, "{name:?}");
        assert!(request(name, name).is_valid(2));
    };
    for name in ["a", "apache-kafka-java", "librdkafka", "2.3.0-rc1", "a..b", "0"] {
        check(name, true);
    }
    for name in ["", "-a", "a-", ".", "a b", "a_b", "ä", "a\n"] {
        check(name, false);
    }
}

#[test]
fn a_cluster_id_and_a_node_id_come_together_from_v5_on() {
    for (cluster_id, node_id, is_valid) in
        [(Some("c"), 1, true), (None, -1, true), (Some("c"), -1, false), (None, 1, false)]
    {
        let request = ApiVersionsRequest {
            client_software_name: "a".into(),
            client_software_version: "1".into(),
            cluster_id: cluster_id.map(str::to_owned),
            node_id,
        };
        assert_eq!((request.is_valid(5), request.is_valid(4)), (is_valid, true), "{request:?}");
    }
}

#[test]
fn produce_is_advertised_from_0_and_refused_below_3() {
    let response = ApiVersionsResponse::advertise(4, vec![], 0, vec![]);
    let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    for version in 0..3 {
        assert!(matches!(header(0, version), Err(Refused::UnservedVersion { .. })), "{version}");
    }
    assert_eq!(header(0, 3), Ok((3, -42)));
}

#[test]
fn the_advertised_versions_are_those_of_kafka_4_4() {
    let advertised = ApiVersionsResponse::advertise(4, vec![], 0, vec![]).api_keys;
    let found: Vec<_> = advertised.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let kafka = [
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (18, 0, 5),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (24, 0, 5),
        (25, 0, 4),
        (26, 0, 5),
        (27, 1, 2),
        (28, 0, 6),
        (29, 1, 3),
        (30, 1, 3),
        (31, 1, 3),
        (32, 1, 4),
        (33, 0, 2),
        (34, 1, 2),
        (35, 1, 5),
        (37, 0, 3),
        (42, 0, 3),
        (43, 0, 2),
        (44, 0, 1),
        (45, 0, 1),
        (46, 0, 0),
        (47, 0, 0),
        (55, 0, 2),
        (57, 0, 2),
        (60, 0, 2),
        (61, 0, 0),
        (64, 0, 0),
        (65, 0, 0),
        (66, 0, 2),
        (68, 0, 1),
        (69, 0, 1),
        (74, 0, 1),
        (75, 0, 0),
    ];
    assert_eq!(found, kafka);
}

#[test]
fn a_feature_with_minimum_0_is_left_out_below_v4() {
    let feature = |name: &str, min_version| SupportedFeature { name: name.into(), min_version, max_version: 2 };
    for (version, expected) in [(3, vec!["b"]), (4, vec!["a", "b"])] {
        let response = ApiVersionsResponse::advertise(version, vec![feature("a", 0), feature("b", 1)], 0, vec![]);
        let read: ApiVersionsResponse = parse(&super::body(&response, version), version).unwrap();
        let names: Vec<_> = read.supported_features.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, expected, "v{version}");
    }
}

#[test]
fn a_finalized_feature_at_level_0_is_not_listed() {
    let level =
        |name: &str, level| FinalizedFeature { name: name.into(), max_version_level: level, min_version_level: level };
    let response = ApiVersionsResponse::advertise(4, vec![], 3, vec![level("off", 0), level("transaction.version", 2)]);
    assert_eq!(response.finalized_features, [level("transaction.version", 2)]);
}

#[test]
fn an_unknown_key_and_an_unadvertised_version_are_refused() {
    assert_eq!(header(999, 0), Err(Refused::UnknownApi { key: 999, version: 0 }));
    // LeaderAndIsr, which is reserved.
    assert_eq!(header(4, 0), Err(Refused::UnknownApi { key: 4, version: 0 }));
    for (api, versions) in [(1, [3, 19]), (2, [0, 12]), (3, [-1, 14]), (19, [1, 8]), (20, [0, 7]), (22, [-1, 6])] {
        for version in versions {
            let refused = header(api, version).unwrap_err();
            assert!(matches!(refused, Refused::UnservedVersion { .. }), "{api} v{version}: {refused}");
        }
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    // MetadataRequest 12: no topics, false, false, and two unknown tags.
    let bytes = [1, 0, 0, 2, 0, 1, 0xaa, 77, 2, 0xbb, 0xcc];
    let request: admin::metadata::MetadataRequest = parse(&bytes, 12).unwrap();
    assert_eq!(request.topics, Some(vec![]));
}

#[test]
fn throttle_time_is_written_from_its_first_version_on() {
    // (API, first version with the field, position of the field in the body); MAX: the last field.
    let check = |api: ApiKey, from: i16, encode: &dyn Fn(i16) -> (Vec<u8>, Vec<u8>)| {
        for version in api.api().served_from..=api.api().max {
            let (without, with) = encode(version);
            assert_eq!(without != with, version >= from, "{} v{version}", api.api().name);
        }
    };
    check(ApiKey::Metadata, 3, &|version| {
        let answer = |throttle_time_ms| admin::metadata::MetadataResponse { throttle_time_ms, ..Default::default() };
        (super::body(&answer(0), version), super::body(&answer(9), version))
    });
    check(ApiKey::ApiVersions, 1, &|version| {
        let answer = |throttle_time_ms| ApiVersionsResponse { throttle_time_ms, ..Default::default() };
        (super::body(&answer(0), version), super::body(&answer(9), version))
    });
    check(ApiKey::ListOffsets, 2, &|version| {
        let answer =
            |throttle_time_ms| data::list_offsets::ListOffsetsResponse { throttle_time_ms, ..Default::default() };
        (super::body(&answer(0), version), super::body(&answer(9), version))
    });
    check(ApiKey::Produce, 3, &|version| {
        let answer = |throttle_time_ms| data::produce::ProduceResponse { throttle_time_ms, ..Default::default() };
        (answer(0).encode_frame(version, 1).unwrap(), answer(9).encode_frame(version, 1).unwrap())
    });
}

#[test]
fn all_topics_is_null_or_at_v0_empty() {
    let request = |topics| admin::metadata::MetadataRequest { topics, ..Default::default() };
    assert!(request(None).wants_all_topics(1));
    assert!(request(Some(vec![])).wants_all_topics(0));
    assert!(!request(Some(vec![])).wants_all_topics(1));
    assert!(!request(Some(vec![admin::metadata::MetadataRequestTopic::default()])).wants_all_topics(0));
}

#[test]
fn special_timestamps_have_a_first_version() {
    use data::list_offsets::timestamp_from_version;
    let expected = [(0, 1), (-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11), (i64::MAX, 1)];
    for (timestamp, version) in expected {
        assert_eq!(timestamp_from_version(timestamp), Some(version), "{timestamp}");
    }
    assert_eq!(timestamp_from_version(-7), None);
}

#[test]
fn empty_records_are_length_0_never_null() {
    for version in 4..=18 {
        let topic = if version >= 13 { Topic::Id(crate::model::TopicId([1; 16])) } else { Topic::Name("t") };
        let head = FetchHead { throttle_time_ms: 0, error_code: ErrorCode::None, session_id: 0 };
        let mut w = FetchResponseWriter::<&[u8]>::new(version, 1, head, 1);
        w.topic(topic, 1);
        // The same holds for a partition with an error.
        w.partition(&PartitionHead::refused(0, ErrorCode::OffsetOutOfRange), []);
        let frame = w.finish(&[]).unwrap().to_vec();
        // The frame ends with the length, and in flexible versions with the tags of partition, topic and response.
        let end: &[u8] = if version >= 12 { &[1, 0, 0, 0] } else { &[0, 0, 0, 0] };
        assert!(frame.ends_with(end), "v{version}: {frame:?}");
        let before = frame[frame.len() - end.len() - 4..frame.len() - end.len()].to_vec();
        assert_eq!(before, [0xff; 4], "v{version}: the field before is null or -1");
    }
}

#[test]
fn wire_3_records_are_never_copied() {
    let records: Vec<u8> = vec![9; 10_000];
    let head = FetchHead { throttle_time_ms: 0, error_code: ErrorCode::None, session_id: 0 };
    let mut w = FetchResponseWriter::new(11, 1, head, 1);
    w.topic(Topic::Name("t"), 2);
    w.partition(&PartitionHead::refused(0, ErrorCode::None), [&records[..100], &records[100..]]);
    w.partition(&PartitionHead::refused(1, ErrorCode::None), [&records[..]]);
    let pieces = w.finish(&[]).unwrap();
    assert!(pieces.head.len() < 200);
    let places: Vec<_> = pieces.payloads.iter().map(|(_, payload)| payload.as_ptr()).collect();
    assert_eq!(places, [records.as_ptr(), records[100..].as_ptr(), records.as_ptr()]);

    let mut w = data::produce::ProduceRequestWriter::new(
        9,
        1,
        None,
        data::produce::ProduceHead { transactional_id: None, acks: 1, timeout_ms: 1 },
        1,
    );
    w.topic(Topic::Name("t"), 1);
    w.partition(0, &records[..]);
    let frame = w.finish().unwrap().to_vec();
    let mut r = Reader::new(&frame);
    r.i32().unwrap();
    RequestHeader::decode(&mut r).unwrap();
    let request = data::produce::ProduceRequest::decode(&mut r, 9).unwrap();
    let partition = request.partitions().next().unwrap();
    assert_eq!(partition.records.as_ptr(), frame[partition.records_range()].as_ptr());
}

#[test]
fn a_response_omits_fields_that_its_version_lacks() {
    let mut produced = data::produce::ProducedPartition::refused(Topic::Name("t"), 3, ErrorCode::NotLeaderOrFollower);
    produced.error_message = Some("not here".into());
    produced.current_leader = CurrentLeader { leader_id: 1, leader_epoch: 2 };
    let node_endpoints = vec![NodeEndpoint { node_id: 1, host: "h".into(), port: 1, rack: None }];
    let response = data::produce::ProduceResponse { partitions: vec![produced], node_endpoints, ..Default::default() };
    for version in 3..=12 {
        let mut w = Writer::new(version, false);
        response.encode(&mut w, version);
        let body = w.finish().unwrap();
        let read = data::produce::ProduceResponse::decode(&mut Reader::new(&body), version).unwrap();
        assert_eq!(read.partitions[0].error_message.is_some(), version >= 8, "v{version}");
        assert_eq!(read.partitions[0].current_leader.leader_id == 1, version >= 10, "v{version}");
        assert_eq!(read.node_endpoints.len() == 1, version >= 10, "v{version}");
    }
}

#[test]
fn a_topic_is_named_as_the_version_names_it() {
    let encode = |topic, version| {
        let partitions = vec![data::produce::ProducedPartition::refused(topic, 0, ErrorCode::None)];
        data::produce::ProduceResponse { partitions, ..Default::default() }.encode_frame(version, 1).is_ok()
    };
    let id = Topic::Id(crate::model::TopicId([1; 16]));
    assert!(encode(Topic::Name("t"), 12) && !encode(Topic::Name("t"), 13));
    assert!(encode(id, 13) && !encode(id, 12));
}
