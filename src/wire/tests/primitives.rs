//! The edge cases of each primitive.

use crate::model::ErrorCode;
use crate::wire::*;

#[test]
fn varints_come_back_and_take_the_fewest_bytes() {
    for (value, bytes) in [(0u32, 1), (1, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u32::MAX, 5)] {
        let mut w = Writer::new(0, true);
        w.unsigned_varint(value);
        let out = w.finish().unwrap();
        assert_eq!(out.len(), bytes, "{value}");
        assert_eq!(Reader::new(&out).unsigned_varint(), Ok(value));
    }
    for value in [0i64, -1, 1, 63, -64, 64, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
        let mut w = Writer::new(0, true);
        w.varlong(value);
        w.varint(value as i32);
        let out = w.finish().unwrap();
        let mut r = Reader::new(&out);
        assert_eq!((r.varlong(), r.varint()), (Ok(value), Ok(value as i32)));
        assert_eq!(r.remaining(), 0);
    }
    // Zigzag as in the record format: 0, -1, 1, -2, 2 encode as 0, 1, 2, 3, 4.
    assert_eq!([0u8, 1, 2, 3, 4].map(|byte| Reader::new(&[byte]).varint().unwrap()), [0, -1, 1, -2, 2]);
}

#[test]
fn a_varint_that_does_not_fit_is_malformed() {
    for bytes in [&[0xff; 5][..], &[0x80, 0x80, 0x80, 0x80, 0x10], &[0x80; 12], &[0x80], &[]] {
        assert!(Reader::new(bytes).unsigned_varint().is_err(), "{bytes:?}");
    }
    let mut largest = [0xff; 10];
    largest[9] = 1;
    assert_eq!(Reader::new(&largest).unsigned_varlong(), Ok(u64::MAX));
    largest[9] = 2;
    assert!(Reader::new(&largest).unsigned_varlong().is_err());
}

/// Bytes, their flexibility, and the decoded string; `None`: malformed.
#[test]
fn strings_are_decoded_by_their_length() {
    let check = |bytes: &[u8], flexible: bool, expected: Option<Option<&str>>| {
        let mut r = Reader::new(bytes);
        r.set_flexible(flexible);
        assert_eq!(r.nullable_string().ok(), expected, "{bytes:?} flexible {flexible}");
    };
    check(&[0, 2, b'h', b'i'], false, Some(Some("hi")));
    check(&[3, b'h', b'i'], true, Some(Some("hi")));
    check(&[0, 0], false, Some(Some("")));
    check(&[1], true, Some(Some("")));
    check(&[0xff, 0xff], false, Some(None));
    check(&[0], true, Some(None));
    check(&[0xff, 0xfe], false, None);
    check(&[0, 3, b'h', b'i'], false, None);
    check(&[4, b'h', b'i'], true, None);
    check(&[2, 0xff], true, None);
    let mut long = vec![0x81, 0x80, 2];
    long.resize(3 + 32_768, b'x');
    check(&long, true, None);
}

#[test]
fn a_null_is_malformed_where_there_must_be_a_value() {
    for flexible in [true, false] {
        let mut r = Reader::new(if flexible { &[0; 4] } else { &[0xff; 4] });
        r.set_flexible(flexible);
        assert!(r.clone().string().is_err());
        assert!(r.clone().bytes().is_err());
        assert!(r.clone().array_len(1).is_err());
        assert_eq!(r.clone().nullable_array_len(1), Ok(None));
        assert_eq!(r.nullable_bytes(), Ok(None));
    }
}

#[test]
fn an_error_names_its_position_in_the_frame() {
    let mut r = Reader::new(&[0, 1, 2, 3, 0, 9, b'x']);
    r.i32().unwrap();
    assert_eq!(r.string().unwrap_err().at, 6);
}

/// Decodes a tagged field with `content` and the declared length.
#[test]
fn a_tagged_field_must_match_its_length() {
    let read = |bytes: &[u8]| {
        let mut r = Reader::new(bytes);
        r.set_flexible(true);
        let (tag, mut field) = r.tag()?;
        let value = field.i32()?;
        field.end()?;
        Ok::<_, Malformed>((tag, value, r.remaining()))
    };
    assert_eq!(read(&[7, 4, 0, 0, 0, 5, 0xee]), Ok((7, 5, 1)));
    assert!(read(&[7, 3, 0, 0, 0, 5]).is_err());
    assert!(read(&[7, 5, 0, 0, 0, 5, 0]).is_err());
    assert!(read(&[7, 9, 0, 0, 0, 5]).is_err());
}

#[test]
fn the_length_of_a_tagged_field_may_take_more_than_a_byte() {
    for length in [0, 1, 127, 128, 20_000] {
        let mut w = Writer::new(0, true);
        w.i8(1);
        w.tag(3, |w| w.raw(&vec![0xab; length]));
        w.i8(2);
        let out = w.finish().unwrap();
        let mut r = Reader::new(&out);
        assert_eq!(r.i8(), Ok(1));
        let (tag, mut field) = r.tag().unwrap();
        assert_eq!((tag, field.take(length).unwrap().len(), field.remaining()), (3, length, 0));
        assert_eq!((r.i8(), r.remaining()), (Ok(2), 0));
    }
}

#[test]
fn a_string_too_long_for_kafka_is_not_written() {
    for flexible in [true, false] {
        for (length, fits) in [(32_767, true), (32_768, false)] {
            let mut w = Writer::new(4, flexible);
            w.string(&"x".repeat(length));
            assert_eq!(w.finish().is_ok(), fits, "{length}");
        }
    }
}

#[test]
fn an_error_message_is_cut_and_a_longer_name_is_refused() {
    // Two bytes per character, so the limit of 32767 bytes lies inside a character.
    let long = "é".repeat(40_000);
    let fits = 32_766;
    for version in 0..=2 {
        let response = |error_message: &str, resource_name: &str| {
            let result = admin::alter_configs::AlterConfigsResourceResponse {
                error_message: Some(error_message.into()),
                resource_name: resource_name.into(),
                ..Default::default()
            };
            let response = admin::alter_configs::AlterConfigsResponse { responses: vec![result], throttle_time_ms: 0 };
            let mut w = Writer::new(version, false);
            response.encode(&mut w, version);
            w.finish()
        };
        let encoded = response(&long, "topic").unwrap();
        let mut r = Reader::new(&encoded);
        let decoded = admin::alter_configs::AlterConfigsResponse::decode(&mut r, version).unwrap();
        assert_eq!(decoded.responses[0].error_message.as_deref(), Some(&long[..fits]), "v{version}");
        assert_eq!(decoded.responses[0].resource_name, "topic");
        assert!(response("short", &long).is_err(), "v{version}: a name is not cut");
    }
}

#[test]
fn error_messages_of_produce_are_cut() {
    let long = "é".repeat(40_000);
    let mut produced = data::produce::ProducedPartition::refused(Topic::Name("t"), 0, ErrorCode::InvalidRecord);
    produced.error_message = Some(long.as_str().into());
    produced.record_errors.push(data::produce::RecordError { batch_index: 0, message: Some(long.as_str().into()) });
    let response = data::produce::ProduceResponse { partitions: vec![produced], ..Default::default() };
    for version in 8..=12 {
        let mut w = Writer::new(version, false);
        response.encode(&mut w, version);
        let body = w.finish().unwrap();
        let read = data::produce::ProduceResponse::decode(&mut Reader::new(&body), version).unwrap();
        assert_eq!(read.partitions[0].error_message.as_deref(), Some(&long[..32_766]), "v{version}");
        assert_eq!(read.partitions[0].record_errors[0].message.as_deref(), Some(&long[..32_766]), "v{version}");
    }
}
