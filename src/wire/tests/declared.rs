//! Compares declared messages with the referee, with random values in every field.
//!
//! The referee decodes the bytes of this codec and must encode the same bytes. This codec must decode them to the
//! original message. So both codecs agree in both directions.

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Dice, Sample, body, parse};
use crate::wire::*;

const ROUNDS: u64 = 60;

/// The highest version that the referee knows, and the highest version at which both write the same bytes.
fn referee_versions(api: &Api) -> (i16, i16) {
    match api.key {
        // Version 11 has the fields of version 10.
        ApiKey::ListOffsets => (10, api.max),
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => (api.max, 9),
        // Version 5 has a field that the referee does not know.
        ApiKey::DescribeLogDirs => (api.max, 4),
        // Version 2 has a field that the referee does not know.
        ApiKey::WriteTxnMarkers => (api.max, 1),
        // The last versions have fields that the referee does not know.
        ApiKey::ApiVersions => (4, 4),
        ApiKey::DeleteGroups => (2, 2),
        ApiKey::TxnOffsetCommit => (5, 5),
        _ => (api.max, api.max),
    }
}

fn check<M: Message + Sample + PartialEq + std::fmt::Debug, T: Encodable + Decodable>() {
    let api = M::API.api();
    let (their_max, last) = referee_versions(api);
    for version in api.served_from..=last {
        for seed in 0..ROUNDS {
            let context = format!("{} v{version}, seed {seed}", api.name);
            let message = M::sample(&mut Dice(seed * 1000 + version as u64), version);
            let ours = body(&message, version);
            assert_eq!(parse::<M>(&ours, version).as_ref(), Ok(&message), "{context}");

            let their_version = version.min(their_max);
            let mut rest = ours.as_slice();
            let read = T::decode(&mut rest, their_version).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(rest.len(), 0, "{context}: the referee leaves bytes unread");
            let mut written = Vec::new();
            read.encode(&mut written, their_version).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(written, ours, "{context}");
        }
    }
}

macro_rules! each_declared_message_agrees_with_the_referee {
    (@ hand_written $($row:tt)*) => {};
    (@ declared $room:ident $module:ident $request:ident $response:ident) => {
        mod $module {
            use super::*;

            #[test]
            fn agrees_with_the_referee() {
                check::<crate::wire::$room::$module::$request, theirs::$request>();
                check::<crate::wire::$room::$module::$response, theirs::$response>();
            }
        }
    };
    ($(
        $kind:ident $key:ident = $code:literal $versions:tt
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {
        $(each_declared_message_agrees_with_the_referee!(@ $kind $room $module $request $response);)*
    };
}

for_each_message!(each_declared_message_agrees_with_the_referee);

/// A tagged field that a declaration lacks would be skipped silently, so this test names each of them.
#[test]
fn tagged_fields_that_the_referee_writes_are_understood() {
    use theirs::api_versions_response::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};
    let written = ApiVersionsResponse::default()
        .with_supported_features(vec![SupportedFeatureKey::default().with_name("a".into()).with_max_version(2)])
        .with_finalized_features_epoch(7)
        .with_finalized_features(vec![FinalizedFeatureKey::default().with_name("b".into()).with_max_version_level(3)])
        .with_zk_migration_ready(true);
    let mut bytes = Vec::new();
    written.encode(&mut bytes, 4).unwrap();
    let read: admin::api_versions::ApiVersionsResponse = parse(&bytes, 4).unwrap();
    assert_eq!((read.supported_features[0].name.as_str(), read.supported_features[0].max_version), ("a", 2));
    assert_eq!((read.finalized_features[0].name.as_str(), read.finalized_features[0].max_version_level), ("b", 3));
    assert_eq!((read.finalized_features_epoch, read.zk_migration_ready), (7, true));

    use theirs::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
    let topic = CreatableTopicResult::default().with_topic_config_error_code(29);
    let mut bytes = Vec::new();
    CreateTopicsResponse::default().with_topics(vec![topic]).encode(&mut bytes, 7).unwrap();
    let read: admin::create_topics::CreateTopicsResponse = parse(&bytes, 7).unwrap();
    assert_eq!(read.topics[0].topic_config_error_code.code(), 29);
}

#[test]
fn a_field_that_the_version_lacks_is_refused_unless_ignorable() {
    let encode = |request: &admin::describe_cluster::DescribeClusterRequest, version| {
        frame::encode_request(request, version, 1, None)
    };
    let mut request = admin::describe_cluster::DescribeClusterRequest::default();
    assert!(encode(&request, 0).is_ok());
    request.include_fenced_brokers = true;
    assert!(encode(&request, 2).is_ok());
    let field = "DescribeClusterRequest.include_fenced_brokers";
    assert_eq!(encode(&request, 1), Err(Unencodable { field, version: 1 }));

    let topics = admin::metadata::MetadataRequest::default();
    assert!(frame::encode_request(&topics, 1, 1, None).is_ok());
    let null = "null MetadataRequest.topics";
    assert_eq!(frame::encode_request(&topics, 0, 1, None), Err(Unencodable { field: null, version: 0 }));

    // The cluster id is ignorable, because version 1 does not have it.
    let answer = admin::metadata::MetadataResponse { cluster_id: Some("x".into()), ..Default::default() };
    assert!(frame::encode_response(&answer, 1, 1).is_ok());
}
