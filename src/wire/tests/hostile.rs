//! Feeds damaged bytes to every decoder: cut at every byte, changed at random, and with counts beyond the frame. A
//! decoder accepts or rejects them; it never panics, and never allocates for a count that the bytes do not back.

use super::{Dice, Sample, body};
use crate::wire::data::fetch::*;
use crate::wire::data::produce::*;
use crate::wire::*;

type Decode = dyn Fn(&[u8]) -> bool;

/// A decoder that returns whether it accepted the bytes, and a body that it accepts.
struct Target {
    name: String,
    good: Vec<u8>,
    decode: Box<Decode>,
}

fn target(name: &str, version: i16, good: Vec<u8>, decode: impl Fn(&[u8]) -> bool + 'static) -> Target {
    let target = Target { name: format!("{name} v{version}"), good, decode: Box::new(decode) };
    assert!((target.decode)(&target.good), "{}", target.name);
    target
}

fn declared<M: Message + Sample + 'static>(targets: &mut Vec<Target>) {
    let api = M::API.api();
    for version in api.served_from..=api.max {
        for seed in 0..3 {
            let good = body(&M::sample(&mut Dice(seed), version), version);
            let decode = move |bytes: &[u8]| {
                let mut r = Reader::new(bytes);
                r.set_flexible(api.is_flexible(version));
                M::decode(&mut r, version).is_ok()
            };
            targets.push(target(std::any::type_name::<M>(), version, good, decode));
        }
    }
}

fn unframe(frame: Vec<u8>, header: impl Fn(&mut Reader<'_>)) -> Vec<u8> {
    let mut r = Reader::new(&frame[4..]);
    header(&mut r);
    r.take(r.remaining()).unwrap().to_vec()
}

fn by_hand(targets: &mut Vec<Target>) {
    let request_header = |r: &mut Reader<'_>| assert!(frame::RequestHeader::decode(r).is_ok());
    let endpoint = NodeEndpoint { node_id: 1, host: "h".into(), port: 9, rack: Some("r".into()) };
    let leader = CurrentLeader { leader_id: 3, leader_epoch: 4 };

    for version in 3..=13 {
        let topic = if version >= 13 { Topic::Id(crate::model::TopicId([7; 16])) } else { Topic::Name("topic") };
        let head = ProduceHead { transactional_id: Some("t"), acks: 1, timeout_ms: 2 };
        let mut w = ProduceRequestWriter::new(version, 1, None, head, 2);
        for _ in 0..2 {
            w.topic(topic, 2);
            w.partition(0, &[1; 70][..]);
            w.partition(1, &[]);
        }
        let good = unframe(w.finish().unwrap().to_vec(), request_header);
        targets.push(target("ProduceRequest", version, good, move |bytes| {
            let Ok(request) = ProduceRequest::decode(&mut Reader::new(bytes), version) else { return false };
            // An accepted request can be iterated, and every range lies in the frame.
            assert_eq!(request.partitions().count(), request.partition_count);
            assert!(request.partitions().all(|p| bytes[p.records_range()] == *p.records));
            true
        }));

        let mut produced = ProducedPartition::refused(topic, 1, crate::model::ErrorCode::InvalidRecord);
        produced.record_errors.push(RecordError { batch_index: 1, message: Some("m".into()) });
        produced.error_message = Some("e".into());
        produced.current_leader = leader;
        let node_endpoints = vec![endpoint.clone()];
        let response = ProduceResponse { partitions: vec![produced; 2], throttle_time_ms: 1, node_endpoints };
        let mut w = Writer::new(version, false);
        response.encode(&mut w, version);
        targets.push(target("ProduceResponse", version, w.finish().unwrap(), move |bytes| {
            ProduceResponse::decode(&mut Reader::new(bytes), version).is_ok()
        }));
    }

    for version in 4..=18 {
        let topic = if version >= 13 { Topic::Id(crate::model::TopicId([7; 16])) } else { Topic::Name("topic") };
        let mut fetch = FetchPartition::new(topic, 1, 2);
        (fetch.high_watermark, fetch.replica_directory_id.0) = (9, [1; 16]);
        let mut request = FetchRequest { partitions: vec![fetch; 3], rack_id: "rack", ..Default::default() };
        request.cluster_id = Some("cluster");
        if version >= 7 {
            request.forgotten = vec![(topic, 1), (topic, 2)];
        }
        if version >= 15 {
            (request.replica_id, request.replica_epoch) = (3, 4);
        }
        let good = unframe(request.encode_frame(version, 1, None).unwrap(), request_header);
        targets.push(target("FetchRequest", version, good, move |bytes| {
            FetchRequest::decode(&mut Reader::new(bytes), version).is_ok()
        }));

        let head = FetchHead { throttle_time_ms: 1, error_code: crate::model::ErrorCode::None, session_id: 2 };
        let mut w = FetchResponseWriter::new(version, 1, head, 1);
        w.topic(topic, 2);
        let mut partition = PartitionHead::refused(1, crate::model::ErrorCode::None);
        partition.aborted_transactions = Some(vec![AbortedTransaction { producer_id: 1, first_offset: 2 }]);
        partition.current_leader = leader;
        partition.diverging_epoch = EpochEndOffset { epoch: 1, end_offset: 2 };
        partition.snapshot_id = EpochEndOffset { epoch: 1, end_offset: 2 };
        w.partition(&partition, [&[1; 70][..]]);
        w.partition(&partition, []);
        let frame = w.finish(std::slice::from_ref(&endpoint)).unwrap().to_vec();
        let good = unframe(frame, |r| assert!(frame::decode_response_header(r, ApiKey::Fetch.api(), version).is_ok()));
        targets.push(target("FetchResponse", version, good, move |bytes| {
            let Ok(response) = FetchResponse::decode(&mut Reader::new(bytes), version) else { return false };
            assert!(response.partitions.iter().all(|p| bytes[p.records_range()] == *p.records));
            true
        }));
    }

    for api in API_TABLE {
        for version in api.served_from..=api.max {
            let header = frame::request(api, version, 5, Some("client")).finish().unwrap()[4..].to_vec();
            let decode = |bytes: &[u8]| frame::RequestHeader::decode(&mut Reader::new(bytes)).is_ok();
            targets.push(target(api.name, version, header, decode));
        }
    }
}

macro_rules! declared_targets {
    (@ $targets:ident hand_written $($message:tt)*) => {};
    (@ $targets:ident declared $request:path, $response:path) => {
        declared::<$request>(&mut $targets);
        declared::<$response>(&mut $targets);
    };
    ($(
        $kind:ident $key:ident = $code:literal $versions:tt
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {{
        let mut targets = Vec::new();
        $(declared_targets!(@ targets $kind $room::$module::$request, $room::$module::$response);)*
        targets
    }};
}

fn targets() -> Vec<Target> {
    let mut targets = for_each_message!(declared_targets);
    by_hand(&mut targets);
    targets
}

#[test]
fn a_body_cut_anywhere_is_malformed() {
    for target in targets() {
        for length in 0..target.good.len() {
            assert!(!(target.decode)(&target.good[..length]), "{} cut to {length}", target.name);
        }
    }
}

#[test]
fn wire_1_no_decoder_panics_on_any_bytes() {
    let mut dice = Dice(1);
    let mut refused = 0;
    for target in targets() {
        for _ in 0..400 {
            let mut bytes = target.good.clone();
            for _ in 0..1 + dice.below(4) {
                match dice.below(4) {
                    0 if !bytes.is_empty() => {
                        let at = dice.below(bytes.len());
                        bytes[at] = dice.roll() as u8;
                    }
                    1 if !bytes.is_empty() => {
                        let at = dice.below(bytes.len());
                        bytes[at] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff]);
                    }
                    2 => bytes.insert(dice.below(bytes.len() + 1), dice.pick(&[0, 0x7f, 0x80, 0xff])),
                    _ => bytes.truncate(dice.below(bytes.len() + 1)),
                }
            }
            refused += usize::from(!(target.decode)(&bytes));
        }
        for length in 0..64 {
            let noise: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
            refused += usize::from(!(target.decode)(&noise));
        }
    }
    assert!(refused > 10_000, "the changes damaged too few bodies: {refused}");
}

/// Writes a huge count at every position. A decoder that trusts one would reserve gigabytes and abort this test.
#[test]
fn wire_2_a_count_that_the_bytes_do_not_back_allocates_nothing() {
    for target in targets() {
        for at in 0..target.good.len() {
            for huge in [&[0x7f, 0xff, 0xff, 0xff][..], &[0x00, 0x0f, 0x42, 0x40], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
                let mut bytes = target.good[..at].to_vec();
                bytes.extend_from_slice(huge);
                (target.decode)(&bytes);
                bytes.extend_from_slice(target.good.get(at + huge.len()..).unwrap_or_default());
                (target.decode)(&bytes);
            }
        }
    }
}

#[test]
fn a_huge_count_in_a_12_byte_body_is_an_error() {
    // The topics of Metadata, at a non-flexible and a flexible version.
    let mut body = [0xff; 12];
    body[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let error = super::parse::<admin::metadata::MetadataRequest>(&body, 5).unwrap_err();
    assert_eq!(error.what, "an array of more than 1000000 elements");
    body[..4].copy_from_slice(&[0, 0x0f, 0x42, 0x40]);
    let error = super::parse::<admin::metadata::MetadataRequest>(&body, 5).unwrap_err();
    assert_eq!(error.what, "an array count larger than the bytes that remain");
    body[..5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    let error = super::parse::<admin::metadata::MetadataRequest>(&body, 12).unwrap_err();
    assert_eq!(error.what, "an array of more than 1000000 elements");
    // The topics of Produce follow a null transactional id, acks and a timeout.
    let mut body = [0; 12];
    body[..2].copy_from_slice(&[0xff, 0xff]);
    body[8..].copy_from_slice(&[0, 0x0f, 0x42, 0x40]);
    let error = ProduceRequest::decode(&mut Reader::new(&body), 3).unwrap_err();
    assert_eq!(error, Malformed { what: "an array count larger than the bytes that remain", at: 12 });
}

#[test]
fn a_tag_section_of_more_than_10000_fields_is_an_error() {
    // The tags of an ApiVersions request after two empty strings: 10,000 and 10,001 empty fields.
    for (count, is_legal) in [(10_000u32, true), (10_001, false)] {
        let mut w = Writer::new(3, true);
        w.string("");
        w.string("");
        w.unsigned_varint(count);
        for tag in 0..count {
            w.tag(tag, |_| {});
        }
        let parsed = super::parse::<admin::api_versions::ApiVersionsRequest>(&w.finish().unwrap(), 3);
        assert_eq!(parsed.is_ok(), is_legal, "{count}");
    }
}
