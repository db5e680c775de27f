//! Allocations of the decoders: none for Produce, and never more than the received bytes justify.

use crate::ALLOCATOR;
use crate::support::own_process;
use stats_alloc::Region;
use tidemill::wire::data::produce::{ProduceHead, ProduceRequest, ProduceRequestWriter};
use tidemill::wire::*;

/// Bytes and calls that `work` allocates, freed or not.
fn allocated(work: impl FnOnce()) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    (change.bytes_allocated, change.allocations + change.reallocations)
}

fn produce_decode_allocates_nothing() {
    for version in 3..=13 {
        let topic = if version >= 13 { Topic::Id(tidemill::model::TopicId([1; 16])) } else { Topic::Name("topic") };
        let head = ProduceHead { transactional_id: Some("t"), acks: -1, timeout_ms: 30_000 };
        let mut w = ProduceRequestWriter::new(version, 1, None, head, 10);
        for _ in 0..10 {
            w.topic(topic, 100);
            (0..100).for_each(|partition| w.partition(partition, &[7u8; 300][..]));
        }
        let frame = w.finish().unwrap().to_vec();
        let cost = allocated(|| {
            let mut r = Reader::new(&frame[4..]);
            frame::RequestHeader::decode(&mut r).unwrap();
            let request = ProduceRequest::decode(&mut r, version).unwrap();
            let bytes: usize = request.partitions().map(|p| p.records.len()).sum();
            assert_eq!((request.partition_count, bytes), (1000, 300_000));
        });
        assert_eq!(cost, (0, 0), "v{version}");
    }
}

/// Bodies of one repeated byte, with a count at every position that exceeds the remaining bytes.
fn hostile_bodies(mut check: impl FnMut(&[u8])) {
    // The largest count, the largest below the cap, and a count that just fits elements of one byte.
    let counts: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x00, 0x0f, 0x42, 0x40],
        &[0x00, 0x00, 0x01, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xc1, 0x84, 0x3d],
        &[0xff, 0x01],
    ];
    for length in [12, 300] {
        for filling in [0, 1, 0xff] {
            for count in counts {
                for at in 0..length.min(64) - count.len() {
                    let mut body = vec![filling; length];
                    body[at..at + count.len()].copy_from_slice(count);
                    check(&body);
                }
            }
        }
    }
}

/// The limit of memory per byte on the wire: an empty string has 1 byte there and 24 in memory.
const MEMORY_PER_WIRE_BYTE: usize = 64;

fn is_bounded(what: &str, decode: impl Fn(&[u8])) {
    hostile_bodies(|body| {
        let (bytes, _) = allocated(|| decode(body));
        assert!(bytes <= 64 + body.len() * MEMORY_PER_WIRE_BYTE, "{what}: {bytes} bytes for {body:?}");
    });
}

fn message_is_bounded<M: Message>() {
    let api = M::API.api();
    for version in api.served_from..=api.max {
        is_bounded(std::any::type_name::<M>(), |body| {
            let mut r = Reader::new(body);
            r.set_flexible(api.is_flexible(version));
            drop(M::decode(&mut r, version));
        });
    }
}

macro_rules! each_declared_message_is_bounded {
    (@ hand_written $($message:tt)*) => {};
    (@ declared $request:path, $response:path) => {
        message_is_bounded::<$request>();
        message_is_bounded::<$response>();
    };
    ($(
        $kind:ident $key:ident = $code:literal $versions:tt
        $room:ident::$module:ident::{$request:ident, $response:ident};
    )*) => {
        $(each_declared_message_is_bounded!(@ $kind $room::$module::$request, $room::$module::$response);)*
    };
}

#[test]
fn decoding_allocates_only_for_bytes_that_arrived() {
    own_process::run(module_path!(), "decoding_allocates_only_for_bytes_that_arrived", check_decoders);
}

fn check_decoders() {
    produce_decode_allocates_nothing();
    for version in 3..=13 {
        is_bounded("ProduceRequest", |body| drop(ProduceRequest::decode(&mut Reader::new(body), version)));
        is_bounded("ProduceResponse", |body| {
            drop(data::produce::ProduceResponse::decode(&mut Reader::new(body), version));
        });
    }
    for version in 4..=18 {
        is_bounded("FetchRequest", |body| drop(data::fetch::FetchRequest::decode(&mut Reader::new(body), version)));
        is_bounded("FetchResponse", |body| drop(data::fetch::FetchResponse::decode(&mut Reader::new(body), version)));
    }
    tidemill::wire::for_each_message!(each_declared_message_is_bounded);
}
